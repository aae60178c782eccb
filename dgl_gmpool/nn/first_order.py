"""Gradients that are written out by hand and have no derivative of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _FirstOrder(torch.autograd.Function):
    """The identity on a gradient; its own derivative is an error.

    torch's ``once_differentiable`` hangs its error on a leaf of its own, which
    ``torch.autograd.grad`` never visits; this one depends on the tensors that matter, so that every
    road to a second derivative meets it.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, what: str, *sources: Tensor) -> Tensor:
        ctx.what = what
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        raise RuntimeError(f"second derivatives through {ctx.what} are not available")


def first_order(gradient: Tensor, what: str, *sources: Tensor) -> Tensor:
    """Mark a gradient that was computed from ``sources`` as one without a derivative."""
    # torch.compile refuses second derivatives by itself, and where no graph is made there are none.
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return gradient
    return _FirstOrder.apply(gradient.detach(), what, *sources)
