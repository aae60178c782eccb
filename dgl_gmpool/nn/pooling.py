"""What every pooling shares: both faces, from one assignment matrix per graph."""

from __future__ import annotations

from typing import ClassVar

import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool._options import check_choice
from dgl_gmpool.nn.assignment import Assignment, over_groups, per_graph
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.checks import check_edges
from dgl_gmpool.nn.coarsen import EDGE_TOLERANCE, coarsen, normalise_edge_weight
from dgl_gmpool.nn.counting import Spectrum
from dgl_gmpool.nn.pooled_graph import AssignmentOrigin, PooledGraph
from dgl_gmpool.nn.readout import Reading, Readout, add_losses
from dgl_gmpool.nn.segments import AGGREGATES
from dgl_gmpool.nn.structure import GraphStructure, batched_graph, edge_ends


class Pooling(Readout):
    """Base class of the poolings: X' = S' X, A' = S' A S, E' = S' E S (eq. 13-15).

    A subclass says in :meth:`assign` how S follows from a batch; it gets both faces, the readout
    ``pool(graph, feat)`` and :meth:`coarsen`.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    aggregate : str
        How the readout reduces the coarse nodes: ``"mean"``, ``"sum"``, ``"max"``,
        ``"mean_and_max"`` or ``"mean_max_and_sum"``, which are two and three times as wide.
    edge_tol : float, optional
        Entries of A' with an absolute value up to this make no coarse edge.
    """

    shown: ClassVar[tuple[str, ...]] = ("in_feats", "aggregate")

    #: Whether the pooling must neither follow nor precede another one.
    single_level = False

    #: Whether A' keeps its diagonal, the edges inside a cluster.
    coarse_self_loops = True

    #: Whether A' is divided by the root of its degrees.
    normalise_edges = False

    def __init__(self, in_feats: int, *, aggregate: str, edge_tol: float = EDGE_TOLERANCE) -> None:
        super().__init__(in_feats)
        self.aggregate = check_choice("aggregate", aggregate, AGGREGATES)
        if not isinstance(edge_tol, (int, float)) or not edge_tol >= 0:  # NaN as well
            raise ValueError(f"edge_tol is {edge_tol!r}; give a number >= 0")
        self.edge_tol = edge_tol

    @property
    def out_feats(self) -> int:
        """Width of the readout: that of the node features, times the parts of ``aggregate``."""
        return self.in_feats * len(AGGREGATES[self.aggregate])

    def batch(
        self, graph: DGLGraph | GraphStructure, feat: Tensor, **options: Tensor | None
    ) -> GraphBatch:
        plain = graph.graph if isinstance(graph, GraphStructure) else graph
        before = getattr(plain, "pooled_by", None)
        if before and (self.single_level or getattr(plain, "pooled_single_level", False)):
            raise ValueError(_second_level(type(self).__name__, before))
        return super().batch(graph, feat, **options)

    def assign(self, batch: GraphBatch) -> Assignment:
        """S of every graph, and the auxiliary losses."""
        raise NotImplementedError

    def transform(self, rows: Tensor) -> Tensor:
        """What is done to coarse features after S' X. Shape ``(..., D)``."""
        return rows

    def edges_to_pool(
        self, batch: GraphBatch, edge_feat: Tensor | None
    ) -> tuple[GraphBatch, Tensor | None]:
        """The batch whose A and E are coarsened."""
        return batch, edge_feat

    def read(self, batch: GraphBatch) -> Reading:
        assignment = self.assign(batch)
        changed = type(self).transform is not Pooling.transform
        transform = self.transform if changed else None
        out, weight = over_groups(batch, assignment, self.aggregate, transform)
        return Reading(out, [weight[:, None]], assignment.losses)

    def coarsen(
        self,
        graph: DGLGraph | GraphStructure,
        feat: Tensor,
        edge_feat: Tensor | None = None,
        *,
        edge_weight: Tensor | None = None,
        conductance: Tensor | None = None,
        batch_num_nodes: Tensor | None = None,
    ) -> PooledGraph:
        """The coarsened batch.

        Parameters
        ----------
        graph, feat, edge_weight, conductance, batch_num_nodes
            As in :meth:`forward`.
        edge_feat : Tensor, optional
            E, one row per edge, any number of channels. Shape ``(E, De)``.

        Returns
        -------
        PooledGraph
            With batch information set, so that any ``dgl.nn`` layer runs on it, with
            ``edge_weight=pooled.conv_weight`` where it takes weights.
        """
        batch = self.batch(
            graph,
            feat,
            edge_weight=edge_weight,
            conductance=conductance,
            batch_num_nodes=batch_num_nodes,
        )
        edge_feat = check_edges("edge_feat", edge_feat, batch.graph, batch.feat.dtype, dims=2)
        if edge_feat is not None:
            edge_feat = edge_feat.to(feat.device, batch.feat.dtype)
        with torch.autocast(feat.device.type, enabled=False):
            pooled = self.pool(batch, edge_feat, feat.dtype)
        add_losses(type(self).__name__, pooled.losses)
        # Read by the next pooling: some poolings must not be stacked.
        pooled.graph.pooled_by = type(self).__name__
        pooled.graph.pooled_single_level = self.single_level
        return pooled

    def pool(self, batch: GraphBatch, edge_feat: Tensor | None, dtype: torch.dtype) -> PooledGraph:
        """The coarsened batch, its floating-point numbers in ``dtype``."""
        assignment = self.assign(batch)
        batch, edge_feat = self.edges_to_pool(batch, edge_feat)
        graph, feat, weight, features, coarse = coarsen(
            batch, assignment, edge_feat=edge_feat, edge_tol=self.edge_tol
        )
        if not self.coarse_self_loops:
            graph, kept = without_self_loops(graph, feat.device)
            weight = weight[kept]
            features = None if features is None else features[kept]
        if self.normalise_edges:
            weight = normalise_edge_weight(graph, weight)
        counted = torch.promote_types(dtype, torch.float32)
        return PooledGraph(
            graph=graph,
            feat=self.transform(feat).to(dtype),
            edge_weight=weight.to(dtype),
            edge_feat=None if features is None else features.to(dtype),
            origin=AssignmentOrigin(assignment, batch.layout, coarse, counted),
            losses=assignment.losses,
        )

    def assignments(
        self, graph: DGLGraph | GraphStructure, feat: Tensor, **options: Tensor | None
    ) -> list[Tensor]:
        """S of each graph: list of B tensors ``(n_b, K_b)``, dtype of ``feat``. Further options
        are those of :meth:`forward`."""
        batch = self.batch(graph, feat, **options)
        with self.looking(feat):
            assignment = self.assign(batch)
        return per_graph(batch, assignment.blocks, assignment.columns, feat.dtype)

    @torch.no_grad()
    def spectrum(
        self, graph: DGLGraph | GraphStructure, feat: Tensor, **options: Tensor | None
    ) -> Spectrum:
        """Number of clusters, soft count, effective rank, negative share of each graph, ``(B,)``
        each. Further options are those of :meth:`forward`."""
        batch = self.batch(graph, feat, **options)
        dtype = torch.promote_types(feat.dtype, torch.float32)
        with self.looking(feat):
            return self.assign(batch).spectrum(batch.layout, dtype, feat.device)


def without_self_loops(graph: DGLGraph, device: torch.device) -> tuple[DGLGraph, Tensor]:
    """A batch without its self-loops, and which edges are left, int64 on ``device``."""
    source, destination = edge_ends(graph)
    kept = (source != destination).nonzero().squeeze(1)
    owner = torch.repeat_interleave(graph.batch_num_edges().to(torch.int64))
    counts = torch.bincount(owner[kept], minlength=graph.batch_size)
    out = batched_graph(
        source[kept], destination[kept], graph.batch_num_nodes(), counts, like=graph
    )
    return out, kept.to(device)


def mean_over_graphs(parts: list[Tensor], like: Tensor) -> Tensor:
    """Mean of one number per graph, given in pieces; 0 where there is no graph."""
    values = torch.cat([like.new_zeros(0), *parts])
    return values.sum() / max(len(values), 1)


def check_weight(name: str, value: float) -> float:
    """Return the weight of a loss if it is a number >= 0."""
    if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError(f"{name} is {value!r}; give a number >= 0 (0 leaves the loss out)")
    return float(value)


def _second_level(name: str, before: str) -> str:
    return (
        f"{name} cannot pool a graph that {before} has already coarsened. NGMPool is defined for a "
        "single level only: two pooling operators do not commute, so a product of them no longer "
        "reduces to grouping matrices, and activations between the levels do not commute with "
        "pooling either (section 'Pooling without Decomposing The Grouping Matrix' of the paper). "
        "Use GMPool on every level"
    )
