"""``dgl-gmpool train``: a data set in, a folder of models, predictions and scores out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dgl_gmpool.cli.datasets import DATA_SETS
from dgl_gmpool.cli.flags import FlagParser
from dgl_gmpool.cli.load_table import load_table
from dgl_gmpool.cli.split_plan import plan_splits
from dgl_gmpool.cli.train_flags import TrainFlags
from dgl_gmpool.cli.train_plan import in_words_of_the_flags, plan_runs, train_all
from dgl_gmpool.data import MoleculeDataset, Splits, featurize
from dgl_gmpool.data.standardize import feature_recipe
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.distributed import main_first
from dgl_gmpool.training.fold_data import check_folds
from dgl_gmpool.training.run import check_task
from dgl_gmpool.training.transfer import check_start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``dgl-gmpool train``: one command for each data set."""
    commands = parser.add_subparsers(dest="data_set", metavar="DATA", required=True)
    for name, data in DATA_SETS.items():
        add_train_flags(commands.add_parser(name, help=data.summary), name)


def prepare(
    args: argparse.Namespace,
) -> tuple[list[TrainingConfig], MoleculeDataset, dict[int, Splits], dict[str, Any]]:
    """What resolved flags ask for: configurations, data, splits by seed, source."""
    flags, data = args.flags, DATA_SETS[args.data_set]
    for flag, what in data.needs.items():
        if not getattr(args, flag):
            raise ValueError(f"--{flag} is missing; give {what}")
    configs = plan_runs(args)

    table = load_table(data, args, flags)
    print(table.report)
    with in_words_of_the_flags():
        for config in configs:
            check_task(table, config)
    with main_first(args.cache is not None):
        dataset = featurize(
            table, featurizer=args.featurizer, cache_dir=args.cache, processes=args.processes
        )
    for note in dataset.table.report.notes[len(table.report.notes) :]:
        print(f"note: {note}")
    # Models remember it: what is done here is done to the molecules that they predict.
    dataset = replace(dataset, featurizer=feature_recipe(args.featurizer, args.standardize))
    with in_words_of_the_flags():
        for config in configs:
            check_start(dataset, config)
    splits = plan_splits(args, dataset.table)
    for config in configs:
        check_folds(dataset, splits[config.seed], config)
    return configs, dataset, splits, flags.source(args, args.data_set)


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool train``."""
    args = args.flags.resolve(args, name=args.data_set)
    configs, dataset, splits, source = prepare(args)
    train_all(dataset, splits, configs, args, source=source)
    return 0


def recipe(name: str, script: str, arguments: Sequence[str]) -> int:
    """``python recipes/SCRIPT.py``, another face of ``dgl-gmpool train NAME``."""
    parser = FlagParser(prog=f"python recipes/{script}.py")
    add_train_flags(parser, name)
    parser.set_defaults(data_set=name)
    return main(parser.parse_args(arguments))


def add_train_flags(parser: argparse.ArgumentParser, name: str, *, output: str = "") -> None:
    """The flags of one data set, for a command that trains on it."""
    data = DATA_SETS[name]
    parser.description = data.description
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    needs = " ".join(what.partition(",")[0] for what in data.needs.values())
    # All flags would push an error's one line out of sight.
    parser.usage = f"%(prog)s {needs} [--output RUN] [FLAGS]".replace("  ", " ")
    parser.set_defaults(flags=TrainFlags(parser, data, output=output or f"runs/{name}"))
