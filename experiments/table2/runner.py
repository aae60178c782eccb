"""Run the comparison: tune, then train every seed and fold, a process per core, at any time to be
stopped and continued."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from tqdm import tqdm

from dgl_gmpool._io import atomic_write, atomic_write_json, atomic_write_text
from dgl_gmpool._options import positive_int
from dgl_gmpool.data import MoleculeDataset, MoleculeTable, make_splits, with_auxiliary
from dgl_gmpool.training.device import torch_threads
from dgl_gmpool.training.distributed import TrainingError
from dgl_gmpool.training.metrics import METRICS, choose_metric
from dgl_gmpool.training.provenance import library_versions, processor, source_commit
from dgl_gmpool.training.run_folder import RunFolder, read_json
from experiments.table2.datasets import DATASETS, ComparisonData
from experiments.table2.jobs import Budget, Job, JobResult, job_settings, run_job
from experiments.table2.methods import (
    METHODS,
    TRIALS,
    Method,
    controls,
    with_auxiliary_twins,
)
from experiments.table2.report import build_report
from experiments.table2.scores import FoldScore, read_scores, write_scores

#: The fold on which configurations are compared: one, of one seed, and its validation rows only.
TUNING_SEED, TUNING_FOLD = 0, 0

#: For the workers, read when they start: one thread each, and memory that is kept for the next step
#: rather than given back and asked for again.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
    "MALLOC_TOP_PAD_": str(2**28),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    datasets : tuple of ComparisonData
    methods : tuple of Method
    seeds : mapping of str to int
        Number of seeds of each data set.
    folds : int
    budget : Budget
    paths : mapping of str to Path or None
        File of each source, see ``ComparisonData.source``.
    output : Path
        Folder of everything that is written.
    tune : bool
        Choose among each method's configurations; otherwise its default is taken.
    first_folds : int, optional
        Train only this many of the folds.

    Raises
    ------
    ValueError
        A number of seeds or folds is below 1, or ``first_folds`` above ``folds``.
    """

    datasets: tuple[ComparisonData, ...]
    methods: tuple[Method, ...]
    seeds: Mapping[str, int]
    folds: int
    budget: Budget
    paths: Mapping[str, Path | None]
    output: Path
    tune: bool = True
    first_folds: int | None = None

    def __post_init__(self) -> None:
        positive_int("folds", self.folds)
        for name, count in self.seeds.items():
            positive_int(f"number of seeds of {name}", count)
        if self.first_folds is None:
            return
        # Here, or every fold that does not exist would be stored as a model that failed.
        if positive_int("first_folds", self.first_folds) > self.folds:
            raise ValueError(
                f"the first {self.first_folds} folds cannot be trained, there are {self.folds}; "
                f"give at most {self.folds}"
            )


class ResultsFolder:
    """The files of a comparison: ``protocol.json``, ``tuning.json``, ``scores.csv``,
    ``test_outputs/``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.protocol = path / "protocol.json"
        self.tuning = path / "tuning.json"
        self.scores = path / "scores.csv"

    def outputs(self, job: Job) -> Path:
        """Predictions for the test rows of a job."""
        name = f"{job.dataset}-{job.method}-seed{job.seed}-fold{job.fold}.npz"
        return self.path / "test_outputs" / name


def run_comparison(plan: Plan, *, processes: int) -> list[str]:
    """Run what is missing in ``plan.output``; returns one line for every job that failed.

    Results are written after every job, so a stopped comparison loses only the folds in training.

    Raises
    ------
    ValueError
        The folder holds results of another protocol, or another process writes there.
    """
    folder = ResultsFolder(plan.output)
    with RunFolder(plan.output).locked():
        tables = {}
        for data in plan.datasets:
            dataset = _load(data, plan)
            tables[data.name] = dataset.table
            print(f"{data.name}: {len(dataset)} molecules ({dataset.table.fingerprint()[:12]})")
        _check_protocol(folder, plan, _fingerprints(plan, tables))
        failures: list[str] = []
        if plan.tune:
            failures += _tune(plan, folder, processes)
        chosen = choose_trials(plan, folder)
        failures += _train(plan, folder, chosen, processes)
    return failures


def write_report(folder: Path) -> str:
    """Write ``table.md`` and ``table.json`` from the scores in ``folder``; returns the tables.

    Scores, paired differences to the mean readout, and those of GMPool and NGMPool to the same
    network and readout without groups, and of auxiliary targets to none (``controls``).

    Where the comparison was stopped half-way through a fold, the cells (data set, seed, fold) that
    not every method of the table has are left out, so that all are averaged over the same models.
    """
    rows = _same_cells(read_scores(ResultsFolder(folder).scores))
    datasets = _in_order(DATASETS, {row.dataset for row in rows})
    methods = _in_order(with_auxiliary_twins(METHODS), {row.method for row in rows})
    baseline = "mean" if "mean" in methods else next(iter(methods))
    report = build_report(rows, methods=methods, datasets=datasets, baseline=baseline)
    parts = [report.score_table(), report.difference_table()]
    record = report.to_dict()
    for control, others in controls(methods, besides=baseline).items():
        shown = {name: methods[name] for name in (control, *others)}
        against = build_report(
            [row for row in rows if row.method in shown],
            methods=shown,
            datasets=datasets,
            baseline=control,
        )
        parts.append(against.difference_table())
        record.setdefault("against", {})[control] = against.to_dict()
    text = "\n\n".join(parts) + "\n"
    atomic_write_text(folder / "table.md", text)
    atomic_write_json(folder / "table.json", record)
    return text


def _same_cells(rows: list[FoldScore]) -> list[FoldScore]:
    """The rows of cells that all methods have; all rows where there is no such cell."""
    methods = {row.method for row in rows}
    found: dict[tuple[str, int, int], set[str]] = {}
    for row in rows:
        found.setdefault((row.dataset, row.seed, row.fold), set()).add(row.method)
    kept = [row for row in rows if found[row.dataset, row.seed, row.fold] == methods]
    if kept and len(kept) < len(rows):
        print(
            f"{len(rows) - len(kept)} of {len(rows)} scores are of folds that not every method has "
            "yet; the table leaves them out"
        )
    return kept or rows


def _in_order(known: Sequence[ComparisonData | Method], named: set[str]) -> dict[str, str]:
    """Names to labels: the known ones in their order, then others as they are called."""
    labels = {entry.name: entry.label for entry in known if entry.name in named}
    return {**labels, **{name: name for name in sorted(named - labels.keys())}}


def choose_trials(plan: Plan, folder: ResultsFolder) -> dict[str, int]:
    """The configuration of each method: best average rank over data sets, validation scores only.

    Ties go to the earlier one, so to the default. One configuration for all data sets: what is
    chosen can be a default, and five folds carry the choice rather than one. Data sets where not
    all configurations of a method are scored do not count for it.
    """
    if not plan.tune:
        return {method.name: 0 for method in plan.methods}
    found = _read_tuning(folder)
    chosen = {}
    for method in _tuned(plan):
        columns = []
        # All that were ever tuned on in this folder: a later run of fewer data sets takes the
        # configurations of the whole table.
        for data in {data.name: data for data in (*DATASETS, *plan.datasets)}.values():
            keys = [_tuning_key(plan, data, method, trial) for trial in range(len(method.trials))]
            if all(key in found for key in keys):
                columns.append([_goodness(found[key]) for key in keys])
        # Rank 1 is the best; a configuration that failed ranks last.
        ranks = [rankdata(-np.asarray(column)) for column in columns]
        mean = np.mean(ranks, axis=0) if ranks else np.zeros(len(method.trials))
        chosen[method.name] = int(np.argmin(mean))
    return {method.name: chosen[method.tuned_as] for method in plan.methods}


def _tuned(plan: Plan) -> list[Method]:
    """The methods that have a configuration of their own."""
    return [method for method in plan.methods if method.tuned_as == method.name]


def _goodness(entry: Mapping[str, Any]) -> float:
    """A tuning score, signed so that more is better."""
    if entry["valid"] is None:
        return -np.inf
    return entry["valid"] if METRICS[entry["metric"]].higher_is_better else -entry["valid"]


def _tune(plan: Plan, folder: ResultsFolder, processes: int) -> list[str]:
    found = _read_tuning(folder)
    jobs = [
        (Job(data.name, method.name, trial, TUNING_SEED, TUNING_FOLD, tuning=True), method, data)
        for trial in range(TRIALS)
        for data in plan.datasets
        for method in _tuned(plan)
        if found.get(_tuning_key(plan, data, method, trial), {"error": "missing"})["error"]
    ]
    failures = []
    for (job, method, data), result in _run_all(jobs, plan, processes, "tuning"):
        metric = choose_metric(data.kind).name
        found[_tuning_key(plan, data, method, job.trial)] = {
            "dataset": job.dataset,
            "method": job.method,
            "trial": job.trial,
            "options": method.options(job.trial),
            "metric": metric,
            "valid": None if np.isnan(result.valid) else result.valid,
            "best_epoch": result.best_epoch,
            "parameters": result.parameters,
            "seconds": round(result.seconds, 2),
            "error": result.error,
            "settings": job_settings(method, job.trial, data, plan.budget, tuning=True),
        }
        if result.error:
            failures.append(f"{job}: {result.error}")
        _write_tuning(folder, found)
    return failures


def _train(
    plan: Plan, folder: ResultsFolder, chosen: Mapping[str, int], processes: int
) -> list[str]:
    rows = {row.key: row for row in read_scores(folder.scores, missing_ok=True)}
    jobs = []
    # All seeds of a fold before the next fold: models of one seed share their test set, so that a
    # comparison that is stopped early says more with many seeds than with many folds.
    for fold in range(plan.folds if plan.first_folds is None else plan.first_folds):
        for seed in range(max(plan.seeds.values())):
            for data in plan.datasets:
                for method in plan.methods:
                    if seed >= plan.seeds[data.name]:
                        continue
                    job = Job(data.name, method.name, chosen[method.name], seed, fold)
                    settings = job_settings(method, job.trial, data, plan.budget)
                    row = rows.get((job.dataset, job.method, job.seed, job.fold))
                    if row is None or row.failed:
                        jobs.append((job, method, data))
                    elif row.settings != settings:
                        raise ValueError(
                            f"{folder.scores} holds {job} with other settings ({row.settings}; "
                            f"now {settings}); remove its rows, or use another --output"
                        )
    failures, commit = [], source_commit() or ""
    for (job, method, data), result in _run_all(jobs, plan, processes, "training"):
        if result.test_outputs is not None:
            path = folder.outputs(job)
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, partial(np.savez, test_outputs=result.test_outputs))
        row = FoldScore(
            job.dataset,
            job.method,
            job.seed,
            job.fold,
            metric=choose_metric(data.kind).name,
            valid=None if np.isnan(result.valid) else result.valid,
            test=result.test,
            test_rows=result.test_rows,
            best_epoch=result.best_epoch,
            epochs=result.epochs,
            parameters=result.parameters,
            seconds=round(result.seconds, 2),
            settings=job_settings(method, job.trial, data, plan.budget),
            commit=commit,
        )
        rows[row.key] = row
        write_scores(folder.scores, rows.values())
        if result.error:
            failures.append(f"{job}: {result.error}")
    return failures


Task = tuple[Job, Method, ComparisonData]


def _run_all(
    tasks: Sequence[Task], plan: Plan, processes: int, what: str
) -> Iterator[tuple[Task, JobResult]]:
    """Run the tasks in their order, ``processes`` at a time; yield each as it ends."""
    if not tasks:
        return
    started, done = time.perf_counter(), 0
    if processes == 1:
        with torch_threads(1):
            _start_worker(plan)
            for task in tqdm(tasks, desc=what, unit="fold", disable=None):
                result = _work(task[0])
                done += 1
                left = (time.perf_counter() - started) / done * (len(tasks) - done)
                tqdm.write(_line(task, result, done, len(tasks), left))
                yield task, result
        return
    # A fresh interpreter per worker: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    for name, value in WORKER_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    bar = tqdm(total=len(tasks), desc=what, unit="fold", disable=None, smoothing=0.05)
    with (
        bar,
        ProcessPoolExecutor(
            processes, mp_context=context, initializer=_start_worker, initargs=(plan,)
        ) as pool,
    ):
        running: dict[Future[JobResult], Task] = {}
        waiting = iter(tasks)
        try:
            while True:
                # Two per worker: none of them waits, and few are lost when the run is stopped.
                while len(running) < 2 * processes:
                    task = next(waiting, None)
                    if task is None:
                        break
                    running[pool.submit(_work, task[0])] = task
                if not running:
                    return
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    task, result = running.pop(future), future.result()
                    done += 1
                    left = (time.perf_counter() - started) / done * (len(tasks) - done)
                    tqdm.write(_line(task, result, done, len(tasks), left))
                    bar.update()
                    yield task, result
        except BrokenProcessPool as error:
            raise TrainingError(
                "a worker process was killed, perhaps for lack of memory. What was finished is "
                "kept; run the same command again, with a smaller --processes if it repeats"
            ) from error
        finally:
            for future in running:
                future.cancel()


def _line(task: Task, result: JobResult, done: int, total: int, left: float) -> str:
    job = task[0]
    hours, minutes = divmod(round(left / 60), 60)
    score = f"valid {result.valid:.4g}"
    if not job.tuning:
        score += f", test {result.test:.4g}"
    found = f"failed: {result.error}" if result.error else f"{score}, {result.seconds:.0f} s"
    return f"{done}/{total} {job}: {found} ({hours} h {minutes:02d} min left)"


# In a worker process ----------------------------------------------------------------------------

_plan: Plan | None = None
_datasets: dict[str, MoleculeDataset] = {}


def _start_worker(plan: Plan) -> None:
    global _plan
    torch.set_num_threads(1)
    _plan = plan
    _datasets.clear()


def _work(job: Job) -> JobResult:
    if _plan is None:
        raise RuntimeError("a worker was started without its plan")
    data = next(d for d in _plan.datasets if d.name == job.dataset)
    method = next(m for m in _plan.methods if m.name == job.method)
    if job.dataset not in _datasets:
        _datasets[job.dataset] = _load(data, _plan)
    dataset = _datasets[job.dataset]
    splits = make_splits(dataset.table, kind=data.split, seed=job.seed, folds=_plan.folds)
    try:
        return run_job(job, method, data, dataset, splits, _plan.budget)
    except Exception as error:  # whatever it is, the other jobs go on, and it is reported
        nan = float("nan")
        said = str(error).split("\n", 1)[0]
        if not isinstance(error, TrainingError):
            said = f"{type(error).__name__}: {said}"
        return JobResult(nan, nan, None, len(splits.test), None, None, None, 0.0, said)


def _load(data: ComparisonData, plan: Plan) -> MoleculeDataset:
    dataset = data.featurized(plan.paths.get(data.source), cache=plan.output / "cache")
    wanted = any(method.auxiliary for method in plan.methods)
    return with_auxiliary(dataset, data.auxiliary if wanted else ())


# Files ------------------------------------------------------------------------------------------


def _tuning_key(
    plan: Plan, data: ComparisonData, method: Method, trial: int
) -> tuple[str, str, str]:
    settings = job_settings(method, trial, data, plan.budget, tuning=True)
    return data.name, method.name, settings


def _read_tuning(folder: ResultsFolder) -> dict[tuple[str, str, str], dict[str, Any]]:
    if not folder.tuning.exists():
        return {}
    entries = read_json(folder.tuning)["scores"]
    return {(e["dataset"], e["method"], e["settings"]): e for e in entries}


def _write_tuning(folder: ResultsFolder, found: Mapping[Any, dict[str, Any]]) -> None:
    entries = sorted(found.values(), key=lambda e: (e["dataset"], e["method"], e["trial"]))
    atomic_write_json(folder.tuning, {"seed": TUNING_SEED, "fold": TUNING_FOLD, "scores": entries})


def _fingerprints(plan: Plan, tables: Mapping[str, MoleculeTable]) -> dict[str, str]:
    found = {name: table.fingerprint() for name, table in tables.items()}
    if any(method.auxiliary for method in plan.methods):
        for data in plan.datasets:
            for name in data.auxiliary:
                targets = tables[data.name].auxiliary_targets(name)
                found[f"{data.name}, {name}"] = targets.fingerprint()
    return found


def _check_protocol(folder: ResultsFolder, plan: Plan, fingerprints: Mapping[str, str]) -> None:
    """Refuse to mix two protocols in one folder; data sets may join later."""
    now = {"budget": asdict(plan.budget), "folds": plan.folds, "tune": plan.tune}
    record: dict[str, Any] = {"data": {}, **now}
    if folder.protocol.exists():
        record = read_json(folder.protocol)
        changed = [
            f"{key} was {record[key]}, now {value}"
            for key, value in now.items()
            if record[key] != value
        ]
        changed += [
            f"{name} differs from before"
            for name, value in fingerprints.items()
            if record["data"].get(name, value) != value
        ]
        if changed:
            raise ValueError(
                f"{folder.path} holds results of another protocol: {'; '.join(changed)}. Use the "
                "options it was started with, or another --output"
            )
    record["data"] = {**record["data"], **fingerprints}
    # Every setting that had a part in the results, in the order they came.
    setting = {
        "versions": library_versions(),
        "commit": source_commit(),
        "machine": {"cpu": processor(), "cores": os.cpu_count(), "threads per process": 1},
    }
    if setting not in record.setdefault("settings", []):
        record["settings"].append(setting)
    atomic_write_json(folder.protocol, record)
