"""The first run: three readouts on measured potencies that come with RDKit, offline."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from dgl_gmpool._options import as_typed
from dgl_gmpool.cli.flags import add_flag, output_folder
from dgl_gmpool.cli.train_plan import check_numbers, in_words_of_the_flags, train_all
from dgl_gmpool.data import featurize, load_sodium_channel, make_splits
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.run_folder import check_free_folder
from dgl_gmpool.training.words import duration

READOUTS = ("mean", "ngmpool", "gmpool")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``dgl-gmpool quickstart``."""
    parser.add_argument(
        "--output",
        type=output_folder,
        default=Path("dgl_gmpool_quickstart"),
        metavar="FOLDER",
        help="where the run goes; run again, it continues there (default: ./dgl_gmpool_quickstart)",
    )
    add = partial(add_flag, parser.add_argument)
    add("--folds", default=3, help="parts, each the validation set of one model")
    add("--epochs", default=20, help="passes over the data")
    add("--hidden", default=64, help="width")
    add("--seed", default=0, help="of test set, folds, weights and order")
    add("--threads", default=1, help="processor cores")
    # What train has flags for.
    parser.set_defaults(resume=True, no_report=False, tensorboard=False, baselines=None)
    parser.set_defaults(device="auto", cache=None, processes=None)


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
    results = train_all(dataset, {args.seed: splits}, configs, args)
    best = as_typed("--model", results[-1].folder)
    print(
        f"\nScores on {len(splits.test)} test molecules (RMSE: lower is better; R2: 1 is perfect, "
        f"0 is the\ntraining mean). {duration(time.perf_counter() - started)} in all. One split of "
        "a small set ranks nothing: compare\nreadouts over several seeds.\n\n"
        "What next\n"
        f"  the run, its models and predictions   {args.output}\n"
        f"  predict molecules of your own         dgl-gmpool predict {best} \\\n"
        "                                            --csv YOUR.csv --smiles-column smiles "
        "--output PREDICTED.csv\n"
        "  train on a table of your own          dgl-gmpool train csv --csv YOUR.csv \\\n"
        "                                            --smiles-column smiles --target YOUR_COLUMN\n"
        "  the paper's data                      dgl-gmpool train tox21 --readout mean ngmpool "
        "gmpool"
    )
    return 0
