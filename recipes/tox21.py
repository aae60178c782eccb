"""Train on Tox21: is a molecule active in any of twelve toxicity assays?

  python recipes/tox21.py                                   GMPool on the paper's 2,514 molecules
  python recipes/tox21.py --readout mean ngmpool gmpool     a comparison on the same splits
  python recipes/tox21.py --multitask                       the twelve assays, one output each
  python recipes/tox21.py --auxiliary assays=10             one output, learnt beside the twelve

The file is downloaded by DGL-LifeSci's address on first use; --data takes a local copy.
Scores are ROC-AUC on a test set of 10 %, one per fold; mean and spread are in the last table.
"""

from __future__ import annotations

from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.cli.train import plan_runs, recipe_parser, train_all
from dgl_gmpool.data import featurize, load_tox21, make_splits
from dgl_gmpool.training import main_first, write_table


def main(arguments: list[str]) -> None:
    parser = recipe_parser(__doc__, output="runs/tox21", auxiliary=["assays"])
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data", metavar="FILE", help="tox21.csv or tox21.csv.gz (default: download)"
    )
    data.add_argument(
        "--multitask",
        action="store_true",
        help="predict the 12 assays side by side, with blanks left out of loss and score "
        "(default: one label, active in any)",
    )
    args = parser.parse_args(arguments)
    configs = plan_runs(args)

    with main_first(args.data is None):  # the download
        table = load_tox21(args.data, multitask=args.multitask)
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
