"""A table of targets as a list of tasks, one per column: what one model learns of all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from torch import Tensor

from dgl_gmpool._options import unknown_name
from dgl_gmpool.data.table import overall_kind
from dgl_gmpool.training.scores import scores
from dgl_gmpool.training.standardizer import Standardizer
from dgl_gmpool.training.task import TASKS, Labels, Task, get_task


@dataclass(frozen=True)
class Column:
    """One target: its name, its task, and its classes where it has several."""

    name: str
    task: Task
    classes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Outputs of the model that are for it."""
        return max(1, len(self.classes))


@dataclass(frozen=True)
class TableTask:
    """How the targets of a table are learnt side by side, predicted, scored and named.

    A model's outputs, and predictions, have ``width`` columns: one for each target, but for a
    multiclass target one for each of its classes.

    Attributes
    ----------
    targets : tuple of Column
        In the order of the table.

    Examples
    --------
    >>> task = TableTask.of(["logS", "colour"], ["regression", "multiclass"], [(), ("red", "blue")])
    >>> task.width, task.kind, task.columns("colour")
    (3, 'mixed', ['colour probability of red', 'colour probability of blue'])
    """

    targets: tuple[Column, ...]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        kinds: Sequence[str],
        classes: Sequence[Sequence[str]] = (),
        loss: str | None = None,
    ) -> TableTask:
        """The task of a table's targets; ``loss`` is for those of its kind.

        Raises
        ------
        ValueError
            A kind is not known, or none of them has a loss of that name.
        """
        there = dict.fromkeys(kinds)
        takers = [task.kind for task in TASKS if task.name == loss and task.kind in there]
        if loss is not None and not takers:
            get_task(next(iter(there)), loss)  # says what there is
        classes = classes or [()] * len(names)
        return cls(
            tuple(
                Column(name, get_task(kind, loss if kind in takers else None), tuple(held))
                for name, kind, held in zip(names, kinds, classes)
            )
        )

    @property
    def kinds(self) -> list[str]:
        """Of each target."""
        return [column.task.kind for column in self.targets]

    @property
    def kind(self) -> str:
        """The one kind of all targets, or ``"mixed"``."""
        return overall_kind(self.kinds)

    @property
    def widths(self) -> list[int]:
        """Outputs of each target."""
        return [column.width for column in self.targets]

    @property
    def width(self) -> int:
        """Outputs of the model."""
        return sum(self.widths)

    def outputs_of(self, target: int) -> slice:
        """Which outputs are for a target, by its number."""
        end = sum(self.widths[: target + 1])
        return slice(end - self.widths[target], end)

    @cached_property
    def _blocks(self) -> list[tuple[Task, slice | list[int], slice | list[int], bool]]:
        """Targets that one call of a loss can take: task, targets, outputs, several classes."""
        ends = list(accumulate(self.widths))
        blocks: list[tuple[Task, slice | list[int], slice | list[int], bool]] = []
        for task in dict.fromkeys(column.task for column in self.targets):
            own = [number for number, column in enumerate(self.targets) if column.task is task]
            if task.kind == "multiclass":
                blocks += [(task, [number], self.outputs_of(number), True) for number in own]
            elif len(own) == len(self.targets):
                blocks.append((task, slice(None), slice(None), False))
            else:
                blocks.append((task, own, [ends[number] - 1 for number in own], False))
        return blocks

    def loss(self, outputs: Tensor, labels: Labels) -> Tensor:
        """Mean over the known cells of all targets, each by its own task.

        Parameters
        ----------
        outputs : Tensor
            ``(rows, width)``.
        labels : Labels
            ``(rows, targets)``; its weights do not change what the sum is divided by.

        Returns
        -------
        Tensor
            Scalar; 0 with zero gradient when no cell is known.
        """
        if len(self._blocks) == 1 and not self._blocks[0][3]:
            return self._blocks[0][0].loss(outputs, labels)
        total = outputs.new_zeros(())
        for task, targets, columns, several in self._blocks:
            own = outputs[:, columns]
            part = labels.take(slice(None), targets)
            if task.kind != "regression":
                part = part._replace(lower=None, upper=None)
            total = total + task.total(own[:, None] if several else own, part)
        return total / labels.known.sum().clamp(min=1)

    def scaler(self, targets: np.ndarray, weight: np.ndarray | None = None) -> Standardizer:
        """Units of the model's outputs ``(width,)``, from training rows and their weights."""
        found = Standardizer.identity(self.width)
        for task, own, columns, several in self._blocks:
            if not several:
                part = task.scaler(targets[:, own], weight)
                found.mean[columns], found.std[columns] = part.mean, part.std
        return found

    def target_scaler(self, outputs: Standardizer) -> Standardizer:
        """The units of the targets, from those of the outputs."""
        return outputs.take([self.outputs_of(number).start for number in range(len(self.targets))])

    def link(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions ``(..., width)`` from outputs that are back in the units of the targets."""
        return self._by_block("link", outputs)

    def _by_block(self, name: str, outputs: np.ndarray) -> np.ndarray:
        found = np.empty(outputs.shape, dtype=np.float64)
        for task, _, columns, _ in self._blocks:
            found[..., columns] = getattr(task, name)(outputs[..., columns])
        return found

    def scores(self, targets: np.ndarray, outputs: np.ndarray, **options: Any) -> dict[str, Any]:
        """:func:`~dgl_gmpool.training.scores.scores` of outputs in the units of the targets."""
        return self.prediction_scores(
            targets, self.link(outputs), ranks=self._by_block("ranks", outputs), **options
        )

    def prediction_scores(
        self, targets: np.ndarray, predictions: np.ndarray, **options: Any
    ) -> dict[str, Any]:
        """:func:`~dgl_gmpool.training.scores.scores` of predictions ``(rows, width)``."""
        found = scores(self.kinds, targets, predictions, widths=self.widths, **options)
        for column, row in zip(self.targets, found["per_task"]):
            row["target"] = column.name
        return found

    def cell_weights(
        self,
        wanted: str | float | None,
        targets: np.ndarray,
        train: np.ndarray,
        weight: np.ndarray | None = None,
    ) -> np.ndarray | None:
        """``(rows, targets)`` factors of the cells' classes, from the rows ``train`` and their
        weights; or None.

        Raises
        ------
        ValueError
            Weights are wanted where no target has classes.
        """
        if wanted is None:
            return None
        kinds = self.kinds
        found = np.ones(targets.shape)
        for number, column in enumerate(self.targets):
            if column.task.kind == "regression" and set(kinds) != {"regression"}:
                continue  # numbers beside classes
            own = targets[:, [number]]
            weights = column.task.class_weights(wanted, own[train], column.width, weight)
            if weights is not None:
                held = np.nan_to_num(own[:, 0]).astype(int)
                found[:, number] = weights[0, held]
        return found

    def check_bounds(self) -> None:
        """Raise a ValueError where a loss of numbers has no form for bounds."""
        for task in dict.fromkeys(column.task for column in self.targets):
            if task.kind == "regression" and not task.takes_bounds:
                able = [each.name for each in TASKS if each.takes_bounds]
                raise ValueError(
                    f"the loss {task.name} has no form for bounds, and the table holds some; use "
                    f"{' or '.join(able)}, or leave the bounds out (--bounds drop, bounds='drop')"
                )

    def weights_of(self, weights: Mapping[str, float]) -> np.ndarray | None:
        """``(targets,)``, from the weights of some of them by name; or None.

        Raises
        ------
        ValueError
            A name is none of the targets, or all weights are 0.
        """
        if not weights:
            return None
        names = [column.name for column in self.targets]
        for name in weights:
            if name not in names:
                raise unknown_name("target in task_weights:", name, names)
        found = np.array([weights.get(name, 1.0) for name in names])
        if not found.any():
            given = ",".join(f"{name}={weight:g}" for name, weight in weights.items())
            raise ValueError(
                f"task_weights={given}: expected a weight above 0 for one target at least"
            )
        return found

    def columns(self, target: str) -> list[str]:
        """Headers of the numbers that are predicted for a target, as many as its outputs."""
        column = self._named(target)
        return column.task.columns(column.name, column.classes)

    def predicted_classes(self, target: str, predictions: np.ndarray) -> list[str] | None:
        """The most probable class of each row of ``predictions`` ``(rows, width)``, empty where
        there is no prediction; None for a target without named classes."""
        column = self._named(target)
        if not column.classes:
            return None
        own = predictions[:, self.outputs_of(self.targets.index(column))]
        return ["" if np.isnan(row).any() else column.classes[int(row.argmax())] for row in own]

    def _named(self, target: str) -> Column:
        for column in self.targets:
            if column.name == target:
                return column
        raise unknown_name("target", target, [column.name for column in self.targets])
