"""What GMPool and NGMPool share: the grouping matrix of each graph."""

from __future__ import annotations

from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.coarsen import EDGE_TOLERANCE
from dgl_gmpool.nn.dense_pooling import DensePooling
from dgl_gmpool.nn.grouping import GroupingMatrix
from dgl_gmpool.nn.ragged import Bucket


class GroupingPool(DensePooling):
    """Base class of the poolings that start from a grouping matrix (eq. 5-7)."""

    def __init__(
        self,
        in_feats: int,
        *,
        similarity: str = "linear",
        aggregate: str = "mean",
        edge_tol: float = EDGE_TOLERANCE,
    ) -> None:
        super().__init__(in_feats, aggregate=aggregate, edge_tol=edge_tol)
        self.grouping = GroupingMatrix(in_feats, similarity=similarity)

    def reset_parameters(self) -> None:
        """Draw new initial parameters."""
        self.grouping.reset_parameters()

    def grouping_matrices(
        self, graph: DGLGraph, feat: Tensor, *, batch_num_nodes: Tensor | None = None
    ) -> list[Tensor]:
        """M of each graph (eq. 5): list of B tensors ``(n_b, n_b)``, dtype of ``feat``."""
        layout = self._layout(graph, feat, batch_num_nodes)
        out = [feat.new_zeros(0, 0) for _ in range(layout.batch_size)]
        for bucket, block in zip(layout.buckets, layout.blocks(feat)):
            matrix = self.grouping(block)
            for index, which in enumerate(bucket.graphs.tolist()):
                n = int(bucket.sizes[index])
                out[which] = matrix[index, :n, :n].to(feat.dtype)
        return out

    def _masked(self, block: Tensor, bucket: Bucket) -> Tensor:
        """M with zeros in padded rows and columns."""
        matrix = self.grouping(block)
        if int(bucket.sizes.min()) == bucket.width:
            return matrix
        mask = bucket.mask.to(matrix.dtype)
        return matrix * (mask[:, :, None] * mask[:, None, :])
