"""Counting: does K follow the number of groups, M their nodes, and do names follow groups?"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import dgl
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dgl_gmpool import GMPool, NGMPool, get_readout
from dgl_gmpool.nn.pooling import Pooling
from experiments.planted.generators import FAMILIES, FEWEST, KINDS, MOST, counting_graph
from experiments.planted.measures import Found, as_in_training, compare, found_groups
from experiments.planted.networks import Budget, PlantedNetwork, batches, fit, outputs

BUDGET = Budget(train=300, test=150, epochs=25, lr=5e-3)
QUICK = Budget(train=12, test=8, epochs=1, lr=5e-3, batch_size=6)

DEFAULT = "GMPool"


def _with(name: str, **options: Any) -> Callable[[int], nn.Module]:
    return lambda width: get_readout(name, in_feats=width, **options)


#: Every row of the table: what makes the pooling.
METHODS: dict[str, Callable[[int], nn.Module]] = {
    DEFAULT: GMPool,
    **{
        f"GMPool, {similarity}, {locality}": _with(
            "gmpool", similarity=similarity, locality=locality
        )
        for similarity in ("gaussian", "cauchy", "linear")
        for locality in ("diffusion", "none")
        if (similarity, locality) != ("gaussian", "diffusion")
    },
    **{
        f"GMPool, {decomposition}, {aggregate}": _with(
            "gmpool",
            decomposition=decomposition,
            aggregate=aggregate,
            # Eigenvectors and locality do not go together.
            locality="none" if decomposition == "eigen" else "diffusion",
        )
        for decomposition in ("pivot", "sqrtm", "eigen", "cholesky")
        for aggregate in ("mean", "mean_and_max")
    },
    "GMPool, features layer": _with("gmpool", feature_norm="layer"),
    "GMPool, features none": _with("gmpool", feature_norm="none"),
    "NGMPool": NGMPool,
    "GMPool.paper": GMPool.paper,
    "NGMPool.paper": NGMPool.paper,
    "BN-Pool": _with("bnpool"),
    "DiffPool": _with("diffpool"),
}


def jobs(seeds: int, quick: bool = False) -> Iterator[dict[str, Any]]:
    """The trainings, those that are judged first: the default everywhere, the other rows with two
    layers, noise 0.2 and k as label."""
    for seed in range(seeds):
        for method in METHODS:
            everywhere = method == DEFAULT
            for family in FAMILIES:
                for kinds in ("distinct", "repeating"):
                    for noise in (0.2, 0.5) if everywhere else (0.2,):
                        for layers in (2, 1) if everywhere else (2,):
                            for label in ("k", "control") if everywhere else ("k",):
                                yield {
                                    "part": "counting",
                                    "method": method,
                                    "family": family,
                                    "kinds": kinds,
                                    "noise": noise,
                                    "layers": layers,
                                    "label": label,
                                    "seed": seed,
                                    "quick": quick,
                                }


def graphs_of(
    family: str, kinds: str, noise: float, seed: int, budget: Budget
) -> tuple[list[dgl.DGLGraph], dict[str, torch.Tensor]]:
    """Training and test graphs, in this order, and their labels ``(graphs,)`` by name."""
    rng = np.random.default_rng([seed, zlib.crc32(family.encode()), kinds == "distinct"])
    made = [
        counting_graph(family, rng, distinct=kinds == "distinct", noise=noise)
        for _ in range(budget.train + budget.test)
    ]
    labels = {
        name: torch.tensor([int(each.targets[name]) - FEWEST for each in made])
        for name in made[0].targets
    }
    return [each.to_dgl() for each in made], labels


def _found(model: PlantedNetwork, graphs: list[dgl.DGLGraph], size: int) -> list[Found]:
    with torch.no_grad():
        return [
            each
            for batch in batches(graphs, size)
            for each in found_groups(cast(Pooling, model.pool), batch, model.states(batch))
        ]


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Train one row; the figures before and after."""
    budget = QUICK if job["quick"] else BUDGET
    graphs, labels = graphs_of(job["family"], job["kinds"], job["noise"], job["seed"], budget)
    label = labels[job["label"]]
    train, test = graphs[: budget.train], graphs[budget.train :]
    planted = [graph.ndata["group"].numpy() for graph in test]
    torch.manual_seed(job["seed"])
    model = PlantedNetwork(KINDS, MOST - FEWEST + 1, METHODS[job["method"]], layers=job["layers"])
    before = _found(as_in_training(copy.deepcopy(model)), test, budget.batch_size)
    fit(model, train, label[: budget.train], F.cross_entropy, budget)
    predicted = outputs(model, test, budget.batch_size).argmax(1)
    locality = getattr(model.pool, "locality", None)
    return {
        "before": compare(before, planted),
        "after": compare(_found(model, test, budget.batch_size), planted),
        "accuracy": float((predicted == label[budget.train :]).float().mean()),
        "time": None if locality is None else float(locality.time.detach()),
        "inverted": bool(getattr(model.pool, "inverted", False)),
    }
