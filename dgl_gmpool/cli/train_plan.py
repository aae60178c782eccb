"""Which runs a training command asks for, and training all of them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from dgl_gmpool._options import check_choice, parse_options
from dgl_gmpool.cli.config_file import FLAGS, NAMED_WEIGHTS
from dgl_gmpool.cli.report import index_after_training, page_after_training
from dgl_gmpool.cli.split_plan import check_split_flags
from dgl_gmpool.data import MoleculeDataset, Splits, with_auxiliary, with_descriptors
from dgl_gmpool.data.featurize import with_fragments
from dgl_gmpool.data.featurizers import CODES, feature_widths
from dgl_gmpool.data.splits import SPLIT_KINDS
from dgl_gmpool.registry import check_options, readout_entry
from dgl_gmpool.training.baselines import baseline_rows
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.device import choose_device, keep_freed_memory, torch_threads
from dgl_gmpool.training.distributed import current_world, main_first
from dgl_gmpool.training.history import check_tensorboard
from dgl_gmpool.training.model import build_model
from dgl_gmpool.training.pretrained_gin import check_codes
from dgl_gmpool.training.run import RunResult, as_begun, run_record, train_run
from dgl_gmpool.training.run_folder import RunFolder, check_free_folder
from dgl_gmpool.training.table import write_table

#: Fields whose flags take several values, or that hang on another one.
_BY_ITSELF = (
    "readout",
    "readout_options",
    "levels",
    "lift",
    "backbone_options",
    "seed",
    *NAMED_WEIGHTS,
)


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
    if args.tensorboard:
        check_tensorboard()
    check_choice("kind of split", args.split, SPLIT_KINDS)
    check_numbers(args, threads=1, processes=1, folds=1)
    check_split_flags(args)
    for flag, values in (("readout", args.readout), ("levels", args.levels), ("seed", args.seed)):
        if len(set(values)) < len(values):
            raise ValueError(f"--{flag} {' '.join(map(str, values))}: a value is given twice")
    if len(set(args.baselines or [])) > 1 and "none" in args.baselines:
        raise ValueError(f"--baselines {' '.join(args.baselines)}: none stands alone")
    with in_words_of_the_flags():
        base = TrainingConfig(
            **{
                field: getattr(args, flag)
                for field, flag in FLAGS.items()
                if field not in _BY_ITSELF
            },
            backbone_options=parse_options(args.backbone_option, flag="--backbone-option"),
            auxiliary=_once("--auxiliary", args.auxiliary),
            task_weights=_once("--task-weights", args.task_weights),
        )
        for level in args.levels:
            replace(base, levels=level)
        for seed in args.seed:
            replace(base, seed=seed)
    check_codes(base.backbone, args.featurizer)
    plain = [replace(base, readout=name) for name in args.readout]
    for config in plain:
        _try_model(config)
    if args.readout_preset == "paper":
        if not any(map(_paper_options, args.readout)):
            raise ValueError(
                "--readout-preset paper is for gmpool and ngmpool, and neither is among --readout "
                f"{' '.join(args.readout)}"
            )
        plain = [_as_in_the_paper(config) for config in plain]
    models = []
    for config in _with_options(plain, args.readout_option):
        models += _with_levels(config, args.levels, args.levels_lift)
    return [replace(config, seed=seed) for config in models for seed in args.seed]


def train_all(
    dataset: MoleculeDataset,
    splits: Mapping[int, Splits],
    configs: Sequence[TrainingConfig],
    args: argparse.Namespace,
    *,
    source: Mapping[str, Any] | None = None,
) -> list[RunResult]:
    """Train every configuration in its folder below ``args.output``; write and print the table.

    Parameters
    ----------
    dataset : MoleculeDataset
    splits : mapping of int to Splits
        By seed.
    configs : sequence of TrainingConfig
        From :func:`plan_runs`.
    args : argparse.Namespace
        The command's flags.
    source : mapping, optional
        Its data flags, for ``config.json``.
    """

    def check_folders() -> None:
        # All of them first: a changed setting of the last one must not show up hours later.
        for config in configs:
            files = RunFolder(args.output / config.run_name)
            files.check_free(resume=args.resume)
            if files.config.exists():
                begun = as_begun(files, config)
                files.check_same(run_record(dataset, splits[config.seed], begun))

    # Without a test set there is nothing to score them on.
    names = args.baselines if all(each.test for each in splits.values()) else []
    baselines = current_world().on_main(
        partial(baseline_rows, names, dataset.table, splits, configs[0])
    )
    dataset = with_asked_for(dataset, configs, args)
    current_world().on_main(check_folders)
    results = []
    keep_freed_memory()
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
                    source=source,
                    tensorboard=args.tensorboard,
                )
            )
            table = write_table(results, args.output, baselines=baselines)
            if not args.no_report:
                current_world().on_main(
                    partial(page_after_training, results[-1].folder, device=args.device)
                )
    print(f"\nmodels, predictions, scores and this table: {args.output}\n\n{table}")
    if not args.no_report:
        current_world().on_main(partial(index_after_training, args.output))
    return results


def with_asked_for(
    dataset: MoleculeDataset, configs: Sequence[TrainingConfig], args: argparse.Namespace
) -> MoleculeDataset:
    """The data set with the auxiliary targets, descriptors and fragments of all configurations."""
    dataset = with_auxiliary(dataset, {name for config in configs for name in config.auxiliary})
    before = len(dataset.table.report.notes)
    with main_first(args.cache is not None):
        dataset = with_descriptors(
            dataset,
            sorted({name for config in configs for name in config.descriptors}),
            cache_dir=args.cache,
            processes=args.processes,
        )
    for note in dataset.table.report.notes[before:]:
        print(f"note: {note}")
    if any(config.readout_options.get("fragment_weight") for config in configs):
        dataset = with_fragments(dataset)
    return dataset


def check_numbers(args: argparse.Namespace, **least: int) -> None:
    """Refuse flags, named with the least value they take, that are below it; None is no value."""
    for flag, smallest in least.items():
        value = getattr(args, flag)
        if value is not None and (type(value) is not int or value < smallest):
            raise ValueError(f"--{flag} {value}: expected a whole number of at least {smallest}")


@contextmanager
def in_words_of_the_flags() -> Iterator[None]:
    """``hidden_feats=0: expected ...`` as ``--hidden 0: expected ...``."""
    try:
        yield
    except ValueError as error:
        found = re.fullmatch(r"(\w+)=(.+?): (.*)", str(error), re.DOTALL)
        if found is None or found[1] not in FLAGS:
            raise
        flag = FLAGS[found[1]].replace("_", "-")
        said = re.sub(r"\bNone\b", "none", found[3])
        raise ValueError(f"--{flag} {found[2]}: {said}") from error


def _as_in_the_paper(config: TrainingConfig) -> TrainingConfig:
    """With the paper's options, where the readout has such."""
    paper = _paper_options(config.readout)
    return replace(config, readout_options={**paper, **config.readout_options})


def _paper_options(readout: str) -> dict[str, Any]:
    found: dict[str, Any] = getattr(readout_entry(readout).factory, "PAPER", {})
    return found


def _with_options(configs: Sequence[TrainingConfig], texts: Sequence[str]) -> list[TrainingConfig]:
    """Give each option to the readouts that take it; an option that none takes is an error."""
    options = [dict(config.readout_options) for config in configs]
    for key, value in parse_options(texts, flag="--readout-option").items():
        owner, _, option = key.rpartition(".")
        names = [config.readout for config in configs if owner in ("", config.readout)]
        if not names:
            raise ValueError(
                f"readout option {key!r} is for {owner!r}, which is not among --readout "
                f"{' '.join(config.readout for config in configs)}"
            )
        entries = [readout_entry(name) for name in names]
        takers = [e.name for e in entries if e.takes_any_option or option in e.options]
        if not takers:
            check_options(entries[0], [option])
        for config, own in zip(configs, options):
            if config.readout in takers:
                own[option] = value
            elif config.readout in names:
                print(
                    f"note: {config.readout} has no option {key}={value}; it goes to "
                    f"{', '.join(takers)}"
                )
    chosen = [replace(config, readout_options=own) for config, own in zip(configs, options)]
    for config in chosen:
        _try_model(config)
    return chosen


def _with_levels(config: TrainingConfig, levels: Sequence[int], lift: bool) -> list[TrainingConfig]:
    if lift and max(levels) == 1:
        raise ValueError(
            "--levels-lift takes groups back to their atoms, and --levels 1 makes none between its "
            "layers; add --levels 2"
        )
    possible, errors = [], []
    for level in levels:
        candidate = replace(config, levels=level, lift=lift and level > 1)
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
    decomposition = config.readout_options.get("decomposition")
    deepest = max(candidate.levels for candidate in possible)
    if config.readout == "gmpool" and decomposition == "sqrtm" and deepest > 1:
        print(
            "note: between two levels, gmpool with decomposition=sqrtm keeps all atoms and joins "
            "each with each, which is slow; decomposition=pivot keeps one node per group"
        )
    return possible


def _try_model(config: TrainingConfig) -> None:
    """Build a narrow copy of the model: names and options are checked by their owners."""
    nodes, edges = feature_widths(CODES) if config.backbone == "gin" else (4, 3)
    narrow = replace(config, hidden_feats=8, head_feats=8)
    build_model(narrow, node_in_feats=nodes, edge_in_feats=edges)


def _once(flag: str, pairs: Sequence[tuple[str, float]]) -> dict[str, float]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{flag} {name} is given twice")
    return dict(pairs)
