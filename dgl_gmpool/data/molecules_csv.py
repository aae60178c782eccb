"""Any table of SMILES and targets."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

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
from dgl_gmpool.data.number import BOUNDS, Cell, read_weight
from dgl_gmpool.data.report import SelectionTally
from dgl_gmpool.data.size_rule import SEVERAL_FRAGMENTS, SizeRule
from dgl_gmpool.data.table import MoleculeTable, overall_kind
from dgl_gmpool.data.target_column import (
    TargetColumn,
    held_classes,
    kinds_of,
    refuse_other_words,
    settled,
)
from dgl_gmpool.data.target_notes import kind_notes, repeat_notes, unused_notes, used_notes

BLANK_TARGET = "blank target"
NOT_A_NUMBER = "a target that is not a number"
NO_FEATURE = "a feature that is not a number"
BLANK_WEIGHT = "blank weight"


def load_csv(
    path: str | os.PathLike[str],
    *,
    smiles_column: str,
    target_columns: str | Sequence[str],
    kind: str | Mapping[str, str] | None = None,
    group_column: str | None = None,
    id_column: str | None = None,
    feature_columns: Sequence[str] = (),
    min_atoms: int | None = None,
    max_atoms: int | None = None,
    one_fragment: bool = False,
    strict: bool = False,
    delimiter: str | None = None,
    bounds: str = "drop",
    weight_column: str | None = None,
    split_column: str | None = None,
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
    kind : str or mapping, optional
        Of all targets, or by target: "classification" (0 or 1, or words: active and inactive, true
        and false, yes and no, positive and negative, toxic and nontoxic), "multiclass" (whole
        numbers or words) or "regression". By default a column is a classification if every value
        is 0 or 1, multiclass if it holds a few words and no number, else a regression; the report
        says so.
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
    bounds : str
        ``"drop"`` (default): bounds such as ``>100`` are left out and named. ``"use"``: they become
        bounds of the table, from which training learns that the value lies beyond; approximate
        values (``~100``) are taken as measured. ``"as_measured"``: the number is taken for the
        value, which biases the targets. The report says how many.
    weight_column : str, optional
        Weights of the rows in the loss, 0 or more. Rows with a blank one are left out.
    split_column : str, optional
        What a split is made by: dates or numbers, groups, or train, valid and test; see
        :func:`~dgl_gmpool.data.make_splits`.
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
    check_choice("way to treat bounds", bounds, BOUNDS)
    tasks = [target_columns] if isinstance(target_columns, str) else list(target_columns)
    if not tasks:
        raise ValueError("target_columns is empty; name at least one column")
    if isinstance(feature_columns, str):
        feature_columns = [feature_columns]
    used = [smiles_column, *tasks, *feature_columns]
    repeated = sorted({column for column in used if used.count(column) > 1})
    if repeated:
        raise ValueError(
            f"the column {repeated[0]!r} is named more than once; name another one for the SMILES "
            "(--smiles-column), each target (--target) and each of --feature-columns"
        )

    kinds = kinds_of(kind, tasks)
    others = [
        name for name in (group_column, id_column, weight_column, split_column) if name is not None
    ]
    text = DelimitedText(path, delimiter=delimiter, columns=[*used, *others])
    smiles_at = text.column(smiles_column)
    group_at = None if group_column is None else text.column(group_column)
    id_at = None if id_column is None else text.column(id_column)
    weight_at = None if weight_column is None else text.column(weight_column)
    split_at = None if split_column is None else text.column(split_column)
    # Of rows that fit: what stands in a wrong column says nothing about it.
    fitting = [row.cells for row in text if not text.wrong_length(row)]
    read = [
        TargetColumn.from_cells(
            task,
            at,
            [cells[at] for cells in fitting],
            kind=each,
            sep=text.delimiter,
            bounds=bounds,
        )
        for task, at, each in zip(tasks, map(text.column, tasks), kinds)
    ]

    for column in read:
        refuse_other_words(column, [cells[column.at] for cells in fitting])
    columns = settled(read)
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
    values: list[list[float]] = []
    bounds_at: list[tuple[int, int, Cell]] = []
    used_cells: list[Cell] = []
    weights: list[float] = []
    features: list[list[float]] = []
    split_values: list[str] = []
    smiles_written: list[str] = []
    without_group = 0
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
            unreadable = text.refused(row)
            reason = REFUSED if unreadable else BLANK_SMILES
            refuse(row.number, row.cells[smiles_at], unreadable or reason, reason)
            continue
        found = [column.read(row.cells[column.at]) for column in columns]
        faults = [f"target {task!r} {cell.why}" for task, cell in zip(tasks, found) if cell.why]
        unused += [cell for cell in found if cell.why]
        nothing = all(math.isnan(cell.value) for cell in found)
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
        atoms = None if rule.takes_all else count_atoms(smiles)
        outside = "" if atoms is None else rule.reason_against(atoms)
        if outside:
            tally.leave_out(outside)
            continue
        if weight_at is not None:
            written = row.cells[weight_at]
            if is_missing(written):
                refuse(row.number, smiles, f"{weight_column!r} is blank", BLANK_WEIGHT)
                continue
            where = f"{text.path}, row {row.number}, {weight_column!r}"
            weights.append(read_weight(written, where=where))
        group = "" if group_at is None else row.cells[group_at].strip()
        without_group += group_at is not None and not group
        ids.append(str(row.number) if id_at is None else row.cells[id_at].strip())
        smiles_written.append(smiles)
        smiles_kept.append(split_smiles(smiles)[0])
        canonicals.append(canonical)
        groups.append(f"group {group}" if group else canonical)
        bounds_at += [(len(values), i, cell) for i, cell in enumerate(found) if cell.relation]
        used_cells += [cell for cell in found if cell.sort and not cell.why]
        values.append([math.nan if cell.relation else cell.value for cell in found])
        features.append(known)
        if split_at is not None:
            split_values.append(row.cells[split_at].strip())
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
    tally.notes += used_notes(used_cells)
    tally.notes += unused_notes(unused)
    targets = np.array(values, dtype=np.float64).reshape(len(ids), len(tasks))
    lower, upper = _limits(bounds_at, targets)
    if ids:
        columns = [held_classes(column, targets[:, i]) for i, column in enumerate(columns)]
        tally.notes += kind_notes(columns, targets)
        tally.notes += repeat_notes(
            [column.kind for column in columns],
            *conditions.told_apart(canonicals, features),
            targets,
        )
    if weights and not any(weights):
        raise ValueError(
            f"{text.path}: all {len(weights)} weights in {weight_column!r} are 0: nothing would be "
            "learnt; give some rows a weight above 0, or leave --weight-column out"
        )
    report = tally.finish("usable rows" if rule.takes_all else str(rule), len(ids))
    if not ids:
        raise ValueError(f"{text.path} has no usable row:\n{report.text()}")
    return MoleculeTable(
        name=name if name is not None else text.path.name.split(".")[0],
        kind=overall_kind([column.kind for column in columns]),
        task_names=tuple(tasks),
        ids=tuple(ids),
        smiles=tuple(smiles_kept),
        canonical=tuple(canonicals),
        groups=tuple(groups),
        targets=targets,
        global_feats=None,
        report=report,
        units=units,
        features=conditions.table_features(features),
        kinds=tuple(column.kind for column in columns),
        classes=tuple(column.classes for column in columns),
        lower=lower,
        upper=upper,
        weights=None if weight_at is None else np.array(weights),
        split_values=tuple(split_values),
    )


def _limits(
    bounds: Sequence[tuple[int, int, Cell]], targets: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Lower and upper bounds ``(rows, tasks)``, from row, task and cell of each; None without."""
    if not bounds:
        return None, None
    found = {relation: np.full_like(targets, np.nan) for relation in (">", "<")}
    for row, task, cell in bounds:
        found[cell.relation][row, task] = cell.value
    return found[">"], found["<"]


def _named(tasks: Sequence[str]) -> str:
    return f"target {tasks[0]!r} is" if len(tasks) == 1 else f"all {len(tasks)} targets are"
