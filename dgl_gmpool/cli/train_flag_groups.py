"""The flags of training that all data sets share, group by group, with their defaults and help."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dgl_gmpool.cli.flags import output_folder
from dgl_gmpool.data.features import DESCRIPTOR_SETS
from dgl_gmpool.data.featurizers import FEATURIZER_NAMES, STEREO
from dgl_gmpool.data.properties import PROPERTIES
from dgl_gmpool.data.replicates import REPLICATES
from dgl_gmpool.data.splits import SPLIT_KINDS
from dgl_gmpool.data.standardize import STEPS
from dgl_gmpool.models.backbones import EXCHANGE_PLACES
from dgl_gmpool.models.predictor import READOUT_NORMS
from dgl_gmpool.training.config import FREEZABLE, SCHEDULES


def add_training(
    add: Callable[..., None], *, split: str, epochs: int, auxiliary: Sequence[str]
) -> None:
    """What is trained, on which rows and how, and how it is scored."""
    add(
        "--readout",
        nargs="+",
        default=["gmpool"],
        metavar="NAME",
        help="how atoms are pooled into one vector per molecule; give several names to compare "
        "them, such as: --readout mean ngmpool gmpool (default: gmpool; plain comparison: mean)",
    )
    add(
        "--seed",
        nargs="+",
        type=int,
        default=[0],
        metavar="N",
        help="seed of test set, folds, weights and order; several give several repeats "
        "(default: 0)",
    )
    add(
        "--folds",
        default=5,
        help="the molecules outside the test set are cut into N parts; each is the validation set "
        "of one model. 1: one model, a fifth of them validates",
    )
    add(
        "--final",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="after the folds, train a model for each of them on all rows, test set included, for "
        "the epochs that validation chose on average: these predict; the scores stay those of the "
        "folds (default: the folds' own models predict)",
    )
    add(
        "--split",
        choices=SPLIT_KINDS,
        default=split,
        help="what stays on one side: a molecule (random), a Bemis-Murcko scaffold, a group, a "
        "cluster of similar molecules; or time: the newest molecules are the test set",
    )
    add(
        "--standardize",
        nargs="+",
        choices=STEPS,
        default=[],
        metavar="STEP",
        help="one form for a molecule that is drawn in several: fragment (the largest, without "
        "counter-ions), charge (neutral where hydrogens can be moved), tautomer (RDKit's canonical "
        "one). Done to the molecules to predict as well (default: as drawn)",
    )
    add(
        "--replicates",
        choices=REPLICATES,
        default="keep",
        help="several rows of one molecule: all stay, or become one by their median or mean; "
        "classes that disagree are left out and named",
    )
    add(
        "--test-fraction",
        default=0.1,
        metavar="F",
        help="share of the rows for the test set; 0: no test set",
    )
    add(
        "--splits-file",
        metavar="FILE",
        help="take test set and folds from here: splits.json of a run on the same data, or a table "
        "with the columns row (or id) and part (train, valid, test)",
    )
    add("--epochs", default=epochs, help="passes over the data")
    add(
        "--patience",
        default=20,
        help="stop a fold after N epochs without a better validation score",
    )
    add("--batch-size", default=80, help="molecules per step, over all processes")
    add("--lr", default=1e-3, help="learning rate (default: 1e-3)")
    add(
        "--schedule",
        choices=SCHEDULES,
        default="constant",
        help="constant, or one_cycle: --lr is the peak of a rise and a long fall",
    )
    add("--weight-decay", default=0.0, metavar="W", help="of Adam")
    add(
        "--loss",
        metavar="NAME",
        help="what training makes small: cross_entropy for classes; squared_error (the default) "
        "or absolute_error for numbers",
    )
    add(
        "--metric",
        nargs="+",
        metavar="NAME",
        help="scores to show, the first of which picks the best epoch on the validation rows. "
        "Numbers: rmse, mae, r2, pearson, spearman. Classes: roc_auc, average_precision, mcc, f1, "
        "balanced_accuracy, accuracy, log_loss. Both: explained (default: rmse, roc_auc, or "
        "explained for targets of both kinds)",
    )
    add(
        "--task-weights",
        nargs="+",
        type=_weight,
        action="extend",
        default=[],
        metavar="TARGET=WEIGHT",
        help="with several targets: how much each counts in training, 0 or more (default: 1)",
    )
    add(
        "--baselines",
        nargs="+",
        choices=("mean", "forest", "none"),
        help="rows of the table for what needs no network, on the same folds: mean is the mean of "
        "the training rows (or the shares of the classes), forest a random forest on Morgan "
        "fingerprints, which a network has to beat to be worth its time; none for neither "
        "(default: both, the forest up to 50,000 rows x targets)",
    )
    add(
        "--positive-weight",
        type=_positive_weight,
        metavar="W",
        help="weight of actives in the loss of a classification: a number, or 'balanced' for "
        "inactives / actives (default: 1)",
    )
    add(
        "--auxiliary",
        nargs="+",
        type=partial(_weight, offered=[*auxiliary, PROPERTIES]),
        action="extend",
        default=[],
        metavar="NAME=WEIGHT",
        help="learn these beside the target, with a weight on their loss: "
        + ("the data set's " + ", ".join(auxiliary) + ", or " if auxiliary else "")
        + f"{PROPERTIES}, what RDKit calculates (mass, log P, rings, ...). They are neither "
        "scored nor predicted; docs/earlier-results.md says when they help (default: none)",
    )
    add(
        "--descriptors",
        nargs="*",
        choices=DESCRIPTOR_SETS,
        default=[],
        help="let RDKit's numbers of the whole molecule join its vector: rdkit, its descriptors "
        "(log P, polar surface, charges, ...), morgan, a fingerprint (default: none; "
        "docs/descriptors.md says when they help)",
    )


def add_machine(add: Callable[..., None], *, output: str) -> None:
    """Files, and what the machine does."""
    add("--output", type=output_folder, default=Path(output), help="output folder")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="take what is not given here from the config.json of a run, or its folder; the value "
        "none, as in --splits-file none, undoes what it says (default: none)",
    )
    add(
        "--resume",
        action="store_true",
        help="continue in the output folder: what is finished there is kept, what was "
        "interrupted goes on and ends with the same numbers",
    )
    add(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep the table as it was read and the featurised molecules here: the next time "
        "starts within seconds, several processes share them, and what a kill interrupts goes on "
        "(default: not kept)",
    )
    add(
        "--processes",
        type=int,
        metavar="N",
        help="processes that featurise (default: chosen by the number of molecules)",
    )
    add(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto, cpu or cuda (default: auto, a GPU where torch finds one)",
    )
    add(
        "--threads",
        default=1,
        help="processor cores to use, in each process (default: 1: molecules are small, and "
        "threads that wait for a busy core cost more than they bring); repeated runs are equal to "
        "the last digit on the same number",
    )
    add(
        "--tensorboard",
        action="store_true",
        help="write loss and validation score of every epoch for TensorBoard too (history.csv has "
        "them in any case); look with: tensorboard --logdir OUTPUT",
    )
    add(
        "--no-report",
        action="store_true",
        help="write no report.html for the runs and no index.html (default: written; it takes some "
        "seconds a run)",
    )
    add("--debug", action="store_true", help="show the traceback of an error")


def add_model(add: Callable[..., None]) -> None:
    """The network and its readout."""
    add(
        "--featurizer",
        choices=FEATURIZER_NAMES,
        default=STEREO,
        help="what the network sees of atoms and bonds. stereo: DGL-LifeSci's canonical features, "
        "and R and S of atoms, cis and trans on rings, E and Z of double bonds; canonical: "
        "without what atoms add, so mirror images look alike; attentivefp: DGL-LifeSci's other "
        "set; pretrained-gin: codes, for --backbone gin (default: stereo; for gin pretrained-gin)",
    )
    add(
        "--readout-option",
        "--option",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="option of the readout, such as similarity=cauchy; with several readouts it goes to "
        "those that know it, and gmpool.similarity=cauchy to one of them",
    )
    add(
        "--readout-preset",
        choices=("default", "paper"),
        default="default",
        help="paper: gmpool and ngmpool as the paper has them (similarity of features alone, "
        "linear layer and sigmoid, the mean over S' X); --option on top",
    )
    add(
        "--exchange",
        action=argparse.BooleanOptionalAction,
        help="atoms exchange with their groups inside the network (default: with gmpool, unless "
        "its options leave groups out)",
    )
    add(
        "--exchange-after",
        choices=EXCHANGE_PLACES,
        default="network",
        help="exchange once, after the network, or after each of its layers, as before 0.7 "
        "(default: network)",
    )
    add(
        "--levels",
        nargs="+",
        type=int,
        default=[1],
        metavar="N",
        help="1: pool once, at the end; 2: pool atoms into groups, pass messages between the "
        "groups, pool again. '1 2' trains both where the readout can (default: 1)",
    )
    add(
        "--levels-lift",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="with --levels 2 or more: what the groups learned goes back to their atoms, and the "
        "atoms are read out (default: the groups are)",
    )
    add(
        "--backbone",
        default="dmpnn",
        metavar="NAME",
        help="network before the pooling: dmpnn, or DGL-LifeSci's gcn, mpnn, attentivefp, gin (the "
        "one with pretrained weights, see --start-from)",
    )
    add(
        "--start-from",
        metavar="RUN",
        help="start from the weights of a finished run on other data, often a larger set: folder, "
        "or a fold_N/model.pt. The network's settings are taken from there; a head that predicts "
        "something else is new. Or a file of DGL-LifeSci's pretrained GIN, such as "
        "gin_supervised_masking.pth (default: new weights)",
    )
    add(
        "--freeze",
        choices=FREEZABLE,
        help="with --start-from: train readout and head only, for few molecules (default: train "
        "everything)",
    )
    add(
        "--backbone-option",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="option of the network: of dmpnn norm=batch (batch normalisation in every step) and "
        "residual=true (each step adds to the one before); of gcn edges=true (messages see the "
        "bonds). docs/results.md says what they bring (default: none, as in the paper)",
    )
    add("--hidden", default=200, help="width")
    add("--head", type=int, metavar="N", help="width of the head (default: --hidden)")
    add("--steps", default=3, help="message-passing steps")
    add(
        "--dropout",
        default=0.0,
        metavar="P",
        help="dropout (default: 0; the paper's 0.15 does not go well with --readout-norm batch)",
    )
    add(
        "--readout-norm",
        choices=READOUT_NORMS,
        default="batch",
        help="batch normalisation between readout and head; none is the paper's",
    )


def _weight(text: str, *, offered: Sequence[str] = ()) -> tuple[str, float]:
    """``NAME=WEIGHT``; of names that are offered, one alone has the weight 1."""
    if text in offered:
        return text, 1.0
    # The last one: a column's name may hold such a sign.
    name, _, number = text.rpartition("=")
    if offered and name not in offered:
        raise argparse.ArgumentTypeError(
            f"{name or text!r}: this data set has {', '.join(offered)}"
        )
    try:
        return name, float(number)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=WEIGHT") from error


def _positive_weight(text: str) -> Any:
    if text == "balanced":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number or 'balanced'") from error
