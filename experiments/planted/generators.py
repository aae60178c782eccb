"""Graphs with planted groups: which nodes belong together is known.

Five families. Four for counting, of graphs whose groups are joined to a tree by single edges and
whose features are a noisy one-hot of the *kind* of group:

=============  =====================================================================  ============
family         a group                                                                graph
=============  =====================================================================  ============
``cliques``    a clique of 4-7 nodes                                                  8-42 nodes
``rings``      a ring of 3 nodes or more, each chord drawn with probability 1/2       24 nodes
``mixed``      a star of 5-8 nodes, a grid of 2 x 3 to 3 x 3, or a random tree of     10-54 nodes
               5-8 nodes that one edge closes to a ring; in half of the graphs one
               more edge joins two groups, as noise
``bodies``     a wheel, a caterpillar, a ring with one chord across or a spider of    10-54 nodes
               5-9 nodes, or a complete bipartite graph of 2-3 and 3-4
=============  =====================================================================  ============

The rules of locality were chosen on ``cliques``, ``rings`` and ``bodies``, not on ``mixed``.

And one for what groups are worth, :func:`two_kinds_in_rings`: graphs of 40 nodes in rings of 6-12,
four kinds of *nodes* at random, with targets that hang on what stands together in one ring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import dgl
import numpy as np
import torch
from numpy.random import Generator

#: Number of groups of a graph for counting: 2 to 6, all alike often.
FEWEST, MOST = 2, 6

#: Width of the features for counting: so many kinds of groups there are.
KINDS = 8

#: Kinds a graph draws from where they may repeat.
REPEATING = 3

#: Nodes of a graph of ``rings``, and of :func:`two_kinds_in_rings`.
RING_NODES, PAYING_NODES = 24, 40

#: How often each kind of node of :func:`two_kinds_in_rings` is drawn; the first two are rare.
SHARES = (0.07, 0.07, 0.43, 0.43)

Edges = list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class PlantedGraph:
    """A graph whose groups are known.

    Attributes
    ----------
    edges : numpy.ndarray
        Each undirected edge once, ``(edges, 2)`` int64, no loops, none twice.
    feat : numpy.ndarray
        Node features, ``(nodes, width)`` float32.
    group : numpy.ndarray
        Number of each node's group, 0 to k - 1, ``(nodes,)`` int64.
    targets : dict of str to float
        What can be asked of the graph.
    """

    edges: np.ndarray
    feat: np.ndarray
    group: np.ndarray
    targets: dict[str, float]

    @property
    def num_groups(self) -> int:
        """k."""
        return int(self.group.max()) + 1

    def to_dgl(self) -> dgl.DGLGraph:
        """Both directions of every edge and self-loops, as the recipes of DGL-LifeSci have it;
        ``ndata`` has the features ``"h"`` and the groups ``"group"``."""
        one, other = torch.from_numpy(self.edges).T
        ends = (torch.cat([one, other]), torch.cat([other, one]))
        graph = dgl.add_self_loop(dgl.graph(ends, num_nodes=len(self.group)))
        graph.ndata["h"] = torch.from_numpy(self.feat)
        graph.ndata["group"] = torch.from_numpy(self.group)
        return graph


def clique(nodes: int) -> Edges:
    """All pairs."""
    return list(combinations(range(nodes), 2))


def chorded_ring(nodes: int, rng: Generator) -> Edges:
    """A ring and each of its chords with probability 1/2."""
    ring = {tuple(sorted((i, (i + 1) % nodes))) for i in range(nodes)}
    return [pair for pair in combinations(range(nodes), 2) if pair in ring or rng.random() < 0.5]


def star(nodes: int) -> Edges:
    """Node 0 and all others."""
    return [(0, i) for i in range(1, nodes)]


def grid(rows: int, columns: int) -> Edges:
    """Neighbours on a rectangle."""
    number = np.arange(rows * columns).reshape(rows, columns)
    pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:])]
    return [(int(a), int(b)) for x, y in pairs for a, b in zip(x.ravel(), y.ravel())]


def unicyclic(nodes: int, rng: Generator) -> Edges:
    """A random tree, each node on an earlier one, and one more edge."""
    edges = [(int(rng.integers(i)), i) for i in range(1, nodes)]
    others = sorted(set(combinations(range(nodes), 2)) - set(edges))
    return [*edges, others[int(rng.integers(len(others)))]]


def wheel(nodes: int) -> Edges:
    """A ring and node 0, joined to all of it."""
    ring = nodes - 1
    return [*star(nodes), *((1 + i, 1 + (i + 1) % ring) for i in range(ring))]


def bipartite(one: int, other: int) -> Edges:
    """Each of ``one`` nodes with each of ``other``."""
    return [(i, one + j) for i in range(one) for j in range(other)]


def caterpillar(nodes: int, rng: Generator) -> Edges:
    """A path of half of the nodes, the others hanging on it."""
    spine = max(3, nodes // 2)
    path = [(i, i + 1) for i in range(spine - 1)]
    return path + [(int(rng.integers(spine)), i) for i in range(spine, nodes)]


def crossed_ring(nodes: int) -> Edges:
    """A ring and the chord across it."""
    return [*((i, (i + 1) % nodes) for i in range(nodes)), (0, nodes // 2)]


def spider(nodes: int) -> Edges:
    """Three legs that start at node 0."""
    return [(max(0, i - 3), i) for i in range(1, nodes)]


def _of_cliques(k: int, rng: Generator) -> list[tuple[int, Edges]]:
    return [(n, clique(n)) for n in rng.integers(4, 8, k).tolist()]


def _of_rings(k: int, rng: Generator) -> list[tuple[int, Edges]]:
    # All ways to share out what is left above 3 nodes a ring.
    spare = RING_NODES - 3 * k
    cuts = np.sort(rng.choice(np.arange(1, spare + k), k - 1, replace=False))
    sizes = np.diff(np.concatenate([[0], cuts, [spare + k]])) + 2
    return [(n, chorded_ring(n, rng)) for n in sizes.tolist()]


def _mixed(k: int, rng: Generator) -> list[tuple[int, Edges]]:
    found = []
    for shape in rng.integers(3, size=k):
        nodes = int(rng.integers(5, 9))
        if shape == 0:
            found.append((nodes, star(nodes)))
        elif shape == 1:
            rows, columns = ((2, 3), (2, 4), (3, 3))[int(rng.integers(3))]
            found.append((rows * columns, grid(rows, columns)))
        else:
            found.append((nodes, unicyclic(nodes, rng)))
    return found


def _bodies(k: int, rng: Generator) -> list[tuple[int, Edges]]:
    found: list[tuple[int, Edges]] = []
    for shape in rng.integers(5, size=k):
        nodes = int(rng.integers(5, 10))
        if shape == 0:
            found.append((nodes, wheel(nodes)))
        elif shape == 1:
            one, other = int(rng.integers(2, 4)), int(rng.integers(3, 5))
            found.append((one + other, bipartite(one, other)))
        elif shape == 2:
            found.append((nodes, caterpillar(nodes, rng)))
        elif shape == 3:
            nodes = max(nodes, 6)
            found.append((nodes, crossed_ring(nodes)))
        else:
            found.append((nodes, spider(nodes)))
    return found


#: The groups of a graph, as pairs of number of nodes and edges, of each family for counting.
FAMILIES: dict[str, Callable[[int, Generator], list[tuple[int, Edges]]]] = {
    "cliques": _of_cliques,
    "rings": _of_rings,
    "mixed": _mixed,
    "bodies": _bodies,
}


def joined(parts: list[tuple[int, Edges]], rng: Generator) -> tuple[np.ndarray, np.ndarray]:
    """Put groups into one graph: each is joined by one edge to a node of those before it.

    Returns
    -------
    numpy.ndarray
        Edges, ``(edges, 2)``.
    numpy.ndarray
        Group of each node, ``(nodes,)``.
    """
    edges: Edges = []
    start = 0
    for nodes, inside in parts:
        if start:
            edges.append((int(rng.integers(start)), start + int(rng.integers(nodes))))
        edges += [(a + start, b + start) for a, b in inside]
        start += nodes
    group = np.repeat(np.arange(len(parts)), [nodes for nodes, _ in parts])
    return np.array(edges, np.int64), group.astype(np.int64)


def counting_graph(
    family: str, rng: Generator, *, distinct: bool = False, noise: float = 0.2
) -> PlantedGraph:
    """A graph for counting.

    Parameters
    ----------
    family : str
        A key of :data:`FAMILIES`.
    rng : numpy.random.Generator
    distinct : bool, optional
        No two groups are of one kind. Otherwise each is one of three kinds, so that groups of one
        kind can be told apart by their place only.
    noise : float, optional
        Standard deviation of what is added to each feature.

    Returns
    -------
    PlantedGraph
        Targets ``k``, and ``control``, drawn from the same numbers without regard to the graph.
    """
    k = int(rng.integers(FEWEST, MOST + 1))
    edges, group = joined(FAMILIES[family](k, rng), rng)
    if family == "mixed" and rng.random() < 0.5:
        there = {tuple(sorted(pair)) for pair in edges.tolist()}
        free = [
            pair
            for pair in combinations(range(len(group)), 2)
            if group[pair[0]] != group[pair[1]] and pair not in there
        ]
        edges = np.concatenate([edges, [free[int(rng.integers(len(free)))]]])
    kinds = rng.permutation(KINDS)[:k] if distinct else rng.integers(REPEATING, size=k)
    feat = np.eye(KINDS, dtype=np.float32)[kinds[group]]
    feat += noise * rng.standard_normal(feat.shape, dtype=np.float32)
    control = float(rng.integers(FEWEST, MOST + 1))
    return PlantedGraph(edges, feat, group, {"k": float(k), "control": control})


def two_kinds_in_rings(rng: Generator) -> PlantedGraph:
    """A graph for what groups are worth.

    Returns
    -------
    PlantedGraph
        Features are the one-hot kinds of the nodes. Targets: ``rings_with_both``, the number of
        rings that hold both rare kinds, and ``largest_product``, the largest product of their two
        counts in one ring.
    """
    sizes: list[int] = []
    while (left := PAYING_NODES - sum(sizes)) > 0:
        # Such that what remains is nothing, or enough for a ring.
        sizes.append(int(rng.choice([n for n in range(6, 13) if left - n == 0 or left - n >= 6])))
    ring = [(n, [(i, (i + 1) % n) for i in range(n)]) for n in sizes]
    edges, group = joined(ring, rng)
    kind = rng.choice(len(SHARES), PAYING_NODES, p=SHARES)
    one, other = (np.bincount(group[kind == rare], minlength=len(sizes)) for rare in (0, 1))
    targets = {
        "rings_with_both": float(((one > 0) & (other > 0)).sum()),
        "largest_product": float((one * other).max()),
    }
    return PlantedGraph(edges, np.eye(len(SHARES), dtype=np.float32)[kind], group, targets)
