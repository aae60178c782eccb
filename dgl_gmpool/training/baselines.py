"""Rows of the table for what needs no network: the training mean, and a random forest.

They see the same rows as the models of each fold and are scored on the same test rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dgl_gmpool._options import check_choice
from dgl_gmpool.data import MoleculeTable, Splits
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.fold_data import table_task
from dgl_gmpool.training.forest import forest_predictions
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.table import score_columns

#: Trees of the forest: 300 take three times as long for 1 % of the error (sodium channel).
TREES = 100
#: Cells of targets up to which the forest costs a few percent of what training does.
MOST_CELLS = 50_000


def mean_predictions(
    table: MoleculeTable, train: np.ndarray, asked: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """The weighted mean of the measured training rows, or the shares of their classes, for all.

    Examples
    --------
    >>> from dgl_gmpool.data import load_sodium_channel
    >>> table = load_sodium_channel().take(range(4))
    >>> found = mean_predictions(table, np.arange(3), np.arange(3, 4))
    >>> bool(found[0, 0] == table.targets[:3].mean())
    True
    """
    columns: list[float] = []
    weights = np.ones(len(train)) if table.weights is None else table.weights[train]
    for targets, classes in zip(table.targets[train].T, table.classes):
        measured = ~np.isnan(targets)
        held, share = targets[measured], weights[measured]
        values = [held == each for each in range(len(classes))] or [held]
        columns += [float(np.average(each, weights=share)) for each in values]
    return np.tile(columns, (len(asked), 1))


#: Name of a baseline -> what the table calls it, and its predictions of test rows.
BASELINES: dict[str, tuple[str, Callable[..., np.ndarray]]] = {
    "mean": ("training mean", mean_predictions),
    "forest": (
        "random forest, Morgan fingerprints",
        lambda *given, seed: forest_predictions(*given, seed=seed, trees=TREES),
    ),
}


def baseline_row(
    name: str,
    table: MoleculeTable,
    splits: Mapping[int, Splits],
    config: TrainingConfig | None = None,
) -> dict[str, Any]:
    """A row with the keys of :func:`~dgl_gmpool.training.table.comparison_rows`.

    Parameters
    ----------
    name : str
        A key of :data:`BASELINES`.
    table : MoleculeTable
    splits : mapping of int to Splits
        By seed.
    config : TrainingConfig, optional
        Whose scores are shown.

    Raises
    ------
    ValueError
        The name is not known.
    """
    label, predict = BASELINES[check_choice("baseline", name, BASELINES)]
    config = TrainingConfig() if config is None else config
    task = table_task(table)
    folds: list[dict[str, Any]] = []
    averaged = []
    for seed, part in splits.items():
        test = np.asarray(part.test)
        truth, bounds = table.targets[test], table.bounds(test)
        found = [
            predict(table, np.asarray(train), test, seed=1000 * seed + number)
            for number, (train, _) in enumerate(part.folds)
        ]
        folds += [task.prediction_scores(truth, each, **bounds) for each in found]
        averaged.append(task.prediction_scores(truth, np.mean(found, axis=0), **bounds))
    metric = choose_metric(table.kinds, config.metric).name
    return {
        "label": label,
        "backbone": "",
        "readout": label,
        "readout_options": {},
        "auxiliary": {},
        "levels": None,
        "seeds": list(splits),
        **score_columns(metric, config.metric, folds, averaged),
        "units": table.units,
        "test_rows": len(next(iter(splits.values())).test),
        "parameters": None,
        "seconds": None,
        "folders": [],
    }


def baseline_rows(
    names: Sequence[str] | None,
    table: MoleculeTable,
    splits: Mapping[int, Splits],
    config: TrainingConfig | None = None,
) -> list[dict[str, Any]]:
    """:func:`baseline_row` of several names, ``"none"`` aside; None takes all that cost little."""
    if names is None:
        names = list(BASELINES) if table.targets.size <= MOST_CELLS else ["mean"]
    return [baseline_row(name, table, splits, config) for name in names if name != "none"]
