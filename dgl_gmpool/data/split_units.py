"""What a split must not tear apart, and in which order: scaffolds, clusters, ties, dates."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Sequence
from datetime import datetime

import numpy as np

from dgl_gmpool.data.equal_rows import first_rows_of_each, once_each
from dgl_gmpool.data.molecule import is_missing, read_molecule
from dgl_gmpool.data.similarity import morgan

#: Tanimoto distance (Morgan fingerprints, radius 2, 2,048 bits) up to which a molecule belongs to
#: the cluster of a leader.
CLUSTER_DISTANCE = 0.6

_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y-%m", "%d.%m.%Y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y")
_DAY_OR_MONTH_FIRST = ("%d/%m/%Y", "%m/%d/%Y")
#: As numbers these would not be in the order of time.
_YEAR_LAST = re.compile(
    r"(0?[1-9]|1[0-2])\.?(19|20)\d\d|(0?[1-9]|[12]\d|3[01])(0[1-9]|[12]\d|3[01])(19|20)\d\d"
)
#: 2019.12 is before 2019.2 as a number.
_YEAR_FIRST = re.compile(r"(?:19|20)\d\d\.(0?[1-9]|1[0-2])")


def scaffolds(canonical: Sequence[str]) -> list[str]:
    """The Bemis-Murcko scaffold of each molecule, or the molecule itself where it has no ring.

    >>> scaffolds(["CCc1ccccc1", "CCO", "OCCc1ccccc1"])
    ['c1ccccc1', 'acyclic CCO', 'c1ccccc1']
    """
    from rdkit import Chem
    from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol

    def scaffold(smiles: str) -> str:
        mol, _ = read_molecule(smiles)
        found = None if mol is None else GetScaffoldForMol(mol)
        text = "" if found is None else Chem.MolToSmiles(found, isomericSmiles=False)
        return text or f"acyclic {smiles}"

    return once_each(scaffold, canonical)


def clusters(canonical: Sequence[str]) -> list[int]:
    """The cluster of each molecule: sphere exclusion picks leaders that are farther than
    ``CLUSTER_DISTANCE`` from each other, and each molecule goes to its nearest one.

    >>> clusters(["CCCCCCO", "CCCCCCCO", "c1ccncc1"])
    [0, 0, 1]
    """
    from rdkit.DataStructs import BulkTanimotoSimilarity
    from rdkit.SimDivFilters.rdSimDivPickers import LeaderPicker

    prints = {
        smiles: morgan().GetFingerprint(read_molecule(smiles)[0])
        for smiles in dict.fromkeys(canonical)
    }
    distinct = list(prints.values())
    picked = list(LeaderPicker().LazyBitVectorPick(distinct, len(distinct), CLUSTER_DISTANCE))
    leaders = [distinct[leader] for leader in picked]
    return once_each(
        lambda smiles: int(np.argmax(BulkTanimotoSimilarity(prints[smiles], leaders))), canonical
    )


def times(cells: Sequence[str], *, name: str, rows: Sequence[str] = ()) -> list[float]:
    """Numbers that grow with time: the cells' own, or of dates that are all written in one way.

    Parameters
    ----------
    cells : sequence of str
    name : str
        What holds them, for errors.
    rows : sequence of str, optional
        Names of the rows, for errors. Default: their numbers, from 1.

    Raises
    ------
    ValueError
        A cell is blank or neither; or day and month, or dates and numbers, cannot be told apart.

    Examples
    --------
    >>> times(["2019", "2020.5"], name="year")
    [2019.0, 2020.5]
    >>> early, late = times(["31.12.1999", "01.01.2000"], name="date")
    >>> late - early
    1.0
    """
    blank = [row for row, cell in enumerate(cells) if is_missing(cell)]
    if blank:
        have = "1 row has" if len(blank) == 1 else f"{len(blank)} rows have"
        raise ValueError(
            f"{have} no date in the column of {name} (the first is "
            f"{rows[blank[0]] if rows else f'usable row {blank[0] + 1}'}); "
            "a split by time needs one on every row: fill them in, or leave those rows out"
        )
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        numbers = [math.nan]
    if all(map(math.isfinite, numbers)):
        if all(_YEAR_LAST.fullmatch(cell.strip()) for cell in cells):
            raise ValueError(
                f"the cells in the column of {name}, such as {cells[0]!r}, may be dates with the "
                "year last, or numbers; write dates as 2020-12-31 or 2020-12, and numbers with one "
                f"more decimal: {cells[0].strip()}{'0' if '.' in cells[0] else '.0'}"
            )
        months = [found and found[1] for found in map(_YEAR_FIRST.fullmatch, map(str.strip, cells))]
        if all(months) and len({len(month) for month in months if month}) > 1:
            raise ValueError(
                f"the cells in the column of {name}, such as {cells[0]!r}, may be years with their "
                "months, or numbers; write months as 2020-02, and numbers with equally many "
                "decimals: 2020.10"
            )
        return numbers
    # Of "2020-03-01T10:00:00Z" or "2020-03-01 10:00" the day decides.
    days = [cell.strip().partition("T")[0].partition(" ")[0] for cell in cells]
    for texts, formats in ((days, _DATES), (cells, _DATES), (days, _DAY_OR_MONTH_FIRST)):
        fitting = [found for form in formats if (found := _days(texts, form)) is not None]
        if len(fitting) == 2 and fitting[0] != fitting[1]:
            raise ValueError(
                f"the dates in the column of {name}, such as {cells[0]!r}, may start with the day "
                "or with the month; write them as 2020-12-31"
            )
        if fitting:
            return fitting[0]
    first = [form for form in (*_DATES, *_DAY_OR_MONTH_FIRST) if _days(days[:1], form) is not None]
    odd = [cell for cell, day in zip(cells, days) if all(_days([day], f) is None for f in first)]
    held = " and ".join(repr(cell) for cell in dict.fromkeys([cells[0], *odd[:1]]))
    raise ValueError(
        f"the column of {name} holds {held}, and not all its cells are numbers or dates written in "
        "one way; write numbers, or dates as 2020-12-31"
    )


def _days(cells: Sequence[str], form: str) -> list[float] | None:
    try:
        return [float(datetime.strptime(cell.strip(), form).toordinal()) for cell in cells]
    except ValueError:
        return None


def tied(rows: int, columns: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """Sets of rows that are tied, directly or in a chain, by an equal value in any column.

    >>> tied(4, [["a", "a", "b", "c"], [1, 2, 2, 3]])
    [[0, 1, 2], [3]]
    """
    firsts = first_rows_of_each(columns) or [np.arange(rows)]
    label = firsts[0] if len(firsts) == 1 else _connected(firsts)
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    # By the first row of each set, whatever scipy's numbers are.
    ends = np.append(starts[1:], rows)
    by_first = np.argsort(order[starts])
    members = order.tolist()
    return [
        members[start:end] for start, end in zip(starts[by_first].tolist(), ends[by_first].tolist())
    ]


def _connected(firsts: Sequence[np.ndarray]) -> np.ndarray:
    """A number for each set of rows that are tied to each other through the first of their kind."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    everything, others = np.arange(len(firsts[0])), np.concatenate(firsts)
    rows = np.tile(everything, len(firsts))
    ties = coo_array((np.ones(len(rows), bool), (rows, others)), shape=(len(everything),) * 2)
    return connected_components(ties, directed=False)[1]
