"""M v without M: the grouping matrix times a vector, a few rows at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgl_gmpool.nn.grouping import GroupingMatrix, compute_dtype

#: Cells of M that are in memory at a time.
CELLS = 1 << 21


def grouping_product(grouping: GroupingMatrix, x: Tensor, vector: Tensor) -> Tensor:
    """M v of a block of graphs (eq. 18), rows of M made, used and dropped.

    O(n^2) time and O(n) memory, backward pass included, which makes the rows once more. v = 1 gives
    the row sums of M.

    Parameters
    ----------
    grouping : GroupingMatrix
        Any similarity.
    x : Tensor
        Node features of graphs of like size. Shape ``(b, n, in_feats)``.
    vector : Tensor
        v, zero for padded nodes. Shape ``(b, n)``.

    Returns
    -------
    Tensor
        Shape ``(b, n)``, float64 (float32 where the device has no float64). Padded rows hold what
        a node of zero features would have.

    Examples
    --------
    >>> grouping, x = GroupingMatrix(4), torch.randn(1, 5, 4)
    >>> sums = grouping_product(grouping, x, torch.ones(1, 5))
    >>> torch.allclose(sums, grouping(x).sum(-1))
    True
    """
    batch, n = vector.shape
    dtype = compute_dtype(x.device)
    # Converted here, so that the gradient's parts are added up in the wide dtype.
    x, vector = x.to(dtype), vector.to(dtype)[:, :, None]
    if batch * n * n <= CELLS:
        return _rows(grouping, x, x, vector)
    return _Product.apply(grouping, x, vector, *grouping.parameters())


def _rows(grouping: GroupingMatrix, part: Tensor, x: Tensor, vector: Tensor) -> Tensor:
    return (grouping.between(part, x) @ vector).squeeze(-1)


class _Product(torch.autograd.Function):
    """M v with rows made again in the backward pass, where gradients are added up at once."""

    @staticmethod
    def forward(ctx, grouping: GroupingMatrix, x: Tensor, vector: Tensor, *_: Tensor) -> Tensor:
        ctx.save_for_backward(x, vector)
        ctx.grouping = grouping
        ctx.step = max(1, CELLS // (x.shape[0] * x.shape[1]))
        # One result, made first: many small ones would split the memory that blocks of rows leave.
        out = torch.empty_like(vector[:, :, 0])
        for part, found in zip(x.split(ctx.step, dim=1), out.split(ctx.step, dim=1)):
            found.copy_(_rows(grouping, part, x, vector))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        x, vector = (
            saved.detach().requires_grad_(needed)
            for saved, needed in zip(ctx.saved_tensors, wanted)
        )
        # Those that are frozen, or constant as the mask of the nodes is, have no gradient.
        leaves = [x, vector, *ctx.grouping.parameters()]
        asked = [leaf for leaf, needed in zip(leaves, wanted) if needed]
        total = [torch.zeros_like(leaf) for leaf in asked]
        for start in range(0, x.shape[1], ctx.step):
            rows = slice(start, start + ctx.step)
            with torch.enable_grad():
                out = _rows(ctx.grouping, x[:, rows], x, vector)
            for each, more in zip(total, torch.autograd.grad(out, asked, grad[:, rows])):
                each += more
        found = iter(total)
        return (None, *(next(found) if needed else None for needed in wanted))
