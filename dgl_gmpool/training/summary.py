"""What a run folder tells in the end: scores, learning curves, predictions of the test rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgl_gmpool._io import atomic_write_text
from dgl_gmpool.data import MoleculeDataset, Splits
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.history import write_history
from dgl_gmpool.training.metrics import choose_metric, metrics_of, scores
from dgl_gmpool.training.run_folder import FoldFiles, RunFolder, write_json
from dgl_gmpool.training.task import Task, get_task
from dgl_gmpool.training.uncertainty import write_uncertainty


def write_summary(
    files: RunFolder,
    dataset: MoleculeDataset,
    splits: Splits,
    config: TrainingConfig,
    results: list[dict[str, Any]],
) -> None:
    """Write everything that follows from the folds finished so far; ``metrics.json`` comes last."""
    table, complete = dataset.table, len(results) == len(splits.folds)
    write_history(files.history, [(result["fold"], result["history"]) for result in results])

    metric = choose_metric(table.kind, config.metric)
    summary: dict[str, Any] = {
        "format": 1,
        "complete": complete,
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "kind": table.kind,
        "units": table.units,
        "test_rows": len(splits.test),
        "folds_planned": len(splits.folds),
        "parameters": results[0]["parameters"],
        "seconds": sum(result["seconds"] for result in results),
        "std": "sample standard deviation over the folds (divides by folds - 1)",
        "test": _mean_and_std(results, "test", table.kind),
        "valid": _mean_and_std(results, "valid", table.kind),
        "folds": [
            {key: value for key, value in result.items() if key != "history"} for result in results
        ],
    }
    if complete:
        task = get_task(table.kind, config.loss)
        outputs = [_outputs(files.fold(result["fold"]), "test") for result in results]
        predictions = task.link(np.stack(outputs))
        mean = predictions.mean(axis=0)
        targets = table.targets[np.asarray(splits.test)]
        summary["ensemble_test"] = scores(table.kind, targets, mean)
        _write_csv(files.predictions, _prediction_rows(dataset, splits, task, predictions, mean))
        _write_csv(files.valid_predictions, _valid_rows(files, dataset, splits, task))
        write_uncertainty(files, table, splits, task)
    write_json(files.metrics, summary)


def _valid_rows(
    files: RunFolder, dataset: MoleculeDataset, splits: Splits, task: Task
) -> list[list[Any]]:
    """One row per validation row of every fold, predicted by the model that did not train on it."""
    table = dataset.table
    header = ["fold", "id", "smiles"]
    for name in table.task_names:
        header += [name, *task.columns(name)]
    rows: list[list[Any]] = [header]
    for fold, (_, valid) in enumerate(splits.folds):
        predictions = task.link(_outputs(files.fold(fold), "valid"))
        for place, row in enumerate(valid):
            cells: list[Any] = [fold, table.ids[row], table.smiles[row]]
            for column in range(len(table.task_names)):
                target, found = table.targets[row, column], predictions[place, column]
                cells += ["" if np.isnan(target) else str(target), float(found)]
            rows.append(cells)
    return rows


def _prediction_rows(
    dataset: MoleculeDataset,
    splits: Splits,
    task: Task,
    predictions: np.ndarray,
    mean: np.ndarray,
) -> list[list[Any]]:
    """One row per test row, in its order; every number round-trips."""
    table = dataset.table
    header = ["id", "smiles"]
    for name in table.task_names:
        header += [name, *task.columns(name)]
        header += [f"{name} fold {fold}" for fold in range(len(predictions))]
    rows: list[list[Any]] = [header]
    for place, row in enumerate(splits.test):
        cells: list[Any] = [table.ids[row], table.smiles[row]]
        for column in range(len(table.task_names)):
            target = table.targets[row, column]
            # str of a number is the shortest text that reads back as the same number.
            cells += ["" if np.isnan(target) else str(target), float(mean[place, column])]
            cells += [float(value) for value in predictions[:, place, column]]
        rows.append(cells)
    return rows


def _outputs(files: FoldFiles, part: str) -> np.ndarray:
    with np.load(files.outputs) as saved:
        outputs: np.ndarray = saved[f"{part}_outputs"]
    return outputs


def _mean_and_std(results: Sequence[dict[str, Any]], part: str, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (metric.name for metric in metrics_of(kind)):
        values = [result[part][name] for result in results if result[part][name] is not None]
        found[name] = {
            "mean": float(np.mean(values)) if values else None,
            "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "folds": len(values),
        }
    return found


def _write_csv(path: Path, rows: list[list[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    atomic_write_text(path, text.getvalue())
