"""The readout of AttentiveFP."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_gmpool._options import positive_int, probability
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.readout import Reading, Readout
from dgl_gmpool.nn.segments import Segments


class AttentiveFPReadout(Readout):
    """Rounds of attention from the molecule's state, which a GRU updates.

    Xiong et al., "Pushing the Boundaries of Molecular Representation for Drug Discovery with the
    Graph Attention Mechanism" (2020). As ``dgllife.model.AttentiveFPReadout``.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    num_timesteps : int, optional
        Rounds. Default 2.
    dropout : float, optional
        Default 0.
    """

    def __init__(self, in_feats: int, *, num_timesteps: int = 2, dropout: float = 0.0) -> None:
        super().__init__(in_feats)
        positive_int("num_timesteps", num_timesteps)
        probability("dropout", dropout)
        self.readouts = nn.ModuleList(_Round(in_feats, dropout) for _ in range(num_timesteps))

    def read(self, batch: GraphBatch) -> Reading:
        feat, segments = batch.feat, batch.segments
        out = segments.sum(feat)
        weights = []
        for each in self.readouts:
            out, weight = each(feat, segments, out)
            weights.append(weight)
        return Reading(out, weights)


class _Round(nn.Module):
    def __init__(self, in_feats: int, dropout: float) -> None:
        super().__init__()
        self.compute_logits = nn.Sequential(nn.Linear(2 * in_feats, 1), nn.LeakyReLU())
        self.project_nodes = nn.Sequential(nn.Dropout(dropout), nn.Linear(in_feats, in_feats))
        self.gru = nn.GRUCell(in_feats, in_feats)

    def forward(self, feat: Tensor, segments: Segments, state: Tensor) -> tuple[Tensor, Tensor]:
        context = torch.cat([segments.broadcast(F.relu(state)), feat], dim=1)
        weight = segments.softmax(self.compute_logits(context))
        pooled = segments.sum(weight * self.project_nodes(feat))
        return self.gru(F.elu(pooled), state), weight
