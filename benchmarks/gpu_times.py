"""Sections of gpu.py: time and memory."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import dgl
import torch
from gpu_bench import (
    CPU,
    EDGE_FEATS,
    NODE_FEATS,
    WIDTH,
    Bench,
    capped,
    features,
    label,
    model_variants,
    molecule,
    molecules,
    variants_of,
)
from reliability_peers import torch_geometric_pool_poolings, torch_geometric_poolings
from torch import Tensor, nn

from dgl_gmpool import MoleculePredictor, collect_losses, get_readout, list_readouts
from dgl_gmpool.registry import readout_entry

#: How much longer a batch of 33-node graphs may take than one of 32-node graphs.
STEP_AT_33 = 1.3


def timed(
    bench: Bench,
    step: Callable[[], Any],
    *,
    device: torch.device | None = None,
    most: int = 12,
    limit: float = 1.0,
) -> dict[str, Any]:
    """Median time of a step, the device's work included, after two to warm up; peak memory."""
    device = device or bench.device
    cuda = device.type == "cuda"
    most, limit = (3, limit / 4) if bench.quick else (most, limit)
    began = time.perf_counter()
    for _ in range(2):
        step()
        bench.wait(device)
        bench.in_time()
        if time.perf_counter() - began > limit:
            break
    if cuda:
        gc.collect()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < most and (len(times) < 2 or time.perf_counter() - began < limit):
        bench.wait(device)
        started = time.perf_counter()
        step()
        bench.wait(device)
        times.append(time.perf_counter() - started)
        bench.in_time()
    found: dict[str, Any] = {"ms": 1000 * statistics.median(times), "steps": len(times)}
    if cuda:
        found["peak_MiB"] = (torch.cuda.max_memory_allocated() - before) / 2**20
    return found


def pass_of(module: nn.Module, graph: dgl.DGLGraph, feat: Tensor, *, coarsen: bool = False) -> Any:
    """A forward and a backward pass, auxiliary losses included, as a function of nothing."""

    def step() -> None:
        x = feat.detach().requires_grad_()
        with collect_losses() as losses:
            if coarsen:
                coarse = module.coarsen(graph, x)  # type: ignore[operator]
                loss = coarse.feat.square().sum() + coarse.edge_weight.square().sum()
            else:
                loss = module(graph, x).square().sum()
        (loss + 0 * sum(losses.values())).backward()

    return step


def pooling_times(bench: Bench) -> Iterator[dict]:
    """Every pooling as a readout and as a coarsening, and torch-geometric's, in two batch sizes."""
    peers = {**torch_geometric_poolings(10), **torch_geometric_pool_poolings(10)}
    if not peers:
        bench.skipped.append("torch-geometric's poolings: it is not installed")
    makers: dict[str, tuple[Callable[[], nn.Module], bool]] = {}
    for name in ("ngmpool", "gmpool"):
        for what, options in variants_of(name).items():
            make = partial(get_readout, name, in_feats=WIDTH, **options)
            makers[what] = (make, False)
            makers[f"{what}, coarsen"] = (make, True)
    for name in list_readouts():
        make = partial(get_readout, name, in_feats=WIDTH)
        makers.setdefault(name, (make, False))
        if readout_entry(name).coarsens:
            makers.setdefault(f"{name}, coarsen", (make, True))
    peer_makers = {name: (partial(make, WIDTH), False) for name, make in peers.items()}
    # What the claims are about comes first, in case the time runs out.
    first = {n: m for n, m in makers.items() if n.startswith(("gmpool", "ngmpool"))}
    ordered = {**first, **peer_makers, **makers}
    for count in (64,) if bench.quick else (64, 1024):
        graph = molecules(count, sizes=(20, 40))
        feat = features(graph.num_nodes(), WIDTH).to(bench.device)
        for name, (make, coarsen) in ordered.items():
            with bench.attempt(f"{name}, batch {count}", peer=name in peers):
                torch.manual_seed(0)
                module = make().to(bench.device)
                step = pass_of(module, graph, feat, coarsen=coarsen)
                yield {"pooling": name, "batch": count, **timed(bench, step, limit=0.25)}


def size_32_and_33(bench: Bench) -> Iterator[dict]:
    """Batches of equal graphs of 32 and of 33 nodes, in turns."""
    draw = random.Random(0)
    batches = [dgl.batch([molecule(n, 3, draw) for _ in range(256)]) for n in (32, 33)]
    names = [(n, what, o) for n in ("ngmpool", "gmpool") for what, o in variants_of(n).items()]
    for name, what, options in names:
        for coarsen in (False, True):
            what += ", coarsen" if coarsen else ""
            with bench.attempt(what):
                torch.manual_seed(0)
                module = get_readout(name, in_feats=WIDTH, **options).to(bench.device)
                times: list[list[float]] = [[], []]
                for _ in range(2 if bench.quick else 4):
                    for batch, found in zip(batches, times):
                        feat = features(batch.num_nodes(), WIDTH).to(bench.device)
                        step = pass_of(module, batch, feat, coarsen=coarsen)
                        found.append(timed(bench, step, most=5, limit=0.15)["ms"])
                ratio = statistics.median(b / a for a, b in zip(*times))
                small, large = map(statistics.median, times)
                yield {"pooling": what, "ms_32": small, "ms_33": large, "ratio": ratio}
                if bench.device.type == "cuda" and ratio > STEP_AT_33:
                    bench.fail(what, f"33 nodes take {ratio:.2f} x the time of 32")


def step_of(options: dict[str, Any], count: int, device: torch.device) -> Callable[[], None]:
    """A training step of a whole model of the default width."""
    torch.manual_seed(0)
    graph = molecules(count, sizes=(20, 40))
    nodes = features(graph.num_nodes(), NODE_FEATS).to(device)
    edges = features(graph.num_edges(), EDGE_FEATS, seed=1).to(device)
    target = features(count, 1, seed=2).to(device)
    model = MoleculePredictor(NODE_FEATS, EDGE_FEATS, **options).to(device)
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        with collect_losses() as losses:
            loss = (model(graph, nodes, edges) - target).square().mean()
        (loss + sum(losses.values())).backward()
        optimizer.step()

    return step


def training_steps(bench: Bench) -> Iterator[dict]:
    """Forward, backward and Adam step, against mean readouts and against the CPU."""
    devices = [bench.device] if bench.device == CPU else [bench.device, CPU]
    for device in devices:
        for count in (80,) if bench.quick else (80, 1024):
            base = 0.0
            for name, options in model_variants().items():
                with bench.attempt(f"{name}, batch {count}, {device}"):
                    if device == CPU and bench.device != CPU and name not in ("mean", "default"):
                        continue
                    found = timed(bench, step_of(options, count, device), device=device, limit=0.8)
                    base = base or found["ms"]
                    row = {"model": name, "batch": count, "device": str(device), **found}
                    yield {**row, "against_mean": found["ms"] / base}


def large_graphs(bench: Bench) -> Iterator[dict]:
    """One large graph: max_clusters with every decomposition that takes it, and NGMPool."""
    paper = readout_entry("ngmpool").factory.PAPER  # type: ignore[attr-defined]
    sets = [("ngmpool", paper), *(("gmpool", each) for each in capped(64))]
    sizes = (1000, 2000) if bench.quick else (1000, 2000, 5000, 10000, 20000)
    for nodes in sizes:
        graph = molecule(nodes, nodes // 10, random.Random(0))
        feat = features(nodes, WIDTH).to(bench.device)
        for name, options in sets:
            for coarsen in (False, True):
                if name == "ngmpool" and coarsen and nodes > 1000:
                    continue  # its coarse graph has as many nodes, each joined with each
                if options and options is not paper and options["similarity"] == "cauchy":
                    continue  # agreement has tried it; its time is that of "gaussian"
                what = label(name, options) + (", coarsen" if coarsen else "")
                with bench.attempt(f"{what}, {nodes} nodes"):
                    module = get_readout(name, in_feats=WIDTH, **options).to(bench.device)
                    step = pass_of(module, graph, feat, coarsen=coarsen)
                    found = timed(bench, step, most=5, limit=1.0)
                    yield {"pooling": what, "nodes": nodes, **found}
