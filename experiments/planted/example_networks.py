"""The networks of DGL's examples ``hgp_sl`` and ``diffpool``, with any pooling in their place."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import dgl
import torch
from dgl.nn.pytorch import GraphConv, SAGEConv
from torch import Tensor, nn

from dgl_gmpool.nn.pooling import Pooling

Make = Callable[[int], nn.Module]


class HGPSLNetwork(nn.Module):
    """Convolve and pool twice, convolve; mean and maximum of the nodes after each, added up; a head
    of three layers (Zhang et al., "Hierarchical Graph Pooling with Structure Learning", 2019).

    Parameters
    ----------
    in_feats, out_feats : int
    pooling : callable
        ``pooling(width)`` makes what stands for the paper's own pooling.
    hidden : int, optional
    """

    def __init__(self, in_feats: int, out_feats: int, pooling: Make, *, hidden: int = 32) -> None:
        super().__init__()
        # Edges of a coarse graph come normalised; nodes without any are not refused.
        options = {"allow_zero_in_degree": True}
        self.convolutions = nn.ModuleList(
            GraphConv(width, hidden, norm="none" if level else "both", **options)
            for level, width in enumerate((in_feats, hidden, hidden))
        )
        self.pools = nn.ModuleList(pooling(hidden) for _ in range(2))
        self.head = nn.Sequential(
            nn.Linear(2 * hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden // 2),
            nn.ReLU(),
            nn.Linear(hidden // 2, out_feats),
        )

    def forward(self, graph: dgl.DGLGraph) -> Tensor:
        """``(B, out_feats)``."""
        feat, weight, read = graph.ndata["h"], None, []
        for level, convolve in enumerate(self.convolutions):
            feat = convolve(graph, feat, edge_weight=weight).relu()
            if level < len(self.pools):
                coarse = cast(Pooling, self.pools[level]).coarsen(graph, feat, edge_weight=weight)
                graph, feat, weight = coarse.graph, coarse.feat, coarse.conv_weight
            with graph.local_scope():
                graph.ndata["x"] = feat
                both = [dgl.mean_nodes(graph, "x"), dgl.max_nodes(graph, "x")]
            read.append(torch.cat(both, 1).relu())
        return self.head(torch.stack(read).sum(0))


class DiffPoolNetwork(nn.Module):
    """GraphSAGE, a pooling, GraphSAGE on dense ``(B, K, D)``; the maxima of nodes and of coarse
    nodes side by side, and one linear layer (Ying et al., 2018).

    Parameters
    ----------
    in_feats, out_feats : int
    pooling : callable
        ``pooling(width)`` makes what stands for the paper's own pooling.
    hidden : int, optional
    """

    def __init__(self, in_feats: int, out_feats: int, pooling: Make, *, hidden: int = 32) -> None:
        super().__init__()
        self.before = nn.ModuleList(
            SAGEConv(width, hidden, "mean", activation=torch.relu) for width in (in_feats, hidden)
        )
        self.pool = pooling(hidden)
        self.after = nn.ModuleList(nn.Linear(2 * hidden, hidden) for _ in range(2))
        self.head = nn.Linear(2 * hidden, out_feats)

    def forward(self, graph: dgl.DGLGraph) -> Tensor:
        """``(B, out_feats)``."""
        feat = graph.ndata["h"]
        for layer in self.before:
            feat = layer(graph, feat)
        with graph.local_scope():
            graph.ndata["x"] = feat
            of_nodes = dgl.max_nodes(graph, "x")
        dense, mask, adjacency = cast(Pooling, self.pool).coarsen(graph, feat).dense()
        adjacency = adjacency / adjacency.abs().sum(-1, keepdim=True).clamp(min=1e-6)
        for each in self.after:
            dense = each(torch.cat([dense, adjacency @ dense], -1)).relu()
        of_groups = dense.masked_fill(~mask[..., None], -torch.inf).amax(1)
        return self.head(torch.cat([of_nodes, of_groups], 1))
