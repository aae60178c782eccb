"""Set2Set, the readout of dgllife's MPNN predictor."""

from __future__ import annotations

import torch
from torch import nn

from dgl_gmpool._options import positive_int
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.readout import Reading, Readout


class Set2SetReadout(Readout):
    r"""Rounds of attention steered by an LSTM.

    .. math:: q_t = \mathrm{LSTM}(q^*_{t-1}), \qquad a_{i,t} = \mathrm{softmax}_i(x_i \cdot q_t),
        \qquad q^*_t = q_t \,\|\, \sum_i a_{i,t} x_i

    Vinyals et al., "Order Matters: Sequence to Sequence for Sets" (2016). As ``dgl.nn.Set2Set``.

    Parameters
    ----------
    in_feats : int
        Width D of the node features; the readout has width 2 D.
    n_iters : int, optional
        Rounds. Default 6, as in dgllife's MPNN.
    n_layers : int, optional
        Layers of the LSTM. Default 3, as in dgllife's MPNN.
    """

    shown = (*Readout.shown, "n_iters", "n_layers")

    def __init__(self, in_feats: int, *, n_iters: int = 6, n_layers: int = 3) -> None:
        super().__init__(in_feats)
        self.n_iters = positive_int("n_iters", n_iters)
        self.n_layers = positive_int("n_layers", n_layers)
        self.lstm = nn.LSTM(2 * in_feats, in_feats, n_layers)
        # DGL draws a second time; with the same seed both start from the same numbers.
        self.lstm.reset_parameters()

    @property
    def out_feats(self) -> int:
        return 2 * self.in_feats

    def read(self, batch: GraphBatch) -> Reading:
        feat, segments = batch.feat, batch.segments
        zeros = feat.new_zeros(self.n_layers, len(segments), self.in_feats)
        state = (zeros, zeros)
        out = feat.new_zeros(len(segments), self.out_feats)
        weights = []
        for _ in range(self.n_iters):
            query, state = self.lstm(out[None], state)
            query = query[0]
            weight = segments.softmax((feat * segments.broadcast(query)).sum(1, keepdim=True))
            out = torch.cat([query, segments.sum(weight * feat)], dim=1)
            weights.append(weight)
        return Reading(out, weights)
