"""Coarse graphs: A and E with an assignment matrix, and edge weights for message passing."""

from __future__ import annotations

import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.distance import compute_dtype
from dgl_gmpool.nn.large.coarse_adjacency import coarse_adjacency
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.nn.structure import batched_graph, edge_ends


def normalise_edge_weight(graph: DGLGraph, weight: Tensor) -> Tensor:
    r"""Weights divided by the root of their end nodes' degrees, :math:`D^{-1/2} A D^{-1/2}`.

    The entries of A' = S' A S add up all edges between two groups: a group that holds a whole
    molecule has a self-loop of weight 50, and message passing multiplies by it in every step.
    Normalised as by Kipf and Welling (2017), A' has no eigenvalue beyond 1. Entries can be
    negative, so a degree is a sum of absolute values.

    Parameters
    ----------
    graph : DGLGraph
        Any graph or batch.
    weight : Tensor
        One weight per edge. Shape ``(E,)``.

    Returns
    -------
    Tensor
        Shape ``(E,)``, dtype of ``weight``; degrees are computed in float32 at least.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.graph(([0, 0, 1], [0, 1, 0]))
    >>> normalise_edge_weight(g, torch.tensor([48., 1., 1.])).round(decimals=3).tolist()
    [0.9800000190734863, 0.14300000667572021, 0.14300000667572021]
    """
    source, destination = (ids.to(weight.device, torch.int64) for ids in edge_ends(graph))
    # The product of two degrees of 256 has no place in half precision.
    size = weight.abs().to(torch.promote_types(weight.dtype, torch.float32))
    leaving = size.new_zeros(graph.num_nodes()).index_add(0, source, size)
    arriving = size.new_zeros(graph.num_nodes()).index_add(0, destination, size)
    degree = leaving[source] * arriving[destination]
    normal = weight / degree.clamp(min=torch.finfo(degree.dtype).tiny).sqrt()
    return normal.to(weight.dtype)


#: Graphs of more nodes are coarsened from their edges, unless more than one in SPARSE of all pairs
#: of nodes has an edge.
LARGE = 256
SPARSE = 8

#: The share of the trace of S' S below which the rounding of S itself, in float64, decides.
LOST = 1e-8

#: Entries of A' this small make no edge. Entries of A and S are of order one.
EDGE_TOLERANCE = 1e-6


def coarsen(
    batch: GraphBatch,
    assignment: Assignment,
    *,
    edge_feat: Tensor | None = None,
    edge_tol: float = EDGE_TOLERANCE,
) -> tuple[DGLGraph, Tensor, Tensor, Tensor | None, RaggedLayout]:
    """Coarsen a batch with one assignment matrix per graph.

    Parameters
    ----------
    batch : GraphBatch
        Graphs, X and A.
    assignment : Assignment
        S of each graph.
    edge_feat : Tensor, optional
        The entries of E, one row per edge. Shape ``(E, De)``.
    edge_tol : float, optional
        Entries of A' with an absolute value up to this make no edge, nor do entries that are below
        the rounding of the sums they come from, whatever ``edge_tol`` is.

    Returns
    -------
    tuple
        Coarse graph, X' ``(sum K_b, D)``, A' ``(E',)``, E' ``(E', De)`` or None, and the layout of
        the coarse batch, whose buckets hold the same graphs as those of the batch.
    """
    layout, device, dtype = batch.layout, batch.feat.device, batch.feat.dtype
    counts = torch.zeros(layout.batch_size, dtype=torch.int64, device=device)
    for bucket, columns in zip(layout.buckets, assignment.columns):
        counts[bucket.graphs] = columns
    starts = counts.cumsum(0) - counts
    coarse_layout = RaggedLayout.of_groups(
        counts.cpu().numpy(), layout.groups, [each.shape[2] for each in assignment.blocks], device
    )
    coarse_feats, sources, destinations, numbers, weights, features = [], [], [], [], [], []
    gates = assignment.feature_blocks or assignment.blocks
    sums = _EdgeSums(batch, edge_feat)
    for index, (bucket, coarse, assign) in enumerate(
        zip(layout.buckets, coarse_layout.buckets, assignment.blocks)
    ):
        coarse_feats.append(gates[index].to(dtype).mT @ batch.blocks[index])
        adjacency, least = sums.adjacency(index, assign)
        present = adjacency.detach().abs() > least.clamp(min=edge_tol)[:, None, None]
        if not coarse.full:
            present &= coarse.mask[:, :, None] & coarse.mask[:, None, :]
        cell = present.flatten().nonzero().squeeze(1)
        numbers.append(present.sum((1, 2)))
        nodes = starts[bucket.graphs, None] + torch.arange(assign.shape[2], device=device)
        source, destination = nodes[:, :, None], nodes[:, None, :]
        sources.append(source.expand_as(present).flatten().index_select(0, cell))
        destinations.append(destination.expand_as(present).flatten().index_select(0, cell))
        weights.append(adjacency.flatten().index_select(0, cell).to(dtype))
        if edge_feat is not None:
            pooled = sums.features(index, assign)
            features.append(pooled.flatten(0, 2).index_select(0, cell))
    if not layout.buckets:
        nothing = torch.empty(0, dtype=torch.int64, device=device)
        empty = batched_graph(nothing, nothing, counts, counts.clone(), like=batch.graph)
        none = batch.feat[:0]
        pooled_features = None if edge_feat is None else none.new_empty(0, edge_feat.shape[1])
        return empty, none, none.new_empty(0), pooled_features, coarse_layout
    num_edges, order = _in_order(layout, torch.cat(numbers), sum(map(len, weights)))

    def sort(parts: list[Tensor]) -> Tensor:
        return torch.cat(parts).index_select(0, order)

    graph = batched_graph(sort(sources), sort(destinations), counts, num_edges, like=batch.graph)
    pooled_features = sort(features) if features else None
    coarse_feat = coarse_layout.rows(coarse_feats)
    return graph, coarse_feat, sort(weights), pooled_features, coarse_layout


class _EdgeSums:
    """S' A S and S' E S of each bucket; from the edges, where a dense A would be mostly zeros.

    Parameters
    ----------
    batch : GraphBatch
        Graphs and A.
    edge_feat : Tensor, optional
        The entries of E. Shape ``(E, De)``.
    """

    def __init__(self, batch: GraphBatch, edge_feat: Tensor | None) -> None:
        self._batch, self._dtype = batch, batch.feat.dtype
        edges = batch.graph.num_edges()
        self._sparse = [
            bucket.width > LARGE and SPARSE * edges < len(bucket) * bucket.width**2
            for bucket in batch.layout.buckets
        ]
        self._dense = batch.dense(batch.edge_weight, skip=self._sparse)
        self._edge_feat = None if edge_feat is None else edge_feat.to(self._dtype)
        self._channels = (
            [] if self._edge_feat is None else batch.dense(self._edge_feat, skip=self._sparse)
        )
        self._negative = (batch.edge_weight.detach() < 0).any()

    def adjacency(self, index: int, assign: Tensor) -> tuple[Tensor, Tensor]:
        """A' of a bucket ``(b, K, K)``, and how small an entry of each graph is rounding ``(b,)``.

        An entry of A' is a sum over edges of S_ik a_ij S_jl: where terms can cancel, what is below
        its rounding is none, on one processor as on another.
        """
        bucket = self._batch.layout.buckets[index]
        if self._sparse[index]:
            members, ends = self._ends(index)
            values = self._batch.edge_weight[members].to(assign.dtype)
            found = coarse_adjacency(assign, *ends, values[:, None]).squeeze(-1)
            graph_of = torch.div(ends[0], bucket.width, rounding_mode="floor")
            size = values.new_zeros(len(bucket)).index_add(0, graph_of, values.detach().abs())
        else:
            dense = self._dense[index].to(assign.dtype)
            found = assign.mT @ dense @ assign
            size = dense.detach().abs().sum((1, 2))
        assign = assign.detach()
        largest = assign.abs().amax((1, 2)).square()
        rounding = 8 * torch.finfo(assign.dtype).eps * bucket.width
        cancel = (assign < 0).any(2).any(1) | self._negative
        return found, torch.where(cancel, rounding * largest * size, 0)

    def features(self, index: int, assign: Tensor) -> Tensor:
        """E' of a bucket, ``(b, K, K, De)``."""
        if not self._sparse[index] or self._edge_feat is None:
            return _both_sides(self._channels[index], assign.to(self._dtype).mT)
        members, ends = self._ends(index)
        values = self._edge_feat[members].to(assign.dtype)
        return coarse_adjacency(assign, *ends, values).to(self._dtype)

    def _ends(self, index: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The edges of a bucket, and their ends as rows of its block flattened, ``(e,)`` each."""
        width = self._batch.layout.buckets[index].width
        members, cells = self._batch.structure.edges_of(index)
        source = torch.div(cells, width, rounding_mode="floor")
        return members, (source, source - source % width + cells % width)


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
    blocks: list[Tensor],
    feat: Tensor,
    *,
    inverse: bool = False,
) -> Tensor:
    """S X', or with ``inverse`` S (S' S)^+ X': coarse features ``(sum K_b, D)`` on the nodes.

    The pseudo-inverse gives back X from X' = S' X where X is constant in the groups. What S all but
    loses is left out, as X' holds nothing but rounding of it: with c a share of the trace of S' S
    that follows from the dtype of ``feat``, a squared singular value s counts with the factor
    1 - (c / (s + c))^2 of Tikhonov's regularisation, iterated once, which has no threshold.
    Shape ``(N, D)``.
    """
    if not layout.buckets:
        return feat.new_zeros(0, feat.shape[1])
    rows = []
    for assign, block in zip(blocks, coarse.blocks(feat)):
        if inverse:
            wide = assign.to(compute_dtype(feat.device))
            lifted = wide @ (_regular_inverse(wide, feat.dtype) @ block.to(wide.dtype))
            rows.append(lifted.to(feat.dtype))
        else:
            rows.append(assign.to(feat.dtype) @ block)
    return layout.rows(rows)


def _regular_inverse(assign: Tensor, dtype: torch.dtype) -> Tensor:
    """(S' S)^+ for X' in this dtype, see :func:`lift`. ``(b, n, K)`` to ``(b, K, K)``."""
    gram = assign.mT @ assign
    share = max(torch.finfo(dtype).eps ** (2 / 3), LOST)
    trace = gram.diagonal(dim1=1, dim2=2).sum(-1).clamp(min=torch.finfo(torch.float32).tiny)
    cut = share * trace[:, None, None]
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    inverse, _ = torch.linalg.inv_ex(gram + cut * identity)
    return inverse + cut * inverse @ inverse


def _both_sides(dense: Tensor, transposed: Tensor) -> Tensor:
    """S' E S for every channel: E ``(b, w, w, De)``, S' ``(b, K, w)`` to ``(b, K, K, De)``."""
    b, w, _, channels = dense.shape
    rows = (transposed @ dense.reshape(b, w, w * channels)).unflatten(-1, (w, channels))
    return transposed[:, None] @ rows
