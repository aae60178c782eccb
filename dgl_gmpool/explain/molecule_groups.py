"""The groups of one molecule's atoms that the models of a run agree on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any, cast

import dgl
import numpy as np
import torch
from torch import Tensor, nn

from dgl_gmpool.models.predictor import MoleculePredictor
from dgl_gmpool.nn.pivots import nearest_pivot, pivot_assignment, pivot_columns
from dgl_gmpool.nn.readout import Readout
from dgl_gmpool.poolings.grouping_pool import GroupingPool
from dgl_gmpool.training.batches import collate


@dataclass(frozen=True, eq=False)
class NodeGroups:
    """Rows are nodes of the molecule's graph.

    Attributes
    ----------
    groups : numpy.ndarray
        ``(n,)`` int64, 0 to K - 1.
    memberships : numpy.ndarray
        How much of each node is in each group, rows add up to 1. ``(n, K)`` float64.
    agreement : float
        Mean adjusted Rand index of each model's own groups and these: 1 where all agree, about 0
        for groups drawn by lot.
    """

    groups: np.ndarray
    memberships: np.ndarray
    agreement: float


def names_groups(model: MoleculePredictor) -> bool:
    """Whether the model's (first) pooling says which atoms are a group."""
    return isinstance(model.poolings[0], GroupingPool)


@torch.no_grad()
def consensus_groups(
    models: Sequence[MoleculePredictor], graph: dgl.DGLGraph, *, device: torch.device
) -> NodeGroups:
    """Groups of the mean of the models' grouping matrices.

    A mean of kernels with a diagonal of 1 is one again, so it is read as each M is: K is the
    number of its eigenvalues above 0.7 and a node's group is that of its nearest pivot. For one
    model these are ``pool.groups``; with ``max_clusters`` those name the groups of S, not of M.

    Parameters
    ----------
    models : sequence of MoleculePredictor
        In evaluation mode, on ``device``, for all of which :func:`names_groups`.
    graph : DGLGraph
        One molecule, ``ndata["h"]`` and ``edata["e"]``.
    device : torch.device
    """
    from sklearn.metrics import adjusted_rand_score

    batches, matrices, own = [], [], []
    for model in models:
        pool = cast(GroupingPool, model.poolings[0])
        states, conductance, whole = _first_states(model, graph, device)
        batch = pool.batch(whole, states, conductance=conductance)
        (matrix,) = pool.matrices(batch)
        batches.append(batch)
        matrices.append(matrix)
        ((places,), _) = pool.by_pivots(batch, [matrix])
        named = nearest_pivot(pivot_columns(matrix, *places), places[1])
        own.append(batch.layout.rows([named]).cpu().numpy())
    mean = torch.stack(matrices).mean(0)
    first, batch = cast(GroupingPool, models[0].poolings[0]), batches[0]
    ((places,), _) = first.by_pivots(batch, [mean])
    columns, counts = pivot_columns(mean, *places), places[1]
    number = batch.layout.rows([nearest_pivot(columns, counts)]).cpu().numpy()
    shares = pivot_assignment(columns, counts, batch.layout.buckets[0].mask)[0, : len(number)]
    # A pivot whose nodes are all as near to another one names no group.
    used, groups = np.unique(number, return_inverse=True)
    kept = shares.double().cpu().numpy()[:, used]
    return NodeGroups(
        groups.astype(np.int64),
        kept / kept.sum(1, keepdims=True),
        float(np.mean([adjusted_rand_score(each, number) for each in own])),
    )


@torch.no_grad()
def node_weights(
    models: Sequence[MoleculePredictor], graph: dgl.DGLGraph, *, device: torch.device
) -> np.ndarray | None:
    """What each node contributes to the readout, as the readout itself states it.

    Returns
    -------
    numpy.ndarray or None
        ``(n,)`` float64, the mean over models (and rounds of attention); None where a readout
        states none, or sees coarse nodes (several levels).
    """
    found = []
    for model in models:
        pool = model.poolings[0]
        if len(model.poolings) > 1 or not isinstance(pool, Readout):
            return None
        states, conductance, whole = _first_states(model, graph, device)
        try:
            _, weights = pool(whole, states, get_node_weight=True, conductance=conductance)
        except ValueError:  # a readout without such weights refuses
            return None
        if not weights:
            return None
        found.append(torch.cat(weights, 1).mean(1).double().cpu().numpy())
    return np.stack(found).mean(axis=0)


def _first_states(
    model: MoleculePredictor, graph: dgl.DGLGraph, device: torch.device
) -> tuple[Tensor, Tensor | None, dgl.DGLGraph]:
    """What the first pooling sees: node states, conductances, and the graph."""
    batch = collate([graph], edge_in_feats=model.edge_in_feats, device=device)
    states: list[Tensor] = []
    conductance: list[Tensor] = []
    with ExitStack() as hooks:
        hooks.enter_context(_watched(model.backbones[0], lambda out: states.append(out[0])))
        if model.conductance is not None:
            hooks.enter_context(_watched(model.conductance, conductance.append))
        model.embed(batch.graph, batch.node_feats, batch.edge_feats)
    return states[0], conductance[0] if conductance else None, batch.graph


@contextmanager
def _watched(module: nn.Module, see: Callable[[Any], object]) -> Iterator[None]:
    """Hand what a module returns to this thread inside the block to ``see``."""
    watcher = get_ident()

    def hook(module: nn.Module, arguments: Any, out: Any) -> None:
        # Other threads may ask the same model about other molecules at the same time.
        if get_ident() == watcher:
            see(out)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
