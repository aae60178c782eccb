"""Poolings that keep the nodes with the highest scores, and drop the others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dgl_gmpool._options import positive_int
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.counting import Spectrum
from dgl_gmpool.nn.pooled_graph import PooledGraph
from dgl_gmpool.nn.pooling import Pooling
from dgl_gmpool.nn.readout import Reading
from dgl_gmpool.nn.segments import Segments, reduce
from dgl_gmpool.nn.structure import batched_graph

#: Scores nearer than this, relative to the graph's largest, count as equal. Rounding moves the
#: scores of equivalent atoms apart by about 1e-6 of it.
TIE = 1e-4


@dataclass(frozen=True)
class SelectionOrigin:
    """Coarse nodes that are original ones: S has one 1 in every column."""

    nodes: Tensor
    counts: Tensor
    num_nodes: int
    dtype: torch.dtype

    def lift(self, feat: Tensor, inverse: bool) -> Tensor:
        return feat.new_zeros(self.num_nodes, feat.shape[1]).index_copy(0, self.nodes, feat)

    def spectrum(self) -> Spectrum:
        # All eigenvalues of S'S are 1.
        rank = self.counts.to(torch.promote_types(self.dtype, torch.float32))
        return Spectrum(self.counts, rank, rank, torch.zeros_like(rank))


class SelectionPooling(Pooling):
    """Base class: keep the best nodes of each graph, gated by their score.

    With s the scores and I the nodes kept, X' = X[I] * tanh(s[I]), A' = A[I, I], E' = E[I, I].

    Kept are the ``num_clusters`` best nodes, all nodes of a smaller graph, and **every node that
    ties with the last of them**. Three of four drug-like molecules have symmetry-equivalent atoms,
    whose scores are equal. To keep exactly k of them is to pick by atom order, so that renumbering
    a molecule changes its prediction; PyTorch Geometric's poolings do that.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    num_clusters : int, optional
        How many nodes to keep. Default 10, the paper's pooling size.
    ratio : float, optional
        Share of the nodes to keep, in (0, 1], instead of a fixed number: ceil(ratio * n).
    aggregate : str, optional
        How the readout reduces the nodes kept. Default ``"mean"``.
    """

    shown = (*Pooling.shown, "num_clusters", "ratio")

    def __init__(
        self,
        in_feats: int,
        *,
        num_clusters: int = 10,
        ratio: float | None = None,
        aggregate: str = "mean",
    ) -> None:
        super().__init__(in_feats, aggregate=aggregate)
        self.num_clusters = positive_int("num_clusters", num_clusters)
        self.ratio = check_ratio(ratio)

    def score(self, batch: GraphBatch) -> Tensor:
        """Scores before tanh. Shape ``(N,)``."""
        raise NotImplementedError

    def select(self, batch: GraphBatch) -> tuple[Tensor, Tensor, Tensor]:
        """The nodes kept ``(K,)``, how many of each graph ``(B,)``, their gates ``(K,)``."""
        score = self.score(batch)
        # Ranked before tanh, which maps all large scores to 1.
        kept = select_top(
            score, batch.segments, how_many(batch.counts, self.num_clusters, self.ratio)
        )
        nodes = kept.nonzero().squeeze(1)
        counts = torch.bincount(batch.segments.owner[nodes], minlength=len(batch))
        return nodes, counts, score[nodes].tanh()

    def read(self, batch: GraphBatch) -> Reading:
        nodes, counts, gate = self.select(batch)
        out, share = reduce(batch.feat[nodes] * gate[:, None], Segments(counts), self.aggregate)
        weight = batch.feat.new_zeros(batch.feat.shape[0]).index_copy(0, nodes, gate * share)
        return Reading(out, [weight[:, None]])

    def pool(self, batch: GraphBatch, edge_feat: Tensor | None, dtype: torch.dtype) -> PooledGraph:
        nodes, counts, gate = self.select(batch)
        place = torch.full_like(batch.segments.owner, -1)
        place[nodes] = torch.arange(len(nodes), device=place.device)
        source, destination = (place[ends] for ends in batch.edges)
        edges = ((source >= 0) & (destination >= 0)).nonzero().squeeze(1)
        owner = batch.segments.owner[batch.edges[0][edges]]
        # Edges of a batch stand graph by graph, unless the graph was edited since.
        order = owner.argsort(stable=True)
        edges = edges[order]
        coarse = batched_graph(
            source[edges],
            destination[edges],
            counts,
            torch.bincount(owner, minlength=len(batch)),
            like=batch.graph,
        )
        return PooledGraph(
            graph=coarse,
            feat=(batch.feat[nodes] * gate[:, None]).to(dtype),
            edge_weight=batch.edge_weight[edges].to(dtype),
            edge_feat=None if edge_feat is None else edge_feat[edges].to(dtype),
            origin=SelectionOrigin(nodes, counts, batch.feat.shape[0], dtype),
        )


def check_ratio(ratio: float | None) -> float | None:
    """Return a share of the nodes to keep if it is None or in (0, 1]."""
    if ratio is not None and not (isinstance(ratio, (int, float)) and 0 < ratio <= 1):
        raise ValueError(
            f"ratio is {ratio!r}; give a share in (0, 1], or num_clusters= for a number of nodes"
        )
    return ratio


def how_many(counts: Tensor, num_clusters: int, ratio: float | None) -> Tensor:
    """How many nodes of each graph to keep, ``(B,)``.

    Examples
    --------
    >>> how_many(torch.tensor([7, 30, 0]), 10, None).tolist()
    [7, 10, 0]
    >>> how_many(torch.tensor([7, 30, 0]), 10, 0.1).tolist()
    [1, 3, 0]
    """
    if ratio is None:
        return counts.clamp(max=num_clusters)
    # The small number keeps 0.1 * 30 = 3.0000000000000004 from becoming 4.
    return (counts.double() * ratio - 1e-9).ceil().to(torch.int64)


@torch.no_grad()
def select_top(score: Tensor, segments: Segments, keep: Tensor) -> Tensor:
    """The ``keep[b]`` best nodes of every graph b, and the nodes that tie with the last of them.

    Parameters
    ----------
    score : Tensor
        Shape ``(N,)``.
    segments : Segments
        Which node belongs to which graph.
    keep : Tensor
        At most the number of nodes, and at least 1 in graphs that have any. Shape ``(B,)``.

    Returns
    -------
    Tensor
        True where a node is kept. Shape ``(N,)``, bool.

    Examples
    --------
    >>> segments = Segments(torch.tensor([3, 0, 4]))
    >>> score = torch.tensor([.1, .9, .5, 2., 1., 1., 0.])
    >>> select_top(score, segments, torch.tensor([1, 0, 2])).tolist()
    [False, True, False, True, True, True, False]
    """
    if len(score) == 0:
        return torch.zeros_like(score, dtype=torch.bool)
    by_score = score.argsort(descending=True)
    order = by_score[segments.owner[by_score].argsort(stable=True)]
    start = segments.counts.cumsum(0) - segments.counts
    last = order[(start + keep - 1).clamp(min=0, max=len(score) - 1)]
    tolerance = TIE * segments.max(score.abs()[:, None])[:, 0]
    # Not below: NaN stays, so that it ends in the result and not in zeros.
    return ~(score < (score[last] - tolerance)[segments.owner])
