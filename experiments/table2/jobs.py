"""One job of the comparison: train one configuration of one method on one fold."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dgl_gmpool.data import MoleculeDataset, Splits
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.fold import fit_fold
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.model import count_parameters
from dgl_gmpool.training.model_file import TrainedModel
from dgl_gmpool.training.provenance import featurizer_name
from dgl_gmpool.training.scores import scores
from experiments.table2.chemprop_rival import fit_chemprop
from experiments.table2.datasets import ComparisonData
from experiments.table2.forest import fit_forest
from experiments.table2.methods import Method


@dataclass(frozen=True)
class Budget:
    """What every network gets alike.

    Attributes
    ----------
    hidden_feats, num_steps, dropout, batch_size, lr, schedule, readout_norm
        As in :class:`~dgl_gmpool.training.TrainingConfig`.
    epochs_scale : float
        Multiplies the epochs of each data set; below 1 for a first look.
    tuning_scale : float
        Multiplies them once more where configurations are compared; all else is as it is later.
    """

    hidden_feats: int = 64
    num_steps: int = 3
    dropout: float = 0.0
    batch_size: int = 40
    lr: float = 5e-3
    schedule: str = "one_cycle"
    readout_norm: str = "batch"
    epochs_scale: float = 1.0
    tuning_scale: float = 0.75

    def epochs(self, data: ComparisonData, *, tuning: bool = False) -> int:
        """Epochs of every network on this data set."""
        scale = self.epochs_scale * (self.tuning_scale if tuning else 1)
        return max(1, round(data.epochs * scale))


@dataclass(frozen=True)
class Job:
    """A fold to train.

    Attributes
    ----------
    dataset, method : str
        Names.
    trial : int
        Which of the method's configurations.
    seed, fold : int
        Seed of splits and weights; number of the fold.
    tuning : bool
        Only the validation rows are scored: nothing is ever chosen by a test score.
    """

    dataset: str
    method: str
    trial: int
    seed: int
    fold: int
    tuning: bool = False

    def __str__(self) -> str:
        part = f"configuration {self.trial}" if self.tuning else f"seed {self.seed}"
        return f"{self.dataset}, {self.method}, {part}, fold {self.fold}"


@dataclass(frozen=True)
class JobResult:
    """What a job found; ``error`` is the message of a training that failed.

    Attributes
    ----------
    valid, test : float
        Scores; NaN where there is none.
    test_outputs : numpy.ndarray or None
        ``(test rows, tasks)``: logits or probabilities, or values in the target's unit.
    """

    valid: float
    test: float
    test_outputs: np.ndarray | None
    test_rows: int
    best_epoch: int | None
    epochs: int | None
    parameters: int | None
    seconds: float
    error: str = ""


def job_settings(
    method: Method, trial: int, data: ComparisonData, budget: Budget, *, tuning: bool = False
) -> str:
    """Everything that decides a job's numbers besides data, seed and fold, as JSON text."""
    options, epochs = method.options(trial), budget.epochs(data, tuning=tuning)
    if method.kind == "network":
        config = _training_config(method, trial, data, budget, epochs=epochs, seed=0)
        record = config.to_dict()
        del record["seed"]
        return json.dumps(record, sort_keys=True)
    if method.kind == "chemprop":
        options = {**_chemprop_budget(budget, epochs), **options}
    return json.dumps(options, sort_keys=True)


def run_job(
    job: Job,
    method: Method,
    data: ComparisonData,
    dataset: MoleculeDataset,
    splits: Splits,
    budget: Budget,
) -> JobResult:
    """Train and score."""
    train, valid = splits.folds[job.fold]
    test: Sequence[int] = splits.test
    started = time.perf_counter()
    kind, targets = dataset.table.kind, dataset.table.targets
    metric = choose_metric(kind).name
    planned = budget.epochs(data, tuning=job.tuning)
    parameters: int | None
    best_epoch: int | None
    epochs: int | None
    if method.kind == "network":
        config = _training_config(method, job.trial, data, budget, epochs=planned, seed=job.seed)
        fitted = fit_fold(dataset, train, valid, config, fold=job.fold)
        best_epoch, epochs = fitted.best_epoch, len(fitted.history)
        parameters = count_parameters(fitted.model)
        valid_score = fitted.best_score
        outputs = None
        if not job.tuning:
            model = TrainedModel(
                fitted.model,
                kind,
                dataset.table.task_names,
                dataset.table.units,
                fitted.target_scaler,
                fitted.global_scaler,
                featurizer_name(dataset),
            )
            rows = np.asarray(test)
            extra = dataset.table.global_feats
            outputs = model.outputs(
                dataset.graphs[rows],
                global_feats=None if extra is None else extra[rows],
                batch_size=budget.batch_size,
            )
    else:
        options = method.options(job.trial)
        # A random forest trains on all its rows at once; a tuning job still never sees the test
        # set's labels, and its test predictions are not kept.
        if method.kind == "forest":
            fold = fit_forest(dataset, train, valid, test, seed=_rival_seed(job), **options)
        else:
            options = {**_chemprop_budget(budget, planned), **options}
            fold = fit_chemprop(dataset, train, valid, test, seed=_rival_seed(job), **options)
        best_epoch, epochs, parameters = fold.best_epoch, fold.epochs, fold.parameters
        valid_score = scores(kind, targets[np.asarray(valid)], fold.valid)[metric]
        outputs = None if job.tuning else fold.test
    test_score = float("nan")
    if outputs is not None:
        test_score = scores(kind, targets[np.asarray(test)], outputs)[metric]
    return JobResult(
        valid=float(valid_score),
        test=float(test_score),
        test_outputs=outputs,
        test_rows=len(test),
        best_epoch=best_epoch,
        epochs=epochs,
        parameters=parameters,
        seconds=time.perf_counter() - started,
    )


def _training_config(
    method: Method, trial: int, data: ComparisonData, budget: Budget, *, epochs: int, seed: int
) -> TrainingConfig:
    shared = asdict(budget)
    del shared["epochs_scale"], shared["tuning_scale"]
    # The budget is fixed: nothing stops early, the best epoch is kept.
    options = {**shared, "epochs": epochs, "patience": epochs, **method.options(trial)}
    if method.auxiliary:
        options["auxiliary"] = data.auxiliary
    return TrainingConfig(seed=seed, **options)


def _chemprop_budget(budget: Budget, epochs: int) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "batch_size": budget.batch_size,
        "hidden": budget.hidden_feats,
        "ffn_hidden": budget.hidden_feats,
        "depth": budget.num_steps,
        "dropout": budget.dropout,
    }


def _rival_seed(job: Job) -> int:
    return 1000 * job.seed + job.fold
