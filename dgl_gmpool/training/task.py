"""How targets of each kind are learnt: the losses that ``--loss`` knows."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    l1_loss,
    mse_loss,
)

from dgl_gmpool._options import check_choice
from dgl_gmpool.training.metrics import KINDS
from dgl_gmpool.training.one_sided import gaussian_bound, laplace_bound
from dgl_gmpool.training.standardizer import Standardizer
from dgl_gmpool.training.task_base import Labels, Task

__all__ = ["TASKS", "Labels", "Standardizer", "Task", "get_task", "loss_names", "probabilities"]


class CrossEntropy(Task):
    """Binary cross-entropy on logits, for classes 0 and 1.

    Examples
    --------
    >>> import torch
    >>> targets = torch.tensor([[1.0], [float("nan")]])
    >>> CrossEntropy().loss(torch.tensor([[0.0], [9.0]]), targets).item()
    0.6931471824645996
    """

    name = "cross_entropy"
    kind = "classification"
    scorable = "both classes of any target"

    def cells(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(outputs, targets, reduction="none")

    def scaler(self, targets: np.ndarray, weight: np.ndarray | None = None) -> Standardizer:
        return Standardizer.identity(targets.shape[1])

    def link(self, outputs: np.ndarray) -> np.ndarray:
        return probabilities(outputs)

    def ranks(self, outputs: np.ndarray) -> np.ndarray:
        return outputs

    def class_weights(
        self,
        wanted: str | float | None,
        targets: np.ndarray,
        classes: int = 2,
        weight: np.ndarray | None = None,
    ) -> np.ndarray | None:
        if wanted is None:
            return None
        weights = np.ones((targets.shape[1], 2))
        weights[:, 1] = wanted if not isinstance(wanted, str) else 1.0
        if isinstance(wanted, str):
            negative, positive = _class_sizes(targets, 2, weight).T
            # A task with one class only has no balance to restore: it stays at 1.
            both = (positive > 0) & (negative > 0)
            weights[:, 1] = np.where(both, negative / np.where(both, positive, 1), 1.0)
        return weights


class ClassCrossEntropy(CrossEntropy):
    """Cross-entropy on the logits of several classes."""

    kind = "multiclass"
    scorable = "two classes of any target"

    def cells(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets.long(), reduction="none")

    def link(self, outputs: np.ndarray) -> np.ndarray:
        """Softmax over the last axis in float64, without overflow."""
        raised = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        return raised / raised.sum(axis=-1, keepdims=True)

    def ranks(self, outputs: np.ndarray) -> np.ndarray:
        """Log-odds of each class against the others together."""
        rest = [
            np.logaddexp.reduce(np.delete(outputs, each, axis=-1), axis=-1)
            for each in range(outputs.shape[-1])
        ]
        return outputs - np.stack(rest, axis=-1)

    def class_weights(
        self,
        wanted: str | float | None,
        targets: np.ndarray,
        classes: int = 2,
        weight: np.ndarray | None = None,
    ) -> np.ndarray | None:
        if wanted is None:
            return None
        if not isinstance(wanted, str):
            raise ValueError(
                f"positive_weight={wanted!r}: expected 'balanced', because a target with several "
                "classes has no actives for one number"
            )
        sizes = _class_sizes(targets, classes, weight)
        there = (sizes > 0).sum(axis=1, keepdims=True)
        total = sizes.sum(axis=1, keepdims=True)
        found: np.ndarray = total / np.where(sizes > 0, there * sizes, 1)
        return np.where(sizes > 0, found, 1.0)

    def columns(self, target: str, classes: tuple[str, ...] = ()) -> list[str]:
        return [f"{target} probability of {name}" for name in classes]


class Numbers(Task):
    """What the losses of a regression share: standardised targets."""

    kind = "regression"
    scorable = "a measured target"

    def scaler(self, targets: np.ndarray, weight: np.ndarray | None = None) -> Standardizer:
        return Standardizer.fit(targets, weight)


class SquaredError(Numbers):
    """Squared error on standardised targets; with bounds the likelihood of a normal error.

    Examples
    --------
    >>> import torch
    >>> targets = torch.tensor([[3.0, float("nan")]])
    >>> SquaredError().loss(torch.tensor([[1.0, 5.0]]), targets).item()
    4.0
    """

    name = "squared_error"
    takes_bounds = True

    def cells(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return mse_loss(outputs, targets, reduction="none")

    def bound(self, margin: Tensor) -> Tensor:
        return gaussian_bound(margin)


class AbsoluteError(Numbers):
    """Absolute error on standardised targets, which a few wild values move less; with bounds the
    likelihood of a Laplace error."""

    name = "absolute_error"
    takes_bounds = True

    def cells(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return l1_loss(outputs, targets, reduction="none")

    def bound(self, margin: Tensor) -> Tensor:
        return laplace_bound(margin)


#: The first of a kind is its default.
TASKS: list[Task] = [CrossEntropy(), ClassCrossEntropy(), SquaredError(), AbsoluteError()]


def loss_names() -> list[str]:
    """Every name of a loss, once."""
    return list(dict.fromkeys(task.name for task in TASKS))


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
    known = {task.name: task for task in TASKS if task.kind == kind}
    return known[next(iter(known)) if loss is None else check_choice(f"{kind} loss", loss, known)]


def _class_sizes(targets: np.ndarray, classes: int, weight: np.ndarray | None) -> np.ndarray:
    """``(tasks, classes)``: the rows of each class, a row of weight 2 being two."""
    share = np.ones(len(targets)) if weight is None else weight
    return np.stack([share @ (targets == each) for each in range(classes)], axis=1)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Sigmoid in float64, without overflow.

    Examples
    --------
    >>> probabilities(np.array([0.0, -800.0, 800.0])).tolist()
    [0.5, 0.0, 1.0]
    """
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)
