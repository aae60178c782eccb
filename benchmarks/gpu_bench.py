"""What the sections of gpu.py share: clock, failures, graphs, and the options to try."""

from __future__ import annotations

import contextlib
import gc
import inspect
import itertools
import random
import time
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import dgl_gmpool  # isort: skip - before dgl: it lets DGL 2.1.0 load next to today's torch
import dgl

from dgl_gmpool import get_readout
from dgl_gmpool.nn.grouping import FEATURE_NORMS, SIMILARITIES
from dgl_gmpool.nn.locality import LOCALITIES
from dgl_gmpool.nn.segments import AGGREGATES
from dgl_gmpool.poolings.gmpool import DECOMPOSITIONS
from dgl_gmpool.poolings.grouping_pool import ATOMS_AND_GROUPS
from dgl_gmpool.registry import readout_entry

#: How far CPU and GPU may be apart in float32, as a share of the largest entry.
AGREEMENT = 1e-4

PACKAGE = str(Path(dgl_gmpool.__file__).parent)
WIDTH = 64
NODE_FEATS, EDGE_FEATS = 74, 12

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


def choices(factory: Any) -> dict[str, tuple[Any, ...]]:
    """The values to try of each option that the factory takes, read from the package."""
    known: dict[str, tuple[Any, ...]] = {
        "similarity": SIMILARITIES,
        "locality": LOCALITIES,
        "decomposition": DECOMPOSITIONS,
        "feature_norm": FEATURE_NORMS,
        "aggregate": (ATOMS_AND_GROUPS, *AGGREGATES),
        "normalize": (False, True),
        "rank_weight": (0.1,),
        "num_clusters": (3,),
    }
    takes = inspect.signature(factory).parameters
    return {name: values for name, values in known.items() if name in takes}


#: Options that are tried in all combinations; the others are tried once each.
CROSSED = ("similarity", "locality", "decomposition")


def crossed(name: str, **options: Any) -> list[dict[str, Any]]:
    """All combinations of similarity, locality and decomposition, beside these options."""
    values = choices(readout_entry(name).factory)
    keys = [key for key in CROSSED if key in values]
    combined = itertools.product(*(values[key] for key in keys))
    sets = [{**dict(zip(keys, each)), **options} for each in combined]
    return [each for each in sets if made(name, each) is not None]


def option_sets(name: str) -> list[dict[str, Any]]:
    """All combinations, the paper's reading, and each value of the other options."""
    factory = readout_entry(name).factory
    single = choices(factory).items()
    sets = [{key: value} for key, values in single if key not in CROSSED for value in values]
    sets.append(getattr(factory, "PAPER", {}))
    return crossed(name) + [each for each in sets if made(name, each) is not None]


def capped(max_clusters: int) -> list[dict[str, Any]]:
    """Every way of GMPool to pool large graphs without a matrix of all pairs of nodes."""
    return crossed("gmpool", max_clusters=max_clusters, aggregate="mean")


def variants_of(name: str) -> dict[str, dict[str, Any]]:
    """What is timed of GMPool or NGMPool: the defaults, the paper's, each decomposition."""
    factory = readout_entry(name).factory
    sets = {name: {}, f"{name}, paper": getattr(factory, "PAPER", {})}
    for each in choices(factory).get("decomposition", ()):
        # Which of them the readout shows too; without locality where they do not go together.
        options = {"decomposition": each, "aggregate": "mean_and_max"}
        if made(name, options) is None:
            options["locality"] = "none"
        sets[f"{name}, {each}"] = options
    return sets


def made(name: str, options: dict[str, Any]) -> nn.Module | None:
    """The readout, all parameters moved off their start; None where the options do not go."""
    torch.manual_seed(0)
    try:
        module = get_readout(name, in_feats=WIDTH, **options)
    except ValueError:
        return None
    return perturbed(module)


def model_variants() -> dict[str, dict[str, Any]]:
    """Whole models; the first is what the others are compared with."""
    variants: dict[str, dict[str, Any]] = {
        "mean": {"readout": "mean"},
        "mean_and_max": {"readout": "mean_and_max"},
        "default": {},
        "no exchange": {"exchange": False},
        "2 levels": {"levels": 2},
    }
    for name in ("gmpool", "ngmpool"):
        for what, options in variants_of(name).items():
            if name == "gmpool" and not options:
                continue  # the default
            variants[what] = {"readout": name, "readout_options": options}
    return variants


def perturbed(module: nn.Module) -> nn.Module:
    """Parameters that start at zero would hide what they multiply."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module


def label(name: str, options: dict[str, Any]) -> str:
    return " ".join([name, *(f"{key}={value}" for key, value in sorted(options.items()))])


def difference(one: Tensor, other: Tensor) -> float:
    """Largest difference as a share of the largest entry; infinite where shapes differ."""
    one, other = one.detach().cpu().double(), other.detach().cpu().double()
    if one.shape != other.shape:
        return float("inf")
    if not one.numel():
        return 0.0
    found = float((one - other).abs().max() / one.abs().max().clamp(min=1e-6))
    return found if found == found else float("inf")
