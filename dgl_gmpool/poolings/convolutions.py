"""The two small graph convolutions inside the baselines, in torch alone.

Parameters are named as in PyTorch Geometric, so a state_dict of its layers loads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dgl_gmpool.nn.batch import GraphBatch


class GraphConv(nn.Module):
    r"""Sum over neighbours, a linear map of it, plus a linear map of the node itself.

    .. math:: x'_i = W_1 \sum_{j \to i} a_{ji} x_j + b + W_2 x_i

    Morris et al., "Weisfeiler and Leman Go Neural" (2019).

    Parameters
    ----------
    in_feats, out_feats : int
        Widths.
    """

    def __init__(self, in_feats: int, out_feats: int) -> None:
        super().__init__()
        self.lin_rel = nn.Linear(in_feats, out_feats)
        self.lin_root = nn.Linear(in_feats, out_feats, bias=False)

    def forward(self, batch: GraphBatch, feat: Tensor) -> Tensor:
        """``(N, in_feats)`` to ``(N, out_feats)``."""
        return self.lin_rel(batch.neighbour_sum(feat)) + self.lin_root(feat)


class LEConv(nn.Module):
    r"""Local extrema: a node against its neighbours.

    .. math:: x'_i = W_3 x_i + b_3 + \sum_{j \to i} (W_1 x_j + b_1 - W_2 x_i)

    Ranjan et al., "ASAP" (2020), eq. 6.

    Parameters
    ----------
    in_feats, out_feats : int
        Widths.
    """

    def __init__(self, in_feats: int, out_feats: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(in_feats, out_feats)
        self.lin2 = nn.Linear(in_feats, out_feats, bias=False)
        self.lin3 = nn.Linear(in_feats, out_feats)

    def forward(self, feat: Tensor, source: Tensor, destination: Tensor) -> Tensor:
        """``(N, in_feats)`` to ``(N, out_feats)``, over these edges."""
        theirs, ours = self.lin1(feat), self.lin2(feat)
        messages = theirs.index_select(0, source) - ours.index_select(0, destination)
        return self.lin3(feat) + torch.zeros_like(theirs).index_add(0, destination, messages)
