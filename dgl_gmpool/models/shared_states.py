"""States of edges that must come out equal, computed once: for prediction on the CPU.

After t steps the state of an edge follows from the tree of what is around its source, t bonds deep
(and turned away from its target). The molecules of a batch have many such trees in common: of the
edges of 80 drug-like molecules about one in eight has a tree of depth 2 of its own, one in four
that of depth 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn


class Alike(NamedTuple):
    """Which of some rows are alike.

    Attributes
    ----------
    first : Tensor
        The first row of each kind. Shape ``(kinds,)``, int64.
    kind : Tensor
        The kind of each row. Shape ``(rows,)``, int64.
    """

    first: Tensor
    kind: Tensor

    @classmethod
    def of(cls, labels: np.ndarray) -> Alike:
        """Rows with equal labels ``(rows,)``."""
        _, first, kind = np.unique(labels, return_index=True, return_inverse=True)
        return cls(torch.from_numpy(first), torch.from_numpy(kind))

    @classmethod
    def rows(cls, feats: Tensor) -> Alike | None:
        """Equal rows of features; None where that cannot be told, as with NaN among them."""
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(feats.shape[1], generator=generator, dtype=torch.float64)
        found = cls.of((feats.double() @ weight).numpy())
        return found if torch.equal(feats[found.first][found.kind], feats) else None


class Trees:
    """The trees that the states of a message passing network follow from, ever deeper.

    A tree is known by a number of 64 bits, the sum of random ones that stand for its parts: that
    two of a million different trees are taken for one has a probability of 1e-7.

    Parameters
    ----------
    nodes, edges : Alike
        Kinds of the features.
    source, destination : Tensor
        Shape ``(E,)``, int64.
    reverse : Tensor
        The reverse of each edge, or -1. Shape ``(E,)``, int64.
    """

    def __init__(
        self, nodes: Alike, edges: Alike, source: Tensor, destination: Tensor, reverse: Tensor
    ) -> None:
        self._random = np.random.default_rng(0)
        self._source, self._reverse = source.numpy(), reverse.numpy()
        #: The edges that arrive at each node, one node after the other.
        self._arriving = np.argsort(destination.numpy(), kind="stable")
        self._counts = np.bincount(destination.numpy(), minlength=len(nodes.kind))
        self._starts = self._counts.cumsum() - self._counts
        self._nodes = self._labels(nodes)
        labels = self._labels(nodes)[self._source] + self._labels(edges)
        #: Of depth 0: the features of an edge and of its source.
        self.start = Alike.of(labels)
        self._start = self._labels(self.start)

    @classmethod
    def of(
        cls,
        node_feats: Tensor,
        edge_feats: Tensor,
        source: Tensor,
        destination: Tensor,
        reverse: Tensor,
    ) -> Trees | None:
        """Those of a batch; None where it cannot be told which features are equal."""
        nodes, edges = Alike.rows(node_feats), Alike.rows(edge_feats)
        if nodes is None or edges is None:
            return None
        return cls(nodes, edges, source, destination, reverse)

    def _labels(self, alike: Alike) -> np.ndarray:
        """A random number for each kind, ``(rows,)``."""
        drawn = self._random.integers(2**64, size=len(alike.first), dtype=np.uint64)
        found: np.ndarray = drawn[alike.kind.numpy()]
        return found

    def _sums(self, labels: np.ndarray) -> np.ndarray:
        """Of what arrives at each node, modulo 2^64."""
        total = np.concatenate([[np.uint64(0)], labels[self._arriving].cumsum()])
        found: np.ndarray = total[self._starts + self._counts] - total[self._starts]
        return found

    def deeper(self, trees: Alike) -> Alike:
        """Trees one step deeper than these."""
        labels = self._labels(trees)
        arrived = self._sums(labels)[self._source]
        return Alike.of(
            self._start + arrived - np.where(self._reverse < 0, 0, labels[self._reverse])
        )

    def of_nodes(self, trees: Alike) -> Alike:
        """Nodes with the same features at which the same of these trees arrive."""
        return Alike.of(self._nodes + self._sums(self._labels(trees)))

    def to_edges(self, states: Tensor, trees: Alike, edges: Tensor) -> Tensor:
        """For some edges, the sum of the states that arrive at their source, save for their own
        reverse; states are of the kinds of ``trees``."""
        which = edges.numpy()
        return self._summed(states, trees, self._source[which], self._reverse[which])

    def to_nodes(self, states: Tensor, trees: Alike, nodes: Tensor) -> Tensor:
        """For some nodes, the sum of the states that arrive."""
        which = nodes.numpy()
        return self._summed(states, trees, which, np.full(len(which), -1))

    def _summed(
        self, states: Tensor, trees: Alike, nodes: np.ndarray, without: np.ndarray
    ) -> Tensor:
        counts = self._counts[nodes]
        before = counts.cumsum() - counts
        places = np.arange(counts.sum()) + (self._starts[nodes] - before).repeat(counts)
        arriving, row = self._arriving[places], np.arange(len(nodes)).repeat(counts)
        kept = arriving != without[row]
        kind = trees.kind[torch.from_numpy(arriving[kept])]
        found = states.new_zeros(len(nodes), states.shape[1])
        return found.index_add_(0, torch.from_numpy(row[kept]), states.index_select(0, kind))


def may_share(module: nn.Module, feats: Tensor) -> bool:
    """Whether equal trees have equal states here (dropout makes them differ), and nobody asks for
    gradients. On other devices, to look for them makes the device wait."""
    return not module.training and not torch.is_grad_enabled() and feats.device.type == "cpu"


@contextmanager
def sharing_states(model: nn.Module) -> Iterator[None]:
    """Inside the block networks of a model that can share states of equal trees do so, where no
    gradient is asked for; their results differ by rounding, as with another batch."""
    able: list[Any] = [each for each in model.modules() if hasattr(each, "shares_states")]
    for each in able:
        each.shares_states = True
    try:
        yield
    finally:
        for each in able:
            each.shares_states = False
