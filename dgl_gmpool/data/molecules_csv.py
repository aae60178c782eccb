"""Any table of SMILES and targets."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.delimited_text import BLANK_ROW, WRONG_LENGTH, DelimitedText
from dgl_gmpool.data.feature_columns import FeatureColumns
from dgl_gmpool.data.molecule import (
    BLANK_SMILES,
    NOT_A_SMILES,
    REFUSED,
    canonical_smiles,
    count_atoms,
    ignored_extensions,
    is_missing,
    refusal,
    split_smiles,
)
from dgl_gmpool.data.number import BOUND, CENSORED, Cell
from dgl_gmpool.data.report import SelectionTally
from dgl_gmpool.data.size_rule import SEVERAL_FRAGMENTS, SizeRule
from dgl_gmpool.data.table import KINDS, MoleculeTable
from dgl_gmpool.data.target_column import (
    TargetColumn,
    guess_kind,
    repeat_notes,
    unused_notes,
)

BLANK_TARGET = "blank target"
NOT_A_NUMBER = "a target that is not a number"
NO_FEATURE = "a feature that is not a number"


def load_csv(
    path: str | os.PathLike[str],
    *,
    smiles_column: str,
    target_columns: str | Sequence[str],
    kind: str | None = None,
    group_column: str | None = None,
    id_column: str | None = None,
    feature_columns: Sequence[str] = (),
    min_atoms: int | None = None,
    max_atoms: int | None = None,
    one_fragment: bool = False,
    strict: bool = False,
    delimiter: str | None = None,
    censored: str = "exclude",
    name: str | None = None,
    units: str = "",
) -> MoleculeTable:
    """Molecules and targets from separated text (.csv, .tsv, .smi), plain or gzipped.

    Rows without a SMILES or a target, with a SMILES that RDKit refuses or a target that is not a
    number stay out; the report names each by row number (the header is row 1, as in a
    spreadsheet), value and reason. Salts and single atoms are allowed. One molecule on several
    rows stays on several rows, in one group; the report counts them, and those with different
    targets.

    Parameters
    ----------
    path : path
        ``.csv``, ``.tsv`` or ``.smi``, or either with ``.gz``; UTF-8, with or without a byte-order
        mark. A pipe, or ``-`` for standard input, can be read as well.
    smiles_column : str
        A CXSMILES extension (``|...|``) behind a SMILES is ignored, and the report counts it.
    target_columns : str or sequence of str
        With several targets a cell that is blank or not a number is a missing label (NaN; the
        report names the latter), and a row stays out only if it has none.
    kind : str, optional
        "classification" (targets 0 or 1, or words: active and inactive, true and false, yes and no,
        positive and negative, toxic and nontoxic) or "regression". By default classification if
        every value is 0 or 1, else regression; the report says so.
    group_column : str, optional
        Rows of one group never straddle a split. By default (and where the cell is blank) a
        molecule is its own group.
    id_column : str, optional
        By default ids are the row numbers.
    feature_columns : sequence of str
        Columns of numbers known of each row (a pH, a temperature), to join a model's readout. A
        blank cell is not known: the mean of the training rows stands in for it, and the report
        counts such cells. A row with a cell that is not a number stays out.
    min_atoms, max_atoms : int or None
        Limits on the heavy atoms, both included; None for no limit.
    one_fragment : bool
        Leave out salts and mixtures.
    strict : bool
        Raise at the first row that would be left out as unreadable or blank.
    delimiter : str, optional
        By default recognised by the columns' names: a comma, semicolon, tab or bar. Between
        semicolons a decimal comma is read where a column leaves no doubt.
    censored : str
        ``"exclude"`` (default): bounds such as ``>100`` are left out and named. ``"as_measured"``:
        they are used as if the bound had been measured, which biases the targets; the report says
        how many.
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
    check_choice("way to treat censored values", censored, CENSORED)
    tasks = [target_columns] if isinstance(target_columns, str) else list(target_columns)
    if not tasks:
        raise ValueError("target_columns is empty; name at least one column")
    if isinstance(feature_columns, str):
        feature_columns = [feature_columns]
    used = [smiles_column, *tasks, *feature_columns]
    repeated = sorted({column for column in used if used.count(column) > 1})
    if repeated:
        raise ValueError(f"the columns {repeated} are named more than once")

    others = [column for column in (group_column, id_column) if column is not None]
    text = DelimitedText(path, delimiter=delimiter, columns=[*used, *others])
    smiles_at = text.column(smiles_column)
    group_at = None if group_column is None else text.column(group_column)
    id_at = None if id_column is None else text.column(id_column)
    # Of rows that fit: what stands in a wrong column says nothing about it.
    fitting = [row.cells for row in text if not text.wrong_length(row)]
    columns = [
        TargetColumn.from_cells(
            task,
            at,
            [cells[at] for cells in fitting],
            kind=kind,
            sep=text.delimiter,
            bounds=censored == "as_measured",
        )
        for task, at in zip(tasks, map(text.column, tasks))
    ]

    conditions = FeatureColumns.of(text, feature_columns, fitting)

    tally = SelectionTally(text.path.name)
    tally.expect(BLANK_ROW, WRONG_LENGTH, BLANK_SMILES, BLANK_TARGET, NOT_A_NUMBER)
    tally.expect(NOT_A_SMILES, REFUSED, SEVERAL_FRAGMENTS)
    if feature_columns:
        tally.expect(NO_FEATURE)
    ids: list[str] = []
    smiles_kept: list[str] = []
    canonicals: list[str] = []
    groups: list[str] = []
    targets: list[list[float]] = []
    features: list[list[float]] = []
    smiles_written: list[str] = []
    without_group = bounds_used = 0
    unused: list[Cell] = []

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
        found = [column.read(row.cells[column.at]) for column in columns]
        values = [cell.value for cell in found]
        faults = [f"target {task!r} {cell.why}" for task, cell in zip(tasks, found) if cell.why]
        unused += [cell for cell in found if cell.why]
        nothing = all(math.isnan(value) for value in values)
        if nothing and not faults:
            refuse(row.number, smiles, f"{_named(tasks)} blank", BLANK_TARGET)
            continue
        if faults and (nothing or strict):
            refuse(row.number, smiles, "; ".join(faults), NOT_A_NUMBER)
            continue
        known, unreadable = conditions.read(row.cells)
        if unreadable:
            refuse(row.number, smiles, unreadable, NO_FEATURE)
            continue
        canonical, why = canonical_smiles(smiles)
        if not canonical:
            refuse(row.number, smiles, why, refusal(why))
            continue
        atoms = count_atoms(smiles)
        outside = "" if atoms is None else rule.reason_against(atoms)
        if outside:
            tally.leave_out(outside)
            continue
        group = "" if group_at is None else row.cells[group_at].strip()
        without_group += group_at is not None and not group
        ids.append(str(row.number) if id_at is None else row.cells[id_at].strip())
        smiles_written.append(smiles)
        smiles_kept.append(split_smiles(smiles)[0])
        canonicals.append(canonical)
        groups.append(f"group {group}" if group else canonical)
        targets.append(values)
        features.append(known)
        bounds_used += sum(cell.sort == BOUND and not cell.why for cell in found)
        for fault in faults:
            tally.leave_out_cell(f"row {row.number}", smiles, fault)

    if text.rows_above:
        tally.notes.append(
            f"the header is in row {text.rows_above + 1}; what stands above it is left out"
        )
    tally.notes += [note for column in columns for note in column.notes]
    tally.notes += conditions.notes(features)
    if without_group:
        tally.notes.append(
            f"{without_group} rows have a blank {group_column!r}: each is grouped by its molecule"
        )
    tally.notes += ignored_extensions(smiles_written)
    if bounds_used:
        tally.notes.append(f"{bounds_used} values are bounds used as if they had been measured")
    tally.notes += unused_notes(unused)
    array = np.array(targets, dtype=np.float64).reshape(len(ids), len(tasks))
    if ids:
        kind, notes = guess_kind(kind, tasks, array)
        tally.notes += [
            *notes,
            *repeat_notes(kind, *conditions.told_apart(canonicals, features), array),
        ]
    report = tally.finish("usable rows" if rule.takes_all else str(rule), len(ids))
    if not ids or kind is None:
        raise ValueError(f"{text.path} has no usable row:\n{report.text()}")
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
        features=conditions.table_features(features),
    )


def _named(tasks: Sequence[str]) -> str:
    return f"target {tasks[0]!r} is" if len(tasks) == 1 else f"all {len(tasks)} targets are"
