"""Everything that wants a GPU, in one command of a few minutes: agreement, time, memory, waits.

    python benchmarks/gpu.py --device cuda --output FOLDER
    OMP_NUM_THREADS=1 python benchmarks/gpu.py --device cpu --output FOLDER --quick

Needs nothing but the package and what it depends on; torch-geometric's poolings are timed beside
ours where they are installed. DGL may be a CPU build: graphs stay in the memory of the host, which
is where the package reads edges and node counts, and everything is computed on the device of the
features.

The graphs are random, of the size of molecules: trees of bounded degree with a few rings closed.
Every section stands alone, a failure is recorded and the run goes on, and after ``--seconds`` what
is left is skipped and named. Writes gpu.json and gpu.md, what failed first, anew after each
section.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import inspect
import itertools
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import dgl_gmpool  # isort: skip - before dgl: it lets DGL 2.1.0 load next to today's torch
import dgl
from reliability_peers import torch_geometric_pool_poolings, torch_geometric_poolings
from setting import command_line, load_average, setting
from text_table import text_table

from dgl_gmpool import (
    GMPool,
    MoleculePredictor,
    collect_losses,
    get_readout,
    list_readouts,
)
from dgl_gmpool._io import atomic_write_json, atomic_write_text, without_nan
from dgl_gmpool.nn.grouping import SIMILARITIES, GroupingMatrix
from dgl_gmpool.poolings.gmpool import DECOMPOSITIONS
from dgl_gmpool.registry import readout_entry

PACKAGE = str(Path(dgl_gmpool.__file__).parent)
WIDTH = 64
NODE_FEATS, EDGE_FEATS = 74, 12

#: How far CPU and GPU may be apart in float32, as a share of the largest entry.
AGREEMENT = 1e-4

#: How much longer a batch of 33-node graphs may take than one of 32-node graphs.
STEP_AT_33 = 1.3

#: Poolings that draw at random, so that two devices differ: compared in nothing but their shapes.
DRAWS = ("bnpool",)

CPU = torch.device("cpu")


class OutOfTime(Exception):
    """The time of a section, or of the run, is used up."""


class Bench:
    """Device, clock, results and failures of a run."""

    def __init__(self, device: torch.device, *, quick: bool, seconds: float) -> None:
        self.device = device
        self.quick = quick
        self.started = time.monotonic()
        self.end = self.started + seconds
        self.section, self.section_end = "", self.end
        self.failures: list[dict[str, str]] = []
        self.skipped: list[str] = []
        self.sections: dict[str, Any] = {}

    def begin(self, name: str, share: float) -> None:
        """Start a section that may take this share of the whole time."""
        now = time.monotonic()
        self.section = name
        self.section_end = min(self.end, now + share * (self.end - self.started))

    def in_time(self) -> None:
        """Raise OutOfTime where the section's time is over."""
        if time.monotonic() > self.section_end:
            raise OutOfTime

    def fail(self, what: str, why: str) -> None:
        self.failures.append({"section": self.section, "what": what, "why": why})
        print(f"  FAIL {what}: {why}", flush=True)

    @contextlib.contextmanager
    def attempt(self, what: str, *, peer: bool = False) -> Iterator[None]:
        """Record what goes wrong inside, and go on. A peer that does not run is left out."""
        self.in_time()
        try:
            yield
        except OutOfTime:
            raise
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [each for each in frames if each.filename.startswith(PACKAGE)] or frames
            place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
            text = str(error).strip().split("\n")[0][:300]
            text = f"{type(error).__name__} at {place}: {text}"
            if peer:
                self.skipped.append(f"{what}: {text}")
            else:
                self.fail(what, text)
            if isinstance(error, torch.cuda.OutOfMemoryError):
                del error, frames
                gc.collect()
                torch.cuda.empty_cache()

    def wait(self, device: torch.device | None = None) -> None:
        """Let the device finish."""
        if (device or self.device).type == "cuda":
            torch.cuda.synchronize()


# --------------------------------------------------------------------------------------- graphs


def molecule(nodes: int, rings: int, draw: random.Random) -> dgl.DGLGraph:
    """A tree of degree at most 4 with some bonds more; each bond is two edges."""
    free, bonds = [4] * nodes, []
    for new in range(1, nodes):
        old = draw.choice([i for i in range(max(0, new - 6), new) if free[i] > 1] or [new - 1])
        bonds.append((old, new))
        free[old] -= 1
        free[new] -= 1
    for _ in range(rings if nodes > 6 else 0):
        one, other = draw.sample(range(nodes), 2)
        bonds.append((one, other))
    ends = torch.tensor(bonds, dtype=torch.int32).reshape(-1, 2)
    return dgl.graph((ends.flatten(), ends.flip(1).flatten()), num_nodes=nodes, idtype=torch.int32)


@cache
def molecules(count: int, *, sizes: tuple[int, int] = (9, 40), seed: int = 0) -> dgl.DGLGraph:
    draw = random.Random(seed)
    return dgl.batch([molecule(draw.randint(*sizes), 3, draw) for _ in range(count)])


def odd_batch() -> dgl.DGLGraph:
    """Molecules beside a single node, no node, no edge, and a large graph."""
    draw = random.Random(1)
    few = [molecule(draw.randint(9, 40), 3, draw) for _ in range(12)]
    empty = dgl.graph(([], []), num_nodes=0, idtype=torch.int32)
    bare = dgl.graph(([], []), num_nodes=3, idtype=torch.int32)
    return dgl.batch([molecule(1, 0, draw), *few[:6], empty, bare, *few[6:], molecule(70, 4, draw)])


def features(rows: int, width: int, *, kinds: int = 0, seed: int = 0) -> Tensor:
    """Random; with ``kinds`` only so many different rows, as equivalent atoms have."""
    generator = torch.Generator().manual_seed(seed)
    if not kinds:
        return torch.randn(rows, width, generator=generator)
    table = torch.randn(kinds, width, generator=generator)
    return table[torch.randint(kinds, (rows,), generator=generator)]


# ------------------------------------------------------------------------------------ the options


def choices(factory: Any) -> dict[str, tuple[Any, ...]]:
    """The values to try of each option that the factory takes, read from the package."""
    known: dict[str, tuple[Any, ...]] = {
        "similarity": tuple(SIMILARITIES),
        "decomposition": tuple(DECOMPOSITIONS),
        "normalize": (False, True),
        "aggregate": (),
        "rank_weight": (0.1,),
        "num_clusters": (3,),
    }
    for name, module in list(sys.modules.items()):
        if name.startswith("dgl_gmpool."):
            for option, constant in (("locality", "LOCALITIES"), ("aggregate", "AGGREGATES")):
                if hasattr(module, constant):
                    known[option] = tuple(getattr(module, constant))
    known.setdefault("locality", (None, "diffusion"))
    takes = inspect.signature(factory).parameters
    return {name: values for name, values in known.items() if name in takes}


def option_sets(name: str) -> list[dict[str, Any]]:
    """All of similarity x decomposition x locality, and each other option once."""
    values = choices(readout_entry(name).factory)
    crossed = [key for key in ("similarity", "decomposition", "locality") if key in values]
    sets = [dict(zip(crossed, each)) for each in itertools.product(*(values[k] for k in crossed))]
    sets = [each for each in sets if goes_together(each)]
    for key in values.keys() - set(crossed):
        sets += [{key: value} for value in values[key]]
    return sets


def goes_together(options: dict[str, Any]) -> bool:
    """Whether the options contradict each other by design (eigenvectors and locality)."""
    return options.get("decomposition") != "eigen" or options.get("locality") == "none"


def decompositions() -> list[dict[str, Any]]:
    """Options of GMPool with each decomposition, the readout over its coarse nodes."""
    found = []
    for each in DECOMPOSITIONS:
        options = {"decomposition": each, "aggregate": "mean_and_max"}
        found.append({**options, "locality": "none"} if each == "eigen" else options)
    return found


def capped(max_clusters: int) -> list[dict[str, Any]]:
    """Every way of GMPool to pool large graphs without a matrix of all pairs of nodes."""
    values = choices(readout_entry("gmpool").factory)
    crossed = [key for key in ("decomposition", "similarity", "locality") if key in values]
    sets = [
        {**dict(zip(crossed, each)), "max_clusters": max_clusters, "aggregate": "mean"}
        for each in itertools.product(*(values[key] for key in crossed))
    ]
    return [each for each in sets if made("gmpool", each) is not None]


def made(name: str, options: dict[str, Any]) -> nn.Module | None:
    """The readout, all parameters moved off their start; None where the options do not go."""
    torch.manual_seed(0)
    try:
        module = get_readout(name, in_feats=WIDTH, **options)
    except ValueError:
        return None
    return perturbed(module)


def perturbed(module: nn.Module) -> nn.Module:
    """Parameters that start at zero would hide what they multiply."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module


def label(name: str, options: dict[str, Any]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in sorted(options.items()))])


# -------------------------------------------------------------------------------------- agreement


def difference(one: Tensor, other: Tensor) -> float:
    """Largest difference as a share of the largest entry; infinite where shapes differ."""
    one, other = one.detach().cpu().double(), other.detach().cpu().double()
    if one.shape != other.shape:
        return float("inf")
    if not one.numel():
        return 0.0
    found = float((one - other).abs().max() / one.abs().max().clamp(min=1e-6))
    return found if found == found else float("inf")


def still(module: nn.Module) -> nn.Module:
    """Without dropout; recurrent layers train, as cuDNN has no gradient of them otherwise."""
    module.eval()
    for child in module.modules():
        if isinstance(child, nn.RNNBase):
            child.train()
    return module


def twice(bench: Bench, module: nn.Module, *inputs: Tensor, call: Callable) -> dict[str, float]:
    """Run ``call(module, *inputs)`` and its gradients on the CPU and on the device; compare.

    ``call`` returns a dict of tensors; random numbers to weight them come from one seed.
    """
    found = []
    for device in (CPU, bench.device):
        here = still(copy.deepcopy(module)).to(device)
        leaves = [each.detach().to(device).requires_grad_() for each in inputs]
        torch.manual_seed(0)
        out = call(here, *leaves)
        loss = sum(
            (each * features(each.numel(), 1, seed=3).reshape(each.shape).to(device)).sum()
            for each in out.values()
            if each.requires_grad
        )
        grads = {name: each for name, each in here.named_parameters() if each.requires_grad}
        wanted = [*leaves, *grads.values()]
        taken = torch.autograd.grad(loss, wanted, allow_unused=True)
        names = [f"grad of input {i}" for i in range(len(leaves))]
        names += [f"grad of {each}" for each in grads]
        values = {name: grad for name, grad in zip(names, taken) if grad is not None}
        found.append({**out, **values})
    if found[0].keys() != found[1].keys():
        raise RuntimeError(f"other results: {sorted(found[0].keys() ^ found[1].keys())}")
    # A gradient that is a millionth of the others is rounding error of sums that cancel.
    size = {
        key: float(value.detach().abs().max()) if value.numel() else 0.0
        for key, value in found[0].items()
    }
    top = max((size[key] for key in size if key.startswith("grad")), default=0.0)
    return {
        key: difference(found[0][key], found[1][key])
        for key in found[0]
        if not (key.startswith("grad") and size[key] < 1e-6 * top)
    }


def judged(bench: Bench, what: str, found: dict[str, float], limit: float = AGREEMENT) -> dict:
    worst = max(found, key=lambda key: found[key])
    if not found[worst] <= limit:
        bench.fail(what, f"{worst} differs by {found[worst]:.1e}, more than {limit:.0e}")
    return {"what": what, "worst": worst, "difference": min(found[worst], 1e30)}


def readouts_agree(bench: Bench) -> Iterator[dict]:
    """Every registered readout with its defaults, out and gradients."""
    graph = odd_batch()
    feat = features(graph.num_nodes(), WIDTH)
    for name in list_readouts():
        with bench.attempt(name):
            module = made(name, {})
            assert module is not None
            if name in DRAWS:
                out = module.to(bench.device)(graph, feat.to(bench.device))
                if not torch.isfinite(out).all():
                    bench.fail(name, "not finite")
                continue
            call = lambda pool, x: {"out": pool(graph, x)}  # noqa: E731
            yield judged(bench, name, twice(bench, module, feat, call=call))


def options_agree(bench: Bench) -> Iterator[dict]:
    """GMPool and NGMPool with every option, on atoms that differ and on equivalent ones."""
    graph = odd_batch()
    for name, kinds in itertools.product(("gmpool", "ngmpool"), (0, 5)):
        feat = features(graph.num_nodes(), WIDTH, kinds=kinds)
        for options in option_sets(name):
            what = label(name, options) + (", equivalent atoms" if kinds else "")
            with bench.attempt(what):
                module = made(name, options)
                if module is None:
                    continue
                call = lambda pool, x: {"out": pool(graph, x)}  # noqa: E731
                yield judged(bench, what, twice(bench, module, feat, call=call))


def dense(coarse: Any, like: Tensor | None) -> tuple[dict[str, Tensor], Tensor]:
    """X' and A' of a coarse batch. Eigenvectors have no sign of their own: each coarse node gets
    the sign of ``like``, X' of the other device."""
    source, destination = (each.long().to(coarse.feat.device) for each in coarse.graph.edges())
    nodes = coarse.feat.shape[0]
    adjacency = coarse.feat.new_zeros(nodes, nodes)
    adjacency = adjacency.index_put((source, destination), coarse.edge_weight, accumulate=True)
    sign = torch.ones(nodes, 1, device=coarse.feat.device)
    if like is not None and like.shape == coarse.feat.shape:
        sign = (coarse.feat.detach() * like.to(sign.device)).sum(1, keepdim=True).sign()
        sign = torch.where(sign == 0, 1.0, sign)
    return {
        "X'": coarse.feat * sign,
        "A'": adjacency * sign * sign.T,
        "lifted": coarse.lift(coarse.feat),
    }, coarse.feat.detach().cpu()


def coarse_agree(bench: Bench) -> Iterator[dict]:
    """Coarse graphs: X', A' as a dense matrix, X' lifted back, and their gradients."""
    graph = odd_batch()
    large = dgl.batch([molecule(nodes, nodes // 10, random.Random(0)) for nodes in (400, 30)])
    sets = [(graph, n, each) for n in ("gmpool", "ngmpool") for each in option_sets(n)]
    sets += [(graph, name, {}) for name in list_readouts() if readout_entry(name).coarsens]
    sets += [(large, "gmpool", each) for each in capped(8)]
    for batch, name, options in sets:
        what = label(name, options)
        with bench.attempt(what):
            module = made(name, options)
            if module is None or name in DRAWS:
                continue
            first: list[Tensor] = []
            feat = features(batch.num_nodes(), WIDTH)

            def call(pool, x, batch=batch, first=first):  # type: ignore[no-untyped-def]
                coarse = pool.coarsen(batch, x)
                out, raw = dense(coarse, first[0] if first else None)
                first.append(raw)
                return out

            yield judged(bench, what, twice(bench, module, feat, call=call))


def models_agree(bench: Bench) -> Iterator[dict]:
    """Whole models, one and two levels, and the layer of exchange if there is one."""
    graph = molecules(24)
    inputs = (
        features(graph.num_nodes(), NODE_FEATS),
        features(graph.num_edges(), EDGE_FEATS, seed=1),
    )
    variants: dict[str, dict[str, Any]] = {
        "default": {},
        "mean": {"readout": "mean"},
        "ngmpool": {"readout": "ngmpool"},
    }
    for options in decompositions():
        what = f"2 levels, {options['decomposition']}"
        variants[what] = dict(readout_options=options, levels=2, readout="gmpool")
    if "exchange" in inspect.signature(MoleculePredictor).parameters:
        variants["exchange"] = {"exchange": True}
    for what, options in variants.items():
        with bench.attempt(what):
            torch.manual_seed(0)
            model = perturbed(MoleculePredictor(NODE_FEATS, EDGE_FEATS, hidden_feats=64, **options))
            call = lambda model, x, e: {"out": model(graph, x, e)}  # noqa: E731
            yield judged(bench, f"model: {what}", twice(bench, model, *inputs, call=call))
    exchange = getattr(dgl_gmpool, "GroupExchange", None)
    if exchange is not None:
        with bench.attempt("GroupExchange"):
            feat = features(graph.num_nodes(), WIDTH)
            call = lambda layer, x: {"out": layer(graph, x)}  # noqa: E731
            found = twice(bench, perturbed(exchange(WIDTH)), feat, call=call)
            yield judged(bench, "GroupExchange", found)


# ------------------------------------------------------------------------------------------- time


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
        if coarsen:
            coarse = module.coarsen(graph, x)  # type: ignore[operator]
            loss = coarse.feat.square().sum() + coarse.edge_weight.square().sum()
            losses = coarse.losses
        else:
            with collect_losses() as losses:
                loss = module(graph, x).square().sum()
        (loss + 0 * sum(losses.values()) if losses else loss).backward()

    return step


def pooling_times(bench: Bench) -> Iterator[dict]:
    """Every pooling as a readout and as a coarsening, and torch-geometric's, in two batch sizes."""
    peers = {**torch_geometric_poolings(10), **torch_geometric_pool_poolings(10)}
    if not peers:
        bench.skipped.append("torch-geometric's poolings: it is not installed")
    makers: dict[str, tuple[Callable[[], nn.Module], bool]] = {}
    for name in ("ngmpool", "gmpool"):
        for options in [{}, *decompositions()]:
            if made(name, options) is None:
                continue
            make = lambda name=name, options=options: get_readout(  # noqa: E731
                name, in_feats=WIDTH, **options
            )
            makers[label(name, options)] = (make, False)
            makers[label(name, options) + ", coarsen"] = (make, True)
    for name in list_readouts():
        make = lambda name=name: get_readout(name, in_feats=WIDTH)  # noqa: E731
        makers.setdefault(name, (make, False))
        if readout_entry(name).coarsens:
            makers.setdefault(f"{name}, coarsen", (make, True))
    peer_makers = {n: (lambda m=m: m(WIDTH), False) for n, m in peers.items()}
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
    names = [("ngmpool", {})]
    names += [("gmpool", each) for each in ({}, *decompositions())]
    for name, options in names:
        for coarsen in (False, True):
            what = label(name, options) + (", coarsen" if coarsen else "")
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


def step_variants() -> dict[str, dict[str, Any]]:
    """Models whose training step is timed; the first is what the others are compared with."""
    variants: dict[str, dict[str, Any]] = {
        "mean": {"readout": "mean"},
        "mean_and_max": {"readout": "mean_and_max"},
        "default": {},
        "ngmpool": {"readout": "ngmpool"},
    }
    variants["paper"] = {"readout": "gmpool", "readout_options": GMPool.PAPER}
    for options in decompositions():
        variants[f"gmpool {options['decomposition']}"] = {
            "readout": "gmpool",
            "readout_options": options,
        }
    variants["gmpool, 2 levels"] = {"readout": "gmpool", "levels": 2}
    if "exchange" in inspect.signature(MoleculePredictor).parameters:
        variants["exchange"] = {"exchange": True}
    return variants


def training_steps(bench: Bench) -> Iterator[dict]:
    """Forward, backward and Adam step, against mean readouts and against the CPU."""
    devices = [bench.device] if bench.device == CPU else [bench.device, CPU]
    for device in devices:
        for count in (80,) if bench.quick else (80, 1024):
            base = 0.0
            for name, options in step_variants().items():
                with bench.attempt(f"{name}, batch {count}, {device}"):
                    if device == CPU and bench.device != CPU and name not in ("mean", "default"):
                        continue
                    found = timed(bench, step_of(options, count, device), device=device, limit=0.8)
                    base = base or found["ms"]
                    row = {"model": name, "batch": count, "device": str(device), **found}
                    yield {**row, "against_mean": found["ms"] / base}


# ------------------------------------------------------------------------------------------- waits


def place_of(stack: list[traceback.FrameSummary]) -> str:
    """The innermost line of the package on a stack; outside of it, the innermost of all."""
    stack = [each for each in stack if each.name not in ("note", "__torch_dispatch__")]
    frame = ([each for each in stack if each.filename.startswith(PACKAGE)] or stack)[-1]
    parts = Path(frame.filename).parts
    return f"{'/'.join(parts[-2:])}:{frame.lineno} {frame.line}"


#: Operations whose result, or its shape, is a value: a GPU has to be waited for.
READS_VALUES = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "equal",
    "repeat_interleave",
    "is_nonzero",
}


class ValuesRead(TorchDispatchMode):
    """Counts, line by line, the operations that need the values of a tensor on the host.

    On a CPU this stands in for what a GPU would wait for. It also sees node counts and edges, which
    are in the memory of the host anyway: lines that read these are no wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in READS_VALUES:
            kinds = {
                str(t.dtype).removeprefix("torch.")
                for t in tree_leaves(args)
                if isinstance(t, Tensor)
            }
            self.places[f"{place_of(traceback.extract_stack())} [{', '.join(kinds)}]"] += 1
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def waits() -> Iterator[Counter[str]]:
    """Count, line by line, what makes the host wait for the GPU."""
    places: Counter[str] = Counter()

    def note(message: Any, *rest: Any, **more: Any) -> None:
        if "called a synchronizing" in str(message):
            places[place_of(traceback.extract_stack())] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        before, warnings.showwarning = warnings.showwarning, note  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            torch.cuda.set_sync_debug_mode("default")
            warnings.showwarning = before  # type: ignore[assignment]


def profiled(step: Callable[[], None]) -> dict[str, Any]:
    """What torch's profiler counts in one step: waits, copies, kernels and their time."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        step()
        torch.cuda.synchronize()
    counted: Counter[str] = Counter()
    busy = 0.0
    for event in profiler.key_averages():
        if event.device_type == torch.autograd.DeviceType.CUDA:
            busy += event.self_device_time_total
        for name in (
            "cudaStreamSynchronize",
            "cudaDeviceSynchronize",
            "cudaEventSynchronize",
            "cudaLaunchKernel",
            "cudaMemcpyAsync",
            "Memcpy DtoH",
            "Memcpy HtoD",
        ):
            if event.key.startswith(name):
                counted[name] += event.count
    return {**counted, "gpu_busy_ms": busy / 1000}


def host_waits(bench: Bench) -> Iterator[dict]:
    """Waits of a training step, of a coarsening and of a readout, and the lines that cause them."""
    steps: dict[str, Callable[[], Callable[[], None]]] = {
        f"step: {name}": (lambda o=options: step_of(o, 80, bench.device))
        for name, options in step_variants().items()
    }

    def pooling(name: str, options: dict[str, Any], coarsen: bool) -> Callable[[], None]:
        graph = molecules(80, sizes=(20, 40))
        module = get_readout(name, in_feats=WIDTH, **options).to(bench.device)
        feat = features(graph.num_nodes(), WIDTH).to(bench.device)
        return pass_of(module, graph, feat, coarsen=coarsen)

    for name, options in (
        ("ngmpool", {}),
        *(("gmpool", each) for each in decompositions()),
    ):
        for coarsen in (False, True):
            steps[f"{'coarsen' if coarsen else 'readout'}: {label(name, options)}"] = (
                lambda n=name, o=options, c=coarsen: pooling(n, o, c)
            )
    for what, make in steps.items():
        with bench.attempt(what):
            step = make()
            for _ in range(2):
                step()
            bench.wait()
            if bench.device.type == "cuda":
                with waits() as places:
                    step()
                row = {"what": what, "waits": sum(places.values()), **profiled(step)}
            else:
                with ValuesRead() as read:
                    step()
                places = read.places
                row = {"what": what, "values_read": sum(places.values())}
            yield {**row, "places": [f"{n} x {p}" for p, n in places.most_common(20)]}


# ------------------------------------------------------------------------------ bfloat16, compiler


def bfloat16(bench: Bench) -> Iterator[dict]:
    """Under autocast to bfloat16, results, losses and gradients are finite and near float32."""
    graph = molecules(24)
    nodes = features(graph.num_nodes(), NODE_FEATS).to(bench.device)
    edges = features(graph.num_edges(), EDGE_FEATS, seed=1).to(bench.device)
    runs: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {}
    for name, options in step_variants().items():
        with bench.attempt(name):
            torch.manual_seed(0)
            model = MoleculePredictor(NODE_FEATS, EDGE_FEATS, hidden_feats=64, **options)
            runs[f"model: {name}"] = (model, (nodes, edges))
    for name in list_readouts():
        with bench.attempt(name):
            torch.manual_seed(0)
            runs[name] = (get_readout(name, in_feats=NODE_FEATS), (nodes,))
    for what, (module, inputs) in runs.items():
        with bench.attempt(what):
            still(module.to(bench.device))
            torch.manual_seed(0)
            plain = module(graph, *inputs)
            leaves = [each.clone().requires_grad_() for each in inputs]
            torch.manual_seed(0)
            with (
                torch.autocast(bench.device.type, dtype=torch.bfloat16),
                collect_losses() as losses,
            ):
                out = module(graph, *leaves)
                loss = out.float().square().mean() + sum(losses.values())
            loss.backward()
            values = [out, loss, *(p.grad for p in module.parameters()), *(x.grad for x in leaves)]
            if not all(torch.isfinite(each).all() for each in values if each is not None):
                bench.fail(what, "not finite under autocast to bfloat16")
            yield {"what": what, "from_float32": min(difference(plain, out), 1e30)}


def compiled(bench: Bench) -> Iterator[dict]:
    """torch.compile of the grouping matrix, from node features to M, forward and backward."""
    x = features(64 * 40, WIDTH).reshape(64, 40, WIDTH).to(bench.device)
    for similarity, backend in itertools.product(SIMILARITIES, ("inductor", "aot_eager")):
        what = f"{similarity}, {backend}"
        with bench.attempt(what):
            torch._dynamo.reset()
            grouping = GroupingMatrix(WIDTH, similarity=similarity).to(bench.device)
            faster = torch.compile(grouping, fullgraph=True, backend=backend)
            started = time.perf_counter()
            results = []
            for module in (grouping, faster):
                leaf = x.clone().requires_grad_()
                out = module(leaf)
                out.square().sum().backward()
                results.append((out, leaf.grad))
            seconds = time.perf_counter() - started
            apart = max(difference(*pair) for pair in zip(*results))
            if apart > AGREEMENT:
                bench.fail(what, f"compiled differs by {apart:.1e}")
            times = {}
            for name, module in (("eager", grouping), ("compiled", faster)):

                def step(module: Any = module) -> None:
                    module(x.clone().requires_grad_()).square().sum().backward()

                times[f"{name}_ms"] = timed(bench, step)["ms"]
            yield {"what": what, "difference": apart, "compile_s": seconds, **times}


def in_another_process(bench: Bench, section: str, limit: float) -> list[dict]:
    """A section in a process of its own, which can be ended: a compiler can hang."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "--only", section, "--output", folder]
        words += ["--device", str(bench.device), "--seconds", str(limit)]
        words += ["--quick"] if bench.quick else []
        try:
            subprocess.run(words, timeout=limit + 20, check=True, capture_output=True, text=True)
        except subprocess.TimeoutExpired:
            bench.fail(section, f"took more than {limit + 20:.0f} s")
        except subprocess.CalledProcessError as error:
            bench.fail(section, (error.stderr or "no message").strip().split("\n")[-1][:300])
        file = Path(folder) / "gpu.json"
        if not file.exists():
            return []
        record = json.loads(file.read_text(encoding="utf-8"))
    for each in record["failures"]:
        bench.fail(each["what"], each["why"])
    bench.skipped += record["skipped"]
    return record["sections"].get(section, [])


def large_graphs(bench: Bench) -> Iterator[dict]:
    """One large graph: max_clusters with every decomposition that takes it, and NGMPool."""
    sets = [
        ("ngmpool", {"locality": "none", "aggregate": "mean"}),
        *(("gmpool", each) for each in capped(64)),
    ]
    sizes = (1000, 2000) if bench.quick else (1000, 2000, 5000, 10000, 20000)
    for nodes in sizes:
        graph = molecule(nodes, nodes // 10, random.Random(0))
        feat = features(nodes, WIDTH).to(bench.device)
        for name, options in sets:
            for coarsen in (False, True):
                if name == "ngmpool" and coarsen and nodes > 1000:
                    continue  # its coarse graph has as many nodes, each joined with each
                what = label(name, options) + (", coarsen" if coarsen else "")
                with bench.attempt(f"{what}, {nodes} nodes"):
                    module = get_readout(name, in_feats=WIDTH, **options).to(bench.device)
                    step = pass_of(module, graph, feat, coarsen=coarsen)
                    found = timed(bench, step, most=5, limit=1.0)
                    yield {"pooling": what, "nodes": nodes, **found}


# ------------------------------------------------------------------------------------------ report

#: Section: what does it, and which share of the time it may take.
SECTIONS: dict[str, tuple[Callable[[Bench], Iterator[dict]], float]] = {
    "readouts agree": (readouts_agree, 0.15),
    "options agree": (options_agree, 0.25),
    "coarse graphs agree": (coarse_agree, 0.25),
    "models agree": (models_agree, 0.15),
    "training steps": (training_steps, 0.25),
    "host waits": (host_waits, 0.2),
    "n = 32 and 33": (size_32_and_33, 0.15),
    "large graphs": (large_graphs, 0.2),
    "bfloat16": (bfloat16, 0.1),
    "poolings": (pooling_times, 0.4),
    "compile": (compiled, 0.3),
}


def run(bench: Bench, names: list[str], store: Callable[[], None]) -> None:
    """The sections, one after the other."""
    for name in names:
        section, share = SECTIONS[name]
        if time.monotonic() > bench.end - 5:
            bench.skipped.append(f"{name}: the time was up")
            continue
        bench.begin(name, share if len(names) > 1 else 1.0)
        started = time.monotonic()
        print(f"{name} ...", flush=True)
        rows: list[dict] = []
        try:
            if name == "compile" and len(names) > 1:
                left = min(bench.end, bench.section_end) - time.monotonic() - 20
                rows += in_another_process(bench, name, max(left, 10))
            else:
                for row in section(bench):
                    rows.append(row)  # one by one: those before the time was up are kept
        except OutOfTime:
            bench.skipped.append(f"{name}: not to its end, the time was up")
        except Exception as error:
            bench.fail(name, f"{type(error).__name__}: {str(error)[:300]}")
        bench.sections[name] = rows
        print(f"  {len(rows)} rows, {time.monotonic() - started:.0f} s", flush=True)
        store()


def cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 0.01 or abs(value) > 1e6 else f"{value:.2f}"
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def report(record: dict[str, Any]) -> str:
    """The record in Markdown: setting, failures, then a table for each section."""
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    parts = [
        f"# {record['device']}",
        f"`{record['command']}`, commit {record['commit']}, {record['seconds']:.0f} s; {versions}",
        f"## Failures: {len(record['failures'])}",
        "\n".join(f"- {e['section']}: {e['what']}: {e['why']}" for e in record["failures"]),
        "\n".join(f"Skipped: {each}" for each in record["skipped"]),
    ]
    for name, rows in record["sections"].items():
        places = [key for row in rows for key in row]
        head = [key for key in dict.fromkeys(places) if key != "places"]
        parts += [f"## {name}", SECTIONS[name][0].__doc__ or ""]
        if rows:
            parts.append(text_table(head, [[cell(r.get(key, "")) for key in head] for r in rows]))
        for row in rows:
            if row.get("places"):
                listing = "\n".join(f"  - `{each}`" for each in row["places"])
                parts.append(f"- {row['what']}\n{listing}")
    return "\n\n".join(part for part in parts if part) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, required=True, help="folder of gpu.json and gpu.md")
    parser.add_argument("--quick", action="store_true", help="small batches, few rounds")
    parser.add_argument("--seconds", type=float, default=330, help="then the rest is skipped")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=SECTIONS,
        metavar="SECTION",
        help="these alone: " + ", ".join(SECTIONS),
    )
    parser.add_argument("--commit", help="of the code, where it is no checkout")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device cuda: torch {torch.__version__} sees no GPU; give --device cpu")
    # The agreement is about float32; torch lets cuDNN's recurrent layers use less by default.
    torch.backends.cudnn.allow_tf32 = False
    bench = Bench(torch.device(args.device), quick=args.quick, seconds=args.seconds)
    cuda = bench.device.type == "cuda"
    about = {
        **setting(command_line(), "torch-geometric", "torch-geometric-pool", "triton"),
        "device": torch.cuda.get_device_name() if cuda else "CPU",
        "cuda": torch.version.cuda,
        "load_average_before": load_average(),
    }
    about["commit"] = args.commit or about["commit"]

    def store() -> None:
        record = {
            **about,
            "seconds": time.monotonic() - bench.started,
            "failures": bench.failures,
            "skipped": bench.skipped,
            "sections": bench.sections,
        }
        atomic_write_json(args.output / "gpu.json", without_nan(record))
        atomic_write_text(args.output / "gpu.md", report(record))

    run(bench, list(args.only or SECTIONS), store)
    store()
    print(f"\n{len(bench.failures)} failures, {len(bench.skipped)} skipped:")
    for each in bench.failures:
        print(f"- {each['section']}: {each['what']}: {each['why']}")
    for line in bench.skipped:
        print(f"- skipped: {line}")


if __name__ == "__main__":
    main()
