"""Several measurements of one molecule as one: what they and their bounds say together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.equal_rows import rows_of
from dgl_gmpool.data.merged_split import merged_split_values
from dgl_gmpool.data.report import LEFT_OUT, MERGED
from dgl_gmpool.data.splits import PARTS
from dgl_gmpool.data.table import MoleculeTable

CONTRADICTION = "bounds that exclude each other"


@dataclass(frozen=True)
class Potency:
    """One molecule's potency: a value, or bounds on it.

    Attributes
    ----------
    value : float
        NaN where nothing was measured.
    lower, upper : float
        NaN where there is no such bound, or a value beside it.
    unneeded : int
        Bounds beside a value, which count for nothing.
    """

    value: float
    lower: float = math.nan
    upper: float = math.nan
    unneeded: int = 0

    @property
    def impossible(self) -> bool:
        """Its bounds exclude each other."""
        return self.lower > self.upper


def combined(measured: Sequence[tuple[str, float]]) -> Potency:
    """The median of the values, else the narrowest of the bounds.

    Parameters
    ----------
    measured : sequence of (str, float)
        ``">"`` or ``"<"`` and a bound, or an empty text and a value.

    Examples
    --------
    >>> combined([("", 6.0), ("<", 5.0), ("", 7.0)])
    Potency(value=6.5, lower=nan, upper=nan, unneeded=1)
    >>> combined([("<", 5.0), ("<", 4.5), (">", 3.0)])
    Potency(value=nan, lower=3.0, upper=4.5, unneeded=0)
    """
    values = [number for side, number in measured if not side]
    if values:
        return Potency(statistics.median(values), unneeded=len(measured) - len(values))
    return Potency(
        math.nan,
        max((number for side, number in measured if side == ">"), default=math.nan),
        min((number for side, number in measured if side == "<"), default=math.nan),
    )


def bound_notes(held: Sequence[Potency], *, as_measured: int, approximate: int) -> list[str]:
    """How bounds and approximate values were used."""
    notes = []
    if as_measured:
        notes.append(f"{as_measured} rows are bounds used as if they had been measured")
    bounded = sum(math.isnan(each.value) for each in held)
    if bounded:
        notes.append(
            f"{bounded} molecules have bounds alone: training learns that the value lies beyond; "
            "scores are over measured values, and 'bounds respected' is the share of the bounds "
            "that predictions keep to"
        )
    unneeded = sum(each.unneeded for each in held)
    if unneeded:
        notes.append(f"{unneeded} rows are bounds of molecules that have a measured value")
    if approximate:
        notes.append(f"{approximate} approximate values ('~') are used as measured ones")
    return notes


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
    merged = list(rows_of(_key(table, row) for row in range(len(table))).values())
    if how == "keep" or len(merged) == len(table):
        return table
    one = table.take([rows[0] for rows in merged])
    targets = one.targets.copy()
    bounds = {
        name: None if values is None else values.copy()
        for name, values in (("lower", one.lower), ("upper", one.upper))
    }
    weights = None if one.weights is None else one.weights.copy()
    split_values = one.split_values
    if split_values and split in ("time", "group"):
        cells = [[table.split_values[row] for row in rows] for rows in merged]
        split_values = merged_split_values(one.smiles, cells, split)
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
    counts = [
        *report.counts,
        (f"{MERGED}more measurements of one molecule ({how})", len(table) - len(one)),
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
