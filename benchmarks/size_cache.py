"""The cache of a large table, made of a smaller one: what sizes.py runs where time is short.

    python benchmarks/size_cache.py ROWS TIMES '["train", "csv", ...]'

Reads and featurises a table of ROWS rows, and writes one of TIMES as many, and its cache as ``train
csv`` looks for it. Each repeat of a molecule has another SMILES and canonical SMILES, which are not
parsed: an empty pair of brackets for each repeat would be as long as a random order of atoms.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from size_molecules import write_table

from dgl_gmpool.cli import train
from dgl_gmpool.cli.datasets import DATA_SETS, Csv
from dgl_gmpool.cli.load_table import load_table
from dgl_gmpool.data import MoleculeTable, featurize, load_csv
from dgl_gmpool.data.flat_graphs import FlatGraphs
from dgl_gmpool.data.graph_cache import GraphCache, versions
from dgl_gmpool.data.hashes import text_hash


def repeated(table: MoleculeTable, times: int) -> MoleculeTable:
    """Every row again and again, under a number of its own."""
    numbers = range(len(table) * times)
    smiles = tuple(f"{s}.{i:x}" for i, s in zip(numbers, table.smiles * times))
    canonical = tuple(f"{s}.{i:x}" for i, s in zip(numbers, table.canonical * times))
    return replace(
        table,
        ids=tuple(map(str, numbers)),
        smiles=smiles,
        canonical=canonical,
        groups=canonical,
        targets=np.tile(table.targets, (times, 1)),
        report=replace(table.report, counts=(("rows in the file", len(smiles)),), notes=()),
    )


def write_cache(rows: int, times: int, command: list[str]) -> None:
    """The table that ``command`` names, and its cache."""
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    args = parser.parse_args(command[1:])
    flags = args.flags
    args = flags.resolve(args, name="csv")
    small = Path(args.csv).with_name("small.csv")
    write_table(small, rows)
    part = featurize(load_csv(small, smiles_column="smiles", target_columns="y"))
    table = repeated(part.table, times)
    with open(args.csv, "w", encoding="utf-8") as file:
        file.write("smiles,y\n")
        for smiles, (value,) in zip(table.smiles, table.targets):
            file.write(f"{smiles},{value:.3f}\n")

    class Repeated(Csv):
        def load(self, args: argparse.Namespace) -> MoleculeTable:
            return table

    DATA_SETS["csv"] = Repeated()
    load_table(DATA_SETS["csv"], args, flags)
    flat = part.graphs[part.graphs.which].flat
    graphs = FlatGraphs.join([flat] * times)
    key = {
        "smiles": text_hash([table.smiles]),
        "featurizer": args.featurizer,
        "versions": versions(),
    }
    GraphCache(args.cache, f"{table.name}-{args.featurizer}", key).save(graphs, [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int)
    parser.add_argument("times", type=int)
    parser.add_argument("command", help="train csv ..., as a JSON list")
    args = parser.parse_args()
    write_cache(args.rows, args.times, json.loads(args.command))


if __name__ == "__main__":
    main()
