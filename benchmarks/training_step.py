"""What a pooling adds to a training step, against the mean readout, in one run.

    OMP_WAIT_POLICY=passive python benchmarks/training_step.py

Times forward, backward and Adam step of the whole model (DMPNN, hidden 200, batch 80) on
molecules of 20 to 40 heavy atoms: the larger ones of the sodium-channel set that RDKit carries,
or ``--data tox21.csv.gz``. The readouts take turns step by step, so that whatever else the machine
does falls on all of them alike; each ratio is the median over rounds of step time by the step time
of mean in the same round. Stores benchmarks/results/training_step.json and prints a table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from setting import setting

from dgl_gmpool import MoleculePredictor
from dgl_gmpool._io import atomic_write_json
from dgl_gmpool.data import featurize, load_sodium_channel, load_tox21
from dgl_gmpool.training.batches import collate

RESULTS = Path(__file__).parent / "results" / "training_step.json"

#: label: readout, options, levels
MODELS = {
    "mean": ("mean", {}, 1),
    "ngmpool": ("ngmpool", {}, 1),
    "ngmpool cauchy": ("ngmpool", {"similarity": "cauchy"}, 1),
    "gmpool": ("gmpool", {}, 1),
    "gmpool eigen": ("gmpool", {"decomposition": "eigen"}, 1),
    "gmpool cholesky": ("gmpool", {"decomposition": "cholesky"}, 1),
    "gmpool cauchy cholesky": ("gmpool", {"similarity": "cauchy", "decomposition": "cholesky"}, 1),
    "gmpool cauchy cholesky, 2 levels": (
        "gmpool",
        {"similarity": "cauchy", "decomposition": "cholesky"},
        2,
    ),
    "gmpool, 2 levels": ("gmpool", {}, 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="tox21.csv or tox21.csv.gz; default: RDKit's own set")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--slow-rounds", type=int, default=3, help="for models of two levels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=80)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    dataset = featurize(load_tox21(args.data) if args.data else load_sodium_channel())
    sized = [g for g in dataset.graphs if 20 <= g.num_nodes() <= 40][: args.batch_size]
    batch = collate(sized, edge_in_feats=dataset.edge_in_feats, device=torch.device("cpu"))
    steps = {}
    for label, (readout, options, levels) in MODELS.items():
        torch.manual_seed(0)
        model = MoleculePredictor(
            dataset.node_in_feats,
            dataset.edge_in_feats,
            readout=readout,
            readout_options=options,
            levels=levels,
        )
        steps[label] = (model, torch.optim.Adam(model.parameters()))

    times: dict[str, list[float]] = {label: [] for label in MODELS}
    for step in range(args.rounds + 2):
        for label, (model, optimizer) in steps.items():
            if MODELS[label][2] > 1 and step >= args.slow_rounds + 2:
                continue
            started = time.perf_counter()
            optimizer.zero_grad()
            model(*batch).square().mean().backward()
            optimizer.step()
            if step >= 2:  # the first two warm up
                times[label].append(time.perf_counter() - started)

    rows = []
    for label, seconds in times.items():
        ratios = [a / b for a, b in zip(seconds, times["mean"])]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        rows.append(
            {
                "model": label,
                "median_ms": 1000 * statistics.median(seconds),
                "ratio_to_mean": middle,
                "ratio_quartiles": [low, high],
                "rounds": len(seconds),
            }
        )
    atomic_write_json(
        RESULTS,
        {
            **setting(
                "python benchmarks/training_step.py"
                + (" --data tox21.csv.gz" if args.data else "")
                + f" --threads {args.threads}"
            ),
            "molecules": len(sized),
            "mean_heavy_atoms": batch.graph.num_nodes() / len(sized),
            "rows": rows,
        },
    )
    print(f"{len(sized)} molecules, {args.threads} thread(s)")
    print("| model | step, ms | against mean | quartiles |\n|:--|--:|--:|:--|")
    for row in rows:
        low, high = row["ratio_quartiles"]
        print(
            f"| {row['model']} | {row['median_ms']:.0f} | {row['ratio_to_mean']:.2f} | "
            f"{low:.2f}-{high:.2f} |"
        )


if __name__ == "__main__":
    main()
