"""Weighted sum and maximum: the readout of dgllife's GCN, GAT and GATv2 predictors."""

from __future__ import annotations

import torch
from dgl.nn.pytorch import WeightAndSum

from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.readout import Reading, Readout


class WeightedSumAndMaxReadout(Readout):
    """A learned weighted sum of the node features next to their maximum.

    As ``dgllife.model.WeightedSumAndMax``: each node counts with the sigmoid of a linear layer.

    Parameters
    ----------
    in_feats : int
        Width D of the node features; the readout has width 2 D.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.batch([dgl.graph(([0], [1])), dgl.graph(([], []), num_nodes=1)])
    >>> WeightedSumAndMaxReadout(4)(g, torch.randn(3, 4)).shape
    torch.Size([2, 8])
    """

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats)
        self.weight_and_sum = WeightAndSum(in_feats)

    @property
    def out_feats(self) -> int:
        return 2 * self.in_feats

    def read(self, batch: GraphBatch) -> Reading:
        feat, segments = batch.feat, batch.segments
        weight = self.weight_and_sum.atom_weighting(feat)
        out = torch.cat([segments.sum(weight * feat), segments.max(feat)], dim=1)
        return Reading(out, [weight])
