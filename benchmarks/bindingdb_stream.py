"""How fast, and in how much memory, load_bindingdb goes through a dump of BindingDB.

    python benchmarks/bindingdb_stream.py --size-gb 1

writes a file in the 2025 layout (640 columns, about 3 kB a row) to a temporary folder, loads it
plain, gzipped and zipped, each in a fresh process, and stores MB/s and peak memory in
benchmarks/results/bindingdb_stream.json. The files are deleted afterwards.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "bindingdb_stream.json"
TARGET = "Q99572"
TARGET_SHARE = 0.002

#: The 40 columns of ligand and target, then twelve for each of 50 chains.
PLAIN_COLUMNS = (
    ["BindingDB Reactant_set_id", "Ligand SMILES", "Ligand InChI", "Ligand InChI Key"]
    + ["BindingDB MonomerID", "BindingDB Ligand Name", "Target Name"]
    + ["Target Source Organism According to Curator or DataSource"]
    + ["Ki (nM)", "IC50 (nM)", "Kd (nM)", "EC50 (nM)"]
    + [f"other column {i}" for i in range(1, 28)]
    + ["Number of Protein Chains in Target (>1 implies a multichain complex)"]
)
CHAIN_COLUMNS = (
    ["BindingDB Target Chain Sequence {}", "PDB ID(s) of Target Chain {}"]
    + [
        f"UniProt (SwissProt) {part} of Target Chain {{}}"
        for part in ("Recommended Name", "Entry Name", "Primary ID")
    ]
    + [
        f"UniProt (SwissProt) {part} of Target Chain {{}}"
        for part in ("Secondary ID(s)", "Alternative ID(s)")
    ]
    + [
        f"UniProt (TrEMBL) {part} of Target Chain {{}}"
        for part in (
            "Submitted Name",
            "Entry Name",
            "Primary ID",
            "Secondary ID(s)",
            "Alternative ID(s)",
        )
    ]
)


def header() -> list[str]:
    chains = [column.format(chain) for chain in range(1, 51) for column in CHAIN_COLUMNS]
    return PLAIN_COLUMNS + chains


def row(rng: random.Random, wanted: bool) -> bytes:
    """One row: half of its 3 kB are the sequence and the texts, the rest empty columns."""
    columns = header()
    cells = [""] * len(columns)
    length = rng.randint(1, 12)
    cells[0] = str(rng.randint(1, 10**8))
    cells[1] = "Cc1ccc(cc1)C(=O)N" + "C" * length + "c1ccccc1" + ("F" if wanted else "Cl")
    cells[2] = "InChI=1S/" + "".join(rng.choices("CHNO0123456789,-()/", k=180))
    cells[3] = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=27))
    cells[5] = 'a name with a stray " quote ' + "x" * rng.randint(20, 200)
    cells[6] = "P2X purinoceptor 7" if wanted else "Cyclin-dependent kinase 2"
    cells[9] = rng.choice(["12", ">10000", " 1e+3", "0.5", "250.7"])
    for i in range(12, 39):
        cells[i] = "".join(rng.choices("abcdefghij /:.", k=rng.randint(0, 40)))
    cells[39] = "1"
    for offset, value in (
        (0, "".join(rng.choices("ACDEFGHIKLMNPQRSTVWY", k=rng.randint(300, 1200)))),
        (2, "Some protein"),
        (4, TARGET if wanted else "P24941"),
        (5, "A8K7C6 O00123"),
    ):
        cells[40 + offset] = value
    return "\t".join(cells).encode()


def generate(path: Path, size: int) -> dict[str, int]:
    """Write about ``size`` bytes; return the number of rows and of rows of the target."""
    rng = random.Random(0)
    others = [row(rng, wanted=False) for _ in range(4000)]
    wanted = [row(rng, wanted=True) for _ in range(400)]
    counts = {"rows": 0, "rows_of_target": 0}
    written = 0
    with open(path, "wb") as file:
        written += file.write("\t".join(header()).encode() + b"\n")
        while written < size:
            is_target = rng.random() < TARGET_SHARE
            written += file.write(rng.choice(wanted if is_target else others) + b"\n")
            counts["rows"] += 1
            counts["rows_of_target"] += is_target
    return counts


def measure(path: str) -> None:
    """Load once and print seconds, peak memory and counts as JSON (runs in its own process)."""
    from dgl_gmpool.data import load_bindingdb

    unit = 1 if sys.platform == "darwin" else 1024
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    start, cpu_start = time.perf_counter(), time.process_time()
    table = load_bindingdb(path, accessions=[TARGET], progress=False)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    counts = [count for _, count in table.report.counts]
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
                "peak_bytes": peak,
                "peak_bytes_of_imports": before,
                "rows": table.report.rows_read,
                "rows_of_target": counts[0] - table.report.left_out["another target"],
            }
        )
    )


def packed(path: Path, how: str) -> Path:
    if how == "tsv":
        return path
    target = path.with_suffix(f".tsv.{how}")
    with open(path, "rb") as source:
        if how == "gz":
            with gzip.open(target, "wb", compresslevel=3) as file:
                shutil.copyfileobj(source, file, 1 << 20)
        else:
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
                archive.write(path, path.name)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-gb", type=float, default=1.0, help="of the unpacked file")
    parser.add_argument("--formats", nargs="+", default=["tsv", "gz", "zip"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return

    from dgl_gmpool._io import atomic_write_json

    results = []
    load = round(os.getloadavg()[0], 1)  # above the number of cores, wall time waits for others
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "BindingDB_generated.tsv"
        expected = generate(plain, int(options.size_gb * 1e9))
        size = plain.stat().st_size
        for how in options.formats:
            path = packed(plain, how)
            runs = []
            for _ in range(options.repeats):
                command = [sys.executable, __file__, "--measure", str(path)]
                output = subprocess.run(command, capture_output=True, text=True, check=True)
                runs.append(json.loads(output.stdout.splitlines()[-1]))
            for run in runs:
                found = {name: run[name] for name in expected}
                if found != expected:
                    raise SystemExit(f"{how}: counted {found}, written {expected}")
            speeds = sorted(size / run["seconds"] / 1e6 for run in runs)
            cpu_speeds = sorted(size / run["cpu_seconds"] / 1e6 for run in runs)
            results.append(
                {
                    "format": how,
                    "megabytes_unpacked": round(size / 1e6, 1),
                    "megabytes_on_disk": round(path.stat().st_size / 1e6, 1),
                    **expected,
                    "megabytes_per_second": [round(speed, 1) for speed in speeds],
                    "megabytes_per_cpu_second": [round(speed, 1) for speed in cpu_speeds],
                    "peak_megabytes": round(max(run["peak_bytes"] for run in runs) / 1e6, 1),
                    "peak_megabytes_after_imports": round(
                        max(run["peak_bytes_of_imports"] for run in runs) / 1e6, 1
                    ),
                }
            )
            print(results[-1])
            if path != plain:
                path.unlink()
    # Not before: a process inherits the peak memory of the one that starts it.
    from setting import machine, software

    atomic_write_json(
        options.output,
        {
            "command": "python benchmarks/bindingdb_stream.py " + " ".join(sys.argv[1:]),
            "note": "megabytes of unpacked text per second, whole load_bindingdb call, file in "
            "the page cache; each run in a fresh process, sorted",
            "machine": machine(),
            "load_average_at_start": load,
            "software": software(),
            "results": results,
        },
    )
    print(f"stored in {options.output}")


if __name__ == "__main__":
    main()
