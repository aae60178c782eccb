"""What a reader of a table must know of its targets: guesses, and cells that are no values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dgl_gmpool._options import as_typed
from dgl_gmpool.data.equal_rows import rows_of
from dgl_gmpool.data.number import APPROXIMATE, BOUND, COMMA, Cell
from dgl_gmpool.data.target_column import TargetColumn

#: So few whole numbers may be names of classes.
_FEW = 10
#: From how many values, and over which factor between the 5th and the 95th percentile, a column
#: looks as if its logarithm were meant.
_ENOUGH, _WIDE = 20, 1000


def _kind(column: TargetColumn, kind: str) -> str:
    return as_typed("--kind", f"{column.name}={kind}")


def unused_notes(cells: Sequence[Cell]) -> list[str]:
    """What it means that these cells are left out: rarely is that a random part of the data."""
    notes = []
    bounds = sum(cell.sort == BOUND for cell in cells)
    if bounds:
        notes.append(
            f"{bounds} values are bounds such as '>100' and left out, so what is left is no random "
            "part of the data; --bounds use (bounds='use') learns from them that the value lies "
            "beyond"
        )
    commas = sum(cell.sort == COMMA for cell in cells)
    if commas:
        notes.append(
            f"{commas} values are left out because they are written with a comma; if these are the "
            "large ones, what is left is no random part of the data: write them without, or, where "
            "all commas are decimal marks, give --decimal-comma (decimal_comma=True)"
        )
    return notes


def used_notes(cells: Sequence[Cell]) -> list[str]:
    """How cells are used that hold less than a measured value."""
    notes = []
    bounds = [cell for cell in cells if cell.sort == BOUND]
    learnt = sum(bool(cell.relation) for cell in bounds)
    if learnt:
        notes.append(
            f"{learnt} values are bounds such as '>100': training learns that the value lies "
            "beyond; scores are over measured values, and 'bounds respected' is the share of the "
            "bounds that predictions keep to"
        )
    if len(bounds) > learnt:
        notes.append(f"{len(bounds) - learnt} values are bounds used as if they had been measured")
    approximate = sum(cell.sort == APPROXIMATE for cell in cells)
    if approximate:
        notes.append(f"{approximate} approximate values ('~') are used as measured ones")
    return notes


def kind_notes(columns: Sequence[TargetColumn], values: np.ndarray) -> list[str]:
    """Kinds that were guessed, and columns that look like another kind.

    Parameters
    ----------
    columns : sequence of TargetColumn
    values : numpy.ndarray
        ``(rows, targets)``, NaN where there is none.
    """
    notes = []
    kinds = {column.kind for column in columns}
    guessed = [column for column in columns if not column.given]
    if guessed and kinds == {"classification"}:
        notes.append(
            "classification, as every value is 0 or 1; kind='regression' (--kind regression) "
            "predicts numbers"
        )
    for column, found in zip(columns, values.T):
        held = found[~np.isnan(found)]
        if column.kind == "multiclass":
            notes += _class_notes(column, held)
        if column.kind == "classification" and len(kinds) > 1 and not column.given:
            notes.append(
                f"{column.name!r} holds only 0 and 1 and is a classification beside the others; "
                f"{_kind(column, 'regression')} predicts numbers"
            )
        notes += _few_values(column, held)
    return notes


def _class_notes(column: TargetColumn, held: np.ndarray) -> list[str]:
    counts = Counter(held.astype(int).tolist())
    rows = ", ".join(f"{name} ({counts[i]})" for i, name in enumerate(column.classes))
    notes = [f"{column.name!r} has the classes {rows}, with their rows in brackets"]
    if not column.given:
        notes.append(
            f"{column.name!r} is a multiclass target, as it holds a few words and no number; "
            f"{_kind(column, 'regression')} reads numbers alone"
        )
    folded = Counter(name.lower() for name in column.classes)
    alike = [name for name in column.classes if folded[name.lower()] > 1]
    if alike:
        notes.append(
            f"the classes {', '.join(alike)} of {column.name!r} differ in capitals alone and are "
            "kept apart; write one of them where they are one class"
        )
    return notes


def _few_values(column: TargetColumn, held: np.ndarray) -> list[str]:
    distinct = np.unique(held)
    listed = ", ".join(
        column.classes[int(value)] if column.classes else f"{value:g}" for value in distinct[:3]
    )
    if len(distinct) == 1 and len(held) > 1:
        what = "value" if column.kind == "regression" else "label"
        return [f"every {what} of {column.name!r} is {listed}: there is nothing to tell apart"]
    if column.kind != "regression":
        return []
    whole = bool((distinct == distinct.round()).all())
    if whole and len(distinct) in (2, 3) and len(held) > len(distinct):
        return [
            f"{column.name!r} holds only the values {listed} and is trained as a regression; "
            f"{_kind(column, 'multiclass')} makes classes of them (for two classes write "
            "0 and 1, and leave what is not known blank)"
        ]
    if whole and 3 < len(distinct) <= _FEW and len(held) >= 5 * len(distinct):
        return [
            f"{column.name!r} holds only {len(distinct)} whole numbers ({listed}, ...) and is "
            f"trained as a regression; {_kind(column, 'multiclass')} makes classes of them"
        ]
    return _wide(column.name, held)


def _wide(name: str, held: np.ndarray) -> list[str]:
    """A note on concentrations and the like, of which the largest alone would be learnt."""
    if len(held) < _ENOUGH or (held <= 0).any():
        return []
    low, high = np.quantile(held, [0.05, 0.95])
    if high < _WIDE * low:
        return []
    return [
        f"{name!r} is above 0 and spans a factor of {held.max() / held.min():.0e}, so the largest "
        "values decide what is learnt; where ratios matter, as of concentrations (IC50, Ki, "
        "solubility), write the logarithm in the table (pIC50) and train on that"
    ]


def repeat_notes(
    kinds: Sequence[str], of: str, canonicals: Sequence[str], values: np.ndarray
) -> list[str]:
    """How many molecules stand on several rows, and how many of these contradict themselves.

    ``of`` says what ``canonicals`` tell apart: molecules, or more than these.
    """
    repeats = rows_of(canonicals)
    if len(repeats) == len(canonicals):
        return []
    differ = sum(
        any(len(set(column[~np.isnan(column)])) > 1 for column in values[rows].T)
        for rows in repeats.values()
        if len(rows) > 1
    )
    what = "different values" if "regression" in kinds else "contradicting labels"
    more = f"; {differ} of them have {what} on their rows" if differ else ""
    return [f"{len(canonicals)} rows are {len(repeats)} {of}{more}"]
