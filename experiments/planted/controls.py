"""What the learned M is compared with: GMPool with an M that is given, or with half of its M."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_gmpool import GMPool
from dgl_gmpool._options import check_choice
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.distance import compute_dtype

#: See :class:`GivenGroups`.
GIVEN = ("nodes", "one", "random", "planted")


class GivenGroups(GMPool):
    """GMPool's readout with an M that is given and not learned.

    Parameters
    ----------
    in_feats : int
    given : str
        ``"nodes"``: every node a group, M = I; ``"one"``: all nodes one group, M = 1;
        ``"random"``: by ``graph.ndata["random"]``, ``"planted"``: by ``graph.ndata["group"]``, the
        number of each node's group within its graph.
    """

    def __init__(self, in_feats: int, *, given: str) -> None:
        super().__init__(in_feats, locality="none", feature_norm="none")
        self.given = check_choice("given", given, GIVEN)

    def matrices(self, batch: GraphBatch) -> list[Tensor]:
        rows = torch.arange(len(batch.feat))
        if self.given == "one":
            rows = torch.zeros_like(rows)
        elif self.given != "nodes":
            rows = batch.graph.ndata["group" if self.given == "planted" else "random"]
        found = []
        for bucket, number in zip(batch.layout.buckets, batch.layout.blocks(rows[:, None])):
            same = (number == number.mT) & bucket.mask[:, :, None] & bucket.mask[:, None, :]
            found.append(same.to(compute_dtype(batch.feat.device)))
        return found


class LocalityOnly(GMPool):
    """GMPool whose M is the kernel of the graph alone."""

    def matrices(self, batch: GraphBatch) -> list[Tensor]:
        assert self.locality is not None
        heat = self.locality(batch, compute_dtype(batch.feat.device))
        return [each.kernel for each in heat]


class FeaturesOnly(GMPool):
    """GMPool whose M is the similarity of features alone, averaged over near nodes as ever."""

    def matrices(self, batch: GraphBatch) -> list[Tensor]:
        assert self.locality is not None
        feat = self.grouping.norm(batch.feat)
        measure = self.grouping.measure(feat.device)
        found = []
        for bucket, block, heat in zip(
            batch.layout.buckets, batch.layout.blocks(feat), self.locality(batch, torch.float64)
        ):
            pair = bucket.mask[:, :, None] & bucket.mask[:, None, :]
            found.append(measure.within(heat.early.to(block.dtype) @ block) * pair)
        return found


def frozen(in_feats: int) -> GMPool:
    """GMPool whose M has no parameters to learn; the network before it still moves M."""
    pool = GMPool(in_feats)
    for part in (pool.grouping, pool.locality):
        if part is not None:
            part.requires_grad_(False)
    return pool
