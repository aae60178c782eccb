"""What a pooling adds to a training step, against mean and maximum, in one run.

    OMP_WAIT_POLICY=passive python benchmarks/training_step.py

Times forward, backward and Adam step of the whole model (DMPNN, hidden 200, batch 80) on
molecules of 20 to 40 heavy atoms: the larger ones of the sodium-channel set that RDKit carries,
or ``--data tox21.csv.gz``. The readouts take turns, four steps each, so that whatever else the
machine does falls on all of them alike while each trains as it would, step after step; a round's
time is the median of the last three, and each ratio the median over rounds of a model's time by
that of mean and maximum in the same round. Stores benchmarks/results/training_step.json and prints
a table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from setting import setting

from dgl_gmpool import GMPool, MoleculePredictor, NGMPool
from dgl_gmpool._io import atomic_write_json
from dgl_gmpool.data import featurize, load_sodium_channel, load_tox21
from dgl_gmpool.training.batches import Batch, collate
from dgl_gmpool.training.device import keep_freed_memory

RESULTS = Path(__file__).parent / "results" / "training_step.json"

#: Steps of one model before the next has its turn.
STEPS = 4

PAPER = GMPool.PAPER

#: label: options of the model
MODELS: dict[str, dict[str, Any]] = {
    "mean and max": {"readout": "mean_and_max"},
    "mean": {"readout": "mean"},
    "gmpool (default)": {},
    "gmpool, no exchange": {"exchange": False},
    "mean and max, exchange": {"readout": "mean_and_max", "exchange": True},
    "ngmpool": {"readout": "ngmpool"},
    "gmpool, paper": {"readout_options": PAPER},
    "gmpool, paper, cholesky": {"readout_options": {**PAPER, "decomposition": "cholesky"}},
    "ngmpool, paper": {"readout": "ngmpool", "readout_options": NGMPool.PAPER},
    "gmpool (default), 2 levels": {"levels": 2},
    "gmpool, paper, 2 levels": {"readout_options": PAPER, "levels": 2},
}


def compare(models: dict[str, Any], batch: Batch, rounds: int) -> list[dict[str, Any]]:
    """Let the models take turns; the first is the one to compare with."""
    times: dict[str, list[float]] = {label: [] for label in models}
    for number in range(rounds + 1):
        for label, (model, optimizer) in models.items():
            found = []
            for _ in range(STEPS):
                started = time.perf_counter()
                optimizer.zero_grad()
                model(*batch).square().mean().backward()
                optimizer.step()
                found.append(time.perf_counter() - started)
            if number:  # the first round warms up
                times[label].append(statistics.median(found[1:]))
    first = next(iter(times.values()))
    rows = []
    for label, seconds in times.items():
        ratios = [a / b for a, b in zip(seconds, first)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        rows.append(
            {
                "model": label,
                "median_ms": 1000 * statistics.median(seconds),
                "ratio_to_mean_and_max": middle,
                "ratio_quartiles": [low, high],
                "rounds": len(seconds),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="tox21.csv or tox21.csv.gz; default: RDKit's own set")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--slow-rounds", type=int, default=2, help="for models of two levels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=80)
    parser.add_argument(
        "--no-kept-memory",
        action="store_true",
        help="let the C library hand freed memory back after each step, as outside of dgl-gmpool "
        "train; stores nothing",
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not args.no_kept_memory:
        keep_freed_memory()

    dataset = featurize(load_tox21(args.data) if args.data else load_sodium_channel())
    sized = [g for g in dataset.graphs if 20 <= g.num_nodes() <= 40][: args.batch_size]
    batch = collate(sized, edge_in_feats=dataset.edge_in_feats, device=torch.device("cpu"))
    steps = {}
    for label, options in MODELS.items():
        torch.manual_seed(0)
        model = MoleculePredictor(
            dataset.node_in_feats,
            dataset.edge_in_feats,
            readout_norm="batch",
            dropout=0.0,
            conductance_start=dataset.conductance_start,
            **options,
        )
        steps[label] = (model, torch.optim.Adam(model.parameters()))

    # Models of two levels allocate a hundred times the memory, which slows what comes after them:
    # they have rounds of their own, with their own mean and maximum to compare with.
    deep = [label for label, options in MODELS.items() if options.get("levels", 1) > 1]
    flat = [label for label in MODELS if label not in deep]
    rows = compare({label: steps[label] for label in flat}, batch, args.rounds)
    both = {label: steps[label] for label in [flat[0], *deep]}
    rows += compare(both, batch, args.slow_rounds)[1:]
    if not args.no_kept_memory:
        record = {
            **setting(
                "python benchmarks/training_step.py"
                + (" --data tox21.csv.gz" if args.data else "")
                + f" --threads {args.threads}"
            ),
            "molecules": len(sized),
            "mean_heavy_atoms": batch.graph.num_nodes() / len(sized),
            "rows": rows,
        }
        atomic_write_json(RESULTS, record)
    print(f"{len(sized)} molecules, {args.threads} thread(s)")
    print("| model | step, ms | against mean and max | quartiles |\n|:--|--:|--:|:--|")
    for row in rows:
        low, high = row["ratio_quartiles"]
        print(
            f"| {row['model']} | {row['median_ms']:.0f} | {row['ratio_to_mean_and_max']:.2f} | "
            f"{low:.2f}-{high:.2f} |"
        )


if __name__ == "__main__":
    main()
