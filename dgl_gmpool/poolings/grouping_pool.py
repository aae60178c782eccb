"""What GMPool and NGMPool share: the grouping matrix of each graph, and what it says of groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import torch
from dgl import DGLGraph
from torch import Tensor
from torch.nn import functional as F

from dgl_gmpool._names import FRAGMENT
from dgl_gmpool._options import check_choice, finite_number, true_or_false
from dgl_gmpool.nn.assignment import per_graph
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.coarsen import EDGE_TOLERANCE
from dgl_gmpool.nn.counting import count_groups, eigvalsh
from dgl_gmpool.nn.distance import compute_dtype
from dgl_gmpool.nn.group_readout import GroupReadout
from dgl_gmpool.nn.grouping import GroupingMatrix
from dgl_gmpool.nn.locality import LOCALITIES, Diffusion
from dgl_gmpool.nn.pivots import nearest_pivot, pivot_assignment, pivot_columns, pivot_nodes
from dgl_gmpool.nn.pooling import Pooling, mean_over_graphs
from dgl_gmpool.nn.readout import Reading
from dgl_gmpool.nn.segments import AGGREGATES
from dgl_gmpool.nn.square_root import nearest_psd, without_rounding

#: The readout with a network between group and graph.
ATOMS_AND_GROUPS = "atoms_and_groups"

Self = TypeVar("Self", bound="GroupingPool")


class GroupingPool(Pooling):
    """Base class of the poolings that start from a grouping matrix (eq. 5-7).

    M is the elementwise product of a similarity of features
    (:class:`~dgl_gmpool.nn.grouping.GroupingMatrix`), averaged over near nodes before they are
    compared, and a kernel of the graph (:class:`~dgl_gmpool.nn.locality.Diffusion`): two nodes are
    in one group if they are alike *and* near each other. By Schur's product theorem it is positive
    semidefinite where both are, with M_ii = 1.
    """

    shown: ClassVar[tuple[str, ...]] = (
        *Pooling.shown,
        "normalize",
        "rank_weight",
        "fragment_weight",
    )

    #: A number of clusters that is forced on every graph.
    num_clusters: int | None = None

    #: A number of clusters that no graph exceeds.
    max_clusters: int | None = None

    #: The options that make the pooling the paper's.
    PAPER: ClassVar[dict[str, Any]] = {
        "similarity": "linear",
        "locality": "none",
        "feature_norm": "none",
        "aggregate": "mean",
        "normalize": False,
    }

    def __init__(
        self,
        in_feats: int,
        *,
        similarity: str = "gaussian",
        locality: str | None = "diffusion",
        aggregate: str = "mean_and_max",
        feature_norm: str | None = "batch",
        normalize: bool = True,
        rank_weight: float = 0.0,
        fragment_weight: float = 0.0,
        edge_tol: float = EDGE_TOLERANCE,
    ) -> None:
        with_groups = aggregate == ATOMS_AND_GROUPS
        if not with_groups:
            check_choice("aggregate", aggregate, (ATOMS_AND_GROUPS, *AGGREGATES))
        super().__init__(
            in_feats, aggregate="mean" if with_groups else aggregate, edge_tol=edge_tol
        )
        self.aggregate = aggregate
        true_or_false("normalize", normalize)
        finite_number("rank_weight", rank_weight)
        finite_number("fragment_weight", fragment_weight)
        if fragment_weight < 0:
            raise ValueError(f"fragment_weight is {fragment_weight}; give a number >= 0")
        self.normalize = normalize
        self.rank_weight = rank_weight
        self.fragment_weight = fragment_weight
        self.grouping = GroupingMatrix(
            in_feats, similarity=similarity, feature_norm=feature_norm or "none"
        )
        kind = check_choice("locality", locality or "none", LOCALITIES)
        self.locality = Diffusion() if kind == "diffusion" else None
        self.group_readout = GroupReadout(in_feats) if with_groups else None

    @classmethod
    def paper(cls: type[Self], in_feats: int, **options: Any) -> Self:
        """The paper's reading: M = sigmoid(w . (x_i - x_j)^2 + b), no locality, the mean of S' X.

        Further options are those of the class and win over the paper's.
        """
        return cls(in_feats, **{**cls.PAPER, **options})

    @property
    def out_feats(self) -> int:
        if self.group_readout is not None:
            return self.group_readout.out_feats
        return super().out_feats

    @property
    def normalised_feats(self) -> int:
        """How many columns at the end of the readout are batch-normalised already."""
        return 0 if self.group_readout is None else self.group_readout.normalised_feats

    @property
    def inverted(self) -> bool:
        """Whether the fitted M tends to be larger for unlike nodes than for like ones; only the
        paper's ``similarity="linear"`` can be."""
        return self.grouping.inverted

    def matrices(self, batch: GraphBatch) -> list[Tensor]:
        """M of each bucket, ``(b, w, w)``, zero in padding."""
        feat = self.grouping.norm(batch.feat)
        measure = self.grouping.measure(feat.device)
        dtype, blocks, found = measure.weight.dtype, batch.layout.blocks(feat), []
        if self.locality is not None:
            for block, heat in zip(blocks, self.locality(batch, dtype)):
                # Nodes are compared by what is around them: single ones that differ, a hetero atom
                # in a ring, would otherwise stand out of their group. The kernel is 0 in padding.
                found.append(measure.within(heat.early.to(block.dtype) @ block) * heat.kernel)
            return found
        for bucket, block in zip(batch.layout.buckets, blocks):
            matrix = measure.within(block)
            if not bucket.full:
                mask = bucket.mask.to(matrix.dtype)
                matrix = matrix * (mask[:, :, None] * mask[:, None, :])
            found.append(matrix)
        return found

    def matrix_losses(self, batch: GraphBatch, matrices: list[Tensor]) -> dict[str, Tensor]:
        """The terms on M that ``rank_weight`` and ``fragment_weight`` ask for.

        ``rank``: tr(M)^2 / (n ||M||^2), the participation ratio of the eigenvalues as a share of
        the nodes: 1 / n for one group, 1 for n groups; no eigenvalues, no eigengap. ``fragment``:
        the cross-entropy of M and "in the same fragment", over the pairs of each graph. Both are
        means over graphs.
        """
        losses = {}
        if self.rank_weight:
            parts = []
            for bucket, matrix in zip(batch.layout.buckets, matrices):
                trace = matrix.diagonal(dim1=1, dim2=2).sum(-1)
                norm = matrix.square().sum((1, 2)).clamp(min=torch.finfo(matrix.dtype).tiny)
                parts.append(trace.square() / (norm * bucket.sizes))
            losses["rank"] = self.rank_weight * mean_over_graphs(parts, batch.feat)
        # To predict needs no fragments, and a coarse graph has none.
        coarse = getattr(batch.graph, "pooled_by", None)
        wanted = self.fragment_weight and torch.is_grad_enabled() and not coarse
        if wanted and (self.training or FRAGMENT in batch.graph.ndata):
            losses["fragment"] = self.fragment_weight * self._fragment_loss(batch, matrices)
        return losses

    def _fragment_loss(self, batch: GraphBatch, matrices: list[Tensor]) -> Tensor:
        if FRAGMENT not in batch.graph.ndata:
            raise ValueError(
                f"fragment_weight={self.fragment_weight} needs graph.ndata[{FRAGMENT!r}], the "
                "number of each node's fragment as a tensor, such as torch.as_tensor("
                "dgl_gmpool.data.fragments.brics_fragments(mol)) in the order of the graph's nodes"
            )
        number = batch.graph.ndata[FRAGMENT].to(batch.feat.device)
        if number.numel() != len(number) or number.is_floating_point():
            raise ValueError(
                f"graph.ndata[{FRAGMENT!r}] has shape {tuple(number.shape)} and type "
                f"{number.dtype}; give an integer for each of the {len(number)} nodes"
            )
        number = number.reshape(-1)
        parts = []
        for bucket, matrix, each in zip(
            batch.layout.buckets, matrices, batch.layout.blocks(number)
        ):
            same = (each[:, :, None] == each[:, None, :]).to(matrix.dtype)
            pair = bucket.mask[:, :, None] & bucket.mask[:, None, :]
            pair = pair.triu(diagonal=1)
            small = 1e-6
            entropy = F.binary_cross_entropy(matrix.clamp(small, 1 - small), same, reduction="none")
            parts.append((entropy * pair).sum((1, 2)) / pair.sum((1, 2)).clamp(min=1))
        return mean_over_graphs(parts, batch.feat)

    def scaled(self, matrix: Tensor) -> Tensor:
        """M, or with ``normalize`` D^{-1/2} M D^{-1/2}, D the row sums."""
        if not self.normalize:
            return matrix
        size = matrix.sum(-1)
        # Padded rows add up to 0, and so do those of a graph whose entries all underflow. The root
        # has an infinite slope there, which is no gradient's but looks like one to detect_anomaly.
        size = size.masked_fill(size == 0, 1.0)
        size = size.clamp(min=torch.finfo(matrix.dtype).tiny).rsqrt()
        return matrix * (size[:, :, None] * size[:, None, :])

    @staticmethod
    def _inverse_root_sizes(times: Callable[[Tensor], Tensor], mask: Tensor) -> Tensor:
        """The diagonal of D^{-1/2}, zeros in padding, ``(b, w)``, from v to M v and what is no
        padding."""
        # Padding far from all nodes has a sum so small that the gradient of its root overflows, and
        # an infinity times the mask's zero is NaN.
        size = times(mask).masked_fill(mask == 0, 1.0)
        return mask * size.clamp(min=torch.finfo(size.dtype).tiny).rsqrt()

    def read(self, batch: GraphBatch) -> Reading:
        if self.group_readout is None:
            return super().read(batch)
        matrices = self.matrices(batch)
        out, weight = self.group_readout(batch, matrices)
        return Reading(out, [weight[:, None]], self.matrix_losses(batch, matrices))

    def by_pivots(
        self, batch: GraphBatch, matrices: list[Tensor]
    ) -> tuple[list[tuple[Tensor, Tensor]], list[Tensor]]:
        """Pivots and K of each bucket, the first K of the pivoted Cholesky factorisation, and the
        eigenvalues of M, if it took them. K is the number of eigenvalues above 0.7 of a node, at
        most ``max_clusters``; or ``num_clusters``, at most the rank of M."""
        num_clusters, cap = self.num_clusters, self.max_clusters
        places, spectra = [], []
        priority = batch.layout.blocks(priority_of(batch)[:, None])
        for bucket, matrix, first in zip(batch.layout.buckets, matrices, priority):
            # Where features are not looked at, a NaN stays in its own graph: S holds M itself.
            plain = matrix.detach().nan_to_num()
            eigenvalues: Tensor | None = None
            if not self.grouping.positive_semidefinite:
                plain, eigenvalues = nearest_psd(plain)
                # Parts that M leaves apart have exact zeros between them here as well.
                plain = without_rounding(plain)
            if num_clusters is None:
                eigenvalues = eigvalsh(plain) if eigenvalues is None else eigenvalues
                counts = count_groups(eigenvalues, bucket.sizes)
                counts = counts if cap is None else counts.clamp(max=cap)
                most = int(counts.max())
            else:
                counts, most = bucket.sizes.clamp(max=num_clusters), num_clusters
            pivots, ranks = pivot_nodes(plain, most, 0.0, first[..., 0], cover=True)
            places.append((pivots, torch.minimum(counts, ranks).clamp(min=1)))
            spectra += [] if eigenvalues is None else [eigenvalues]
        return places, spectra

    def group_columns(self, batch: GraphBatch) -> tuple[list[Tensor], list[Tensor]]:
        """M[:, P] of each bucket ``(b, w, max K)``, P the pivots of its groups, and K ``(b,)``."""
        matrices = self.matrices(batch)
        places, _ = self.by_pivots(batch, matrices)
        columns = [pivot_columns(matrix, *place) for matrix, place in zip(matrices, places)]
        return columns, [counts for _, counts in places]

    @torch.no_grad()
    def groups(self, graph: DGLGraph, feat: Tensor, **options: Tensor | None) -> Tensor:
        """The group of each node: that of its nearest pivot.

        Pivots are the first K of the pivoted Cholesky factorisation of M, K the number of groups
        (:meth:`spectrum`); with ``max_clusters`` those of S, without M for a large graph. The
        argmax of |S|, the entries of a root, does not name groups. Further options
        are those of :meth:`forward`.

        Returns
        -------
        Tensor
            Numbers from 0 to K - 1 within each graph, the longest pivot's group first. Shape
            ``(N,)``, int64.
        """
        batch = self.batch(graph, feat, **options).without_empty()
        if not len(batch):
            return torch.zeros(0, dtype=torch.int64, device=feat.device)
        with self.looking(feat):
            columns, counts = self.group_columns(batch)
        return batch.layout.rows([nearest_pivot(*each) for each in zip(columns, counts)])

    def memberships(self, graph: DGLGraph, feat: Tensor, **options: Tensor | None) -> list[Tensor]:
        """How much of each node is in each group of :meth:`groups`: one ``(n_b, K_b)`` tensor per
        graph, with rows that add up to 1. Further options are those of :meth:`forward`."""
        batch = self.batch(graph, feat, **options)
        with self.looking(feat):
            columns, counts = self.group_columns(batch)
        masks = [bucket.mask for bucket in batch.layout.buckets]
        blocks = [pivot_assignment(*each) for each in zip(columns, counts, masks)]
        return per_graph(batch, blocks, counts, feat.dtype)

    def grouping_matrices(
        self, graph: DGLGraph, feat: Tensor, **options: Tensor | None
    ) -> list[Tensor]:
        """M of each graph (eq. 5): list of B tensors ``(n_b, n_b)``, dtype of ``feat``. Further
        options are those of :meth:`forward`."""
        batch = self.batch(graph, feat, **options)
        sizes = [bucket.sizes for bucket in batch.layout.buckets]
        with self.looking(feat):
            matrices = self.matrices(batch)
        return per_graph(batch, matrices, sizes, feat.dtype)


def priority_of(batch: GraphBatch) -> Tensor:
    """A number per node, ``(N,)``, that differs where features do: a fixed, generic projection.

    Which one does not matter, only that it follows the node and not its place in the graph. Edge
    features, self-loops and directions are not looked at.
    """
    dtype = compute_dtype(batch.feat.device)
    direction = torch.arange(1, batch.feat.shape[1] + 1, dtype=dtype, device=batch.feat.device)
    return batch.feat.detach().to(dtype) @ direction.sin()
