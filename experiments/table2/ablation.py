"""What helps GMPool and NGMPool: one choice changed at a time, compared by validation scores.

  python -m experiments.table2.ablation --chromophores CSV --tsv TSV    all variants and data sets

The variants are in experiments/table2/variants.py, the files as for experiments.table2. It can be
stopped at any point and continued by the same command. Writes scores.csv, variants.md and
variants.json.
"""

from __future__ import annotations

import argparse

from dgl_gmpool.cli.entry import run_script
from experiments.table2 import Budget, Plan, choose_datasets, run_comparison
from experiments.table2.flags import comparison_parser, paths
from experiments.table2.variants import VARIANTS, write_variant_report


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
        paths=paths(args),
        output=args.output,
        tune=False,
    )
    failures = run_comparison(plan, processes=args.processes)
    print(write_variant_report(args.output))
    for line in failures:
        print(f"failed: {line}")
    return 1 if failures else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = comparison_parser(__doc__, output="runs/ablation")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="(default: 1)")
    parser.add_argument(
        "--folds", type=int, default=1, metavar="N", help="train the first N of 5 (default: 1)"
    )
    parser.add_argument(
        "--epochs-scale", type=float, default=0.5, metavar="X", help="(default: 0.5)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(run_script(main, resume=""))
