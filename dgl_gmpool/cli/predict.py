"""``dgl-gmpool predict``: a table in, the same rows with predictions out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dgl_gmpool._io import atomic_write_text, check_output, is_stdout
from dgl_gmpool._options import whole_number
from dgl_gmpool.cli.row_features import FeatureSource, add_feature_flag
from dgl_gmpool.data.delimited_text import BLANK_ROW, DelimitedText, Row
from dgl_gmpool.training.model_file import load_models
from dgl_gmpool.training.predict import Predictions, predict_smiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``dgl-gmpool predict``."""
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="RUN_FOLDER",
        help="folder of a finished run (its folds are averaged), or one fold_N/model.pt",
    )
    parser.add_argument(
        "--csv",
        required=True,
        metavar="FILE",
        help="table of molecules (.csv, .tsv, .smi, also .gz; a pipe, or - for standard input)",
    )
    parser.add_argument(
        "--delimiter",
        type=delimiter,
        metavar="CHAR",
        help="between the columns, or 'tab' (default: recognised by the columns' names)",
    )
    parser.add_argument("--smiles-column", default="smiles", metavar="NAME", help="default: smiles")
    parser.add_argument(
        "--solvent-column",
        default=None,
        metavar="NAME",
        help="SMILES of the solvent, for a model trained with solvents",
    )
    add_feature_flag(parser)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the same rows and columns, with predictions and, where there is none, the reason "
        "(- for standard output)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output file")
    parser.add_argument(
        "--batch-size", type=whole_number, default=80, metavar="N", help="default: 80"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def delimiter(text: str) -> str:
    """``type`` of ``--delimiter``: one character, or a name for the tab."""
    found = "\t" if text.lower() in ("tab", "\\t") else text
    if len(found) != 1 or found in '"\r\n':
        raise argparse.ArgumentTypeError(f"{text!r}: expected one character such as ; or tab")
    return found


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool predict``: write the input's rows with predictions behind them."""
    check_output(args.output, overwrite=args.overwrite)
    models = load_models(args.model)
    wanted = [args.smiles_column]
    if args.solvent_column is not None:
        wanted.append(args.solvent_column)
    source = FeatureSource(models[0], args.feature)
    text = DelimitedText(args.csv, delimiter=args.delimiter, columns=[*wanted, *source.columns])
    columns = [text.column(name) for name in wanted]
    rows = list(text)
    wrong = [BLANK_ROW if row.blank else text.wrong_length(row) for row in rows]

    def cells(at: int) -> list[str]:
        return ["" if bad else row.cells[at].strip() for row, bad in zip(rows, wrong)]

    found = predict_smiles(
        models,
        cells(columns[0]),
        solvents=None if args.solvent_column is None else cells(columns[1]),
        features=source.of_cells(text, [None if w else r.cells for r, w in zip(rows, wrong)]),
        batch_size=args.batch_size,
        device=args.device,
        progress=True,
    )
    reasons = [bad or reason for bad, reason in zip(wrong, found.reasons)]
    atomic_write_text(args.output, _with_predictions(text, rows, found, reasons))
    # What is written to standard output is the table alone.
    say = partial(print, file=sys.stderr if is_stdout(args.output) else sys.stdout)
    failed = sum(map(bool, reasons))
    say(
        f"{args.output}: {len(rows)} rows, {len(rows) - failed} predicted by {len(models)} "
        f"model(s)"
        + (f", {failed} without a prediction (see the column 'reason')" if failed else "")
    )
    noted: dict[str, list[int]] = {}
    for row, note in zip(rows, found.notes):
        if note:
            noted.setdefault(note, []).append(row.number)
    for note, numbers in noted.items():
        listed = ", ".join(map(str, numbers[:10])) + (", ..." if len(numbers) > 10 else "")
        say(f"note: {len(numbers)} of the rows predicted ({listed}): {note}")
    return 0


def _with_predictions(
    text: DelimitedText, rows: Sequence[Row], found: Predictions, reasons: Sequence[str]
) -> str:
    """The table as it was, with the new columns behind the longest row."""
    single = len(found.per_model) == 1
    added = []
    for task in found.task_names:
        added += (
            [f"{task} predicted"] if single else [f"{task} predicted", f"{task} std over models"]
        )
    added = _free_names([*added, "reason"], text.header)
    width = max([len(text.header), *(len(row.raw) for row in rows)])

    def line(raw: Sequence[str], more: Sequence[str]) -> str:
        return text.line([*raw, *[""] * (width - len(raw)), *more])

    lines = [text.above, line(text.raw_header, added)]
    numbers = [found.mean] if single else [found.mean, found.std]
    for place, row in enumerate(rows):
        cells = [
            "" if np.isnan(values[place, task]) else repr(float(values[place, task]))
            for task in range(len(found.task_names))
            for values in numbers
        ]
        lines.append(line(row.raw, [*cells, reasons[place]]))
    return "".join(lines)


def _free_names(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """The names, all with the same number behind them where one is taken: the table may be the
    output of an earlier prediction."""
    number, free = 1, list(names)
    while set(free) & set(taken):
        number += 1
        free = [f"{name} {number}" for name in names]
    return free
