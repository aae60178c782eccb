"""Controls: the default readout with groups that nobody learned, or with none.

A claim that grouping helps has to beat them, not the plain mean and maximum alone.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from unittest.mock import patch

import dgl
import networkx as nx
import numpy as np
import torch
from torch import Tensor

from dgl_gmpool import GMPool
from dgl_gmpool._names import FRAGMENT
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.distance import compute_dtype
from dgl_gmpool.nn.locality import Diffusion, Heat
from dgl_gmpool.nn.structure import GraphStructure
from dgl_gmpool.poolings.random_groups import structure_hash
from dgl_gmpool.registry import BUILT_IN

#: Atoms of a group drawn at random: a BRICS fragment of a Tox21 molecule has 5.3.
RANDOM_GROUP = 5


class GivenGroups(GMPool):
    """GMPool's readout with an M that is given: 1 within a group, 0 between groups."""

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats, locality="none", feature_norm="none")

    def group_numbers(self, batch: GraphBatch) -> Tensor:
        """The number of each node's group within its graph. Shape ``(N,)``, int64."""
        raise NotImplementedError

    def matrices(self, batch: GraphBatch) -> list[Tensor]:
        found = []
        numbers = batch.layout.blocks(self.group_numbers(batch)[:, None])
        for bucket, number in zip(batch.layout.buckets, numbers):
            same = (number == number.mT) & bucket.mask[:, :, None] & bucket.mask[:, None, :]
            found.append(same.to(compute_dtype(batch.feat.device)))
        return found


class NoGroups(GivenGroups):
    """phi: every atom its own group, M = I. The readout's network without grouping."""

    def group_numbers(self, batch: GraphBatch) -> Tensor:
        return torch.arange(len(batch.feat), device=batch.feat.device)


class OneGroup(GivenGroups):
    """All atoms one group, M = 1."""

    def group_numbers(self, batch: GraphBatch) -> Tensor:
        return torch.zeros(len(batch.feat), dtype=torch.int64, device=batch.feat.device)


class RandomGroups(GivenGroups):
    """As many groups as a molecule has fragments on average, drawn at random once and for all."""

    def group_numbers(self, batch: GraphBatch) -> Tensor:
        groups = (batch.counts // RANDOM_GROUP).clamp(min=1)[batch.segments.owner]
        return (structure_hash(batch) & (2**62 - 1)) % groups


class BricsGroups(GivenGroups):
    """BRICS fragments: what a chemist would cut."""

    def group_numbers(self, batch: GraphBatch) -> Tensor:
        return batch.graph.ndata[FRAGMENT].to(batch.feat.device).reshape(-1)


class FrozenDiffusion(Diffusion):
    """A diffusion that stays as it started, its conductances too."""

    @torch.no_grad()
    def forward(self, batch: GraphBatch, dtype: torch.dtype | None = None) -> list[Heat]:
        return super().forward(batch, dtype)


class FrozenGrouping(GMPool):
    """GMPool, with its exchange, whose M has nothing to learn; the network before it still moves
    the features that M compares."""

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats)
        self.locality = FrozenDiffusion()
        for part in (self.grouping, self.locality):
            part.requires_grad_(False)


class RandomGraphDiffusion(Diffusion):
    """The diffusion of another graph: every atom keeps its number of bonds, every bond its
    conductance, but who is bonded to whom is drawn at random, once for each molecule."""

    def forward(self, batch: GraphBatch, dtype: torch.dtype | None = None) -> list[Heat]:
        structure = batch.structure
        other = structure.__dict__.get("rewired")
        if other is None:
            other = GraphStructure(rewired(structure), structure.device, structure.host_counts)
            other.shared = structure.shared
            structure.__dict__["rewired"] = other
        given = batch.given_conductance
        return super().forward(
            GraphBatch(
                other, batch.feat, width=batch.feat.shape[1], dtype=batch.feat.dtype,
                conductance=given,
            ),
            dtype,
        )  # fmt: skip


class RandomGraphGrouping(GMPool):
    """GMPool, with its exchange, whose groups are local on a random graph of equal degrees."""

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats)
        self.locality = RandomGraphDiffusion()


def rewired(structure: GraphStructure) -> dgl.DGLGraph:
    """The graphs of a batch with bonds swapped at random, edge for edge in the same order."""
    source, destination = structure.host_edges
    counts = structure.host_counts.numpy()
    first = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(len(counts)), counts)[source]
    ends = np.stack([source, destination])
    for graph, start in enumerate(first):
        members = np.flatnonzero(owner == graph)
        local = (ends[:, members] - start).astype(np.int64)
        swapped = np.frombuffer(_swapped(local.tobytes(), int(counts[graph])), np.int64)
        ends[:, members] = swapped.reshape(2, -1) + start
    number = int(counts.sum())
    return dgl.graph((torch.from_numpy(ends[0]), torch.from_numpy(ends[1])), num_nodes=number)


@lru_cache(maxsize=200_000)
def _swapped(edges: bytes, nodes: int) -> bytes:
    """Both ends of each edge after 10 swaps a bond; as they were where no swap is possible."""
    local = np.frombuffer(edges, np.int64).reshape(2, -1)
    low, high = local.min(0), local.max(0)
    bonds, which = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    graph = nx.Graph([(int(a), int(b)) for a, b in bonds.T if a != b])
    graph.add_nodes_from(range(nodes))
    wanted = 10 * graph.number_of_edges()
    # Raises where there are fewer than two bonds, or too few that can be swapped.
    with suppress(nx.NetworkXException):
        nx.double_edge_swap(graph, wanted, max_tries=100 * wanted, seed=nodes)
    pairs = np.array([bond for bond in bonds.T if bond[0] == bond[1]], np.int64).reshape(-1, 2)
    new = np.array(sorted(tuple(sorted(edge)) for edge in graph.edges), np.int64).reshape(-1, 2)
    is_loop = bonds[0] == bonds[1]
    found = np.empty_like(bonds)
    found[:, is_loop], found[:, ~is_loop] = pairs.T, new.T
    moved = found[:, which.reshape(-1)]
    return np.where(local[0] <= local[1], moved, moved[::-1]).astype(np.int64).tobytes()


#: Readouts by name, known inside ``with control_readouts():`` only.
CONTROLS = {
    "phi": "NoGroups",
    "one_group": "OneGroup",
    "random_groups": "RandomGroups",
    "brics": "BricsGroups",
    "frozen": "FrozenGrouping",
    "random_graph": "RandomGraphGrouping",
}


def control_readouts() -> patch.dict:
    """A context in which ``get_readout`` knows the controls, as configurations need it.

    Examples
    --------
    >>> from dgl_gmpool import get_readout
    >>> with control_readouts():
    ...     get_readout("phi", in_feats=8).out_feats
    40
    """
    return patch.dict(BUILT_IN, {name: f"{__name__}:{made}" for name, made in CONTROLS.items()})
