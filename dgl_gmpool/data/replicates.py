"""Several measurements of one molecule as one row."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.merged_split import merged_split_values
from dgl_gmpool.data.potency import CONTRADICTION, combined
from dgl_gmpool.data.report import LEFT_OUT, MERGED
from dgl_gmpool.data.splits import PARTS
from dgl_gmpool.data.table import MoleculeTable

REPLICATES = ("keep", "median", "mean")
DISAGREE = "replicates disagree on the class"


def merged_replicates(table: MoleculeTable, how: str, *, split: str = "") -> MoleculeTable:
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
        measurement (``"time"``), and in all groups of its rows (``"group"``).

    Raises
    ------
    ValueError
        ``how`` is not one of these, or nothing is left.
    """
    check_choice("way to treat replicates", how, REPLICATES)
    rows_of: dict[Hashable, list[int]] = {}
    for row in range(len(table)):
        rows_of.setdefault(_key(table, row), []).append(row)
    if how == "keep" or len(rows_of) == len(table):
        return table
    several = [rows for rows in rows_of.values() if len(rows) > 1]
    first = [rows[0] for rows in rows_of.values()]
    place = {rows[0]: at for at, rows in enumerate(rows_of.values())}
    one = table.take(first)
    targets = one.targets.copy()
    bounds = {
        name: None if values is None else values.copy()
        for name, values in (("lower", one.lower), ("upper", one.upper))
    }
    weights = None if one.weights is None else one.weights.copy()
    split_values = one.split_values
    if split_values and split in ("time", "group"):
        cells = [[table.split_values[row] for row in rows] for rows in rows_of.values()]
        split_values = merged_split_values(one.smiles, cells, split)
    spreads: dict[int, list[tuple[float, int]]] = {}
    named: list[tuple[str, str, str]] = []
    contradicting: set[int] = set()

    def name(rows: Sequence[int], task: int) -> None:
        labels = ", ".join(table.measured_text(row, task) or "-" for row in rows)
        where = ", ".join(table.ids[row] for row in rows)
        detail = f"{table.task_names[task]!r} is {labels} on rows {where}"
        named.append((f"row {table.ids[rows[0]]}", table.smiles[rows[0]], detail))

    for rows in several:
        at = place[rows[0]]
        if weights is not None and table.weights is not None:
            weights[at] = table.weights[rows].mean()
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
            if not _tightest(table, bounds, rows, task, at, measured=bool(len(values))):
                name(rows, task)
                contradicting.add(at)
    one = replace(
        one,
        targets=targets,
        weights=weights,
        lower=bounds["lower"],
        upper=bounds["upper"],
        split_values=split_values,
    )
    left = one.known.any(axis=1)
    if not left.any():
        raise ValueError("no molecule is left: its replicates disagree; use --replicates keep")
    kept = np.flatnonzero(left).tolist()
    lost = len(contradicting - set(kept))
    reasons = ((DISAGREE, len(one) - len(kept) - lost), (CONTRADICTION, lost))
    report = table.report
    merged = len(table) - len(one)
    counts = [
        *report.counts,
        (f"{MERGED}more measurements of one molecule ({how})", merged),
        *((f"{LEFT_OUT}{reason}", count) for reason, count in reasons if count),
        ("molecules", len(kept)),
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
    report = replace(
        report, counts=tuple(counts), notes=tuple(notes), cells=(*report.cells, *named)
    )
    return one.take(kept, report=report)


def _key(table: MoleculeTable, row: int) -> Hashable:
    beside = [each.values[row].tobytes() for each in table.features]
    if table.global_feats is not None:
        beside.append(table.global_feats[row].tobytes())
    part = table.split_values[row].strip().lower() if table.split_values else ""
    return table.canonical[row], tuple(beside), PARTS.get(part, "")


def _tightest(
    table: MoleculeTable,
    bounds: dict[str, np.ndarray | None],
    rows: Sequence[int],
    task: int,
    at: int,
    *,
    measured: bool,
) -> bool:
    """Set the bounds of a merged row; none beside a measured value. Where two exclude each other
    there are none either, and the answer is False."""
    lower, upper = bounds["lower"], bounds["upper"]
    if lower is None or upper is None or table.lower is None or table.upper is None:
        return True
    above, below = table.lower[rows, task], table.upper[rows, task]
    found = combined(
        [(">", bound) for bound in above[~np.isnan(above)].tolist()]
        + [("<", bound) for bound in below[~np.isnan(below)].tolist()]
    )
    use = not measured and not found.impossible
    lower[at, task] = found.lower if use else np.nan
    upper[at, task] = found.upper if use else np.nan
    return measured or not found.impossible
