"""Keep finished runs of a recipe as one small JSON file and a table, for the docs.

    python benchmarks/store_runs.py --name tox21 --command "python recipes/tox21.py ..." runs/tox21

Takes every finished run below the folders given: scores per fold, data counts, versions, commit
and machine, without local paths. All runs must be of the same data and splits; differences are
paired fold by fold against the first of them. Writes docs/results/NAME.json and prints the table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from setting import machine

from dgl_gmpool._io import atomic_write_json
from dgl_gmpool.training.run import RunResult

DOCS = Path(__file__).parent.parent / "docs" / "results"


def describe(folder: Path) -> dict[str, Any]:
    """One run, with what its numbers rest on."""
    run = RunResult.load(folder)
    record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = run.metrics["metric"]
    return {
        "label": run.config.label,
        "training": record["training"],
        "metric": name,
        "test": run.fold_scores(),
        "valid": [fold["valid"][name] for fold in run.metrics["folds"]],
        "ensemble": run.metrics["ensemble_test"][name],
        "best_epochs": [fold["best_epoch"] for fold in run.metrics["folds"]],
        "epochs": [fold["epochs"] for fold in run.metrics["folds"]],
        "test_rows": run.metrics["test_rows"],
        "parameters": run.metrics["parameters"],
        "seconds": run.metrics["seconds"],
        "data": {**record["data"], "counts": record["report"]["counts"]},
        "splits": record["splits"],
        "commit": record["commit"],
        "versions": record["versions"],
        "threads": record["environment"]["threads"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--command", required=True, action="append")
    args = parser.parse_args()
    runs = [
        describe(config.parent)
        for folder in args.folders
        for config in sorted(folder.glob("*/config.json"), key=lambda path: path.stat().st_mtime)
    ]
    for shared in ("data", "splits"):
        if len({runs[0][shared]["fingerprint"], *(run[shared]["fingerprint"] for run in runs)}) > 1:
            raise SystemExit(f"the runs differ in their {shared}; store them under two names")
    rows = []
    for run in runs:
        difference = np.subtract(run["test"], runs[0]["test"])
        rows.append(
            {
                "label": run["label"],
                "mean": float(np.mean(run["test"])),
                "std": float(np.std(run["test"], ddof=1)),
                "valid_mean": float(np.mean(run["valid"])),
                "ensemble": run["ensemble"],
                "paired_difference": float(difference.mean()),
                "paired_std": float(difference.std(ddof=1)),
            }
        )
    data, splits = runs[0].pop("data"), runs[0].pop("splits")
    for run in runs[1:]:
        del run["data"], run["splits"]
    atomic_write_json(
        DOCS / f"{args.name}.json",
        {
            "commands": args.command,
            "machine": machine(),
            "data": data,
            "splits": splits,
            "rows": rows,
            "runs": runs,
        },
    )
    metric = runs[0]["metric"]
    print(
        f"| readout | test {metric} | std | validation | models together | against "
        f"{rows[0]['label']}, fold by fold |\n|:--|--:|--:|--:|--:|--:|"
    )
    for row in rows:
        print(
            f"| {row['label']} | {row['mean']:.3f} | {row['std']:.3f} | {row['valid_mean']:.3f} | "
            f"{row['ensemble']:.3f} | {row['paired_difference']:+.3f} +- {row['paired_std']:.3f} |"
        )


if __name__ == "__main__":
    main()
