"""A model up to its first pooling, the one that groups atoms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import dgl
import torch
from dgl_gmpool.nn.grouping_pool import GroupingPool
from torch import Tensor

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.data.featurize import featurize_smiles
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
) -> Iterator[tuple[dgl.DGLGraph, Tensor]]:
    """Batches in order, with the node states that the first pooling sees (no dropout, no gradient).

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
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                states, _ = model.backbones[0](batch.graph, batch.node_feats, batch.edge_feats)
        finally:
            model.train(was_training)
        yield batch.graph, states


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
