"""The term on the spectrum (rank_weight) and the scale of the initial weights."""

from __future__ import annotations

import copy
import io

import dgl
import pytest
import torch

from dgl_gmpool import GMPool, MoleculePredictor, NGMPool
from dgl_gmpool.nn.grouping import GroupingMatrix

SIZES = (5, 0, 1, 8, 3)


def graphs():
    return dgl.batch(
        [dgl.rand_graph(n, 2 * n) if n > 1 else dgl.graph(([], []), num_nodes=n) for n in SIZES]
    )


@pytest.mark.parametrize("kind", [GMPool, NGMPool])
@pytest.mark.parametrize("similarity", ["linear", "cauchy"])
def test_it_is_the_participation_ratio_of_the_eigenvalues(kind, similarity):
    torch.manual_seed(0)
    graph, x = graphs(), torch.randn(sum(SIZES), 4, dtype=torch.float64)
    pool = kind(4, similarity=similarity, rank_weight=0.3)
    pool(graph, x)
    shares = []
    for matrix in pool.grouping_matrices(graph, x):
        if len(matrix):
            values = torch.linalg.eigvalsh(matrix)
            shares.append(values.sum() ** 2 / values.square().sum() / len(matrix))
    pool(graph, x)
    assert list(pool.losses) == ["rank"]
    torch.testing.assert_close(pool.losses["rank"], 0.3 * torch.stack(shares).mean())


def test_equation_7_gives_the_share_of_groups():
    x = torch.tensor([[0.0], [0.0], [100.0], [100.0]], dtype=torch.float64)
    pool = GMPool(1, similarity="gaussian", rank_weight=1.0)
    pool(dgl.graph(([], []), num_nodes=4), x)
    assert pool.losses["rank"].item() == pytest.approx(2 / 4)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("face", ["readout", "coarsen"])
def test_descent_moves_the_number_of_groups_the_way_it_says(sign, face):
    torch.manual_seed(1)
    graph, x = graphs(), torch.randn(sum(SIZES), 4)
    pool = GMPool(4, similarity="cauchy", decomposition="cholesky", rank_weight=0.5 * sign)
    before = pool.spectrum(graph, x).effective_rank.sum()
    optimizer = torch.optim.SGD(pool.parameters(), lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        if face == "coarsen":
            losses = pool.coarsen(graph, x).losses
        else:
            pool(graph, x)
            losses = pool.losses
        losses["rank"].backward()
        optimizer.step()
    after = pool.spectrum(graph, x).effective_rank.sum()
    assert sign * (before - after) > 0.1


def test_the_predictor_passes_it_on_and_zero_is_no_term():
    graph, x = graphs(), torch.randn(sum(SIZES), 4)
    edges = torch.randn(graph.num_edges(), 3)
    model = MoleculePredictor(4, 3, hidden_feats=8, readout_options={"rank_weight": 0.1})
    model(graph, x, edges)
    assert list(model.losses) == ["level 1, rank"]
    plain = MoleculePredictor(4, 3, hidden_feats=8)
    plain(graph, x, edges)
    assert plain.losses == {}


def test_a_pooling_that_was_called_can_be_copied_and_saved():
    graph, x = graphs(), torch.randn(sum(SIZES), 4, requires_grad=True)
    pool = GMPool(4, rank_weight=1.0)
    pool(graph, x)
    assert copy.deepcopy(pool).losses == {}
    torch.save(pool.state_dict(), io.BytesIO())
    torch.save(pool, io.BytesIO())


def test_a_batch_without_nodes_has_no_term():
    pool = GMPool(4, rank_weight=1.0)
    pool(dgl.batch([dgl.graph(([], []), num_nodes=0)]), torch.zeros(0, 4))
    assert pool.losses == {}


def test_the_initial_scale_decides_how_many_groups_there_are_at_first():
    x = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(0))
    few, many = (GroupingMatrix(4, similarity="cauchy", init_scale=s)(x) for s in (1e-3, 1e3))
    assert few.min() > 0.9
    assert many.sum() < 9.5
    torch.manual_seed(0)
    narrow = GroupingMatrix(400, init_scale=0.1).weight
    assert 0.9 * 0.1 / 20 < narrow.abs().max() <= 0.1 / 20


def test_the_initial_bias_decides_how_many_groups_there_are_at_first():
    x = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(0))
    for similarity in ("linear", "cauchy"):
        pools = [NGMPool(4, similarity=similarity, init_bias=b) for b in (12.0, -12.0)]
        one, none = (pool.grouping(x) for pool in pools)
        assert one.min() > 0.99
        assert none.sum() < 9.5
        pools[0].reset_parameters()
        assert pools[0].grouping.bias.item() == 12.0
    with pytest.raises(ValueError, match="'gaussian' has no bias"):
        GMPool(4, similarity="gaussian", init_bias=0.0)


@pytest.mark.parametrize(
    "options",
    [
        {"rank_weight": "1"},
        {"rank_weight": float("nan")},
        {"init_scale": 0},
        {"init_scale": -1.0},
        {"init_bias": float("inf")},
    ],
)
def test_wrong_values_are_named(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name} is {value!r}"):
        GMPool(4, **options)


def test_it_needs_the_whole_matrix():
    with pytest.raises(ValueError, match=r"rank_weight=1\.0 needs the whole M"):
        GMPool(4, similarity="cauchy", decomposition="cholesky", max_clusters=4, rank_weight=1.0)
