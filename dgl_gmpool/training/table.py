"""The table at the end of a recipe: one row per model, mean and spread of its test scores."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgl_gmpool._io import atomic_write_text
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.distributed import current_world
from dgl_gmpool.training.metrics import METRICS
from dgl_gmpool.training.run import RunResult
from dgl_gmpool.training.run_folder import write_json
from dgl_gmpool.training.words import duration, score_text

_BESIDE = {
    "roc_auc": "average_precision",
    "average_precision": "roc_auc",
    "rmse": "r2",
    "mae": "r2",
    "r2": "rmse",
}


def comparison_rows(results: Sequence[RunResult]) -> list[dict[str, Any]]:
    """One dict per configuration; the seeds of a configuration are put together.

    Configurations that differ in anything else are apart; where the model's label does not tell
    them apart, ``differs`` holds the settings that do, and the label names them.
    ``mean`` and ``std`` are over the test scores of all folds of all seeds, ``std`` dividing by
    their number - 1; NaN where it is not defined.
    """
    groups: dict[str, list[RunResult]] = {}
    for result in results:
        key = json.dumps(_without_seed(result.config), sort_keys=True)
        groups.setdefault(key, []).append(result)
    rows = []
    for runs in groups.values():
        label = runs[0].config.label
        alike = [other[0].config for other in groups.values() if other[0].config.label == label]
        differs = _differing(runs[0].config, alike)
        name = runs[0].metrics["metric"]
        beside = _BESIDE[name]
        values = np.array([value for run in runs for value in run.fold_scores(name)])
        others = np.array([value for run in runs for value in run.fold_scores(beside)])
        rows.append(
            {
                "label": "-".join([label, *(f"{k}={v}" for k, v in differs.items())]),
                "differs": differs,
                "backbone": runs[0].config.backbone,
                "readout": runs[0].config.readout,
                "readout_options": dict(runs[0].config.readout_options),
                "auxiliary": dict(runs[0].config.auxiliary),
                "levels": runs[0].config.levels,
                "seeds": [run.config.seed for run in runs],
                "models": len(values),
                "metric": name,
                "mean": _mean(values),
                "std": _std(values),
                "beside": beside,
                "beside_mean": _mean(others),
                "units": runs[0].metrics["units"],
                "test_rows": runs[0].metrics["test_rows"],
                "parameters": runs[0].metrics["parameters"],
                "seconds": float(sum(run.metrics["seconds"] for run in runs)),
                "folders": [run.folder.name for run in runs],
            }
        )
    return rows


def _without_seed(config: TrainingConfig) -> dict[str, Any]:
    return {key: value for key, value in config.to_dict().items() if key != "seed"}


def _differing(config: TrainingConfig, alike: Sequence[TrainingConfig]) -> dict[str, Any]:
    """The settings of ``config`` that differ among configurations of one label."""
    records = [_without_seed(other) for other in alike]
    return {
        key: value
        for key, value in _without_seed(config).items()
        if any(record.get(key) != value for record in records)
    }


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of :func:`comparison_rows` as a Markdown table, aligned for the eye."""
    metric, beside = METRICS[rows[0]["metric"]], METRICS[rows[0]["beside"]]
    units = rows[0]["units"]
    header = [
        "readout",
        "levels",
        f"test {metric.label}" + (f" ({units})" if units and metric.in_units else ""),
        "std",
        f"{beside.label}" + (f" ({units})" if units and beside.in_units else ""),
        "models",
        "parameters",
        "time",
    ]
    lines = [header]
    for row in rows:
        lines.append(
            [
                _readout(row),
                _text(row["levels"]),
                score_text(row["mean"]),
                score_text(row["std"]),
                score_text(row["beside_mean"]),
                _text(row["models"]),
                "-" if row["parameters"] is None else f"{row['parameters']:,}",
                "-" if row["seconds"] is None else duration(row["seconds"]),
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]

    def shown(cells: list[str]) -> str:
        first, *rest = (
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(cells, widths))
        )
        return "| " + " | ".join([first, *rest]) + " |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([shown(header), shown(rule), *(shown(line) for line in lines[1:])])


def write_table(
    results: Sequence[RunResult],
    folder: str | os.PathLike[str],
    *,
    baselines: Sequence[dict[str, Any]] = (),
) -> str:
    """Write ``table.md`` and ``table.json`` (process 0 does) and return the Markdown text.

    Parameters
    ----------
    results : sequence of RunResult
        In the order of the table.
    folder : path
        Where the two files go.
    baselines : sequence of dict
        Rows to put first, with the keys of :func:`comparison_rows`.
    """
    rows = [*baselines, *comparison_rows(results)]
    text = markdown_table(rows)
    if current_world().is_main:
        write_json(Path(folder) / "table.json", {"format": 1, "rows": rows})
        atomic_write_text(Path(folder) / "table.md", text + "\n")
    return text


def _readout(row: dict[str, Any]) -> str:
    settings = {**row["readout_options"], **row.get("differs", {})}
    options = ", ".join(f"{key}={value}" for key, value in settings.items())
    name = row["readout"] + (f" ({options})" if options else "")
    if row["backbone"] not in ("", "dmpnn"):
        name = f"{row['backbone']}, {name}"
    beside = ", ".join(f"{key}={weight:g}" for key, weight in row["auxiliary"].items())
    return f"{name}, auxiliary {beside}" if beside else name


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def _std(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
