"""Global attention."""

from __future__ import annotations

from torch import nn

from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.readout import Reading, Readout


class AttentionReadout(Readout):
    r"""Weighted mean with weights softmax(linear(x)) over the nodes of a graph.

    Li et al., "Gated Graph Sequence Neural Networks" (2016). As ``dgl.nn.GlobalAttentionPooling``
    with a linear gate, the one that dgllife's GIN predictor uses.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    """

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats)
        self.gate_nn = nn.Linear(in_feats, 1)

    def read(self, batch: GraphBatch) -> Reading:
        feat, segments = batch.feat, batch.segments
        weight = segments.softmax(self.gate_nn(feat))
        return Reading(segments.sum(weight * feat), [weight])
