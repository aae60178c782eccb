"""A search for a configuration, by Optuna: every trial is scored on the folds' validation rows."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dgl_gmpool.data import MoleculeDataset, Splits
from dgl_gmpool.training.batches import derived_seed
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.distributed import TrainingError
from dgl_gmpool.training.fold import fit_fold
from dgl_gmpool.training.metrics import Metric
from dgl_gmpool.training.study import CONFIG, ERROR, WHERE, finished_trials, import_optuna


@dataclass(frozen=True)
class Search:
    """A search over configurations of one data set.

    Attributes
    ----------
    dataset : MoleculeDataset
        With all descriptors that a trial may ask for.
    splits : Splits
        Its test rows are never looked at.
    suggest : callable
        From a trial to its configuration.
    metric : Metric
    device : torch.device
    seed : int
        Trials follow from it and their numbers.
    """

    dataset: MoleculeDataset
    splits: Splits
    suggest: Callable[[Any], TrainingConfig]
    metric: Metric
    device: torch.device
    seed: int = 0

    def __call__(self, trial: Any) -> float:
        """Mean validation score over the folds, each of its best epoch.

        After every epoch Optuna hears the mean over the folds so far, and may end the trial.
        """
        optuna = import_optuna()
        trial.set_user_attr(WHERE, [socket.gethostname(), os.getpid()])
        # A sampler for each trial: the numbers are the study's, so that processes which share it
        # do not try the same, and a search that goes on does not begin again.
        trial.study.sampler = optuna.samplers.TPESampler(
            seed=derived_seed(self.seed, trial.number) % 2**32,
            constant_liar=True,
            n_startup_trials=8,
        )
        try:
            return self._score(trial)
        except (TrainingError, ValueError) as error:
            # Of this trial's settings: data and flags were checked before.
            trial.set_user_attr(ERROR, str(error))
            raise TrainingError(str(error)) from error

    def _score(self, trial: Any) -> float:
        optuna = import_optuna()
        config = self.suggest(trial)
        trial.set_user_attr(CONFIG, config.to_dict())
        scores: list[float] = []

        def report(step: int, best: float) -> None:
            if not np.isnan(best):
                trial.report(float(np.mean([*scores, best])), step)
                if trial.should_prune():
                    raise optuna.TrialPruned

        for number, (train, valid) in enumerate(self.splits.folds):
            log = _Listener(number * config.epochs, self.metric, report)
            fitted = fit_fold(
                self.dataset, train, valid, config, fold=number, device=self.device, log=log
            )
            scores.append(fitted.best_score)
        return float(np.mean(scores))


class _Listener:
    """Hears of every epoch of a fold."""

    def __init__(self, start: int, metric: Metric, tell: Callable[[int, float], None]) -> None:
        self._start, self._tell = start, tell
        self._best = max if metric.higher_is_better else min

    def begin(self, fold: int, history: Sequence[dict[str, Any]]) -> None:
        """Nothing is kept of a trial that was interrupted."""

    def epoch(self, history: Sequence[dict[str, Any]]) -> None:
        scores = [row["valid_score"] for row in history if not np.isnan(row["valid_score"])]
        best = self._best(scores) if scores else float("nan")
        self._tell(self._start + len(history), best)


def run_search(
    study: Any,
    search: Search,
    *,
    trials: int | None,
    timeout: float | None,
    first: Mapping[str, Any],
    tell: Callable[[Any, Any], None],
) -> None:
    """Try configurations until the study has ``trials`` of them, or ``timeout`` seconds are over.

    Trials of other processes on the study count; a pruned one does, and one that could not be
    trained, but not one that was interrupted.

    Parameters
    ----------
    study : optuna.Study
    search : Search
    trials : int or None
    timeout : float or None
    first : mapping
        Values to try before all others.
    tell : callable
        Told of every trial that ends here: ``tell(study, trial)``.
    """
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(dict(first), skip_if_exists=True)

    def done(study: Any, trial: Any = None) -> bool:
        return trials is not None and len(finished_trials(study)) >= trials

    def after(study: Any, trial: Any) -> None:
        tell(study, trial)
        if done(study):
            study.stop()

    if not done(study):
        study.optimize(search, timeout=timeout, catch=(TrainingError,), callbacks=[after])
