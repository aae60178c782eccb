"""Forward and backward time of every pooling, ours and the peers', in one run.

    OMP_WAIT_POLICY=passive python benchmarks/speed.py --threads 1
    python benchmarks/speed.py --threads 2

With several threads leave OpenMP's waiting as it is: told to wait passively, threads are put to
sleep and woken for every small operation, and all poolings, ours and the peers', take longer than
with one thread.

64 molecules of 20 to 40 heavy atoms (of the sodium-channel set that RDKit carries) with 64 random
features per atom; then the same batch with one graph of 132 nodes more. The poolings take turns
round by round, so that whatever else the machine does falls on all alike, and ratios are taken
round by round. Ours are timed twice: as a readout, and as a coarsening with edge weights followed
by a mean, which is what the peers do. Auxiliary losses are computed and differentiated in all.
Peers: torch-geometric and torch-geometric-pool, where installed, called as in
reliability_peers.py.

Poolings with a fixed number of clusters have 10, the paper's pooling size; DiffPool and BN-Pool,
ours and theirs, also 20 (DiffPool's usual share: half of the largest graph) and 40 (BN-Pool's cap
is the only limit to its number of clusters; 40 cuts none of these molecules).

Stores benchmarks/results/speed_1_thread.json (speed_2_threads.json, ...) and the tables beside it
as .md. ``--only gmpool "tgp bnpool*"`` times these rows alone and stores nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import dgl_gmpool  # noqa: F401  # isort: skip - lets DGL 2.1.0 load
import dgl
import torch
from paired import paired_ratio, spread
from reliability_peers import torch_geometric_pool_poolings, torch_geometric_poolings
from setting import command_line, load_average, setting, store
from text_table import text_table
from threads import use_threads
from torch import Tensor, nn

from dgl_gmpool import GMPool, NGMPool, collect_losses, get_readout
from dgl_gmpool._options import unknown_name
from dgl_gmpool.data import featurize, load_sodium_channel
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.registry import list_readouts, readout_entry

RESULTS = Path(__file__).parent / "results"
WIDTH = 64
GRAPHS = 64
OUTLIER = 132

#: Numbers of clusters; poolings that are not compared at all of them have the first.
CLUSTERS = (10, 20, 40)

#: Ours that are timed at each number of clusters, and the option that sets it.
OURS_BY_CLUSTERS = {"diffpool": "num_clusters", "bnpool": "max_clusters"}

#: Peers that are timed at each number of clusters.
PEERS_BY_CLUSTERS = ("pyg DiffPool", "tgp diff", "tgp bnpool")

#: Ours, the peer, and what the ratio of their times is held to; None: for information. The goals
#: are of the paper's poolings; the defaults look at the graph as well.
COMPARISONS = tuple(
    (f"{name}{paper}{face}", peer, goal)
    for name, peer in (("ngmpool", "tgp diff"), ("gmpool", "tgp bnpool"))
    for paper, face, goal in (
        (", paper", "", 0.5),
        (", paper", ", coarsen", 1.0),
        ("", "", None),
        ("", ", coarsen", None),
    )
)

#: What a batch with the outlier is held to, against the batch without, for ours in COMPARISONS.
OUTLIER_GOAL = 1.5

#: Rounds for poolings that take more than 0.3 s.
SLOW_ROUNDS = 5


class Readout(nn.Module):
    """A pooling's readout face. Losses join with weight zero, as those of the peers do."""

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        with collect_losses() as losses:
            out = self.pool(graph, feat)
        return with_losses(out, losses)


class Coarsening(nn.Module):
    """A pooling's coarsen face, followed by a mean over the coarse nodes."""

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.pool = pool
        self.mean = get_readout("mean", in_feats=pool.in_feats)

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        coarse = self.pool.coarsen(graph, feat)
        out = self.mean(coarse.graph, coarse.feat) + 0 * coarse.edge_weight.sum()
        return with_losses(out, coarse.losses)


def with_losses(out: Tensor, losses: dict[str, Tensor]) -> Tensor:
    """``out``, with a gradient that goes through the losses as well."""
    return out + 0 * sum(losses.values()) if losses else out


def at(name: str, clusters: int | None) -> str:
    """Label of a pooling with a number of clusters."""
    return name if clusters is None else f"{name}, {clusters} clusters"


def ours(clusters: Sequence[int]) -> dict[str, Callable[[], nn.Module]]:
    """Every registered readout, the two faces of every pooling, the paper's GMPool and NGMPool, and
    GMPool's decompositions."""
    makers: dict[str, Callable[[], nn.Module]] = {}

    def add(label: str, name: str, **options: Any) -> None:
        makers[label] = lambda: Readout(get_readout(name, in_feats=WIDTH, **options))
        if readout_entry(name).coarsens:
            makers[f"{label}, coarsen"] = lambda: Coarsening(
                get_readout(name, in_feats=WIDTH, **options)
            )

    for name in list_readouts():
        option = OURS_BY_CLUSTERS.get(name)
        if option is None:
            add(name, name)
            continue
        for number in clusters:
            add(at(name, number), name, **{option: number})
    add("ngmpool, paper", "ngmpool", **NGMPool.PAPER)
    add("gmpool, paper", "gmpool", **GMPool.PAPER)
    for options in (
        {"decomposition": "eigen"},
        {"decomposition": "cholesky"},
        {"similarity": "cauchy", "decomposition": "cholesky"},
    ):
        name = "gmpool, paper, " + " ".join(options.values())
        add(name, "gmpool", **{**GMPool.PAPER, **options})
    return makers


def peers(clusters: Sequence[int]) -> dict[str, Callable[[], nn.Module]]:
    """The poolings of torch-geometric and torch-geometric-pool that are installed."""
    makers: dict[str, Callable[[], nn.Module]] = {}
    for number in clusters:
        for name, make in {
            **torch_geometric_poolings(number),
            **torch_geometric_pool_poolings(number),
        }.items():
            if name in PEERS_BY_CLUSTERS:
                makers[at(name, number)] = partial(make, WIDTH)
            else:
                makers.setdefault(name, partial(make, WIDTH))
    return makers


def chosen(names: Sequence[str], only: Sequence[str] | None) -> list[str]:
    """The names that one of the patterns ``only`` matches; all of them without patterns.

    Raises
    ------
    ValueError
        A pattern matches nothing.
    """
    if not only:
        return list(names)
    for pattern in only:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise unknown_name("row", pattern, names)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in only)]


def outlier() -> dgl.DGLGraph:
    """A chain of 132 nodes."""
    ids = torch.arange(OUTLIER - 1, dtype=torch.int32)
    return dgl.graph((torch.cat([ids, ids + 1]), torch.cat([ids + 1, ids])), num_nodes=OUTLIER)


def seconds(module: nn.Module, graph: dgl.DGLGraph, feat: Tensor) -> float:
    """One forward and backward pass."""
    feat = feat.detach().requires_grad_()
    started = time.perf_counter()
    module(graph, feat).square().sum().backward()
    return time.perf_counter() - started


def summarise(
    plain: dict[str, list[float]], large: dict[str, list[float]], clusters: Sequence[int]
) -> dict[str, Any]:
    """The ratios that matter, from times in rounds.

    Parameters
    ----------
    plain, large : dict of str to list of float
        Times of each pooling, without and with the outlier.
    clusters : sequence of int
        Numbers of clusters that peers were timed at.

    Returns
    -------
    dict
        ``against_peers``: ours over a peer's time, at each of its numbers of clusters, and our
        version of a peer's pooling over the peer's. ``with_outlier``: the batch with the outlier
        over the batch without. Comparisons without times for both sides are left out.
    """
    against = []
    for name, peer, goal in COMPARISONS:
        for number in clusters:
            against.append((name, at(peer, number), number, goal))
    for number in clusters:
        for name, peer in (("diffpool", "tgp diff"), ("bnpool", "tgp bnpool")):
            against.append((f"{at(name, number)}, coarsen", at(peer, number), number, None))
    held = {name for name, _, goal in COMPARISONS if goal is not None}
    return {
        "against_peers": [
            {
                "pooling": name,
                "peer": peer,
                "peer_clusters": number,
                "goal": goal,
                **paired_ratio(plain[name], plain[peer]),
            }
            for name, peer, number, goal in against
            if name in plain and peer in plain
        ],
        "with_outlier": [
            {
                "pooling": name,
                "goal": OUTLIER_GOAL if name in held else None,
                **paired_ratio(large[name], plain[name]),
            }
            for name in plain
            if name in {row[0] for row in against} | {row[1] for row in against}
        ],
    }


def report(record: dict[str, Any]) -> str:
    """The tables of a record, in Markdown."""
    rows = []
    for row in record["rows"]:
        low, high = row["quartiles_ms"]
        rows.append(
            [
                row["pooling"],
                f"{row['median_ms']:.1f}",
                f"{low:.1f}-{high:.1f}",
                f"x {row['outlier_ratio']:.2f}",
            ]
        )
    parts = [
        f"{record['graphs']} graphs of {record['mean_nodes']:.1f} nodes, {record['features']} "
        f"features, forward and backward, {record['threads']['torch']} thread(s), "
        f"{record['rounds']} rounds. Where no number of clusters is given, poolings that have "
        f"one use {record['clusters'][0]}.",
        text_table(["pooling", "median, ms", "quartiles", "with a 132-node graph"], rows),
    ]
    summary = record["summary"]
    if summary["against_peers"]:
        parts.append("Time over the peer's, round by round:")
        parts.append(
            text_table(
                ["pooling", "peer", "ratio", "quartiles", "held to"],
                [
                    [row["pooling"], row["peer"], *_ratio_cells(row)]
                    for row in summary["against_peers"]
                ],
            )
        )
    if summary["with_outlier"]:
        parts.append("Batch with one 132-node graph more, over the batch without:")
        parts.append(
            text_table(
                ["pooling", "ratio", "quartiles", "held to"],
                [[row["pooling"], *_ratio_cells(row)] for row in summary["with_outlier"]],
            )
        )
    parts += [f"Left out: {name}: {why}" for name, why in record["left_out"].items()]
    return "\n\n".join(parts) + "\n"


def _ratio_cells(row: dict[str, Any]) -> list[str]:
    low, high = row["quartiles"]
    goal = "" if row["goal"] is None else f"<= {row['goal']}"
    return [f"{row['median']:.2f}", f"{low:.2f}-{high:.2f}", goal]


def results_file(threads: int) -> Path:
    """Where the results with this number of threads go."""
    return RESULTS / f"speed_{threads}_thread{'' if threads == 1 else 's'}.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--clusters",
        type=int,
        nargs="+",
        default=list(CLUSTERS),
        metavar="K",
        help="for DiffPool and BN-Pool; the first is what the other peers have (default: 10 20 40)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="time these rows alone (* and ? match anything) and store nothing",
    )
    args = parser.parse_args()

    makers = ours(args.clusters)
    own = set(makers)
    makers.update(peers(args.clusters))
    try:
        makers = {name: makers[name] for name in chosen(list(makers), args.only)}
        use_threads(args.threads)
    except ValueError as error:
        parser.error(str(error))
    load = load_average()

    dataset = featurize(load_sodium_channel(), progress=False)
    members = [g for g in dataset.graphs if 20 <= g.num_nodes() <= 40][:GRAPHS]
    plain = [dgl.graph(g.edges(), num_nodes=g.num_nodes()) for g in members]
    batches = {"plain": dgl.batch(plain), "large": dgl.batch([*plain, outlier()])}
    feats = {name: torch.randn(graph.num_nodes(), WIDTH) for name, graph in batches.items()}

    modules: dict[str, nn.Module] = {}
    left_out: dict[str, str] = {}
    slow: dict[str, bool] = {}
    for name, maker in makers.items():
        torch.manual_seed(0)
        try:
            modules[name] = maker()
            for key, graph in batches.items():
                slow[name] = seconds(modules[name], graph, feats[key]) > 0.3
        except Exception as error:
            if name in own:
                raise
            modules.pop(name, None)
            left_out[name] = f"{type(error).__name__}: {str(error)[:200]}"

    threads = use_threads(args.threads)  # once more: poolings load libraries when first called
    times: dict[str, dict[str, list[float]]] = {
        key: {name: [] for name in modules} for key in batches
    }
    for number in range(args.rounds):
        for name, module in modules.items():
            if slow[name] and number >= SLOW_ROUNDS:
                continue
            for key, graph in batches.items():
                times[key][name].append(1000 * seconds(module, graph, feats[key]))

    rows = []
    for name, found in times["plain"].items():
        milliseconds = spread(found)
        rows.append(
            {
                "pooling": name,
                "median_ms": milliseconds["median"],
                "quartiles_ms": milliseconds["quartiles"],
                "outlier_ratio": paired_ratio(times["large"][name], found)["median"],
                "rounds": len(found),
            }
        )
    rows.sort(key=lambda row: row["median_ms"])
    layout = RaggedLayout.from_counts(batches["plain"].batch_num_nodes())
    record = {
        **setting(command_line(), "torch-geometric", "torch-geometric-pool"),
        "threads": threads,
        "load_average_at_start": load,
        "graphs": GRAPHS,
        "features": WIDTH,
        "clusters": args.clusters,
        "mean_nodes": layout.num_nodes / GRAPHS,
        "rounds": args.rounds,
        "summary": summarise(times["plain"], times["large"], args.clusters),
        "rows": rows,
        "left_out": left_out,
    }
    text = report(record)
    print(text)
    if args.only:
        return
    file = results_file(args.threads)
    store(record, text, file)


if __name__ == "__main__":
    main()
