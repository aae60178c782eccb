"""The table that a training command asks for, read or taken from ``--cache``."""

from __future__ import annotations

import argparse
import os
from functools import partial

from dgl_gmpool.cli.datasets import DataSet
from dgl_gmpool.cli.train_flags import TrainFlags
from dgl_gmpool.data import MoleculeTable
from dgl_gmpool.data.table_cache import cached_table
from dgl_gmpool.training.distributed import main_first


def load_table(data: DataSet, args: argparse.Namespace, flags: TrainFlags) -> MoleculeTable:
    """``data.load(args)``; with ``--cache`` from there, if the same was read before."""
    source = flags.source(args, args.data_set)
    files = [value for flag in flags.data_files if (value := source[flag])]
    # A pipe can be read once, and a download has no content yet.
    cached = args.cache is not None and files and all(map(os.path.isfile, files))
    with main_first(cached or data.downloads(args)):
        if cached:
            # With nothing but what the cache knows of.
            load = partial(data.load, argparse.Namespace(**source))
            return cached_table(load, args.cache, source)
        return data.load(args)
