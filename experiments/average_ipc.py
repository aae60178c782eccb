"""How RDKit's ``AvgIpc`` differs between processors, on the sets of Table 2.

  python -m experiments.average_ipc --tox21 CSV --tsv TSV --chromophores CSV

numpy's OpenBLAS has kernels of the matrix product for each kind of processor, and takes those that
``OPENBLAS_CORETYPE`` names. A process for each: this machine's own, and two older kinds'.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem import Descriptors

from dgl_gmpool.data import MoleculeTable
from experiments.table2.datasets import DATASETS

KERNELS = ("Nehalem", "Prescott")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("tox21", "tsv", "chromophores"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FILE")
    parser.add_argument("--values", action="store_true", help="print them, for the other processes")
    args = parser.parse_args()
    paths = {"tox21": args.tox21, "bindingdb": args.tsv, "chromophores": args.chromophores}
    if args.values:
        print(json.dumps({data.name: values(data.load(paths[data.source])) for data in DATASETS}))
        return
    own, *others = (of_kernels(kernels) for kernels in (None, *KERNELS))
    print(f"set, molecules; of these others, by at most (%), with {' and '.join(KERNELS)}")
    for name, known in own.items():
        known = np.array(known)
        line = [f"{name}, {len(known)}"]
        for other in others:
            found = np.array(other[name])
            moved = found.astype(np.float32) != known.astype(np.float32)
            line.append(f"{moved.sum()}, {100 * np.abs(found / known - 1).max():.2g}")
        print("; ".join(line))


def values(table: MoleculeTable) -> list[float]:
    """Of each molecule of a table, in the order in which they come."""
    average_ipc = dict(Descriptors.descList)["AvgIpc"]
    return [average_ipc(Chem.MolFromSmiles(s)) for s in dict.fromkeys(table.canonical)]


def of_kernels(name: str | None) -> dict[str, list[float]]:
    """Of each set, by the kernels of this name."""
    environment = {**os.environ, **({} if name is None else {"OPENBLAS_CORETYPE": name})}
    command = [sys.executable, "-W", "ignore", "-m", "experiments.average_ipc", *sys.argv[1:]]
    done = subprocess.run(
        [*command, "--values"], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
