"""``dgl-gmpool embed``: a table in, a vector for each of its rows out."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dgl_gmpool._io import atomic_write
from dgl_gmpool._options import positive_int
from dgl_gmpool.cli.molecule_rows import MoleculeRow, molecule_rows, one_process
from dgl_gmpool.data.delimited_text import DelimitedText
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
        "--csv", type=Path, required=True, metavar="FILE", help="table of molecules (.csv, .tsv)"
    )
    parser.add_argument("--smiles-column", default="smiles", metavar="NAME", help="default: smiles")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="a name that ends in .npy: one array (rows, width), float32, NaN where a row is "
        "refused; otherwise a table: the column 'row', the SMILES, a column for each number, "
        "and the reason where there are none",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output file")
    parser.add_argument("--batch-size", type=int, default=80, metavar="N", help="default: 80")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool embed``: write the vectors, a part of the table at a time."""
    from tqdm import tqdm

    one_process("embed")
    positive_int("--batch-size", args.batch_size)
    if args.output.is_dir():
        raise ValueError(f"{args.output} is a folder; give the path of a file")
    if args.output.exists() and not args.overwrite:
        raise ValueError(f"{args.output} exists; add --overwrite or name another --output")
    models = load_models(args.model)
    choose_device(args.device)
    text = DelimitedText(args.csv)
    rows = molecule_rows(text, args.smiles_column)
    width = embedding_width(models)
    as_array = args.output.suffix == ".npy"
    count = refused = 0

    def write(file: BinaryIO) -> None:
        nonlocal count, refused
        if as_array:
            total = sum(1 for _ in text)
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
    print(
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
