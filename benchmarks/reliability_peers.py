"""Poolings of torch-geometric and torch-geometric-pool behind ``pool(graph, feat)``.

Each is called as its own documentation does, with the batch vector (and the number of graphs,
where it takes one), followed by a mean over its coarse nodes. Auxiliary losses join the result
with weight zero, so that a loss, or the gradient of a loss, that is not finite shows.
"""

from __future__ import annotations

from collections.abc import Callable

import dgl_gmpool  # noqa: F401  # isort: skip - lets DGL 2.1.0 load
import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool.nn.structure import node_counts

#: Coarse nodes for poolings that want a number, and the share kept for those that want a ratio.
CLUSTERS = 4
RATIO = 0.5


class Peer(nn.Module):
    """Base class: turns a DGLGraph into what the peers take."""

    def forward(
        self, graph: DGLGraph, feat: Tensor, *, batch_num_nodes: Tensor | None = None
    ) -> Tensor:
        counts = node_counts(graph, batch_num_nodes)
        edges = torch.stack([ids.long() for ids in graph.edges()]).to(feat.device)
        batch = torch.repeat_interleave(counts).to(feat.device)
        out, losses = self.pool(feat, edges, batch, len(counts))
        return out + 0 * sum(losses) if losses else out

    def pool(
        self, x: Tensor, edges: Tensor, batch: Tensor, graphs: int
    ) -> tuple[Tensor, list[Tensor]]:
        """One row per graph, and losses."""
        raise NotImplementedError


class Sparse(Peer):
    """torch-geometric's poolings that keep, or merge, nodes: mean of what is left."""

    def __init__(self, layer: nn.Module, *, batch_at: int) -> None:
        super().__init__()
        self.layer = layer
        #: Which of the results is the batch vector.
        self.batch_at = batch_at

    def pool(self, x, edges, batch, graphs):
        from torch_geometric.nn import global_mean_pool

        out = self.layer(x, edges, batch=batch)
        return global_mean_pool(out[0], out[self.batch_at], graphs), []


class Pan(Peer):
    """torch-geometric's PANPooling, after the convolution that it needs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        from torch_geometric.nn import PANConv, PANPooling

        self.conv, self.layer = PANConv(width, width, filter_size=2), PANPooling(width, ratio=RATIO)

    def pool(self, x, edges, batch, graphs):
        from torch_geometric.nn import global_mean_pool

        x, matrix = self.conv(x, edges)
        out = self.layer(x, matrix, batch=batch)
        return global_mean_pool(out[0], out[3], graphs), []


class Mem(Peer):
    """torch-geometric's MemPooling, with its Kullback-Leibler loss."""

    def __init__(self, width: int, clusters: int) -> None:
        super().__init__()
        from torch_geometric.nn import MemPooling

        self.layer = MemPooling(width, width, heads=2, num_clusters=clusters)

    def pool(self, x, edges, batch, graphs):
        coarse, assign = self.layer(x, batch)
        return coarse.mean(1), [self.layer.kl_loss(assign)]


class Dense(Peer):
    """torch-geometric's dense poolings, padded as its own examples do."""

    def __init__(self, width: int, kind: str, clusters: int) -> None:
        super().__init__()
        from torch_geometric.nn import DMoNPooling

        self.kind = kind
        if kind == "dmon":
            self.layer: nn.Module = DMoNPooling([width], clusters)
        else:
            self.layer = nn.Linear(width, clusters)

    def pool(self, x, edges, batch, graphs):
        from torch_geometric.nn import dense_diff_pool, dense_mincut_pool
        from torch_geometric.utils import to_dense_adj, to_dense_batch

        adjacency = to_dense_adj(edges, batch, batch_size=graphs).to(x.dtype)
        x, mask = to_dense_batch(x, batch, batch_size=graphs)
        if self.kind == "dmon":
            _, coarse, _, *losses = self.layer(x, adjacency, mask)
        else:
            pool = dense_diff_pool if self.kind == "diff" else dense_mincut_pool
            coarse, _, *losses = pool(x, adjacency, self.layer(x), mask)
        return coarse.mean(1), losses


class Tgp(Peer):
    """A pooling of torch-geometric-pool by its name."""

    def __init__(self, width: int, name: str, clusters: int) -> None:
        super().__init__()
        from tgp.poolers import get_pooler

        self.layer = get_pooler(name, in_channels=width, k=clusters, ratio=RATIO)

    def pool(self, x, edges, batch, graphs):
        from torch_geometric.nn import global_mean_pool

        out = self.layer(x=x, adj=edges, batch=batch)
        losses = list(out.loss.values()) if isinstance(out.loss, dict) else []
        if out.x.dim() == 3:
            if out.mask is None:
                return out.x.mean(1), losses
            mask = out.mask[:, :, None].to(out.x.dtype)
            return (out.x * mask).sum(1) / mask.sum(1).clamp(min=1), losses
        return global_mean_pool(out.x, out.batch, graphs), losses


def torch_geometric_poolings(clusters: int = CLUSTERS) -> dict[str, Callable[[int], nn.Module]]:
    """Empty where torch-geometric is not installed."""
    try:
        from torch_geometric import nn as pyg
    except ImportError:
        return {}
    return {
        "pyg TopK": lambda d: Sparse(pyg.TopKPooling(d, ratio=RATIO), batch_at=3),
        "pyg SAG": lambda d: Sparse(pyg.SAGPooling(d, ratio=RATIO), batch_at=3),
        "pyg ASA": lambda d: Sparse(pyg.ASAPooling(d, ratio=RATIO), batch_at=3),
        "pyg Edge": lambda d: Sparse(pyg.EdgePooling(d), batch_at=2),
        "pyg PAN": Pan,
        "pyg Mem": lambda d: Mem(d, clusters),
        "pyg DiffPool": lambda d: Dense(d, "diff", clusters),
        "pyg MinCut": lambda d: Dense(d, "mincut", clusters),
        "pyg DMoN": lambda d: Dense(d, "dmon", clusters),
    }


def torch_geometric_pool_poolings(
    clusters: int = CLUSTERS,
) -> dict[str, Callable[[int], nn.Module]]:
    """Every pooler of torch-geometric-pool but ``nopool``; empty where it is not installed."""
    try:
        from tgp.poolers import pooler_map
    except ImportError:
        return {}
    return {
        f"tgp {name}": (lambda d, name=name: Tgp(d, name, clusters))
        for name in sorted(pooler_map)
        if name != "nopool"
    }
