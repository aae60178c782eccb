"""``dgl-gmpool embed``: a table in, a vector for each of its rows out."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from dgl_gmpool._io import csv_text
from dgl_gmpool.cli.molecule_rows import MoleculeRow, MoleculeRows, add_model_flag, add_table_flags
from dgl_gmpool.cli.output_table import is_array_name, output_separator
from dgl_gmpool.cli.streamed import Job, Totals, add_stream_flags, begin_stream, run_streamed
from dgl_gmpool.data.parsed_rows import ParsedRows
from dgl_gmpool.training import TrainedModel, choose_device
from dgl_gmpool.training.embed import embed_rows, embedding_width


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``dgl-gmpool embed``."""
    add_model_flag(parser, of_folds="the vectors of its folds are put side by side")
    parser.add_argument(
        "--csv",
        required=True,
        metavar="FILE",
        help="table of molecules, as for predict (- for standard input)",
    )
    add_table_flags(parser)
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="a name that ends in .npy: one array (rows, width), float32, NaN where a row is "
        "refused; otherwise a table: the column 'row', the SMILES, a column for each number, what "
        "to know of the row, and the reason where there are none (- for standard output)",
    )
    add_stream_flags(parser)


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool embed``: write the vectors, a part of the table at a time."""
    models, say = begin_stream(args, arrays=True)
    choose_device(args.device)
    rows = MoleculeRows(args.csv, args.smiles_column, delimiter=args.delimiter)
    width = embedding_width(models)
    as_array = is_array_name(args.output)
    separator = output_separator(args.output, ",")
    head = io.BytesIO()
    if as_array:
        shape = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), width)}
        np.lib.format.write_array_header_1_0(head, shape)
    else:
        names = [f"e{column}" for column in range(width)]
        head.write(
            csv_text([["row", "smiles", *names, "note", "reason"]], delimiter=separator).encode()
        )
    job = Job(
        "embed",
        head.getvalue(),
        models[0].featurizer,
        partial(_embedded, models, args, separator="" if as_array else separator),
        ("smiles_column", "delimiter"),
    )
    totals = run_streamed(job, rows, args)
    say(
        f"{args.output}: {totals.rows} rows of {width} numbers from {len(models)} model(s)"
        + (f", {totals.failed} without" if totals.failed else "")
    )
    for text in totals.lines("embedded"):
        say(text)
    return 1 if args.strict and totals.failed else 0


def _embedded(
    models: Sequence[TrainedModel],
    args: argparse.Namespace,
    rows: Sequence[MoleculeRow],
    parsed: ParsedRows,
    *,
    separator: str,
) -> tuple[bytes, Totals]:
    """Of some rows; without a separator, their numbers alone."""
    found = embed_rows(models, parsed, batch_size=args.batch_size, device=args.device)
    reasons = [row.wrong or why for row, why in zip(rows, found.reasons)]
    totals = Totals.of(rows, reasons, found.notes)
    if not separator:
        return found.values.astype("<f4").tobytes(), totals
    blank = [""] * found.values.shape[1]
    lines = []
    for row, vector, note, why in zip(rows, found.values, found.notes, reasons):
        numbers = blank if why else map(str, vector.tolist())
        lines.append([row.row.number, row.smiles, *numbers, note, why])
    return csv_text(lines, delimiter=separator).encode(), totals
