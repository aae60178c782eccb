"""The table that a training command asks for, read or taken from ``--cache``."""

from __future__ import annotations

import argparse
import os
from functools import partial

from dgl_gmpool.cli.datasets import DataSet
from dgl_gmpool.cli.train_flags import TrainFlags
from dgl_gmpool.data import MoleculeTable
from dgl_gmpool.data.featurizers import TELL_TWINS_APART
from dgl_gmpool.data.held_out_table import without_test_molecules
from dgl_gmpool.data.replicates import merged_replicates
from dgl_gmpool.data.standardize import standardized_table
from dgl_gmpool.data.table_cache import cached_table
from dgl_gmpool.data.twins import with_twins_noted
from dgl_gmpool.training.distributed import main_first


def load_table(data: DataSet, args: argparse.Namespace, flags: TrainFlags) -> MoleculeTable:
    """``data.load(args)`` with molecules standardised and replicates merged as the flags say, and a
    note of stereoisomers; with ``--cache`` from there, if it was read before."""

    def load(args: argparse.Namespace) -> MoleculeTable:
        told_apart = args.featurizer in TELL_TWINS_APART
        table = standardized_table(data.load(args), args.standardize)
        if getattr(args, "test_csv", None) is not None:
            table = without_test_molecules(table, stereo=told_apart)
        table = merged_replicates(table, args.replicates, split=args.split)
        return with_twins_noted(table, told_apart=told_apart)

    source = {**flags.source(args, args.data_set), "featurizer": args.featurizer}
    files = [value for flag in flags.data_files if (value := source[flag])]
    # A pipe can be read once, and a download has no content yet.
    cached = args.cache is not None and files and all(map(os.path.isfile, files))
    with main_first(cached or data.downloads(args)):
        if cached:
            # With nothing but what the cache knows of.
            return cached_table(partial(load, argparse.Namespace(**source)), args.cache, source)
        return load(args)
