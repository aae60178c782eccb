"""The paper's Table 2: every pooling after a DMPNN, the same splits and the same tuning.

  python -m experiments.table2 --chromophores CSV --tsv TSV          five data sets, all methods
  python -m experiments.table2 --datasets tox21 --methods mean gmpool ngmpool --seeds 2

Tox21 is downloaded by DGL-LifeSci's address on first use (--tox21 takes a local copy), CSV is the
publisher's "DB for chromophore" table, TSV BindingDB's tab-separated download. First every method
is tuned: one of its four configurations (experiments/table2/methods.py) is chosen by validation
scores. Then seeds x folds are trained, a process per core. Results are written after every fold:
stop at any point, and run the same command again to go on, or with more --seeds to add some.

Writes scores.csv (one row per data set, method, seed and fold), tuning.json, table.md, table.json.
"""

from __future__ import annotations

import argparse

from dgl_gmpool.cli.entry import run_script
from experiments.table2 import (
    METHODS,
    Budget,
    Plan,
    choose_datasets,
    choose_methods,
    installed_methods,
    run_comparison,
    with_auxiliary_twins,
    write_report,
)
from experiments.table2.flags import comparison_parser, paths


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    methods = choose_methods(args.methods) if args.methods else installed_methods()
    if args.auxiliary:
        methods = with_auxiliary_twins(methods)
    datasets = choose_datasets(args.datasets)
    plan = Plan(
        datasets=tuple(datasets),
        methods=tuple(methods),
        seeds={data.name: args.seeds for data in datasets},
        folds=args.folds,
        first_folds=args.first_folds,
        budget=Budget(
            hidden_feats=args.hidden,
            batch_size=args.batch_size,
            lr=args.lr,
            epochs_scale=args.epochs_scale,
        ),
        paths=paths(args),
        output=args.output,
        tune=not args.no_tuning,
    )
    failures = run_comparison(plan, processes=args.processes)
    print(write_report(args.output))
    for line in failures:
        print(f"failed: {line}")
    return 1 if failures else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = comparison_parser(__doc__, output="runs/table2")
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(method.name for method in METHODS)} (default: all; chemprop only "
        "where it is installed)",
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="(default: 3)")
    parser.add_argument("--folds", type=int, default=5, metavar="N", help="(default: 5)")
    parser.add_argument(
        "--first-folds",
        type=int,
        metavar="N",
        help="train only the first N folds of each seed (default: all)",
    )
    parser.add_argument(
        "--no-tuning", action="store_true", help="take every method's default configuration"
    )
    parser.add_argument(
        "--auxiliary",
        action="store_true",
        help="every network twice: alone, and learning auxiliary targets beside its own (the "
        "twelve assays of tox21, elsewhere what RDKit calculates)",
    )
    budget = parser.add_argument_group("budget of every network")
    default = Budget()
    budget.add_argument(
        "--batch-size",
        type=int,
        default=default.batch_size,
        metavar="N",
        help=f"molecules per step (default: {default.batch_size})",
    )
    budget.add_argument(
        "--lr", type=float, default=default.lr, help=f"peak learning rate (default: {default.lr:g})"
    )
    budget.add_argument(
        "--epochs-scale",
        type=float,
        default=1.0,
        metavar="X",
        help="multiplies the epochs of each data set, such as 0.1 for a first look",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(run_script(main, resume=""))
