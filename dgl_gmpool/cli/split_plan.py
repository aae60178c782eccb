"""The splits that a training command asks for, by its flags."""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

from dgl_gmpool.cli.datasets import DATA_SETS
from dgl_gmpool.data import MoleculeTable, Splits, make_splits
from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.data.featurizers import TELL_TWINS_APART
from dgl_gmpool.data.make_splits import splits_of_parts
from dgl_gmpool.data.molecule import is_missing
from dgl_gmpool.data.splits import PARTS, REMEDY, are_parts


def plan_splits(args: argparse.Namespace, table: MoleculeTable) -> dict[int, Splits]:
    """Splits by seed.

    Raises
    ------
    ValueError
        A column or a file says nothing of the kind, or leaves a molecule on two sides.
    """
    found = {}
    for seed in args.seed:
        if Path(args.splits_file or "").suffix.lower() == ".json":
            try:
                splits = Splits.load(args.splits_file)
                splits.check(table)
            except ValueError as error:
                raise ValueError(
                    f"--splits-file {args.splits_file}: {str(error).removesuffix(REMEDY)}; give "
                    "the splits.json of a run with the same table, targets and flags, or a table "
                    "with the columns row (or id) and part"
                ) from error
            found[seed] = replace(splits, seed=seed)
            continue
        options = {
            "kind": args.split,
            "folds": args.folds,
            "stereo": args.featurizer in TELL_TWINS_APART,
        }
        parts = _given_parts(args, table)
        if parts is None:
            options["test_fraction"] = args.test_fraction
            found[seed] = make_splits(table, seed=seed, **options)
        else:
            found[seed] = splits_of_parts(table, parts, seed=seed, **options)
    for note in dict.fromkeys(note for splits in found.values() for note in splits.notes):
        print(f"split: {note}")
    first = next(iter(found.values()))
    if not first.test:
        print(
            "split: no test set, so test scores are empty and there are no baselines; the scores "
            "of the validation rows are in metrics.json"
        )
    return found


def check_split_flags(args: argparse.Namespace) -> None:
    """Refuse flags that contradict each other, before anything is read.

    Raises
    ------
    ValueError
        Two flags say which rows are the test set, none says what the dates or groups are, or a
        number is out of its range.
    """
    column, test_csv = getattr(args, "split_column", None), getattr(args, "test_csv", None)
    given = {"--splits-file": args.splits_file, "--split-column": column, "--test-csv": test_csv}
    named = [flag for flag, value in given.items() if value is not None]
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)} both say how to split; give one of them")
    if args.split == "time" and column is None:
        if named:
            raise ValueError(
                f"--split time needs a --split-column, and {named[0]} says how to split; leave "
                "--split time out"
            )
        raise ValueError(
            "--split time needs dates or numbers: name their column with --split-column"
            + ("" if hasattr(args, "split_column") else ", which 'train csv' has")
        )
    if (
        args.split == "group"
        and column is getattr(args, "group_column", None) is args.splits_file is None
        and (test_csv is None or hasattr(args, "group_column"))
        and DATA_SETS[args.data_set].split != "group"
    ):
        flag = "--split-column" if test_csv is None else "--group-column"
        raise ValueError(f"--split group needs groups: name their column with {flag}")
    fraction = args.test_fraction
    if not isinstance(fraction, (int, float)) or not 0 <= fraction < 1:
        raise ValueError(f"--test-fraction {fraction}: expected 0 or more, and below 1")


def _given_parts(args: argparse.Namespace, table: MoleculeTable) -> list[str] | None:
    """The part of each row, where a file or a column says it."""
    if args.splits_file is not None:
        return _parts_of_file(args, table)
    parts = are_parts(table.split_values)
    # Parts are neither groups nor dates, whatever kind of split is the data set's default.
    if not table.split_values or (args.split in ("group", "time") and not parts):
        return None
    if not parts:
        other = next(cell for cell in table.split_values if cell.strip().lower() not in PARTS)
        raise ValueError(
            f"--split-column {args.split_column or ''} holds {other!r}; write train, valid and "
            "test there, or say what it is: --split group or --split time"
        )
    return [PARTS[cell.strip().lower()] for cell in table.split_values]


def _parts_of_file(args: argparse.Namespace, table: MoleculeTable) -> list[str]:
    """A table of rows and parts: ``row`` or ``id`` names a row as the data's report does, by its
    number or by ``--id-column``. Of rows that became one the parts must agree."""
    path, id_column = args.splits_file, getattr(args, "id_column", None)

    def named(name: str) -> str:
        # Where the data have no names, a report says "row 2".
        return name if id_column else re.sub(r"^row (?=\d+$)", "", name)

    if id_column is not None:
        how = f"as in --id-column {id_column}"
    elif hasattr(args, "id_column") or named(table.ids[0]) != table.ids[0]:
        how = "its number, as a spreadsheet shows it"
    else:
        how = f"its name, such as {table.ids[0]}"
    text = DelimitedText(path, columns=["part"])
    wanted = ("row", "id") if id_column is None else ("id",)
    names = [name for name in wanted if name in text.header]
    if not names:
        raise ValueError(
            f"--splits-file {path} has the columns {', '.join(text.header)}; expected 'part', and "
            + (
                f"'row' ({how})"
                if id_column is None
                else f"'id' ({how}; to number the rows, leave that out)"
            )
        )
    name_at, part_at = text.column(names[0]), text.column("part")
    found: dict[str, str] = {}
    for row in text:
        if row.blank:
            continue
        wrong = text.wrong_length(row)
        name, word = ("", "") if wrong else (row.cells[at].strip() for at in (name_at, part_at))
        if wrong or is_missing(name) or word.lower() not in PARTS:
            raise ValueError(
                f"--splits-file {path}, row {row.number}: {wrong or f'part {word!r} of {name!r}'}; "
                "expected a row and train, valid or test"
            )
        if found.setdefault(named(name), PARTS[word.lower()]) != PARTS[word.lower()]:
            raise ValueError(f"--splits-file {path}: {name!r} is in two parts; give it one")
    parts: list[str] = []
    for rows in table.merged_ids or [(name,) for name in table.ids]:
        of_rows = {found[named(name)]: name for name in rows if named(name) in found}
        if not of_rows:
            raise ValueError(
                f"--splits-file {path} has no part for the row {named(rows[0])!r} of the data "
                f"({how}); give every usable row one"
            )
        if len(of_rows) > 1:
            (part, one), (other, another) = list(of_rows.items())[:2]
            raise ValueError(
                f"--splits-file {path} has the rows {one!r} in {part} and {another!r} in {other}, "
                "which are measurements of one molecule and became one row; give them one part"
            )
        parts += of_rows
    return parts
