"""A batch of graphs as every readout sees it: checked, on the device and in the dtype of work."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import dgl
import numpy as np
import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.ragged import RaggedLayout, on_device
from dgl_gmpool.nn.segments import Segments

#: Squares of larger numbers overflow float64 when summed over features.
LARGEST = 1e150


class GraphStructure:
    """What of a batch does not depend on its features; computed once, when first asked for.

    Only edges and node counts are read from the graph, wherever it is. A network makes it once and
    hands it to all its layers and its pooling.

    Parameters
    ----------
    graph : DGLGraph
        A homogeneous graph or a batch of them, on any device.
    device : torch.device
        Where the features are.
    batch_num_nodes : Tensor, optional
        Node counts of the graphs, where ``graph`` has lost them. Shape ``(B,)``.

    Raises
    ------
    TypeError, ValueError
        On graphs with several kinds of nodes, and on counts that do not fit the graph.
    """

    def __init__(
        self,
        graph: DGLGraph,
        device: torch.device,
        batch_num_nodes: Tensor | None = None,
    ) -> None:
        check_homogeneous(graph)
        self.graph = graph
        self.device = device
        #: Whether several layers share it, and may leave here what the others need.
        self.shared = False
        #: What a diffusion hung on, its conductances, and what came of it.
        self.heat: tuple[Any, Tensor | None, list[Any]] | None = None
        self._rest: GraphStructure | None = None
        #: Node counts ``(B,)`` int64, in the memory of the host: a CPU graph makes no GPU wait.
        self.host_counts = node_counts(graph, batch_num_nodes).cpu()

    def __len__(self) -> int:
        return self.host_counts.shape[0]

    @cached_property
    def filled(self) -> Tensor:
        """The graphs that have nodes. int64, in the memory of the host."""
        return (self.host_counts > 0).nonzero()[:, 0]

    @property
    def without_empty(self) -> GraphStructure:
        """The same nodes and edges, without the graphs that have no nodes."""
        # Itself is not kept: a circle would hold its tensors until the collector comes by.
        if len(self.filled) == len(self):
            return self
        if self._rest is None:
            self._rest = self._without_empty()
        return self._rest

    def _without_empty(self) -> GraphStructure:
        rest = copy.copy(self)
        for name in [name for name in rest.__dict__ if name not in ("graph", "device", "shared")]:
            rest.__dict__.pop(name, None)
        rest.heat = rest._rest = None
        rest.host_counts = self.host_counts[self.filled]
        return rest

    @cached_property
    def layout(self) -> RaggedLayout:
        """The graphs in buckets of like size."""
        return RaggedLayout.from_counts(self.host_counts, self.device)

    @cached_property
    def counts(self) -> Tensor:
        """Node counts on the device of the features. Shape ``(B,)``, int64."""
        return on_device([self.host_counts.numpy()], self.device)[0]

    @cached_property
    def segments(self) -> Segments:
        """Which node belongs to which graph."""
        return Segments(self.counts, self.graph.num_nodes())

    @cached_property
    def host_edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Source and destination of each edge, ``(E,)`` int64 each, inside one graph each."""
        ends = (ids.to("cpu", torch.int64).numpy() for ids in self.graph.edges())
        source, destination = ends
        counts = self.host_counts.numpy()
        owner = np.arange(len(counts)).repeat(counts)
        between = owner[source] != owner[destination]
        if between.any():
            edge = int(between.argmax())
            raise ValueError(
                f"edge {edge} joins node {source[edge]} of graph {owner[source[edge]]} and node "
                f"{destination[edge]} of graph {owner[destination[edge]]}; check batch_num_nodes"
            )
        return source, destination

    @cached_property
    def at_end(self) -> Tensor:
        """1 for the edges of nodes that have but one neighbour, else 0. Shape ``(E,)``, float32."""
        source, destination = self.host_edges
        proper = source != destination
        there, back = source[proper], destination[proper]
        nodes = self.graph.num_nodes()
        # As one number each, which sorts many times faster than pairs do.
        pairs = np.unique(np.concatenate([there * nodes + back, back * nodes + there]))
        degree = np.bincount(pairs // max(nodes, 1), minlength=nodes)
        end = (degree[source] == 1) | (degree[destination] == 1)
        return on_device([end], self.device)[0].float()

    @cached_property
    def edges(self) -> tuple[Tensor, Tensor]:
        """Those on the device of the features."""
        source, destination = on_device(self.host_edges, self.device)
        return source, destination

    @cached_property
    def cell_starts(self) -> list[int]:
        """Where the cells of each bucket's A start, all laid end to end, and where they end."""
        starts = [0]
        for bucket in self.layout.buckets:
            starts.append(starts[-1] + len(bucket) * bucket.width**2)
        return starts

    @cached_property
    def host_cells(self) -> np.ndarray:
        """In which of all those cells each edge stands. Shape ``(E,)``, int64."""
        layout = self.layout
        source, destination = (layout.host_position[ends] for ends in self.host_edges)
        # Of each bucket: its first slot and cell, and its width.
        widths = np.array([bucket.width for bucket in layout.buckets], dtype=np.int64)
        slots = np.cumsum([0, *(len(bucket) * bucket.width for bucket in layout.buckets)])
        which = np.searchsorted(slots, source, side="right") - 1
        rows, width = source - slots[which], widths[which]
        columns = (destination - slots[which]) % width
        return np.array(self.cell_starts)[which] + rows * width + columns

    @cached_property
    def cells(self) -> Tensor:
        """:attr:`host_cells` on the device of the features."""
        return on_device([self.host_cells], self.device)[0]

    def edges_of(self, index: int) -> tuple[Tensor, Tensor]:
        """Which edges lie in one bucket, and in which of its cells: ``(e,)`` each, int64."""
        start, stop = self.cell_starts[index : index + 2]
        members = np.flatnonzero((self.host_cells >= start) & (self.host_cells < stop))
        edges, cells = on_device([members, self.host_cells[members] - start], self.device)
        return edges, cells


class GraphBatch:
    """A batch of graphs with its features, checked, in the dtype of work.

    Parameters
    ----------
    graph : DGLGraph or GraphStructure
        A homogeneous graph or a batch of them; or what is known of it already.
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
        graph: DGLGraph | GraphStructure,
        feat: Tensor,
        *,
        width: int,
        dtype: torch.dtype,
        edge_weight: Tensor | None = None,
        conductance: Tensor | None = None,
        batch_num_nodes: Tensor | None = None,
    ) -> None:
        check_features(feat, width)
        if not isinstance(graph, GraphStructure):
            graph = GraphStructure(graph, feat.device, batch_num_nodes)
        elif batch_num_nodes is not None:
            raise TypeError("batch_num_nodes goes with a DGLGraph; a GraphStructure has its own")
        check_rows(feat, graph)
        self.structure = graph
        self.feat = feat.to(dtype)
        self._edge_weight = check_edges("edge_weight", edge_weight, self.graph, dims=1)
        self._conductance = check_edges("conductance", conductance, self.graph, dims=1)
        given = self._conductance
        if given is not None and given.device.type == "cpu" and bool((given < 0).any()):
            edge = int((given < 0).nonzero()[0])
            raise ValueError(
                f"conductance[{edge}] is {given[edge].item():g}; an edge conducts by a number >= 0 "
                "(an edge_weight may be negative)"
            )

    def __len__(self) -> int:
        return len(self.structure)

    @property
    def graph(self) -> DGLGraph:
        return self.structure.graph

    @property
    def filled(self) -> Tensor:
        """The graphs that have nodes. int64, in the memory of the host."""
        return self.structure.filled

    def without_empty(self) -> GraphBatch:
        """The same nodes and edges, without the graphs that have no nodes."""
        rest = self.structure.without_empty
        if rest is self.structure:
            return self
        batch = GraphBatch.__new__(GraphBatch)
        batch.structure, batch.feat = rest, self.feat
        batch._edge_weight, batch._conductance = self._edge_weight, self._conductance
        return batch

    @property
    def host_counts(self) -> Tensor:
        """Node counts ``(B,)`` int64, in the memory of the host."""
        return self.structure.host_counts

    @property
    def counts(self) -> Tensor:
        """Node counts on the device of the features. Shape ``(B,)``, int64."""
        return self.structure.counts

    @property
    def segments(self) -> Segments:
        """Which node belongs to which graph."""
        return self.structure.segments

    @property
    def layout(self) -> RaggedLayout:
        """The graphs in buckets of like size."""
        return self.structure.layout

    @property
    def edges(self) -> tuple[Tensor, Tensor]:
        """Source and destination of each edge, ``(E,)`` int64 each, inside one graph each."""
        return self.structure.edges

    @cached_property
    def edge_weight(self) -> Tensor:
        """The entries of A, one per edge. Shape ``(E,)``."""
        if self._edge_weight is None:
            return self.feat.new_ones(self.graph.num_edges())
        return self._edge_weight.to(self.feat.device, self.feat.dtype)

    @property
    def given_conductance(self) -> Tensor | None:
        """What was given as conductances, by which a diffusion is known again."""
        return self._conductance if self._conductance is not None else self._edge_weight

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

    def dense(self, values: Tensor, skip: Sequence[bool] = ()) -> list[Tensor]:
        """Edge values ``(E, ...)`` as blocks ``(b, w, w, ...)``; parallel edges add up.

        Blocks of buckets to ``skip`` are left empty.
        """
        structure, buckets = self.structure, self.layout.buckets
        starts = structure.cell_starts
        if any(skip):
            blocks = [values.new_zeros(0)] * len(buckets)
            for index, left_out in enumerate(skip):
                if not left_out:
                    members, cells = structure.edges_of(index)
                    size = starts[index + 1] - starts[index]
                    blocks[index] = _summed(values[members], cells, size)
        else:
            flat = _summed(values, structure.cells, starts[-1])
            blocks = list(flat.split([stop - start for start, stop in pairwise(starts)]))
        return [
            block.unflatten(0, (len(bucket), bucket.width, bucket.width)) if len(block) else block
            for block, bucket in zip(blocks, buckets)
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


def _summed(values: Tensor, cells: Tensor, size: int) -> Tensor:
    """Values ``(e, ...)`` summed into their cells, ``(size, ...)``."""
    return values.new_zeros((size, *values.shape[1:])).index_add(0, cells, values)


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


def node_counts(graph: DGLGraph, batch_num_nodes: Tensor | None = None) -> Tensor:
    """Number of nodes of each graph, ``(B,)`` int64, checked against the graph.

    Parameters
    ----------
    graph : DGLGraph
        A graph or a batch of graphs.
    batch_num_nodes : Tensor, optional
        Node counts to use where the graph has lost its own: ``dgl.add_self_loop``,
        ``dgl.reverse``, ``dgl.to_bidirected`` and ``dgl.save_graphs`` all turn a batch into one
        graph.

    Raises
    ------
    TypeError
        If the counts are not integers.
    ValueError
        If they do not add up to the nodes of the graph.
    """
    counts = graph.batch_num_nodes() if batch_num_nodes is None else batch_num_nodes
    counts = torch.as_tensor(counts)
    if counts.is_floating_point():
        raise TypeError(f"batch_num_nodes is {counts.dtype}; give integers")
    counts = counts.to(torch.int64)
    values = counts.flatten().tolist()
    if counts.dim() != 1 or sum(values) != graph.num_nodes() or min(values, default=0) < 0:
        raise ValueError(
            f"batch_num_nodes adds up to {sum(values)} and the graph has "
            f"{graph.num_nodes()} nodes; give one non-negative count per graph of the batch"
        )
    return counts


def check_features(feat: Tensor, width: int) -> None:
    """Check that ``feat`` is a floating-point ``(N, width)`` tensor.

    Raises
    ------
    TypeError
        If it is not a floating-point tensor.
    ValueError
        If its shape is wrong.
    """
    if not isinstance(feat, Tensor) or not feat.is_floating_point():
        kind = feat.dtype if isinstance(feat, Tensor) else type(feat).__name__
        raise TypeError(f"feat is {kind}; give a floating-point tensor, for example feat.float()")
    if feat.dim() != 2 or feat.shape[1] != width:
        raise ValueError(
            f"feat has shape {tuple(feat.shape)}; expected (number of nodes, in_feats={width})"
        )


def check_rows(feat: Tensor, structure: GraphStructure) -> None:
    """Check that there is one row per node and, on a CPU, that values are finite.

    To look at values is to wait for a GPU, in every step. There, a NaN stays in the row of its own
    graph.

    Raises
    ------
    ValueError
        If rows and nodes differ, if a value is NaN or infinite (the message names graph and node),
        or if it is beyond 1e150, where squared distances overflow in float64.
    """
    if feat.shape[0] != structure.graph.num_nodes():
        raise ValueError(
            f"feat has {feat.shape[0]} rows, the graph has {structure.graph.num_nodes()} nodes; "
            "pass one row per node of the whole batch"
        )
    if feat.device.type != "cpu" or torch.compiler.is_compiling():
        return
    # A sum is one pass, and it is finite exactly when no term is NaN or infinite, save for
    # overflow, which the second look sorts out.
    if not math.isfinite(float(feat.detach().sum())) and not torch.isfinite(feat).all():
        row, column = (int(i) for i in (~torch.isfinite(feat)).nonzero()[0])
        ends = structure.host_counts.cumsum(0)
        index = int(torch.searchsorted(ends, row, right=True))
        start = int(ends[index - 1]) if index else 0
        raise ValueError(
            f"feat[{row}, {column}] is {feat[row, column].item()}: node {row - start} of graph "
            f"{index} of the batch. Fix or drop that graph, or look for a "
            "learning rate that let the layers before the pooling diverge"
        )
    if feat.dtype == torch.float64 and feat.numel() and feat.detach().abs().max() > LARGEST:
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
