"""GMPool, eq. 9-15: pool with a square root of the grouping matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_gmpool._options import check_choice, positive_int, probability
from dgl_gmpool.nn.coarsen import EDGE_TOLERANCE
from dgl_gmpool.nn.dense_pooling import Assignment
from dgl_gmpool.nn.grouping import compute_dtype
from dgl_gmpool.nn.grouping_pool import GroupingPool
from dgl_gmpool.nn.large.low_rank import LANDMARKS, low_rank_root, not_semidefinite
from dgl_gmpool.nn.ragged import Bucket, RaggedLayout
from dgl_gmpool.nn.square_root import (
    RANK_TOLERANCE,
    cholesky_root,
    eigen_root,
    nearest_psd,
    symmetric_root,
)

DECOMPOSITIONS = ("sqrtm", "eigen", "cholesky")


class GMPool(GroupingPool):
    r"""Grouping matrix pooling with an adaptive number of clusters.

    .. math:: S S' = M, \qquad X' = S' X, \qquad A' = S' A S, \qquad E' = S' E S

    from Ko et al., "Grouping Matrix Based Graph Pooling with Adaptive Number of Clusters" (AAAI
    2023), eq. 9-15, in the only orientation whose shapes fit (that of the paper's preliminaries).
    With ``similarity="linear"`` M can have negative eigenvalues; its nearest positive semidefinite
    matrix is taken, and the share cut off is reported as ``negative_share``.

    =================  =================================================  =======================
    ``decomposition``  S                                                  coarse nodes
    =================  =================================================  =======================
    ``"sqrtm"``        symmetric root; unique, so independent of node     n
                       order and eigenvector signs
    ``"eigen"``        leading eigenvectors times root eigenvalues        K, by ``tol``
    ``"cholesky"``     pivoted Cholesky, one column per pivot node; eq.   K, by ``tol``
                       7 gives eq. 8
    =================  =================================================  =======================

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    similarity : str, optional
        ``"linear"`` (default, the paper's), ``"cauchy"`` or ``"gaussian"``; see
        :class:`~dgl_gmpool.nn.GroupingMatrix`.
    decomposition : str, optional
        ``"sqrtm"`` (default), ``"eigen"`` or ``"cholesky"``.
    aggregate : str, optional
        How the readout reduces the coarse nodes: ``"mean"`` (default), ``"sum"``, ``"max"``, or
        ``"mean_and_max"``, which is twice as wide.
    normalize : bool, optional
        Use D^{-1/2} M D^{-1/2} with D the row sums of M, the sizes of the groups. Otherwise the
        readout grows with the number of nodes, like n (NGMPool) or its root (GMPool), as the
        paper's does, which a head of a single linear layer cannot undo. Default False.
    init_scale : float, optional
        Multiplies the initial weights of M, see :class:`~dgl_gmpool.nn.GroupingMatrix`. Default 1.
    init_bias : float, optional
        Initial b of M: high values start with one group, low ones with entries near 0. Default
        None: as :class:`~dgl_gmpool.nn.GroupingMatrix` says. ``gaussian`` has no b.
    rank_weight : float, optional
        Adds a term on the spectrum of M to ``pool.losses``: a positive weight asks for fewer
        groups, a negative one for more; see :attr:`losses`. Default 0, no term.
    num_clusters : int, optional
        Force this number of clusters on every graph (at most its number of nodes), as in the
        paper's Figure 3a. Default: each graph finds its own.
    max_clusters : int, optional
        For large graphs: at most this many clusters k, and for a graph of more than 256 nodes the
        n x n matrix is never formed. The readout and :meth:`coarsen` take O(n k^2) time and O(n k)
        memory (``normalize=True`` adds O(n^2) time). Only with ``decomposition="cholesky"`` and
        ``similarity="cauchy"`` or ``"gaussian"``; see
        :func:`~dgl_gmpool.nn.large.low_rank.low_rank_root`. Default: no cap.
    tol : float, optional
        The number of clusters is the smallest that leaves out at most this share of the trace of
        M. Default 0.01.
    edge_tol : float, optional
        Entries of A' with an absolute value up to this make no coarse edge.

    Examples
    --------
    >>> import dgl
    >>> _ = torch.manual_seed(0)
    >>> g = dgl.batch([dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1])), dgl.graph(([0, 1], [1, 0]))])
    >>> x = torch.tensor([[1., 0], [1., 0], [0., 99], [5., 5], [5., 5]])
    >>> pool = GMPool(2, similarity="gaussian", decomposition="cholesky")
    >>> pool(g, x).shape
    torch.Size([2, 2])
    >>> coarse = pool.coarsen(g, x, edge_feat=torch.ones(6, 3))
    >>> coarse
    PooledGraph(graphs=2, nodes=3, edges=4, feat=[3, 2], edge_feat=[4, 3], num_clusters=[2, 1])
    >>> coarse.feat.tolist()
    [[2.0, 0.0], [0.0, 99.0], [10.0, 10.0]]
    >>> coarse.lift(coarse.feat).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        in_feats: int,
        *,
        similarity: str = "linear",
        decomposition: str = "sqrtm",
        aggregate: str = "mean",
        normalize: bool = False,
        init_scale: float = 1.0,
        init_bias: float | None = None,
        rank_weight: float = 0.0,
        num_clusters: int | None = None,
        max_clusters: int | None = None,
        tol: float = RANK_TOLERANCE,
        edge_tol: float = EDGE_TOLERANCE,
    ) -> None:
        super().__init__(
            in_feats,
            similarity=similarity,
            aggregate=aggregate,
            normalize=normalize,
            init_scale=init_scale,
            init_bias=init_bias,
            rank_weight=rank_weight,
            edge_tol=edge_tol,
        )
        self.decomposition = check_choice("decomposition", decomposition, DECOMPOSITIONS)
        if num_clusters is not None:
            positive_int("num_clusters", num_clusters)
        self.num_clusters = num_clusters
        if max_clusters is not None:
            _check_cap(max_clusters, self.decomposition, similarity, num_clusters)
            if rank_weight:
                raise ValueError(
                    f"rank_weight={rank_weight} needs the whole M, which max_clusters="
                    f"{max_clusters} never makes; give one of them"
                )
        self.max_clusters = max_clusters
        self.tol = probability("tol", tol)

    def assign(self, block: Tensor, bucket: Bucket) -> Assignment:
        if self.max_clusters is not None and bucket.width > LANDMARKS:
            root, columns = low_rank_root(
                self.grouping,
                block,
                self._scale(block, bucket),
                max_clusters=self.max_clusters,
                tol=self.tol,
                priority=_priority(block),
            )
            return Assignment(root, columns, num_clusters=columns)
        matrix = self._masked(block, bucket)
        forced = self.num_clusters
        limit = bucket.sizes if forced is None else bucket.sizes.clamp(max=forced)
        if self.decomposition == "sqrtm":
            root, eigenvalues = symmetric_root(matrix, num_clusters=forced)
            clusters = None if forced is None else limit
            return Assignment(root, bucket.sizes, matrix, eigenvalues, clusters)
        if self.decomposition == "eigen":
            root, columns, eigenvalues = eigen_root(matrix, num_clusters=forced, tol=self.tol)
            columns = torch.minimum(columns, limit)
            return Assignment(root, columns, matrix, eigenvalues, columns)
        known: Tensor | None = None
        psd = matrix
        if not self.grouping.positive_semidefinite:
            psd, known = nearest_psd(matrix)
        root, columns = cholesky_root(
            psd,
            num_clusters=forced,
            max_clusters=self.max_clusters,
            tol=self.tol,
            priority=_priority(block),
        )
        return Assignment(root, columns, matrix, known, columns)

    def _weighted_sum(self, layout: RaggedLayout, feat: Tensor) -> tuple[Tensor, Tensor]:
        whole = self.decomposition == "sqrtm" and self.num_clusters is None
        if not whole or self.normalize or self.rank_weight:
            return super()._weighted_sum(layout, feat)
        return self._in_one_step(layout, feat, root=True)

    def extra_repr(self) -> str:
        forced = "" if self.num_clusters is None else f", num_clusters={self.num_clusters}"
        capped = "" if self.max_clusters is None else f", max_clusters={self.max_clusters}"
        options = f"decomposition={self.decomposition!r}{forced}{capped}, tol={self.tol}"
        return f"{super().extra_repr()}, {options}"


def _check_cap(
    max_clusters: object, decomposition: str, similarity: str, num_clusters: int | None
) -> None:
    """Raise a ValueError where ``max_clusters`` is no cap or does not go with the other options."""
    positive_int("max_clusters", max_clusters)
    if decomposition != "cholesky":
        raise ValueError(
            f"max_clusters={max_clusters} with decomposition={decomposition!r}, which needs the "
            "whole matrix; use decomposition='cholesky'"
        )
    if similarity == "linear":
        raise ValueError(not_semidefinite(similarity))
    if num_clusters is not None:
        raise ValueError(
            f"max_clusters={max_clusters} and num_clusters={num_clusters}: give one of them. For "
            "exactly that many clusters without the whole matrix, give max_clusters and tol=0.0"
        )


def _priority(block: Tensor) -> Tensor:
    """A number per node, ``(b, w)``, that differs where features do: a fixed, generic projection.

    Which one does not matter, only that it follows the node and not its place in the graph.
    """
    dtype = compute_dtype(block.device)
    direction = torch.arange(1, block.shape[-1] + 1, dtype=dtype, device=block.device).sin()
    return block.detach().to(dtype) @ direction
