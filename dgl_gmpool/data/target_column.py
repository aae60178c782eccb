"""One column of targets: of what kind it is, and how its cells are read."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dgl_gmpool._options import as_typed, check_choice, unknown_name
from dgl_gmpool.data.molecule import is_missing
from dgl_gmpool.data.number import (
    APPROXIMATE,
    BOUND,
    CLASS_WORDS,
    LARGEST,
    Cell,
    has_decimal_commas,
    parse_value,
    read_cell,
    with_decimal_point,
)
from dgl_gmpool.data.table import TARGET_KINDS

#: More names than this are no classes.
MOST_CLASSES = 100
#: So many are taken for classes without being told.
MOST_GUESSED = 20
#: Words for no value that are names where a column is said to hold classes.
CLASS_NAMES = frozenset({"none", "unknown", "missing"})


@dataclass(frozen=True)
class TargetColumn:
    """How the cells of one target are read, found out from all of them.

    Attributes
    ----------
    name : str
    at : int
        Its position in the table.
    kind : str
        ``"classification"``, ``"multiclass"`` or ``"regression"``.
    given : bool
        The kind was given, not guessed.
    words : dict of str to float
        Words that stand for the classes 0 and 1.
    classes : tuple of str
        Of a multiclass target, in the order of their numbers.
    decimal_comma : bool
    bounds : str
        What becomes of bounds such as ``>100``, one of ``BOUNDS``.
    constant : bool
        All its cells are 0, or all are 1: its kind is a guess that the other columns decide.
    blank_words : tuple of (str, int)
        Of a column of words: which of them are taken for no value, and in how many cells.
    """

    name: str
    at: int
    kind: str
    given: bool = False
    words: dict[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    decimal_comma: bool = False
    bounds: str = "drop"
    constant: bool = False
    blank_words: tuple[tuple[str, int], ...] = ()

    @classmethod
    def from_cells(
        cls,
        name: str,
        at: int,
        cells: Sequence[str],
        *,
        kind: str | None,
        sep: str,
        bounds: str,
        classes: tuple[str, ...] = (),
        decimal_comma: bool = False,
    ) -> TargetColumn:
        """``kind`` and ``classes`` where they are given; ``sep`` is what parts the table's cells,
        from which decimal commas are told unless it is said that they are.

        Raises
        ------
        ValueError
            The kind is multiclass, and the cells hold too many different names.
        """
        comma = has_decimal_commas(cells, separator=sep, said=decimal_comma)
        words = _class_words(cells) if kind in (None, "classification") else {}
        if kind == "multiclass":
            classes = classes or _classes(name, cells)
        given = cls(name, at, kind or "regression", True, words, classes, comma, bounds)
        if kind is not None:
            return given._with_blank_words(cells)
        guess = replace(given, given=False)
        values = guess._values(cells)
        if values and values <= {0, 1}:
            constant = len(values) == 1 and not words
            guess = replace(guess, kind="classification", constant=constant)
        elif not values and (classes := _guessed_classes(cells)):
            guess = replace(guess, kind="multiclass", classes=classes)
        return guess._with_blank_words(cells)

    def _with_blank_words(self, cells: Iterable[str]) -> TargetColumn:
        if not (self.words or self.classes):
            return self
        found = Counter(
            cell.strip()
            for cell in cells
            if is_missing(cell) and cell.strip()[:1].isalpha() and cell.strip() not in self.classes
        )
        return replace(self, blank_words=tuple(found.items()))

    def _values(self, cells: Sequence[str]) -> set[float]:
        """All numbers in them; a bound that is used counts as neither 0 nor 1."""
        found = [self.read(cell) for cell in cells]
        return {
            math.inf if cell.relation else cell.value
            for cell in found
            if not math.isnan(cell.value)
        }

    def read(self, text: str) -> Cell:
        """What a cell holds; of a bound that is used, ``sort`` says that it is one."""
        if self.kind == "multiclass":
            return self._class(text)
        text = with_decimal_point(text) if self.decimal_comma else text
        word = self.words.get(text.strip().lower())
        if word is not None:
            return Cell(word)
        cell = read_cell(text)
        if not cell.why or self.bounds == "drop" or self.kind != "regression":
            return cell
        relation, value = parse_value(text) or ("", math.nan)
        if abs(value) >= LARGEST:
            return cell
        if cell.sort == BOUND:
            return Cell(value, sort=BOUND, relation=relation if self.bounds == "use" else "")
        if cell.sort == APPROXIMATE and self.bounds == "use":
            return Cell(value, sort=APPROXIMATE)
        return cell

    def _class(self, text: str) -> Cell:
        name = _class_name(text)
        if name in self.classes:
            return Cell(float(self.classes.index(name)))
        if is_missing(text):
            return Cell(math.nan)
        return Cell(math.nan, f"is {text.strip()!r}, which is none of the classes")

    @property
    def notes(self) -> list[str]:
        """How the column was read, where that is not a matter of course."""
        found = []
        if self.decimal_comma:
            found.append(f"target {self.name!r} is read with a decimal comma")
        if self.words:
            read = ", ".join(f"{word!r} as {value:g}" for word, value in sorted(self.words.items()))
            found.append(f"target {self.name!r}: {read}")
        for word, count in self.blank_words:
            found.append(
                f"target {self.name!r}: {word!r}, in {count} {'cell' if count == 1 else 'cells'}, "
                "is taken for no value; where it is a class, "
                + (
                    as_typed("--kind", f"{self.name}=multiclass") + " keeps it"
                    if word.lower() in CLASS_NAMES and not self.given
                    else "write it otherwise"
                )
            )
        return found


def settled(columns: Sequence[TargetColumn]) -> list[TargetColumn]:
    """The columns, with those of one number among numbers taken for such."""
    numbers = any(column.kind == "regression" for column in columns)
    return [
        replace(column, kind="regression") if column.constant and numbers else column
        for column in columns
    ]


def kinds_of(kind: str | Mapping[str, str] | None, targets: Sequence[str]) -> list[str | None]:
    """The kind of each target as far as it is given: one for all, or by name.

    Raises
    ------
    ValueError
        A kind or a target is not known.
    """
    given = dict.fromkeys(targets, kind) if kind is None or isinstance(kind, str) else kind
    for name, each in given.items():
        if name not in targets:
            raise unknown_name("target in kind:", name, targets)
        if each is not None:
            check_choice("kind", each, TARGET_KINDS)
    return [given.get(name) for name in targets]


def _class_words(cells: Iterable[str]) -> dict[str, float]:
    """The words of a column that stand for classes, with their values; none in one of numbers."""
    seen = {cell.strip().lower() for cell in cells}
    words = {word: CLASS_WORDS[word] for word in seen if word in CLASS_WORDS}
    numbers = {read_cell(word).value for word in seen - words.keys()}
    return words if all(math.isnan(value) or value in (0, 1) for value in numbers) else {}


def refuse_other_words(column: TargetColumn, cells: Sequence[str]) -> None:
    """Raise a ValueError for a classification whose cells are all words that do not say which
    class is 1."""
    held = Counter(cell.strip() for cell in cells if not is_missing(cell))
    wordy = all(re.match(r"[^\W\d_]", word) for word in held)
    if column.kind == "classification" and held and wordy and not column.words:
        listed = ", ".join(repr(word) for word, _ in held.most_common(4))
        raise ValueError(
            f"target {column.name!r} holds {listed}{', ...' if len(held) > 4 else ''}: a "
            "classification is of 0 and 1, or of words such as active and inactive; "
            "--kind multiclass (kind='multiclass') takes classes by any name"
        )


def _class_name(text: str) -> str:
    """The name of a class: a whole number (2 for ``2.0``) or a word as it is written; empty for a
    number that is not whole, which is a measurement."""
    value = read_cell(text).value
    if math.isnan(value):
        return text.strip()
    return str(int(value)) if value.is_integer() else ""


def _classes(name: str, cells: Sequence[str]) -> tuple[str, ...]:
    """The classes of a column, numbers by size and then words by the alphabet."""
    held = [
        _class_name(cell)
        for cell in cells
        if not is_missing(cell) or cell.strip().lower() in CLASS_NAMES
    ]
    found = set(held) - {""}
    if held and not found:
        example = next(cell.strip() for cell in cells if not is_missing(cell))
        of_it = as_typed("--kind", f"{name}=regression")
        raise ValueError(
            f"target {name!r} holds decimals alone, such as {example!r}, "
            "which are measurements and name no classes; for a multiclass target give whole "
            f"numbers or words, or take it for numbers: {of_it} (kind={{{name!r}: 'regression'}})"
        )
    if len(found) > MOST_CLASSES or len(found) > max(10, len(held) / 2):
        raise ValueError(
            f"target {name!r} has {len(found)} different values in {len(held)} rows: too many for "
            f"classes (at most {MOST_CLASSES}, and half of the rows); use --kind regression "
            "(kind='regression') for numbers, or name fewer classes"
        )

    def order(held: str) -> tuple[bool, float, str]:
        value = read_cell(held).value
        return math.isnan(value), 0.0 if math.isnan(value) else value, held

    return tuple(sorted(found, key=order))


def _guessed_classes(cells: Sequence[str]) -> tuple[str, ...]:
    """The classes of a column of nothing but a few words, each on several rows on average."""
    words = Counter(cell.strip() for cell in cells if not is_missing(cell))
    wordy = all(re.match(r"[^\W\d]", word) and not re.search(r"\d", word) for word in words)
    few = 2 <= len(words) <= MOST_GUESSED and sum(words.values()) >= 3 * len(words)
    return tuple(sorted(words)) if wordy and few else ()


def held_classes(column: TargetColumn, values: np.ndarray) -> TargetColumn:
    """Without the classes that stood on unusable rows alone; ``values`` are numbered anew.

    Raises
    ------
    ValueError
        Fewer than two classes are left.
    """
    if column.kind != "multiclass":
        return column
    held = np.unique(values[~np.isnan(values)]).astype(int)
    if len(held) < 2:
        what = (
            f"every label of {column.name!r} is {column.classes[held[0]]}"
            if len(held)
            else (f"no usable row has a label of {column.name!r}")
        )
        raise ValueError(
            f"{what}: there is nothing to tell apart; a multiclass target needs rows of two classes"
        )
    known = ~np.isnan(values)
    values[known] = np.searchsorted(held, values[known])
    return replace(column, classes=tuple(column.classes[each] for each in held))
