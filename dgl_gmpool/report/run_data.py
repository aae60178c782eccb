"""What a run folder tells, read for its page: settings, scores, and predictions row by row."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dgl_gmpool.data.molecule import canonical_smiles
from dgl_gmpool.training.run_folder import RunFolder, read_json
from dgl_gmpool.training.words import score_text

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class PredictedRows:
    """Rows of the test set, or the validation rows of all folds.

    Attributes
    ----------
    ids, smiles : tuple of str
    folds : numpy.ndarray
        ``(rows,)`` int64: whose validation rows they are; -1 in the test set.
    measured, predicted : numpy.ndarray
        ``(rows, tasks)`` float64, NaN where nothing was measured (a bound is no value). A test row
        is predicted by the average of the folds, a validation row by the model that did not train
        on it. Of a multiclass target ``measured`` is 1, and ``predicted`` the probability of the
        measured class.
    classes : dict of int to (tuple of str, tuple of str)
        Of each multiclass target the measured class and the most probable one, per row.
    squares : dict of int to numpy.ndarray
        Of each multiclass target the squared distances of probabilities and measured class, summed
        over the classes, ``(rows,)``: their mean is the Brier score.
    """

    ids: tuple[str, ...]
    smiles: tuple[str, ...]
    folds: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray
    classes: dict[int, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
    squares: dict[int, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def canonical(self, row: int) -> str:
        """Canonical SMILES of a row; empty where this RDKit refuses it."""
        return _canonical(self.smiles[row])

    def of_task(self, task: int) -> np.ndarray:
        """Rows where the target was measured and has a prediction."""
        return np.flatnonzero(
            ~np.isnan(self.measured[:, task]) & np.isfinite(self.predicted[:, task])
        )

    def measured_text(self, row: int, task: int) -> str:
        """The measured value, or its class, for people."""
        if task in self.classes:
            return self.classes[task][0][row]
        return score_text(self.measured[row, task])

    def errors(self, task: int) -> np.ndarray:
        """``(rows,)``, absolute; of classes between class and probability."""
        return np.abs(self.predicted[:, task] - self.measured[:, task])


@dataclass(frozen=True, eq=False)
class RunData:
    """A finished run.

    Attributes
    ----------
    files : RunFolder
    config, metrics : dict
        What is in ``config.json`` and ``metrics.json``.
    history : list of dict
        Rows of ``history.csv``: ``fold`` and ``epoch`` as int, the rest as float; none without
        that file.
    test, valid : PredictedRows or None
        None where the folder does not have them: there is no test set, or an earlier version
        wrote no validation rows.
    """

    files: RunFolder
    config: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, float]] = field(default_factory=list)
    test: PredictedRows | None = None
    valid: PredictedRows | None = None

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> RunData:
        """Read a run folder.

        Raises
        ------
        ValueError
            It holds no finished run, or a file in it is damaged.
        """
        files = RunFolder(folder)
        files.check_finished()
        config = read_json(files.config, "data.task_names", "data.kind")
        tasks = list(config["data"]["task_names"])
        classes = list(config["data"].get("classes", [[]] * len(tasks)))
        return cls(
            files,
            config,
            read_json(files.metrics, "metric", "folds", "valid"),
            _read(_history, files.history) or [],
            _read(partial(_predicted, tasks=tasks, classes=classes), files.predictions),
            _read(partial(_predicted, tasks=tasks, classes=classes), files.valid_predictions),
        )

    @property
    def task_names(self) -> list[str]:
        return list(self.config["data"]["task_names"])

    @property
    def kind(self) -> str:
        """Of all targets; ``mixed`` where they differ."""
        return str(self.config["data"]["kind"])

    def kind_of(self, task: int) -> str:
        """Of one target."""
        kinds = self.config["data"].get("kinds")
        return self.kind if kinds is None else str(kinds[task])

    @property
    def units(self) -> str:
        return str(self.config["data"].get("units", ""))

    @property
    def label(self) -> str:
        """Name of its folder."""
        return self.files.path.resolve().name

    @property
    def parts(self) -> dict[str, PredictedRows]:
        """The parts that there are, by name."""
        found = {"test": self.test, "validation": self.valid}
        return {name: rows for name, rows in found.items() if rows is not None and len(rows)}


# Some rows are asked for by several parts of the page, and few by any.
@lru_cache(maxsize=50_000)
def _canonical(smiles: str) -> str:
    return canonical_smiles(smiles)[0]


def _read(read: Callable[[Path], T], path: Path) -> T | None:
    """What a table of the run holds; None where it is not there.

    Raises
    ------
    ValueError
        It is damaged.
    """
    if not path.exists():
        return None
    try:
        return read(path)
    except (LookupError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(
            f"{path} is not readable ({type(error).__name__}: {error}); was it edited? Copy the "
            "run again, or delete the file: the page does without it"
        ) from error


def _history(path: Path) -> list[dict[str, float]]:
    with open(path, encoding="utf-8", newline="") as file:
        return [
            {
                key: float(value == "True") if key == "is_best" else float(value)
                for key, value in row.items()
            }
            for row in csv.DictReader(file)
        ]


def _predicted(path: Path, tasks: list[str], classes: list[list[str]]) -> PredictedRows:
    with open(path, encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    first = header.index("smiles") + 1
    measured, predicted = [], []
    for name in tasks:
        # By place: a target may be called "x predicted" itself.
        measured.append(header.index(name, first))
        predicted.append(header.index(f"{name} predicted", measured[-1]))
        first = predicted[-1] + 1

    def column(places: list[int]) -> np.ndarray:
        values = [[_number(line[place]) for place in places] for line in lines]
        return np.array(values, np.float64).reshape(len(lines), len(places))

    values, found = column(measured), column(predicted)
    named, squares = {}, {}
    for task, held in enumerate(classes):
        if held:
            at = [predicted[task] + 1 + number for number in range(len(held))]
            own = [line[measured[task]] for line in lines]
            named[task] = tuple(own), tuple(line[predicted[task]] for line in lines)
            truth = np.array([[each == name for name in held] for each in own], np.float64)
            truth = truth.reshape(len(own), len(held))
            values[:, task] = np.where(truth.any(axis=1), 1.0, np.nan)
            shares = column(at)
            found[:, task] = np.where(truth.any(axis=1), (shares * truth).sum(axis=1), np.nan)
            squares[task] = ((shares - truth) ** 2).sum(axis=1)

    fold = header.index("fold") if header[0] == "fold" else None
    smiles, ids = header.index("smiles"), header.index("id")
    return PredictedRows(
        tuple(line[ids] for line in lines),
        tuple(line[smiles] for line in lines),
        np.array([-1 if fold is None else int(line[fold]) for line in lines], np.int64),
        values,
        found,
        named,
        squares,
    )


def _number(text: str) -> float:
    """NaN for a blank, a bound and the name of a class."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
