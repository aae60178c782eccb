"""What every pooling with a dense assignment matrix shares: readout, coarsening, checks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._options import check_choice, positive_int
from dgl_gmpool.nn.coarsen import EDGE_TOLERANCE, coarsen, lift
from dgl_gmpool.nn.graph_batch import check_features, check_magnitude, node_counts
from dgl_gmpool.nn.pooled_graph import PooledGraph
from dgl_gmpool.nn.ragged import Bucket, RaggedLayout
from dgl_gmpool.nn.square_root import RANK_TOLERANCE, Spectrum, spectrum

#: How a readout reduces coarse nodes, and what it puts side by side for that.
AGGREGATES = {"mean": ("mean",), "sum": ("sum",), "max": ("max",), "mean_and_max": ("mean", "max")}


@dataclass(frozen=True)
class Assignment:
    """Assignment matrices of one bucket of graphs.

    Attributes
    ----------
    matrix : Tensor
        S, zeros in padded rows and in columns that a graph does not use. Shape ``(b, w, K)``.
    columns : Tensor
        How many columns each graph uses. Shape ``(b,)``, int64.
    grouping : Tensor or None
        M, the matrix whose eigenvalues count the groups. Shape ``(b, w, w)``. None: S S' stands
        for it, whose eigenvalues, zeros aside, are those of the smaller S' S.
    eigenvalues : Tensor or None
        The eigenvalues of M where they are known already. Shape ``(b, w)``.
    num_clusters : Tensor or None
        The number of clusters where the pooling decides it; None: by the rank rule. ``(b,)``.
    """

    matrix: Tensor
    columns: Tensor
    grouping: Tensor | None = None
    eigenvalues: Tensor | None = None
    num_clusters: Tensor | None = None

    def to_count(self) -> Assignment:
        """The same without gradients, and without M where its eigenvalues are known."""
        grouping = self.grouping if self.eigenvalues is None else None
        grouping = None if grouping is None else grouping.detach()
        return replace(self, matrix=self.matrix.detach(), grouping=grouping)


class DensePooling(nn.Module):
    """Base class: a pooling that has one assignment matrix S per graph.

    A subclass says how S follows from the node features in :meth:`assign`; it gets both faces of
    a pooling, the readout ``pool(graph, feat)`` and :meth:`coarsen`.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    aggregate : str, optional
        How the readout reduces the coarse nodes: ``"mean"``, ``"sum"``, ``"max"``, or
        ``"mean_and_max"``, which is twice as wide.
    edge_tol : float, optional
        Entries of A' with an absolute value up to this make no coarse edge.
    """

    #: Whether the pooling may follow or precede another pooling.
    single_level = False

    #: Share of the trace that the clusters left out may hold, when clusters are counted.
    tol = RANK_TOLERANCE

    def __init__(
        self, in_feats: int, *, aggregate: str = "mean", edge_tol: float = EDGE_TOLERANCE
    ) -> None:
        super().__init__()
        if not isinstance(edge_tol, (int, float)) or not edge_tol >= 0:  # NaN as well
            raise ValueError(f"edge_tol is {edge_tol!r}; give a number >= 0")
        self.in_feats = positive_int("in_feats", in_feats)
        self.aggregate = check_choice("aggregate", aggregate, AGGREGATES)
        self.edge_tol = edge_tol

    @property
    def out_feats(self) -> int:
        """Width of the readout: that of the node features, twice it for ``mean_and_max``."""
        return self.in_feats * len(AGGREGATES[self.aggregate])

    @property
    def losses(self) -> dict[str, Tensor]:
        """Auxiliary losses of the last call: weighted scalars, for a trainer to add to its own."""
        return {}

    def assign(self, block: Tensor, bucket: Bucket) -> Assignment:
        """Assignment matrices of a bucket from its node features ``(b, w, D)``."""
        raise NotImplementedError

    def forward(
        self,
        graph: DGLGraph,
        feat: Tensor,
        get_node_weight: bool = False,
        *,
        batch_num_nodes: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """One vector per graph.

        Parameters
        ----------
        graph : DGLGraph
            A graph or a batch of graphs.
        feat : Tensor
            Node features. Shape ``(N, in_feats)``, floating point.
        get_node_weight : bool, optional
            Also return what each node contributes, as ``dgllife``'s AttentiveFP readout does.
        batch_num_nodes : Tensor, optional
            Node counts of the graphs, where ``graph`` has lost them. Shape ``(B,)``.

        Returns
        -------
        Tensor
            Shape ``(B, out_feats)``; zeros for a graph without nodes. dtype of ``feat``.
        list of Tensor
            With ``get_node_weight``: one tensor ``(N, 1)``. For ``mean`` and ``sum`` the readout
            is exactly the weighted sum of the node features; for ``max`` the weights are the
            average over channels of each node's share in the winning group, for
            ``mean_and_max`` the average of the two.

        Raises
        ------
        TypeError, ValueError
            On integer, misshapen or non-finite features, and on batch information that does not
            fit the graph.
        """
        layout = self._layout(graph, feat, batch_num_nodes)
        with torch.autocast(feat.device.type, enabled=False):
            if "max" in AGGREGATES[self.aggregate]:
                out, weights = self._over_groups(layout, feat)
            else:
                out, weights = self._weighted_sum(layout, feat)
        return (out, [weights[:, None]]) if get_node_weight else out

    def coarsen(
        self,
        graph: DGLGraph,
        feat: Tensor,
        edge_feat: Tensor | None = None,
        *,
        edge_weight: Tensor | None = None,
        batch_num_nodes: Tensor | None = None,
    ) -> PooledGraph:
        """The coarsened batch: X' = S' X, A' = S' A S, E' = S' E S (eq. 13-15).

        Parameters
        ----------
        graph, feat, batch_num_nodes
            As in :meth:`forward`.
        edge_feat : Tensor, optional
            E, one row per edge, any number of channels. Shape ``(E, De)``.
        edge_weight : Tensor, optional
            The entries of A, one per edge. Shape ``(E,)``. Default: ones.

        Returns
        -------
        PooledGraph
            With batch information set, so that any ``dgl.nn`` layer runs on it.
        """
        layout = self._layout(graph, feat, batch_num_nodes)
        edge_feat = check_edges("edge_feat", edge_feat, graph, dims=2)
        edge_weight = check_edges("edge_weight", edge_weight, graph, dims=1)
        with torch.autocast(feat.device.type, enabled=False):
            assigned = self._assign_all(layout, feat)
            pairs = [(each.matrix, each.columns) for each in assigned]
            coarse_graph, coarse_feat, weight, features, coarse = coarsen(
                graph,
                layout,
                pairs,
                feat,
                edge_weight=edge_weight,
                edge_feat=edge_feat,
                edge_tol=self.edge_tol,
            )
        # Read by the next pooling: some poolings must not be stacked.
        coarse_graph.pooled_by = type(self).__name__
        coarse_graph.pooled_single_level = self.single_level
        return PooledGraph(
            graph=coarse_graph,
            feat=coarse_feat,
            edge_weight=weight,
            edge_feat=features,
            losses=self.losses,
            _lift=lambda coarse_rows: lift(layout, coarse, pairs, coarse_rows),
            _count=partial(
                _spectrum,
                layout,
                [each.to_count() for each in assigned],
                at_least_float32(feat.dtype),
                feat.device,
                self.tol,
            ),
        )

    def assignments(
        self, graph: DGLGraph, feat: Tensor, *, batch_num_nodes: Tensor | None = None
    ) -> list[Tensor]:
        """S of each graph: list of B tensors ``(n_b, K_b)``, dtype of ``feat``."""
        layout = self._layout(graph, feat, batch_num_nodes)
        out = [feat.new_zeros(0, 0) for _ in range(layout.batch_size)]
        for bucket, assigned in zip(layout.buckets, self._assign_all(layout, feat)):
            for index, which in enumerate(bucket.graphs.tolist()):
                n, k = int(bucket.sizes[index]), int(assigned.columns[index])
                out[which] = assigned.matrix[index, :n, :k].to(feat.dtype)
        return out

    def spectrum(
        self, graph: DGLGraph, feat: Tensor, *, batch_num_nodes: Tensor | None = None
    ) -> Spectrum:
        """Number of clusters, effective rank and negative share of each graph, ``(B,)`` each."""
        layout = self._layout(graph, feat, batch_num_nodes)
        with torch.no_grad():
            assigned = self._assign_all(layout, feat)
            return _spectrum(layout, assigned, at_least_float32(feat.dtype), feat.device, self.tol)

    def extra_repr(self) -> str:
        return f"in_feats={self.in_feats}, aggregate={self.aggregate!r}"

    def _layout(
        self, graph: DGLGraph, feat: Tensor, batch_num_nodes: Tensor | None
    ) -> RaggedLayout:
        before = getattr(graph, "pooled_by", None)
        if before and (self.single_level or getattr(graph, "pooled_single_level", False)):
            raise ValueError(_second_level(type(self).__name__, before))
        check_features(feat, self.in_feats, graph, batch_num_nodes)
        check_magnitude(feat)
        counts = node_counts(graph, feat, batch_num_nodes)
        return RaggedLayout.from_counts(counts, feat.device)

    def node_shares(self, block: Tensor, bucket: Bucket) -> tuple[Tensor, Tensor]:
        """sum_k S_ik, ``(b, w)``, and the number of columns, ``(b,)``: all that a mean or sum of
        S' X over coarse nodes needs. Padded rows must be finite."""
        assigned = self.assign(block, bucket)
        return assigned.matrix.sum(-1), assigned.columns

    def _assign_all(self, layout: RaggedLayout, feat: Tensor) -> list[Assignment]:
        return [
            self.assign(block, bucket) for bucket, block in zip(layout.buckets, layout.blocks(feat))
        ]

    def _weighted_sum(self, layout: RaggedLayout, feat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean or sum of S' X over coarse nodes: node i counts with sum_k S_ik."""
        wide = feat.to(at_least_float32(feat.dtype))
        shares = []
        for bucket, block in zip(layout.buckets, layout.blocks(feat)):
            share, columns = self.node_shares(block, bucket)
            if self.aggregate == "mean":
                share = share / columns.clamp(min=1)[:, None]
            shares.append(share.to(wide.dtype))
        weights = layout.rows(shares) if shares else wide.new_zeros(0)
        out = wide.new_zeros(layout.batch_size, wide.shape[1])
        out = out.index_add(0, layout.graph_ids(feat.device), wide * weights[:, None])
        return out.to(feat.dtype), weights.to(feat.dtype)

    def _over_groups(self, layout: RaggedLayout, feat: Tensor) -> tuple[Tensor, Tensor]:
        """Max of S' X over coarse nodes, channel by channel, beside their mean if asked for."""
        out = feat.new_zeros(layout.batch_size, self.out_feats)
        weights = feat.new_zeros(layout.num_nodes)
        for bucket, block in zip(layout.buckets, layout.blocks(feat)):
            assigned = self.assign(block, bucket)
            matrix = assigned.matrix.to(at_least_float32(feat.dtype))
            groups = matrix.mT @ block.to(matrix.dtype)
            used = torch.arange(groups.shape[1], device=feat.device) < assigned.columns[:, None]
            values, shares = [], []
            for part in AGGREGATES[self.aggregate]:
                if part == "max":
                    top = groups.masked_fill(~used[:, :, None], -torch.inf).max(1)
                    winners = top.indices[:, None, :].expand(-1, bucket.width, -1)
                    values.append(torch.where(used.any(1)[:, None], top.values, 0))
                    shares.append(matrix.gather(2, winners).mean(-1))
                else:  # mean; columns that a graph does not use are zero
                    count = assigned.columns.clamp(min=1)[:, None].to(matrix.dtype)
                    values.append(groups.sum(1) / count)
                    shares.append(matrix.sum(-1) / count)
            vector, share = torch.cat(values, 1), torch.stack(shares).mean(0)
            out = out.index_copy(0, bucket.graphs, vector.to(feat.dtype))
            weights = weights.index_copy(0, bucket.nodes, bucket.ragged(share).to(feat.dtype))
        return out, weights


def _second_level(name: str, before: str) -> str:
    return (
        f"{name} cannot pool a graph that {before} has already coarsened. NGMPool is defined for a "
        "single level only: two pooling operators do not commute, so a product of them no longer "
        "reduces to grouping matrices, and activations between the levels do not commute with "
        "pooling either (section 'Pooling without Decomposing The Grouping Matrix' of the paper). "
        "Use GMPool on every level"
    )


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


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
    if not torch.isfinite(values.detach().sum()) and not torch.isfinite(values).all():
        row = int((~torch.isfinite(values)).nonzero()[0, 0])
        raise ValueError(f"{name}[{row}] is not finite; fix or drop that edge before pooling")
    return values


@torch.no_grad()
def _spectrum(
    layout: RaggedLayout,
    assigned: list[Assignment],
    dtype: torch.dtype,
    device: torch.device,
    tol: float,
) -> Spectrum:
    """Gather the buckets' spectra in the order of the batch."""
    clusters = torch.zeros(layout.batch_size, dtype=torch.int64, device=device)
    rank = torch.zeros(layout.batch_size, dtype=dtype, device=device)
    negative = torch.zeros_like(rank)
    for bucket, each in zip(layout.buckets, assigned):
        eigenvalues = each.eigenvalues
        if eigenvalues is None and each.grouping is None:
            gram = each.matrix.mT @ each.matrix
            eigenvalues = torch.linalg.eigvalsh(gram).clamp(min=0)
        elif eigenvalues is None:
            eigenvalues = torch.linalg.eigvalsh(each.grouping)
        found = spectrum(eigenvalues, tol=tol)
        counted = found.num_clusters if each.num_clusters is None else each.num_clusters
        clusters[bucket.graphs] = counted
        rank[bucket.graphs] = found.effective_rank.to(dtype)
        negative[bucket.graphs] = found.negative_share.to(dtype)
    return Spectrum(clusters, rank, negative)
