"""NGMPool, eq. 18-19: the grouping matrix itself as the pooling operator."""

from __future__ import annotations

from torch import Tensor

from dgl_gmpool.nn.dense_pooling import Assignment
from dgl_gmpool.nn.grouping_pool import GroupingPool
from dgl_gmpool.nn.large.grouping_product import CELLS, grouping_product
from dgl_gmpool.nn.ragged import Bucket, RaggedLayout


class NGMPool(GroupingPool):
    r"""Grouping matrix pooling without decomposition, for one level.

    .. math:: X' = M X, \qquad E' = M E M, \qquad A' = M A M

    from Ko et al., "Grouping Matrix Based Graph Pooling with Adaptive Number of Clusters" (AAAI
    2023), eq. 18-19. As a ``mean`` or ``sum`` readout it needs only the column sums of M: O(n^2)
    time, no n x n product with the features, and for large graphs no n x n matrix in memory.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    similarity : str, optional
        ``"linear"`` (default, the paper's), ``"cauchy"`` or ``"gaussian"``; see
        :class:`~dgl_gmpool.nn.GroupingMatrix`.
    aggregate : str, optional
        How the readout reduces the rows of M X: ``"mean"`` (default), ``"sum"``, ``"max"``, or
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
    edge_tol : float, optional
        Entries of A' with an absolute value up to this make no coarse edge.

    Examples
    --------
    >>> import dgl, torch
    >>> _ = torch.manual_seed(0)
    >>> g = dgl.batch([dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1])), dgl.graph(([0, 1], [1, 0]))])
    >>> pool = NGMPool(16)
    >>> vec, weights = pool(g, torch.randn(5, 16), get_node_weight=True)
    >>> vec.shape, weights[0].shape
    (torch.Size([2, 16]), torch.Size([5, 1]))
    """

    #: The paper restricts NGMPool to one level; see the error for its two reasons.
    single_level = True

    def assign(self, block: Tensor, bucket: Bucket) -> Assignment:
        matrix = self._masked(block, bucket)
        return Assignment(matrix=matrix, columns=bucket.sizes, grouping=matrix)

    def _weighted_sum(self, layout: RaggedLayout, feat: Tensor) -> tuple[Tensor, Tensor]:
        largest = max((len(bucket) * bucket.width**2 for bucket in layout.buckets), default=0)
        if largest > CELLS or self.normalize or self.rank_weight:
            return super()._weighted_sum(layout, feat)
        return self._in_one_step(layout, feat, root=False)

    def node_shares(self, block: Tensor, bucket: Bucket) -> tuple[Tensor, Tensor]:
        if len(bucket) * bucket.width**2 > CELLS and not self.rank_weight:
            scale = self._scale(block, bucket)
            return scale * grouping_product(self.grouping, block, scale), bucket.sizes
        return self._masked(block, bucket).sum(-1), bucket.sizes
