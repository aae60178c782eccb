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
    other, the cell is left out and named. The report has the spread.

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
    merged = list(rows_of((_key(table, row), each) for row, each in enumerate(others)).values())
    if how == "keep" or len(merged) == len(table):
        return table
    first = [rows[0] for rows in merged]
    one = table.take(first)
    targets = one.targets.copy()
    weights = None if one.weights is None else one.weights.copy()
    nothing = np.full_like(table.targets, np.nan)
    above, below = (nothing if each is None else each for each in (table.lower, table.upper))
    lower, upper = above[first], below[first]
    split_values = one.split_values
    if split_values:
        cells = [[table.split_values[row] for row in rows] for rows in merged]
        split_values = merged_split_values(one.smiles, cells, split)
    unneeded = 0
    spreads: dict[int, list[tuple[float, int]]] = {}
    named: list[tuple[str, str, str]] = []
    contradicting: set[int] = set()

    def name(rows: Sequence[int], task: int) -> None:
        labels = ", ".join(table.measured_text(row, task) or "-" for row in rows)
        where = ", ".join(table.ids[row] for row in rows)
        detail = f"{table.task_names[task]!r} is {labels} on rows {where}"
        named.append((f"row {table.ids[rows[0]]}", table.smiles[rows[0]], detail))

    for at, rows in enumerate(merged):
        if len(rows) == 1:
            continue
        if weights is not None and table.weights is not None:
            weights[at] = table.weights[rows].mean()
        lower[at], upper[at] = np.fmax.reduce(above[rows]), np.fmin.reduce(below[rows])
        for task, kind in enumerate(table.kinds):
            values = table.targets[rows, task]
            values = values[~np.isnan(values)]
            if kind != "regression":
                targets[at, task] = values[0] if len(set(values)) == 1 else np.nan
                if len(set(values)) > 1:
                    name(rows, task)
                continue
            if len(values):
                targets[at, task] = np.median(values) if how == "median" else np.mean(values)
                spreads.setdefault(task, []).append((float(np.ptp(values)), rows[0]))
                unneeded += np.count_nonzero(~np.isnan([above[rows, task], below[rows, task]]))
            elif lower[at, task] > upper[at, task]:
                name(rows, task)
                contradicting.add(at)
            if len(values) or lower[at, task] > upper[at, task]:
                lower[at, task] = upper[at, task] = np.nan
    one = replace(
        one,
        targets=targets,
        weights=weights,
        lower=None if table.lower is None else lower,
        upper=None if table.upper is None else upper,
        split_values=split_values,
    )
    left = one.known.any(axis=1)
    if not left.any():
        raise ValueError(
            "no molecule is left: the measurements of each exclude each other; correct them, or "
            "keep them apart (--replicates keep)"
        )
    kept = np.flatnonzero(left).tolist()
    lost = len(contradicting - set(kept))
    reasons = ((DISAGREE, len(one) - len(kept) - lost), (CONTRADICTION, lost))
    report = table.report
    counts = [
        *report.counts,
        (f"{MERGED}more measurements of one molecule ({how})", len(table) - len(one)),
        *((f"{LEFT_OUT}{reason}", count) for reason, count in reasons if count),
        ("rows" if apart or table.features else "molecules", len(kept)),
    ]
    notes = [*report.notes]
    for task, found in spreads.items():
        ranges = [value for value, _ in found]
        largest, row = max(found)
        notes.append(
            f"{table.task_names[task]!r}: {len(found)} molecules were measured more than once; "
            f"from the lowest to the highest it is {np.median(ranges):.3g} in the median and "
            f"{largest:.3g} at most (row {table.ids[row]}, {table.smiles[row]})"
        )
    if unneeded:
        notes.append(f"{unneeded} bounds count for nothing beside a measured value of the molecule")
    report = replace(
        report, counts=tuple(counts), notes=tuple(notes), cells=(*report.cells, *named)
    )
    return one.take(kept, report=report)


def _key(table: MoleculeTable, row: int) -> Hashable:
    beside = [each.values[row].tobytes() for each in table.features]
    if table.global_feats is not None:
        beside.append(table.global_feats[row].tobytes())
    return table.canonical[row], tuple(beside)
