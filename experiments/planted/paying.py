"""Paying: targets that hang on what stands together in one group."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dgl
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_gmpool import GMPool, get_readout
from experiments.planted.controls import GivenGroups, LocalityOnly, frozen
from experiments.planted.generators import SHARES, two_kinds_in_rings
from experiments.planted.networks import Budget, PlantedNetwork, fit, outputs

BUDGET = Budget(train=800, test=400, epochs=40, lr=1e-2, one_cycle=True)
QUICK = Budget(train=12, test=8, epochs=1, lr=1e-2, batch_size=6, one_cycle=True)

TARGETS = ("rings_with_both", "largest_product")

#: Groups that are drawn at random: about as many as a graph has rings.
RANDOM_GROUPS = 4

DEFAULT = "GMPool"
#: The same readout without groups: what groups have to beat.
CONTROL = "phi of nodes, no groups"


#: Every row of the table: what makes the pooling, and whether atoms and groups exchange.
METHODS: dict[str, tuple[Callable[[int], nn.Module], bool]] = {
    "mean and max": (lambda width: get_readout("mean_and_max", in_feats=width), False),
    "mean and max, exchange": (lambda width: get_readout("mean_and_max", in_feats=width), True),
    CONTROL: (lambda width: GivenGroups(width, given="nodes"), False),
    f"{CONTROL}, exchange": (lambda width: GivenGroups(width, given="nodes"), True),
    "one group": (lambda width: GivenGroups(width, given="one"), False),
    "random groups": (lambda width: GivenGroups(width, given="random"), False),
    "planted groups": (lambda width: GivenGroups(width, given="planted"), False),
    DEFAULT: (GMPool, False),
    "GMPool, exchange": (GMPool, True),
    "GMPool, M frozen": (frozen, False),
    "GMPool, no locality": (lambda width: GMPool(width, locality="none"), False),
    "GMPool, no features": (LocalityOnly, False),
}


def jobs(seeds: int, quick: bool = False) -> Iterator[dict[str, Any]]:
    """The trainings."""
    for seed in range(seeds):
        for target in TARGETS:
            for method in METHODS:
                yield {
                    "part": "paying",
                    "method": method,
                    "target": target,
                    "seed": seed,
                    "quick": quick,
                }


def graphs_of(seed: int, budget: Budget) -> tuple[list[dgl.DGLGraph], dict[str, Tensor]]:
    """Training and test graphs, in this order, and their targets ``(graphs,)`` by name."""
    rng = np.random.default_rng([seed, 40])
    made = [two_kinds_in_rings(rng) for _ in range(budget.train + budget.test)]
    graphs = [each.to_dgl() for each in made]
    for graph in graphs:
        number = rng.integers(RANDOM_GROUPS, size=graph.num_nodes())
        graph.ndata["random"] = torch.from_numpy(number)
    return graphs, {name: torch.tensor([g.targets[name] for g in made]) for name in TARGETS}


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Train one row; R2 on the test graphs."""
    budget = QUICK if job["quick"] else BUDGET
    graphs, targets = graphs_of(job["seed"], budget)
    target = targets[job["target"]]
    train = target[: budget.train]
    target = (target - train.mean()) / train.std().clamp(min=1e-6)
    pooling, exchange = METHODS[job["method"]]
    torch.manual_seed(job["seed"])
    model = PlantedNetwork(len(SHARES), 1, pooling, layers=2, residual=True, exchange=exchange)
    fit(model, graphs[: budget.train], target[: budget.train, None], F.mse_loss, budget)
    test = target[budget.train :]
    error = outputs(model, graphs[budget.train :], budget.batch_size)[:, 0] - test
    locality = getattr(model.pool, "locality", None)
    return {
        "r2": float(1 - error.square().mean() / test.var(correction=0).clamp(min=1e-6)),
        "time": None if locality is None else float(locality.time.detach()),
    }
