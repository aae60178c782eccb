"""Train on a table of your own: one column of SMILES, one or more columns to predict.

  python recipes/molecules_csv.py --csv my.csv --smiles-column smiles --target logS
  python recipes/molecules_csv.py --csv my.csv --target toxic irritant --readout mean gmpool

Targets of 0 and 1 only are a classification, other numbers a regression. With several targets a
blank cell is a missing measurement. Rows that cannot be used are listed with their reasons.
"""

from __future__ import annotations

from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.cli.train import plan_runs, recipe_parser, train_all
from dgl_gmpool.data import featurize, load_csv, make_splits
from dgl_gmpool.training import main_first, write_table


def main(arguments: list[str]) -> None:
    parser = recipe_parser(__doc__, output="runs/molecules_csv")
    data = parser.add_argument_group("data")
    data.add_argument("--csv", metavar="FILE", required=True, help=".csv or .tsv, also .gz")
    data.add_argument("--smiles-column", default="smiles", metavar="NAME", help="default: smiles")
    data.add_argument(
        "--target", nargs="+", required=True, metavar="NAME", help="columns to predict"
    )
    data.add_argument(
        "--kind",
        choices=("classification", "regression"),
        help="default: classification if all values are 0 or 1",
    )
    data.add_argument("--id-column", metavar="NAME", help="names of the rows (default: row number)")
    data.add_argument(
        "--group-column",
        metavar="NAME",
        help="rows with the same value here (a series, a project) stay on one side of every split",
    )
    data.add_argument("--units", default="", help="of the targets, for the table")
    args = parser.parse_args(arguments)
    configs = plan_runs(args)

    table = load_csv(
        args.csv,
        smiles_column=args.smiles_column,
        target_columns=args.target,
        kind=args.kind,
        id_column=args.id_column,
        group_column=args.group_column,
        units=args.units,
    )
    print(table.report)
    with main_first(args.cache is not None):
        dataset = featurize(table, cache_dir=args.cache, processes=args.processes)
    splits = {
        seed: make_splits(dataset.table, kind=args.split, seed=seed, folds=args.folds)
        for seed in args.seed
    }
    results = train_all(dataset, splits, configs, args)
    print(write_table(results, args.output))


if __name__ == "__main__":
    raise SystemExit(run_script(main))
