"""Do intervals hold, are probabilities right, and what memory does predict take?

    python benchmarks/prediction_uncertainty.py

trains on RDKit's packaged sodium-channel molecules (pIC50, and pIC50 above its median as classes),
several seeds of test set, folds and weights, and compares on the test sets: the run's intervals
with normal ones of the spread over the folds' models, and with CV+ (Barber et al. 2021), which
takes each fold's model with its own validation errors; probabilities before and after calibration.
Then `dgl-gmpool predict` on tables of 1,000, 10,000 and 30,000 molecules, each in a process of its
own. Stores benchmarks/results/prediction_uncertainty.json and .md.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from setting import command_line, load_average, setting

from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool.data import MoleculeDataset, featurize, load_sodium_channel, make_splits
from dgl_gmpool.training import RunResult, TrainingConfig, train_run

RESULTS = Path(__file__).parent / "results" / "prediction_uncertainty.json"
COVERAGES = (0.5, 0.8, 0.9, 0.95)


def datasets() -> dict[str, MoleculeDataset]:
    numbers = featurize(load_sodium_channel(), progress=False)
    table = numbers.table
    active = (table.targets > np.median(table.targets)).astype(float)
    classes = replace(table, kind="classification", targets=active, units="", kinds=())
    return {"regression": numbers, "classification": replace(numbers, table=classes)}


def train(dataset: MoleculeDataset, seed: int, folder: Path, args: Any) -> RunResult:
    splits = make_splits(dataset.table, seed=seed, folds=args.folds, test_fraction=0.2)
    config = TrainingConfig(
        readout=args.readout, hidden_feats=args.hidden, epochs=args.epochs, seed=seed
    )
    return train_run(dataset, splits, config, folder, progress=False)


def cv_plus(run: RunResult, dataset: MoleculeDataset, folds: int) -> list[dict[str, float]]:
    """Coverage and width of CV+ intervals on the test set."""
    targets = dataset.table.targets[:, 0]
    low, high, measured = [], [], np.zeros(0)
    for fold in range(folds):
        with np.load(run.folder / f"fold_{fold}" / "outputs.npz") as outputs:
            rows, test = outputs["valid_rows"], outputs["test_rows"]
            errors = np.abs(targets[rows] - outputs["valid_outputs"][:, 0])
            predicted = outputs["test_outputs"][:, 0]
        measured = targets[test]
        low.append(predicted[:, None] - errors)
        high.append(predicted[:, None] + errors)
    below, above = np.sort(np.concatenate(low, 1), 1), np.sort(np.concatenate(high, 1), 1)
    count = below.shape[1]
    found = []
    for coverage in COVERAGES:
        rank = int(np.ceil(round((count + 1) * coverage, 9)))
        lower, upper = below[:, count - rank], above[:, rank - 1]
        inside = (measured >= lower) & (measured <= upper)
        found.append(
            {
                "coverage": coverage,
                "found": float(inside.mean()),
                "mean_width": float((upper - lower).mean()),
            }
        )
    return found


def memory(model: Path, rows: int, folder: Path) -> dict[str, float]:
    """Peak memory of one ``predict``, MB, and seconds a thousand rows."""
    known = load_sodium_channel().smiles
    # Salts of alkanes: other molecules, of sizes as they are.
    smiles = [f"{known[i % len(known)]}.{'C' * (1 + i // len(known))}" for i in range(rows)]
    table, output = folder / f"{rows}.csv", folder / f"{rows}_out.csv"
    table.write_text("smiles\n" + "\n".join(smiles) + "\n", encoding="utf-8")
    command = [sys.executable, str(Path(__file__).resolve()), "--predict", str(model)]
    done = subprocess.run(
        [*command, str(table), str(output)], capture_output=True, text=True, check=True
    )
    peak, seconds = map(float, done.stdout.split()[-2:])
    return {"rows": rows, "peak_mb": peak, "seconds_per_1000_rows": seconds / rows * 1000}


def predict_here(model: str, table: str, output: str) -> None:
    """The command in this process, and what it took."""
    import time

    from dgl_gmpool.cli import main

    start = time.perf_counter()
    flags = ["--model", model, "--csv", table, "--output", output, "--processes", "1"]
    if main(["predict", *flags, "--device", "cpu"]):
        raise SystemExit("predict failed")
    # Not ru_maxrss alone: a process starts with that of the one that started it.
    status = Path("/proc/self/status")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        peak = int(lines["VmHWM"].split()[0]) / 1024
    print(peak, time.perf_counter() - start)


def summary(record: dict[str, Any]) -> str:
    """The record as tables."""
    lines = [
        "Made by `python benchmarks/prediction_uncertainty.py`; everything else is in the JSON.",
        "",
        "Share of test values inside (mean width, pIC50), means over "
        f"{len(record['regression'])} seeds",
        "",
        "| wanted | the run's intervals | CV+ | spread over the models |",
        "|--:|--:|--:|--:|",
    ]
    for at, coverage in enumerate(COVERAGES):
        own = [next(x for x in each["levels"] if x["coverage"] == coverage)
               for each in record["regression"]]  # fmt: skip
        plus = [each["cv_plus"][at] for each in record["regression"]]

        def mean(rows: list[dict[str, float]], key: str) -> float:
            return float(np.mean([row[key] for row in rows]))

        lines.append(
            f"| {coverage:.0%} | {mean(own, 'found'):.1%} ({mean(own, 'mean_width'):.2f}) | "
            f"{mean(plus, 'found'):.1%} ({mean(plus, 'mean_width'):.2f}) | "
            f"{mean(own, 'std_over_models'):.1%} |"
        )
    lines += [
        "",
        "Widths that vary with similarity: interval score on validation rows, by seed: "
        + ", ".join(
            f"{each['interval_score']['similarity']:.3f} (constant "
            f"{each['interval_score']['constant']:.3f})"
            for each in record["regression"]
        ),
        "",
        "| seed | method | calibration error before | after | Brier before | after |",
        "|--:|:--|--:|--:|--:|--:|",
    ]
    for each in record["classification"]:
        keys = ("calibration_error_before", "calibration_error_after", "brier_before",
                "brier_after")  # fmt: skip
        cells = " | ".join(f"{each[key]:.3f}" for key in keys)
        lines.append(f"| {each['seed']} | {each['method']} | {cells} |")
    lines += ["", "| rows predicted | peak memory, MB |", "|--:|--:|"]
    lines += [f"| {each['rows']:,} | {each['peak_mb']:.0f} |" for each in record["memory"]]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--readout", default="mean")
    parser.add_argument("--rows", type=int, nargs="*", default=[1000, 10_000, 30_000])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--predict", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.predict:
        predict_here(*args.predict)
        return
    settings = {key: getattr(args, key) for key in ("seeds", "folds", "epochs", "hidden")}
    record: dict[str, Any] = {
        **setting(command_line()),
        "load_average": load_average(),
        "settings": {**settings, "readout": args.readout},
        "regression": [],
        "classification": [],
        "memory": [],
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for kind, dataset in datasets().items():
            for seed in range(args.seeds):
                run = train(dataset, seed, folder / f"{kind}{seed}", args)
                (task,) = (run.uncertainty or {})["tasks"]
                kept = {k: v for k, v in task.items() if k not in ("scores", "curves", "test")}
                entry = {"seed": seed, **kept, **task["test"]}
                if kind == "regression":
                    entry["cv_plus"] = cv_plus(run, dataset, args.folds)
                record[kind].append(entry)
                print(kind, seed, flush=True)
        for rows in args.rows:
            record["memory"].append(memory(folder / "regression0", rows, folder))
            print(record["memory"][-1], flush=True)
    atomic_write_json(args.output, record)
    atomic_write_text(args.output.with_suffix(".md"), summary(record))


if __name__ == "__main__":
    main()
