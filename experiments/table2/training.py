"""One training of the comparison: a configuration on one fold, scored."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dgl_gmpool.data import MoleculeDataset, Splits
from dgl_gmpool.training.batches import derived_seed
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.fold import FittedFold, fit_fold
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.model import count_parameters
from dgl_gmpool.training.scores import scores
from experiments.table2.chemprop_rival import fit_chemprop
from experiments.table2.controls import control_readouts
from experiments.table2.datasets import ComparisonData
from experiments.table2.forest import fit_forest
from experiments.table2.rows import Row

#: What every network gets alike; grid and rows add to it.
BUDGET: Mapping[str, Any] = {
    "hidden_feats": 64,
    "dropout": 0.0,
    "batch_size": 40,
    "schedule": "one_cycle",
    "readout_norm": "batch",
}

#: Epochs where configurations are compared, as a share of those of the table.
SEARCH_EPOCHS = 0.5


@dataclass(frozen=True)
class Trained:
    """What came of it.

    Attributes
    ----------
    valid : float
        Score of the validation rows.
    outputs : numpy.ndarray or None
        ``(test rows, tasks)``: logits or probabilities, or values in the target's unit; None
        where the test rows were not to be looked at.
    test : float
        Their score; NaN without them.
    best_epoch, epochs, parameters : int or None
    seconds : float
    """

    valid: float
    outputs: np.ndarray | None
    test: float
    best_epoch: int | None
    epochs: int | None
    parameters: int | None
    seconds: float


def settings(
    row: Row,
    configuration: Mapping[str, Any],
    data: ComparisonData,
    *,
    search: bool = False,
    budget: Mapping[str, Any] = BUDGET,
) -> str:
    """Everything that decides the numbers of a training besides data, seed and fold, as JSON.

    Rows whose settings are equal are one training.
    """
    options = {**budget, **configuration}
    epochs = max(1, round(data.epochs * (SEARCH_EPOCHS if search else 1)))
    descriptors = options.pop("descriptors")
    if row.kind == "forest":
        record = {name: options[name] for name in options if name not in budget}
    elif row.kind == "chemprop":
        record = {
            "epochs": epochs,
            "batch_size": options["batch_size"],
            "hidden": options["hidden_feats"],
            "ffn_hidden": options["hidden_feats"],
            **{name: options[name] for name in options if name not in budget},
            "dropout": options["dropout"],
        }
    else:
        # The budget is fixed: nothing stops early, the best epoch is kept.
        record = TrainingConfig(**options, epochs=epochs, patience=epochs).to_dict()
        del record["seed"]
    return json.dumps({"kind": row.kind, "descriptors": descriptors, **record}, sort_keys=True)


def train(
    text: str,
    dataset: MoleculeDataset,
    splits: Splits,
    *,
    seed: int,
    fold: int = 0,
    search: bool = False,
) -> Trained:
    """Train what :func:`settings` wrote on one fold. With ``search``, the test rows are not scored
    and what is predicted for them is thrown away: nothing is ever chosen by a test score.

    Parameters
    ----------
    dataset : MoleculeDataset
        With descriptors where the settings ask for them.
    """
    record = json.loads(text)
    kind = record.pop("kind")
    del record["descriptors"]
    table = dataset.table
    rows, valid_rows = splits.folds[fold]
    metric = choose_metric(table.kind).name
    started = time.perf_counter()
    outputs: np.ndarray | None
    if kind == "network":
        config = TrainingConfig(seed=seed, **record)
        with control_readouts():
            fitted = fit_fold(dataset, rows, valid_rows, config, fold=fold)
        valid, best_epoch, epochs = fitted.best_score, fitted.best_epoch, len(fitted.history)
        parameters: int | None = count_parameters(fitted.model)
        outputs = None if search else _network_outputs(fitted, dataset, splits, config)
    else:
        fit = fit_forest if kind == "forest" else fit_chemprop
        found = fit(
            dataset, rows, valid_rows, splits.test, seed=derived_seed(seed, fold) % 2**31, **record
        )
        best_epoch, epochs, parameters = found.best_epoch, found.epochs, found.parameters
        valid = scores(table.kind, table.targets[np.asarray(valid_rows)], found.valid)[metric]
        outputs = None if search else found.test
    test = float("nan")
    if outputs is not None:
        test = scores(table.kind, table.targets[np.asarray(splits.test)], outputs)[metric]
    seconds = time.perf_counter() - started
    return Trained(
        float(valid), outputs, float(test), best_epoch, epochs, parameters, round(seconds, 2)
    )


def _network_outputs(
    fitted: FittedFold, dataset: MoleculeDataset, splits: Splits, config: TrainingConfig
) -> np.ndarray:
    table = dataset.table
    extra = table.global_feats
    return fitted.trained(dataset, config).outputs(
        dataset.graphs[np.asarray(splits.test)],
        global_feats=None if extra is None else extra[np.asarray(splits.test)],
        batch_size=config.batch_size,
    )


def ensemble_outputs(kind: str, folds: list[np.ndarray], logits: bool) -> np.ndarray:
    """The average of the folds' predictions: of probabilities for a classification.

    Examples
    --------
    >>> ensemble_outputs("classification", [np.array([[0.0]]), np.array([[800.0]])], True)
    array([[0.75]])
    """
    if kind == "classification" and logits:
        folds = [1 / (1 + np.exp(-np.clip(each, -700, 700))) for each in folds]
    return np.mean(folds, axis=0)
