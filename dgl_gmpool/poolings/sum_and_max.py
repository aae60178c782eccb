"""Sum and maximum: the readout of dgllife's neural fingerprint predictor."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_gmpool.nn.segments import Segments
from dgl_gmpool.poolings.node_readout import NodeReadout


class SumAndMaxReadout(NodeReadout):
    """The sum of the node features next to their maximum, as ``dgllife.model.SumAndMax``.

    Parameters
    ----------
    in_feats : int
        Width D of the node features; the readout has width 2 D.
    """

    @property
    def out_feats(self) -> int:
        return 2 * self.in_feats

    def read(self, feat: Tensor, segments: Segments) -> tuple[Tensor, list[Tensor]]:
        out = torch.cat([segments.sum(feat), segments.max(feat)], dim=1)
        return out, [feat.new_ones(feat.shape[0], 1)]
