"""Intervals, calibrated probabilities and nearest training molecules beside predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dgl_gmpool.data.parsed_rows import ParsedRows
from dgl_gmpool.training.calibration import Calibrator
from dgl_gmpool.training.conformal import Intervals
from dgl_gmpool.training.model_file import TrainedModel
from dgl_gmpool.training.predictions import Predictions
from dgl_gmpool.training.uncertainty import RunUncertainty
from dgl_gmpool.training.uncertainty_check import calibrated_mean

#: Share of measured values that intervals are to hold, where nothing else is said.
COVERAGE = 0.9


class RowBounds:
    """What a run knows of its errors, said of rows.

    Parameters
    ----------
    trained : TrainedModel
        One of the models.
    models : int
        How many there are.
    uncertainty : RunUncertainty or None
        Of their run; with None, nothing is said.
    coverage : float

    Raises
    ------
    ValueError
        ``coverage`` is no share, or needs more validation rows than any target had.
    """

    def __init__(
        self,
        trained: TrainedModel,
        models: int,
        uncertainty: RunUncertainty | None,
        coverage: float,
    ) -> None:
        check_coverage(coverage)
        if uncertainty is not None and uncertainty.task_names != trained.task_names:
            raise ValueError(
                f"the models predict {', '.join(trained.task_names)}, and the uncertainty is of "
                f"{', '.join(uncertainty.task_names)}; give that of their run"
            )
        self._known, self._models, self._task = uncertainty, models, trained.task
        self._tasks = () if uncertainty is None else uncertainty.tasks
        intervals = [each for each in self._tasks if isinstance(each, Intervals)]
        limit = max((each.largest_coverage for each in intervals), default=1.0)
        if coverage > limit and coverage != COVERAGE:
            raise ValueError(
                f"coverage is {coverage:g}, and the run has too few validation rows to tell more "
                f"than {limit:.3f}; give at most that (--coverage {int(limit * 100) / 100:g})"
            )
        self.coverage = coverage if intervals and coverage <= limit else None
        self._limit = limit if intervals else None

    def _coverage(self, task: Intervals) -> float | None:
        """The coverage of a target's intervals; None where its own validation rows are too few."""
        if self.coverage is None or self.coverage > task.largest_coverage:
            return None
        return self.coverage

    def add(
        self,
        values: np.ndarray,
        reasons: Sequence[str],
        notes: Sequence[str],
        parsed: ParsedRows,
    ) -> Predictions:
        """Predictions with all that is known beside ``values`` ``(models, rows, columns)``."""
        rows, targets = values.shape[1], self._task.targets
        lower, upper, calibrated = np.full((3, *values.shape[1:]), np.nan)
        measured = np.full((rows, len(targets)), np.nan)
        similarity, nearest, notes = np.full(rows, np.nan), [""] * rows, list(notes)
        some = np.array([row for row in range(rows) if not reasons[row]], np.int64)
        if self._known is not None and len(some):
            if self._known.known is not None:
                used, back = np.unique(parsed.place[some], return_inverse=True)
                names = [parsed.canonical[at] for at in used]
                found = self._known.known.nearest(parsed.fingerprints[used], names)
                similarity[some], measured[some] = found.similarity[back], found.targets[back]
                for row, at in zip(some, back):
                    nearest[row] = found.smiles[at]
            if self._known.domain is not None:
                sizes = parsed.heavy_atoms[parsed.place[some]]
                for row, note in zip(some, self._known.domain.notes(similarity[some], sizes)):
                    notes[row] = "; ".join(filter(None, [notes[row], note]))
            for number, task in enumerate(self._tasks):
                outputs = self._task.outputs_of(number)
                column = outputs if targets[number].classes else outputs.start
                of_models = values[:, some, column]
                coverage = self._coverage(task) if isinstance(task, Intervals) else None
                if isinstance(task, Intervals) and coverage is not None:
                    half = task.half_width(similarity[some], coverage)
                    lower[some, column] = of_models.mean(axis=0) - half
                    upper[some, column] = of_models.mean(axis=0) + half
                elif isinstance(task, tuple) and len(task) == self._models:
                    calibrated[some, column] = calibrated_mean(task, of_models)
        mean = values.mean(axis=0)
        labels = {
            each.name: tuple(self._task.predicted_classes(each.name, mean) or ())
            for each in targets
            if each.classes
        }
        return Predictions(
            tuple(each.name for each in targets),
            tuple(name for each in targets for name in self._task.columns(each.name)),
            values,
            tuple(reasons),
            tuple(notes),
            lower,
            upper,
            calibrated,
            similarity,
            tuple(nearest),
            measured,
            labels,
            self.coverage,
        )

    def lines(self) -> list[str]:
        """What to tell of the intervals."""
        if self._limit is None:
            return []
        if self.coverage is None:
            return [
                f"note: no intervals, because the run's validation rows are too few for "
                f"{COVERAGE:g}; --coverage {int(self._limit * 100) / 100:g} gives some"
            ]
        told = [f"intervals: made to hold {100 * self.coverage:.4g} % of measured values"]
        for target, task in zip(self._task.targets, self._tasks):
            if isinstance(task, Intervals) and self._coverage(task) is None:
                told.append(
                    f"note: no intervals of {target.name}, because its validation rows are too few "
                    f"for {self.coverage:g}; --coverage {int(task.largest_coverage * 100) / 100:g} "
                    "gives some"
                )
        return told

    @property
    def knows_molecules(self) -> bool:
        """Whether similarities can be told."""
        return self._known is not None and self._known.known is not None

    def kind(self, target: int) -> type | None:
        """``Intervals``, ``Calibrator`` (of two classes or of several), or None for neither."""
        if target >= len(self._tasks):
            return None
        task = self._tasks[target]
        if isinstance(task, Intervals):
            return None if self._coverage(task) is None else Intervals
        return Calibrator if isinstance(task, tuple) and len(task) == self._models else None


def check_coverage(value: object) -> float:
    """``value`` if it is a share between 0 and 1.

    Raises
    ------
    ValueError
        It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise ValueError(
            f"coverage is {value!r}; give the share of measured values that intervals are to "
            "hold, such as 0.9"
        )
    return float(value)
