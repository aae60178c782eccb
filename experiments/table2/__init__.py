"""The comparison of the paper's Table 2 and beyond; PROTOCOL.md says how, before the first run."""

from experiments.table2.datasets import DATASETS, ComparisonData, choose_datasets
from experiments.table2.rows import ROWS, Row, choose_rows
from experiments.table2.scores import FoldScore, read_scores, write_scores

__all__ = [
    "DATASETS",
    "ROWS",
    "ComparisonData",
    "FoldScore",
    "Row",
    "choose_datasets",
    "choose_rows",
    "read_scores",
    "write_scores",
]
