"""What arrives at the nodes, and at the edges less their own reverse (eq. 1 and 3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def arriving_sum(hidden: Tensor, destination: Tensor, num_nodes: int) -> Tensor:
    """:func:`_arriving`, for autograd."""
    return hidden.new_zeros(num_nodes, hidden.shape[1]).index_add(0, destination, hidden)


def _arriving(hidden: Tensor, destination: Tensor, num_nodes: int) -> Tensor:
    """Sum of the edge states that arrive at each node (eq. 3)."""
    return hidden.new_zeros(num_nodes, hidden.shape[1]).index_add_(0, destination, hidden)


class DirectedMessage(torch.autograd.Function):
    """m_ij = sum of h_ki over k in N(i), save for k = j (eq. 1).

    Written out because "the reverse of" is an involution: its gradient gathers where that of a
    general index would scatter.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        source: Tensor,
        destination: Tensor,
        reverse: Tensor,
        mask: Tensor | None,
        num_nodes: int,
    ) -> Tensor:
        ctx.save_for_backward(source, destination, reverse, mask)
        ctx.num_nodes = num_nodes
        arriving = _arriving(hidden, destination, num_nodes)
        return arriving.index_select(0, source).sub_(_of_reverse(hidden, reverse, mask))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        source, destination, reverse, mask = ctx.saved_tensors
        leaving = _arriving(grad, source, ctx.num_nodes)
        grad_hidden = leaving.index_select(0, destination) - _of_reverse(grad, reverse, mask)
        return grad_hidden, None, None, None, None, None


class LessReverse(torch.autograd.Function):
    """What has arrived at the source of each edge, less the state of the edge's reverse."""

    @staticmethod
    def forward(
        ctx: Any,
        arriving: Tensor,
        hidden: Tensor,
        source: Tensor,
        reverse: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(source, reverse, mask)
        ctx.num_nodes = len(arriving)
        return arriving.index_select(0, source).sub_(_of_reverse(hidden, reverse, mask))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        source, reverse, mask = ctx.saved_tensors
        return (
            _arriving(grad, source, ctx.num_nodes),
            _of_reverse(grad, reverse, mask).neg_(),
            None,
            None,
            None,
        )


def _of_reverse(hidden: Tensor, reverse: Tensor, mask: Tensor | None) -> Tensor:
    """The state of each edge's reverse, zero for edges without one."""
    own = hidden.index_select(0, reverse)
    return own if mask is None else own * mask
