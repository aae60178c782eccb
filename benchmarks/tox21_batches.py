"""What grouping graphs by size saves on all of Tox21: cells, memory and time of every batch.

    OMP_WAIT_POLICY=passive python benchmarks/tox21_batches.py --data tox21.csv.gz

All molecules that RDKit can read, salts and single atoms included (1 to 132 heavy atoms), in one
shuffled order, 256 at a time. Each batch is laid out in three ways:

grouped
    as the package does it, a few blocks of graphs of like size (``RaggedLayout``);
exact
    one block for every size that occurs, so exactly the sum of n_b^2 cells: the least there is;
padded
    one block, every graph padded to the largest of the batch, as is common elsewhere.

``exact`` and ``padded`` are the same code with nothing, and with very much, charged for a block
(``ragged.BUCKET_CHARGE``). Forward and backward of the default readouts of GMPool and NGMPool, 64
random features per atom, one thread.

Memory is the largest sum of bytes that torch's CPU allocator had given out and not got back during
the pass, from the allocation events of torch's profiler. It counts every tensor and workspace of
forward and backward and not what Python or the allocator keep, so it is the same in every run.
A second, independent figure checks it: in a new process for each pooling and layout, the batch that
needed most by the first figure is passed twice, and the growth of the process's largest resident
memory in the second pass is given (``VmHWM`` of /proc/self/status, Linux only). The first pass
takes what libraries set up once and keep; and glibc is told to return freed blocks to the system at
once (``MALLOC_MMAP_THRESHOLD_``), or the memory it keeps for later would count too. Blocks below
64 kB are kept all the same, so small passes show less than they use.

Times are medians over rounds in which grouped and exact take turns, without the profiler; padded
comes last, because whatever runs after such large blocks is slower for it. Stores
benchmarks/results/tox21_batches.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import dgl_gmpool  # noqa: F401  # isort: skip - lets DGL 2.1.0 load
import dgl
import numpy as np
import torch
from paired import spread
from setting import command_line, load_average, setting, store
from text_table import text_table
from threads import use_threads
from torch.profiler import ProfilerActivity, profile

from dgl_gmpool import get_readout
from dgl_gmpool.data import load_csv
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.tox21 import TOX21_TASKS
from dgl_gmpool.nn import ragged
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.training.batches import row_batches, shuffled

RESULTS = Path(__file__).parent / "results" / "tox21_batches.json"
WIDTH = 64
POOLINGS = ("gmpool", "ngmpool")

#: What a block is charged, in cells; None: as the package does.
LAYOUTS: dict[str, float | None] = {"grouped": None, "exact": 0, "padded": 1e15}

#: Cells of the grouped layout over the sum of n_b^2.
CELLS_GOAL = 1.35


@contextmanager
def layout_of(name: str) -> Iterator[None]:
    """Lay batches out in this way inside the block."""
    before, charge = ragged.BUCKET_CHARGE, LAYOUTS[name]
    try:
        if charge is not None:
            ragged.BUCKET_CHARGE = charge
        yield
    finally:
        ragged.BUCKET_CHARGE = before


def cells(counts: Sequence[int], layout: str) -> int:
    """Cells of the dense blocks of a batch of graphs with these numbers of nodes."""
    with layout_of(layout):
        return RaggedLayout.from_counts(torch.tensor(counts)).cells


def cell_table(batches: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Cells of each layout over the sum of n_b^2, batch by batch and over all batches.

    Parameters
    ----------
    batches : sequence of sequence of int
        Numbers of nodes.
    """
    needed = [sum(n * n for n in counts) for counts in batches]
    found: dict[str, Any] = {"needed_cells": needed}
    for layout in LAYOUTS:
        made = [cells(counts, layout) for counts in batches]
        ratios = [a / b for a, b in zip(made, needed)]
        found[layout] = {
            "cells": made,
            "over_needed": {**spread(ratios), "worst": max(ratios)},
            "over_needed_in_all": sum(made) / sum(needed),
        }
    return found


def peak_bytes(work: Callable[[], Any]) -> int:
    """Most bytes that torch's CPU allocator had given out during ``work``, less those before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = [
        (_moment(event), event.nbytes())
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    if not events:
        raise RuntimeError(
            f"torch {torch.__version__} reports no allocations to its profiler; use another version"
        )
    # The sort is stable: events of one moment keep the order in which they were reported.
    sizes = [size for _, size in sorted(events, key=lambda event: event[0])]
    return max(0, int(np.cumsum(sizes).max()))


def _moment(event: Any) -> int:
    """Start of a profiler event; torch before 2.4 has microseconds only."""
    return event.start_ns() if hasattr(event, "start_ns") else event.start_us()


def resident_bytes(*, reset: bool = False) -> int | None:
    """Largest resident memory of this process so far, or since the last ``reset``; None where the
    system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    if reset:
        # Where this is not allowed, the largest so far has to do.
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    for line in status.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return 1024 * int(line.split()[1])
    return None


def passes(pooling: str, largest: int) -> Callable[[Sequence[int]], None]:
    """Forward and backward of a readout on graphs with these numbers of nodes.

    Parameters
    ----------
    pooling : str
    largest : int
        Most nodes that a batch will have.
    """
    torch.manual_seed(0)
    pool = get_readout(pooling, in_feats=WIDTH)
    feats = torch.randn(largest, WIDTH)

    def work(counts: Sequence[int]) -> None:
        feat = feats[: sum(counts)].requires_grad_()
        # A readout needs node counts only.
        nodes = dgl.graph(([], []), num_nodes=len(feat))
        out = pool(nodes, feat, batch_num_nodes=torch.tensor(counts))
        out.square().sum().backward()

    return work


def timed(
    pooling: str, layouts: Sequence[str], batches: Sequence[Sequence[int]], rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of every batch in each layout; the layouts take turns."""
    work = passes(pooling, max(map(sum, batches)))
    work([2, 3])
    out: dict[str, list[float]] = {layout: [] for layout in layouts}
    for counts in batches:
        found: dict[str, list[float]] = {layout: [] for layout in layouts}
        for _ in range(rounds):
            for layout in layouts:
                with layout_of(layout):
                    started = time.perf_counter()
                    work(counts)
                    found[layout].append(1000 * (time.perf_counter() - started))
        for layout, milliseconds in found.items():
            out[layout].append(statistics.median(milliseconds))
    return out


def allocated(pooling: str, layout: str, batches: Sequence[Sequence[int]]) -> list[int]:
    """``peak_bytes`` of every batch."""
    work = passes(pooling, max(map(sum, batches)))
    work([2, 3])
    with layout_of(layout):
        return [peak_bytes(partial(work, counts)) for counts in batches]


def resident_growth(pooling: str, layout: str, counts: Sequence[int]) -> int | None:
    """By how much a second pass makes the resident memory of this process grow, bytes."""
    work = passes(pooling, sum(counts))
    with layout_of(layout):
        work(counts)
        before = resident_bytes(reset=True)
        work(counts)
        after = resident_bytes()
    return None if before is None or after is None else after - before


def in_a_new_process(pooling: str, layout: str, counts: Sequence[int]) -> int | None:
    """``resident_growth`` where no memory lies ready that an earlier pass has given back."""
    done = subprocess.run(
        [sys.executable, __file__, "--resident", pooling, layout],
        input=json.dumps(list(counts)),
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{pooling}, {layout} in its own process failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)


def compare(found: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row per pooling and layout, each against the exact layout of the same batch.

    Parameters
    ----------
    found : dict
        ``found[pooling][layout]`` holds ``peak_bytes`` and ``milliseconds`` of every batch and
        ``resident_growth_bytes``.
    """
    rows = []
    for pooling, by_layout in found.items():
        for layout, each in by_layout.items():
            row: dict[str, Any] = {"pooling": pooling, "layout": layout}
            for key in ("peak_bytes", "milliseconds"):
                values, least = each[key], by_layout["exact"][key]
                ratios = [a / b for a, b in zip(values, least)]
                row[key] = {"median": statistics.median(values), "worst": max(values)}
                row[f"{key}_over_exact"] = {**spread(ratios), "worst": max(ratios)}
            row["resident_growth_bytes"] = each["resident_growth_bytes"]
            rows.append(row)
    return rows


def atoms(path: Path, limit: int | None) -> list[int]:
    """Number of atoms of every molecule that RDKit reads, one node each."""
    table = load_csv(
        path, smiles_column="smiles", target_columns=TOX21_TASKS, kind="classification"
    )
    counts = []
    for smiles in table.smiles[:limit]:
        mol, why = read_molecule(smiles)
        if mol is None:
            raise ValueError(f"{smiles!r} is refused by RDKit: {why}")
        counts.append(mol.GetNumAtoms())
    return counts


def report(record: dict[str, Any]) -> str:
    """The tables of a record, in Markdown."""
    made = record["cells"]
    parts = [
        f"{record['molecules']} molecules of {record['atoms']['smallest']} to "
        f"{record['atoms']['largest']} atoms, {record['batches']} batches of "
        f"{record['batch_size']} (the last of {record['last_batch']}).",
        "Cells of the dense blocks over the sum of n_b^2:",
        text_table(
            ["layout", "median", "worst batch", "all batches", "held to"],
            [
                [
                    layout,
                    f"{made[layout]['over_needed']['median']:.2f}",
                    f"{made[layout]['over_needed']['worst']:.2f}",
                    f"{made[layout]['over_needed_in_all']:.2f}",
                    f"<= {CELLS_GOAL}" if layout == "grouped" else "",
                ]
                for layout in LAYOUTS
            ],
        ),
        "Forward and backward of a batch; ratios to the exact layout of the same batch, median and "
        "(worst batch); last, the most by the allocator and by the system:",
        text_table(
            [
                "readout, layout",
                "peak MB",
                "ratio",
                "ms",
                "ratio",
                "worst MB",
                "same, as the system saw it",
            ],
            [
                [
                    f"{row['pooling']}, {row['layout']}",
                    f"{row['peak_bytes']['median'] / 1e6:.1f}",
                    _median_and_worst(row["peak_bytes_over_exact"]),
                    f"{row['milliseconds']['median']:.0f}",
                    _median_and_worst(row["milliseconds_over_exact"]),
                    f"{row['peak_bytes']['worst'] / 1e6:.1f}",
                    "not known"
                    if row["resident_growth_bytes"] is None
                    else f"{row['resident_growth_bytes'] / 1e6:.1f}",
                ]
                for row in record["rows"]
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _median_and_worst(ratio: dict[str, Any]) -> str:
    return f"{ratio['median']:.2f} ({ratio['worst']:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="tox21.csv or tox21.csv.gz")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3, help="of grouped and exact; padded has 1")
    parser.add_argument("--limit", type=int, help="the first molecules only; stores nothing")
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    parser.add_argument("--resident", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or the profiler announces every batch
    threads = use_threads(1)
    if args.resident:
        pooling, layout = args.resident
        json.dump(resident_growth(pooling, layout, json.load(sys.stdin)), sys.stdout)
        return
    if args.data is None:
        parser.error("--data is needed: the path of tox21.csv or tox21.csv.gz")
    load = load_average()

    counts = atoms(args.data, args.limit)
    order = shuffled(range(len(counts)), args.seed)
    batches = [[counts[i] for i in rows.tolist()] for rows in row_batches(order, args.batch_size)]
    found: dict[str, dict[str, dict[str, Any]]] = {pooling: {} for pooling in POOLINGS}
    for layouts, rounds in ((["grouped", "exact"], args.rounds), (["padded"], 1)):
        for pooling in POOLINGS:
            for layout, milliseconds in timed(pooling, layouts, batches, rounds).items():
                found[pooling][layout] = {"milliseconds": milliseconds}
    for pooling in POOLINGS:
        for layout, each in found[pooling].items():
            peaks = allocated(pooling, layout, batches)
            worst = batches[peaks.index(max(peaks))]
            each["peak_bytes"] = peaks
            each["resident_growth_bytes"] = in_a_new_process(pooling, layout, worst)
    record = {
        **setting(command_line()),
        "threads": threads,
        "load_average_at_start": load,
        "molecules": len(counts),
        "atoms": {"smallest": min(counts), "largest": max(counts)},
        "batches": len(batches),
        "batch_size": args.batch_size,
        "last_batch": len(batches[-1]),
        "features": WIDTH,
        "cells": cell_table(batches),
        "rows": compare(found),
        "each_batch": found,
    }
    text = report(record)
    print(text)
    if args.limit is None:
        store(record, text, RESULTS)


if __name__ == "__main__":
    main()
