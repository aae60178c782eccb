"""What a run folder tells in the end: scores, learning curves, predictions of the test rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dgl_gmpool._io import atomic_write_csv
from dgl_gmpool.data import MoleculeDataset, MoleculeTable, Splits
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.fold_data import table_task
from dgl_gmpool.training.history import write_history
from dgl_gmpool.training.metrics import choose_metric, metrics_of
from dgl_gmpool.training.run_folder import FoldFiles, RunFolder, write_json
from dgl_gmpool.training.scores import mean_and_std
from dgl_gmpool.training.table_task import TableTask
from dgl_gmpool.training.uncertainty import write_uncertainty


def write_summary(
    files: RunFolder,
    dataset: MoleculeDataset,
    splits: Splits,
    config: TrainingConfig,
    results: list[dict[str, Any]],
) -> None:
    """Write everything that follows from the folds finished so far; ``metrics.json`` comes last,
    and is complete once final models, where they are asked for, are in it."""
    table, complete = dataset.table, len(results) == len(splits.folds)
    write_history(files.history, [(result["fold"], result["history"]) for result in results])

    metric = choose_metric(table.kinds, config.metric)
    summary: dict[str, Any] = {
        "format": 1,
        "complete": complete and not config.final,
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "kind": table.kind,
        "units": table.units,
        "test_rows": len(splits.test),
        "folds_planned": len(splits.folds),
        "parameters": results[0]["parameters"],
        "seconds": sum(result["seconds"] for result in results),
        "std": "sample standard deviation over the folds (divides by folds - 1)",
        "test": _mean_and_std(results, "test", table.kinds),
        "valid": _mean_and_std(results, "valid", table.kinds),
        "folds": [
            {key: value for key, value in result.items() if key != "history"} for result in results
        ],
    }
    if config.final:
        summary["final"] = []
    if complete:
        task = table_task(table, config)
        outputs = [_outputs(files.fold(result["fold"]), "test") for result in results]
        predictions = task.link(np.stack(outputs))
        mean = predictions.mean(axis=0)
        targets = table.targets[np.asarray(splits.test, dtype=np.int64)]
        summary["ensemble_test"] = task.prediction_scores(
            targets, mean, **table.bounds(splits.test)
        )
        # One row per test row, in its order, with the folds' predictions behind their mean.
        tested = _with_predictions(table, splits.test, task, mean, predictions)
        atomic_write_csv(files.predictions, tested)
        atomic_write_csv(files.valid_predictions, _valid_rows(files, dataset, splits, task))
        write_uncertainty(files, table, splits, task, final=config.final)
    write_json(files.metrics, summary)


def _valid_rows(
    files: RunFolder, dataset: MoleculeDataset, splits: Splits, task: TableTask
) -> list[list[Any]]:
    """One row per validation row of every fold, predicted by the model that did not train on it."""
    header: list[Any] = []
    rows: list[list[Any]] = []
    for fold, (_, valid) in enumerate(splits.folds):
        found = task.link(_outputs(files.fold(fold), "valid"))
        header, *own = _with_predictions(dataset.table, valid, task, found)
        rows += [[fold, *cells] for cells in own]
    return [["fold", *header], *rows]


def _with_predictions(
    table: MoleculeTable,
    rows: Sequence[int],
    task: TableTask,
    predictions: np.ndarray,
    folds: Sequence[np.ndarray] | np.ndarray = (),
) -> list[list[Any]]:
    """Header and rows of a table: molecule, what was measured and predicted; every number
    round-trips."""
    header = ["id", "smiles"]
    columns: list[list[Any]] = [[part[row] for row in rows] for part in (table.ids, table.smiles)]
    for number, name in enumerate(table.task_names):
        header.append(name)
        columns.append([table.measured_text(row, number) for row in rows])
        classes = task.predicted_classes(name, predictions)
        if classes is not None:
            header.append(f"{name} predicted")
            columns.append(classes)
        numbers, own = task.columns(name), range(task.width)[task.outputs_of(number)]
        header += numbers
        columns += [predictions[:, at].tolist() for at in own]
        for shown, at in zip(numbers, own):
            what = name if classes is None else shown
            header += [f"{what} fold {fold}" for fold in range(len(folds))]
            columns += [fold[:, at].tolist() for fold in folds]
    return [header, *map(list, zip(*columns))]


def _outputs(files: FoldFiles, part: str) -> np.ndarray:
    with np.load(files.outputs) as saved:
        outputs: np.ndarray = saved[f"{part}_outputs"]
    return outputs


def _mean_and_std(
    results: Sequence[dict[str, Any]], part: str, kinds: Sequence[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in (metric.name for metric in metrics_of(kinds)):
        # Folds finished by 0.2.0 have fewer scores.
        values = [result[part][name] for result in results if result[part].get(name) is not None]
        mean, std = mean_and_std(values)
        found[name] = {"mean": mean, "std": std, "folds": len(values)}
    return found
