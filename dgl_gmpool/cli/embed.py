"""``dgl-gmpool embed``: a table in, a vector for each of its rows out."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dgl_gmpool._io import atomic_write, check_output, is_stdout
from dgl_gmpool._options import whole_number
from dgl_gmpool.cli.molecule_rows import MoleculeRow, molecule_rows, one_process
from dgl_gmpool.cli.predict import delimiter
from dgl_gmpool.training import TrainedModel, choose_device, load_models
from dgl_gmpool.training.embed import Embeddings, embed_smiles, embedding_width

#: Rows in memory at a time.
CHUNK = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``dgl-gmpool embed``."""
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="RUN_FOLDER",
        help="folder of a finished run (the vectors of its folds are put side by side), or one "
        "fold_N/model.pt",
    )
    parser.add_argument(
        "--csv",
        required=True,
        metavar="FILE",
        help="table of molecules, as for predict (- for standard input)",
    )
    parser.add_argument(
        "--delimiter",
        type=delimiter,
        metavar="CHAR",
        help="between the columns, or 'tab' (default: recognised by the columns' names)",
    )
    parser.add_argument("--smiles-column", default="smiles", metavar="NAME", help="default: smiles")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="a name that ends in .npy: one array (rows, width), float32, NaN where a row is "
        "refused; otherwise a table: the column 'row', the SMILES, a column for each number, "
        "and the reason where there are none (- for standard output)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output file")
    parser.add_argument(
        "--batch-size", type=whole_number, default=80, metavar="N", help="default: 80"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool embed``: write the vectors, a part of the table at a time."""
    from tqdm import tqdm

    one_process("embed")
    check_output(args.output, overwrite=args.overwrite)
    models = load_models(args.model)
    choose_device(args.device)
    total, rows = molecule_rows(args.csv, args.smiles_column, delimiter=args.delimiter)
    width = embedding_width(models)
    as_array = args.output.suffix == ".npy"
    count = refused = 0

    def write(file: BinaryIO) -> None:
        nonlocal count, refused
        if as_array:
            shape = {"descr": "<f4", "fortran_order": False, "shape": (total, width)}
            np.lib.format.write_array_header_1_0(file, shape)
        else:
            delimiter = "\t" if args.output.suffix == ".tsv" else ","
            names = [f"e{column}" for column in range(width)]
            file.write(_line(["row", "smiles", *names, "reason"], delimiter))
        with tqdm(desc="embed", unit="mol", disable=None, leave=False) as bar:
            for part, found in _parts(models, rows, args):
                if as_array:
                    file.write(found.values.astype("<f4").tobytes())
                else:
                    for each, vector, why in zip(part, found.values, found.reasons):
                        numbers = [""] * width if each.wrong or why else map(str, vector.tolist())
                        cells = [str(each.row.number), each.smiles, *numbers, each.wrong or why]
                        file.write(_line(cells, delimiter))
                count += len(part)
                refused += sum(bool(why) for why in found.reasons)
                bar.update(len(part))

    atomic_write(args.output, write)
    # What is written to standard output is the table alone.
    say = partial(print, file=sys.stderr if is_stdout(args.output) else sys.stdout)
    say(
        f"{args.output}: {count} rows of {width} numbers from {len(models)} model(s)"
        + (f", {refused} without" if refused else "")
    )
    return 0


def _parts(
    models: list[TrainedModel], rows: Iterator[MoleculeRow], args: argparse.Namespace
) -> Iterator[tuple[list[MoleculeRow], Embeddings]]:
    while part := list(islice(rows, CHUNK)):
        smiles = [each.smiles for each in part]
        yield (
            part,
            embed_smiles(models, smiles, batch_size=args.batch_size, device=args.device),
        )


def _line(cells: list[str], delimiter: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="\n").writerow(cells)
    return out.getvalue().encode()
