"""A batch of graphs as every readout sees it: checked, on the device and in the dtype of work."""

from __future__ import annotations

import math
from functools import cached_property

import dgl
import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.ragged import Bucket, RaggedLayout
from dgl_gmpool.nn.segments import Segments

#: Squares of larger numbers overflow float64 when summed over features.
LARGEST = 1e150


class GraphBatch:
    """Graph, node features and what follows from them; computed once, when first asked for.

    Only edges and node counts are read from the graph, wherever it is.

    Parameters
    ----------
    graph : DGLGraph
        A homogeneous graph or a batch of them, on any device.
    feat : Tensor
        Node features. Shape ``(N, width)``, floating point.
    width : int
        What their width has to be.
    dtype : torch.dtype
        The dtype to compute in.
    edge_weight : Tensor, optional
        The entries of A, one per edge. Shape ``(E,)``. Default: ones.
    conductance : Tensor, optional
        How well each edge conducts in a diffusion. Shape ``(E,)``, > 0. Default: ``edge_weight``.
    batch_num_nodes : Tensor, optional
        Node counts of the graphs, where ``graph`` has lost them. Shape ``(B,)``.

    Raises
    ------
    TypeError, ValueError
        On graphs with several kinds of nodes; on integer, misshapen or, on a CPU, non-finite
        features or weights; and on batch information that does not fit the graph.
    """

    def __init__(
        self,
        graph: DGLGraph,
        feat: Tensor,
        *,
        width: int,
        dtype: torch.dtype,
        edge_weight: Tensor | None = None,
        conductance: Tensor | None = None,
        batch_num_nodes: Tensor | None = None,
    ) -> None:
        check_homogeneous(graph)
        check_features(feat, width, graph, batch_num_nodes)
        check_magnitude(feat)
        self.graph = graph
        #: Node counts ``(B,)`` int64, where the graph is: a CPU graph makes no GPU wait.
        self.host_counts = node_counts(graph, feat, batch_num_nodes)
        self.feat = feat.to(dtype)
        self._edge_weight = check_edges("edge_weight", edge_weight, graph, dims=1)
        self._conductance = check_edges("conductance", conductance, graph, dims=1)

    def __len__(self) -> int:
        return self.host_counts.shape[0]

    @cached_property
    def filled(self) -> Tensor:
        """The graphs that have nodes. int64, where the graph is."""
        return (self.host_counts > 0).nonzero()[:, 0]

    def without_empty(self) -> GraphBatch:
        """The same nodes and edges, without the graphs that have no nodes."""
        if len(self.filled) == len(self):
            return self
        rest = GraphBatch.__new__(GraphBatch)
        rest.graph, rest.feat = self.graph, self.feat
        rest.host_counts = self.host_counts[self.filled]
        rest._edge_weight, rest._conductance = self._edge_weight, self._conductance
        return rest

    @cached_property
    def counts(self) -> Tensor:
        """Node counts on the device of the features. Shape ``(B,)``, int64."""
        return self.host_counts.to(self.feat.device)

    @cached_property
    def segments(self) -> Segments:
        """Which node belongs to which graph."""
        return Segments(self.counts, self.feat.shape[0])

    @cached_property
    def layout(self) -> RaggedLayout:
        """The graphs in buckets of like size."""
        return RaggedLayout.from_counts(self.host_counts, self.feat.device)

    @cached_property
    def edges(self) -> tuple[Tensor, Tensor]:
        """Source and destination of each edge, ``(E,)`` int64 each, inside one graph each."""
        source, destination = (ids.to(torch.int64) for ids in self.graph.edges())
        # Where the graph is: a graph in the memory of the host makes no GPU wait for the answer.
        owner = torch.repeat_interleave(self.host_counts)
        between = owner[source] != owner[destination]
        if between.any():
            edge = int(between.nonzero()[0])
            raise ValueError(
                f"edge {edge} joins node {int(source[edge])} of graph {int(owner[source[edge]])} "
                f"and node {int(destination[edge])} of graph {int(owner[destination[edge]])}; "
                "check batch_num_nodes"
            )
        device = self.feat.device
        return source.to(device), destination.to(device)

    @cached_property
    def edge_weight(self) -> Tensor:
        """The entries of A, one per edge. Shape ``(E,)``."""
        if self._edge_weight is None:
            return self.feat.new_ones(self.graph.num_edges())
        return self._edge_weight.to(self.feat.device, self.feat.dtype)

    @cached_property
    def conductance(self) -> Tensor:
        """How well each edge conducts, >= 0. Shape ``(E,)``."""
        if self._conductance is None:
            return self.edge_weight.abs()
        return self._conductance.to(self.feat.device, self.feat.dtype)

    @cached_property
    def blocks(self) -> list[Tensor]:
        """The features, one block ``(b, w, D)`` for each bucket; zeros in padding."""
        return self.layout.blocks(self.feat)

    @cached_property
    def cells(self) -> EdgeCells:
        """Where the edges stand in dense adjacency matrices."""
        return EdgeCells(*self.edges, self.layout)

    def dense(self, values: Tensor) -> list[Tensor]:
        """Edge values ``(E, ...)`` as blocks ``(b, w, w, ...)``; parallel edges add up."""
        return [
            self.cells.dense(values, index, bucket)
            for index, bucket in enumerate(self.layout.buckets)
        ]

    @cached_property
    def adjacency(self) -> list[Tensor]:
        """A of every graph, one block ``(b, w, w)`` for each bucket."""
        return self.dense(self.edge_weight)

    def neighbour_sum(self, values: Tensor) -> Tensor:
        """Weighted sum over incoming edges, ``(N, D)`` to ``(N, D)``."""
        source, destination = self.edges
        messages = values.index_select(0, source) * self.edge_weight[:, None]
        return torch.zeros_like(values).index_add(0, destination, messages)


class EdgeCells:
    """The cells of A ``(b, w, w)`` in which the edges of a batch stand, bucket by bucket."""

    def __init__(self, source: Tensor, destination: Tensor, layout: RaggedLayout) -> None:
        slot = torch.empty(layout.num_nodes, dtype=torch.int64, device=source.device)
        bucket_of_node = torch.empty_like(slot)
        for index, bucket in enumerate(layout.buckets):
            bucket_of_node[bucket.nodes] = index
            slot[bucket.nodes] = bucket.slots
        self._rows, self._columns = slot[source], slot[destination]
        self._single = len(layout.buckets) == 1
        self._bucket = bucket_of_node[source]

    def of(self, index: int, bucket: Bucket) -> tuple[Tensor, Tensor]:
        """Which edges lie in this bucket, and in which of its b * w * w cells, ``(e,)`` each."""
        if self._single:
            edges = torch.arange(len(self._rows), device=self._rows.device)
        else:
            edges = (self._bucket == index).nonzero().squeeze(1)
        return edges, self._rows[edges] * bucket.width + self._columns[edges] % bucket.width

    def dense(self, values: Tensor, index: int, bucket: Bucket) -> Tensor:
        """Edge values ``(E, ...)`` of the whole batch summed into cells, ``(b, w, w, ...)``."""
        edges, cells = self.of(index, bucket)
        block = values.new_zeros((len(bucket) * bucket.width**2, *values.shape[1:]))
        block = block.index_add(0, cells, values[edges])
        return block.unflatten(0, (len(bucket), bucket.width, bucket.width))


def check_homogeneous(graph: DGLGraph) -> None:
    """Check that a graph has one kind of nodes and of edges and is no block.

    Raises
    ------
    ValueError
        With the remedy.
    """
    if getattr(graph, "is_block", False):
        raise ValueError(
            "the graph is a block (message flow graph), whose source and destination nodes differ; "
            "pool the whole graph, or dgl.block_to_graph(block) and dgl.to_homogeneous of it"
        )
    if len(graph.ntypes) != 1 or len(graph.canonical_etypes) != 1:
        raise ValueError(
            f"the graph has the node types {graph.ntypes} and the edge types {graph.etypes}; a "
            "pooling takes one of each. Pool dgl.to_homogeneous(graph), or one type of nodes: "
            "dgl.edge_type_subgraph(graph, [an edge type between them])"
        )


def node_counts(graph: DGLGraph, feat: Tensor, batch_num_nodes: Tensor | None = None) -> Tensor:
    """Number of nodes of each graph, ``(B,)`` int64, checked against the rows of ``feat``.

    Parameters
    ----------
    graph : DGLGraph
        A graph or a batch of graphs.
    feat : Tensor
        Node features. Shape ``(N, D)``.
    batch_num_nodes : Tensor, optional
        Node counts to use where the graph has lost its own: ``dgl.add_self_loop``,
        ``dgl.reverse``, ``dgl.to_bidirected`` and ``dgl.save_graphs`` all turn a batch into one
        graph.

    Raises
    ------
    TypeError
        If the counts are not integers.
    ValueError
        If counts and rows disagree.
    """
    counts = graph.batch_num_nodes() if batch_num_nodes is None else batch_num_nodes
    counts = torch.as_tensor(counts)
    if counts.is_floating_point():
        raise TypeError(f"batch_num_nodes is {counts.dtype}; give integers")
    counts = counts.to(torch.int64)
    values = counts.flatten().tolist()
    if feat.shape[0] != graph.num_nodes():
        raise ValueError(
            f"feat has {feat.shape[0]} rows, the graph has {graph.num_nodes()} nodes; "
            "pass one row per node of the whole batch"
        )
    if counts.dim() != 1 or sum(values) != graph.num_nodes() or min(values, default=0) < 0:
        raise ValueError(
            f"batch_num_nodes adds up to {sum(values)} and the graph has "
            f"{graph.num_nodes()} nodes; give one non-negative count per graph of the batch"
        )
    return counts


def check_features(
    feat: Tensor, width: int, graph: DGLGraph, batch_num_nodes: Tensor | None = None
) -> None:
    """Check that ``feat`` is a finite floating-point ``(N, width)`` tensor.

    Values are looked at on a CPU only: to look is to wait for a GPU, in every step. There, a NaN
    stays in the row of its own graph.

    Raises
    ------
    TypeError
        If it is not a floating-point tensor.
    ValueError
        If its shape is wrong, or a value is NaN or infinite: the message names graph and node.
    """
    if not isinstance(feat, Tensor) or not feat.is_floating_point():
        kind = feat.dtype if isinstance(feat, Tensor) else type(feat).__name__
        raise TypeError(f"feat is {kind}; give a floating-point tensor, for example feat.float()")
    if feat.dim() != 2 or feat.shape[1] != width:
        raise ValueError(
            f"feat has shape {tuple(feat.shape)}; expected (number of nodes, in_feats={width})"
        )
    if feat.device.type != "cpu":
        return
    # A sum is one pass, and it is finite exactly when no term is NaN or infinite, save for
    # overflow, which the second look sorts out.
    if not math.isfinite(float(feat.detach().sum())) and not torch.isfinite(feat).all():
        row, column = (int(i) for i in (~torch.isfinite(feat)).nonzero()[0])
        ends = node_counts(graph, feat, batch_num_nodes).cumsum(0).cpu()
        index = int(torch.searchsorted(ends, row, right=True))
        start = int(ends[index - 1]) if index else 0
        raise ValueError(
            f"feat[{row}, {column}] is {feat[row, column].item()}: node {row - start} of graph "
            f"{index} of the batch. Fix or drop that graph, or look for a "
            "learning rate that let the layers before the pooling diverge"
        )


def check_magnitude(feat: Tensor) -> None:
    """Check that squared distances of ``feat`` do not overflow in float64.

    Raises
    ------
    ValueError
        If a float64 value is beyond 1e150; no narrower dtype can hold one.
    """
    if feat.device.type != "cpu" or feat.dtype != torch.float64 or not feat.numel():
        return
    if feat.detach().abs().max() > LARGEST:
        raise ValueError(
            f"feat holds values up to {feat.detach().abs().max().item():.3g}, whose squares "
            "overflow; standardise the features first"
        )


def batched_graph(
    source: Tensor,
    destination: Tensor,
    num_nodes: Tensor,
    num_edges: Tensor,
    *,
    like: DGLGraph,
) -> DGLGraph:
    """A DGLGraph from edges already sorted by graph, with its batch information set.

    Id type and device are those of ``like``.
    """
    graph = dgl.graph(
        (source.to(like.device, like.idtype), destination.to(like.device, like.idtype)),
        num_nodes=int(num_nodes.sum()),
        idtype=like.idtype,
        device=like.device,
    )
    graph.set_batch_num_nodes(num_nodes.to(like.device, like.idtype))
    graph.set_batch_num_edges(num_edges.to(like.device, like.idtype))
    return graph


def check_edges(name: str, values: Tensor | None, graph: DGLGraph, *, dims: int) -> Tensor | None:
    """Check an optional floating-point tensor of one row per edge, and its number of dimensions.

    A column ``(E, 1)`` is taken where ``(E,)`` is expected.

    Raises
    ------
    TypeError, ValueError
        If it is not a floating-point tensor; if its shape is wrong or a value is not finite.
    """
    if values is None:
        return None
    if not isinstance(values, Tensor) or not values.is_floating_point():
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{name} is {kind}; give a floating-point tensor")
    if dims == 1 and values.dim() == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dim() != dims or values.shape[0] != graph.num_edges():
        expected = "(number of edges, channels)" if dims == 2 else "(number of edges,)"
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}; expected {expected} for "
            f"{graph.num_edges()} edges"
        )
    on_host = values.device.type == "cpu"
    if on_host and not torch.isfinite(values.detach().sum()) and not torch.isfinite(values).all():
        row = int((~torch.isfinite(values)).nonzero()[0, 0])
        raise ValueError(f"{name}[{row}] is not finite; fix or drop that edge before pooling")
    return values
