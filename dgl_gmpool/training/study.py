"""A study: Optuna's record of a search, that goes on and that several processes share."""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from dgl_gmpool._io import atomic_write_csv
from dgl_gmpool._options import as_typed
from dgl_gmpool.training.config import BEFORE, TrainingConfig
from dgl_gmpool.training.metrics import Metric
from dgl_gmpool.training.run_folder import write_json
from dgl_gmpool.training.search_space import Choices, Range, Space

#: Seconds between two signs of life of a trial, and after how many without it is given up.
HEARTBEAT, GRACE = 30, 120
#: What a trial says of itself: its configuration, why it failed, and who trains it.
CONFIG, ERROR, WHERE = "training", "error", "process"
#: What a study must have in common with the one that is continued.
_RECORD = "record"

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


def space_of_study(study: Any, space: Space) -> Space:
    """``space`` with the choices of the study's earlier trials in their order.

    Raises
    ------
    ValueError
        Other choices than before, or choices in place of a range; a range may change its ends.
    """
    tried: Space = {}
    for trial in study.get_trials(deepcopy=False):
        for name, each in trial.distributions.items():
            choices = getattr(each, "choices", None)
            before = Range(each.low, each.high) if choices is None else Choices(tuple(choices))
            if name in space and (choices is not None or not isinstance(space[name], Range)):
                tried[name] = before
    for name, before in tried.items():
        if set(before.tried()) != set(space[name].tried()) or type(before) is not type(space[name]):
            whole = [f"{each}={values}" for each, values in {**space, **tried}.items()]
            raise ValueError(
                f"--space {name}={space[name]}: the study {study.study_name!r} has tried "
                f"{name}={before}, and its choices stay as they are; continue it with "
                f"{as_typed('--space', *whole)} in place of the flags that list others, or name "
                "another study with --study"
            )
    return {**space, **tried}


def other_settings(study: Any, base: TrainingConfig, searched: Sequence[str]) -> list[str]:
    """Sentences on what the study's earlier trials were trained with, and these will not be."""
    # These hang on what is searched.
    own = {*searched, *(("readout_options",) if "readout" in searched else ()), "lift"}
    new = base.to_dict()
    found: dict[str, None] = {}
    for trial in study.get_trials(deepcopy=False):
        old = {**BEFORE, **trial.user_attrs.get(CONFIG, new)}
        for name in sorted({*old, *new} - own):
            if old.get(name) != new.get(name):
                found[f"{name} {old.get(name)}, now {new.get(name)}"] = None
    return [
        f"earlier trials of the study had {change}: their scores are compared with those from now "
        "on all the same; --study NAME begins another"
        for change in found
    ]


def trial_error(trial: Any) -> str:
    """Why a trial could not be trained, or nothing."""
    return str(trial.user_attrs.get(ERROR, ""))


def _give_up_dead_trials(optuna: Any, study: Any) -> None:
    """At once for processes of this machine; those of others after :data:`GRACE` seconds."""
    running = optuna.trial.TrialState.RUNNING
    for trial in study.get_trials(deepcopy=False, states=(running,)):
        host, process = trial.user_attrs.get(WHERE, ["", 0])
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


def finished_trials(study: Any) -> list[Any]:
    """Trials that came to an end of their own, in order."""
    optuna = import_optuna()
    state = optuna.trial.TrialState
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (state.COMPLETE, state.PRUNED) or ERROR in trial.user_attrs
    ]


def best_trial(study: Any) -> Any | None:
    """The best of the trials that were not ended early, or None."""
    optuna = import_optuna()
    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    complete = [trial for trial in complete if trial.value == trial.value]
    sign = -1 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1
    return min(complete, key=lambda trial: sign * trial.value, default=None)


def write_best(
    path: Path, study: Any, record: Callable[[TrainingConfig], Mapping[str, Any]]
) -> None:
    """What ``record`` says of the best configuration; nothing while there is none."""
    best = best_trial(study)
    if best is not None:
        write_json(path, record(TrainingConfig.from_dict(best.user_attrs[CONFIG])))


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
                trial_error(trial),
            ]
        )
    atomic_write_csv(path, rows)
