"""Weighted squared distances of all pairs of nodes, and the dtype that small matrices are in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def compute_dtype(device: torch.device) -> torch.dtype:
    """float64 where the device has it, so that rounding does not show up as groups."""
    return torch.float32 if device.type == "mps" else torch.float64


def weighted_distance(x: Tensor, weight: Tensor) -> Tensor:
    """w . (x_i - x_j)^2 for all pairs of nodes of a block, ``(b, n, n)``, dtype of ``weight``."""
    return _WeightedDistance.apply(x, weight)


def distance_between(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """w . (x_i - y_k)^2 for all pairs of a row of x and a row of y, ``(b, n, k)``, dtype of w."""
    return _DistanceBetween.apply(x, y, weight)


def _rounding(width: int, dtype: torch.dtype) -> float:
    """How far, relative to the squares that are added up, a squared distance can be from exact."""
    return 4 * (width + 2) * torch.finfo(dtype).eps


class _WeightedDistance(torch.autograd.Function):
    """w . (x_i - x_j)^2 for all pairs, from the Gram matrix, in the dtype of w.

    Symmetric to the bit. What is below the rounding of its sums is exactly 0. Its gradient is a
    graph Laplacian times X: one product where autograd, blind to the symmetry, takes two.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        wide = x.to(weight.dtype)
        ctx.save_for_backward(x, weight)
        # Counted from any node, distances are the same: from one of its own, or what all nodes
        # have in common would cancel, with its digits.
        wide = wide - wide[..., :1, :]
        scaled = wide * weight
        squares = scaled * wide
        square = squares.sum(-1, keepdim=True)
        half = torch.baddbmm(square, scaled, wide.mT, alpha=-1)
        distance = half + half.mT
        # With weights of both signs the squares that are added up are larger than their sum.
        size = squares.abs().sum(-1, keepdim=True) * _rounding(x.shape[-1], weight.dtype)
        return distance.masked_fill_(distance.abs() <= size + size.mT, 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        # Not kept from the forward pass: a second derivative would take the copy for a constant.
        wide = x.to(weight.dtype)
        both = grad + grad.mT
        # The sums over nodes, where terms cancel, are done in the wide dtype.
        degree = both.sum(-1, keepdim=True)
        product = torch.baddbmm(wide * degree, both, wide, alpha=-1).to(x.dtype)
        # The rows of the product add up to 0 in each graph, so that x counts from any node again.
        grad_weight = (
            (product * (x - x[..., :1, :])).reshape(-1, x.shape[-1]).sum(0).to(weight.dtype)
        )
        return product * (2 * weight).to(x.dtype), grad_weight


class _DistanceBetween(torch.autograd.Function):
    """w . (x_i - y_k)^2 for all pairs of a row of x and a row of y, in the dtype of w.

    Both are centred first, which changes no distance and leaves less to cancel. What is below the
    rounding of its sums is exactly 0.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, y, weight)
        wide_x, wide_y = _centred(x, y, weight.dtype)
        square_x, square_y = wide_x.square(), wide_y.square()
        # In place: one (b, n, k) tensor at a time.
        distance = (wide_x @ (wide_y * weight).mT).mul_(-2)
        distance.add_((square_x @ weight)[..., :, None]).add_((square_y @ weight)[..., None, :])
        size = weight.abs() * _rounding(x.shape[-1], weight.dtype)
        nothing = (
            distance.abs() <= (square_x @ size)[..., :, None] + (square_y @ size)[..., None, :]
        )
        return distance.masked_fill_(nothing, 0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y, weight = ctx.saved_tensors
        wide_x, wide_y = _centred(x, y, weight.dtype)
        toward_y = wide_x * grad.sum(-1)[..., None] - grad @ wide_y
        toward_x = wide_y * grad.sum(-2)[..., None] - grad.mT @ wide_x
        grad_weight = (wide_x * toward_y).reshape(-1, x.shape[-1]).sum(0)
        grad_weight = grad_weight + (wide_y * toward_x).reshape(-1, x.shape[-1]).sum(0)
        return (
            (toward_y * (2 * weight)).to(x.dtype),
            (toward_x * (2 * weight)).to(y.dtype),
            grad_weight,
        )


def _centred(x: Tensor, y: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Both in this dtype, less the mean of y over its nodes."""
    wide_x, wide_y = x.to(dtype), y.to(dtype)
    center = wide_y.mean(-2, keepdim=True)
    return wide_x - center, wide_y - center
