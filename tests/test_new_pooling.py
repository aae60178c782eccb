"""A pooling of one's own, written from CONTRIBUTING.md alone, meets the whole list."""

from __future__ import annotations

import pytest
import torch

from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.pooling import Pooling
from dgl_gmpool.testing import CONDITIONS, FACES


class DegreePool(Pooling):
    """One group for each number of neighbours, the last for all that have more."""

    def __init__(self, in_feats: int, *, most: int = 4, aggregate: str = "mean") -> None:
        super().__init__(in_feats, aggregate=aggregate)
        self.most = most

    def assign(self, batch: GraphBatch) -> Assignment:
        source, destination = batch.edges
        pairs = torch.stack([source, destination])[:, source != destination].unique(dim=1)
        degree = torch.bincount(pairs[0], minlength=len(batch.feat)).clamp(max=self.most)
        rows = torch.nn.functional.one_hot(degree, self.most + 1).to(batch.feat.dtype)
        return Assignment.from_rows(batch.layout, rows)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.name)
def test_condition(condition, face):
    condition.run(DegreePool, face)
