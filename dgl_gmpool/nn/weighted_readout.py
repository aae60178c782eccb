"""Mean or sum over the coarse nodes of X' = M X (eq. 18) or S' X (eq. 13), in one step.

Such a readout needs neither X' nor S: it is sum_i s_i x_i, where s = F 1 and F is M (NGMPool) or
its symmetric root (GMPool). s and its gradient are written out here, in fewer passes over n x n
matrices than autograd takes: the gradient with regard to F is known to be an outer product.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from dgl_gmpool.nn.grouping import GroupingMatrix, compute_dtype, weighted_distance
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.nn.square_root import root_times, root_times_gradient, symmetric_root

#: float32 rounds a weighted squared distance by up to 2.5e-6 of the largest sum_k |w_k| x_k^2, with
#: x from any origin (measured up to 1,024 features). Up to this product of that sum and the
#: steepest slope of the similarity, entries of M are off by less than 1e-5.
FLOAT32_REACH = 4.0

#: Features of a bucket that are in the wide dtype at a time: half a megabyte stays in the cache.
SLICE = 1 << 16

#: With a larger b most entries are so near 1 that float32 loses 1 - M, and with it the gradient.
FLOAT32_BIAS = 5.0


def weighted_readout(
    grouping: GroupingMatrix, layout: RaggedLayout, feat: Tensor, *, mean: bool, root: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean or sum over the rows of M X, or of S X with the root S, and each node's weight in it.

    No value is asked of a GPU. M is computed in float64, where the device has it; without ``root``,
    on the CPU, float32 features are taken in float32 where that leaves the entries of M right to
    1e-5 (:data:`FLOAT32_REACH`).

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
    root : bool, optional
        Pool with the root of M, see :func:`~dgl_gmpool.nn.square_root.symmetric_root`.

    Returns
    -------
    Tensor, Tensor
        Readout ``(B, in_feats)``, zeros for a graph without nodes, and weights ``(N,)``; dtype of
        ``feat``. Differentiable; twice as well, without ``root``.

    Examples
    --------
    >>> grouping, x = GroupingMatrix(4), torch.randn(3, 4)
    >>> layout = RaggedLayout.from_counts(torch.tensor([3]))
    >>> out, weights = weighted_readout(grouping, layout, x, mean=False)
    >>> torch.allclose(weights.double(), grouping(x[None])[0].sum(0), atol=1e-4)
    True
    """
    weight = grouping.distance_weight(feat.device)
    given = weight.new_zeros(1) if grouping.bias is None else grouping.bias
    bias = given.to(weight.dtype)
    # Inside the function, autograd is switched off in any case.
    keep = torch.is_grad_enabled() and any(each.requires_grad for each in (feat, weight, bias))
    out, weights = _WeightedReadout.apply(feat, weight, bias, grouping, layout, mean, root, keep)
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
        root: bool,
        keep: bool,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.grouping, ctx.layout, ctx.mean, ctx.root = grouping, layout, mean, root
        flat = feat.index_select(0, layout.origin)
        points, dtype = _points(grouping, layout, flat, weight, bias, exact=root)
        bias_here, slope = bias.to(dtype), -2 * weight.to(dtype)
        masks = (layout.inverse_size > 0).to(dtype)[:, None]
        # What each column of M counts in s.
        columns = layout.inverse_size.to(dtype)[:, None] if mean else masks
        shares = torch.empty_like(columns)
        out = feat.new_zeros(layout.batch_size, feat.shape[1])
        matrices: list[Tensor] = []
        spectra: list[Tensor] = []
        parts = (layout.split(each) for each in (flat, masks, columns, shares))
        for bucket, point, block, mask, column, share in zip(layout.buckets, points, *parts):
            matrix = _scaled_gram(point, slope)
            # From the product itself: the distance of equal nodes is then 0, to rounding, however
            # large they are.
            length = matrix.diagonal(dim1=1, dim2=2) / -2
            matrix += length[:, :, None]
            matrix += length[:, None, :]
            grouping.similarity_of(matrix, bias_here, inplace=True)
            if root:
                if not bucket.full:
                    matrix *= mask
                    matrix *= mask.mT
                product, spectrum = root_times(matrix, column)
                torch.mul(product, mask, out=share)
                spectra.extend(spectrum if keep else ())
            else:
                torch.bmm(matrix, column, out=share)
                share *= mask
            rows = torch.bmm(share.mT.to(feat.dtype), block)
            out.index_copy_(0, bucket.graphs, rows.squeeze(1))
            matrices.extend([matrix] if keep else ())
        if keep:
            ctx.save_for_backward(
                *(feat, weight, bias, flat, masks, columns, shares), *points, *matrices, *spectra
            )
        weights = shares.index_select(0, layout.position).squeeze(1)
        return out, weights.to(feat.dtype)

    @staticmethod
    def backward(ctx, grad_out: Tensor | None, grad_weights: Tensor | None):
        # Once: each access calls the hooks on saved tensors, and checkpointing forbids a second.
        saved = ctx.saved_tensors
        # A backward pass may be called under autocast, which the forward pass is kept out of.
        with torch.autocast(saved[0].device.type, enabled=False):
            # With create_graph=True, matrices of the forward pass would pass for constants.
            way = _differentiable_gradients if torch.is_grad_enabled() else _gradients
            return (*way(ctx, saved, grad_out, grad_weights), None, None, None, None, None)


def _gradients(
    ctx, saved: Sequence[Tensor], grad_out: Tensor | None, grad_weights: Tensor | None
) -> tuple[Tensor | None, ...]:
    """With regard to features, weights of the distance and bias."""
    layout, grouping = ctx.layout, ctx.grouping
    if not layout.buckets or (grad_out is None and grad_weights is None):
        return None, None, None
    _, weight, bias, flat, masks, columns, shares, *rest = saved
    number, dtype = len(layout.buckets), shares.dtype
    points, matrices, spectra = rest[:number], rest[number : 2 * number], rest[2 * number :]
    bias_here, slope = bias.to(dtype), 2 * weight.to(dtype)
    total_bias, total_weight = torch.zeros_like(bias_here), torch.zeros_like(slope)
    total_feat = torch.empty_like(flat)
    given = None
    if grad_weights is not None:
        given = layout.split(grad_weights.to(dtype).index_select(0, layout.origin)[:, None])
    parts = (layout.split(each) for each in (flat, masks, columns, shares, total_feat))
    for index, (bucket, block, mask, column, share, rows) in enumerate(zip(layout.buckets, *parts)):
        share_grad = None if given is None else given[index]
        if grad_out is not None:
            grad = grad_out.index_select(0, bucket.graphs)[:, None, :]
            through = torch.bmm(grad, block.mT).mT.to(dtype)
            share_grad = through if share_grad is None else through.add_(share_grad)
        share_grad = share_grad * mask
        # dL/dM_ij + dL/dM_ji
        if ctx.root:
            both = root_times_gradient(spectra[3 * index : 3 * index + 3], share_grad)
        else:
            both = torch.baddbmm(share_grad * column.mT, column, share_grad.mT)
        pull, push = grouping.slopes(matrices[index], both, bias_here)
        # The gradient of squared distances is a graph Laplacian times X.
        degree = pull.sum(-1)
        total_bias += degree.sum() / 2 if push is None else push
        laplacian = pull.neg_()
        laplacian.diagonal(dim1=1, dim2=2).add_(degree)
        for part, pulled, written in _slices(points[index], dtype, laplacian, rows):
            total_weight += _laplacian_product(part, pulled, written, slope)
        if grad_out is not None:
            rows.addcmul_(share.to(flat.dtype), grad)
        # Before the next bucket's are made.
        del both, pull, laplacian
    return (
        total_feat.index_select(0, layout.position),
        total_weight.to(weight.dtype),
        total_bias.to(bias.dtype),
    )


def _differentiable_gradients(
    ctx, saved: Sequence[Tensor], grad_out: Tensor | None, grad_weights: Tensor | None
) -> tuple[Tensor | None, ...]:
    """The same gradients by operations that autograd knows."""
    # Views: where the features follow from the weights, only the direct way counts here.
    feat, weight, bias = inputs = [each.view_as(each) for each in saved[:3]]
    found = _written_out(ctx, feat, weight, bias)
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


def _written_out(ctx, feat: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    layout = ctx.layout
    out, shares = feat.new_zeros(layout.batch_size, feat.shape[1]), []
    columns = layout.inverse_size.to(weight.dtype)[:, None]
    columns = columns if ctx.mean else columns.sign()
    for bucket, column, block in zip(layout.buckets, layout.split(columns), layout.blocks(feat)):
        matrix = ctx.grouping.similarity_of(weighted_distance(block, weight), bias)
        if ctx.root:
            mask = bucket.mask.to(matrix.dtype)
            matrix, _ = symmetric_root(matrix * (mask[:, :, None] * mask[:, None, :]))
        share = (matrix @ column).to(feat.dtype)
        out = out.index_copy(0, bucket.graphs, (share.mT @ block).squeeze(1))
        shares.append(share.squeeze(-1))
    return out, layout.rows(shares) if shares else feat.new_zeros(0)


def _slices(block: Tensor, dtype: torch.dtype, *others: Tensor) -> Iterable[Sequence[Tensor]]:
    """A bucket's features, and what else goes with its graphs, a few graphs at a time: as many as
    have their features in the wide dtype at a time, and all of them where they are in it."""
    if block.dtype == dtype or block.device.type != "cpu" or block.numel() <= SLICE:
        return [(block, *others)]
    step = max(1, SLICE // block[0].numel())
    return zip(*(each.split(step) for each in (block, *others)))


def _scaled_gram(block: Tensor, slope: Tensor) -> Tensor:
    """X diag(slope) X' of every graph, ``(b, w, w)``, in the dtype of ``slope``."""
    gram = slope.new_empty(len(block), block.shape[1], block.shape[1])
    for part, found in _slices(block, slope.dtype, gram):
        point = part.to(slope.dtype)
        torch.bmm(point * slope, point.mT, out=found)
    return gram


def _laplacian_product(block: Tensor, laplacian: Tensor, rows: Tensor, slope: Tensor) -> Tensor:
    """Write the gradient with regard to X, L X diag(slope), into ``rows``; return that with regard
    to the weights of the distance, ``(d,)``."""
    point = block.to(slope.dtype)
    product = torch.bmm(laplacian, point)
    torch.mul(product, slope, out=rows)
    return product.mul_(point).sum((0, 1))


def _points(
    grouping: GroupingMatrix,
    layout: RaggedLayout,
    flat: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    exact: bool,
) -> tuple[list[Tensor], torch.dtype]:
    """Blocks of features to take distances between, and the dtype to do it in.

    The wide dtype takes them as they are, as :class:`GroupingMatrix` does. float32 is enough if
    they are small, as they are or from their graph's mean, which changes no distance. There is no
    look at the values, and no float32, on a GPU, which it would make wait, and with ``exact``.
    """
    plain, wide = layout.split(flat), compute_dtype(flat.device)
    if exact or flat.device.type != "cpu" or flat.dtype != torch.float32 or not flat.numel():
        return plain, wide
    if float(bias) > FLOAT32_BIAS:
        return plain, wide
    slope, size = grouping.steepest_slope(float(bias)), weight.abs()
    if _largest_square(flat) * float(size.amax()) * slope <= FLOAT32_REACH:
        return plain, torch.float32
    centred = _from_graph_means(layout, flat)
    sums = [torch.mv(each.flatten(0, 1).square(), size.to(flat.dtype)) for each in centred]
    if all(float(each.amax()) * slope <= FLOAT32_REACH for each in sums):
        return centred, torch.float32
    # Not centred: one far node would move the mean away from the others, and blur them.
    return plain, wide


def _largest_square(flat: Tensor) -> float:
    """The largest |x|^2 of the rows."""
    return float(torch.linalg.vector_norm(flat, dim=1).amax()) ** 2


def _from_graph_means(layout: RaggedLayout, flat: Tensor) -> list[Tensor]:
    """The blocks, less the mean over each graph's nodes."""
    parts = layout.split(layout.inverse_size.to(flat.dtype)[:, None])
    return [block - part.mT @ block for part, block in zip(parts, layout.split(flat))]
