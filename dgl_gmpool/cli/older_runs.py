"""What a run of an earlier version lacks, made from its data when it is first asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from dgl_gmpool.training.distributed import current_world
from dgl_gmpool.training.run_folder import CONTINUE, RunFolder, read_json, run_of
from dgl_gmpool.training.uncertainty import RunUncertainty, write_uncertainty


def load_uncertainty(path: Path, say: Callable[[str], None]) -> RunUncertainty | None:
    """What a run knows of its errors; for one of before 0.3, worked out now, once.

    Parameters
    ----------
    path : Path
        A run folder, or a fold's ``model.pt``.
    say : callable
        Is told why there is none, and what takes time.

    Raises
    ------
    ValueError
        A file is damaged.
    """

    def find() -> None:
        files, found = RunFolder(run_of(path)[0]), RunUncertainty.load(path)
        if (found is not None and found.known is not None) or not files.config.exists():
            return
        lacking = "no intervals, calibration or nearest molecules"
        if found is not None:
            lacking = "no nearest molecules, nor intervals whose width hangs on them"
        if not files.finished:
            say(f"note: {lacking}: the run in {files.path} is not finished; {CONTINUE}")
            return
        say(f"note: {files.path} lacks what tells its errors: intervals are worked out, this once")
        try:
            _complete(files)
        except (ValueError, TypeError, KeyError, OSError, AttributeError) as error:
            say(f"note: {lacking}: {error}")

    current_world().on_main(find)
    return RunUncertainty.load(path)


def _complete(files: RunFolder) -> None:
    from dgl_gmpool.cli.datasets import DATA_SETS
    from dgl_gmpool.cli.load_table import load_table
    from dgl_gmpool.cli.train_flags import TrainFlags
    from dgl_gmpool.data import Splits, featurize
    from dgl_gmpool.data.standardize import split_recipe
    from dgl_gmpool.training.config import TrainingConfig
    from dgl_gmpool.training.table_task import TableTask

    stored = read_json(files.config)
    name = stored.get("source", {}).get("data_set")
    if name not in DATA_SETS:
        raise ValueError(f"{files.config} does not say where the run's data came from")
    data = DATA_SETS[name]
    flags = TrainFlags(argparse.ArgumentParser(), data, output="unused")
    args = flags.resolve(argparse.Namespace(config=files.config), name=name)
    args.data_set = name
    table = load_table(data, args, flags)
    table = featurize(table, featurizer=split_recipe(stored["data"]["featurizer"])[0]).table
    splits = Splits.load(files.splits)
    splits.check(table)
    config = TrainingConfig.from_dict(stored["training"], str(files.config))
    task = TableTask.of(table.task_names, table.kinds, table.classes, config.loss)
    write_uncertainty(files, table, splits, task, final=config.final)
