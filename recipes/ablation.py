"""What helps GMPool and NGMPool: one choice changed at a time, compared by validation scores.

  python recipes/ablation.py --chromophores CSV --tsv TSV      all variants, five data sets

The variants are in dgl_gmpool/comparison/variants.py, the files as for recipes/table2.py. It can be
stopped at any point and continued by the same command. Writes scores.csv, variants.md and
variants.json.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from dgl_gmpool.comparison import DATASETS, Budget, Plan, choose_datasets, run_comparison
from dgl_gmpool.comparison.variants import VARIANTS, write_variant_report
from dgl_gmpool.training import run_script


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    datasets = choose_datasets(args.datasets)
    plan = Plan(
        datasets=tuple(datasets),
        methods=VARIANTS,
        seeds={data.name: args.seeds for data in datasets},
        folds=5,
        first_folds=args.folds,
        budget=Budget(hidden_feats=args.hidden, epochs_scale=args.epochs_scale),
        paths={"tox21": args.tox21, "bindingdb": args.tsv, "chromophores": args.chromophores},
        output=args.output,
        tune=False,
    )
    failures = run_comparison(plan, processes=args.processes)
    print(write_variant_report(args.output))
    for line in failures:
        print(f"failed: {line}")
    return 1 if failures else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [data.name for data in DATASETS]
    parser.add_argument(
        "--datasets", nargs="+", default=names, metavar="NAME", help=f"of {', '.join(names)}"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument(
        "--folds", type=int, default=1, metavar="N", help="train the first N of 5 (default: 1)"
    )
    parser.add_argument(
        "--tox21", type=Path, metavar="FILE", help="tox21.csv(.gz), else downloaded"
    )
    parser.add_argument("--tsv", type=Path, metavar="FILE", help="BindingDB's .tsv, .gz or .zip")
    parser.add_argument("--chromophores", type=Path, metavar="FILE", help="the publisher's .csv")
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"), metavar="FOLDER")
    parser.add_argument(
        "--hidden", type=int, default=Budget().hidden_feats, metavar="N", help="width"
    )
    parser.add_argument(
        "--epochs-scale", type=float, default=0.5, metavar="X", help="(default: 0.5)"
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="(default: cores)"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(run_script(main, resume=""))
