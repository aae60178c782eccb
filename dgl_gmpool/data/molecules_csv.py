"""Any table of SMILES and targets."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence

import numpy as np

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.delimited_text import BLANK_ROW, WRONG_LENGTH, DelimitedText
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
from dgl_gmpool.data.number import (
    BOUND,
    CENSORED,
    CLASS_WORDS,
    COMMA,
    has_decimal_commas,
    parse_value,
    read_cell,
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
    used = [smiles_column, *tasks]
    repeated = sorted({column for column in used if used.count(column) > 1})
    if repeated:
        raise ValueError(f"the columns {repeated} are named more than once")

    others = [column for column in (group_column, id_column) if column is not None]
    text = DelimitedText(path, delimiter=delimiter, columns=[*used, *others])
    smiles_at = text.column(smiles_column)
    targets_at = [text.column(task) for task in tasks]
    group_at = None if group_column is None else text.column(group_column)
    id_at = None if id_column is None else text.column(id_column)
    # Of rows that fit: what stands in a wrong column says nothing about it.
    fitting = [row.cells for row in text if not text.wrong_length(row)]
    commas = [
        text.delimiter == ";" and has_decimal_commas(cells[at] for cells in fitting)
        for at in targets_at
    ]
    words = [
        {} if kind == "regression" else _class_words(cells[at] for cells in fitting)
        for at in targets_at
    ]

    tally = SelectionTally(text.path.name)
    tally.expect(BLANK_ROW, WRONG_LENGTH, BLANK_SMILES, BLANK_TARGET, NOT_A_NUMBER)
    tally.expect(NOT_A_SMILES, REFUSED, SEVERAL_FRAGMENTS)
    ids: list[str] = []
    smiles_kept: list[str] = []
    canonicals: list[str] = []
    groups: list[str] = []
    targets: list[list[float]] = []
    smiles_written: list[str] = []
    without_group = bounds_used = 0
    unused = {BOUND: 0, COMMA: 0}

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
        values, faults, bounds = [], [], 0
        for task, at, classes, comma in zip(tasks, targets_at, words, commas):
            written = row.cells[at].replace(",", ".") if comma else row.cells[at]
            cell = read_cell(written)
            value = classes.get(written.strip().lower(), cell.value)
            if cell.sort == BOUND and censored == "as_measured":
                value, bounds = (parse_value(written) or ("", math.nan))[1], bounds + 1
            values.append(value)
            if cell.why and math.isnan(value):
                faults.append(f"target {task!r} {cell.why}")
                unused[cell.sort] = unused.get(cell.sort, 0) + 1
        nothing = all(math.isnan(value) for value in values)
        if nothing and not faults:
            refuse(row.number, smiles, f"{_named(tasks)} blank", BLANK_TARGET)
            continue
        if faults and (nothing or strict):
            refuse(row.number, smiles, "; ".join(faults), NOT_A_NUMBER)
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
        bounds_used += bounds
        for fault in faults:
            tally.leave_out_cell(f"row {row.number}", smiles, fault)

    if text.rows_above:
        tally.notes.append(
            f"the header is in row {text.rows_above + 1}; what stands above it is left out"
        )
    for task, classes, comma in zip(tasks, words, commas):
        if comma:
            tally.notes.append(f"target {task!r} is read with a decimal comma")
        if classes:
            read = ", ".join(f"{word!r} as {value:g}" for word, value in sorted(classes.items()))
            tally.notes.append(f"target {task!r}: {read}")
    if without_group:
        tally.notes.append(
            f"{without_group} rows have a blank {group_column!r}: each is grouped by its molecule"
        )
    tally.notes += ignored_extensions(smiles_written)
    if bounds_used:
        tally.notes.append(f"{bounds_used} values are bounds used as if they had been measured")
    if unused[BOUND]:
        tally.notes.append(
            f"{unused[BOUND]} values are bounds such as '>100' and left out, so what is left is no "
            "random part of the data; censored='as_measured' (--censored as_measured) uses the "
            "bounds as if they had been measured"
        )
    if unused[COMMA]:
        tally.notes.append(
            f"{unused[COMMA]} values are left out because they are written with a comma; if these "
            "are the large ones, what is left is no random part of the data: write them without"
        )
    array = np.array(targets, dtype=np.float64).reshape(len(ids), len(tasks))
    if ids:
        kind = _with_kind(kind, tasks, array, tally.notes)
        _note_repeats(kind, canonicals, array, tally.notes)
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
    )


def _class_words(cells: Iterable[str]) -> dict[str, float]:
    """The words of a column that stand for classes, with their values; none in one of numbers."""
    seen = {cell.strip().lower() for cell in cells}
    words = {word: CLASS_WORDS[word] for word in seen if word in CLASS_WORDS}
    numbers = {read_cell(word).value for word in seen - words.keys()}
    return words if all(math.isnan(value) or value in (0, 1) for value in numbers) else {}


def _with_kind(kind: str | None, tasks: Sequence[str], values: np.ndarray, notes: list[str]) -> str:
    """The kind, guessed from the values where it is not given, and what to know about it."""
    held = [np.unique(column[~np.isnan(column)]) for column in values.T]
    binary = [bool(np.isin(found, (0, 1)).all()) for found in held]
    guessed = "classification" if all(binary) else "regression"
    if kind is None and all(binary):
        notes.append(
            "classification, as every value is 0 or 1; kind='regression' (--kind regression) "
            "predicts numbers"
        )
    kind = guessed if kind is None else kind
    for column, (task, found, two) in enumerate(zip(tasks, held, binary)):
        count = np.count_nonzero(~np.isnan(values[:, column]))
        listed = ", ".join(f"{value:g}" for value in found[:3])
        few = len(found) in (2, 3) and count > len(found) and bool((found == found.round()).all())
        if len(found) == 1 and count > 1:
            what = "label" if kind == "classification" else "value"
            notes.append(f"every {what} of {task!r} is {listed}: there is nothing to tell apart")
        elif kind == "regression" and two and not all(binary):
            notes.append(
                f"{task!r} holds only 0 and 1 and is trained as a regression with the others; for "
                "a classification train it apart"
            )
        elif kind == "regression" and few and not two:
            notes.append(
                f"{task!r} holds only the values {listed} and is trained as a regression; for a "
                "classification write 0 and 1, and leave what is not known blank"
            )
    return kind


def _note_repeats(
    kind: str, canonicals: Sequence[str], values: np.ndarray, notes: list[str]
) -> None:
    rows_of: dict[str, list[int]] = {}
    for row, canonical in enumerate(canonicals):
        rows_of.setdefault(canonical, []).append(row)
    if len(rows_of) == len(canonicals):
        return
    differ = 0
    for rows in rows_of.values():
        cells = values[rows]
        if len(rows) > 1:
            differ += any(len(set(column[~np.isnan(column)])) > 1 for column in cells.T)
    what = "contradicting labels" if kind == "classification" else "different values"
    notes.append(
        f"{len(canonicals)} rows are {len(rows_of)} molecules"
        + (f"; {differ} of them have {what} on their rows" if differ else "")
    )


def _named(tasks: Sequence[str]) -> str:
    return f"target {tasks[0]!r} is" if len(tasks) == 1 else f"all {len(tasks)} targets are"
