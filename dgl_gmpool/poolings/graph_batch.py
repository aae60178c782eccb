"""A batch as the baselines read it: checked, and on the device and in the dtype of computation."""

from __future__ import annotations

from functools import cached_property

import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.coarsen import DenseEdges
from dgl_gmpool.nn.dense_pooling import check_edges
from dgl_gmpool.nn.graph_batch import check_features, edges_inside, node_counts
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.nn.segments import Segments


class GraphBatch:
    """Graph, node features and what follows from them; computed once, when first asked for.

    Parameters
    ----------
    graph : DGLGraph
        A graph or a batch of graphs, on any device.
    feat : Tensor
        Node features. Shape ``(N, width)``, floating point.
    width : int
        What their width has to be.
    dtype : torch.dtype
        The dtype to compute in.
    edge_weight : Tensor, optional
        The entries of A, one per edge. Shape ``(E,)``. Default: ones.
    batch_num_nodes : Tensor, optional
        Node counts of the graphs, where ``graph`` has lost them. Shape ``(B,)``.

    Raises
    ------
    TypeError, ValueError
        On integer, misshapen or non-finite features or weights, and on batch information that
        does not fit the graph.
    """

    def __init__(
        self,
        graph: DGLGraph,
        feat: Tensor,
        *,
        width: int,
        dtype: torch.dtype,
        edge_weight: Tensor | None = None,
        batch_num_nodes: Tensor | None = None,
    ) -> None:
        check_features(feat, width, graph, batch_num_nodes)
        edge_weight = check_edges("edge_weight", edge_weight, graph, dims=1)
        self.graph = graph
        self.counts = node_counts(graph, feat, batch_num_nodes).to(feat.device)
        self.feat = feat.to(dtype)
        self._edge_weight = edge_weight

    def __len__(self) -> int:
        return self.counts.shape[0]

    @cached_property
    def segments(self) -> Segments:
        """Which node belongs to which graph."""
        return Segments(self.counts, self.feat.shape[0])

    @cached_property
    def layout(self) -> RaggedLayout:
        """The graphs in buckets of like size."""
        return RaggedLayout.from_counts(self.counts, self.feat.device)

    @cached_property
    def edges(self) -> tuple[Tensor, Tensor]:
        """Source and destination of each edge, ``(E,)`` int64 each, inside one graph each."""
        return edges_inside(self.graph, self.segments.owner)

    @cached_property
    def edge_weight(self) -> Tensor:
        """The entries of A, one per edge. Shape ``(E,)``."""
        if self._edge_weight is None:
            return self.feat.new_ones(self.graph.num_edges())
        return self._edge_weight.to(self.feat.device, self.feat.dtype)

    @cached_property
    def adjacency(self) -> list[Tensor]:
        """A of every graph, one block ``(b, w, w)`` for each bucket; parallel edges add up."""
        dense = DenseEdges(self.graph, self.layout, self.feat.device)
        blocks = []
        for index, bucket in enumerate(self.layout.buckets):
            members, cells = dense.cells(index, bucket)
            blocks.append(dense.dense(self.edge_weight[members], cells, bucket))
        return blocks

    def neighbour_sum(self, values: Tensor) -> Tensor:
        """Weighted sum over incoming edges, ``(N, D)`` to ``(N, D)``."""
        source, destination = self.edges
        messages = values.index_select(0, source) * self.edge_weight[:, None]
        return torch.zeros_like(values).index_add(0, destination, messages)
