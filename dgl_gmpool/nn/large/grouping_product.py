"""M v without M: the grouping matrix times a vector, a few rows at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dgl_gmpool.nn.first_order import first_order
from dgl_gmpool.nn.grouping import Measure

#: Cells of M that are in memory at a time.
CELLS = 1 << 21


def grouping_operator(measure: Measure, x: Tensor) -> Callable[[Tensor], Tensor]:
    """v to M v (eq. 18) for a block of graphs. v = 1 gives the row sums of M.

    M is made once where it is small. Otherwise its rows are made, used and dropped for each v:
    O(n^2) time and O(n) memory, backward pass included, which makes the rows once more.

    Parameters
    ----------
    measure : Measure
        Any similarity.
    x : Tensor
        Node features of graphs of like size. Shape ``(b, n, in_feats)``.

    Returns
    -------
    callable
        Takes v, zero for padded nodes, and gives M v in the dtype of the measure, both of shape
        ``(b, n)``. Padded rows hold what a node of zero features would have.

    Examples
    --------
    >>> measure, x = Measure("gaussian", torch.ones(4)), torch.randn(1, 5, 4)
    >>> sums = grouping_operator(measure, x)(torch.ones(1, 5))
    >>> torch.allclose(sums, measure.within(x).sum(-1))
    True
    """
    batch, n, _ = x.shape
    if batch * n * n <= CELLS:
        return partial(_times, measure.within(x))
    # Converted here, so that the gradient's parts are added up in the wide dtype.
    return partial(_in_rows, measure, x.to(measure.weight.dtype))


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.to(matrix.dtype)[:, :, None]).squeeze(-1)


def _in_rows(measure: Measure, x: Tensor, vector: Tensor) -> Tensor:
    vector = vector.to(x.dtype)[:, :, None]
    out: Tensor = _Product.apply(measure.similarity, x, vector, measure.weight, measure.bias)
    return out


def _rows(measure: Measure, part: Tensor, x: Tensor, vector: Tensor) -> Tensor:
    return _times(measure.between(part, x), vector.squeeze(-1))


class _Product(torch.autograd.Function):
    """M v with rows made again in the backward pass, where gradients are added up at once."""

    @staticmethod
    def forward(
        ctx: Any, similarity: str, x: Tensor, vector: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        # Saved, so that a parameter that is changed before the backward pass is an error of torch.
        ctx.save_for_backward(x, vector, weight, bias)
        ctx.similarity = similarity
        ctx.step = max(1, CELLS // (x.shape[0] * x.shape[1]))
        measure = Measure(similarity, weight, bias)
        # One result, made first: many small ones would split the memory that blocks of rows leave.
        out = torch.empty_like(vector[:, :, 0])
        for part, found in zip(x.split(ctx.step, dim=1), out.split(ctx.step, dim=1)):
            found.copy_(_rows(measure, part, x, vector))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        wanted = ctx.needs_input_grad[1:]
        given = ctx.saved_tensors
        leaves: list[Any] = [
            None if saved is None else saved.detach().requires_grad_(needed)
            for saved, needed in zip(given, wanted)
        ]
        x, vector, weight, bias = leaves
        measure = Measure(ctx.similarity, weight, bias)
        asked = [leaf for leaf, needed in zip(leaves, wanted) if needed]
        total = [torch.zeros_like(leaf) for leaf in asked]
        for start in range(0, x.shape[1], ctx.step):
            rows = slice(start, start + ctx.step)
            with torch.enable_grad():
                out = _rows(measure, x[:, rows], x, vector)
            # A bias of a similarity that has none is no part of the result.
            parts = torch.autograd.grad(out, asked, grad[:, rows].detach())
            for each, more in zip(total, parts):
                each += more
        sources = [each for each in (*given, grad) if each is not None]
        found = (first_order(each, "M v of a large graph", *sources) for each in total)
        return (None, *(next(found) if needed else None for needed in wanted))
