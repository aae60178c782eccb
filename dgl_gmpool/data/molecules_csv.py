"""Any table of SMILES and targets."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.csv_rows import NO_FEATURE, REASONS, RowReader, UsableRow
from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.data.feature_columns import FeatureColumns
from dgl_gmpool.data.molecule import ignored_extensions, split_smiles
from dgl_gmpool.data.number import BOUNDS, Cell, has_decimal_commas
from dgl_gmpool.data.report import SelectionTally
from dgl_gmpool.data.size_rule import SizeRule
from dgl_gmpool.data.table import MoleculeTable, overall_kind
from dgl_gmpool.data.target_column import (
    TargetColumn,
    held_classes,
    kinds_of,
    refuse_other_words,
    settled,
)
from dgl_gmpool.data.target_notes import kind_notes, repeat_notes, unused_notes, used_notes


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
    decimal_comma: bool = False,
    bounds: str = "drop",
    weight_column: str | None = None,
    split_column: str | None = None,
    name: str | None = None,
    units: str = "",
    test_of: MoleculeTable | None = None,
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
        By default recognised by the columns' names: a comma, semicolon, tab or bar. Unless
        commas part the cells, a decimal comma is read where a column leaves no doubt.
    decimal_comma : bool
        Every comma in a number is a decimal mark, that of ``6,820`` too, and ``2.000`` is two
        thousand, but in columns that points such as that of ``3.5`` show to have decimal points.
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
    test_of : MoleculeTable, optional
        What this is a test set for: the targets are of its kinds and classes, of which some may be
        missing here, and nothing need be here to learn from.

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
            "(smiles_column, --smiles-column), each target (target_columns, --target) and each "
            "feature (feature_columns, --feature-columns)"
        )

    kinds = kinds_of(kind, tasks) if test_of is None else test_of.kinds
    classes = [()] * len(tasks) if test_of is None else test_of.classes
    others = [
        name for name in (group_column, id_column, weight_column, split_column) if name is not None
    ]
    text = DelimitedText(path, delimiter=delimiter, columns=[*used, *others])

    def place(name: str | None) -> int | None:
        return None if name is None else text.column(name)

    smiles, group, number = text.column(smiles_column), place(group_column), place(id_column)
    weight, split = place(weight_column), place(split_column)
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
            classes=names,
            decimal_comma=decimal_comma,
        )
        for task, at, each, names in zip(tasks, map(text.column, tasks), kinds, classes)
    ]

    for column in read if test_of is None else ():
        refuse_other_words(column, [cells[column.at] for cells in fitting])
    columns = settled(read)
    conditions = FeatureColumns.of(text, feature_columns, fitting, decimal_comma=decimal_comma)
    reader = RowReader(
        text,
        smiles,
        columns,
        conditions,
        rule,
        group=group,
        id=number,
        weight=weight,
        split=split,
        strict=strict,
        commas=frozenset(
            at
            for at in (weight, split)
            if at is not None
            and has_decimal_commas(
                (cells[at] for cells in fitting), separator=text.delimiter, said=decimal_comma
            )
        ),
    )

    tally = SelectionTally(text.path.name)
    tally.expect(*REASONS, *([NO_FEATURE] if feature_columns else []))
    kept: list[UsableRow] = []
    unused: list[Cell] = []
    for row in text:
        tally.rows += 1
        found = reader.read(row)
        unused += [cell for cell in found.cells if cell.why]
        if isinstance(found, UsableRow):
            kept.append(found)
            for fault in found.faults:
                tally.leave_out_cell(f"row {row.number}", found.smiles, fault)
        elif strict and found.detail:
            raise ValueError(
                f"{text.path}, row {row.number}: {found.detail} (SMILES {found.smiles!r}). Correct "
                "the row, or leave such rows out and have them reported with strict=False"
            )
        else:
            tally.stays_out(f"row {row.number}", found)

    if text.rows_above:
        tally.notes.append(
            f"the header is in row {text.rows_above + 1}; what stands above it is left out"
        )
    tally.notes += [note for column in columns for note in column.notes]
    features = [row.features for row in kept]
    if kept and test_of is None:
        conditions.check(features)
    tally.notes += conditions.notes(features)
    without_group = 0 if group_column is None else sum(not row.group for row in kept)
    if without_group:
        tally.notes.append(
            f"{without_group} rows have a blank {group_column!r}: each is grouped by its molecule"
        )
    tally.notes += ignored_extensions(row.smiles for row in kept)
    tally.notes += used_notes(
        [cell for row in kept for cell in row.cells if cell.sort and not cell.why]
    )
    tally.notes += unused_notes(unused)
    canonicals = tuple(row.canonical for row in kept)
    values = [[math.nan if cell.relation else cell.value for cell in row.cells] for row in kept]
    targets = np.array(values, dtype=np.float64).reshape(len(kept), len(tasks))
    lower, upper = _limits([row.cells for row in kept], targets)
    if kept:
        if test_of is None:
            columns = [held_classes(column, targets[:, i]) for i, column in enumerate(columns)]
        tally.notes += kind_notes(columns, targets)
        tally.notes += repeat_notes(
            [column.kind for column in columns],
            *conditions.told_apart(canonicals, features),
            targets,
        )
    weights = None if weight_column is None else np.array([row.weight for row in kept])
    if kept and weights is not None and not weights.any() and test_of is None:
        raise ValueError(
            f"{text.path}: all {len(weights)} weights in {weight_column!r} are 0: nothing would be "
            "learnt; give some rows a weight above 0, or leave weight_column "
            "(--weight-column) out"
        )
    report = tally.finish("usable rows" if rule.takes_all else str(rule), len(kept))
    if not kept:
        raise ValueError(f"{text.path} has no usable row:\n{report}")
    return MoleculeTable(
        name=name if name is not None else text.path.name.split(".")[0],
        kind=overall_kind([column.kind for column in columns]),
        task_names=tuple(tasks),
        ids=tuple(row.id for row in kept),
        smiles=tuple(split_smiles(row.smiles)[0] for row in kept),
        canonical=canonicals,
        groups=tuple(f"group {row.group}" if row.group else row.canonical for row in kept),
        targets=targets,
        global_feats=None,
        report=report,
        units=units,
        features=conditions.table_features(features),
        kinds=tuple(column.kind for column in columns),
        classes=tuple(column.classes for column in columns),
        lower=lower,
        upper=upper,
        weights=weights,
        split_values=() if split_column is None else tuple(row.split for row in kept),
    )


def _limits(
    rows: Sequence[Sequence[Cell]], targets: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Lower and upper bounds ``(rows, tasks)`` that the cells of the targets hold; None without."""
    found = {relation: np.full_like(targets, np.nan) for relation in (">", "<")}
    for at, cells in enumerate(rows):
        for task, cell in enumerate(cells):
            if cell.relation:
                found[cell.relation][at, task] = cell.value
    if all(np.isnan(bound).all() for bound in found.values()):
        return None, None
    return found[">"], found["<"]
