"""How memory and time of training grow with the table, to a million molecules.

    OMP_WAIT_POLICY=passive python benchmarks/sizes.py --rows 10000 100000 1000000

For each number of rows: a table of as many SMILES (benchmarks/size_molecules.py); ``train csv``
with an empty ``--cache``, up to the first step; then again from the cache, in one process and
under ``torchrun`` in two; then ``predict`` of the whole table, by one model. A training stops after
``--steps`` steps, so that seconds an epoch are those of a step times the steps of an epoch. Peak
memory is ru_maxrss. It counts what processes share in each of them; the largest sum of the shares
that fall to each (Pss) is beside it. With ``--kill`` the first run is killed once half of the
molecules are featurised, and goes on: its seconds are those of both.

Where time is short, the cache above ``--cold`` rows is not made by the command: the molecules of
the ``--cold`` rows are repeated there, each time under other SMILES, which is as large and as slow
to load as if they were others. What ``--folder`` holds already is not made again. Stores
benchmarks/results/sizes.json and sizes.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from process_tree import watched
from setting import command_line, load_average, setting
from size_molecules import write_table
from size_predictions import predicted, trained_model

from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool.data.smiles_to_graphs import PART

HERE = Path(__file__).parent
RESULTS = HERE / "results"
#: A column of the table: what is measured, of which run, and its name.
COLUMNS = {
    "read and featurise, s": ("cold", "start_s"),
    "all processes then, GB": ("cold", "together_gb"),
    "first step from the cache, s": ("one process", "start_s"),
    "of them of a core": ("one process", "start_cpu_s"),
    "peak, GB": ("one process", "peak_gb"),
    "an epoch, s": ("one process", "epoch_s"),
    "first step of 2 processes, s": ("two processes", "start_s"),
    "peak of each, GB": ("two processes", "peak_gb"),
    "both, shared memory once, GB": ("two processes", "both_gb"),
    "an epoch of 2, s": ("two processes", "epoch_s"),
    "predict, rows a second": ("predict", "rows_a_second"),
    "predict, GB": ("predict", "together_gb"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--cold", type=int, default=10_000, help="rows up to which all is measured")
    parser.add_argument("--kill", action="store_true", help="kill the run without a cache once")
    parser.add_argument("--steps", type=int, default=30, help="after the first (default: 30)")
    parser.add_argument("--readout", default="gmpool")
    parser.add_argument("--folder", type=Path, help="for tables and caches (default: a temporary)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=PHASES,
        default=list(PHASES),
        help="these alone; what is stored of the others stays (default: all)",
    )
    args = parser.parse_args()
    stored, partly = RESULTS / "sizes.json", args.only != list(PHASES)
    before = json.loads(stored.read_text()) if partly and stored.exists() else {"sizes": []}
    sizes = {size["rows"]: size for size in before["sizes"]}
    record = {**setting(command_line()), "readout": args.readout}
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        for rows in args.rows:
            for phase in args.only:
                at_start = load_average()
                found = PHASES[phase](Place(folder / str(rows), rows, args))
                found |= {
                    "commit": record["commit"],
                    "load_average": [at_start, load_average()],
                }
                sizes[rows] = {**sizes.get(rows, {"rows": rows}), phase: found}
                record["sizes"] = [sizes[rows] for rows in sorted(sizes)]
                atomic_write_json(stored, record)
                atomic_write_text(RESULTS / "sizes.md", as_markdown(record))
    print(as_markdown(record))


class Place:
    """Where the table of a size and its cache are, and the command that trains on it."""

    def __init__(self, folder: Path, rows: int, args: argparse.Namespace) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.rows, self.args = rows, args
        self.table, self.cache = folder / "molecules.csv", folder / "cache"
        self.command = ["train", "csv", "--csv", str(self.table), "--target", "y",
                        "--readout", args.readout, "--cache", str(self.cache), "--folds", "5",
                        "--baselines", "none", "--no-report"]  # fmt: skip

    def parts(self) -> int:
        """Parts of the molecules that are featurised and kept."""
        return len(list(self.cache.glob("*.parts/*.pt")))


def cold(place: Place) -> dict[str, Any]:
    """From nothing to the first step; above ``--cold`` rows only what later phases need."""
    rows, args = place.rows, place.args
    if rows > args.cold:
        started = time.perf_counter()
        watched([sys.executable, str(HERE / "size_cache.py"), str(args.cold),
                 str(rows // args.cold), json.dumps(place.command)])  # fmt: skip
        return {"written_by_repeating_s": time.perf_counter() - started}
    if not place.table.exists():
        write_table(place.table, rows)
    shutil.rmtree(place.cache, ignore_errors=True)
    found: dict[str, Any] = {}
    if args.kill:
        half = rows // PART // 2
        killed = until_step(0, place, kill_when=lambda: place.parts() >= half)
        found = {"killed_after_s": killed["seconds"], "parts_kept": place.parts()}
    last = until_step(0, place)
    last["together_gb"] = max(last["together_gb"], killed["together_gb"] if args.kill else 0)
    start = last["start_s"] + found.get("killed_after_s", 0.0)
    return {**last, **found, "start_s": start, "last_start_s": last["start_s"]}


def warm(place: Place, processes: int) -> dict[str, Any]:
    """From the cache."""
    found = until_step(place.args.steps, place, processes)
    cached = sum(file.stat().st_size for file in place.cache.iterdir())
    return {**found, "table_mb": place.table.stat().st_size / 1e6, "cache_mb": cached / 1e6}


def predict(place: Place) -> dict[str, Any]:
    """The table through one default model."""
    folder = place.table.parent.parent
    return predicted(trained_model(folder, place.args.readout), place.table, place.rows)


PHASES: dict[str, Callable[[Place], dict[str, Any]]] = {
    "cold": cold,
    "one process": partial(warm, processes=1),
    "two processes": partial(warm, processes=2),
    "predict": predict,
}


def until_step(
    steps: int, place: Place, processes: int = 1, kill_when: Callable[[], bool] | None = None
) -> dict[str, Any]:
    """The training command, in processes of its own, up to a step behind the first."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    with tempfile.TemporaryDirectory() as output:
        said = Path(output) / "said"
        said.mkdir()
        found = watched(
            [sys.executable, *(launcher if processes > 1 else []), str(HERE / "size_steps.py"),
             str(steps), str(said), *place.command, "--output", str(Path(output) / "run")],
            kill_when,
        )  # fmt: skip
        each = [json.loads(file.read_text()) for file in sorted(said.iterdir())]
    if kill_when is not None:
        return found
    return {
        "together_gb": found["together_gb"],
        "start_s": max(one["start_s"] for one in each),
        "start_cpu_s": max(one["start_cpu_s"] for one in each),
        "step_s": max(one["step_s"] for one in each),
        "epoch_s": max(one["step_s"] for one in each) * each[0]["steps_an_epoch"],
        "steps_an_epoch": each[0]["steps_an_epoch"],
        "peak_gb": max(one["peak_gb"] for one in each),
        "both_gb": sum(one["pss_gb"] for one in each),
        "children_peak_gb": max(one["children_peak_gb"] for one in each),
    }


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
    loads = [
        load
        for size in record["sizes"]
        for phase in PHASES
        for load in size.get(phase, {}).get("load_average", [])
    ]
    cores = record["machine"]["cores"]
    return "\n".join(
        [
            "# Training, by the size of the table",
            "",
            "`python benchmarks/sizes.py --rows 10000 100000 1000000 --cold 1000000 --kill`, a "
            f"phase at a time: each phase's commit is in sizes.json. {cores} cores, of which a "
            f"process uses one, under load averages of {min(loads)} to {max(loads)}: above "
            f"{cores}, seconds are too many. Readout {record['readout']}, batch 80, width 200; "
            "seconds an epoch are those of some steps, times its steps. Of ten rows that follow "
            "each other, all are one molecule in another order of atoms: `predict` runs its one "
            "model once for them, training does not know. `cold` was killed once where half of the "
            "molecules were featurised, for the million rows. A dash: not measured.",
            "",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    main()
