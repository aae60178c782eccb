"""Losses over measured cells only: a missing label is NaN and carries no loss, no gradient."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss


def masked_bce(
    logits: torch.Tensor, targets: torch.Tensor, positive_weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Binary cross-entropy, averaged over the measured cells.

    Parameters
    ----------
    logits : torch.Tensor
        ``(rows, tasks)``, raw model outputs.
    targets : torch.Tensor
        ``(rows, tasks)``, 0 or 1, NaN where nothing was measured.
    positive_weight : torch.Tensor, optional
        ``(tasks,)``, factor on the loss of positive cells. The sum is still divided by the
        number of measured cells.

    Returns
    -------
    torch.Tensor
        Scalar; 0 with zero gradient when no cell is measured.

    Examples
    --------
    >>> nan = float("nan")
    >>> masked_bce(torch.tensor([[0.0], [9.0]]), torch.tensor([[1.0], [nan]])).item()
    0.6931471824645996
    """
    measured = ~torch.isnan(targets)
    weight = None
    if positive_weight is not None:
        weight = positive_weight.expand_as(logits)[measured]
    # Selecting the cells (not multiplying by a mask) keeps an infinite logit of an unmeasured
    # cell out of value and gradient, where 0 * inf would be NaN.
    total = binary_cross_entropy_with_logits(
        logits[measured], targets[measured], pos_weight=weight, reduction="sum"
    )
    return total / measured.sum().clamp(min=1)


def masked_loss(
    kind: str,
    outputs: torch.Tensor,
    targets: torch.Tensor,
    positive_weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """:func:`masked_mse` of a regression, :func:`masked_bce` of a classification."""
    if kind == "regression":
        return masked_mse(outputs, targets)
    return masked_bce(outputs, targets, positive_weight)


def masked_mse(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Squared error, averaged over the measured cells.

    Parameters
    ----------
    outputs, targets : torch.Tensor
        ``(rows, tasks)`` in the same (standardised) units; NaN targets are not measured.

    Returns
    -------
    torch.Tensor
        Scalar; 0 with zero gradient when no cell is measured.

    Examples
    --------
    >>> nan = float("nan")
    >>> masked_mse(torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, nan]])).item()
    4.0
    """
    measured = ~torch.isnan(targets)
    total = mse_loss(outputs[measured], targets[measured], reduction="sum")
    return total / measured.sum().clamp(min=1)
