"""One run: every fold of one configuration, with its folder of results."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dgl_gmpool._io import atomic_write
from dgl_gmpool.data import MoleculeDataset, MoleculeTable, Splits
from dgl_gmpool.data.descriptors import with_descriptors
from dgl_gmpool.data.features import joined_features
from dgl_gmpool.data.featurize import with_fragments
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.distributed import World, current_world
from dgl_gmpool.training.fold import fit_fold
from dgl_gmpool.training.fold_data import check_folds, table_task
from dgl_gmpool.training.history import EpochLog
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.model import count_parameters
from dgl_gmpool.training.model_file import save_model
from dgl_gmpool.training.provenance import (
    data_record,
    environment,
    library_versions,
    source_commit,
    splits_record,
)
from dgl_gmpool.training.run_folder import FoldFiles, RunFolder, read_json, write_json
from dgl_gmpool.training.summary import write_summary
from dgl_gmpool.training.transfer import check_start, known_already
from dgl_gmpool.training.uncertainty_check import uncertainty_lines
from dgl_gmpool.training.words import score_text


@dataclass(frozen=True)
class RunResult:
    """A finished run: its folder, configuration and the content of ``metrics.json``."""

    folder: Path
    config: TrainingConfig
    metrics: dict[str, Any]

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> RunResult:
        """Read a finished run.

        Raises
        ------
        ValueError
            The folder holds no finished run.
        """
        files = RunFolder(folder)
        if not files.finished:
            raise ValueError(f"{files.path} holds no finished run; continue it with --resume")
        config = TrainingConfig.from_dict(read_json(files.config)["training"], str(files.config))
        return cls(files.path, config, read_json(files.metrics))

    @property
    def uncertainty(self) -> dict[str, Any] | None:
        """What ``uncertainty.json`` holds (intervals, calibration, their check on the test set);
        None for runs of before 0.3.
        """
        file = RunFolder(self.folder).uncertainty
        return read_json(file) if file.exists() else None

    def fold_scores(self, name: str | None = None) -> list[float]:
        """Test score of every fold, NaN where it is not defined; default: the run's metric."""
        name = self.metrics["metric"] if name is None else name
        values = [fold["test"][name] for fold in self.metrics["folds"]]
        return [float("nan") if value is None else float(value) for value in values]


def train_run(
    dataset: MoleculeDataset,
    splits: Splits,
    config: TrainingConfig,
    folder: str | os.PathLike[str],
    *,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
    world: World | None = None,
    source: Mapping[str, Any] | None = None,
    tensorboard: bool = False,
) -> RunResult:
    """Train every fold and write the run folder.

    The folder holds ``config.json``, ``splits.json``, ``metrics.json``, ``history.csv``,
    ``test_predictions.csv``, ``valid_predictions.csv``, ``uncertainty.json``,
    ``training_molecules.csv``, ``final_0/model.pt`` and so on where the configuration asks for
    final models, and per fold ``model.pt``, ``outputs.npz`` (rows and outputs of
    validation and test set) and ``result.json``. Every file is whole or absent at any moment, but
    for ``history.csv``, which grows by a line with every epoch; a killed run continues with
    ``resume=True`` and ends with the same numbers.

    Parameters
    ----------
    dataset : MoleculeDataset
        Featurised molecules.
    splits : Splits
        Made for ``dataset.table``.
    config : TrainingConfig
        Model and training options.
    folder : path
        Made if missing.
    resume : bool
        Continue the run in ``folder`` if there is one; a finished one is only read.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    progress : bool
        Print one line per fold; of the epochs, show a bar on a terminal, else a line for each.
    world : World, optional
        The processes that train together; process 0 alone reads and writes the folder. Default:
        those of this command, usually one.
    source : mapping, optional
        Where the data came from, for ``config.json``; decides nothing.
    tensorboard : bool
        Write loss and score of every epoch for TensorBoard too, in the folder ``tensorboard``.

    Returns
    -------
    RunResult

    Raises
    ------
    ValueError
        The folder is not empty and ``resume`` is false, the stored run has other settings, the
        splits do not fit the data, a fold cannot be trained, or the processes were given
        different things to train.
    TrainingError
        A loss was not finite.
    """
    files = RunFolder(folder)
    world = current_world() if world is None else world
    world.on_main(partial(files.check_free, resume=resume))
    splits.check(dataset.table)
    torch_device = world.device(device)
    check_task(dataset.table, config)
    check_start(dataset, config)
    if config.readout_options.get("fragment_weight"):
        dataset = with_fragments(dataset)
    dataset = with_descriptors(dataset, config.descriptors, progress=progress)
    if not len(splits.folds):
        raise ValueError("the splits hold no fold; there must be at least 1")
    check_folds(dataset, splits, config)
    say: Callable[[str], None] = tqdm.write if progress else lambda text: None
    log = EpochLog(
        files.history,
        choose_metric(dataset.table.kinds, config.metric),
        folds=len(splits.folds),
        epochs=config.epochs,
        lines=progress,
        tensorboard=files.tensorboard if tensorboard else None,
    )
    known = known_already(dataset, splits, config)
    if known and world.is_main:
        say(known)
    record = run_record(dataset, splits, config)
    _check_same_everywhere(record, world)

    with ExitStack() as stack:

        def enter() -> list[bool]:
            """Which folds are finished; nothing if the whole run is."""
            stack.enter_context(files.locked())
            files.remove_torn_files()
            if files.config.exists():
                files.check_same(record)
                if files.finished:
                    say(f"{config.label}: finished before, in {files.path}")
                    return []
                _say_if_moved(files, world, say)
            else:
                write_json(
                    files.config,
                    {
                        "format": 1,
                        **record,
                        **({} if source is None else {"source": dict(source)}),
                        "report": dataset.table.report.to_dict(),
                        "versions": library_versions(),
                        "commit": source_commit(),
                        "environment": environment(torch_device, processes=world.size),
                    },
                )
            if not files.splits.exists():
                splits.save(files.splits)
            return [files.fold(number).finished for number in range(len(splits.folds))]

        results: list[dict[str, Any]] = []

        def close(number: int) -> None:
            fold_files = files.fold(number)
            # Here and not in _train_fold, so that a kill just before it leaves nothing behind.
            fold_files.checkpoint.unlink(missing_ok=True)
            results.append(read_json(fold_files.result))
            log.end(number, results[-1]["history"])
            say(f"  {_fold_line(results[-1], len(splits.folds), config, dataset.table.kinds)}")
            write_summary(files, dataset, splits, config, results)
            if len(results) == len(splits.folds):
                for line in uncertainty_lines(read_json(files.uncertainty)):
                    say(f"  {line}")

        def close_final(number: int, epochs: int) -> None:
            files.final(number).checkpoint.unlink(missing_ok=True)
            finals.append(read_json(files.final(number).result))
            say(
                f"  {config.label}, final model {number + 1} of {len(splits.folds)}: all "
                f"{len(dataset)} rows, {epochs} epochs, {finals[-1]['seconds']:.0f} s"
            )
            if len(finals) == len(splits.folds):
                # All else was written when the last fold was.
                summary = read_json(files.metrics)
                write_json(files.metrics, {**summary, "complete": True, "final": finals})

        finals: list[dict[str, Any]] = []
        states = world.on_main(enter)
        for number, finished in enumerate(states):
            if not finished:
                _train_fold(
                    dataset,
                    splits,
                    config,
                    number,
                    files.fold(number),
                    torch_device,
                    world,
                    log,
                    progress=progress,
                )
            world.on_main(partial(close, number))
        if config.final and states:
            epochs = world.on_main(partial(_chosen_epochs, results))
            for number in range(len(splits.folds)):
                final_files = files.final(number)
                if not world.on_main(partial(getattr, final_files, "finished_without_outputs")):
                    _train_final(
                        dataset,
                        config,
                        number,
                        epochs,
                        final_files,
                        torch_device,
                        world,
                        progress=progress,
                    )
                world.on_main(partial(close_final, number, epochs))
    return world.on_main(partial(RunResult.load, files.path))


def check_task(table: MoleculeTable, config: TrainingConfig) -> None:
    """Refuse a configuration that is for another kind of targets.

    Raises
    ------
    ValueError
        Its loss, metric or weights do not go with the table's targets.
    """
    choose_metric(table.kinds, config.metric)
    task = table_task(table, config)
    task.cell_weights(config.positive_weight, table.targets, np.arange(len(table)))
    task.weights_of(config.task_weights)
    if table.lower is not None or table.upper is not None:
        task.check_bounds()


def run_record(dataset: MoleculeDataset, splits: Splits, config: TrainingConfig) -> dict[str, Any]:
    """What decides a run's numbers, for ``RunFolder.check_same``."""
    return {
        "training": config.to_dict(),
        "data": data_record(dataset, config.auxiliary, config.descriptors),
        "splits": splits_record(splits),
    }


def _train_fold(
    dataset: MoleculeDataset,
    splits: Splits,
    config: TrainingConfig,
    number: int,
    files: FoldFiles,
    device: torch.device,
    world: World,
    log: EpochLog,
    *,
    progress: bool,
) -> None:
    train, valid = splits.folds[number]
    world.on_main(partial(files.path.mkdir, parents=True, exist_ok=True))
    fitted = fit_fold(
        dataset,
        train,
        valid,
        config,
        fold=number,
        device=device,
        checkpoint=files.checkpoint,
        progress=progress,
        world=world,
        log=log,
    )
    table = dataset.table
    trained = fitted.trained(dataset, config)
    world.on_main(partial(save_model, files.model, trained))
    outputs: dict[str, Any] = {}
    results: dict[str, Any] = {}
    features, _ = joined_features(table, config.descriptors)
    for name, part in (("valid", valid), ("test", splits.test)):
        rows = np.asarray(part, dtype=np.int64)
        mine = world.share(torch.as_tensor(rows)).numpy()
        found = trained.outputs(
            dataset.graphs[mine],
            global_feats=None if features is None else features[mine],
            batch_size=config.batch_size,
            device=device,
        )
        outputs[f"{name}_rows"] = rows
        outputs[f"{name}_outputs"] = world.join_rows(found)
        results[name] = trained.task.scores(
            table.targets[rows], outputs[f"{name}_outputs"], **table.bounds(rows)
        )
    if not world.is_main:
        return
    atomic_write(files.outputs, lambda file: np.savez(file, **outputs))
    write_json(
        files.result,
        {
            "fold": number,
            "train_rows": len(train),
            "valid_rows": len(valid),
            "test_rows": len(splits.test),
            "best_epoch": fitted.best_epoch,
            "epochs": len(fitted.history),
            "seconds": fitted.seconds,
            "parameters": count_parameters(fitted.model),
            # Unlike atoms have the larger M: its groups mean the opposite of groups.
            "inverted": any(getattr(pool, "inverted", False) for pool in fitted.model.poolings),
            "valid": results["valid"],
            "test": results["test"],
            "history": fitted.history,
        },
    )


def _chosen_epochs(results: Sequence[Mapping[str, Any]]) -> int:
    """The mean of the folds' best epochs."""
    return max(1, round(float(np.mean([result["best_epoch"] for result in results]))))


def _train_final(
    dataset: MoleculeDataset,
    config: TrainingConfig,
    number: int,
    epochs: int,
    files: FoldFiles,
    device: torch.device,
    world: World,
    *,
    progress: bool,
) -> None:
    """The model on all rows that goes with fold ``number``: its seed, the folds' mean of epochs."""
    world.on_main(partial(files.path.mkdir, parents=True, exist_ok=True))
    fitted = fit_fold(
        dataset,
        range(len(dataset)),
        (),
        config,
        fold=number,
        device=device,
        checkpoint=files.checkpoint,
        progress=progress,
        world=world,
        epochs=epochs,
    )
    world.on_main(partial(save_model, files.model, fitted.trained(dataset, config)))
    if world.is_main:
        write_json(
            files.result,
            {
                "fold": number,
                "rows": len(dataset),
                "epochs": epochs,
                "seconds": fitted.seconds,
                "train_loss": fitted.history[-1]["train_loss"],
            },
        )


def _fold_line(
    result: dict[str, Any], folds: int, config: TrainingConfig, kinds: Sequence[str]
) -> str:
    metric = choose_metric(kinds, config.metric)

    def shown(part: str) -> str:
        value = result[part].get(metric.name)
        return "not defined" if value is None else score_text(value)

    return (
        f"{config.label}, fold {result['fold'] + 1} of {folds}: best epoch "
        f"{result['best_epoch']} of {result['epochs']}, {metric.label} valid {shown('valid')}, "
        f"test {shown('test')}, {result['seconds']:.0f} s"
        # Not in runs of before 0.2.
        + (", groups inverted: unlike atoms share one" if result.get("inverted") else "")
    )


def _check_same_everywhere(record: dict[str, Any], world: World) -> None:
    """Shares of different data, or of differently split ones, would be no whole."""
    main, *others = world.gather(record)
    for rank, other in enumerate(others, start=1):
        differ = [name for name, values in main.items() if values != other[name]]
        if differ:
            raise ValueError(
                f"process {rank} of {world.size} was given other {' and '.join(differ)} than "
                "process 0; start all of them with the same command on the same files"
            )


def _say_if_moved(files: RunFolder, world: World, say: Callable[[str], None]) -> None:
    """Numbers are bit-equal only with the same libraries and processes: say if they changed."""
    stored = read_json(files.config)
    processes = stored.get("environment", {}).get("processes", 1)
    if processes != world.size:
        say(
            f"note: {files.path} goes on with {world.size} instead of {processes} processes; "
            "splits and batches stay the same, but dropout and last digits will differ from those "
            "of an uninterrupted run"
        )
    before, now = stored.get("versions", {}), library_versions()
    changed = [
        f"{name} {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]
    ]
    if changed:
        say(
            f"note: {files.path} was started with other versions ({', '.join(changed)}); its "
            "last digits may differ from those of an uninterrupted run"
        )
