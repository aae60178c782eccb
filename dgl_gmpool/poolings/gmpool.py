"""GMPool, eq. 9-15: pool with a square root of the grouping matrix, or with its pivots."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from dgl_gmpool._options import check_choice, positive_int, probability
from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.coarsen import EDGE_TOLERANCE
from dgl_gmpool.nn.distance import compute_dtype
from dgl_gmpool.nn.large.grouping_product import grouping_operator
from dgl_gmpool.nn.large.low_rank import LANDMARKS, low_rank_root, not_semidefinite
from dgl_gmpool.nn.pivots import pivot_assignment, pivot_columns
from dgl_gmpool.nn.ragged import Bucket
from dgl_gmpool.nn.square_root import (
    RANK_TOLERANCE,
    cholesky_root,
    eigen_root,
    nearest_psd,
    symmetric_root,
    without_rounding,
)
from dgl_gmpool.poolings.grouping_pool import ATOMS_AND_GROUPS, GroupingPool, priority_of

DECOMPOSITIONS = ("pivot", "sqrtm", "eigen", "cholesky")


class GMPool(GroupingPool):
    r"""Grouping matrix pooling with an adaptive number of clusters.

    .. math:: S S' = M, \qquad X' = S' X, \qquad A' = S' A S, \qquad E' = S' E S

    from Ko et al., "Grouping Matrix Based Graph Pooling with Adaptive Number of Clusters" (AAAI
    2023), eq. 9-15, in the only orientation whose shapes fit (that of the paper's preliminaries).

    By default M joins nodes that are alike and near each other, and the readout
    (:class:`~dgl_gmpool.nn.group_readout.GroupReadout`) starts as mean and maximum of the nodes, to
    which a network on groups is added where it pays. ``GMPool.paper(in_feats)`` is the paper's
    reading: M = sigmoid(w . (x_i - x_j)^2 + b) of the features alone, and the mean over S' X. Such
    an M can have negative eigenvalues; its nearest positive semidefinite matrix is taken, and the
    share cut off is reported as ``negative_share``.

    =================  =================================================  =======================
    ``decomposition``  S                                                  coarse nodes
    =================  =================================================  =======================
    ``"pivot"``        shares in the groups of K pivot nodes: entries     K
                       >= 0, rows add up to 1; eq. 7 gives eq. 8
    ``"sqrtm"``        symmetric root; unique, so independent of node     n
                       order and eigenvector signs
    ``"eigen"``        leading eigenvectors times root eigenvalues; only  by ``tol``
                       with ``locality="none"``
    ``"cholesky"``     pivoted Cholesky, one column per pivot node; eq.   by ``tol``
                       7 gives eq. 8
    =================  =================================================  =======================

    K, the number of clusters, is the number of eigenvalues of M above 0.7 of a node, with every
    decomposition; see :class:`~dgl_gmpool.nn.counting.Spectrum`.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    similarity : str, optional
        ``"gaussian"`` (default), ``"cauchy"`` or ``"linear"``, the paper's; see
        :class:`~dgl_gmpool.nn.grouping.GroupingMatrix`.
    locality : str or None, optional
        ``"diffusion"`` (default): M is multiplied elementwise with the normalised heat kernel of
        the graph; ``"none"`` or None: features alone, so that two phenyl rings are one group.
    decomposition : str, optional
        ``"pivot"`` (default), ``"sqrtm"``, ``"eigen"`` or ``"cholesky"``: of the coarse graph, and
        of every ``aggregate`` but the default.
    aggregate : str, optional
        ``"atoms_and_groups"`` (default), see ``out_feats`` for its width; or how the readout
        reduces the coarse nodes S' X: ``"mean"``, ``"sum"``, ``"max"``, ``"mean_and_max"``,
        ``"mean_max_and_sum"``.
    feature_norm : str or None, optional
        What brings the features to one scale before they are compared: ``"batch"`` (default),
        ``"layer"``, or ``"none"``.
    normalize : bool, optional
        Decompose D^{-1/2} M D^{-1/2}, D the row sums of M, the sizes of the groups; otherwise S' X
        of a root grows with the number of nodes, as the paper's does. Of roots alone: pivots and
        the default ``aggregate`` have sizes taken out already. Default False.
    rank_weight : float, optional
        Adds a term on the spectrum of M to the auxiliary losses: a positive weight asks for fewer
        groups, a negative one for more; see :meth:`matrix_losses`. Default 0, no term.
    fragment_weight : float, optional
        Adds a term that draws M to "in one fragment" of ``graph.ndata["fragment"]``, for groups
        that follow, say, BRICS fragments. Default 0, no term.
    num_clusters : int, optional
        Force this number of clusters on every graph (at most its number of nodes), as in the
        paper's Figure 3a: on the coarse graph, the names of groups, and every ``aggregate`` but the
        default, which counts none; fewer where M has a lower rank, as with equal nodes. Default:
        each graph finds its own.
    max_clusters : int, optional
        For large graphs: at most this many columns k of S, and for a graph of more than 256 nodes
        the n x n matrix is never formed. The coarse graph, groups and memberships, which are those
        of S, and every readout but the default, take O(n k^2) time and O(n k) memory
        (``normalize=True`` adds O(n^2) time). Only with ``decomposition="cholesky"``,
        ``locality="none"``, ``similarity="gaussian"`` or
        ``"cauchy"`` and an ``aggregate`` over S' X; see
        :func:`~dgl_gmpool.nn.large.low_rank.low_rank_root`. Default: no cap.
    tol : float, optional
        ``"eigen"`` and ``"cholesky"`` leave out at most this share of the trace of M, and never as
        much as half a node. Default 0.01.
    edge_tol : float, optional
        Entries of A' with an absolute value up to this make no coarse edge.

    Examples
    --------
    Two rings of the same kind of nodes, joined by a chain, and a molecule of two nodes:

    >>> import dgl
    >>> ring = [(i, (i + 1) % 6) for i in range(6)]
    >>> bonds = ring + [(0, 6), (6, 7)] + [(7 + i, 7 + j) for i, j in ring]
    >>> g = dgl.to_bidirected(dgl.graph(bonds))
    >>> g = dgl.batch([g, dgl.graph(([0, 1], [1, 0]))])
    >>> x = torch.ones(15, 2)
    >>> pool = GMPool(2).eval()
    >>> pool(g, x).shape
    torch.Size([2, 10])
    >>> pool.groups(g, x).tolist()
    [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    >>> coarse = pool.coarsen(g, x, edge_feat=torch.ones(g.num_edges(), 3))
    >>> coarse
    PooledGraph(graphs=2, nodes=3, edges=5, feat=[3, 2], edge_feat=[5, 3], num_clusters=[2, 1])
    >>> coarse.lift(coarse.feat).shape
    torch.Size([15, 2])
    """

    shown = (*GroupingPool.shown, "decomposition", "num_clusters", "max_clusters", "tol")

    PAPER: ClassVar[dict[str, Any]] = {**GroupingPool.PAPER, "decomposition": "sqrtm"}

    def __init__(
        self,
        in_feats: int,
        *,
        similarity: str = "gaussian",
        locality: str | None = "diffusion",
        decomposition: str = "pivot",
        aggregate: str = ATOMS_AND_GROUPS,
        feature_norm: str | None = "batch",
        normalize: bool = False,
        rank_weight: float = 0.0,
        fragment_weight: float = 0.0,
        num_clusters: int | None = None,
        max_clusters: int | None = None,
        tol: float = RANK_TOLERANCE,
        edge_tol: float = EDGE_TOLERANCE,
    ) -> None:
        super().__init__(
            in_feats,
            similarity=similarity,
            locality=locality,
            feature_norm=feature_norm,
            aggregate=aggregate,
            normalize=normalize,
            rank_weight=rank_weight,
            fragment_weight=fragment_weight,
            edge_tol=edge_tol,
        )
        self.decomposition = check_choice("decomposition", decomposition, DECOMPOSITIONS)
        if num_clusters is not None:
            positive_int("num_clusters", num_clusters)
        if decomposition == "eigen" and self.locality is not None:
            raise ValueError(
                "decomposition='eigen' with locality='diffusion': nodes that a symmetry exchanges "
                "are no longer equal there, and leave signs of eigenvectors open, so the coarse "
                "graph would depend on their order; use decomposition='pivot' or 'sqrtm', or "
                "locality='none'"
            )
        self.num_clusters: int | None = num_clusters
        self.max_clusters = max_clusters
        if max_clusters is not None:
            self._check_cap(max_clusters)
        self.tol = probability("tol", tol)

    def assign(self, batch: GraphBatch) -> Assignment:
        if self.max_clusters is not None:
            return self._assign_capped(batch)[0]
        matrices = self.matrices(batch)
        losses = self.matrix_losses(batch, matrices)
        if self.decomposition == "pivot":
            places, spectra = self.by_pivots(batch, matrices)
            counts = [columns for _, columns in places]
            blocks = [
                pivot_assignment(pivot_columns(matrix, *place), place[1], bucket.mask)
                for bucket, matrix, place in zip(batch.layout.buckets, matrices, places)
            ]
            return Assignment(
                blocks,
                counts,
                matrices=matrices,
                eigenvalues=spectra or None,
                num_clusters=counts,
                losses=losses,
            )
        blocks, columns = [], []
        known: list[Tensor] = []
        priorities = batch.layout.blocks(priority_of(batch)[:, None])
        for bucket, matrix, priority in zip(batch.layout.buckets, matrices, priorities):
            block, used, values = self._root(self.scaled(matrix), bucket, priority[..., 0])
            blocks.append(without_rounding(block))
            columns.append(used)
            known += [] if values is None else [values]
        forced: list[Tensor] | None = None
        if self.num_clusters is not None:
            # A root has no more columns that say something than M has rank.
            forced = columns
            if self.decomposition != "cholesky":
                forced = [counts for _, counts in self.by_pivots(batch, matrices)[0]]
            if self.decomposition == "eigen":
                columns = forced
        return Assignment(
            blocks,
            columns,
            matrices=matrices,
            # Those of D^{-1/2} M D^{-1/2} would count something else.
            eigenvalues=known if len(known) == len(blocks) and not self.normalize else None,
            num_clusters=forced,
            losses=losses,
        )

    def _root(
        self, matrix: Tensor, bucket: Bucket, priority: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """S of a bucket, how many columns each graph uses, and the eigenvalues if it took them."""
        forced = self.num_clusters
        if self.decomposition == "sqrtm":
            root, values = symmetric_root(matrix, num_clusters=forced)
            return root, bucket.sizes, values
        if self.decomposition == "eigen":
            root, columns, values = eigen_root(
                matrix, num_clusters=forced, tol=self.tol, sizes=bucket.sizes
            )
            return root, torch.minimum(columns, bucket.sizes), values
        known: Tensor | None = None
        if not self.grouping.positive_semidefinite:
            matrix, known = nearest_psd(matrix)
        root, columns, _ = cholesky_root(
            matrix, num_clusters=forced, tol=self.tol, priority=priority, sizes=bucket.sizes
        )
        return root, columns, known

    def group_columns(self, batch: GraphBatch) -> tuple[list[Tensor], list[Tensor]]:
        if self.max_clusters is None:
            return super().group_columns(batch)
        assignment, chosen = self._assign_capped(batch)
        feat = self.grouping.norm(batch.feat)
        measure = self.grouping.measure(feat.device)
        dtype = measure.weight.dtype
        clusters = assignment.spectrum(batch.layout, dtype, feat.device).num_clusters
        found, counts = [], []
        for bucket, block, pivots in zip(batch.layout.buckets, batch.layout.blocks(feat), chosen):
            counts.append(clusters[bucket.graphs])
            used = torch.arange(pivots.shape[1], device=feat.device) < counts[-1][:, None]
            at_pivots = block.gather(1, pivots[:, :, None].expand(-1, -1, block.shape[2]))
            there = bucket.mask[:, :, None] & used[:, None, :]
            found.append(measure.between(block, at_pivots) * there.to(dtype))
        return found, counts

    def _assign_capped(self, batch: GraphBatch) -> tuple[Assignment, list[Tensor]]:
        """S of at most ``max_clusters`` columns, for large graphs without M, and its pivots."""
        feat = self.grouping.norm(batch.feat)
        measure = self.grouping.measure(feat.device)
        blocks, columns, scales, chosen = [], [], [], []
        priorities = batch.layout.blocks(priority_of(batch)[:, None])
        for bucket, block, priority in zip(
            batch.layout.buckets, batch.layout.blocks(feat), priorities
        ):
            mask = bucket.mask.to(compute_dtype(block.device))
            scale = mask
            if self.normalize:
                scale = self._inverse_root_sizes(grouping_operator(measure, block), mask)
            if bucket.width > LANDMARKS:
                root, used, pivots = low_rank_root(
                    measure,
                    block,
                    scale,
                    max_clusters=self.max_clusters or bucket.width,
                    tol=self.tol,
                    priority=priority[..., 0],
                )
            else:
                matrix = measure.within(block) * (scale[:, :, None] * scale[:, None, :])
                root, used, pivots = cholesky_root(
                    matrix,
                    max_clusters=self.max_clusters,
                    tol=self.tol,
                    priority=priority[..., 0],
                    sizes=bucket.sizes,
                )
            blocks.append(without_rounding(root))
            columns.append(used)
            scales.append(scale.detach())
            chosen.append(pivots)
        # S S' stands for M: its eigenvalues are those of the small S' S.
        return Assignment(blocks, columns, scale=scales), chosen

    def _check_cap(self, max_clusters: object) -> None:
        """Raise a ValueError where ``max_clusters`` is no cap or does not go with the rest."""
        positive_int("max_clusters", max_clusters)
        given = f"max_clusters={max_clusters}"
        if self.grouping.similarity == "linear":
            raise ValueError(not_semidefinite("linear"))
        needed = {
            "decomposition='cholesky'": self.decomposition == "cholesky",
            "locality='none'": self.locality is None,
            "an aggregate over S' X, such as 'mean_and_max'": self.group_readout is None,
        }
        missing = [option for option, there in needed.items() if not there]
        if missing:
            raise ValueError(
                f"{given} never makes the whole matrix, which other options need; give as well: "
                + "; ".join(missing)
            )
        if self.num_clusters is not None:
            raise ValueError(
                f"{given} and num_clusters={self.num_clusters}: give one of them. For exactly that "
                "many clusters without the whole matrix, give max_clusters and tol=0.0"
            )
        for name in ("rank_weight", "fragment_weight"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)} needs the whole M, which {given} never makes; "
                    "give one of them"
                )
