"""The shortest code between two convolutions trains: ten epochs on the quickstart's molecules."""

from __future__ import annotations

import dgl
import pytest
import torch
from dgl.nn import GraphConv
from torch import nn

from dgl_gmpool import GMPool, get_readout
from dgl_gmpool.data import featurize, load_sodium_channel


class TwoLevels(nn.Module):
    """As in docs/plug-in.md."""

    def __init__(self, width, **options):
        super().__init__()
        self.first = GraphConv(width, 32, activation=torch.relu, allow_zero_in_degree=True)
        self.pool = GMPool(32, **options)
        self.second = GraphConv(32, 32, norm="none", allow_zero_in_degree=True)
        self.readout = get_readout("mean", in_feats=32)
        self.head = nn.Linear(32, 1)

    def forward(self, graph, atoms):
        coarse = self.pool.coarsen(graph, self.first(graph, atoms))
        states = self.second(coarse.graph, coarse.feat, edge_weight=coarse.conv_weight)
        return self.head(self.readout(coarse.graph, torch.relu(states)))


@pytest.fixture(scope="module")
def molecules():
    """250 of them: graphs, and standardised pIC50."""
    dataset = featurize(load_sodium_channel().take(range(0, 1000, 4)))
    target = torch.as_tensor(dataset.table.targets, dtype=torch.float32)
    return dataset.graphs, (target - target.mean()) / target.std()


@pytest.mark.slow
@pytest.mark.parametrize("decomposition", ["pivot", "cholesky"])
def test_below_the_mean_after_the_first_epoch(molecules, decomposition):
    graphs, target = molecules
    torch.manual_seed(0)
    model = TwoLevels(graphs[0].ndata["h"].shape[1], decomposition=decomposition)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    of_the_mean = float((target - target.mean()).square().mean())
    seen = []
    for _ in range(10):
        total = 0.0
        for rows in torch.randperm(len(graphs)).split(24):
            batch = dgl.batch([graphs[i] for i in rows.tolist()])
            loss = (model(batch, batch.ndata["h"]) - target[rows]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        seen.append(total / len(graphs))
    assert max(seen[1:]) < of_the_mean, seen
    assert seen[-1] < 0.9 * of_the_mean, seen
