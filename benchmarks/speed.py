"""Forward and backward time of every pooling, ours and the peers', in one run.

    OMP_WAIT_POLICY=passive python benchmarks/speed.py --threads 1

64 molecules of 20 to 40 heavy atoms (of the sodium-channel set that RDKit carries) with 64 random
features per atom; then the same batch with one graph of 132 nodes more. The poolings take turns
round by round, so that whatever else the machine does falls on all alike. Ours are timed twice: as
a readout, and as a coarsening with edge weights followed by a mean, which is what the peers do.
Peers: torch-geometric and torch-geometric-pool, where installed, called as in
reliability_peers.py. Stores benchmarks/results/speed_<threads>_thread.json and prints the table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dgl
import reliability_peers
import torch
from reliability_peers import torch_geometric_pool_poolings, torch_geometric_poolings
from setting import setting
from torch import Tensor, nn

from dgl_gmpool import get_readout
from dgl_gmpool._io import atomic_write_json
from dgl_gmpool.data import featurize, load_sodium_channel
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.registry import list_readouts, readout_entry

RESULTS = Path(__file__).parent / "results"
WIDTH = 64
GRAPHS = 64
OUTLIER = 132

#: Coarse nodes for peers that want a number: the paper's pooling size.
CLUSTERS = 10

#: Rounds for poolings that take more than 0.3 s.
SLOW_ROUNDS = 5


class Coarsening(nn.Module):
    """A pooling's coarsen face, followed by a mean over the coarse nodes."""

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.pool = pool
        self.mean = get_readout("mean", in_feats=pool.in_feats)

    def forward(self, graph: dgl.DGLGraph, feat: Tensor) -> Tensor:
        coarse = self.pool.coarsen(graph, feat)
        return self.mean(coarse.graph, coarse.feat) + 0 * coarse.edge_weight.sum()


def ours() -> dict[str, Callable[[], nn.Module]]:
    """Every registered readout, the two faces of every pooling, and GMPool's decompositions."""
    makers: dict[str, Callable[[], nn.Module]] = {}
    for name in list_readouts():
        makers[name] = lambda name=name: get_readout(name, in_feats=WIDTH)
        if readout_entry(name).coarsens:
            makers[f"{name}, coarsen"] = lambda name=name: Coarsening(
                get_readout(name, in_feats=WIDTH)
            )
    for options in (
        {"decomposition": "eigen"},
        {"decomposition": "cholesky"},
        {"similarity": "cauchy", "decomposition": "cholesky"},
    ):
        label = "gmpool " + " ".join(options.values())
        makers[label] = lambda options=options: get_readout("gmpool", in_feats=WIDTH, **options)
        makers[f"{label}, coarsen"] = lambda options=options: Coarsening(
            get_readout("gmpool", in_feats=WIDTH, **options)
        )
    return makers


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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reliability_peers.CLUSTERS = CLUSTERS

    dataset = featurize(load_sodium_channel(), progress=False)
    members = [g for g in dataset.graphs if 20 <= g.num_nodes() <= 40][:GRAPHS]
    plain = [dgl.graph(g.edges(), num_nodes=g.num_nodes()) for g in members]
    batches = {"molecules": dgl.batch(plain), "with outlier": dgl.batch([*plain, outlier()])}
    feats = {name: torch.randn(graph.num_nodes(), WIDTH) for name, graph in batches.items()}

    makers = ours()
    for name, maker in {**torch_geometric_poolings(), **torch_geometric_pool_poolings()}.items():
        makers[name] = lambda maker=maker: maker(WIDTH)
    modules: dict[str, nn.Module] = {}
    left_out: dict[str, str] = {}
    slow: dict[str, bool] = {}
    for name, maker in makers.items():
        torch.manual_seed(0)
        try:
            modules[name] = maker()
            seconds(modules[name], batches["molecules"], feats["molecules"])
            slow[name] = (
                seconds(modules[name], batches["with outlier"], feats["with outlier"]) > 0.3
            )
        except Exception as error:
            if not name.startswith(("pyg ", "tgp ")):
                raise
            modules.pop(name, None)
            left_out[name] = f"{type(error).__name__}: {str(error)[:200]}"

    times = {name: {key: [] for key in batches} for name in modules}
    for number in range(args.rounds):
        for name, module in modules.items():
            if slow[name] and number >= SLOW_ROUNDS:
                continue
            for key, graph in batches.items():
                times[name][key].append(1000 * seconds(module, graph, feats[key]))

    rows = []
    for name, found in times.items():
        low, middle, high = statistics.quantiles(found["molecules"], n=4)
        ratios = [b / a for a, b in zip(found["molecules"], found["with outlier"])]
        rows.append(
            {
                "pooling": name,
                "median_ms": middle,
                "quartiles_ms": [low, high],
                "outlier_ratio": statistics.median(ratios),
            }
        )
    rows.sort(key=lambda row: row["median_ms"])
    layout = RaggedLayout.from_counts(batches["molecules"].batch_num_nodes())
    record = {
        **setting(
            f"python benchmarks/speed.py --threads {args.threads}",
            "torch-geometric",
            "torch-geometric-pool",
        ),
        "graphs": GRAPHS,
        "features": WIDTH,
        "clusters_of_peers": CLUSTERS,
        "mean_nodes": layout.num_nodes / GRAPHS,
        "rounds": args.rounds,
        "rows": rows,
        "left_out": left_out,
    }
    atomic_write_json(RESULTS / f"speed_{args.threads}_thread.json", record)
    print("| pooling | median, ms | quartiles | with a 132-node graph |\n|:--|--:|:--|--:|")
    for row in rows:
        low, high = row["quartiles_ms"]
        print(
            f"| {row['pooling']} | {row['median_ms']:.1f} | {low:.1f}-{high:.1f} | "
            f"x {row['outlier_ratio']:.2f} |"
        )
    for name, reason in left_out.items():
        print(f"left out: {name}: {reason}")


if __name__ == "__main__":
    main()
