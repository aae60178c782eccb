"""NGMPool as a readout (eq. 18): column sums of M and the sum they weigh, in one step.

The mean over the coarse nodes of X' = M X is sum_i s_i x_i with s_i = sum_j M_ij / n. Written out
here with its gradient, it takes fewer passes over n x n matrices than autograd does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_gmpool.nn.grouping import GroupingMatrix, compute_dtype, weighted_distance
from dgl_gmpool.nn.ragged import Bucket, RaggedLayout

#: float32 rounds a weighted squared distance by up to 2.5e-6 of the largest sum_k |w_k| x_k^2, with
#: x from its graph's mean (measured up to 1,024 features). Up to this product of that sum and the
#: steepest slope of the similarity, entries of M are off by less than 1e-5.
FLOAT32_REACH = 4.0


def weighted_readout(
    grouping: GroupingMatrix, layout: RaggedLayout, feat: Tensor, *, mean: bool
) -> tuple[Tensor, Tensor]:
    """Mean or sum over the rows of M X, and the weight of each node in it.

    On the CPU, float32 features are taken in float32 where that leaves the entries of M right to
    1e-5 (:data:`FLOAT32_REACH`), otherwise in float64. No operation waits for a GPU.

    Parameters
    ----------
    grouping : GroupingMatrix
        Any similarity.
    layout : RaggedLayout
        Where the nodes are.
    feat : Tensor
        Finite node features. Shape ``(N, in_feats)``, float32 or float64.
    mean : bool
        Divide by the number of nodes.

    Returns
    -------
    Tensor, Tensor
        Readout ``(B, in_feats)``, zeros for a graph without nodes, and weights ``(N,)``; dtype of
        ``feat``. Differentiable, twice as well.

    Examples
    --------
    >>> grouping, x = GroupingMatrix(4), torch.randn(3, 4)
    >>> layout = RaggedLayout.from_counts(torch.tensor([3]))
    >>> out, weights = weighted_readout(grouping, layout, x, mean=False)
    >>> torch.allclose(weights.double(), grouping(x[None])[0].sum(0), atol=1e-4)
    True
    """
    weight = grouping.distance_weight(feat.device)
    bias = grouping.bias if grouping.bias is not None else weight.new_zeros(1)
    out, weights = _WeightedReadout.apply(
        feat, weight, bias.to(weight.dtype), grouping, layout, mean
    )
    return out, weights


class _WeightedReadout(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        feat: Tensor,
        weight: Tensor,
        bias: Tensor,
        grouping: GroupingMatrix,
        layout: RaggedLayout,
        mean: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.grouping, ctx.layout, ctx.mean = grouping, layout, mean
        inputs = (feat, weight, bias)
        flat, centred = _blocks_in_a_dtype(grouping, layout, *inputs)
        weight, bias = weight.to(flat.dtype), bias.to(flat.dtype)
        scaled = centred * (-2 * weight)
        out = feat.new_zeros(layout.batch_size, feat.shape[1], dtype=flat.dtype)
        counted, matrices, shares = [], [], []
        parts = (layout.split(each) for each in (flat, centred, scaled))
        for bucket, block, around, other in zip(layout.buckets, *parts):
            distance = torch.bmm(other, around.mT)
            # From the product itself: equal nodes are then at distance 0, however large they are.
            length = distance.diagonal(dim1=1, dim2=2) / -2
            distance += length[:, :, None]
            distance += length[:, None, :]
            matrix = grouping.similarity_of(distance, bias, inplace=True)
            columns = _column_weights(bucket, flat.dtype, mean)[:, :, None]
            share = torch.bmm(matrix, columns)
            out.index_copy_(0, bucket.graphs, torch.bmm(share.mT, block).squeeze(1))
            counted.append(columns)
            matrices.append(matrix)
            shares.append(share)
        ctx.save_for_backward(*inputs, flat, centred, *counted, *matrices, *shares)
        weights = layout.rows(shares).squeeze(-1) if shares else feat.new_zeros(0)
        return out.to(feat.dtype), weights.to(feat.dtype)

    @staticmethod
    def backward(ctx, grad_out: Tensor | None, grad_weights: Tensor | None):
        # A backward pass may be called under autocast, which the forward pass is kept out of.
        with torch.autocast(ctx.saved_tensors[0].device.type, enabled=False):
            # With create_graph=True, matrices of the forward pass would pass for constants.
            way = _differentiable_gradients if torch.is_grad_enabled() else _gradients
            return (*way(ctx, grad_out, grad_weights), None, None, None)


def _gradients(
    ctx, grad_out: Tensor | None, grad_weights: Tensor | None
) -> tuple[Tensor | None, ...]:
    """With regard to features, weights of the distance and bias."""
    layout, grouping = ctx.layout, ctx.grouping
    if not layout.buckets or (grad_out is None and grad_weights is None):
        return None, None, None
    feat, weight, bias, flat, centred, *kept = ctx.saved_tensors
    buckets = len(layout.buckets)
    counted, matrices, shares = kept[:buckets], kept[buckets : 2 * buckets], kept[2 * buckets :]
    narrow, narrow_bias = weight.to(flat.dtype), bias.to(flat.dtype)
    total_bias = torch.zeros_like(bias)
    toward_shares: list[Tensor | None] = [None] * buckets
    if grad_weights is not None:
        toward_shares = [*layout.blocks(grad_weights.to(flat.dtype)[:, None])]
    product = torch.empty_like(flat)
    parts = (layout.split(each) for each in (flat, centred, product))
    for bucket, columns, matrix, toward, block, around, rows in zip(
        layout.buckets, counted, matrices, toward_shares, *parts
    ):
        if grad_out is not None:
            through = torch.bmm(block, _of_graphs(grad_out, bucket, flat.dtype).mT)
            toward = through if toward is None else through.add_(toward)
        # dL/dM_ij + dL/dM_ji. Both factors are zero in padding.
        both = torch.bmm(toward, columns.mT)
        pull, push = grouping.slopes(matrix, both + both.mT, narrow_bias)
        total_bias += push
        # The gradient of squared distances is a graph Laplacian times X.
        degree = pull.sum(-1)
        laplacian = pull.neg_()
        laplacian.diagonal(dim1=1, dim2=2).add_(degree)
        torch.bmm(laplacian, around, out=rows)
    total_weight = torch.linalg.vecdot(product, centred, dim=0).to(weight.dtype)
    product *= 2 * narrow
    if grad_out is not None:
        for bucket, share, rows in zip(layout.buckets, shares, layout.split(product)):
            rows.addcmul_(share, _of_graphs(grad_out, bucket, flat.dtype))
    return product.index_select(0, layout.position).to(feat.dtype), total_weight, total_bias


def _differentiable_gradients(
    ctx, grad_out: Tensor | None, grad_weights: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The same gradients by operations that autograd knows."""
    # Views: where the features follow from the weights, only the direct way counts here.
    feat, weight, bias = inputs = [each.view_as(each) for each in ctx.saved_tensors[:3]]
    found = _written_out(ctx.grouping, ctx.layout, feat, weight, bias, ctx.mean)
    pairs = [pair for pair in zip(found, (grad_out, grad_weights)) if pair[1] is not None]
    wanted = [each for each in inputs if each.requires_grad]
    if not ctx.layout.buckets or not pairs or not wanted:
        return None, None, None
    grads = iter(
        torch.autograd.grad(
            [value for value, _ in pairs],
            wanted,
            [grad for _, grad in pairs],
            create_graph=True,
            allow_unused=True,
        )
    )
    return tuple(next(grads) if each.requires_grad else None for each in inputs)


def _written_out(
    grouping: GroupingMatrix,
    layout: RaggedLayout,
    feat: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: bool,
) -> tuple[Tensor, Tensor]:
    out, shares = feat.new_zeros(layout.batch_size, feat.shape[1]), []
    for bucket, block in zip(layout.buckets, layout.blocks(feat)):
        matrix = grouping.similarity_of(weighted_distance(block, weight), bias)
        share = (matrix @ _column_weights(bucket, matrix.dtype, mean)[:, :, None]).to(feat.dtype)
        out = out.index_copy(0, bucket.graphs, (share.mT @ block).squeeze(1))
        shares.append(share.squeeze(-1))
    return out, layout.rows(shares) if shares else feat.new_zeros(0)


def _column_weights(bucket: Bucket, dtype: torch.dtype, mean: bool) -> Tensor:
    """What each column of M counts: 1 / n or 1, and 0 in padding. Shape ``(b, w)``."""
    mask = bucket.mask.to(dtype)
    return mask / bucket.sizes[:, None] if mean else mask


def _of_graphs(grad: Tensor, bucket: Bucket, dtype: torch.dtype) -> Tensor:
    """The rows of a bucket's graphs, ``(b, 1, d)``."""
    return grad.to(dtype).index_select(0, bucket.graphs)[:, None, :]


def _blocks_in_a_dtype(
    grouping: GroupingMatrix, layout: RaggedLayout, feat: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """The blocks' rows end to end, and the same from the mean of their graph, ``(slots, d)`` each:
    in float32 where that is exact enough and asking costs no wait, or in the wide dtype."""
    if feat.device.type == "cpu" and feat.dtype == torch.float32 and feat.numel():
        flat, centred = _centred(layout, feat)
        reach = torch.mv(centred.square(), weight.abs().to(feat.dtype)).amax()
        if float(reach) * grouping.steepest_slope(float(bias)) <= FLOAT32_REACH:
            return flat, centred
    return _centred(layout, feat.to(compute_dtype(feat.device)))


def _centred(layout: RaggedLayout, feat: Tensor) -> tuple[Tensor, Tensor]:
    flat = layout.padded(feat)
    centred = torch.empty_like(flat)
    for bucket, block, around in zip(layout.buckets, layout.split(flat), layout.split(centred)):
        torch.sub(block, block.sum(1, keepdim=True) / bucket.sizes[:, None, None], out=around)
    return flat, centred
