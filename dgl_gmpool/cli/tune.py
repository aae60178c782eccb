"""``dgl-gmpool tune``: a data set in, the configuration that does best on validation rows out."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from dgl_gmpool._options import as_typed, whole_number
from dgl_gmpool.cli.datasets import DATA_SETS
from dgl_gmpool.cli.molecule_rows import one_process
from dgl_gmpool.cli.search_plan import first_settings, plan_search
from dgl_gmpool.cli.train import add_train_flags, prepare
from dgl_gmpool.cli.train_plan import with_asked_for
from dgl_gmpool.data.features import DESCRIPTOR_SETS
from dgl_gmpool.training.device import choose_device, keep_freed_memory, torch_threads
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.provenance import config_record
from dgl_gmpool.training.run import run_record
from dgl_gmpool.training.search_space import (
    DEFAULT_SPACE,
    SETTINGS,
    suggest_config,
)
from dgl_gmpool.training.study import (
    best_trial,
    finished_trials,
    import_optuna,
    open_study,
    other_settings,
    space_of_study,
    trial_error,
    write_best,
    write_trials,
)
from dgl_gmpool.training.tuning import Search, run_search
from dgl_gmpool.training.words import score_text

DATABASE, TRIALS, BEST = "study.db", "trials.csv", "best.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``dgl-gmpool tune``: those of ``train``, and what is searched."""
    commands = parser.add_subparsers(dest="data_set", metavar="DATA", required=True)
    for name, data in DATA_SETS.items():
        command = commands.add_parser(name, help=data.summary)
        _add_search(command)
        add_train_flags(command, name, output=f"tuned/{name}")
        command.description = f"""Search for the settings that do best on {data.summary}.

Every trial trains all folds; the mean validation score counts, and the test set is never looked at.
trials.csv in the output folder has every trial, best.json the best, which 'train --config' takes.
Start it again with --resume to go on after a kill, or beside it for a second process; processes on
several machines share a study with --storage."""


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search")
    group.add_argument(
        "--trials",
        type=whole_number,
        default=50,
        metavar="N",
        help="stop when the study has N trials, those of other processes included (default: 50)",
    )
    group.add_argument(
        "--timeout",
        type=whole_number,
        metavar="SECONDS",
        help="start no trial after this time (default: no limit)",
    )
    known = "; ".join(f"{name} ({values})" for name, (_, values) in SETTINGS.items())
    group.add_argument(
        "--space",
        nargs="+",
        metavar="NAME",
        help="what is searched: NAME, NAME=A,B,C or NAME=LOW:HIGH, such as lr=1e-4:1e-2. Known, "
        f"with what is tried unless you say so: {known}. The rest is as its flag says "
        f"(default: {' '.join(DEFAULT_SPACE)}, without those whose flag is given)",
    )
    group.add_argument(
        "--storage",
        metavar="URL",
        help=f"database of the study, as Optuna takes it (default: {DATABASE} in --output)",
    )
    group.add_argument(
        "--study", default="dgl-gmpool", metavar="NAME", help="its name there (default: dgl-gmpool)"
    )


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool tune``."""
    one_process("tune")
    import_optuna()
    args, space = plan_search(args)
    configs, dataset, splits, source = prepare(args)
    base, rows = configs[0], splits[args.seed[0]]
    options = {config.readout: config.readout_options for config in configs}
    if "descriptors" in space:
        words = "+".join(map(str, getattr(space["descriptors"], "values", ())))
        needed = sorted(set(DESCRIPTOR_SETS) & set(words.split("+")))
    else:
        needed = list(base.descriptors)
    dataset = with_asked_for(dataset, [*configs, replace(base, descriptors=tuple(needed))], args)
    metric = choose_metric(dataset.table.kinds, base.metric)
    record = run_record(dataset, rows, replace(base, descriptors=()))
    shared = {"data": record["data"], "splits": record["splits"], "metric": {"name": metric.name}}
    args.output.mkdir(parents=True, exist_ok=True)
    storage = args.storage or f"sqlite:///{(args.output / DATABASE).absolute()}"
    study = open_study(storage, args.study, metric, shared)
    space = space_of_study(study, space)
    for note in other_settings(study, base, [SETTINGS[name][0] for name in space]):
        print(f"note: {note}")
    device = choose_device(args.device)
    search = Search(
        dataset,
        rows,
        lambda trial: suggest_config(trial, base, space, options),
        metric,
        device,
        args.seed[0],
    )
    best_file = args.output / BEST

    def write_files() -> None:
        write_trials(args.output / TRIALS, study, metric)
        write_best(
            best_file,
            study,
            lambda config: config_record(
                run_record(dataset, rows, config), dataset, device, source=source
            ),
        )

    def tell(study: Any, trial: Any) -> None:
        write_files()
        best = best_trial(study)
        complete = trial.state.name == "COMPLETE"
        score = "" if not complete else f", valid {metric.label} {score_text(trial.value)}"
        so_far = "" if best is None else f" (best {score_text(best.value)}, trial {best.number})"
        settings = " ".join(f"{name}={_short(value)}" for name, value in trial.params.items())
        why = trial_error(trial)
        print(
            f"trial {trial.number} {trial.state.name.lower()}{score}{so_far}: {settings}"
            f"{why and f' ({why})'}",
            flush=True,
        )

    print(f"searching {', '.join(f'{name} ({values})' for name, values in space.items())}")
    keep_freed_memory()
    with torch_threads(args.threads):
        run_search(
            study,
            search,
            trials=args.trials,
            timeout=args.timeout,
            first=first_settings(base, space),
            tell=tell,
        )
        write_files()
    best = best_trial(study)
    tried = finished_trials(study)
    if best is None:
        why = next((f"; the first: {said}" for said in map(trial_error, tried) if said), "")
        raise ValueError(
            f"none of {len(tried)} trials came to a score{why or '. Give it a longer --timeout'}"
        )
    config = as_typed("--config", best_file)
    print(
        f"\n{len(tried)} trial{'s' * (len(tried) > 1)} in {args.output / TRIALS}; the best, trial "
        f"{best.number}: valid {metric.label} {score_text(best.value)}. It was chosen by this "
        "score, so expect a little less. Train and test it:\n"
        f"  dgl-gmpool train {args.data_set} {config} --output RUN"
    )
    return 0


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
