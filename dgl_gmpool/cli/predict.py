"""``dgl-gmpool predict``: a table in, the same rows with predictions out."""

from __future__ import annotations

import argparse
import csv
import io
from pathlib import Path

import numpy as np

from dgl_gmpool._io import atomic_write_text
from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.training.model_file import load_models
from dgl_gmpool.training.predict import predict_smiles


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
        "--csv", type=Path, required=True, metavar="FILE", help="table of molecules (.csv, .tsv)"
    )
    parser.add_argument("--smiles-column", default="smiles", metavar="NAME", help="default: smiles")
    parser.add_argument(
        "--solvent-column",
        default=None,
        metavar="NAME",
        help="SMILES of the solvent, for a model trained with solvents",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the same rows and columns, with predictions and, where there is none, the reason",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output file")
    parser.add_argument("--batch-size", type=int, default=80, metavar="N", help="default: 80")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool predict``: write the input's rows with predictions behind them."""
    if args.output.exists() and not args.overwrite:
        raise ValueError(f"{args.output} exists; add --overwrite or name another --output")
    models = load_models(args.model)
    text = DelimitedText(args.csv)
    smiles_at = text.column(args.smiles_column)
    solvent_at = None if args.solvent_column is None else text.column(args.solvent_column)
    tasks = models[0].task_names
    added = []
    for task in tasks:
        added.append(f"{task} predicted")
        if len(models) > 1:
            added.append(f"{task} std over models")
    added.append("reason")
    taken = sorted(set(added) & set(text.header))
    if taken:
        raise ValueError(f"{args.csv} already has the column {taken[0]!r}; rename it first")

    rows = list(text)
    width = len(text.header)
    wrong = [text.wrong_length(row) for row in rows]

    def cell(number: int, at: int) -> str:
        return "" if wrong[number] else rows[number].cells[at].strip()

    found = predict_smiles(
        models,
        [cell(i, smiles_at) for i in range(len(rows))],
        solvents=None if solvent_at is None else [cell(i, solvent_at) for i in range(len(rows))],
        batch_size=args.batch_size,
        device=args.device,
        progress=True,
    )
    mean, std = found.mean, found.std
    out = io.StringIO()
    writer = csv.writer(out, delimiter=text.delimiter, lineterminator="\n")
    writer.writerow([*text.header, *added])
    for i, row in enumerate(rows):
        cells = [*row.cells[:width], *[""] * (width - len(row.cells))]
        for column in range(len(tasks)):
            cells.append("" if np.isnan(mean[i, column]) else repr(float(mean[i, column])))
            if len(models) > 1:
                cells.append("" if np.isnan(std[i, column]) else repr(float(std[i, column])))
        writer.writerow([*cells, wrong[i] or found.reasons[i]])
    atomic_write_text(args.output, out.getvalue())
    failed = sum(1 for i in range(len(rows)) if wrong[i] or found.reasons[i])
    print(
        f"{args.output}: {len(rows)} rows, {len(rows) - failed} predicted by {len(models)} "
        f"model(s)"
        + (f", {failed} without a prediction (see the column 'reason')" if failed else "")
    )
    return 0
