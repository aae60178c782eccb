"""Sums of a loss over the cells of a table that are known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def sum_over(
    held: Tensor, weight: Tensor | None, loss: Callable[..., Tensor], *values: Tensor
) -> Tensor:
    """Sum of a loss over the cells that are held, with values that may be anything in the others.

    Parameters
    ----------
    held : Tensor
        ``(rows, tasks)`` bool.
    weight : Tensor or None
        ``(rows, tasks)``.
    loss : callable
        From cells of ``values``, each ``(cells,)`` or ``(cells, classes)``, to ``(cells,)``.
    *values : Tensor
        ``(rows, tasks)``, or ``(rows, tasks, classes)``.
    """
    # How many cells are held is a value, which a GPU would have to be waited for in every step.
    way = selected_sum if held.device.type == "cpu" else masked_sum
    return way(held, weight, loss, *values)


def selected_sum(
    held: Tensor, weight: Tensor | None, loss: Callable[..., Tensor], *values: Tensor
) -> Tensor:
    """:func:`sum_over`, of the cells that are held alone.

    Not of all times a mask: that would let an infinite output of another cell into value and
    gradient, where 0 * inf is NaN.
    """
    found = loss(*(each[held] for each in values))
    return (found if weight is None else found * weight[held]).sum()


def masked_sum(
    held: Tensor, weight: Tensor | None, loss: Callable[..., Tensor], *values: Tensor
) -> Tensor:
    """:func:`sum_over`, of all cells: zeros stand in for the values of the others before the loss
    sees them, and their loss is left out."""
    flat = held.flatten()
    found = loss(*(_only(flat, each.flatten(0, 1)) for each in values))
    return _only(flat, found if weight is None else found * weight.flatten()).sum()


def _only(held: Tensor, values: Tensor) -> Tensor:
    """Zeros where not held, and no gradient there."""
    return torch.where(held if values.dim() == 1 else held[:, None], values, 0.0)
