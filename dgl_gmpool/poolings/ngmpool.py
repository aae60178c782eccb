"""NGMPool, eq. 18-19: the grouping matrix itself as the pooling operator."""

from __future__ import annotations

from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.large.grouping_product import grouping_operator
from dgl_gmpool.nn.readout import Reading
from dgl_gmpool.poolings.grouping_pool import GroupingPool


class NGMPool(GroupingPool):
    r"""Grouping matrix pooling without decomposition, for one level.

    .. math:: X' = M X, \qquad E' = M E M, \qquad A' = M A M

    from Ko et al., "Grouping Matrix Based Graph Pooling with Adaptive Number of Clusters" (AAAI
    2023), eq. 18-19. By default M joins nodes that are alike and near each other, and is divided by
    the sizes of the groups; ``NGMPool.paper(in_feats)`` is the paper's reading. As a ``mean`` or
    ``sum`` readout without locality it needs only the column sums of M: O(n^2) time, and for large
    graphs no n x n matrix in memory.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    similarity, locality, feature_norm : str, optional
        As for :class:`~dgl_gmpool.GMPool`: ``"gaussian"``, ``"diffusion"``, ``"batch"``.
    aggregate : str, optional
        How the readout reduces the rows of M X: ``"mean_and_max"`` (default), ``"mean"``,
        ``"sum"``, ``"max"``, ``"mean_max_and_sum"``, or ``"atoms_and_groups"``, GMPool's.
    normalize : bool, optional
        Use D^{-1/2} M D^{-1/2} with D the row sums of M, the sizes of the groups (default).
        Otherwise the readout grows with the number of nodes, as the paper's does, which a head of a
        single linear layer cannot undo.
    rank_weight, fragment_weight : float, optional
        As for :class:`~dgl_gmpool.GMPool`. Default 0, no terms.
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
    (torch.Size([2, 32]), torch.Size([5, 1]))
    """

    #: The paper restricts NGMPool to one level; see the error for its two reasons.
    single_level = True

    def assign(self, batch: GraphBatch) -> Assignment:
        matrices = self.matrices(batch)
        return Assignment(
            [self.scaled(matrix) for matrix in matrices],
            [bucket.sizes for bucket in batch.layout.buckets],
            matrices=matrices,
            losses=self.matrix_losses(batch, matrices),
        )

    def read(self, batch: GraphBatch) -> Reading:
        plain = self.locality is None and not (self.rank_weight or self.fragment_weight)
        if self.aggregate not in ("mean", "sum") or not plain:
            return super().read(batch)
        return self._read_column_sums(batch)

    def _read_column_sums(self, batch: GraphBatch) -> Reading:
        """Mean or sum of M X from the column sums of M, which is never formed for large graphs."""
        feat = self.grouping.norm(batch.feat)
        measure = self.grouping.measure(feat.device)
        shares = []
        for bucket, block in zip(batch.layout.buckets, batch.layout.blocks(feat)):
            times = grouping_operator(measure, block)
            mask = bucket.mask.to(measure.weight.dtype)
            scale = self._inverse_root_sizes(times, mask) if self.normalize else mask
            share = scale * times(scale)
            if self.aggregate == "mean":
                share = share / bucket.sizes[:, None]
            shares.append(share)
        weight = batch.layout.rows(shares).to(batch.feat.dtype)
        return Reading(batch.segments.sum(batch.feat * weight[:, None]), [weight[:, None]])
