"""The comparison of the paper's Table 2: methods, rivals beside them, and how they are run."""

from experiments.table2.datasets import DATASETS, ComparisonData, choose_datasets
from experiments.table2.jobs import Budget
from experiments.table2.methods import (
    METHODS,
    Method,
    choose_methods,
    installed_methods,
    with_auxiliary_twins,
)
from experiments.table2.runner import Plan, run_comparison, write_report
from experiments.table2.scores import FoldScore, read_scores, write_scores

__all__ = [
    "DATASETS",
    "METHODS",
    "Budget",
    "ComparisonData",
    "FoldScore",
    "Method",
    "Plan",
    "choose_datasets",
    "choose_methods",
    "installed_methods",
    "read_scores",
    "run_comparison",
    "with_auxiliary_twins",
    "write_report",
    "write_scores",
]
