"""A search for a configuration, by Optuna: every trial is scored on the folds' validation rows."""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dgl_gmpool._io import atomic_write_csv
from dgl_gmpool.data import MoleculeDataset, Splits
from dgl_gmpool.training.batches import derived_seed
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.distributed import TrainingError
from dgl_gmpool.training.fold import fit_fold
from dgl_gmpool.training.metrics import Metric
from dgl_gmpool.training.run_folder import write_json

#: Seconds between two signs of life of a trial, and after how many without it is given up.
HEARTBEAT, GRACE = 30, 120
#: What a study must have in common with the one that is continued.
_RECORD, _CONFIG, _ERROR, _WHERE = "record", "training", "error", "process"


#: Errors of a database, by name, that may be over in a moment.
_PASSING = ("IntegrityError", "OperationalError", "ProgrammingError", "StorageInternalError")


def import_optuna() -> Any:
    """Optuna, quiet.

    Raises
    ------
    ImportError
        It is not installed; the message says how to.
    """
    try:
        import optuna
    except ImportError as error:
        raise ImportError("tune needs Optuna: pip install 'dgl-gmpool[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


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
        trial.set_user_attr(_WHERE, [socket.gethostname(), os.getpid()])
        # A sampler for each trial: the numbers are the study's, so that processes which share it
        # do not try the same, and a search that goes on does not begin again.
        trial.study.sampler = optuna.samplers.TPESampler(
            seed=derived_seed(self.seed, trial.number) % 2**32,
            constant_liar=True,
            n_startup_trials=8,
        )
        config = self.suggest(trial)
        trial.set_user_attr(_CONFIG, config.to_dict())
        scores: list[float] = []

        def report(step: int, best: float) -> None:
            if not np.isnan(best):
                trial.report(float(np.mean([*scores, best])), step)
                if trial.should_prune():
                    raise optuna.TrialPruned

        for number, (train, valid) in enumerate(self.splits.folds):
            log = _Listener(number * config.epochs, self.metric, report)
            try:
                fitted = fit_fold(
                    self.dataset, train, valid, config, fold=number, device=self.device, log=log
                )
            except TrainingError as error:
                trial.set_user_attr(_ERROR, str(error))
                raise
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


def open_study(storage: str, name: str, metric: Metric, record: Mapping[str, Any]) -> Any:
    """The study of this name, new or to be continued; its trials of dead processes come again.

    Parameters
    ----------
    storage : str
        Address of any database that Optuna knows, such as ``sqlite:///study.db``.
    name : str
    metric : Metric
    record : mapping
        Data and splits, as of ``run_record``.

    Raises
    ------
    ValueError
        The study is one of other data, or the storage cannot be opened.
    """
    optuna = import_optuna()
    # Of heartbeats and the constant liar, both years old.
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    for waited in (0.5, 1, 2, 4, None):
        try:
            database = optuna.storages.RDBStorage(
                storage, heartbeat_interval=HEARTBEAT, grace_period=GRACE, **_retry(optuna)
            )
            study = optuna.create_study(
                storage=database,
                study_name=name,
                direction="maximize" if metric.higher_is_better else "minimize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=5),
            )
            break
        except Exception as error:  # of Optuna, SQLAlchemy and the database's driver
            # Two processes that make the tables of a new database at once get in each other's way.
            if waited is not None and type(error).__name__ in _PASSING:
                time.sleep(waited)
                continue
            raise ValueError(
                f"--storage {storage} cannot be opened ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}); give the address of a database, such as "
                "sqlite:///study.db"
            ) from error
    known = study.user_attrs.get(_RECORD)
    if known is None:
        study.set_user_attr(_RECORD, record)
    elif known != record:
        changed = [key for key in record if known.get(key) != record[key]]
        raise ValueError(
            f"the study {name!r} in {storage} is of other {' and '.join(changed)}; continue it "
            "with the same data, splits and metric, or name another with --study"
        )
    _give_up_dead_trials(optuna, study)
    return study


def _retry(optuna: Any) -> dict[str, Any]:
    """The option that lets a trial of a process that has died come again, in any Optuna."""
    storages = optuna.storages
    if hasattr(storages, "RetryHeartbeatStaleTrialCallback"):
        again = storages.RetryHeartbeatStaleTrialCallback(max_retry=2)
        return {"heartbeat_stale_trial_callback": again}
    return {"failed_trial_callback": storages.RetryFailedTrialCallback(max_retry=2)}


def _give_up_dead_trials(optuna: Any, study: Any) -> None:
    """At once for processes of this machine; those of others after :data:`GRACE` seconds."""
    running = optuna.trial.TrialState.RUNNING
    for trial in study.get_trials(deepcopy=False, states=(running,)):
        host, process = trial.user_attrs.get(_WHERE, ["", 0])
        if host == socket.gethostname() and not _alive(process):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


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


def finished_trials(study: Any) -> list[Any]:
    """Trials that came to an end of their own, in order."""
    optuna = import_optuna()
    state = optuna.trial.TrialState
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (state.COMPLETE, state.PRUNED) or _ERROR in trial.user_attrs
    ]


def best_trial(study: Any) -> Any | None:
    """The best of the trials that were not ended early, or None."""
    optuna = import_optuna()
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    complete = [trial for trial in complete if trial.value == trial.value]
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    return min(complete, key=lambda trial: sign * trial.value, default=None)


def write_best(
    path: Path, study: Any, *, splits: Mapping[str, Any], source: Mapping[str, Any]
) -> None:
    """The best configuration as ``train --config`` takes it; nothing while there is none."""
    best = best_trial(study)
    if best is not None:
        found = {"training": best.user_attrs[_CONFIG], "splits": dict(splits)}
        write_json(path, {**found, "source": dict(source)})


def write_trials(path: Path, study: Any, metric: Metric) -> None:
    """One row per trial: its state, score, time and settings."""
    trials = study.get_trials(deepcopy=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    header = ["trial", "state", f"valid {metric.name}", "epochs", "seconds", *names, "error"]
    rows: list[list[Any]] = [header]
    for trial in trials:
        length: timedelta | None = trial.duration
        values = trial.intermediate_values
        score = trial.value
        if score is None and values:
            score = values[max(values)]
        rows.append(
            [
                trial.number,
                trial.state.name.lower(),
                "" if score is None else repr(float(score)),
                len(values),
                "" if length is None else f"{length.total_seconds():.1f}",
                *(trial.params.get(name, "") for name in names),
                trial.user_attrs.get(_ERROR, ""),
            ]
        )
    atomic_write_csv(path, rows)
