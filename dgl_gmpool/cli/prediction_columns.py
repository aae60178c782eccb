"""The columns that ``predict`` puts behind those of a table."""

from __future__ import annotations

from collections.abc import Sequence

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

    Attributes
    ----------
    names : list of str
    predicted : list of int
        Which of them holds the prediction of each target.
    similarity : int or None
        Which one holds the similarity to the training molecules.
    """

    def __init__(self, predictor: RowPredictor, taken: Sequence[str]) -> None:
        self._of: list[tuple[str, int]] = []  # name of an array of Predictions, target
        names: list[str] = []

        def add(name: str, array: str, target: int = -1) -> int:
            names.append(name)
            self._of.append((array, target))
            return len(names) - 1

        self.predicted = []
        targets = predictor.first.task_names
        for number, target in enumerate(targets):
            self.predicted.append(add(f"{target} predicted", "mean", number))
            kind = predictor.bounds.kind(number)
            if kind is Intervals:
                add(f"{target} lower", "lower", number)
                add(f"{target} upper", "upper", number)
            elif kind is Calibrator:
                add(f"{target} calibrated", "calibrated", number)
            if len(predictor.models) > 1:
                add(f"{target} std over models", "std", number)
        self.similarity = None
        if predictor.bounds.knows_molecules:
            self.similarity = add("similarity to training", "similarity")
            add("nearest training molecule", "nearest")
            for number, target in enumerate(targets):
                add(f"nearest measured {target}", "nearest_measured", number)
        self.names = _free_names([*names, "note", "reason"], taken)

    def cells(self, found: Predictions, reasons: Sequence[str]) -> list[list[str]]:
        """The cells of each row."""
        columns = [_texts(getattr(found, array), target) for array, target in self._of]
        return [list(cells) for cells in zip(*columns, found.notes, reasons)]


def _texts(values: np.ndarray | Sequence[str], target: int) -> list[str]:
    if not isinstance(values, np.ndarray):
        return list(values)
    numbers = (values if target < 0 else values[:, target]).tolist()
    return ["" if number != number else repr(number) for number in numbers]


def _free_names(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """The names, all with the same number behind them where one is taken: the table may be the
    output of an earlier prediction."""
    number, free = 1, list(names)
    while set(free) & set(taken):
        number += 1
        free = [f"{name} {number}" for name in names]
    return free
