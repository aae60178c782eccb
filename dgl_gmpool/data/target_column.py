"""One column of targets: how its cells are read, and what a reader of the table must know of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dgl_gmpool.data.number import (
    BOUND,
    CLASS_WORDS,
    COMMA,
    Cell,
    has_decimal_commas,
    parse_value,
    read_cell,
)


@dataclass(frozen=True)
class TargetColumn:
    """How the cells of one target are read, found out from all of them.

    Attributes
    ----------
    name : str
    at : int
        Its position in the table.
    words : dict of str to float
        Words that stand for classes.
    decimal_comma : bool
    bounds : bool
        Whether bounds such as ``>100`` are used as if they had been measured.
    """

    name: str
    at: int
    words: dict[str, float]
    decimal_comma: bool
    bounds: bool

    @classmethod
    def from_cells(
        cls, name: str, at: int, cells: Sequence[str], *, kind: str | None, sep: str, bounds: bool
    ) -> TargetColumn:
        """``kind`` is that of the table, where it is given; ``sep`` what parts its cells."""
        words = {} if kind == "regression" else _class_words(cells)
        return cls(name, at, words, sep == ";" and has_decimal_commas(cells), bounds)

    def read(self, text: str) -> Cell:
        """What a cell holds; of a bound that is used, ``sort`` says that it is one."""
        text = text.replace(",", ".") if self.decimal_comma else text
        word = self.words.get(text.strip().lower())
        if word is not None:
            return Cell(word)
        cell = read_cell(text)
        if cell.sort == BOUND and self.bounds:
            _, value = parse_value(text) or ("", math.nan)
            return Cell(value, sort=BOUND)
        return cell

    @property
    def notes(self) -> list[str]:
        """How the column was read, where that is not a matter of course."""
        found = []
        if self.decimal_comma:
            found.append(f"target {self.name!r} is read with a decimal comma")
        if self.words:
            read = ", ".join(f"{word!r} as {value:g}" for word, value in sorted(self.words.items()))
            found.append(f"target {self.name!r}: {read}")
        return found


def _class_words(cells: Iterable[str]) -> dict[str, float]:
    """The words of a column that stand for classes, with their values; none in one of numbers."""
    seen = {cell.strip().lower() for cell in cells}
    words = {word: CLASS_WORDS[word] for word in seen if word in CLASS_WORDS}
    numbers = {read_cell(word).value for word in seen - words.keys()}
    return words if all(math.isnan(value) or value in (0, 1) for value in numbers) else {}


def unused_notes(cells: Sequence[Cell]) -> list[str]:
    """What it means that these cells are left out: rarely is that a random part of the data."""
    notes = []
    bounds = sum(cell.sort == BOUND for cell in cells)
    if bounds:
        notes.append(
            f"{bounds} values are bounds such as '>100' and left out, so what is left is no random "
            "part of the data; censored='as_measured' (--censored as_measured) uses the bounds as "
            "if they had been measured"
        )
    commas = sum(cell.sort == COMMA for cell in cells)
    if commas:
        notes.append(
            f"{commas} values are left out because they are written with a comma; if these are the "
            "large ones, what is left is no random part of the data: write them without"
        )
    return notes


def guess_kind(kind: str | None, tasks: Sequence[str], values: np.ndarray) -> tuple[str, list[str]]:
    """The kind of the tasks, guessed from the values where it is not given, and what to know."""
    notes = []
    held = [np.unique(column[~np.isnan(column)]) for column in values.T]
    binary = [bool(np.isin(found, (0, 1)).all()) for found in held]
    if kind is None:
        kind = "classification" if all(binary) else "regression"
        if all(binary):
            notes.append(
                "classification, as every value is 0 or 1; kind='regression' (--kind regression) "
                "predicts numbers"
            )
    for column, (task, found, two) in enumerate(zip(tasks, held, binary)):
        count = np.count_nonzero(~np.isnan(values[:, column]))
        listed = ", ".join(f"{value:g}" for value in found[:3])
        few = len(found) in (2, 3) and count > len(found) and bool((found == found.round()).all())
        if len(found) == 1 and count > 1:
            what = "label" if kind == "classification" else "value"
            notes.append(f"every {what} of {task!r} is {listed}: there is nothing to tell apart")
        elif kind == "regression" and two and not all(binary):
            notes.append(
                f"{task!r} holds only 0 and 1 and is trained as a regression with the others; for "
                "a classification train it apart"
            )
        elif kind == "regression" and few and not two:
            notes.append(
                f"{task!r} holds only the values {listed} and is trained as a regression; for a "
                "classification write 0 and 1, and leave what is not known blank"
            )
    return kind, notes


def repeat_notes(kind: str, of: str, canonicals: Sequence[str], values: np.ndarray) -> list[str]:
    """How many molecules stand on several rows, and how many of these contradict themselves.

    ``of`` says what ``canonicals`` tell apart: molecules, or more than these.
    """
    rows_of: dict[str, list[int]] = {}
    for row, canonical in enumerate(canonicals):
        rows_of.setdefault(canonical, []).append(row)
    if len(rows_of) == len(canonicals):
        return []
    differ = sum(
        any(len(set(column[~np.isnan(column)])) > 1 for column in values[rows].T)
        for rows in rows_of.values()
        if len(rows) > 1
    )
    what = "contradicting labels" if kind == "classification" else "different values"
    more = f"; {differ} of them have {what} on their rows" if differ else ""
    return [f"{len(canonicals)} rows are {len(rows_of)} {of}{more}"]
