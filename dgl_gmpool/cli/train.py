"""What the recipes share: their flags, the plan of runs, and training all of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dgl_gmpool._options import parse_options
from dgl_gmpool.data import MoleculeDataset, Splits, with_auxiliary
from dgl_gmpool.data.properties import PROPERTIES
from dgl_gmpool.models.predictor import READOUT_NORMS
from dgl_gmpool.registry import readout_entry
from dgl_gmpool.training.config import SCHEDULES, TrainingConfig
from dgl_gmpool.training.distributed import current_world
from dgl_gmpool.training.model import build_model, choose_device
from dgl_gmpool.training.run import RunResult, run_record, train_run
from dgl_gmpool.training.run_folder import RunFolder, check_free_folder
from dgl_gmpool.training.table import write_table


def recipe_parser(
    description: str | None,
    *,
    output: str,
    split: str = "random",
    epochs: int = 30,
    auxiliary: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """A parser with the flags that all recipes share.

    Parameters
    ----------
    description : str
        The recipe's docstring.
    output : str
        Default output folder.
    split : str
        Default kind of split.
    epochs : int
        Default number of epochs.
    auxiliary : sequence of str
        The auxiliary targets that the recipe's data set has.
    """
    offered = [*auxiliary, PROPERTIES]
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--readout",
        nargs="+",
        default=["gmpool"],
        metavar="NAME",
        help="how atoms are pooled into one vector per molecule; give several names to compare "
        "them, such as: --readout mean ngmpool gmpool (default: gmpool; plain comparison: mean)",
    )
    model.add_argument(
        "--readout-option",
        "--option",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="option of the readout, such as similarity=cauchy; with several readouts it goes to "
        "those that know it, and gmpool.similarity=cauchy to one of them",
    )
    model.add_argument(
        "--levels",
        nargs="+",
        type=int,
        default=[1],
        metavar="N",
        help="1: pool once, at the end; 2: pool atoms into groups, pass messages between the "
        "groups, pool again. '1 2' trains both where the readout can (default: 1)",
    )
    model.add_argument(
        "--backbone",
        default="dmpnn",
        metavar="NAME",
        help="network before the pooling: dmpnn, or DGL-LifeSci's gcn, mpnn, attentivefp "
        "(default: dmpnn)",
    )
    model.add_argument("--hidden", type=int, default=200, metavar="N", help="width (default: 200)")
    model.add_argument(
        "--steps", type=int, default=3, metavar="N", help="message-passing steps (default: 3)"
    )
    model.add_argument(
        "--dropout",
        type=float,
        default=0.0,
        metavar="P",
        help="dropout (default: 0; the paper's 0.15 does not go well with --readout-norm batch)",
    )
    model.add_argument(
        "--readout-norm",
        choices=READOUT_NORMS,
        default="batch",
        help="batch normalisation between readout and head; none is the paper's (default: batch)",
    )
    train = parser.add_argument_group("training")
    train.add_argument(
        "--seed",
        nargs="+",
        type=int,
        default=[0],
        metavar="N",
        help="seed of test set, folds, weights and order; several give several repeats "
        "(default: 0)",
    )
    train.add_argument(
        "--folds",
        type=int,
        default=5,
        metavar="N",
        help="the molecules outside the test set are cut into N parts; each is the validation set "
        "of one model (default: 5)",
    )
    train.add_argument(
        "--split",
        choices=("random", "scaffold", "group"),
        default=split,
        help="random molecules, or whole Bemis-Murcko scaffolds, or whole groups on one side "
        f"(default: {split})",
    )
    train.add_argument(
        "--epochs",
        type=int,
        default=epochs,
        metavar="N",
        help=f"passes over the data (default: {epochs})",
    )
    train.add_argument(
        "--patience",
        type=int,
        default=20,
        metavar="N",
        help="stop a fold after N epochs without a better validation score (default: 20)",
    )
    train.add_argument(
        "--batch-size",
        type=int,
        default=80,
        metavar="N",
        help="molecules per step, over all processes (default: 80)",
    )
    train.add_argument("--lr", type=float, default=1e-3, help="learning rate (default: 1e-3)")
    train.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="constant",
        help="constant, or one_cycle: --lr is the peak of a rise and a long fall "
        "(default: constant)",
    )
    train.add_argument(
        "--positive-weight",
        type=_positive_weight,
        default=None,
        metavar="W",
        help="weight of actives in the loss of a classification: a number, or 'balanced' for "
        "inactives / actives (default: 1)",
    )
    train.add_argument(
        "--auxiliary",
        nargs="+",
        type=partial(_auxiliary, offered=offered),
        action="extend",
        default=[],
        metavar="NAME=WEIGHT",
        help="learn these beside the target, with a weight on their loss: "
        + ("the data set's " + ", ".join(auxiliary) + ", or " if auxiliary else "")
        + f"{PROPERTIES}, what RDKit calculates (mass, log P, rings, ...). They are neither "
        "scored nor predicted; docs/results.md says when they help (default: none)",
    )
    machine = parser.add_argument_group("files and machine")
    machine.add_argument(
        "--output", type=Path, default=Path(output), help=f"output folder (default: {output})"
    )
    machine.add_argument(
        "--resume",
        action="store_true",
        help="continue in the output folder: what is finished there is kept, what was "
        "interrupted goes on and ends with the same numbers",
    )
    machine.add_argument(
        "--cache",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="keep featurised molecules here for the next time (default: not kept)",
    )
    machine.add_argument(
        "--processes",
        type=int,
        default=None,
        metavar="N",
        help="processes that featurise (default: chosen by the number of molecules)",
    )
    machine.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="auto, cpu or cuda (default: auto, a GPU where torch finds one)",
    )
    machine.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="processor cores to use, in each process (default: 1: molecules are small, and "
        "threads that wait for a busy core cost more than they bring); repeated runs are equal to "
        "the last digit on the same number",
    )
    machine.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def plan_runs(args: argparse.Namespace) -> list[TrainingConfig]:
    """Every configuration that the flags ask for, checked before any work is done.

    Readouts that cannot do one of the asked-for levels are left out at that level, with a
    printed line; a readout that can do none of them is an error.

    Raises
    ------
    ValueError
        A name, an option or a number is not known or does not fit, or the output folder is not
        free.
    """
    current_world().on_main(partial(check_free_folder, args.output, resume=args.resume))
    choose_device(args.device)
    if args.threads < 1:
        raise ValueError(f"--threads {args.threads}: expected at least 1")
    for flag, values in (("readout", args.readout), ("levels", args.levels), ("seed", args.seed)):
        if len(set(values)) < len(values):
            raise ValueError(f"--{flag} {' '.join(map(str, values))}: a value is given twice")
    base = TrainingConfig(
        backbone=args.backbone,
        hidden_feats=args.hidden,
        num_steps=args.steps,
        dropout=args.dropout,
        readout_norm=args.readout_norm,
        epochs=args.epochs,
        patience=args.patience,
        batch_size=args.batch_size,
        lr=args.lr,
        schedule=args.schedule,
        positive_weight=args.positive_weight,
        auxiliary=_once("--auxiliary", args.auxiliary),
    )
    plain = [replace(base, readout=name) for name in args.readout]
    for config in plain:
        _try_model(config)
    models = []
    for config in _with_options(plain, args.readout_option):
        models += _with_levels(config, args.levels)
    return [replace(config, seed=seed) for config in models for seed in args.seed]


def train_all(
    dataset: MoleculeDataset,
    splits: Mapping[int, Splits],
    configs: Sequence[TrainingConfig],
    args: argparse.Namespace,
) -> list[RunResult]:
    """Train every configuration in its folder below ``args.output`` and write the table there.

    Parameters
    ----------
    dataset : MoleculeDataset
    splits : mapping of int to Splits
        By seed.
    configs : sequence of TrainingConfig
        From :func:`plan_runs`.
    args : argparse.Namespace
        The recipe's flags.
    """

    def check_folders() -> None:
        # All of them first: a changed setting of the last one must not show up hours later.
        for config in configs:
            files = RunFolder(args.output / config.run_name)
            files.check_free(resume=args.resume)
            if files.config.exists():
                files.check_same(run_record(dataset, splits[config.seed], config))

    dataset = with_auxiliary(dataset, {name for config in configs for name in config.auxiliary})
    current_world().on_main(check_folders)
    results = []
    with torch_threads(args.threads):
        for number, config in enumerate(configs):
            rows = splits[config.seed]
            train, valid = rows.folds[0]
            print(
                f"run {number + 1} of {len(configs)}: {config.run_name} ({len(rows.folds)} folds "
                f"of about {len(train)} training and {len(valid)} validation rows, "
                f"{len(rows.test)} test rows)",
                flush=True,
            )
            results.append(
                train_run(
                    dataset,
                    rows,
                    config,
                    args.output / config.run_name,
                    resume=args.resume,
                    device=args.device,
                )
            )
            write_table(results, args.output)
    print(f"\nmodels, predictions, scores and this table: {args.output}\n")
    return results


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch (and DGL, which shares its OpenMP) use ``number`` threads inside the block.

    Measured: on two cores busy with other work, two spinning threads made a training step 6 times
    slower than one thread.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _with_options(configs: Sequence[TrainingConfig], texts: Sequence[str]) -> list[TrainingConfig]:
    """Give each option to the readouts that take it; an option that none takes is an error."""
    chosen = list(configs)
    names = [config.readout for config in configs]
    for key, value in parse_options(texts, flag="--readout-option").items():
        owner, dot, option = key.partition(".")
        option_name = option if dot else key
        if dot and owner not in names:
            raise ValueError(
                f"readout option {key!r} is for {owner!r}, which is not among --readout "
                f"{' '.join(names)}"
            )
        taken: list[str] = []
        errors: list[tuple[str, Exception]] = []
        for i, config in enumerate(chosen):
            if dot and config.readout != owner:
                continue
            options = {**config.readout_options, option_name: value}
            candidate = replace(config, readout_options=options)
            try:
                _try_model(candidate)
            except (TypeError, ValueError) as error:
                errors.append((config.readout, error))
                continue
            chosen[i] = candidate
            taken.append(config.readout)
        if not taken:
            # The readout that knows the option says what is wrong with its value.
            knowing = [e for name, e in errors if option_name in readout_entry(name).options]
            raise knowing[0] if knowing else errors[0][1]
        for name, refusal in errors:
            if option_name in readout_entry(name).options:
                raise refusal
            print(f"note: {name} has no option {key}={value}; it goes to {', '.join(taken)}")
    return chosen


def _with_levels(config: TrainingConfig, levels: Sequence[int]) -> list[TrainingConfig]:
    possible, errors = [], []
    for level in levels:
        candidate = replace(config, levels=level)
        try:
            _try_model(candidate)
        except (NotImplementedError, ValueError) as error:
            errors.append((level, error))
            continue
        possible.append(candidate)
    if not possible:
        raise ValueError(
            f"{config.readout} cannot do --levels {' '.join(map(str, levels))}: {errors[0][1]} "
            f"(--levels 1 {' '.join(str(n) for n in levels if n != 1)} trains every readout at "
            "the levels it can do)"
        )
    for level, _ in errors:
        print(f"note: {config.readout} cannot do {level} levels; it is left out there")
    decomposition = config.readout_options.get("decomposition", "sqrtm")
    deepest = max(candidate.levels for candidate in possible)
    if config.readout == "gmpool" and decomposition == "sqrtm" and deepest > 1:
        print(
            "note: between two levels, gmpool with decomposition=sqrtm keeps all atoms and joins "
            "each with each, which is slow; decomposition=cholesky keeps one node per group"
        )
    return possible


def _try_model(config: TrainingConfig) -> None:
    """Build a narrow copy of the model: names and options are checked by their owners."""
    build_model(replace(config, hidden_feats=8, head_feats=8), node_in_feats=4, edge_in_feats=3)


def _auxiliary(text: str, *, offered: Sequence[str]) -> tuple[str, float]:
    name, equals, number = text.partition("=")
    if name not in offered:
        raise argparse.ArgumentTypeError(f"{name!r}: this recipe has {', '.join(offered)}")
    try:
        return name, float(number) if equals else 1.0
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=WEIGHT") from error


def _once(flag: str, pairs: Sequence[tuple[str, float]]) -> dict[str, float]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{flag} {name} is given twice")
    return dict(pairs)


def _positive_weight(text: str) -> Any:
    if text == "balanced":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number or 'balanced'") from error
