"""Sum and maximum: the readout of dgllife's neural fingerprint predictor."""

from __future__ import annotations

import torch

from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.readout import Reading, Readout


class SumAndMaxReadout(Readout):
    """The sum of the node features next to their maximum, as ``dgllife.model.SumAndMax``.

    Parameters
    ----------
    in_feats : int
        Width D of the node features; the readout has width 2 D.
    """

    @property
    def out_feats(self) -> int:
        return 2 * self.in_feats

    def read(self, batch: GraphBatch) -> Reading:
        feat, segments = batch.feat, batch.segments
        out = torch.cat([segments.sum(feat), segments.max(feat)], dim=1)
        return Reading(out, [feat.new_ones(feat.shape[0], 1)])
