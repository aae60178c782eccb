"""Every epoch as it ends: in ``history.csv``, in the log, and for TensorBoard by choice."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from dgl_gmpool._io import atomic_write_csv, csv_text
from dgl_gmpool.training.metrics import Metric
from dgl_gmpool.training.words import duration, score_text

#: Columns of ``history.csv``; a fold's history has all but the first.
COLUMNS = ("fold", "epoch", "train_loss", "valid_score", "is_best", "seconds")


class EpochListener(Protocol):
    """What a fold tells of itself."""

    def begin(self, fold: int, history: Sequence[dict[str, Any]]) -> None:
        """It starts, or goes on after the epochs of ``history``."""

    def epoch(self, history: Sequence[dict[str, Any]]) -> None:
        """The last epoch of ``history`` has ended."""


class EpochLog:
    """Tells of every epoch of a run. One process holds it, and calls it when an epoch is saved.

    Parameters
    ----------
    path : Path
        ``history.csv``. Holds whole lines at any moment that a reader looks; a line that a kill
        has torn is written again when the run goes on.
    metric : Metric
        Of the validation.
    folds, epochs : int
        How many folds, and at most how many epochs each.
    lines : bool
        Print a line per epoch where standard error is no terminal, which shows a bar instead.
    tensorboard : Path, optional
        Folder for TensorBoard's events, one below it per fold. Default: none are written.
    """

    def __init__(
        self,
        path: Path,
        metric: Metric,
        *,
        folds: int,
        epochs: int,
        lines: bool = False,
        tensorboard: Path | None = None,
    ) -> None:
        self.path, self.metric, self.folds, self.epochs = path, metric, folds, epochs
        self._lines = lines and sys.stderr is not None and not sys.stderr.isatty()
        self._tensorboard = tensorboard
        self._earlier: list[tuple[int, list[dict[str, Any]]]] = []
        self._events: Any = None
        self._fold = 0

    def begin(self, fold: int, history: Sequence[dict[str, Any]]) -> None:
        """A fold starts, or goes on after the epochs of ``history``."""
        self._fold = fold
        write_history(self.path, [*self._earlier, (fold, list(history))])
        if self._tensorboard is not None:
            # Steps that an interrupted run wrote are purged and come again, from its checkpoint.
            folder = self._tensorboard / f"fold_{fold}"
            self._events = check_tensorboard()(str(folder), purge_step=1)
            for row in history:
                self._write_events(row)

    def epoch(self, history: Sequence[dict[str, Any]]) -> None:
        """The last epoch of ``history`` has ended."""
        row = history[-1]
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(csv_text([_cells(self._fold, row)]))
        if self._events is not None:
            self._write_events(row)
            self._events.flush()
        if self._lines:
            print(self._line(history), file=sys.stderr, flush=True)

    def end(self, fold: int, history: Sequence[dict[str, Any]]) -> None:
        """A fold is finished, now or before."""
        self._earlier.append((fold, list(history)))
        if self._events is not None:
            self._events.close()
            self._events = None

    def _write_events(self, row: dict[str, Any]) -> None:
        for name in ("train_loss", "valid_score"):
            self._events.add_scalar(name, row[name], row["epoch"])

    def _line(self, history: Sequence[dict[str, Any]]) -> str:
        row = history[-1]
        mean = sum(each["seconds"] for each in history) / len(history)
        todo = (self.folds - self._fold) * self.epochs - row["epoch"]
        # Less where a fold stops early.
        left = f"; about {duration(max(todo * mean, 1))} left of this run, or less" if todo else ""
        return (
            f"fold {self._fold + 1} of {self.folds}, epoch {row['epoch']} of {self.epochs}: "
            f"loss {score_text(row['train_loss'])}, valid {self.metric.label} "
            f"{score_text(row['valid_score'])}{' (best)' if row['is_best'] else ''}, "
            f"{row['seconds']:.1f} s{left}"
        )


def write_history(path: Path, folds: Sequence[tuple[int, Sequence[dict[str, Any]]]]) -> None:
    """Write ``history.csv`` with the epochs of these folds, whole."""
    rows = [_cells(fold, row) for fold, history in folds for row in history]
    atomic_write_csv(path, [COLUMNS, *rows])


def check_tensorboard() -> Any:
    """TensorBoard's ``SummaryWriter``.

    Raises
    ------
    ValueError
        TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            f"TensorBoard cannot be imported ({error}); pip install tensorboard, or leave "
            "--tensorboard (tensorboard=True) out: history.csv has the same numbers"
        ) from error
    return SummaryWriter


def _cells(fold: int, row: dict[str, Any]) -> list[Any]:
    return [fold, *(row[name] for name in COLUMNS[1:])]
