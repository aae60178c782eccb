"""The columns that ``predict`` puts behind those of a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np

from dgl_gmpool.training.calibration import Calibrator
from dgl_gmpool.training.conformal import Intervals
from dgl_gmpool.training.predict import RowPredictor
from dgl_gmpool.training.predictions import Predictions


class PredictionColumns:
    """Names and cells of the new columns.

    Parameters
    ----------
    predictor : RowPredictor
        What it knows decides which columns there are.
    taken : sequence of str
        Names of the table's own columns.
    decimal_comma : bool, optional
        Of the numbers.

    Attributes
    ----------
    names : list of str
    numbers : list of list of int
        Which of them hold the numbers predicted for each target: one, or one for each class.
    similarity : int or None
        Which one holds the similarity to the training molecules.
    """

    def __init__(
        self, predictor: RowPredictor, taken: Sequence[str], *, decimal_comma: bool = False
    ) -> None:
        self._mark = "," if decimal_comma else "."
        # An attribute of Predictions, and what of it.
        self._of: list[tuple[str, int | str | None]] = []
        names: list[str] = []

        def add(name: str, attribute: str, part: int | str | None = None) -> int:
            names.append(name)
            self._of.append((attribute, part))
            return len(names) - 1

        self.numbers: list[list[int]] = []
        task = predictor.task
        for number, target in enumerate(task.targets):
            if target.classes:
                add(f"{target.name} predicted", "labels", target.name)
            outputs = range(task.width)[task.outputs_of(number)]
            names_of = task.columns(target.name)
            self.numbers.append([add(*pair) for pair in zip(names_of, repeat("mean"), outputs)])
            kind, at = predictor.bounds.kind(number), outputs[0]
            if kind is Intervals:
                add(f"{target.name} lower", "lower", at)
                add(f"{target.name} upper", "upper", at)
            elif kind is Calibrator:
                shown = [f"{target.name} calibrated"]
                if target.classes:
                    shown = [f"{shown[0]} probability of {name}" for name in target.classes]
                for name, output in zip(shown, outputs):
                    add(name, "calibrated", output)
            if len(predictor.models) > 1 and not target.classes:
                add(f"{target.name} std over models", "std", at)
        self.similarity = None
        if predictor.bounds.knows_molecules:
            self.similarity = add("similarity to training", "similarity")
            add("nearest training molecule", "nearest")
            for number, target in enumerate(task.targets):
                if not target.classes:
                    add(f"nearest measured {target.name}", "nearest_measured", number)
        self.names = _free_names([*names, "note", "reason"], taken)

    def cells(self, found: Predictions, reasons: Sequence[str]) -> list[list[str]]:
        """The cells of each row."""
        columns = [self._texts(getattr(found, name), part) for name, part in self._of]
        return [list(cells) for cells in zip(*columns, found.notes, reasons)]

    def _texts(self, values: Any, part: int | str | None) -> list[str]:
        if isinstance(values, np.ndarray):
            numbers = (values[:, part] if isinstance(part, int) else values).tolist()
            return ["" if x != x else repr(x).replace(".", self._mark) for x in numbers]
        return list(values if part is None else values[part])


def _free_names(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """The names, all with the same number behind them where one is taken: the table may be the
    output of an earlier prediction."""
    number, free = 1, list(names)
    while set(free) & set(taken):
        number += 1
        free = [f"{name} {number}" for name in names]
    return free
