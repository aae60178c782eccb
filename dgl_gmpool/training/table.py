"""The table at the end of a recipe: one row per model, mean and spread of its test scores."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dgl_gmpool._io import atomic_write_text
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.distributed import current_world
from dgl_gmpool.training.metrics import BESIDE, METRICS
from dgl_gmpool.training.run import RunResult
from dgl_gmpool.training.run_folder import write_json
from dgl_gmpool.training.scores import mean_and_std
from dgl_gmpool.training.table_text import markdown_table


def comparison_rows(results: Sequence[RunResult]) -> list[dict[str, Any]]:
    """One dict per configuration; the seeds of a configuration are put together.

    Configurations that differ in anything else are apart; where the model's label does not tell
    them apart, ``differs`` holds the settings that do, and the label names them. ``scores`` has, by
    name, ``mean`` and ``std`` over the test scores of all folds of all seeds (``std`` dividing by
    their number - 1), and ``averaged``: the score of the folds' mean prediction, averaged over the
    seeds. ``shown`` names those that the table shows; ``mean`` and ``std`` beside ``metric`` are of
    the first. ``targets`` has name, score and value of each target, averaged. NaN is not defined.
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
        folds = [fold["test"] for run in runs for fold in run.metrics["folds"]]
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
                **score_columns(
                    runs[0].metrics["metric"],
                    runs[0].config.metric,
                    folds,
                    [run.metrics.get("ensemble_test", {}) for run in runs],
                ),
                "units": runs[0].metrics["units"],
                "test_rows": runs[0].metrics["test_rows"],
                "parameters": runs[0].metrics["parameters"],
                "seconds": float(sum(run.metrics["seconds"] for run in runs)),
                "folders": [run.folder.name for run in runs],
                "final": runs[0].config.final,
            }
        )
    return rows


def score_columns(
    metric: str,
    chosen: str | Sequence[str] | None,
    folds: Sequence[dict[str, Any]],
    averaged: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """What a row of the table says of scores.

    Parameters
    ----------
    metric : str
        The one that picks the epoch.
    chosen : str, sequence of str or None
        The configuration's.
    folds, averaged : sequence of dict
        :func:`~dgl_gmpool.training.scores.scores` of each model, and of each seed's mean.
    """
    names = [name for name in (*METRICS, "bounds_respected") if name in folds[0]]
    found = {}
    for name in names:
        mean, std = mean_and_std(fold.get(name) for fold in folds)
        together, _ = mean_and_std(each.get(name) for each in averaged)
        found[name] = {"mean": mean, "std": std, "averaged": together}
    several = chosen is not None and not isinstance(chosen, str)
    shown = list(chosen or ()) if several else [metric, *BESIDE[metric]]
    return {
        "models": len(folds),
        "metric": metric,
        "mean": found[metric]["mean"],
        "std": found[metric]["std"],
        "shown": [name for name in shown if name in found],
        "scores": found,
        "targets": _by_target(shown, [each.get("per_task", []) for each in averaged]),
    }


def _by_target(
    shown: Sequence[str], averaged: Sequence[Sequence[dict[str, Any]]]
) -> list[tuple[str, str, float]]:
    """Name, score and value of each target: the first score shown that its kind has."""
    targets = []
    for place, row in enumerate(averaged[0]):
        name = next((name for name in (*shown, *METRICS) if name in row), "")
        if "target" in row and name:  # not in runs of 0.2.0
            value, _ = mean_and_std(each[place].get(name) for each in averaged)
            targets.append((row["target"], name, value))
    return targets


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
