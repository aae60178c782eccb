"""The paper's Figures 2 and 3, and how many groups a trained model finds, as PNG and SVG.

  python -m experiments.figures --runs FOLDER                     from finished runs
  python -m experiments.figures --runs FOLDER --tsv TSV --train   train what Figure 3a lacks first
  python -m experiments.figures --model RUN_FOLDER                any one run of gmpool or ngmpool
  python -m experiments.figures --scores scores.csv               score across methods (table2.py)

FOLDER holds runs of gmpool that differ in num_clusters and seed only; --train makes them on
BindingDB (TSV is its tab-separated file), and the same command goes on where it was stopped.

grouping         Figure 2: grouping matrices before and after training, beside their molecules
clusters         Figure 3a: test score over a forced number of clusters
methods_DATASET  Figure 3b: test score across methods
distribution     number of clusters against atoms, rings and functional groups
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.cli.train_flags import TrainFlags
from dgl_gmpool.cli.train_plan import plan_runs, train_all
from dgl_gmpool.data import featurize, load_bindingdb, make_splits
from experiments.figures import (
    CLUSTERS,
    FoldModels,
    ForcedRuns,
    clusters_figure,
    distribution_figure,
    few_and_many,
    find_forced_runs,
    graphs_of,
    group_counts,
    grouped_molecule,
    grouping_figure,
    load_fold,
    methods_figure,
    molecule_parts,
    plan_forced_runs,
    save_figure,
)
from experiments.table2 import DATASETS
from experiments.table2.datasets import P2X
from experiments.table2.rows import labels
from experiments.table2.scores import read_scores


def main(arguments: list[str]) -> None:
    args = parse(arguments)
    table = None
    if args.tsv is not None:
        table = load_bindingdb(args.tsv, accessions=args.accession)
    if args.train:
        train(args, table)

    model = None if args.model is None else load_fold(args.model, fold=args.fold)
    if args.runs is not None:
        runs = find_forced_runs(args.runs)
        if model is None and runs.adaptive:
            model = load_fold(runs.adaptive[0].folder, fold=args.fold)
        draw_clusters(runs, args)
    if model is not None:
        draw_groups(model, args)
        draw_distribution(model, table, args)
    if args.scores is not None:
        draw_methods(args)


def train(args: argparse.Namespace, table: Any) -> None:
    """Figure 3a's runs: adaptive, and with each number of clusters forced."""
    args.output, pictures = args.runs, args.output
    plans = plan_forced_runs(plan_runs(args), args.clusters)
    print(table.report)
    dataset = featurize(table, cache_dir=args.cache, processes=args.processes)
    splits = {
        seed: make_splits(dataset.table, kind=args.split, seed=seed, folds=args.folds)
        for seed in args.seed
    }
    train_all(dataset, splits, plans, args)
    args.output = pictures


def draw_clusters(runs: ForcedRuns, args: argparse.Namespace) -> None:
    """Figure 3a, where there are runs with a forced number."""
    if not runs.forced:
        print(f"no run with num_clusters in {args.runs}: no Figure 3a (--train makes them)")
        return
    counts = None
    if runs.adaptive:
        adaptive = load_fold(runs.adaptive[0].folder)
        graphs = graphs_of(adaptive.test_smiles, adaptive.featurizer)
        counts = group_counts(adaptive.after, graphs).num_clusters
    save(clusters_figure(runs, adaptive_counts=counts), args, "clusters")


def draw_groups(model: FoldModels, args: argparse.Namespace) -> None:
    """Figure 2, with two test molecules: one with few groups for its size, one with many."""
    graphs = graphs_of(model.test_smiles, model.featurizer)
    sizes = [graph.num_nodes() for graph in graphs]
    found = group_counts(model.after, graphs)
    few, many = few_and_many(found, sizes, max_atoms=args.max_atoms)
    names = ("few groups", "many groups")
    if found.num_clusters[few] == found.num_clusters[many]:
        names = ("lowest rank per atom", "highest rank per atom")
        print(
            f"note: no two molecules to show differ in K, it is {found.num_clusters[few]} in both"
        )
    panels = [
        ("Before training", model.before, few),
        (f"After training, {names[0]}", model.after, few),
        (f"After training, {names[1]}", model.after, many),
    ]
    molecules = [
        (title, grouped_molecule(net, model.test_smiles[row], featurizer=model.featurizer))
        for title, net, row in panels
    ]
    for (title, molecule), (_, _, row) in zip(molecules, panels):
        print(f"{title}: K = {molecule.num_clusters}, {model.test_ids[row]}  {molecule.smiles}")
    untrained = grouped_molecule(
        model.before, model.test_smiles[many], featurizer=model.featurizer
    ).num_clusters
    print(f"(the last one before training: K = {untrained})")
    figure = grouping_figure(molecules)
    save(figure, args, "grouping")


def draw_distribution(model: FoldModels, table: Any, args: argparse.Namespace) -> None:
    """All molecules of --tsv, or else the run's test molecules."""
    smiles = model.test_smiles if table is None else table.smiles
    found = group_counts(model.after, graphs_of(smiles, model.featurizer))
    which = "test molecules" if table is None else "molecules"
    title = f"Clusters of {len(smiles):,} {which}, {model.config.label}"
    save(distribution_figure(found, molecule_parts(smiles), title=title), args, "distribution")


def draw_methods(args: argparse.Namespace) -> None:
    """Figure 3b, one picture per data set."""
    scores = read_scores(args.scores)
    shown = labels()
    titles = {data.name: data.label for data in DATASETS}
    for name in sorted({row.dataset for row in scores}):
        rows = [row for row in scores if row.dataset == name]
        figure = methods_figure(
            rows, baseline=args.baseline, labels=shown, title=titles.get(name, name)
        )
        save(figure, args, f"methods_{name}")


def save(figure: Any, args: argparse.Namespace, name: str) -> None:
    png, svg = save_figure(figure, args.output, name)
    print(f"{png}, {svg.name}")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags = TrainFlags(parser, output="runs/figures")
    parser.set_defaults(resume=True)
    what = parser.add_argument_group("figures (--output is their folder)")
    what.add_argument("--runs", type=Path, metavar="FOLDER", help="runs of Figure 3a")
    what.add_argument(
        "--model",
        type=Path,
        metavar="RUN_FOLDER",
        help="run for Figure 2 and the distribution (default: the adaptive run in --runs)",
    )
    what.add_argument(
        "--fold", type=int, metavar="N", help="its fold (default: best on validation)"
    )
    what.add_argument("--scores", type=Path, metavar="CSV", help="results file of table2.py")
    what.add_argument(
        "--baseline", default="mean", metavar="NAME", help="method to subtract (default: mean)"
    )
    what.add_argument("--tsv", type=Path, metavar="FILE", help="BindingDB's .tsv, .gz or .zip")
    what.add_argument(
        "--accession", nargs="+", default=list(P2X), metavar="ID", help="(default: P2X receptors)"
    )
    what.add_argument("--train", action="store_true", help="train missing runs of Figure 3a")
    what.add_argument(
        "--clusters", nargs="+", type=int, default=list(CLUSTERS), metavar="K", help="to be forced"
    )
    what.add_argument(
        "--max-atoms", type=int, default=28, metavar="N", help="largest molecule in Figure 2"
    )
    args = flags.resolve(parser.parse_args(arguments))
    if args.runs is None and args.model is None and args.scores is None:
        parser.error("nothing to draw: give --runs, --model or --scores")
    if args.train and (args.tsv is None or args.runs is None):
        parser.error("--train needs --tsv, the data, and --runs, the folder to train in")
    return args


if __name__ == "__main__":
    raise SystemExit(run_script(main, resume=""))
