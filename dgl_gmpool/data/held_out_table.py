"""Two tables as one: the second is the test set of the first."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from dgl_gmpool.data.features import AuxiliaryTargets, Features
from dgl_gmpool.data.report import LEFT_OUT, MERGED, SelectionReport
from dgl_gmpool.data.table import OF_THE_TABLE, MoleculeTable
from dgl_gmpool.data.twins import as_features_see

TRAIN, TEST = "train", "test"
ALSO_IN_TEST = "the same molecule or group is in the test table"


def with_test_table(table: MoleculeTable, test: MoleculeTable) -> MoleculeTable:
    """The rows of both, with "train" and "test" in ``split_values``.

    Rows of ``table`` whose molecule or group is in ``test`` too are left out and counted.

    Parameters
    ----------
    table, test : MoleculeTable
        With the same columns.

    Raises
    ------
    ValueError
        They differ in their columns, or nothing is left to train on.
    """
    for what in ("task_names", "kinds", "classes"):
        ours, theirs = getattr(table, what), getattr(test, what)
        if ours != theirs:
            raise ValueError(
                f"{table.name!r} and the test table {test.name!r} hold different targets: {ours}, "
                f"and {theirs}"
            )
    joined: dict[str, Any] = {
        "ids": table.ids + tuple(f"test {name}" for name in test.ids),
        "split_values": (TRAIN,) * len(table) + (TEST,) * len(test),
        "report": _joined_report(table, test),
    }
    for each in fields(MoleculeTable):
        if each.name not in (*OF_THE_TABLE, *joined):
            joined[each.name] = _join(each.name, table, test)
    return without_test_molecules(replace(table, **joined))


def without_test_molecules(table: MoleculeTable, *, stereo: bool = True) -> MoleculeTable:
    """What :func:`with_test_table` gave, once more without rows to train on whose molecule is in
    the test table too: standardisation makes molecules equal that were not.

    Parameters
    ----------
    table : MoleculeTable
    stereo : bool
        False: molecules that differ in stereochemistry alone are equal, as they are for features
        that do not tell them apart. Those that differ in isotopes alone are equal anyway.

    Raises
    ------
    ValueError
        Nothing is left to train on.
    """
    columns = [table.canonical, table.groups, as_features_see(table.canonical, stereo=stereo)]
    testing = [part == TEST for part in table.split_values]
    held = [{value for value, test in zip(column, testing) if test} for column in columns]
    rows = [
        row
        for row, test in enumerate(testing)
        if test or not any(column[row] in values for column, values in zip(columns, held))
    ]
    if len(rows) == len(table):
        return table
    if len(rows) == sum(testing):
        training = [row for row in range(len(table)) if not testing[row]]
        molecules = sum(
            columns[0][row] in held[0] or columns[2][row] in held[2] for row in training
        )
        raise ValueError(
            f"nothing is left to train on: of {len(training)} rows of {table.name!r} {molecules} "
            "are of molecules of the test table too"
            + (
                "; give another --test-csv"
                if molecules == len(training)
                else f", and {len(training) - molecules} of groups of it; leave --group-column "
                "out, or give another --test-csv"
            )
        )
    left_out = [(ALSO_IN_TEST, len(table) - len(rows))]
    return table.take(
        rows, report=table.report.then(left_out, [], "usable rows, test table included")
    )


def _join(name: str, first: MoleculeTable, second: MoleculeTable) -> Any:
    ours, theirs = getattr(first, name), getattr(second, name)
    if ours is None and theirs is None:
        return None
    if isinstance(ours, np.ndarray) or isinstance(theirs, np.ndarray):
        # Bounds or weights that only one of them has.
        default = 1.0 if name == "weights" else np.nan
        shape = first.targets.shape[1:] if name in ("lower", "upper") else ()
        parts = [
            np.full((len(table), *shape), default) if values is None else values
            for table, values in ((first, ours), (second, theirs))
        ]
        return np.concatenate(parts)
    if all(isinstance(each, (Features, AuxiliaryTargets)) for each in (*ours, *theirs)) and ours:
        return tuple(
            replace(each, values=np.concatenate([each.values, other.values]))
            for each, other in zip(ours, theirs, strict=True)
        )
    return ours + theirs


def _joined_report(table: MoleculeTable, test: MoleculeTable) -> SelectionReport:
    """One account of both: the rows of both files, less what was left out of either."""
    ours, theirs = table.report, test.report
    counts = [("rows in both files", ours.rows_read + theirs.rows_read)]
    counts += [
        (f"{label}{place}", count)
        for report, place in ((ours, ""), (theirs, " (test table)"))
        for label, count in report.counts
        if label.startswith((LEFT_OUT, MERGED))
    ]
    counts.append(("usable rows in both files", len(table) + len(test)))

    def named(rows: tuple[tuple[str, str, str], ...]) -> tuple[tuple[str, str, str], ...]:
        return tuple((f"test {row}", smiles, reason) for row, smiles, reason in rows)

    return SelectionReport(
        f"{ours.source} and {theirs.source}",
        tuple(counts),
        ours.refused + named(theirs.refused),
        ours.notes + tuple(f"test table: {note}" for note in theirs.notes),
        ours.cells + named(theirs.cells),
    )
