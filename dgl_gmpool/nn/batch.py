"""A batch of graphs as every readout sees it: checked, on the device and in the dtype of work."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.checks import check_edges, check_features, check_rows
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.nn.segments import Segments
from dgl_gmpool.nn.structure import GraphStructure


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
        features or weights, or such as ``dtype`` cannot hold; and on batch information that does
        not fit the graph.
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
        self.structure = graph
        self.feat = feat.to(dtype)
        check_rows(feat, self.feat, graph)
        self._edge_weight = check_edges("edge_weight", edge_weight, self.graph, dtype, dims=1)
        self._conductance = check_edges("conductance", conductance, self.graph, dtype, dims=1)
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
