"""The terms on M that ``rank_weight`` and ``fragment_weight`` ask for."""

from __future__ import annotations

import math

import dgl
import pytest
import torch

from dgl_gmpool import GMPool, MoleculePredictor, NGMPool, collect_losses

SIZES = (5, 0, 1, 8, 3)


def graphs():
    return dgl.batch(
        [dgl.rand_graph(n, 2 * n) if n > 1 else dgl.graph(([], []), num_nodes=n) for n in SIZES]
    )


@pytest.mark.parametrize("kind", [GMPool, NGMPool])
@pytest.mark.parametrize("similarity", ["linear", "cauchy"])
@pytest.mark.parametrize("locality", ["diffusion", "none"])
def test_it_is_the_participation_ratio_of_the_eigenvalues(kind, similarity, locality):
    torch.manual_seed(0)
    graph, x = graphs(), torch.randn(sum(SIZES), 4, dtype=torch.float64)
    pool = kind(4, similarity=similarity, locality=locality, rank_weight=0.3).eval()
    shares = []
    for matrix in pool.grouping_matrices(graph, x):
        if len(matrix):
            values = torch.linalg.eigvalsh(matrix)
            shares.append(values.sum() ** 2 / values.square().sum() / len(matrix))
    expected = 0.3 * torch.stack(shares).mean()
    with collect_losses() as losses:
        pool(graph, x)
    assert list(losses) == [f"{kind.__name__} rank"]
    torch.testing.assert_close(losses[f"{kind.__name__} rank"], expected)
    torch.testing.assert_close(pool.coarsen(graph, x).losses["rank"], expected)


def test_equation_7_gives_the_share_of_groups():
    x = torch.tensor([[0.0], [0.0], [100.0], [100.0]], dtype=torch.float64)
    pool = GMPool.paper(1, similarity="gaussian", rank_weight=1.0)
    with collect_losses() as losses:
        pool(dgl.graph(([], []), num_nodes=4), x)
    assert losses["GMPool rank"].item() == pytest.approx(2 / 4)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("face", ["readout", "coarsen"])
def test_descent_moves_the_number_of_groups_the_way_it_says(sign, face):
    torch.manual_seed(1)
    graph, x = graphs(), torch.randn(sum(SIZES), 4)
    pool = GMPool.paper(4, similarity="cauchy", decomposition="cholesky", rank_weight=0.5 * sign)
    before = pool.spectrum(graph, x).effective_rank.sum()
    optimizer = torch.optim.SGD(pool.parameters(), lr=1.0)
    for _ in range(20):
        optimizer.zero_grad()
        with collect_losses() as losses:
            pool(graph, x) if face == "readout" else pool.coarsen(graph, x)
        losses["GMPool rank"].backward()
        optimizer.step()
    after = pool.spectrum(graph, x).effective_rank.sum()
    assert sign * (before - after) > 0.1


def test_the_predictor_passes_it_on_and_zero_is_no_term():
    graph, x = graphs(), torch.randn(sum(SIZES), 4)
    edges = torch.randn(graph.num_edges(), 3)
    model = MoleculePredictor(4, 3, hidden_feats=8, readout_options={"rank_weight": 0.1})
    with collect_losses() as losses:
        model(graph, x, edges)
    assert list(losses) == ["GMPool rank"]
    losses["GMPool rank"].backward()
    assert model.poolings[0].grouping.weight.grad.abs().sum() > 0
    two = MoleculePredictor(4, 3, hidden_feats=8, levels=2, readout_options={"rank_weight": 0.1})
    with collect_losses() as losses:
        two(graph, x, edges)
    assert list(losses) == ["GMPool rank", "GMPool rank (2)"]
    plain = MoleculePredictor(4, 3, hidden_feats=8)
    with collect_losses() as losses:
        plain(graph, x, edges)
    assert losses == {}


def test_a_batch_without_nodes_has_no_term():
    pool = GMPool(4, rank_weight=1.0)
    with collect_losses() as losses:
        pool(dgl.batch([dgl.graph(([], []), num_nodes=0)]), torch.zeros(0, 4))
    assert losses == {}


@pytest.mark.parametrize(
    "options",
    [
        {"rank_weight": "1"},
        {"rank_weight": float("nan")},
    ],
)
def test_wrong_values_are_named(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name} is {value!r}"):
        GMPool(4, **options)


def test_it_needs_the_whole_matrix():
    with pytest.raises(ValueError, match=r"rank_weight=1\.0 needs the whole M"):
        GMPool.paper(
            4, similarity="cauchy", decomposition="cholesky", max_clusters=4, rank_weight=1.0
        )


# Fragments. ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GMPool, NGMPool])
def test_it_is_the_cross_entropy_of_pairs_in_one_fragment(kind):
    torch.manual_seed(0)
    graph, x = graphs(), torch.randn(sum(SIZES), 4, dtype=torch.float64)
    fragment = torch.randint(3, (sum(SIZES),))
    graph.ndata["fragment"] = fragment
    pool = kind(4, fragment_weight=0.7).double().eval()
    matrices, parts = pool.grouping_matrices(graph, x), []
    for matrix, own in zip(matrices, fragment.split(SIZES)):
        total, n = 0.0, len(own)
        for i in range(n):
            for j in range(i + 1, n):
                m = min(max(matrix[i, j].item(), 1e-6), 1 - 1e-6)
                total -= math.log(m) if own[i] == own[j] else math.log(1 - m)
        if n:
            parts.append(total / max(n * (n - 1) / 2, 1))
    with collect_losses() as losses:
        pool(graph, x)
    (found,) = losses.values()
    assert found.item() == pytest.approx(0.7 * sum(parts) / len(parts), rel=1e-9)
    found.backward()
    assert all(torch.isfinite(p.grad).all() for p in pool.parameters() if p.grad is not None)
    graph.ndata["fragment"] = fragment[:, None].int()  # a column, another integer type
    torch.testing.assert_close(pool.coarsen(graph, x).losses["fragment"], found)
    for odd in (fragment[:, None].expand(-1, 2), fragment.double()):
        graph.ndata["fragment"] = odd
        with pytest.raises(ValueError, match="give an integer for each of the"):
            pool.coarsen(graph, x)


def test_descent_draws_the_matrix_to_the_fragments():
    torch.manual_seed(0)
    graph, x = dgl.to_bidirected(dgl.rand_graph(12, 20)), torch.randn(12, 4)
    graph.ndata["fragment"] = torch.arange(12) // 4
    pool = GMPool(4, fragment_weight=1.0).eval()
    optimizer, seen = torch.optim.Adam(pool.parameters(), lr=0.1), []
    for _ in range(20):
        with collect_losses() as losses:
            pool(graph, x)
        optimizer.zero_grad()
        losses["GMPool fragment"].backward()
        optimizer.step()
        seen.append(losses["GMPool fragment"].item())
    assert seen[-1] < seen[0] - 0.01


@pytest.mark.parametrize("face", ["readout", "coarsen"])
def test_missing_fragments_are_asked_for(face):
    pool = GMPool(4, fragment_weight=0.5)
    run = pool if face == "readout" else pool.coarsen
    with pytest.raises(ValueError, match=r"needs graph.ndata\['fragment'\].*brics_fragments"):
        run(graphs(), torch.randn(sum(SIZES), 4))
    # To predict needs none, with or without torch.no_grad().
    pool.eval()
    assert run(graphs(), torch.randn(sum(SIZES), 4)) is not None
