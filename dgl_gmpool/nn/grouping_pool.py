"""What GMPool and NGMPool share: the grouping matrix of each graph."""

from __future__ import annotations

import math
from typing import Any

import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.coarsen import EDGE_TOLERANCE
from dgl_gmpool.nn.dense_pooling import DensePooling, at_least_float32
from dgl_gmpool.nn.grouping import GroupingMatrix, compute_dtype
from dgl_gmpool.nn.large.grouping_product import grouping_product
from dgl_gmpool.nn.ragged import Bucket, RaggedLayout
from dgl_gmpool.nn.weighted_readout import weighted_readout


class GroupingPool(DensePooling):
    """Base class of the poolings that start from a grouping matrix (eq. 5-7)."""

    def __init__(
        self,
        in_feats: int,
        *,
        similarity: str = "linear",
        aggregate: str = "mean",
        normalize: bool = False,
        init_scale: float = 1.0,
        init_bias: float | None = None,
        rank_weight: float = 0.0,
        edge_tol: float = EDGE_TOLERANCE,
    ) -> None:
        super().__init__(in_feats, aggregate=aggregate, edge_tol=edge_tol)
        if not isinstance(normalize, bool):
            raise ValueError(f"normalize is {normalize!r}; give True or False")
        if not isinstance(rank_weight, (int, float)) or not math.isfinite(rank_weight):
            raise ValueError(f"rank_weight is {rank_weight!r}; give a number")
        self.normalize = normalize
        self.rank_weight = rank_weight
        self.grouping = GroupingMatrix(
            in_feats, similarity=similarity, init_scale=init_scale, init_bias=init_bias
        )
        self._ranks: list[Tensor] = []

    @property
    def losses(self) -> dict[str, Tensor]:
        """The term on the spectrum in the last call, where ``rank_weight`` is not 0: a scalar.

        ``rank_weight`` times the mean over graphs of tr(M)^2 / (n ||M||^2), which is the
        participation ratio of the eigenvalues as a share of the nodes: 1 / n for one group, 1
        for n groups. It needs no eigenvalues, so its gradient has no eigengap.
        """
        if not self._ranks:
            return {}
        return {"rank": self.rank_weight * torch.cat(self._ranks).mean()}

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

    def extra_repr(self) -> str:
        text = super().extra_repr()
        text += ", normalize=True" if self.normalize else ""
        return text + (f", rank_weight={self.rank_weight}" if self.rank_weight else "")

    def __getstate__(self) -> dict[str, Any]:
        # Tensors inside an autograd graph can be neither copied nor pickled.
        return {**self.__dict__, "_ranks": []}

    def _layout(
        self, graph: DGLGraph, feat: Tensor, batch_num_nodes: Tensor | None
    ) -> RaggedLayout:
        self._ranks = []
        return super()._layout(graph, feat, batch_num_nodes)

    def _note_rank(self, matrix: Tensor, bucket: Bucket) -> None:
        """Keep tr(M)^2 / (n ||M||^2) of each graph for ``losses``; M is zero in padding."""
        if self.rank_weight:
            trace = matrix.diagonal(dim1=1, dim2=2).sum(-1)
            norm = matrix.square().sum((1, 2)).clamp(min=torch.finfo(matrix.dtype).tiny)
            self._ranks.append(trace.square() / (norm * bucket.sizes))

    def _in_one_step(
        self, layout: RaggedLayout, feat: Tensor, *, root: bool
    ) -> tuple[Tensor, Tensor]:
        """Mean or sum of M X, or of S X with the symmetric root S, and each node's weight in it."""
        wide = feat.to(at_least_float32(feat.dtype))
        mean = self.aggregate == "mean"
        found = weighted_readout(self.grouping, layout, wide, mean=mean, root=root)
        out, weights = (each.to(feat.dtype) for each in found)
        return out, weights

    def _scale(self, block: Tensor, bucket: Bucket) -> Tensor:
        """The diagonal of D^{-1/2}, or ones; zeros in padding. Shape ``(b, w)``. M is not formed,
        but its row sums take O(w^2) time."""
        mask = bucket.mask.to(compute_dtype(block.device))
        if not self.normalize:
            return mask
        size = grouping_product(self.grouping, block, mask)
        # Padding far from all nodes has a sum so small that the gradient of its root overflows, and
        # an infinity times the mask's zero is NaN.
        size = size.masked_fill(~bucket.mask, 1.0)
        return mask * size.clamp(min=torch.finfo(size.dtype).tiny).rsqrt()

    def _masked(self, block: Tensor, bucket: Bucket) -> Tensor:
        """M, or D^{-1/2} M D^{-1/2}, with zeros in padded rows and columns."""
        matrix = self.grouping(block)
        if not bucket.full:
            mask = bucket.mask.to(matrix.dtype)
            matrix = matrix * (mask[:, :, None] * mask[:, None, :])
        self._note_rank(matrix, bucket)
        if not self.normalize:
            return matrix
        # Padded rows add up to 0, and so do those of a graph whose entries all underflow.
        size = matrix.sum(-1).clamp(min=torch.finfo(matrix.dtype).tiny).rsqrt()
        return matrix * (size[:, :, None] * size[:, None, :])
