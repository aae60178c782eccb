"""S' A S from the edges, without A (eq. 14-15)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dgl_gmpool.nn.first_order import first_order
from dgl_gmpool.nn.large.grouping_product import CELLS


def coarse_adjacency(assign: Tensor, source: Tensor, destination: Tensor, values: Tensor) -> Tensor:
    """A' = S' A S, or E' = S' E S channel by channel, in O(e K + n K^2) time and O(e + n) K memory.

    Parameters
    ----------
    assign : Tensor
        S of graphs of like size. Shape ``(b, w, K)``.
    source, destination : Tensor
        The ends of the edges, as rows of the block flattened to b * w. Shape ``(e,)``, int64.
    values : Tensor
        The entries of A, or of the channels of E. Shape ``(e, C)``, dtype of ``assign``.

    Returns
    -------
    Tensor
        Shape ``(b, K, K, C)``.

    Examples
    --------
    >>> S = torch.tensor([[[1., 0], [1, 0], [0, 1]]])
    >>> u, v = torch.tensor([0, 1, 1, 2]), torch.tensor([1, 0, 2, 1])
    >>> coarse_adjacency(S, u, v, torch.ones(4, 1))[0, :, :, 0].tolist()
    [[2.0, 1.0], [1.0, 0.0]]
    """
    return _CoarseAdjacency.apply(assign, source, destination, values)


class _CoarseAdjacency(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, assign: Tensor, source: Tensor, destination: Tensor, values: Tensor
    ) -> Tensor:
        ctx.save_for_backward(assign, source, destination, values)
        out = assign.new_empty(len(assign), assign.shape[2], assign.shape[2], values.shape[1])
        for channel in range(values.shape[1]):
            product = _times(source, destination, values[:, channel], assign)
            out[..., channel] = assign.mT @ product
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, Tensor | None]:
        assign, source, destination, values = ctx.saved_tensors
        grad_assign = torch.zeros_like(assign)
        grad_values = torch.zeros_like(values)
        ends = assign.flatten(0, 1)
        for channel in range(values.shape[1]):
            value, each = values[:, channel], grad[..., channel]
            if ctx.needs_input_grad[0]:
                grad_assign += _times(source, destination, value, assign) @ each.mT
                grad_assign += _times(destination, source, value, assign) @ each
            if ctx.needs_input_grad[3]:
                starts = (assign @ each).flatten(0, 1)
                step = max(1, CELLS // assign.shape[2])
                grad_values[:, channel] = torch.cat(
                    [
                        (starts[rows] * ends[columns]).sum(1)
                        for rows, columns in zip(source.split(step), destination.split(step))
                    ]
                )
        what, sources = "the coarse graph of a large graph", (assign, values, grad)
        return (
            first_order(grad_assign, what, *sources),
            None,
            None,
            first_order(grad_values, what, *sources),
        )


def _times(rows: Tensor, columns: Tensor, values: Tensor, assign: Tensor) -> Tensor:
    """A S for the A with these entries; entries of the same cell are summed."""
    size = len(assign) * assign.shape[1]
    matrix = torch.sparse_coo_tensor(
        torch.stack([rows, columns]), values, (size, size), check_invariants=False
    )
    return torch.sparse.mm(matrix, assign.flatten(0, 1)).view(assign.shape)
