"""Large graphs: time, memory and accuracy of GMPool(max_clusters=k) and of NGMPool, n to 20,000.

    OMP_WAIT_POLICY=passive python benchmarks/low_rank.py

One graph of n nodes, a chain of six-rings, with 64 features per node, one thread, float32. Time is
processor time of a forward and a backward pass; peak memory is what the process took beyond what it
had before, so every point is a process of its own, forked after a warm-up. ``tol`` is 0, so that
every point has exactly k columns. The dense path (``decomposition="cholesky"``, ``num_clusters=k``;
NGMPool with the whole matrix) runs where it is feasible; its A' too is made from the edges.

Time does not depend on the features, accuracy does. Two kinds:

* clusters: 1,000 centres with sizes like 1 / rank, each coordinate normal with deviation 2, and 0.3
  around the centre;
* smooth: 64 sines and cosines of three numbers per node.

Errors are relative. Of S S' to M: Frobenius norm, over all rows to n = 2,000, over 200 drawn rows
beyond. Of the readout and of its gradient with respect to the features: 1' S S' X, that is pooled,
lifted and summed up, against NGMPool's exact 1' M X. For comparison: as many columns chosen by the
dense rule and by the textbook's (the largest residual diagonal entry), and the best matrix of rank
k (eigenvectors). Stores benchmarks/results/low_rank.json and low_rank.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dgl_gmpool  # noqa: F401  # isort: skip - lets DGL 2.1.0 load
import dgl
import numpy as np
import torch
from setting import setting
from torch import Tensor

from dgl_gmpool import GMPool, NGMPool
from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool.nn.large import grouping_product, low_rank

RESULTS = Path(__file__).parent / "results"
WIDTH = 64
CHANNELS = 4
SIZES = (300, 1000, 2000, 4000, 10000, 20000)
CAPS = (32, 128, 512)
FACES = ("readout", "coarsen")

#: The dense path runs to this many nodes, and to n * n * k cells worked on.
DENSE = 4000
DENSE_WORK = 6e8

#: Where accuracy is looked at.
ACCURACY_SIZES = (1000, 2000, 20000)

#: Rows of M that are looked at where n is above 2,000.
ROWS = 200

#: From here on, slopes are fitted.
FIT_FROM = 1000


def graph_of(n: int) -> dgl.DGLGraph:
    """A chain with a bond that closes a ring of six at every sixth node."""
    ids = torch.arange(n, dtype=torch.int32)
    source = torch.cat([ids[:-1], ids[:-5:6]])
    destination = torch.cat([ids[1:], ids[5::6][: len(ids[:-5:6])]])
    both = torch.cat([source, destination]), torch.cat([destination, source])
    return dgl.graph(both, num_nodes=n)


def features_of(kind: str, n: int) -> Tensor:
    """Node features ``(n, WIDTH)``, the same for the same arguments."""
    generator = torch.Generator().manual_seed(0)
    if kind == "clusters":
        centers = 2 * torch.randn(1000, WIDTH, generator=generator)
        sizes = 1 / torch.arange(1, 1001.0)
        owner = torch.multinomial(sizes, n, replacement=True, generator=generator)
        return centers[owner] + 0.3 * torch.randn(n, WIDTH, generator=generator)
    angles = torch.randn(n, 3, generator=generator) @ torch.randn(
        3, WIDTH // 2, generator=generator
    )
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def pool_of(way: str, k: int) -> Any:
    torch.manual_seed(0)
    if way.startswith("ngmpool"):
        return NGMPool.paper(WIDTH)
    options = {"num_clusters": k} if way.startswith("dense") else {"max_clusters": k, "tol": 0.0}
    return GMPool.paper(WIDTH, similarity="cauchy", decomposition="cholesky", **options)


def step(pool: Any, face: str, graph: dgl.DGLGraph, feat: Tensor) -> None:
    """One forward and backward pass."""
    if face == "readout":
        out = pool(graph, feat).square().sum()
    else:
        coarse = pool.coarsen(graph, feat, torch.ones(graph.num_edges(), CHANNELS))
        parts = coarse.feat, coarse.edge_weight, coarse.edge_feat
        out = sum(part.square().sum() for part in parts)
    out.backward()


def cost(way: str, face: str, n: int, k: int) -> dict[str, Any]:
    """Seconds and MiB of one point; run in a process of its own."""
    if way == "ngmpool dense":
        grouping_product.CELLS = n * n
    graph, pool = graph_of(n), pool_of(way, k)
    feat = features_of("clusters", n).requires_grad_()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, wall = [], []
    for _ in range(3 if n <= 2000 else 1):
        started = time.process_time(), time.perf_counter()
        step(pool, face, graph, feat)
        seconds.append(time.process_time() - started[0])
        wall.append(time.perf_counter() - started[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "way": way,
        "face": face,
        "n": n,
        "k": k,
        "seconds": statistics.median(seconds),
        "wall_seconds": statistics.median(wall),
        "peak_mib": peak / unit,
    }


def accuracy(kind: str, n: int, caps: tuple[int, ...]) -> list[dict[str, Any]]:
    """Errors of all k at one n."""
    graph, feat = graph_of(n), features_of(kind, n)
    direction = torch.randn(WIDTH, generator=torch.Generator().manual_seed(1))
    grouping = pool_of("capped", 1).grouping
    exact = NGMPool.paper(WIDTH, similarity="cauchy", aggregate="sum")
    exact.grouping.load_state_dict(grouping.state_dict())
    x = feat.clone().requires_grad_()
    readout = exact(graph, x)[0]
    (gradient,) = torch.autograd.grad(readout @ direction, x)
    picked = torch.arange(n)
    if n > 2000:
        picked = torch.randperm(n, generator=torch.Generator().manual_seed(2))[:ROWS]
    with torch.no_grad():
        block = feat[None].double()
        rows = grouping.measure(block.device).between(block[:, picked], block)[0]
        values = torch.linalg.eigvalsh(rows).flip(0) if n <= 2000 else None
    out = []
    for k in caps:
        x = feat.clone().requires_grad_()
        pool = pool_of("capped", k)
        pool.grouping.load_state_dict(grouping.state_dict())
        coarse = pool.coarsen(graph, x)
        found = coarse.lift(coarse.feat).sum(0)
        (slope,) = torch.autograd.grad(found @ direction, x)
        record: dict[str, Any] = {"features": kind, "n": n, "k": k}
        with torch.no_grad():
            record["columns"] = coarse.graph.num_nodes()
            root = coarse.lift(torch.eye(record["columns"], dtype=torch.float64))
            record["error"] = _relative(root[picked] @ root.T, rows)
            record["trace_left_out"] = float(1 - root.square().sum() / n)
            if n <= DENSE and n * n * k <= DENSE_WORK:
                root = pool_of("dense", k).double().assignments(graph, feat.double())[0]
                record["error_dense_rule"] = _relative(root[picked] @ root.T, rows)
                record["trace_left_out_dense_rule"] = float(1 - root.square().sum() / n)
            if values is not None:
                record["error_best"] = float(values[k:].square().sum().sqrt() / rows.norm())
                record["trace_left_out_best"] = float(values[k:].sum() / n)
                root = _largest_diagonal(graph, feat, k)
                record["error_largest_diagonal"] = _relative(root[picked] @ root.T, rows)
                record["trace_left_out_largest_diagonal"] = float(1 - root.square().sum() / n)
        record["readout_error"] = _relative(found.detach(), readout.detach())
        record["gradient_error"] = _relative(slope, gradient)
        out.append(record)
    return out


def _largest_diagonal(graph: dgl.DGLGraph, feat: Tensor, k: int) -> Tensor:
    """S by the textbook's pivots: lengths are never less than the diagonal entry, here no more."""
    estimate = low_rank._next_pivot
    try:
        low_rank._next_pivot = lambda residual, *rest: estimate(torch.zeros_like(residual), *rest)
        return pool_of("capped", k).double().assignments(graph, feat.double())[0]
    finally:
        low_rank._next_pivot = estimate


def _relative(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def alone(function: Callable[..., Any], *args: Any) -> Any:
    """Run in a forked process; its memory starts at the parent's, its peak is its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        sender.send(function(*args))

    process = context.Process(target=work)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise SystemExit(f"{function.__name__}{args} ended without a result") from None
    finally:
        process.join()


def slope(points: list[dict[str, Any]], key: str) -> float | None:
    """Exponent of n: slope of the least-squares line through the logarithms."""
    points = [point for point in points if point["n"] >= FIT_FROM and point[key] > 0]
    if len(points) < 3:
        return None
    logs = [[np.log(point["n"]) for point in points], [np.log(point[key]) for point in points]]
    return float(np.polyfit(np.asarray(logs[0]), np.asarray(logs[1]), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--largest", type=int, default=max(SIZES), help="leave larger n out")
    parser.add_argument("--resume", action="store_true", help="keep the points already stored")
    parser.add_argument("--name", default="low_rank", help="of the result files")
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / f"{args.name}.json"
    record: dict[str, Any] = {
        **setting("python benchmarks/low_rank.py"),
        "features": WIDTH,
        "edge_channels": CHANNELS,
        "landmarks": low_rank.LANDMARKS,
        "runs": [],
        "costs": [],
        "accuracy": [],
    }
    if args.resume and path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
    run: dict[str, Any] = {"load_average": [os.getloadavg()[0]], "seconds": 0.0}
    record["runs"].append(run)
    started = time.perf_counter()

    def keep(kind: str, point: dict[str, Any]) -> None:
        """Store after every point: a run that is cut off can go on with --resume."""
        record[kind].append(point)
        run["load_average"] = [run["load_average"][0], os.getloadavg()[0]]
        run["seconds"] = time.perf_counter() - started
        atomic_write_json(path, record)
        print(point, flush=True)

    for way in ("capped", "dense", "ngmpool"):  # what is set up once is set up here
        for face in ("readout",) if way == "ngmpool" else FACES:
            step(
                pool_of(way, 8), face, graph_of(300), features_of("clusters", 300).requires_grad_()
            )
    known = {(c["way"], c["face"], c["n"], c["k"]) for c in record["costs"]}
    for point in points(args.largest):
        if point not in known:
            keep("costs", alone(cost, *point))
    seen = {(a["features"], a["n"], a["k"]) for a in record["accuracy"]}
    for kind in ("clusters", "smooth"):
        for n in (n for n in ACCURACY_SIZES if n <= args.largest):
            caps = tuple(k for k in CAPS if k < n and (kind, n, k) not in seen)
            for each in alone(accuracy, kind, n, caps) if caps else ():
                keep("accuracy", each)
    record["slopes"] = []
    for way, face, k in dict.fromkeys((c["way"], c["face"], c["k"]) for c in record["costs"]):
        same = [c for c in record["costs"] if (c["way"], c["face"], c["k"]) == (way, face, k)]
        fitted = {key: slope(same, key) for key in ("seconds", "peak_mib")}
        record["slopes"].append({"way": way, "face": face, "k": k, **fitted})
    atomic_write_json(path, record)
    text = table(record)
    atomic_write_text(RESULTS / f"{args.name}.md", text)
    print(text)


def points(largest: int) -> Iterator[tuple[str, str, int, int]]:
    """Pooling, face, n and k of every point to time."""
    for n in (n for n in SIZES if n <= largest):
        for k in (k for k in CAPS if k < n):
            for face in FACES:
                yield "capped", face, n, k
                if n <= DENSE and n * n * k <= DENSE_WORK:
                    yield "dense", face, n, k
        yield "ngmpool", "readout", n, 0
        if n <= DENSE:
            yield "ngmpool dense", "readout", n, 0


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    loads = [load for run in record["runs"] for load in run["load_average"]]
    seconds = sum(run["seconds"] for run in record["runs"])
    lines = [
        "# Large graphs",
        "",
        f"`{record['command']}`, commit {record['commit']}, {record['machine']['cpu']}, one "
        f"thread, torch {record['versions']['torch']}, load average {min(loads):.1f} to "
        f"{max(loads):.1f}, {seconds:.0f} s. What is measured and how: the file's "
        "docstring.",
        "",
        "## Time and memory",
        "",
        'Processor seconds of a forward and a backward pass, and peak memory in MiB; "-": not run.',
        "",
        "| pooling | n | k | readout, s | MiB | coarsen, s | MiB | dense readout, s | MiB | "
        "dense coarsen, s | MiB |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    found = {(c["way"], c["face"], c["n"], c["k"]): c for c in record["costs"]}

    def cells(way: str, face: str, n: int, k: int) -> str:
        point = found.get((way, face, n, k))
        return f"{point['seconds']:.3f} | {point['peak_mib']:.0f}" if point else "- | -"

    for n, k in dict.fromkeys((c["n"], c["k"]) for c in record["costs"] if c["k"]):
        parts = [cells(way, face, n, k) for way in ("capped", "dense") for face in FACES]
        lines.append(f"| GMPool | {n:,} | {k} | {' | '.join(parts)} |")
    for n in dict.fromkeys(c["n"] for c in record["costs"]):
        rows, dense = cells("ngmpool", "readout", n, 0), cells("ngmpool dense", "readout", n, 0)
        lines.append(f"| NGMPool | {n:,} | | {rows} | | | {dense} | | |")
    lines += [
        "",
        f"Exponent of n, fitted from n = {FIT_FROM:,}:",
        "",
        "| | face | k | time | memory |",
        "|:--|:--|--:|--:|--:|",
    ]
    for each in record["slopes"]:
        fitted = " | ".join(
            "-" if each[key] is None else f"{each[key]:.2f}" for key in ("seconds", "peak_mib")
        )
        lines.append(f"| {each['way']} | {each['face']} | {each['k'] or ''} | {fitted} |")
    lines += [
        "",
        "## Accuracy",
        "",
        "Relative errors; in brackets the share of the trace left out.",
        "",
        "| features | n | k | S S' | dense rule | largest diagonal | best of rank k | readout | "
        "gradient |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for each in record["accuracy"]:

        def error(suffix: str, each: dict[str, Any] = each) -> str:
            if f"error{suffix}" not in each:
                return "-"
            return f"{each[f'error{suffix}']:.1e} ({each[f'trace_left_out{suffix}']:.1e})"

        lines.append(
            f"| {each['features']} | {each['n']:,} | {each['k']} | {error('')} | "
            f"{error('_dense_rule')} | {error('_largest_diagonal')} | {error('_best')} | "
            f"{each['readout_error']:.1e} | {each['gradient_error']:.1e} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
