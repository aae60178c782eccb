"""How long and how much memory ``predict`` takes on a table: what sizes.py runs."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

from process_tree import watched
from size_molecules import write_table

#: Rows that the model learns from.
TRAINED_ON = 1000


def trained_model(folder: Path, readout: str) -> Path:
    """A run with one default model, of one epoch: what it predicts does not matter here."""
    run, table = folder / f"model-{readout}", folder / "trained-on.csv"
    if not (run / "table.json").exists():
        write_table(table, TRAINED_ON)
        watched(
            [
                sys.executable,
                "-m",
                "dgl_gmpool",
                "train",
                "csv",
                "--csv",
                str(table),
                "--target",
                "y",
                "--readout",
                readout,
                "--folds",
                "1",
                "--epochs",
                "1",
                "--baselines",
                "none",
                "--no-report",
                "--output",
                str(run),
                "--resume",
            ]
        )
    return run


def predicted(model: Path, table: Path, rows: int) -> dict[str, Any]:
    """Seconds, rows a second and memory of ``predict`` with its defaults."""
    output = table.with_name("predicted.csv")
    found = watched(
        [
            sys.executable,
            "-m",
            "dgl_gmpool",
            "predict",
            "--model",
            str(model),
            "--csv",
            str(table),
            "--output",
            str(output),
            "--overwrite",
        ]
    )
    with open(output, encoding="utf-8", newline="") as file:
        written = sum(1 for _ in csv.reader(file)) - 1
    if written != rows:
        raise RuntimeError(f"{written} rows predicted of {rows}")
    output.unlink()
    return {**found, "rows_a_second": rows / found["seconds"]}
