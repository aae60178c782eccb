"""What of a batch of graphs does not depend on its features: counts, edges, places."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import dgl
import numpy as np
import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.ragged import RaggedLayout, on_device
from dgl_gmpool.nn.segments import Segments


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
            self._rest = GraphStructure(self.graph, self.device, self.host_counts[self.filled])
            self._rest.shared = self.shared
        return self._rest

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
        ends = (ids.to("cpu", torch.int64).numpy() for ids in edge_ends(self.graph))
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


def edge_ends(graph: DGLGraph) -> tuple[Tensor, Tensor]:
    """Source and destination of each edge, in the order of edge features, whatever the sparse
    formats a graph is kept in.

    Examples
    --------
    >>> graph = dgl.graph(([0, 2, 1], [1, 0, 0])).formats("csc")
    >>> [ids.tolist() for ids in edge_ends(graph)]
    [[0, 2, 1], [1, 0, 0]]
    """
    check_homogeneous(graph)
    # A graph that may have no COO refuses edges() in this order. A clone shares what is there.
    source, destination = graph.formats("coo").edges()
    return source, destination


def check_homogeneous(graph: DGLGraph) -> None:
    """Check that a graph is one, has one kind of nodes and of edges and is no block.

    Raises
    ------
    TypeError, ValueError
        With the remedy.
    """
    if not isinstance(graph, DGLGraph):
        raise TypeError(
            f"graph is {type(graph).__name__}; give a DGLGraph, dgl.batch(graphs) for several"
        )
    if graph.is_block:
        raise ValueError(
            "the graph is a block (message flow graph), whose source and destination nodes differ; "
            "take the whole graph, or dgl.block_to_graph(block) and dgl.to_homogeneous of it"
        )
    if len(graph.ntypes) != 1 or len(graph.canonical_etypes) != 1:
        raise ValueError(
            f"the graph has the node types {graph.ntypes} and the edge types {graph.etypes}; "
            "here it has one of each. Take dgl.to_homogeneous(graph), or one type of nodes: "
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
            f"batch_num_nodes, of shape {tuple(counts.shape)}, adds up to {sum(values)} and the "
            f"graph has {graph.num_nodes()} nodes; give one count >= 0 per graph of the "
            "batch, shape (B,)"
        )
    return counts


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
