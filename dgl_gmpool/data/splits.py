"""Splits: row numbers of one test set, and of folds that are the validation set in turn."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dgl_gmpool._io import atomic_write_text
from dgl_gmpool._options import check_choice
from dgl_gmpool.data.equal_rows import first_rows_of_each
from dgl_gmpool.data.table import MoleculeTable

SPLIT_KINDS = ("random", "scaffold", "group", "time", "cluster")
#: Of splits whose parts somebody wrote down.
GIVEN = "given"
#: How people call the parts of a split.
PARTS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


def are_parts(cells: Iterable[str]) -> bool:
    """Whether cells are the words of :data:`PARTS`, and not groups or dates.

    >>> are_parts(["train", "Test "]), are_parts(["train", "2020"]), are_parts([])
    (True, False, False)
    """
    words = {cell.strip().lower() for cell in cells}
    return bool(words) and words <= PARTS.keys()


FORMAT = 1
#: How an error of splits ends: a command says what to do with its own flags.
REMEDY = "; make new splits with make_splits(table)"


@dataclass(frozen=True)
class Splits:
    """Row numbers of the test set and of every fold's training and validation rows.

    Attributes
    ----------
    seed : int
    kind : str
        One of ``SPLIT_KINDS``, or "given".
    test : list of int
        Sorted row numbers. No fold touches them. Empty where there is no test set.
    folds : list of (list of int, list of int)
        ``(train, valid)`` per fold, sorted; together they are all rows but the test rows.
    rows : int
        Rows of the table the splits were made for.
    fingerprint : str
        Its :meth:`MoleculeTable.fingerprint`.
    notes : tuple of str
        What to know of them, not kept in the file.
    """

    seed: int
    kind: str
    test: list[int]
    folds: list[tuple[list[int], list[int]]]
    rows: int
    fingerprint: str
    notes: tuple[str, ...] = field(default=(), compare=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the splits as JSON, atomically, on one line: a million rows would be millions."""
        text = json.dumps(
            {
                "format": FORMAT,
                "kind": self.kind,
                "seed": self.seed,
                "rows": self.rows,
                "fingerprint": self.fingerprint,
                "test": self.test,
                "folds": [{"train": train, "valid": valid} for train, valid in self.folds],
            }
        )
        atomic_write_text(path, text + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Splits:
        """Read what :meth:`save` wrote; a file that is something else raises a ValueError."""
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
            if value["format"] != FORMAT:
                raise ValueError(f"format {value['format']!r}, this version reads {FORMAT}")
            splits = cls(
                seed=int(value["seed"]),
                kind=check_choice("kind of split", value["kind"], (*SPLIT_KINDS, GIVEN)),
                test=_row_numbers(value["test"]),
                folds=[
                    (_row_numbers(fold["train"]), _row_numbers(fold["valid"]))
                    for fold in value["folds"]
                ],
                rows=int(value["rows"]),
                fingerprint=str(value["fingerprint"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a file of splits ({type(error).__name__}: {error}){REMEDY}"
            ) from error
        for _ in splits._checked_rows():
            pass
        return splits

    def check(self, table: MoleculeTable) -> None:
        """Raise a ValueError unless the splits were made for ``table`` and leak nothing.

        Leaking nothing means that no canonical SMILES and no group is both in the test set and
        outside it, or both in the training and the validation rows of a fold.
        """
        if self.rows != len(table) or self.fingerprint != table.fingerprint():
            raise ValueError(
                f"these splits were made for {self.rows} rows (fingerprint "
                f"{self.fingerprint[:12]}), the table {table.name!r} has {len(table)} (fingerprint "
                f"{table.fingerprint()[:12]}): the data, its selection or the RDKit version "
                f"changed{REMEDY}"
            )
        names = ("test", "train", "valid")
        columns = first_rows_of_each([table.canonical, table.groups])
        for fold, (train, valid) in enumerate(self._checked_rows()):
            side = np.zeros(self.rows, np.int8)
            side[train], side[valid] = 1, 2
            for first in columns:
                torn = first[side != side[first]]
                if len(torn):
                    sides = side[first == torn.min()]
                    column = table.canonical if first is columns[0] else table.groups
                    raise ValueError(
                        f"fold_{fold}: {column[torn.min()]!r} is both in {names[sides.min()]} and "
                        f"{names[sides.max()]}{REMEDY}"
                    )

    def _checked_rows(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Training and validation rows of each fold; an error if a row is not there once."""
        if not self.folds:
            raise ValueError(f"the splits have no fold{REMEDY}")
        everything, test = np.arange(self.rows), np.array(self.test, np.int64)
        for fold, (train, valid) in enumerate(self.folds):
            parts = [test, np.array(train, np.int64), np.array(valid, np.int64)]
            held = np.sort(np.concatenate(parts), kind="stable")  # fast, as each part is sorted
            if not np.array_equal(held, everything):
                raise ValueError(
                    f"fold_{fold}: test, train and valid do not hold each of the {self.rows} rows "
                    f"once{REMEDY}"
                )
            yield parts[1], parts[2]


def _row_numbers(values: object) -> list[int]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise TypeError("row numbers must be a list of integers")
    return values
