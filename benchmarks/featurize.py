"""Milliseconds a molecule: dgllife's canonical features, the same made faster, several processes.

    python benchmarks/featurize.py

uses RDKit's packaged sodium-channel molecules, repeated to the wanted number, and stores the
result in benchmarks/results/featurize.json. SMILES are parsed in every row of the table.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from setting import machine, software

from dgl_gmpool._io import atomic_write_json
from dgl_gmpool.data import load_sodium_channel
from dgl_gmpool.data.featurizers import DgllifeEncoder
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.smiles_to_graphs import featurize_in_parts

RESULTS = Path(__file__).parent / "results" / "featurize.json"


def ours(smiles: list[str], featurizer: str, processes: int) -> Callable[[], object]:
    return lambda: featurize_in_parts(smiles, featurizer, processes=processes)


def through_dgllife(smiles: list[str]) -> None:
    encoder = DgllifeEncoder("canonical")
    for text in smiles:
        mol, _ = read_molecule(text)
        if mol is not None:
            encoder.add(mol)
    encoder.finish()


def fresh_processes() -> None:
    """End the workers of the last run: their start is part of the price."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 20000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()

    cores = os.cpu_count() or 1
    molecules = list(load_sodium_channel().smiles)
    through_dgllife(molecules[:10])  # imports are not what is measured
    results = []
    load = round(os.getloadavg()[0], 1)  # above the number of cores, wall time waits for others
    for size in options.sizes:
        smiles = (molecules * (size // len(molecules) + 1))[:size]
        ways = {
            "dgllife, canonical": lambda smiles=smiles: through_dgllife(smiles),
            "ours, canonical": ours(smiles, "canonical", 1),
            f"ours, canonical, {cores} processes": ours(smiles, "canonical", cores),
            "ours, attentivefp": ours(smiles, "attentivefp", 1),
            f"ours, attentivefp, {cores} processes": ours(smiles, "attentivefp", cores),
        }
        for name, way in ways.items():
            times = []
            for _ in range(options.repeats):
                fresh_processes()
                start = time.perf_counter()
                way()
                times.append(time.perf_counter() - start)
            milliseconds = [round(1000 * seconds / size, 4) for seconds in sorted(times)]
            results.append(
                {
                    "molecules": size,
                    "way": name,
                    "median_ms_per_molecule": statistics.median(milliseconds),
                    "ms_per_molecule": milliseconds,
                }
            )
            print(results[-1], flush=True)
    atomic_write_json(
        options.output,
        {
            "command": " ".join(["python benchmarks/featurize.py", *sys.argv[1:]]),
            "note": "from SMILES to arrays, parsing and the start of processes included",
            "machine": machine(),
            "load_average_at_start": load,
            "software": software(),
            "results": results,
        },
    )
    print(f"stored in {options.output}")


if __name__ == "__main__":
    main()
