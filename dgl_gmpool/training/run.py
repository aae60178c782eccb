"""One run: every fold of one configuration, with its folder of results."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dgl_gmpool.data import MoleculeDataset, MoleculeTable, Splits
from dgl_gmpool.data.descriptors import with_descriptors
from dgl_gmpool.data.featurize import with_fragments
from dgl_gmpool.training.config import BEFORE, TrainingConfig
from dgl_gmpool.training.distributed import World, current_world
from dgl_gmpool.training.fold_data import check_folds, table_task
from dgl_gmpool.training.history import EpochLog
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.provenance import data_record, splits_record
from dgl_gmpool.training.run_folder import RunFolder, read_json
from dgl_gmpool.training.run_trainer import RunTrainer
from dgl_gmpool.training.transfer import check_start, known_already

#: What the table of several runs has of ``metrics.json``.
_IN_TABLES = ("metric", "folds", "units", "test_rows", "parameters", "seconds")


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
        files.check_finished()
        training = read_json(files.config, "training")["training"]
        config = TrainingConfig.from_dict(training, str(files.config))
        return cls(files.path, config, read_json(files.metrics, *_IN_TABLES))

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
    config = as_begun(files, config)
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
    log = EpochLog(
        files.history,
        choose_metric(dataset.table.kinds, config.metric),
        folds=len(splits.folds),
        epochs=config.epochs,
        lines=progress,
        tensorboard=files.tensorboard if tensorboard else None,
    )
    run = RunTrainer(dataset, splits, config, files, torch_device, world, log, progress)
    known = known_already(dataset, splits, config)
    if known and world.is_main:
        run.say(known)
    record = run_record(dataset, splits, config)
    _check_same_everywhere(record, world)
    with ExitStack() as stack:

        def enter() -> list[bool]:
            stack.enter_context(files.locked())
            return run.enter(record, source)

        run.train(world.on_main(enter))
    return world.on_main(partial(RunResult.load, files.path))


def as_begun(files: RunFolder, config: TrainingConfig) -> TrainingConfig:
    """The configuration, with what a run in this folder was begun with where its record is older
    than a setting."""
    if not files.config.exists():
        return config
    stored = read_json(files.config).get("training", {})
    return replace(config, **{name: BEFORE[name] for name in BEFORE if name not in stored})


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
