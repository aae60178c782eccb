"""Figures of the paper, drawn from trained models and stored scores; needs matplotlib.

``pip install dgl-gmpool[figures]``; importing this package does not import matplotlib yet.
"""

from __future__ import annotations

from experiments.figures.clusters_figure import clusters_figure
from experiments.figures.distribution_figure import distribution_figure
from experiments.figures.first_pooling import graphs_of
from experiments.figures.fold_models import FoldModels, load_fold
from experiments.figures.forced_clusters import (
    CLUSTERS,
    ForcedRuns,
    find_forced_runs,
    plan_forced_runs,
)
from experiments.figures.functional_groups import MoleculeParts, functional_groups, molecule_parts
from experiments.figures.group_counts import GroupCounts, few_and_many, group_counts
from experiments.figures.grouped_molecule import GroupedMolecule, grouped_molecule
from experiments.figures.grouping_figure import grouping_figure
from experiments.figures.methods_figure import methods_figure
from experiments.figures.save import save_figure

__all__ = [
    "CLUSTERS",
    "FoldModels",
    "ForcedRuns",
    "GroupCounts",
    "GroupedMolecule",
    "MoleculeParts",
    "clusters_figure",
    "distribution_figure",
    "few_and_many",
    "find_forced_runs",
    "functional_groups",
    "graphs_of",
    "group_counts",
    "grouped_molecule",
    "grouping_figure",
    "load_fold",
    "methods_figure",
    "molecule_parts",
    "plan_forced_runs",
    "save_figure",
]
