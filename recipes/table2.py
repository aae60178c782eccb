"""The paper's Table 2: every pooling on one backbone, the same splits and the same tuning.

  python recipes/table2.py --chromophores CSV --tsv TSV          five data sets, all methods
  python recipes/table2.py --datasets tox21 --methods mean gmpool ngmpool --seeds 2

Tox21 is downloaded by DGL-LifeSci's address on first use (--tox21 takes a local copy), CSV is the
publisher's "DB for chromophore" table, TSV BindingDB's tab-separated download. First every method
is tuned: one of its four configurations (dgl_gmpool/comparison/methods.py) is chosen by validation
scores. Then seeds x folds are trained, a process per core. Results are written after every fold:
stop at any point, and run the same command again to go on, or with more --seeds to add some.

Writes scores.csv (one row per data set, method, seed and fold), tuning.json, table.md, table.json.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from dgl_gmpool.comparison import (
    DATASETS,
    METHODS,
    Budget,
    Plan,
    choose_datasets,
    choose_methods,
    installed_methods,
    run_comparison,
    write_report,
)
from dgl_gmpool.training import run_script


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    methods = choose_methods(args.methods) if args.methods else installed_methods()
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
        paths={"tox21": args.tox21, "bindingdb": args.tsv, "chromophores": args.chromophores},
        output=args.output,
        tune=not args.no_tuning,
    )
    failures = run_comparison(plan, processes=args.processes)
    print(write_report(args.output))
    for line in failures:
        print(f"failed: {line}")
    return 1 if failures else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_argument_group("what to compare")
    names = [data.name for data in DATASETS]
    what.add_argument(
        "--datasets", nargs="+", default=names, metavar="NAME", help=f"of {', '.join(names)}"
    )
    what.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(method.name for method in METHODS)} (default: all; chemprop only "
        "where it is installed)",
    )
    what.add_argument("--seeds", type=int, default=3, metavar="N", help="(default: 3)")
    what.add_argument("--folds", type=int, default=5, metavar="N", help="(default: 5)")
    what.add_argument(
        "--first-folds",
        type=int,
        metavar="N",
        help="train only the first N folds of each seed (default: all)",
    )
    what.add_argument(
        "--no-tuning", action="store_true", help="take every method's default configuration"
    )
    files = parser.add_argument_group("files")
    files.add_argument("--tox21", type=Path, metavar="FILE", help="tox21.csv(.gz), else downloaded")
    files.add_argument("--tsv", type=Path, metavar="FILE", help="BindingDB's .tsv, .gz or .zip")
    files.add_argument("--chromophores", type=Path, metavar="FILE", help="the publisher's .csv")
    files.add_argument("--output", type=Path, default=Path("runs/table2"), metavar="FOLDER")
    budget = parser.add_argument_group("budget of every network")
    default = Budget()
    budget.add_argument(
        "--hidden",
        type=int,
        default=default.hidden_feats,
        metavar="N",
        help=f"width (default: {default.hidden_feats}; 200 in the paper)",
    )
    budget.add_argument(
        "--batch-size", type=int, default=default.batch_size, metavar="N", help="molecules per step"
    )
    budget.add_argument("--lr", type=float, default=default.lr, help="peak learning rate")
    budget.add_argument(
        "--epochs-scale",
        type=float,
        default=1.0,
        metavar="X",
        help="multiplies the epochs of each data set, such as 0.1 for a first look",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="folds trained at a time (default: one per core)",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(run_script(main, resume=""))
