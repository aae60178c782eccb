"""Any table of SMILES and targets."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.delimited_text import BLANK_ROW, WRONG_LENGTH, DelimitedText
from dgl_gmpool.data.molecule import (
    BLANK_SMILES,
    NOT_A_SMILES,
    REFUSED,
    canonical_smiles,
    count_atoms,
    is_missing,
)
from dgl_gmpool.data.report import SelectionTally
from dgl_gmpool.data.size_rule import SEVERAL_FRAGMENTS, SizeRule
from dgl_gmpool.data.table import KINDS, MoleculeTable

BLANK_TARGET = "blank target"
NOT_A_NUMBER = "a target that is not a number"


def load_csv(
    path: str | os.PathLike[str],
    *,
    smiles_column: str,
    target_columns: str | Sequence[str],
    kind: str | None = None,
    group_column: str | None = None,
    id_column: str | None = None,
    min_atoms: int | None = None,
    max_atoms: int | None = None,
    one_fragment: bool = False,
    strict: bool = False,
    delimiter: str | None = None,
    name: str | None = None,
    units: str = "",
) -> MoleculeTable:
    """Molecules and targets from a CSV or TSV file, plain or gzipped.

    Rows without a SMILES or a target, with a SMILES that RDKit refuses or a target that is not a
    number stay out; the report names each by row number (the header is row 1, as in a
    spreadsheet), value and reason. Salts and single atoms are allowed. One molecule on several
    rows stays on several rows, in one group.

    Parameters
    ----------
    path : path
        ``.csv`` or ``.tsv``, or either with ``.gz``; UTF-8, with or without a byte-order mark.
    smiles_column : str
    target_columns : str or sequence of str
        With several targets a blank cell is a missing label (NaN), and a row stays out only if all
        its targets are blank.
    kind : str, optional
        "classification" (targets 0 or 1) or "regression". By default classification if every
        value is 0 or 1, else regression.
    group_column : str, optional
        Rows of one group never straddle a split. By default (and where the cell is blank) a
        molecule is its own group.
    id_column : str, optional
        By default ids are the row numbers.
    min_atoms, max_atoms : int or None
        Limits on the heavy atoms, both included; None for no limit.
    one_fragment : bool
        Leave out salts and mixtures.
    strict : bool
        Raise at the first row that would be left out as unreadable or blank.
    delimiter : str, optional
        By default a tab for .tsv, otherwise a comma.
    name, units : str, optional
        For the table; ``name`` is the file's name by default.

    Returns
    -------
    MoleculeTable

    Raises
    ------
    ValueError
        For an unknown column (the closest is named), a file that cannot be read, a file without
        one usable row, or, with ``strict``, a row that cannot be used.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "tiny.csv"
    >>> _ = file.write_text("smiles,logS\\nCCO,1.1\\nc1ccccc1,-1.6\\nC1CC,0\\n")
    >>> table = load_csv(file, smiles_column="smiles", target_columns="logS")
    >>> table
    MoleculeTable('tiny', regression, rows=2, tasks=[logS])
    >>> table.report.refused
    (('row 4', 'C1CC', 'not a SMILES'),)
    """
    rule = SizeRule(min_atoms, max_atoms, one_fragment=one_fragment)
    if kind is not None:
        check_choice("kind", kind, KINDS)
    tasks = [target_columns] if isinstance(target_columns, str) else list(target_columns)
    if not tasks:
        raise ValueError("target_columns is empty; name at least one column")
    used = [smiles_column, *tasks]
    repeated = sorted({column for column in used if used.count(column) > 1})
    if repeated:
        raise ValueError(f"the columns {repeated} are named more than once")

    text = DelimitedText(path, delimiter=delimiter)
    smiles_at = text.column(smiles_column)
    targets_at = [text.column(task) for task in tasks]
    group_at = None if group_column is None else text.column(group_column)
    id_at = None if id_column is None else text.column(id_column)

    tally = SelectionTally(text.path.name)
    tally.expect(BLANK_ROW, WRONG_LENGTH, BLANK_SMILES, BLANK_TARGET, NOT_A_NUMBER)
    tally.expect(NOT_A_SMILES, REFUSED, SEVERAL_FRAGMENTS)
    ids: list[str] = []
    smiles_kept: list[str] = []
    canonicals: list[str] = []
    groups: list[str] = []
    targets: list[list[float]] = []
    without_group = 0

    def refuse(row: int, smiles: str, detail: str, reason: str) -> None:
        if strict:
            raise ValueError(
                f"{text.path}, row {row}: {detail} (SMILES {smiles!r}). Correct the row, or leave "
                f"such rows out and have them reported with strict=False"
            )
        tally.refuse(f"row {row}", smiles, detail, reason=reason)

    for row in text:
        tally.rows += 1
        if row.blank:
            tally.leave_out(BLANK_ROW)
            continue
        wrong = text.wrong_length(row)
        if wrong:
            refuse(row.number, "", wrong, WRONG_LENGTH)
            continue
        smiles = row.cells[smiles_at].strip()
        if is_missing(smiles):
            refuse(row.number, row.cells[smiles_at], BLANK_SMILES, BLANK_SMILES)
            continue
        cells = [row.cells[at] for at in targets_at]
        if all(is_missing(cell) for cell in cells):
            refuse(row.number, smiles, f"{_named(tasks)} blank", BLANK_TARGET)
            continue
        values = [_number(cell) for cell in cells]
        if None in values:
            bad = values.index(None)
            refuse(
                row.number,
                smiles,
                f"target {tasks[bad]!r} is {cells[bad]!r}, not a finite number",
                NOT_A_NUMBER,
            )
            continue
        canonical, why = canonical_smiles(smiles)
        if not canonical:
            refuse(row.number, smiles, why, NOT_A_SMILES if why == NOT_A_SMILES else REFUSED)
            continue
        atoms = count_atoms(smiles)
        outside = "" if atoms is None else rule.reason_against(atoms)
        if outside:
            tally.leave_out(outside)
            continue
        group = "" if group_at is None else row.cells[group_at].strip()
        without_group += group_at is not None and not group
        ids.append(str(row.number) if id_at is None else row.cells[id_at].strip())
        smiles_kept.append(smiles)
        canonicals.append(canonical)
        groups.append(f"group {group}" if group else canonical)
        targets.append([value for value in values if value is not None])

    if without_group:
        tally.notes.append(
            f"{without_group} rows have a blank {group_column!r}: each is grouped by its molecule"
        )
    report = tally.finish("usable rows" if rule.takes_all else str(rule), len(ids))
    if not ids:
        raise ValueError(f"{text.path} has no usable row:\n{report}")
    array = np.array(targets, dtype=np.float32)
    if kind is None:
        labels = np.isnan(array) | (array == 0) | (array == 1)
        kind = "classification" if labels.all() else "regression"
    return MoleculeTable(
        name=name if name is not None else text.path.name.split(".")[0],
        kind=kind,
        task_names=tuple(tasks),
        ids=tuple(ids),
        smiles=tuple(smiles_kept),
        canonical=tuple(canonicals),
        groups=tuple(groups),
        targets=array,
        global_feats=None,
        report=report,
        units=units,
    )


def _number(cell: str) -> float | None:
    """The number in a cell, NaN if it is blank, None if it is something else."""
    if is_missing(cell):
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        return None
    # float32 has a smaller range than the float that parsed the cell.
    return value if math.isfinite(value) and abs(value) < 3e38 and "_" not in cell else None


def _named(tasks: Sequence[str]) -> str:
    return f"target {tasks[0]!r} is" if len(tasks) == 1 else f"all {len(tasks)} targets are"
