"""Columns of numbers beside the SMILES, such as a pH: how their cells are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.data.features import COLUMN, Features
from dgl_gmpool.data.number import has_decimal_commas, read_cell, with_decimal_point
from dgl_gmpool.data.smiles_values import is_blank


@dataclass(frozen=True)
class FeatureColumns:
    """Which columns of a table are features of its rows, and how they are written.

    Attributes
    ----------
    names : tuple of str
    at : tuple of int
        Their positions in the table.
    decimal_comma : tuple of bool
    """

    names: tuple[str, ...]
    at: tuple[int, ...]
    decimal_comma: tuple[bool, ...]

    @classmethod
    def of(
        cls,
        text: DelimitedText,
        names: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        decimal_comma: bool = False,
    ) -> FeatureColumns:
        """The columns of these names; ``rows`` are the cells of the table's rows, from which
        decimal commas are told unless it is said that they are.

        Raises
        ------
        ValueError
            A column is not there; the message names the closest.
        """
        at = tuple(text.column(name) for name in names)
        commas = (
            has_decimal_commas(
                (cells[column] for cells in rows), separator=text.delimiter, said=decimal_comma
            )
            for column in at
        )
        return cls(tuple(names), at, tuple(commas))

    def texts(self, cells: Sequence[str]) -> list[str]:
        """The cells of a row that hold its features, with a decimal point."""
        return [
            with_decimal_point(cells[at]) if comma else cells[at]
            for at, comma in zip(self.at, self.decimal_comma)
        ]

    def read(self, cells: Sequence[str]) -> tuple[list[float], str]:
        """The numbers of a row, NaN where a cell is blank, and why there are none, or ``""``."""
        return read_features(self.names, self.texts(cells))

    def check(self, rows: Sequence[Sequence[float]]) -> None:
        """Raise a ValueError where a feature of all rows of a table is blank throughout."""
        for column, name in enumerate(self.names):
            if all(math.isnan(row[column]) for row in rows):
                raise ValueError(
                    f"every row's {name!r} is blank: nothing can be learnt from it; leave the "
                    "column out (--feature-columns)"
                )

    def notes(self, rows: Sequence[Sequence[float]]) -> list[str]:
        """What to know of the features of all rows of a table."""
        found = []
        for column, name in enumerate(self.names):
            values = [row[column] for row in rows if not math.isnan(row[column])]
            if self.decimal_comma[column]:
                found.append(f"feature {name!r} is read with a decimal comma")
            if len(values) < len(rows):
                found.append(
                    f"{len(rows) - len(values)} of {len(rows)} rows have no {name!r}: the mean of "
                    "the training rows stands in for it"
                )
            if len(set(values)) == 1:
                found.append(
                    f"every {name!r} is {values[0]:g}: a model learns nothing from it, and what "
                    "predict finds in this column will change nothing"
                )
        return found

    def told_apart(
        self, canonicals: Sequence[str], rows: Sequence[Sequence[float]]
    ) -> tuple[str, Sequence[str]]:
        """What rows must share to be repeats, in words, and for each row."""
        if not self.names:
            return "molecules", canonicals
        same = [f"{smiles} {row}" for smiles, row in zip(canonicals, rows)]
        return f"molecules of one {' and '.join(self.names)}", same

    def table_features(self, rows: Sequence[Sequence[float]]) -> tuple[Features, ...]:
        """For ``MoleculeTable.features``: one, or none where no column was named."""
        values = np.array(rows, np.float32).reshape(len(rows), len(self.names))
        return (Features(COLUMN, self.names, values),) if self.names else ()


def read_features(names: Sequence[str], cells: Sequence[object]) -> tuple[list[float], str]:
    """Numbers of texts or numbers, NaN where one is missing, and why one cannot be read, or ``""``.

    >>> read_features(["pH", "T"], ["7.4", None])
    ([7.4, nan], '')
    >>> read_features(["pH"], ["7 or 8"])[1].partition(":")[0]
    "feature 'pH' is '7 or 8', not a finite number"
    """
    values, why = [], []
    for name, cell in zip(names, cells):
        found = read_cell("" if is_blank(cell) else str(cell))
        values.append(found.value)
        if found.why:
            why.append(f"feature {name!r} {found.why}")
    return values, "; ".join(why)
