"""Molecules: what does M join, where nobody said which atoms belong together?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import dgl
import numpy as np
import torch
from rdkit import Chem
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_gmpool import GMPool, MoleculePredictor
from dgl_gmpool.data import (
    MoleculeTable,
    atom_order,
    featurize,
    load_chromophores,
    load_sodium_channel,
    load_tox21,
)
from dgl_gmpool.data.featurizers import conductance_start
from dgl_gmpool.data.fragments import brics_fragments, ring_systems
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.scores import scores
from experiments.planted.controls import FeaturesOnly, LocalityOnly
from experiments.planted.measures import (
    Found,
    as_in_training,
    compare,
    found_groups,
    mean,
    pair_auc,
)
from experiments.planted.networks import Budget, batches, fit, outputs

BUDGET = Budget(train=800, test=200, epochs=10, lr=1e-3, batch_size=80)
QUICK = Budget(train=12, test=6, epochs=1, lr=1e-3, batch_size=6)

#: The set that needs no file.
OFFLINE = "sodium_channel"

#: What each kind of bond adds to how well it conducts: nothing, or what training starts with (of
#: the 12 features of DGL-LifeSci's CanonicalBondFeaturizer).
CONDUCTANCE = {"alike": None, "prior": conductance_start(12)}

#: What stands for M: both halves, or one of them.
MATRICES = ("features and locality", "features", "locality")


def jobs(
    seeds: int, quick: bool = False, files: Mapping[str, Path | None] | None = None
) -> Iterator[dict[str, Any]]:
    """The trainings, one for each data set and start of the conductances; ``files`` has the paths
    of ``"tox21"`` and ``"chromophores"``, where they are wanted."""
    named = [name for name, path in (files or {}).items() if path is not None]
    for seed in range(seeds):
        for data in (OFFLINE, *named):
            for conductance in CONDUCTANCE:
                yield {
                    "part": "molecules",
                    "data": data,
                    "conductance": conductance,
                    "seed": seed,
                    "quick": quick,
                }


def load(data: str, path: Path | None) -> MoleculeTable:
    """The table of that name."""
    if data == OFFLINE:
        return load_sodium_channel()
    if path is None:
        raise ValueError(f"molecules of {data} need a file; give --{data} CSV")
    if data == "tox21":
        return load_tox21(path)
    return load_chromophores(path, target="emission_film")


class OnGraphs(nn.Module):
    """A predictor that takes its features from the graph, as :func:`fit` calls it."""

    def __init__(self, predictor: MoleculePredictor) -> None:
        super().__init__()
        self.predictor = predictor

    @property
    def pool(self) -> GMPool:
        """The readout."""
        return cast(GMPool, self.predictor.poolings[-1])

    def forward(self, graph: dgl.DGLGraph) -> Tensor:
        return self.predictor(graph, graph.ndata["h"], graph.edata["e"])


@cache
def graphs_of(
    data: str, path: Path | None, count: int, seed: int
) -> tuple[list[dgl.DGLGraph], Tensor, str]:
    """``count`` molecules drawn at random, no two alike, with ``ndata`` ``"fragment"`` and
    ``"ring"``; their targets ``(graphs, 1)``; and the kind of the task."""
    table = load(data, path)
    measured = np.flatnonzero(np.isfinite(table.targets[:, 0]))
    first = {table.canonical[row]: row for row in measured[::-1]}
    rows = np.random.default_rng([seed, 77]).permutation(sorted(first.values()))[:count]
    dataset = featurize(table.take(rows.tolist()), progress=False)
    graphs = list(dataset.graphs)
    for smiles, graph in zip(dataset.table.smiles, graphs):
        mol, order = Chem.MolFromSmiles(smiles), atom_order(smiles)
        graph.ndata["fragment"] = torch.from_numpy(brics_fragments(mol)[order])
        graph.ndata["ring"] = torch.from_numpy(ring_systems(mol)[order])
    return graphs, torch.from_numpy(dataset.table.targets), dataset.table.kind


def half_of(pool: GMPool, what: str) -> GMPool:
    """The pooling with both halves of M, or with one of them, and the same parameters."""
    if what == "features and locality":
        return pool
    if what == "features":
        half: GMPool = FeaturesOnly(pool.in_feats)
    else:
        half = LocalityOnly(pool.in_feats)
    half.load_state_dict(pool.state_dict(), strict=False)
    half.eval().grouping.norm.train(pool.grouping.norm.training)
    return half


@torch.no_grad()
def found(model: OnGraphs, graphs: list[dgl.DGLGraph], size: int) -> dict[str, list[Found]]:
    """What M and its halves make of each molecule."""
    pool = model.pool
    seen: list[tuple[Tensor, dict[str, Any]]] = []

    def look(_: nn.Module, given: tuple[Any, ...], options: dict[str, Any]) -> None:
        seen.append((given[1], options))

    hook = pool.register_forward_pre_hook(look, with_kwargs=True)
    made: dict[str, list[Found]] = {what: [] for what in MATRICES}
    for batch in batches(graphs, size):
        model(batch)
        feat, options = seen.pop()
        for what in MATRICES:
            half = half_of(pool, what)
            made[what] += found_groups(half, batch, feat, options.get("conductance"))
    hook.remove()
    return made


def figures(found: list[Found], graphs: list[dgl.DGLGraph]) -> dict[str, Any]:
    """M against BRICS fragments and ring systems."""
    rings = [graph.ndata["ring"].numpy() for graph in graphs]
    return {
        "fragment": compare(found, [graph.ndata["fragment"].numpy() for graph in graphs]),
        "rings": {"auc": mean([pair_auc(f.matrix, ring) for f, ring in zip(found, rings)])},
    }


def run(job: dict[str, Any], files: Mapping[str, Path | None] | None = None) -> dict[str, Any]:
    """Train the default predictor on the molecules' own target; the figures before and after."""
    budget = QUICK if job["quick"] else BUDGET
    path = (files or {}).get(job["data"])
    graphs, targets, kind = graphs_of(job["data"], path, budget.train + budget.test, job["seed"])
    train, test = graphs[: -budget.test], graphs[-budget.test :]
    own = targets[: len(train)]
    loss: Callable[[Tensor, Tensor], Tensor] = F.binary_cross_entropy_with_logits
    if kind == "regression":
        targets, loss = (targets - own.mean()) / own.std().clamp(min=1e-6), F.mse_loss
    torch.manual_seed(job["seed"])
    model = OnGraphs(
        MoleculePredictor(
            graphs[0].ndata["h"].shape[1],
            graphs[0].edata["e"].shape[1],
            conductance_start=CONDUCTANCE[job["conductance"]],
        )
    )
    before = found(as_in_training(copy.deepcopy(model)), test, budget.batch_size)
    fit(model, train, targets[: len(train)], loss, budget)
    after = found(model, test, budget.batch_size)
    predicted = outputs(model, test, budget.batch_size)
    measured = scores(kind, targets[len(train) :].numpy(), predicted.numpy())
    name = choose_metric(kind).name
    return {
        "before": {what: figures(each, test) for what, each in before.items()},
        "after": {what: figures(each, test) for what, each in after.items()},
        "time": None if model.pool.locality is None else float(model.pool.locality.time.detach()),
        "metric": name,
        "score": float(measured[name]),
    }
