"""What the labels of stereochemistry cost: features with and without them, on the same molecules.

    OMP_WAIT_POLICY=passive python benchmarks/stereo_features.py

The molecules are the first 5,000 of the NCI's open set, which RDKit carries: drawn flat, so that
one stereoisomer of each, all its centres and double bonds labelled, is written out first. That is
more stereochemistry than tables have; ``--tox21 FILE`` adds the molecules of Tox21 as they are.
Both ways are timed from SMILES to arrays, parsing included, in turns and in processor time; ratios
are taken round by round. "labelling" is the part that RDKit's rdCIPLabeler takes by itself.
Stores benchmarks/results/stereo_features.json and .md; with ``--limit`` nothing.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from paired import paired_ratio
from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import rdCIPLabeler
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions
from setting import command_line, load_average, setting, store
from text_table import text_table

from dgl_gmpool.data import load_tox21
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.smiles_to_graphs import featurize_smiles
from dgl_gmpool.data.stereo import MAX_STEPS

RESULTS = Path(__file__).parent / "results" / "stereo_features.json"


def written_out() -> Iterator[str]:
    """A stereoisomer of each of the NCI's molecules."""
    options = StereoEnumerationOptions(maxIsomers=1, rand=0)
    with open(os.path.join(RDConfig.RDDataDir, "NCI", "first_5K.smi"), encoding="utf-8") as file:
        for line in file:
            mol, _ = read_molecule(line.split()[0])
            if mol is not None:
                with rdBase.BlockLogs():
                    yield Chem.MolToSmiles(next(iter(EnumerateStereoisomers(mol, options=options))))


def has_stereo(smiles: str) -> bool:
    return any(mark in smiles for mark in "@/\\")


def seconds(work: Callable[[], object]) -> float:
    """Of the processor."""
    start = time.process_time()
    work()
    return time.process_time() - start


def label(mols: Sequence[Chem.Mol]) -> None:
    for mol in mols:
        try:
            rdCIPLabeler.AssignCIPLabels(mol, maxRecursiveIterations=MAX_STEPS)
        except RuntimeError:  # no end within that many steps
            continue


def measure(name: str, smiles: Sequence[str], rounds: int) -> dict[str, Any]:
    """One row of the table."""
    mols = [mol for text in smiles if (mol := read_molecule(text)[0]) is not None]
    works: dict[str, Callable[[], object]] = {
        "without": lambda: featurize_smiles(smiles, "canonical"),
        "with": lambda: featurize_smiles(smiles, "stereo"),
        "labelling": lambda: label(mols),
    }
    times: dict[str, list[float]] = {each: [] for each in works}
    for _ in range(rounds + 1):
        for each, work in works.items():
            times[each].append(seconds(work))
    times = {each: found[1:] for each, found in times.items()}  # the first round warms up
    return {
        "molecules": name,
        "number": len(smiles),
        "with_stereo": sum(map(has_stereo, smiles)),
        "ratio": paired_ratio(times["with"], times["without"]),
        **{f"{each}_us": 1e6 * min(found) / len(smiles) for each, found in times.items()},
        "seconds": times,
    }


def report(record: dict[str, Any]) -> str:
    """The table of a record, in Markdown."""
    head = ["molecules", "number", "with centres or E/Z", "us without", "us with", "of labelling"]
    rows = [
        [
            row["molecules"],
            f"{row['number']:,}",
            f"{row['with_stereo'] / row['number']:.0%}",
            *(f"{row[f'{each}_us']:.0f}" for each in ("without", "with", "labelling")),
            "{:.2f} ({:.2f} to {:.2f})".format(row["ratio"]["median"], *row["ratio"]["quartiles"]),
        ]
        for row in record["rows"]
    ]
    return text_table([*head, "with / without"], rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tox21", metavar="FILE", help="tox21.csv or tox21.csv.gz")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--limit", type=int, help="the first molecules only; stores nothing")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: give a whole number of at least 1")
    load = load_average()
    every = list(written_out())[: args.limit]
    sets = {
        "NCI, without stereochemistry": [each for each in every if not has_stereo(each)],
        "NCI, all": every,
        "NCI, with stereochemistry": [each for each in every if has_stereo(each)],
    }
    if args.tox21:
        sets["Tox21"] = list(load_tox21(args.tox21).smiles[: args.limit])
    record = {
        **setting(command_line()),
        "load_average_at_start": load,
        "rows": [measure(name, smiles, args.rounds) for name, smiles in sets.items() if smiles],
    }
    text = report(record)
    print(text)
    if args.limit is None:
        store(record, text, RESULTS)


if __name__ == "__main__":
    main()
