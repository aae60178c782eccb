"""Train on measured potencies (pIC50) of one or more targets from BindingDB.

  python recipes/bindingdb.py --tsv BindingDB_All.tsv                     human ATP receptors
  python recipes/bindingdb.py --tsv BindingDB_All.tsv --accession Q99572  human P2X7 only
  python recipes/bindingdb.py --tsv FILE --readout mean ngmpool gmpool    a comparison

FILE is BindingDB's tab-separated download (plain, .gz or .zip; the whole dump works). Targets
are chosen by UniProt accession, because orthologues share a name. Bounds ('>', '<') are left
out and counted, repeats go to their median. Scores are RMSE in log units.
"""

from __future__ import annotations

from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.cli.train import plan_runs, recipe_parser, train_all
from dgl_gmpool.data import HUMAN_ATP_RECEPTORS, featurize, load_bindingdb, make_splits
from dgl_gmpool.training import main_first, write_table


def main(arguments: list[str]) -> None:
    parser = recipe_parser(__doc__, output="runs/bindingdb", epochs=60)
    data = parser.add_argument_group("data")
    data.add_argument("--tsv", metavar="FILE", required=True, help="BindingDB's .tsv, .gz or .zip")
    data.add_argument(
        "--accession",
        nargs="+",
        default=list(HUMAN_ATP_RECEPTORS),
        metavar="ID",
        help="UniProt accessions of the targets (default: human P2X1-7, P2Y1 and P2Y2)",
    )
    data.add_argument(
        "--measure",
        default="IC50",
        choices=("IC50", "Ki", "Kd", "EC50"),
        help="which measured quantity (default: IC50)",
    )
    args = parser.parse_args(arguments)
    configs = plan_runs(args)

    table = load_bindingdb(args.tsv, accessions=args.accession, measure=args.measure)
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
