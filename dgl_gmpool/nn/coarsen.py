"""Coarsening with an assignment matrix, eq. 13-15: X' = S' X, A' = S' A S, E' = S' E S."""

from __future__ import annotations

import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.graph_batch import batched_graph, edges_inside
from dgl_gmpool.nn.large.coarse_adjacency import coarse_adjacency
from dgl_gmpool.nn.ragged import Bucket, RaggedLayout

#: Graphs of more nodes are coarsened from their edges, unless more than one in SPARSE of all pairs
#: of nodes has an edge.
LARGE = 256
SPARSE = 8

#: Entries of A' this small make no edge. Entries of A and S are of order one.
EDGE_TOLERANCE = 1e-6


class DenseEdges:
    """The edges of a batch, ready to be laid out as A ``(b, w, w)`` and E ``(b, w, w, De)``."""

    def __init__(self, graph: DGLGraph, layout: RaggedLayout, device: torch.device) -> None:
        source, destination = edges_inside(graph, layout.graph_ids(device))
        self._source, self._destination = source, destination
        self._bucket_of_node = torch.empty(layout.num_nodes, dtype=torch.int64, device=device)
        self._slot_of_node = torch.empty_like(self._bucket_of_node)
        for index, bucket in enumerate(layout.buckets):
            self._bucket_of_node[bucket.nodes] = index
            self._slot_of_node[bucket.nodes] = bucket.slots
        self._bucket_of_edge = self._bucket_of_node[source]

    def cells(self, index: int, bucket: Bucket) -> tuple[Tensor, Tensor]:
        """Which edges lie in this bucket, and in which of its b * w * w cells."""
        edges = (self._bucket_of_edge == index).nonzero().squeeze(1)
        row = self._slot_of_node[self._source[edges]]
        column = self._slot_of_node[self._destination[edges]] % bucket.width
        return edges, row * bucket.width + column

    @staticmethod
    def dense(values: Tensor, cells: Tensor, bucket: Bucket) -> Tensor:
        """Edge values ``(e, ...)`` summed into their cells, ``(b, w, w, ...)``."""
        block = values.new_zeros((len(bucket) * bucket.width**2, *values.shape[1:]))
        block = block.index_add(0, cells, values)
        return block.unflatten(0, (len(bucket), bucket.width, bucket.width))


def coarsen(
    graph: DGLGraph,
    layout: RaggedLayout,
    assignments: list[tuple[Tensor, Tensor]],
    feat: Tensor,
    *,
    edge_weight: Tensor | None = None,
    edge_feat: Tensor | None = None,
    edge_tol: float = EDGE_TOLERANCE,
) -> tuple[DGLGraph, Tensor, Tensor, Tensor | None, RaggedLayout]:
    """Coarsen a batch with one assignment matrix per graph.

    Parameters
    ----------
    graph : DGLGraph
        The batch.
    layout : RaggedLayout
        Its buckets.
    assignments : list of (Tensor, Tensor)
        For each bucket S ``(b, w, K)`` with zeros in padding, and the number of columns that each
        graph uses ``(b,)``.
    feat : Tensor
        X. Shape ``(N, D)``.
    edge_weight : Tensor, optional
        The entries of A, one per edge. Shape ``(E,)``. Default: ones.
    edge_feat : Tensor, optional
        The entries of E, one row per edge. Shape ``(E, De)``.
    edge_tol : float, optional
        Entries of A' with an absolute value up to this make no edge.

    Returns
    -------
    tuple
        Coarse graph, X' ``(sum K_b, D)``, A' ``(E',)``, E' ``(E', De)`` or None, and the layout of
        the coarse batch, whose buckets hold the same graphs as those of ``layout``.
    """
    device = feat.device
    edges = DenseEdges(graph, layout, device)
    counts = torch.zeros(layout.batch_size, dtype=torch.int64, device=device)
    for bucket, (_, columns) in zip(layout.buckets, assignments):
        counts[bucket.graphs] = columns
    starts = counts.cumsum(0) - counts
    coarse_layout = RaggedLayout.of_groups(
        counts.cpu().numpy(), layout.groups, [assign.shape[2] for assign, _ in assignments], device
    )
    coarse_feats, sources, destinations, numbers, weights, features = [], [], [], [], [], []
    blocks = layout.blocks(feat)
    for index, (bucket, coarse, (assign, _)) in enumerate(
        zip(layout.buckets, coarse_layout.buckets, assignments)
    ):
        to_features = assign.to(feat.dtype).mT
        coarse_feats.append(to_features @ blocks[index])
        members, cells = edges.cells(index, bucket)
        if edge_weight is None:
            values = torch.ones(len(members), dtype=assign.dtype, device=device)
        else:
            values = edge_weight[members].to(assign.dtype)
        # The ends of the edges, where a dense A would hold little but zeros.
        ends: tuple[Tensor, Tensor] | None = None
        if bucket.width > LARGE and SPARSE * len(members) < len(bucket) * bucket.width**2:
            start = torch.div(cells, bucket.width, rounding_mode="floor")
            ends = start, start - start % bucket.width + cells % bucket.width
        if ends is None:
            adjacency = assign.mT @ edges.dense(values, cells, bucket) @ assign
        else:
            adjacency = coarse_adjacency(assign, *ends, values[:, None]).squeeze(-1)
        present = adjacency.detach().abs() > edge_tol
        if not coarse.full:
            present &= coarse.mask[:, :, None] & coarse.mask[:, None, :]
        cell = present.flatten().nonzero().squeeze(1)
        numbers.append(present.sum((1, 2)))
        nodes = starts[bucket.graphs, None] + torch.arange(assign.shape[2], device=device)
        source, destination = nodes[:, :, None], nodes[:, None, :]
        sources.append(source.expand_as(present).flatten().index_select(0, cell))
        destinations.append(destination.expand_as(present).flatten().index_select(0, cell))
        weights.append(adjacency.flatten().index_select(0, cell).to(feat.dtype))
        if edge_feat is not None:
            channels = edge_feat[members].to(feat.dtype)
            if ends is None:
                pooled = _both_sides(edges.dense(channels, cells, bucket), to_features)
            else:
                channels = channels.to(assign.dtype)
                pooled = coarse_adjacency(assign, *ends, channels).to(feat.dtype)
            features.append(pooled.flatten(0, 2).index_select(0, cell))
    if not layout.buckets:
        nothing = torch.empty(0, dtype=torch.int64, device=device)
        empty = batched_graph(nothing, nothing, counts, counts.clone(), like=graph)
        pooled_features = None if edge_feat is None else feat.new_empty(0, edge_feat.shape[1])
        return empty, feat[:0], feat.new_empty(0), pooled_features, coarse_layout
    num_edges, order = _in_order(layout, torch.cat(numbers), sum(map(len, weights)))

    def sort(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts).index_select(0, order)

    coarse_graph = batched_graph(sort(sources), sort(destinations), counts, num_edges, like=graph)
    pooled_features = sort(features) if features else None
    coarse_feat = coarse_layout.rows(coarse_feats)
    return coarse_graph, coarse_feat, sort(weights), pooled_features, coarse_layout


def _in_order(layout: RaggedLayout, numbers: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Rows that stand bucket by bucket, in the order of the graphs that they belong to.

    Parameters
    ----------
    layout : RaggedLayout
        The buckets.
    numbers : Tensor
        How many rows each graph has, in the order of the buckets. Shape ``(graphs in buckets,)``.
    total : int
        Their sum.

    Returns
    -------
    Tensor
        How many rows each graph has. Shape ``(B,)``, int64.
    Tensor
        Which row comes at each place. Shape ``(total,)``, int64.
    """
    graphs = torch.cat([bucket.graphs for bucket in layout.buckets])
    of_graphs = numbers.new_zeros(2, layout.batch_size)
    of_graphs[:, graphs] = torch.stack([numbers, numbers.cumsum(0) - numbers])
    counts, first = of_graphs
    shift = first - (counts.cumsum(0) - counts)
    return counts, torch.arange(total, device=shift.device) + shift.repeat_interleave(
        counts, output_size=total
    )


def lift(
    layout: RaggedLayout,
    coarse: RaggedLayout,
    assignments: list[tuple[Tensor, Tensor]],
    feat: Tensor,
) -> Tensor:
    """S X': features of the coarse nodes, ``(sum K_b, D)``, on the original ones, ``(N, D)``."""
    if not layout.buckets:
        return feat.new_zeros(0, feat.shape[1])
    return layout.rows(
        [
            assign.to(feat.dtype) @ block
            for (assign, _), block in zip(assignments, coarse.blocks(feat))
        ]
    )


def _both_sides(dense: Tensor, transposed: Tensor) -> Tensor:
    """S' E S for every channel: E ``(b, w, w, De)``, S' ``(b, K, w)`` to ``(b, K, K, De)``."""
    b, w, _, channels = dense.shape
    rows = (transposed @ dense.reshape(b, w, w * channels)).unflatten(-1, (w, channels))
    return transposed[:, None] @ rows
