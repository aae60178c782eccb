"""How well a pooling's groups are those that were planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import dgl
import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from torch import Tensor, nn

from dgl_gmpool.nn.pooling import Pooling
from dgl_gmpool.poolings.grouping_pool import GroupingPool


@dataclass(frozen=True, eq=False)
class Found:
    """What a pooling makes of one graph.

    Attributes
    ----------
    matrix : numpy.ndarray
        M, or S S' of a pooling without one. ``(nodes, nodes)``.
    group : numpy.ndarray
        Number of each node's group: ``pool.groups``, or the largest share of S. ``(nodes,)``.
    num_clusters : int
        K of ``pool.spectrum``.
    soft_count : float
        sum_i 1 / (M 1)_i.
    """

    matrix: np.ndarray
    group: np.ndarray
    num_clusters: int
    soft_count: float


@torch.no_grad()
def found_groups(
    pool: Pooling, graph: dgl.DGLGraph, feat: Tensor, conductance: Tensor | None = None
) -> list[Found]:
    """The groups of each graph of a batch."""
    spectrum = pool.spectrum(graph, feat, conductance=conductance)
    sizes = graph.batch_num_nodes().tolist()
    if isinstance(pool, GroupingPool):
        matrices = pool.grouping_matrices(graph, feat, conductance=conductance)
        names = list(pool.groups(graph, feat, conductance=conductance).split(sizes))
    else:
        shares = pool.assignments(graph, feat, conductance=conductance)
        matrices = [each @ each.T for each in shares]
        names = [each.argmax(1) for each in shares]
    return [
        Found(matrix.double().numpy(), name.numpy(), int(number), float(soft))
        for matrix, name, number, soft in zip(
            matrices, names, spectrum.num_clusters, spectrum.soft_count
        )
    ]


Network = TypeVar("Network", bound=nn.Module)


def as_in_training(model: Network) -> Network:
    """The model with its batch normalisations in training mode: an untrained network as its first
    step sees it, and not with running statistics of nothing. Use a copy; statistics change."""
    model.eval()
    for each in model.modules():
        if isinstance(each, nn.BatchNorm1d):
            each.train()
    return model


def pair_auc(matrix: np.ndarray, group: np.ndarray) -> float:
    """How often a pair inside a group has a larger entry than a pair of two groups (a tie counts
    half); NaN where there are no pairs of one of the two sorts.

    Examples
    --------
    >>> group = np.array([0, 0, 1])
    >>> pair_auc(np.array([[1, 0.9, 0.2], [0.9, 1, 0.3], [0.2, 0.3, 1]]), group)
    1.0
    """
    above = np.triu_indices(len(group), 1)
    same = (group[:, None] == group)[above]
    if same.all() or not same.any():
        return float("nan")
    return float(roc_auc_score(same, matrix[above]))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's; NaN where one of the two does not vary."""
    if len(set(x)) < 2 or len(set(y)) < 2:
        return float("nan")
    return float(spearmanr(x, y).statistic)


def mean(values: Sequence[float]) -> float:
    """Of those that are numbers; NaN where none is."""
    kept = [value for value in values if value == value]
    return float(np.mean(kept)) if kept else float("nan")


def compare(found: Sequence[Found], planted: Sequence[np.ndarray]) -> dict[str, float]:
    """Figures of the groups found, over graphs whose true groups are known.

    Returns
    -------
    dict
        ``exact``: share of graphs with K = k. ``mae``: mean of abs(K - k). ``mean_count``,
        ``mean_true``: means of K and k.
        ``rho``: rank correlation of K and k. ``auc``: mean :func:`pair_auc` of M. ``ari``: mean
        adjusted Rand index of the names. ``soft_mae``, ``soft_rho``: of the soft count.
    """
    true = [len(np.unique(group)) for group in planted]
    counts = [each.num_clusters for each in found]
    soft = [each.soft_count for each in found]
    off = np.abs(np.subtract(counts, true))
    return {
        "exact": float((off == 0).mean()),
        "mae": float(off.mean()),
        "mean_count": float(np.mean(counts)),
        "mean_true": float(np.mean(true)),
        "rho": rank_correlation(counts, true),
        "auc": mean([pair_auc(each.matrix, group) for each, group in zip(found, planted)]),
        "ari": mean([adjusted_rand_score(g, each.group) for each, g in zip(found, planted)]),
        "soft_mae": float(np.abs(np.subtract(soft, true)).mean()),
        "soft_rho": rank_correlation(soft, true),
    }
