"""A model up to its first pooling, the one that groups atoms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import dgl
import torch
from torch import Tensor

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.data.smiles_to_graphs import featurize_smiles
from dgl_gmpool.poolings.grouping_pool import GroupingPool
from dgl_gmpool.training.batches import collate, row_batches


def first_pooling(model: MoleculePredictor) -> GroupingPool:
    """The pooling whose rows are atoms.

    Raises
    ------
    ValueError
        It makes no grouping matrix.
    """
    pool = model.poolings[0]
    if not isinstance(pool, GroupingPool):
        raise ValueError(
            f"the readout {model.config['readout']!r} makes no grouping matrix; the figures need a "
            "model with gmpool or ngmpool"
        )
    return cast(GroupingPool, pool)


def pooled_batches(
    model: MoleculePredictor, graphs: Sequence[dgl.DGLGraph], *, batch_size: int = 80
) -> Iterator[tuple[dgl.DGLGraph, Tensor, dict[str, Any]]]:
    """Batches in order, with the node states that the first pooling sees (no dropout, no gradient),
    and how well bonds conduct there: ``pool.spectrum(graph, states, **options)``.

    Parameters
    ----------
    model : MoleculePredictor
        Its training mode is restored after every batch.
    graphs : sequence of DGLGraph
        With ``ndata["h"]`` and ``edata["e"]``.
    batch_size : int
        Molecules at a time.
    """
    device = next(model.parameters()).device
    for rows in row_batches(torch.arange(len(graphs)), batch_size):
        batch = collate(
            [graphs[i] for i in rows.tolist()], edge_in_feats=model.edge_in_feats, device=device
        )
        with evaluation(model), _calls(first_pooling(model)) as seen:
            model.embed(batch.graph, batch.node_feats, batch.edge_feats)
        graph, states, options = seen[0]
        yield graph, states, {"conductance": options.get("conductance")}


@contextmanager
def evaluation(model: MoleculePredictor) -> Iterator[None]:
    """No dropout, no statistics of the batch, no gradients; the mode is restored afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


@contextmanager
def _calls(pool: GroupingPool) -> Iterator[list[tuple[dgl.DGLGraph, Tensor, dict[str, Any]]]]:
    """What a pooling is called with inside the block, by either face."""
    seen: list[tuple[dgl.DGLGraph, Tensor, dict[str, Any]]] = []
    original = pool.batch

    def batch(graph: dgl.DGLGraph, feat: Tensor, **options: Any) -> Any:
        seen.append((graph, feat, options))
        return original(graph, feat, **options)

    pool.batch = batch  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        del pool.batch  # the instance's, in front of the class's


def graphs_of(smiles: Sequence[str], featurizer: str = "canonical") -> list[dgl.DGLGraph]:
    """Featurised graphs of molecules, one each.

    Raises
    ------
    ValueError
        A SMILES cannot be featurised.
    """
    flat, failed = featurize_smiles(smiles, featurizer)
    if failed:
        index, reason = failed[0]
        raise ValueError(f"{smiles[index]!r} cannot be drawn, RDKit refuses it: {reason}")
    return flat.graphs(range(len(smiles)))
