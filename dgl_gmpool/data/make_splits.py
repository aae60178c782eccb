"""Make splits: what stays together, what is the test set, and what goes into which fold."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dgl_gmpool._options import check_choice, positive_int
from dgl_gmpool.data.equal_rows import once_each, rows_of
from dgl_gmpool.data.molecule import is_missing
from dgl_gmpool.data.split_units import clusters, scaffolds, tied, times
from dgl_gmpool.data.splits import GIVEN, PARTS, SPLIT_KINDS, Splits, are_parts
from dgl_gmpool.data.table import MoleculeTable
from dgl_gmpool.data.twins import as_features_see, without_isotopes, without_stereo


def make_splits(
    table: MoleculeTable,
    *,
    kind: str = "random",
    seed: int = 0,
    folds: int = 5,
    test_fraction: float = 0.1,
    stereo: bool = True,
    test: Sequence[int] | None = None,
) -> Splits:
    """One test set of about ``test_fraction`` of the rows; the rest in ``folds`` equal parts.

    Rows that share a canonical SMILES or a group always stay together, whatever the kind, so no
    molecule is ever on both sides; nor are molecules that differ in isotopes alone.

    Parameters
    ----------
    table : MoleculeTable
    kind : str
        ``"random"`` (molecules); ``"group"`` (the same rule under the name that says it:
        ``table.groups``, and equal ``table.split_values`` where there are such, stay together);
        ``"scaffold"`` (molecules with one Bemis-Murcko scaffold stay together; a molecule without
        rings has no scaffold and stands for itself, since acyclic molecules have nothing in
        common); ``"cluster"`` (molecules of one cluster of similar ones stay together, see
        :func:`~dgl_gmpool.data.split_units.clusters`); ``"time"`` (``table.split_values`` are dates
        or numbers: the newest molecules, by their first date, are the test set, and the folds are
        stretches of time). Scaffolds, clusters and groups larger than half of a fold never go to
        the test set.
    seed : int
        The same seed gives the same splits on every platform and version: the order comes from
        SHA-256 of seed and row number, not from a random number generator. A split by time has no
        chance in it.
    folds : int
        At least 1. One: a single model, with a fifth of the rest (by time: the newest fifth) as its
        validation set.
    test_fraction : float
        0 or more, below 1; 0: no test set.
    stereo : bool
        False: molecules that differ in stereochemistry alone stay together, for features that do
        not tell them apart.
    test : sequence of int, optional
        The rows of the test set, where it is known; ``test_fraction`` is then not looked at.

    Returns
    -------
    Splits

    Raises
    ------
    ValueError
        If there are too few molecules (groups, scaffolds) for a test set and every fold, dates
        are missing, or ``test`` tears something apart.

    Examples
    --------
    >>> from dgl_gmpool.data import load_sodium_channel
    >>> splits = make_splits(load_sodium_channel(), seed=1)
    >>> len(splits.test), [len(valid) for _, valid in splits.folds]
    (102, [183, 183, 183, 183, 183])
    """
    check_choice("kind of split", kind, SPLIT_KINDS)
    seed, folds = positive_int("seed", seed, least=0), positive_int("folds", folds)
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction must be 0 or more and below 1, got {test_fraction!r}")

    columns, notes = _ties(table, kind, stereo=stereo)
    units = tied(len(table), columns)
    if test is not None:
        held = _check_test(table, tied(len(table), _one_molecule(table, stereo=stereo)), test)
        # What the kind keeps together binds the rest alone: the test set is as it is given.
        outside = [row for row in range(len(table)) if row not in held]
        within = tied(len(outside), [[column[row] for row in outside] for column in columns])
        units = [[outside[row] for row in unit] for unit in within]
    dates: list[float] = []
    if kind == "time":
        dates = times(table.split_values, name="split_column (--split-column)", rows=table.ids)
        # A molecule is as old as its first measurement.
        units.sort(key=lambda unit: (min(dates[row] for row in unit), unit[0]))
        units.reverse()
    else:
        units = _shuffled(units, seed)
    unit_name = f"{kind}s" if kind in ("scaffold", "group", "cluster") else "molecules"
    if kind in ("scaffold", "cluster"):
        notes.append(
            f"{len(units)} {unit_name}, the largest with {max(map(len, units), default=0)}"
        )
    fewest = max(folds, 2) + (test is None and test_fraction > 0)
    if len(units) < fewest:
        raise ValueError(
            f"{len(units)} distinct {unit_name} ({len(table)} rows) cannot fill "
            + ("a test set and " if test is None and test_fraction else "")
            + _folds_to_fill(folds)
        )
    if test is not None:
        rest = units
    else:
        held, rest = _test_set(units, len(table), folds, test_fraction, in_order=kind == "time")
    parts = _parts(rest, folds if folds > 1 else min(5, len(rest)), in_order=kind == "time")
    if len(parts) < max(folds, 2):
        raise ValueError(
            f"{len(rest)} {unit_name} outside the test set cannot fill {_folds_to_fill(folds)}"
        )
    if kind == "time" and held:
        first = min(held, key=lambda row: dates[row])
        notes.append(f"the test set begins with {table.split_values[first]}")
        alike = sum(min(dates[row] for row in unit) == dates[first] for unit in rest)
        if alike:
            notes.append(
                f"{alike} molecules outside the test set are as old as its oldest: rows "
                "further down count as newer, so where the table is sorted by values, mix its rows "
                "or write finer dates"
            )
    splits = Splits(
        seed=seed,
        kind=kind,
        test=sorted(held),
        folds=[
            (_sorted_rows(other for other in parts if other is not part), _sorted_rows([part]))
            for part in parts[:folds]
        ],
        rows=len(table),
        fingerprint=table.fingerprint(),
        notes=tuple(notes),
    )
    splits.check(table)
    return splits


def splits_of_parts(
    table: MoleculeTable, parts: Sequence[str], *, seed: int = 0, **options: Any
) -> Splits:
    """Splits of which somebody wrote down, for each row, the part: train, valid or test.

    Parameters
    ----------
    table : MoleculeTable
    parts : sequence of str
        ``"train"``, ``"valid"`` or ``"test"``. With validation rows there is one fold; without,
        ``options`` are those of :func:`make_splits` for what is not the test set.

    Raises
    ------
    ValueError
        A part is empty, or a molecule or group is in two of them.
    """
    rows = {part: [i for i, each in enumerate(parts) if each == part] for part in PARTS.values()}
    if not rows["train"]:
        raise ValueError("no row is for training; give some rows the part 'train'")
    for unit in tied(len(table), _one_molecule(table, stereo=options.get("stereo", True))):
        other = next((row for row in unit if parts[row] != parts[unit[0]]), None)
        if other is not None:
            raise _torn(table, unit[0], other, f"{parts[unit[0]]} and {parts[other]}")
    if not rows["valid"]:
        if not rows["test"]:
            raise ValueError("all rows are 'train'; give some rows the part 'test' or 'valid'")
        splits = make_splits(table, seed=seed, test=rows["test"], **options)
        return replace(splits, notes=(*splits.notes, *_isotope_notes(table, parts)))
    splits = Splits(
        seed=seed,
        kind=GIVEN,
        test=rows["test"],
        folds=[(rows["train"], rows["valid"])],
        rows=len(table),
        fingerprint=table.fingerprint(),
        notes=("the validation rows are given: one model", *_isotope_notes(table, parts)),
    )
    splits.check(table)
    return splits


def _one_molecule(table: MoleculeTable, *, stereo: bool) -> list[Sequence[Hashable]]:
    """What ties rows that somebody gave a part, column by column."""
    columns: list[Sequence[Hashable]] = [table.canonical, table.groups]
    if not stereo:
        columns.append([without_stereo(smiles) for smiles in table.canonical])
    return columns


def _isotope_notes(table: MoleculeTable, parts: Sequence[str]) -> list[str]:
    """What somebody wrote down stays as it is."""
    alike = rows_of(once_each(without_isotopes, table.canonical)).values()
    torn = sum(len({parts[row] for row in rows}) > 1 for rows in alike)
    return [f"{torn} sets of molecules that differ in isotopes alone are in several parts"] * (
        torn > 0
    )


def _ties(
    table: MoleculeTable, kind: str, *, stereo: bool
) -> tuple[list[Sequence[Hashable]], list[str]]:
    """What ties rows to each other, column by column, and notes about it."""
    columns: list[Sequence[Hashable]] = [
        *(table.canonical, table.groups, as_features_see(table.canonical, stereo=stereo))
    ]
    notes = []
    if kind == "time" and not table.split_values:
        raise ValueError(
            "a split by time needs dates or numbers; name their column when the table is read: "
            "--split-column NAME (split_column=NAME)"
        )
    if kind == "scaffold":
        found = scaffolds(table.canonical)
        columns.append(found)
        single = sum(name.startswith("acyclic ") for name in found)
        if single:
            notes.append(f"{single} rows have no ring and so no scaffold: each stands for itself")
    if kind == "cluster":
        columns.append(clusters(table.canonical))
    if kind == "group" and table.split_values and not are_parts(table.split_values):
        # A blank cell ties to nothing.
        missing = [is_missing(cell) for cell in table.split_values]
        columns.append(
            [row if missing[row] else cell.strip() for row, cell in enumerate(table.split_values)]
        )
        blank = sum(missing)
        if blank:
            notes.append(f"{blank} rows have no group: each is grouped by its molecule")
    return columns, notes


def _check_test(
    table: MoleculeTable, units: Sequence[Sequence[int]], test: Sequence[int]
) -> set[int]:
    """The test rows; an error where rows of one molecule or group are on both sides."""
    held = set(test)
    for unit in units:
        inside = [row for row in unit if row in held]
        if inside and len(inside) < len(unit):
            outside = next(row for row in unit if row not in held)
            raise _torn(table, inside[0], outside, "test and others")
    return held


def _torn(table: MoleculeTable, row: int, other: int, parts: str) -> ValueError:
    return ValueError(
        f"rows {table.ids[row]} ({table.smiles[row]}) and {table.ids[other]} "
        f"({table.smiles[other]}) are one molecule or one group, and in the parts {parts}; give "
        "them the same part"
    )


def _test_set(
    units: list[list[int]], rows: int, folds: int, fraction: float, *, in_order: bool
) -> tuple[set[int], list[list[int]]]:
    """Units from the front for the test set, and the others."""
    if fraction == 0:
        return set(), units
    wanted = max(1, math.ceil(rows * fraction - 1e-9))
    fold_rows = (rows - wanted) / max(folds, 2)
    test: list[int] = []
    rest: list[list[int]] = []
    for position, unit in enumerate(units):
        left = len(units) - position - 1
        fits = len(test) + len(unit) <= wanted and len(unit) <= max(1.0, fold_rows / 2)
        if in_order:  # all that is newer than the first one left
            fits = not rest and (not test or len(test) + len(unit) <= wanted)
        if fits and len(rest) + left >= max(folds, 2):
            test.extend(unit)
        else:
            rest.append(unit)
        if rest and (in_order or len(test) >= wanted):
            rest.extend(units[position + 1 :])  # nothing fits any more
            break
    if not test:
        smallest = min(rest, key=len)
        rest.remove(smallest)
        test = list(smallest)
    return set(test), rest


def _parts(units: list[list[int]], count: int, *, in_order: bool) -> list[list[int]]:
    """The units in ``count`` parts of about equal size, none of them empty."""
    parts: list[list[int]] = [[] for _ in range(count)]
    if in_order:
        rows, done = sum(map(len, units)), 0
        for position, unit in enumerate(units):
            # The part that the unit's middle lies in, and no part left without a unit.
            at = int((done + len(unit) / 2) * count / rows)
            left = len(units) - position
            filled = sum(map(bool, parts))
            at = min(at, filled) if left > count - filled else filled
            parts[at].extend(unit)
            done += len(unit)
    else:
        # Largest first, each to the emptiest fold: the folds come out equal, and sorting is
        # stable, so units of one size keep their shuffled order.
        by_size = sorted(units, key=len, reverse=True)
        for position, unit in enumerate(by_size):
            if len(unit) == 1 and len({len(part) for part in parts}) == 1:
                # Single rows in turn, which is the same, and fast for a million.
                for at, part in enumerate(parts):
                    part.extend(row for (row,) in by_size[position + at :: count])
                break
            min(parts, key=len).extend(unit)
    return [part for part in parts if part]


def _shuffled(units: list[list[int]], seed: int) -> list[list[int]]:
    """In the order of a hash of each unit's first row."""
    start = f"dgl_gmpool splits {seed} ".encode()
    hashes = b"".join(hashlib.sha256(b"%b%d" % (start, unit[0])).digest() for unit in units)
    words = np.frombuffer(hashes, ">u8").reshape(-1, 4).astype(np.uint64)
    return [units[at] for at in np.lexsort(words.T[::-1]).tolist()]


def _sorted_rows(parts: Iterable[list[int]]) -> list[int]:
    """The rows of some parts, sorted."""
    rows = np.concatenate([np.array(part, np.int64) for part in parts])
    return np.sort(rows).tolist()


def _folds_to_fill(folds: int) -> str:
    if folds == 1:
        return "training and validation rows; give more data"
    return f"{folds} folds; give more data or fewer folds"
