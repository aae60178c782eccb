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
from experiments.planted.example_networks import DiffPoolNetwork, HGPSLNetwork
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


Network = Callable[[], nn.Module]


def _network(pooling: Callable[[int], nn.Module], *, exchange: str | None = None) -> Network:
    return lambda: PlantedNetwork(
        len(SHARES), 1, pooling, layers=2, residual=True, exchange=exchange
    )


def _given(groups: str, *, exchange: str | None = None) -> Network:
    return _network(lambda width: GivenGroups(width, given=groups), exchange=exchange)


def _named(name: str, *, exchange: str | None = None) -> Network:
    return _network(lambda width: get_readout(name, in_feats=width), exchange=exchange)


def _example(network: type[HGPSLNetwork] | type[DiffPoolNetwork], name: str) -> Network:
    return lambda: network(len(SHARES), 1, lambda width: get_readout(name, in_feats=width))


#: Every row of the table: what makes its network. The last rows are the networks of DGL's examples,
#: with their own pooling (SAGPool for HGP-SL's, which DGL's other example has) and with ours.
METHODS: dict[str, Network] = {
    "mean and max": _named("mean_and_max"),
    "mean and max, exchange": _named("mean_and_max", exchange="layer"),
    CONTROL: _given("nodes"),
    f"{CONTROL}, exchange": _given("nodes", exchange="layer"),
    "one group": _given("one"),
    "random groups": _given("random"),
    "planted groups": _given("planted"),
    DEFAULT: _network(GMPool),
    "GMPool, exchange": _network(GMPool, exchange="layer"),
    "GMPool, exchange once": _network(GMPool, exchange="network"),
    "GMPool, M frozen": _network(frozen),
    "GMPool, no locality": _network(lambda width: GMPool(width, locality="none")),
    "GMPool, no features": _network(LocalityOnly),
    "NGMPool": _named("ngmpool"),
    "GMPool.paper": _network(GMPool.paper),
    "DiffPool": _named("diffpool"),
    "BN-Pool": _named("bnpool"),
    "SAGPool": _named("sagpool"),
    "HGP-SL's network, SAGPool": _example(HGPSLNetwork, "sagpool"),
    "HGP-SL's network, GMPool": _example(HGPSLNetwork, "gmpool"),
    "DiffPool's network, DiffPool": _example(DiffPoolNetwork, "diffpool"),
    "DiffPool's network, GMPool": _example(DiffPoolNetwork, "gmpool"),
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
    torch.manual_seed(job["seed"])
    model = METHODS[job["method"]]()
    fit(model, graphs[: budget.train], target[: budget.train, None], F.mse_loss, budget)
    test = target[budget.train :]
    error = outputs(model, graphs[budget.train :], budget.batch_size)[:, 0] - test
    locality = getattr(getattr(model, "pool", None), "locality", None)
    return {
        "r2": float(1 - error.square().mean() / test.var(correction=0).clamp(min=1e-6)),
        "time": None if locality is None else float(locality.time.detach()),
    }
