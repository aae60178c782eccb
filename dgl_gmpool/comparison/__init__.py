"""The comparison of the paper's Table 2: methods, rivals beside them, and how they are run."""

from dgl_gmpool.comparison.datasets import DATASETS, ComparisonData, choose_datasets
from dgl_gmpool.comparison.jobs import Budget
from dgl_gmpool.comparison.methods import (
    METHODS,
    Method,
    choose_methods,
    installed_methods,
    with_auxiliary_twins,
)
from dgl_gmpool.comparison.runner import Plan, run_comparison, write_report
from dgl_gmpool.comparison.scores import FoldScore, read_scores, write_scores

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
