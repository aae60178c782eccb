"""What is learnt: the loss, the units of the model's outputs, the scores, the column names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, mse_loss

from dgl_gmpool._options import check_choice
from dgl_gmpool.training.metrics import KINDS, scores


@dataclass(frozen=True)
class Standardizer:
    """Column-wise ``(x - mean) / std``.

    Attributes
    ----------
    mean, std : numpy.ndarray
        ``(columns,)`` float64. A column that does not vary has ``std`` 1.
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray) -> Standardizer:
        """Constants of ``values`` ``(rows, columns)``; NaN cells are left out.

        Raises
        ------
        ValueError
            A column has no finite cell at all.

        Examples
        --------
        >>> scaler = Standardizer.fit(np.array([[1.0], [3.0], [np.nan]]))
        >>> scaler.transform(np.array([[2.0], [3.0], [np.nan]])).ravel().tolist()
        [0.0, 1.0, nan]
        """
        values = np.asarray(values, dtype=np.float64)
        empty = np.flatnonzero(np.isnan(values).all(axis=0))
        if len(empty):
            raise ValueError(
                f"column {int(empty[0])} has no value in the {len(values)} rows to standardise on; "
                "leave the column out or use fewer folds"
            )
        mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        # Rounding leaves a constant column a spread of about 1e-16: compare with its size.
        flat = std <= 1e-12 * np.maximum(np.abs(mean), 1.0)
        return cls(mean, np.where(flat, 1.0, std))

    @classmethod
    def identity(cls, columns: int) -> Standardizer:
        """Constants that change nothing (classification targets)."""
        return cls(np.zeros(columns), np.ones(columns))

    def transform(self, values: np.ndarray) -> np.ndarray:
        """``(rows, columns)`` in units of the training spread: calculated in float64, so that
        small differences of large values survive, and then float32."""
        scaled: np.ndarray = (np.asarray(values, np.float64) - self.mean) / self.std
        return scaled.astype(np.float32)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """Back in the original units, float64."""
        found: np.ndarray = np.asarray(values, np.float64) * self.std + self.mean
        return found


class Task(ABC):
    """How targets of one kind are learnt, predicted, scored and named.

    A new loss is a subclass with a ``name`` and :meth:`total`, and an entry in :data:`TASKS`;
    ``TrainingConfig(loss=name)`` and ``--loss name`` then take it.

    Attributes
    ----------
    name : str
        Of the loss.
    kind : str
        Of the targets it is for: ``"classification"`` or ``"regression"``.
    scorable : str
        What rows must hold to be scored, for messages.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    scorable: ClassVar[str]

    @abstractmethod
    def total(self, outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        """Sum of the loss over cells.

        Parameters
        ----------
        outputs, targets : Tensor
            ``(cells,)``: the model's, and what was measured, as the scaler gives it.
        weight : Tensor or None
            ``(cells,)``, of positive cells.
        """

    @abstractmethod
    def scaler(self, targets: np.ndarray) -> Standardizer:
        """Units in which the model sees targets, from training rows ``(rows, tasks)`` float64."""

    def link(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions from outputs that are back in the units of the targets, float64."""
        return outputs

    def scores(self, targets: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
        """:func:`~dgl_gmpool.training.metrics.scores` of outputs in the units of the targets."""
        return scores(self.kind, targets, self.link(outputs))

    def positive_weight(self, wanted: str | float | None, targets: np.ndarray) -> Tensor | None:
        """``(tasks,)`` weights of positive cells from training rows, or None.

        Raises
        ------
        ValueError
            A weight is wanted where there are no positive cells.
        """
        if wanted is not None:
            raise ValueError(
                f"positive_weight={wanted!r}: expected none, because it is for the actives of a "
                f"classification and the targets are a {self.kind}"
            )
        return None

    def columns(self, task_name: str) -> list[str]:
        """Headers of what is predicted for a target."""
        return [f"{task_name} predicted"]

    def loss(self, outputs: Tensor, targets: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over the measured cells: a missing one carries no loss and no gradient.

        Parameters
        ----------
        outputs, targets : Tensor
            ``(rows, tasks)``; targets are NaN where nothing was measured.
        weight : Tensor, optional
            ``(tasks,)``, factor on the loss of positive cells. The sum is still divided by the
            number of measured cells.

        Returns
        -------
        Tensor
            Scalar; 0 with zero gradient when no cell is measured.

        Examples
        --------
        >>> nan = float("nan")
        >>> SquaredError().loss(torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, nan]])).item()
        4.0
        >>> targets = torch.tensor([[1.0], [nan]])
        >>> CrossEntropy().loss(torch.tensor([[0.0], [9.0]]), targets).item()
        0.6931471824645996
        """
        measured = ~torch.isnan(targets)
        cells = None if weight is None else weight.expand_as(outputs)[measured]
        # Selecting the cells (not multiplying by a mask) keeps an infinite output of an unmeasured
        # cell out of value and gradient, where 0 * inf would be NaN.
        total = self.total(outputs[measured], targets[measured], cells)
        return total / measured.sum().clamp(min=1)


class CrossEntropy(Task):
    """Binary cross-entropy on logits, for classes 0 and 1."""

    name = "cross_entropy"
    kind = "classification"
    scorable = "both classes of any target"

    def total(self, outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        return binary_cross_entropy_with_logits(
            outputs, targets, pos_weight=weight, reduction="sum"
        )

    def scaler(self, targets: np.ndarray) -> Standardizer:
        return Standardizer.identity(targets.shape[1])

    def link(self, outputs: np.ndarray) -> np.ndarray:
        return probabilities(outputs)

    def scores(self, targets: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
        # Logits rank as probabilities do, without the ties of those that round to 0 or 1.
        return scores(self.kind, targets, outputs)

    def positive_weight(self, wanted: str | float | None, targets: np.ndarray) -> Tensor | None:
        if wanted is None:
            return None
        if not isinstance(wanted, str):
            return torch.full((targets.shape[1],), float(wanted))
        positive = np.nansum(targets, axis=0)
        negative = (~np.isnan(targets)).sum(axis=0) - positive
        # A task with one class only has no balance to restore: it stays at 1.
        both = (positive > 0) & (negative > 0)
        weight = np.where(both, negative / np.maximum(positive, 1), 1.0)
        return torch.as_tensor(weight, dtype=torch.float32)


class SquaredError(Task):
    """Squared error on standardised targets."""

    name = "squared_error"
    kind = "regression"
    scorable = "a measured target"

    def total(self, outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        return mse_loss(outputs, targets, reduction="sum")

    def scaler(self, targets: np.ndarray) -> Standardizer:
        return Standardizer.fit(targets)


class AbsoluteError(SquaredError):
    """Absolute error on standardised targets, which a few wild values move less."""

    name = "absolute_error"

    def total(self, outputs: Tensor, targets: Tensor, weight: Tensor | None) -> Tensor:
        return l1_loss(outputs, targets, reduction="sum")


#: By the name of the loss; the first of a kind is its default.
TASKS: dict[str, Task] = {
    task.name: task for task in (CrossEntropy(), SquaredError(), AbsoluteError())
}


def get_task(kind: str, loss: str | None = None) -> Task:
    """The task of a kind of targets: with the loss named, else with the default one.

    Raises
    ------
    ValueError
        The kind is not known, or has no loss of that name.

    Examples
    --------
    >>> get_task("regression").name, get_task("regression", "absolute_error").name
    ('squared_error', 'absolute_error')
    """
    check_choice("kind of task", kind, KINDS)
    known = {name: task for name, task in TASKS.items() if task.kind == kind}
    return known[next(iter(known)) if loss is None else check_choice(f"{kind} loss", loss, known)]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Sigmoid in float64, without overflow.

    Examples
    --------
    >>> probabilities(np.array([0.0, -800.0, 800.0])).tolist()
    [0.5, 0.0, 1.0]
    """
    small = np.exp(-np.abs(logits))
    found: np.ndarray = np.where(logits >= 0, 1.0, small) / (1.0 + small)
    return found
