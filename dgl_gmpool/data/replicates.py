"""Several measurements of one molecule as one: what they and their bounds say together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.equal_rows import rows_of
from dgl_gmpool.data.merged_split import merged_split_values
from dgl_gmpool.data.report import LEFT_OUT, MERGED
from dgl_gmpool.data.table import MoleculeTable

CONTRADICTION = "bounds that exclude each other"

REPLICATES = ("keep", "median", "mean")
DISAGREE = "replicates disagree on the class"


def merged_replicates(
    table: MoleculeTable, how: str, *, split: str = "", apart: Sequence[Hashable] = ()
) -> MoleculeTable:
    """One row for each molecule and what stands beside it (a solvent, feature columns).

    Numbers become their median or mean; of bounds, which count only where nothing was measured,
    the tightest are kept. Classes that agree are kept; where they disagree, or bounds exclude each
    other, the cell is left out and named. The report has the spread. Rows of weight 0 say nothing
    where a molecule has others; a mean is weighted, and the weight of the molecule is the mean of
    those that count. Groups that share a molecule become one.

    Parameters
    ----------
    table : MoleculeTable
    how : str
        ``"keep"`` (all rows stay), ``"median"`` or ``"mean"``.
    split : str
        The kind of split that ``table.split_values`` are for: a molecule is as old as its first
        measurement (``"time"``), and in all groups of its rows (``"group"``); parts must agree.
    apart : sequence, optional
        For each row, what else must be equal where rows become one.

    Raises
    ------
    ValueError
        ``how`` is not one of these, the rows of a molecule are in two parts, or nothing is left.
    """
    check_choice("way to treat replicates", how, REPLICATES)
    others = apart or [None] * len(table)
    groups = list(rows_of((_key(table, row), each) for row, each in enumerate(others)).values())
    if how == "keep" or len(groups) == len(table):
        return table
    merger = _Merger(table, how)
    one = merger.merged(groups, split)
    left = one.known.any(axis=1)
    if not left.any():
        raise ValueError(
            "no molecule is left: the measurements of each exclude each other; correct them, or "
            "keep them apart (--replicates keep, how='keep')"
        )
    kept = np.flatnonzero(left).tolist()
    lost = len(merger.contradicting - set(kept))
    reasons = ((DISAGREE, len(one) - len(kept) - lost), (CONTRADICTION, lost))
    report = table.report
    counts = [
        *report.counts,
        (f"{MERGED}more measurements of one molecule ({how})", len(table) - len(one)),
        *((f"{LEFT_OUT}{reason}", count) for reason, count in reasons if count),
        ("rows" if apart or table.features else "molecules", len(kept)),
    ]
    report = replace(
        report,
        counts=tuple(counts),
        notes=(*report.notes, *merger.notes()),
        cells=(*report.cells, *merger.named),
    )
    return one.take(kept, report=report)


class _Merger:
    """Makes one row of several, and remembers what a reader must know of it.

    Attributes
    ----------
    named : list of (str, str, str)
        Cells that are left out, as a report has them.
    contradicting : set of int
        Merged rows with bounds that exclude each other.
    """

    def __init__(self, table: MoleculeTable, how: str) -> None:
        self._table, self._how = table, how
        nothing = np.full_like(table.targets, np.nan)
        self._above = nothing if table.lower is None else table.lower
        self._below = nothing if table.upper is None else table.upper
        self.named: list[tuple[str, str, str]] = []
        self.contradicting: set[int] = set()
        self._unneeded = 0
        self._spreads: dict[int, list[tuple[float, int]]] = {}

    def merged(self, groups: Sequence[Sequence[int]], split: str) -> MoleculeTable:
        """The table with one row for each group of rows."""
        table = self._table
        everything, groups = groups, [self._counting(rows) for rows in groups]
        one = table.take([rows[0] for rows in groups])
        targets, weights = one.targets.copy(), None if one.weights is None else one.weights.copy()
        lower, upper = (
            np.array([way.reduce(bound[rows]) for rows in groups])
            for way, bound in ((np.fmax, self._above), (np.fmin, self._below))
        )
        for at, rows in enumerate(groups):
            if len(rows) == 1:
                continue
            if weights is not None and table.weights is not None:
                weights[at] = table.weights[rows].mean()
            for task, kind in enumerate(table.kinds):
                measured = [row for row in rows if not np.isnan(table.targets[row, task])]
                values = table.targets[measured, task]
                excluded = lower[at, task] > upper[at, task]
                if kind != "regression":
                    targets[at, task] = self._class(rows, task, values)
                elif len(values):
                    targets[at, task] = self._number(rows, task, measured)
                elif excluded:
                    self._name(rows, task)
                    self.contradicting.add(at)
                if kind == "regression" and (len(values) or excluded):
                    lower[at, task] = upper[at, task] = np.nan

        def each(values: Sequence[str]) -> list[list[str]]:
            return [[values[row] for row in rows] for rows in everything]

        split_values = one.split_values
        if split_values:
            split_values = merged_split_values(one.smiles, each(table.split_values), split)
        tied = one.groups
        if table.groups != table.canonical:
            tied = merged_split_values(one.smiles, each(table.groups), "group")
        return replace(
            one,
            targets=targets,
            weights=weights,
            lower=None if table.lower is None else lower,
            upper=None if table.upper is None else upper,
            split_values=split_values,
            groups=tied,
            merged_ids=tuple(map(tuple, each(table.ids))),
        )

    def _counting(self, rows: Sequence[int]) -> Sequence[int]:
        """Those of a molecule that are learnt from; all where none is."""
        weights = self._table.weights
        if weights is None:
            return rows
        return [row for row in rows if weights[row] > 0] or rows

    def _class(self, rows: Sequence[int], task: int, values: np.ndarray) -> float:
        if len(set(values)) > 1:
            self._name(rows, task)
        return float(values[0]) if len(set(values)) == 1 else np.nan

    def _number(self, rows: Sequence[int], task: int, measured: Sequence[int]) -> float:
        values, weights = self._table.targets[measured, task], self._table.weights
        self._spreads.setdefault(task, []).append((float(np.ptp(values)), rows[0]))
        bounds = [self._above[rows, task], self._below[rows, task]]
        self._unneeded += np.count_nonzero(~np.isnan(bounds))
        if self._how == "median":
            return float(np.median(values))
        known = None if weights is None or not weights[measured].any() else weights[measured]
        return float(np.average(values, weights=known))

    def _name(self, rows: Sequence[int], task: int) -> None:
        table = self._table
        labels = ", ".join(table.measured_text(row, task) or "-" for row in rows)
        where = ", ".join(table.ids[row] for row in rows)
        detail = f"{table.task_names[task]!r} is {labels} on rows {where}"
        self.named.append((f"row {table.ids[rows[0]]}", table.smiles[rows[0]], detail))

    def notes(self) -> list[str]:
        """How far measurements of one molecule lie apart, and bounds that count for nothing."""
        table, notes = self._table, []
        for task, found in self._spreads.items():
            ranges = [value for value, _ in found]
            largest, row = max(found)
            notes.append(
                f"{table.task_names[task]!r}: {len(found)} molecules were measured more than once; "
                f"from the lowest to the highest it is {np.median(ranges):.3g} in the median and "
                f"{largest:.3g} at most (row {table.ids[row]}, {table.smiles[row]})"
            )
        if self._unneeded:
            notes.append(
                f"{self._unneeded} bounds count for nothing beside a measured value of the molecule"
            )
        return notes


def _key(table: MoleculeTable, row: int) -> Hashable:
    beside = [each.values[row].tobytes() for each in table.features]
    if table.global_feats is not None:
        beside.append(table.global_feats[row].tobytes())
    return table.canonical[row], tuple(beside)
