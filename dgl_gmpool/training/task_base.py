"""What a kind of targets must say: its loss, the units of the outputs, the predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgl_gmpool.training.known_cells import sum_over
from dgl_gmpool.training.standardizer import Standardizer


class Labels(NamedTuple):
    """What is known of some rows' targets, ``(rows, tasks)`` each, as the scaler gives it.

    Attributes
    ----------
    targets : Tensor
        NaN where nothing was measured; classes by number.
    lower, upper : Tensor or None
        Bounds on targets that were not measured, NaN where there are none.
    weight : Tensor or None
        Factors on the loss of each cell.
    """

    targets: Tensor
    lower: Tensor | None = None
    upper: Tensor | None = None
    weight: Tensor | None = None

    @classmethod
    def of(
        cls,
        targets: np.ndarray,
        lower: np.ndarray | None,
        upper: np.ndarray | None,
        weight: np.ndarray | None,
        scaler: Standardizer,
        device: torch.device,
    ) -> Labels:
        """What a table holds, in the units of ``scaler``, on a device."""

        def scaled(values: np.ndarray | None) -> Tensor | None:
            if values is None or np.isnan(values).all():
                return None
            return torch.as_tensor(scaler.transform(values)).to(device)

        return cls(
            torch.as_tensor(scaler.transform(targets)).to(device),
            scaled(lower),
            scaled(upper),
            None if weight is None else torch.as_tensor(weight, dtype=torch.float32).to(device),
        )

    def take(self, rows: Tensor | slice, columns: slice | list[int] = slice(None)) -> Labels:
        """Some of the rows, and of the columns."""
        parts = (None if part is None else part[rows][:, columns] for part in self)
        return Labels(*parts)  # type: ignore[arg-type]

    @property
    def known(self) -> Tensor:
        """``(rows, tasks)`` bool: a value or a bound is there."""
        found = ~torch.isnan(self.targets)
        for bound in (self.lower, self.upper):
            if bound is not None:
                found = found | ~torch.isnan(bound)
        return found


class Task(ABC):
    """How targets of one kind are learnt, predicted and named.

    A new loss is a subclass with a ``name`` and :meth:`cells`, and an entry in
    :data:`dgl_gmpool.training.task.TASKS`;
    ``TrainingConfig(loss=name)`` and ``--loss name`` then take it.

    Attributes
    ----------
    name : str
        Of the loss.
    kind : str
        Of the targets it is for: ``"classification"``, ``"multiclass"`` or ``"regression"``.
    scorable : str
        What rows must hold to be scored, for messages.
    takes_bounds : bool
        Whether it has a :meth:`bound`.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    scorable: ClassVar[str]
    takes_bounds: ClassVar[bool] = False

    @abstractmethod
    def cells(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of each cell, ``(cells,)``.

        Parameters
        ----------
        outputs, targets : Tensor
            ``(cells,)``: the model's, and what was measured, as the scaler gives it. Outputs of
            multiclass targets are ``(cells, classes)``.
        """

    def bound(self, margin: Tensor) -> Tensor:
        """The loss of each cell of which a bound alone is known, ``(cells,)``.

        Parameters
        ----------
        margin : Tensor
            ``(cells,)``: how far the output lies on the right side, in units of the scaler.
        """
        raise NotImplementedError(f"the loss {self.name} has no form for bounds")

    @abstractmethod
    def scaler(self, targets: np.ndarray, weight: np.ndarray | None = None) -> Standardizer:
        """Units in which the model sees targets, from training rows ``(rows, tasks)`` float64
        and their weights."""

    def link(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions from outputs that are back in the units of the targets, float64."""
        return outputs

    def ranks(self, outputs: np.ndarray) -> np.ndarray:
        """What orders rows as their predictions do, without ties of what rounds to one number."""
        return self.link(outputs)

    def class_weights(
        self,
        wanted: str | float | None,
        targets: np.ndarray,
        classes: int = 2,
        weight: np.ndarray | None = None,
    ) -> np.ndarray | None:
        """``(tasks, classes)`` factors on the loss, from training rows and their weights; or None.

        Raises
        ------
        ValueError
            Weights are wanted where there are no classes.
        """
        if wanted is not None:
            raise ValueError(
                f"positive_weight={wanted!r}: expected none, because it is for the actives of a "
                f"classification and the targets are a {self.kind}"
            )
        return None

    def columns(self, target: str, classes: tuple[str, ...] = ()) -> list[str]:
        """Headers of the numbers that are predicted for a target."""
        return [f"{target} predicted"]

    def total(self, outputs: Tensor, labels: Labels) -> Tensor:
        """Sum of the loss over known cells.

        Parameters
        ----------
        outputs : Tensor
            ``(rows, tasks)``, or ``(rows, tasks, classes)``.
        labels : Labels
        """

        measured = ~torch.isnan(labels.targets)
        total = sum_over(measured, labels.weight, self.cells, outputs, labels.targets)
        for sign, bound in ((1, labels.lower), (-1, labels.upper)):
            if bound is not None:
                margin = sign * (outputs - bound)
                total = total + sum_over(~torch.isnan(bound), labels.weight, self.bound, margin)
        return total

    def loss(self, outputs: Tensor, labels: Labels | Tensor) -> Tensor:
        """Mean over the known cells: a missing one carries no loss and no gradient.

        Parameters
        ----------
        outputs : Tensor
            ``(rows, tasks)``, or ``(rows, tasks, classes)``.
        labels : Labels or Tensor
            A tensor stands for targets alone. The weighted sum is divided by the number of known
            cells, not by their weights.

        Returns
        -------
        Tensor
            Scalar; 0 with zero gradient when no cell is known.
        """
        labels = Labels(labels) if isinstance(labels, Tensor) else labels
        return self.total(outputs, labels) / labels.known.sum().clamp(min=1)
