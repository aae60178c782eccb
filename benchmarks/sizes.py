"""How memory and time of training grow with the table, to a million molecules.

    OMP_WAIT_POLICY=passive python benchmarks/sizes.py --rows 10000 100000 1000000

For each number of rows: a table of as many SMILES (benchmarks/size_molecules.py); ``train csv``
with an empty ``--cache``, up to the first step; then again from the cache, in one process and
under ``torchrun`` in two. Each stops after ``--steps`` steps, so that seconds an epoch are those of
a step times the steps of an epoch. Peak memory is ru_maxrss. It counts what processes share in each
of them; the sum of the shares that fall to each (Pss), after the last step, is beside it.

To read and featurise a million takes most of an hour of a core. Above ``--cold`` rows the cache is
therefore not made by the command: the molecules of the ``--cold`` rows are repeated there, each
time under other SMILES, which is as large and as slow to load as if they were others. Stores
benchmarks/results/sizes.json and sizes.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from setting import command_line, load_average, setting
from size_molecules import write_table

from dgl_gmpool._io import atomic_write_json, atomic_write_text

RESULTS = Path(__file__).parent / "results"
#: A column of the table: what is measured, of which run, and its name.
COLUMNS = {
    "read and featurise, s": ("cold", "start_s"),
    "peak then, GB": ("cold", "peak_gb"),
    "first step from the cache, s": ("one process", "start_s"),
    "peak, GB": ("one process", "peak_gb"),
    "an epoch, s": ("one process", "epoch_s"),
    "first step of 2 processes, s": ("two processes", "start_s"),
    "peak of each, GB": ("two processes", "peak_gb"),
    "both, shared memory once, GB": ("two processes", "both_gb"),
    "an epoch of 2, s": ("two processes", "epoch_s"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--cold", type=int, default=10_000, help="rows up to which all is measured")
    parser.add_argument("--steps", type=int, default=30, help="after the first (default: 30)")
    parser.add_argument("--readout", default="gmpool")
    parser.add_argument("--folder", type=Path, help="for tables and caches (default: a temporary)")
    args = parser.parse_args()
    record: dict[str, Any] = {
        **setting(command_line()),
        "load_average_at_start": load_average(),
        "readout": args.readout,
        "steps": args.steps,
        "cold": args.cold,
        "sizes": [],
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        for rows in args.rows:
            record["sizes"].append(measured(folder / str(rows), rows, args))
            record["load_average_at_end"] = load_average()
            atomic_write_json(RESULTS / "sizes.json", record)
            atomic_write_text(RESULTS / "sizes.md", as_markdown(record))
    print(as_markdown(record))


def measured(folder: Path, rows: int, args: argparse.Namespace) -> dict[str, Any]:
    """All that is measured of one size."""
    folder.mkdir(parents=True, exist_ok=True)
    table, cache = folder / "molecules.csv", folder / "cache"
    command = ["train", "csv", "--csv", str(table), "--target", "y", "--readout", args.readout,
               "--cache", str(cache), "--folds", "5", "--baselines", "none",
               "--no-report"]  # fmt: skip
    found: dict[str, Any] = {"rows": rows}
    if rows <= args.cold:
        write_table(table, rows)
        found["cold"] = until_step(0, command)
    else:
        started = time.perf_counter()
        run([sys.executable, __file__.replace("sizes.py", "size_cache.py"), str(args.cold),
             str(rows // args.cold), json.dumps(command)])  # fmt: skip
        found["written_by_repeating_s"] = time.perf_counter() - started
    for name, processes in (("one process", 1), ("two processes", 2)):
        found[name] = until_step(args.steps, command, processes)
    cached = sum(file.stat().st_size for file in cache.iterdir())
    return {**found, "table_mb": table.stat().st_size / 1e6, "cache_mb": cached / 1e6}


def until_step(steps: int, command: Sequence[str], processes: int = 1) -> dict[str, Any]:
    """A training command, in processes of its own, up to a step behind the first."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    with tempfile.TemporaryDirectory() as output:
        said = Path(output) / "said"
        said.mkdir()
        script = str(Path(__file__).with_name("size_steps.py"))
        run([sys.executable, *(launcher if processes > 1 else []), script, str(steps), str(said),
             *command, "--output", str(Path(output) / "run")])  # fmt: skip
        each = [json.loads(file.read_text()) for file in sorted(said.iterdir())]
    return {
        "start_s": max(one["start_s"] for one in each),
        "step_s": max(one["step_s"] for one in each),
        "epoch_s": max(one["step_s"] for one in each) * each[0]["steps_an_epoch"],
        "steps_an_epoch": each[0]["steps_an_epoch"],
        "peak_gb": max(one["peak_gb"] for one in each),
        "both_gb": sum(one["pss_gb"] for one in each),
        "children_peak_gb": max(one["children_peak_gb"] for one in each),
    }


def run(command: Sequence[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)


def memory() -> dict[str, float]:
    """Peaks of this process and its children, and its share of the memory it now uses, in GB."""
    share = 0
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            share = int(line.split()[1])
    own, children = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return {
        "peak_gb": resource.getrusage(own).ru_maxrss / 1e6,
        "children_peak_gb": resource.getrusage(children).ru_maxrss / 1e6,
        "pss_gb": share / 1e6,
    }


def as_markdown(record: dict[str, Any]) -> str:
    """The table of sizes."""
    lines = ["| rows | " + " | ".join(COLUMNS) + " |", "|--:" * (len(COLUMNS) + 1) + "|"]
    for size in sorted(record["sizes"], key=lambda size: size["rows"]):
        cells = [f"{size['rows']:,}"]
        for run_name, value in COLUMNS.values():
            found = size.get(run_name, {}).get(value)
            cells.append(
                "-" if found is None else f"{found:,.2f}" if found < 10 else f"{found:,.0f}"
            )
        lines.append("| " + " | ".join(cells) + " |")
    load = f"{record['load_average_at_start']} to {record['load_average_at_end']}"
    cores = record["machine"]["cores"]
    return "\n".join(
        [
            "# Training, by the size of the table",
            "",
            f"`{record['command']}`, commit {record['commit']}. {cores} cores, of which a process "
            f"uses one, under a load average of {load}: with more than {cores}, all seconds are "
            f"too many. Readout {record['readout']}, batch 80, width 200; seconds an epoch are "
            f"those of {record['steps']} steps, times its steps. A dash: not measured; there the "
            f"cache holds the molecules of {record['cold']:,} rows again and again, under other "
            "SMILES.",
            "",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    main()
