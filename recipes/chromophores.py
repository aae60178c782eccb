"""Train on optical properties of organic chromophores (Joung et al. 2020).

  python recipes/chromophores.py --csv FILE                             quantum yield in films
  python recipes/chromophores.py --csv FILE --target emission_film      emission maximum, films
  python recipes/chromophores.py --csv FILE --target emission_solvent   emission in solvents

FILE is the publisher's "DB for chromophore" CSV (.csv or .csv.gz). A molecule in several solvents
stays on one side of every split, and the solvent goes into the model as descriptors.
"""

from __future__ import annotations

from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.cli.train import plan_runs, recipe_parser, train_all
from dgl_gmpool.data import featurize, load_chromophores, make_splits
from dgl_gmpool.training import main_first, write_table


def main(arguments: list[str]) -> None:
    parser = recipe_parser(__doc__, output="runs/chromophores", split="group", epochs=60)
    data = parser.add_argument_group("data")
    data.add_argument("--csv", metavar="FILE", required=True, help="the publisher's table")
    data.add_argument(
        "--target",
        default="plqy",
        choices=("plqy", "emission_film", "emission_solvent"),
        help="plqy: quantum yield in films; emission_film, emission_solvent: emission maximum in "
        "nm (default: plqy)",
    )
    args = parser.parse_args(arguments)
    configs = plan_runs(args)

    table = load_chromophores(args.csv, target=args.target)
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
