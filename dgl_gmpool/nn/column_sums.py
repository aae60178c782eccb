"""NGMPool as a readout (eq. 18): column sums of M and the sum they weigh, in one step.

The mean over the coarse nodes of X' = M X is sum_i s_i x_i with s_i = sum_j M_ij / n. Written out
here with its gradient, it takes fewer passes over n x n matrices than autograd does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_gmpool.nn.grouping import GroupingMatrix, compute_dtype
from dgl_gmpool.nn.ragged import Bucket, RaggedLayout

#: Up to this sum_k |w_k| x_k^2 of all nodes, weighted squared distances in float32 are off by less
#: than 3e-5, and entries of M by a quarter of it.
FLOAT32_REACH = 32.0


def weighted_readout(
    grouping: GroupingMatrix, layout: RaggedLayout, feat: Tensor, *, mean: bool
) -> tuple[Tensor, Tensor]:
    """Mean or sum over the rows of M X, and the weight of each node in it.

    On the CPU in float32 where features are small enough to lose nothing by it, otherwise in
    float64. No operation waits for a GPU.

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


def _plain(
    grouping: GroupingMatrix,
    layout: RaggedLayout,
    feat: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: bool,
) -> tuple[Tensor, Tensor]:
    """The same by operations that autograd knows, for second derivatives."""
    out = feat.new_zeros(layout.batch_size, feat.shape[1])
    shares = []
    for bucket, block in zip(layout.buckets, layout.blocks(feat)):
        wide = block.to(weight.dtype)
        gram = (wide * weight) @ wide.mT
        square = gram.diagonal(dim1=-2, dim2=-1)
        distance = square[:, :, None] + square[:, None, :] - 2 * gram
        matrix = grouping.similarity_of(distance, bias)
        share = (matrix @ bucket.mask.to(matrix.dtype)[:, :, None]).squeeze(-1)
        share = (share / bucket.sizes[:, None] if mean else share).to(feat.dtype)
        out = out.index_copy(0, bucket.graphs, (share[:, None, :] @ block).squeeze(1))
        shares.append(share)
    return out, layout.rows(shares) if shares else feat.new_zeros(0)


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
        ctx.save_for_backward(feat, weight, bias)
        flat = _padded(feat, weight, layout)
        dtype = flat.dtype
        weight, bias = weight.to(dtype), bias.to(dtype)
        scaled = flat * (-2 * weight)
        out = feat.new_zeros(layout.batch_size, feat.shape[1], dtype=dtype)
        ctx.flat, ctx.kept = flat, []
        shares = []
        for bucket, block, other in zip(layout.buckets, layout.split(flat), layout.split(scaled)):
            distance = torch.bmm(other, block.mT)
            # From the product itself: equal nodes are then at distance 0, however large they are.
            length = distance.diagonal(dim1=1, dim2=2) / -2
            distance += length[:, :, None]
            distance += length[:, None, :]
            matrix = grouping.similarity_of(distance, bias, inplace=True)
            mask = _share_of_each(bucket, dtype, mean)
            share = torch.bmm(matrix, mask[:, :, None])
            out.index_copy_(0, bucket.graphs, torch.bmm(share.mT, block).squeeze(1))
            ctx.kept.append((block, mask, matrix, share))
            shares.append(share)
        weights = layout.rows(shares).squeeze(-1) if shares else feat.new_zeros(0)
        return out.to(feat.dtype), weights.to(feat.dtype)

    @staticmethod
    def backward(ctx, grad_out: Tensor | None, grad_weights: Tensor | None):
        # A backward pass may be called under autocast, which the forward pass is kept out of.
        with torch.autocast(ctx.saved_tensors[0].device.type, enabled=False):
            # With create_graph=True what is kept would pass for constants.
            way = _differentiable if torch.is_grad_enabled() else _gradients
            return (*way(ctx, grad_out, grad_weights), None, None, None)


def _gradients(
    ctx, grad_out: Tensor | None, grad_weights: Tensor | None
) -> tuple[Tensor | None, ...]:
    """With regard to features, weights of the distance and bias, from what the forward kept."""
    feat, weight, bias = ctx.saved_tensors
    layout, grouping = ctx.layout, ctx.grouping
    if not layout.buckets or (grad_out is None and grad_weights is None):
        return None, None, None
    flat = ctx.flat
    narrow, narrow_bias = weight.to(flat.dtype), bias.to(flat.dtype)
    total_bias = torch.zeros_like(bias)
    toward_shares = [None] * len(layout.buckets)
    if grad_weights is not None:
        toward_shares = layout.blocks(grad_weights.to(flat.dtype)[:, None])
    product = torch.empty_like(flat)
    grads = []
    for bucket, kept, toward, rows in zip(
        layout.buckets, ctx.kept, toward_shares, layout.split(product)
    ):
        block, mask, matrix, _ = kept
        if grad_out is not None:
            grad = grad_out.to(flat.dtype).index_select(0, bucket.graphs)[:, None, :]
            grads.append(grad)
            through = torch.bmm(block, grad.mT)
            toward = through if toward is None else through.add_(toward)
        # dL/dM_ij + dL/dM_ji. Both factors are zero in padding.
        both = torch.bmm(toward, mask[:, None, :])
        pull, push = grouping.slopes(matrix, both + both.mT, narrow_bias)
        total_bias += push
        # The gradient of squared distances is a graph Laplacian times X.
        degree = pull.sum(-1)
        laplacian = pull.neg_()
        laplacian.diagonal(dim1=1, dim2=2).add_(degree)
        torch.bmm(laplacian, block, out=rows)
    total_weight = torch.linalg.vecdot(product, flat, dim=0).to(weight.dtype)
    product *= 2 * narrow
    for grad, kept, rows in zip(grads, ctx.kept, layout.split(product)):
        rows.addcmul_(kept[3], grad)
    found = product.index_select(0, layout.position).to(feat.dtype)
    return found, total_weight, total_bias


def _differentiable(
    ctx, grad_out: Tensor | None, grad_weights: Tensor | None
) -> tuple[Tensor | None, ...]:
    inputs = list(ctx.saved_tensors)
    found = _plain(ctx.grouping, ctx.layout, *inputs, ctx.mean)
    given = [(value, grad) for value, grad in zip(found, (grad_out, grad_weights))]
    given = [(value, grad) for value, grad in given if grad is not None]
    wanted = [each for each in inputs if each.requires_grad]
    if not given or not wanted:
        return (None,) * len(inputs)
    grads = iter(
        torch.autograd.grad(
            [value for value, _ in given],
            wanted,
            [grad for _, grad in given],
            create_graph=True,
            allow_unused=True,
        )
    )
    return tuple(next(grads) if each.requires_grad else None for each in inputs)


def _share_of_each(bucket: Bucket, dtype: torch.dtype, mean: bool) -> Tensor:
    """What each column of M counts: 1 / n or 1, and 0 in padding. Shape ``(b, w)``."""
    mask = bucket.mask.to(dtype)
    return mask / bucket.sizes[:, None] if mean else mask


def _padded(feat: Tensor, weight: Tensor, layout: RaggedLayout) -> Tensor:
    """The blocks' rows end to end, ``(slots, d)``: in float32 where that is exact enough and
    asking costs no wait, or in the wide dtype."""
    if feat.device.type == "cpu" and feat.dtype == torch.float32 and feat.numel():
        reach = torch.mv(feat.square(), weight.abs().to(feat.dtype)).amax()
        if bool(reach <= FLOAT32_REACH):
            return layout.padded(feat)
    return layout.padded(feat.to(compute_dtype(feat.device)))
