"""The first run: three readouts on measured potencies that come with RDKit, offline."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dgl_gmpool.cli.report import index_after_training, page_after_training
from dgl_gmpool.cli.train_plan import check_numbers, in_words_of_the_flags
from dgl_gmpool.data import MoleculeTable, Splits, featurize, load_sodium_channel, make_splits
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.device import torch_threads
from dgl_gmpool.training.distributed import current_world
from dgl_gmpool.training.metrics import scores
from dgl_gmpool.training.run import train_run
from dgl_gmpool.training.run_folder import check_free_folder
from dgl_gmpool.training.table import write_table
from dgl_gmpool.training.words import duration

READOUTS = ("mean", "ngmpool", "gmpool")


def training_mean_row(table: MoleculeTable, splits: Splits) -> dict[str, Any]:
    """Table row of the baseline that predicts the mean of the training rows for everything."""
    found = []
    for train, _ in splits.folds:
        mean = np.nanmean(table.targets[train], axis=0)
        targets = table.targets[splits.test]
        found.append(scores(table.kind, targets, np.broadcast_to(mean, targets.shape)))
    rmse = np.array([fold["rmse"] for fold in found])
    return {
        "label": "training mean",
        "backbone": "",
        "readout": "predict the training mean",
        "readout_options": {},
        "auxiliary": {},
        "levels": None,
        "seeds": [splits.seed],
        "models": len(found),
        "metric": "rmse",
        "mean": float(rmse.mean()),
        "std": float(rmse.std(ddof=1)) if len(rmse) > 1 else float("nan"),
        "beside": "r2",
        "beside_mean": float(np.mean([fold["r2"] for fold in found])),
        "units": table.units,
        "test_rows": len(splits.test),
        "parameters": None,
        "seconds": None,
        "folders": [],
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``dgl-gmpool quickstart``."""
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("dgl_gmpool_quickstart"),
        metavar="FOLDER",
        help="where the run goes; run again, it continues there (default: ./dgl_gmpool_quickstart)",
    )
    parser.add_argument("--folds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="default: 20")
    parser.add_argument("--hidden", type=int, default=64, metavar="N", help="width (default: 64)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--threads", type=int, default=1, metavar="N", help="processor cores (default: 1)"
    )


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool quickstart``."""
    started = time.perf_counter()
    check_numbers(args, threads=1, folds=2)
    check_free_folder(args.output, resume=True)
    with in_words_of_the_flags():
        configs = [
            TrainingConfig(
                readout=readout,
                hidden_feats=args.hidden,
                epochs=args.epochs,
                patience=args.epochs,
                # Smaller batches than the paper's: 20 epochs of so small a set are few steps
                # otherwise.
                batch_size=40,
                lr=2e-3,
                seed=args.seed,
            )
            for readout in READOUTS
        ]
    table = load_sodium_channel()
    print(
        f"{len(table)} inhibitors of a voltage-gated sodium channel with measured pIC50\n"
        "(ChEMBL document CHEMBL2321810, part of RDKit). Each readout is trained on the same\n"
        f"splits: 10 % test, {args.folds} folds of the rest.\n",
        flush=True,
    )
    dataset = featurize(table)
    splits = make_splits(dataset.table, seed=args.seed, folds=args.folds)
    results = []
    with torch_threads(args.threads):
        for config in configs:
            folder = args.output / config.run_name
            results.append(train_run(dataset, splits, config, folder, resume=True))
            current_world().on_main(partial(page_after_training, folder))
    baseline = training_mean_row(dataset.table, splits)
    print()
    print(write_table(results, args.output, baselines=[baseline]))
    current_world().on_main(partial(index_after_training, args.output))
    best = results[-1].folder
    print(
        f"\nScores on {len(splits.test)} test molecules (RMSE: lower is better; R2: 1 is perfect, "
        f"0 is the\ntraining mean). {duration(time.perf_counter() - started)} in all. One split of "
        "a small set ranks nothing: compare\nreadouts over several seeds.\n\n"
        "What next\n"
        f"  the run, its models and predictions   {args.output}\n"
        f"  predict molecules of your own         dgl-gmpool predict --model {best} \\\n"
        "                                            --csv YOUR.csv --smiles-column smiles "
        "--output PREDICTED.csv\n"
        "  train on a table of your own          dgl-gmpool train csv --csv YOUR.csv \\\n"
        "                                            --smiles-column smiles --target YOUR_COLUMN\n"
        "  the paper's data                      dgl-gmpool train tox21 --readout mean ngmpool "
        "gmpool"
    )
    return 0
