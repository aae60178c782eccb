"""The account of a selection: every row of a source is kept, merged or left out for a reason."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

LEFT_OUT = "left out: "
MERGED = "merged: "
#: What is told of a refused row or cell.
_OF_A_ROW = ("id", "smiles", "reason")
#: So many of them are printed.
_SHOWN = 20


@dataclass(frozen=True)
class SelectionReport:
    """How the rows of a source became the rows of a table.

    Attributes
    ----------
    source : str
        Where the rows came from (a file name, not a whole path).
    counts : tuple of (str, int)
        In order. Totals carry a plain label ("rows in the file"). What lies between two totals
        starts with ``"left out: "`` or ``"merged: "`` and adds up to their difference.
    refused : tuple of (str, str, str)
        ``(id, SMILES, reason)`` of every row that was wanted and could not be used.
    notes : tuple of str
        What a reader must know to interpret the counts.
    cells : tuple of (str, str, str)
        ``(id, SMILES, reason)`` of every cell that could not be used in a row that could.

    Examples
    --------
    >>> tally = SelectionTally("three.csv", rows=3)
    >>> tally.leave_out("blank SMILES")
    >>> print(tally.finish("rows in the table", 2))
    selection from three.csv
           3  rows in the file
          -1  left out: blank SMILES
           2  rows in the table
    """

    source: str
    counts: tuple[tuple[str, int], ...]
    refused: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()
    cells: tuple[tuple[str, str, str], ...] = ()

    @property
    def left_out(self) -> dict[str, int]:
        """Reason -> number of rows left out or merged, in order, summed over the steps."""
        found: dict[str, int] = {}
        for label, count in self.counts:
            for prefix in (LEFT_OUT, MERGED):
                if label.startswith(prefix):
                    reason = label[len(prefix) :]
                    found[reason] = found.get(reason, 0) + count
        return found

    @property
    def rows_read(self) -> int:
        """The first total."""
        return self.counts[0][1]

    @property
    def rows_kept(self) -> int:
        """The last total."""
        return self.counts[-1][1]

    def then(
        self,
        steps: list[tuple[str, int]],
        refused: list[tuple[str, str, str]],
        label: str,
    ) -> SelectionReport:
        """The report after a further step that starts from the rows kept so far."""
        tally = SelectionTally(self.source, *self.counts[-1])
        for reason, count in steps:
            tally.leave_out(reason, count)
        after = tally.finish(label, self.rows_kept - sum(count for _, count in steps))
        return replace(
            self,
            counts=self.counts + after.counts[1:],
            refused=self.refused + tuple(refused),
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict; ``counts`` stays a list of pairs, because its order matters."""
        return {
            "source": self.source,
            "counts": [[label, count] for label, count in self.counts],
            "refused": [dict(zip(_OF_A_ROW, each)) for each in self.refused],
            "notes": list(self.notes),
            "cells": [dict(zip(_OF_A_ROW, each)) for each in self.cells],
        }

    def __str__(self) -> str:
        """The report for people; with the first of the refused rows and cells."""
        lines = [f"selection from {self.source}"]
        for label, count in self.counts:
            taken = label.startswith((LEFT_OUT, MERGED))
            lines.append(f"{-count if taken else count:8d}  {label}")
        for found, what, place in (
            (self.refused, "refused", "refused"),
            (self.cells, "cell left out,", "cells"),
        ):
            for row, smiles, reason in found[:_SHOWN]:
                lines.append(f"  {what} {row}: {smiles!r}: {reason}")
            if len(found) > _SHOWN:
                lines.append(f"  ... and {len(found) - _SHOWN} more")
                if self.rows_kept:  # else there is neither run nor table to look into
                    lines[-1] += (
                        f" (all of them: config.json of the run's folder, under report.{place}; in "
                        f"Python, .report.{place})"
                    )
        lines.extend(f"  note: {note}" for note in self.notes)
        return "\n".join(lines)


@dataclass(frozen=True)
class Refusal:
    """Why a row stays out; without a ``detail`` it is only counted, for its ``reason``."""

    reason: str
    smiles: str = ""
    detail: str = ""


@dataclass
class SelectionTally:
    """Collects the counts of a :class:`SelectionReport` and checks that they add up.

    ``rows`` is the first total: count it up while reading. Reasons of ``expected`` come first, in
    that order, so that the reports of two files line up; zero counts are not shown.
    """

    source: str
    first: str = "rows in the file"
    rows: int = 0
    notes: list[str] = field(default_factory=list)
    _counts: list[tuple[str, int]] = field(default_factory=list)
    _pending: dict[str, int] = field(default_factory=dict)
    _refused: list[tuple[str, str, str]] = field(default_factory=list)
    _cells: list[tuple[str, str, str]] = field(default_factory=list)

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count rows that stay out."""
        self._add(LEFT_OUT + reason, count)

    def merge(self, reason: str, count: int = 1) -> None:
        """Count rows that go into another row."""
        self._add(MERGED + reason, count)

    def expect(self, *reasons: str) -> None:
        """Fix the order of the reasons to come."""
        for reason in reasons:
            self._add(LEFT_OUT + reason, 0)

    def refuse(self, row: str, smiles: str, detail: str, *, reason: str) -> None:
        """Leave one row out and name it."""
        self._refused.append((row, smiles, detail))
        self.leave_out(reason)

    def stays_out(self, row: str, why: Refusal) -> None:
        """Leave one row out, named where there is something to be said of it."""
        if why.detail:
            self.refuse(row, why.smiles, why.detail, reason=why.reason)
        else:
            self.leave_out(why.reason)

    def leave_out_cell(self, row: str, smiles: str, detail: str) -> None:
        """Name a cell that stays out of a row that is kept; the row is counted with the others."""
        self._cells.append((row, smiles, detail))

    def total(self, label: str, count: int) -> None:
        """Close a step: the last total less what was left out must be ``count``."""
        if not self._counts:
            self._counts.append((self.first, self.rows))
            self._last_total = self.rows
        gone = sum(self._pending.values())
        if self._last_total - gone != count:
            raise RuntimeError(
                f"the selection from {self.source} does not add up: {self._last_total} rows less "
                f"{gone} is not {count} ({label}); please report this"
            )
        self._counts.extend((text, n) for text, n in self._pending.items() if n)
        self._pending.clear()
        self._counts.append((label, count))
        self._last_total = count

    def finish(self, label: str, count: int) -> SelectionReport:
        """The report, with ``count`` rows in the end."""
        self.total(label, count)
        return SelectionReport(
            self.source,
            tuple(self._counts),
            tuple(self._refused),
            tuple(self.notes),
            tuple(self._cells),
        )

    def _add(self, label: str, count: int) -> None:
        if count < 0:
            raise RuntimeError(f"a count of {count} rows for {label!r}; please report this")
        self._pending[label] = self._pending.get(label, 0) + count
