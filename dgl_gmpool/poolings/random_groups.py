"""A control: atoms in random groups."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_gmpool._options import positive_int
from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.pooling import Pooling

#: Rounds in which a node's number takes in its neighbours': how far it sees.
ROUNDS = 16

#: Odd constants of splitmix64 (Steele, Lea and Flood, 2014), as signed 64-bit integers.
_GOLDEN = -7046029254386353131
_FIRST = -4658895280553007687
_SECOND = -7723592293110705685


class RandomPool(Pooling):
    """Groups drawn at random: what a learned grouping has to beat.

    Like :class:`DiffPool`, but S is drawn and not learned: each node is in one of ``num_clusters``
    groups (of as many as there are nodes, in smaller graphs), X' = S' X, A' = S' A S.

    The draw is a function of the molecule, so that evaluation repeats to the bit and neither atom
    order nor the rest of the batch matters: every node gets a 64-bit number that hashes its
    surroundings in the graph, as Weisfeiler and Leman refine colours, and the seed; the number
    picks the group. It is computed in integers from the edges alone. Hashing the features instead
    would not do: they carry rounding errors, which a hash turns into another group, and they
    change with every training step. Nodes that the hash cannot tell apart, symmetry-equivalent
    atoms above all, share a group; groups that stay empty are left out.

    Nothing is learned. Take the mean over several seeds.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    num_clusters : int, optional
        Number of groups. Default 10, the paper's pooling size.
    seed : int, optional
        Another seed, another grouping. Default 0.
    aggregate : str, optional
        How the readout reduces the groups. Default ``"max"``. A sum over groups does not depend
        on the grouping at all, a mean on the number of groups only.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1]))
    >>> pool = RandomPool(4, num_clusters=3)
    >>> pool.coarsen(g, torch.randn(3, 4)).num_clusters.tolist()  # the two ends share a group
    [2]
    """

    shown = (*Pooling.shown, "num_clusters", "seed")

    def __init__(
        self,
        in_feats: int,
        *,
        num_clusters: int = 10,
        seed: int = 0,
        aggregate: str = "max",
    ) -> None:
        super().__init__(in_feats, aggregate=aggregate)
        self.num_clusters = positive_int("num_clusters", num_clusters)
        self.seed = positive_int("seed", seed, least=0)
        if self.seed >= 2**63:
            raise ValueError(f"seed is {seed!r}; give an integer >= 0 of at most 63 bits")

    def assign(self, batch: GraphBatch) -> Assignment:
        owner = batch.segments.owner
        groups = batch.counts.clamp(min=1, max=self.num_clusters)[owner]
        number = structure_hash(batch, self.seed) & (2**62 - 1)
        # One coarse node for each pair of graph and group that occurs, in this order.
        key = owner * self.num_clusters + number % groups
        pairs, index = torch.unique(key, return_inverse=True)
        columns = torch.bincount(pairs // self.num_clusters, minlength=len(batch))
        column = index - (columns.cumsum(0) - columns)[owner]
        rows = batch.feat.new_zeros(len(owner), self.num_clusters)
        rows = rows.scatter(1, column[:, None], 1.0)
        return Assignment.from_rows(batch.layout, rows, columns=columns)


def structure_hash(batch: GraphBatch, seed: int = 0) -> Tensor:
    """A 64-bit number for each node that depends on its surroundings in the graph and the seed.

    Shape ``(N,)``, int64. Equal for nodes that a symmetry of the graph exchanges.
    """
    source, destination = batch.edges
    number = torch.full_like(batch.segments.owner, seed)
    for _ in range(ROUNDS):
        mixed = _mix(number)
        # A sum in integers that wrap around does not depend on the order of the terms.
        number = (mixed * 3).index_add(0, destination, _mix(mixed)[source])
    return _mix(number)


def _mix(number: Tensor) -> Tensor:
    """The finaliser of splitmix64: every bit of the result depends on every bit of the input."""
    number = number + _GOLDEN
    number = (number ^ _shift(number, 30)) * _FIRST
    number = (number ^ _shift(number, 27)) * _SECOND
    return number ^ _shift(number, 31)


def _shift(number: Tensor, bits: int) -> Tensor:
    """A shift to the right that fills with zeros; torch's fills with the sign."""
    return (number >> bits) & (2 ** (64 - bits) - 1)
