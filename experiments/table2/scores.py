"""The tidy results file: one row per data set, method, seed and fold."""

from __future__ import annotations

import csv
import io
import json
import math
import operator
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dgl_gmpool._io import atomic_write_text
from dgl_gmpool._options import check_choice
from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.training.metrics import METRICS

Key = tuple[str, str, int, int]


@dataclass(frozen=True)
class FoldScore:
    """One trained model and its score on the test rows.

    Attributes
    ----------
    dataset, method : str
    seed : int
        Seed of the splits: it draws the test rows and the folds.
    fold : int
        The fold that was the validation set, counted from 0.
    metric : str
        Name of the score, a key of :data:`dgl_gmpool.training.metrics.METRICS`.
    valid : float, optional
        Score of the fold's validation rows.
    test : float
        Score of the test rows; NaN says that the model has none (its training diverged). Such a
        row is counted as failed; a fold that was not trained has no row at all.
    test_rows : int
        Rows of the test set.
    best_epoch, epochs, parameters : int, optional
        None for what a method has not, such as the epochs of a random forest.
    seconds : float, optional
        Wall time of the training.
    settings : str
        JSON text of the training configuration and its tuned options, or "".
    commit : str
        Commit of the source that trained the model, or "".

    Raises
    ------
    ValueError, TypeError
        A value is out of range; the message begins with the field's name.

    Examples
    --------
    >>> score = FoldScore("tox21", "mean", seed=0, fold=0, metric="roc_auc", valid=0.8,
    ...                   test=0.77, test_rows=252)
    >>> score.key
    ('tox21', 'mean', 0, 0)
    """

    dataset: str
    method: str
    seed: int
    fold: int
    metric: str
    valid: float | None
    test: float
    test_rows: int
    best_epoch: int | None = None
    epochs: int | None = None
    parameters: int | None = None
    seconds: float | None = None
    settings: str = ""
    commit: str = ""

    def __post_init__(self) -> None:
        for name in COLUMNS:
            # Plain Python numbers, so that a row is equal to itself after a round trip.
            object.__setattr__(self, name, _CHECKS[name](name, getattr(self, name)))

    @property
    def key(self) -> Key:
        """``(dataset, method, seed, fold)``: at most one row each."""
        return (self.dataset, self.method, self.seed, self.fold)

    @property
    def failed(self) -> bool:
        """True where the model has no test score."""
        return math.isnan(self.test)


COLUMNS = tuple(field.name for field in fields(FoldScore))


def read_scores(path: str | os.PathLike[str], *, missing_ok: bool = False) -> list[FoldScore]:
    """Read what :func:`write_scores` wrote.

    Parameters
    ----------
    path : path
        The CSV file; columns in any order, blank lines are skipped.
    missing_ok : bool
        Take a file that does not exist for an empty one.

    Returns
    -------
    list of FoldScore
        In the order of the file.

    Raises
    ------
    FileNotFoundError
        There is no such file and ``missing_ok`` is false.
    ValueError
        A column is missing, unknown or there twice; a value cannot be read or is out of range; a
        key comes twice. The message names the line, the column and what to do.
    """
    if missing_ok and not Path(path).exists():
        return []
    text = DelimitedText(path, delimiter=",")
    positions = [text.column(name) for name in COLUMNS]
    unknown = [name for name in text.header if name not in COLUMNS]
    if unknown:
        raise ValueError(
            f"{text.path} has columns that a results file has not: {', '.join(unknown)}. They "
            f"would be lost when it is written again; remove them. Columns: {', '.join(COLUMNS)}"
        )
    rows: list[FoldScore] = []
    lines: dict[Key, int] = {}
    for row in text:
        if row.blank:
            continue
        if text.wrong_length(row):
            raise ValueError(
                f"{text.path}, line {row.number}: {text.wrong_length(row)}; a line that was "
                "edited or merged by hand? Restore it, or remove it and train this fold again"
            )
        values: dict[str, Any] = {}
        for name, position in zip(COLUMNS, positions):
            cell = row.cells[position]
            try:
                values[name] = _CHECKS[name](name, _PARSERS[name](cell))
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"{text.path}, line {row.number}, column {name}: {cell!r} cannot be taken "
                    f"({error}). Correct it, or remove the line and train this fold again"
                ) from error
        score = FoldScore(**values)
        if score.key in lines:
            raise ValueError(
                f"{text.path}, line {row.number}: {_shown(score.key)} is there already, in line "
                f"{lines[score.key]}; remove one of the two"
            )
        lines[score.key] = row.number
        rows.append(score)
    return rows


def write_scores(path: str | os.PathLike[str], rows: Iterable[FoldScore]) -> None:
    """Write the rows as CSV, atomically, sorted by data set, method, seed and fold.

    Numbers are written such that reading gives the same float64 again.

    Raises
    ------
    ValueError
        Several rows have the same key; the message names the keys, nothing is written.

    Examples
    --------
    >>> import tempfile
    >>> row = FoldScore("tox21", "mean", 0, 0, "roc_auc", 0.8, 1 / 3, 252)
    >>> file = Path(tempfile.mkdtemp()) / "scores.csv"
    >>> write_scores(file, [row])
    >>> read_scores(file) == [row]
    True
    """
    ordered = sorted(rows, key=lambda row: row.key)
    repeated = {a.key: None for a, b in zip(ordered, ordered[1:]) if a.key == b.key}
    if repeated:
        named = "; ".join(_shown(key) for key in list(repeated)[:5])
        more = f" and {len(repeated) - 5} more" if len(repeated) > 5 else ""
        raise ValueError(
            f"more than one row for {named}{more}; keep one score per data set, method, seed "
            "and fold"
        )
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in ordered:
        values = (getattr(row, name) for name in COLUMNS)
        # repr of a float is the shortest text that reads back as the same float.
        writer.writerow(
            ["" if v is None else repr(v) if isinstance(v, float) else v for v in values]
        )
    atomic_write_text(path, buffer.getvalue())


def _shown(key: Key) -> str:
    dataset, method, seed, fold = key
    return f"{dataset}, {method}, seed {seed}, fold {fold}"


# What a value must be, whether it comes from a program or from a file. ------------------------


def _name(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable() or value != value.strip():
        raise ValueError(f"{field} is {value!r}; give a name without spaces around it")
    return value


def _metric(field: str, value: Any) -> str:
    return check_choice(field, value, METRICS)


def _count(field: str, value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError(f"{field} is {value!r}; give an integer >= 0")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{field} is {value!r}; give an integer >= 0") from None
    if number < 0:
        raise ValueError(f"{field} is {value!r}; give an integer >= 0")
    return number


def _rows(field: str, value: Any) -> int:
    number = _count(field, value)
    if number == 0:
        raise ValueError(f"{field} is 0; a score needs at least one row")
    return number


def _number(field: str, value: Any) -> float:
    if isinstance(value, (bool, str)) or value is None:
        raise TypeError(f"{field} is {value!r}; give a number")
    number = float(value)
    if math.isinf(number):
        raise ValueError(f"{field} is {value!r}; give a finite number, or NaN for no score")
    return number


def _duration(field: str, value: Any) -> float:
    number = _number(field, value)
    if not number >= 0:
        raise ValueError(f"{field} is {value!r}; give a number >= 0")
    return number


def _json(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{field} is {type(value).__name__}; give JSON text (json.dumps)")
    if value:
        try:
            json.loads(value)
        except ValueError as error:
            raise ValueError(f"{field} is not JSON: {error}") from error
    return _line(field, value)


def _line(field: str, value: Any) -> str:
    if not isinstance(value, str) or "\n" in value or "\r" in value:
        raise ValueError(f"{field} is {value!r}; give text of one line, or an empty one")
    return value


def _or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda field, value: None if value is None else check(field, value)


def _text(cell: str) -> str:
    return cell


def _test_score(cell: str) -> float:
    if not cell:
        raise ValueError(
            "the test score is blank: leave out the row of an unfinished fold, and write nan for "
            "a model without a score"
        )
    return float(cell)


def _blank(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda cell: None if not cell else parse(cell)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "dataset": _name,
    "method": _name,
    "seed": _count,
    "fold": _count,
    "metric": _metric,
    "valid": _or_none(_number),
    "test": _number,
    "test_rows": _rows,
    "best_epoch": _or_none(_count),
    "epochs": _or_none(_count),
    "parameters": _or_none(_count),
    "seconds": _or_none(_duration),
    "settings": _json,
    "commit": _line,
}
_PARSERS: dict[str, Callable[[str], Any]] = {
    "dataset": _text,
    "method": _text,
    "seed": int,
    "fold": int,
    "metric": _text,
    "valid": _blank(float),
    "test": _test_score,
    "test_rows": int,
    "best_epoch": _blank(int),
    "epochs": _blank(int),
    "parameters": _blank(int),
    "seconds": _blank(float),
    "settings": _text,
    "commit": _text,
}
