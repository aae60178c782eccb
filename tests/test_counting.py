"""How many groups: exact on disjoint groups of any number and size, and no node lost on the way."""

from __future__ import annotations

import dgl
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_gmpool import GMPool, NGMPool, get_readout
from dgl_gmpool.nn.counting import (
    OF_A_NODE,
    count_groups,
    soft_count,
    soft_count_of_root,
    spectrum,
)
from dgl_gmpool.poolings.gmpool import DECOMPOSITIONS

APART = {"similarity": "gaussian", "locality": "none", "feature_norm": "none", "aggregate": "mean"}


def kinds(sizes, width=1):
    """Nodes of these far kinds, shuffled: a graph without edges, features, the kind of each."""
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    owner = owner[torch.randperm(len(owner), generator=torch.Generator().manual_seed(0))]
    feat = 100.0 * owner[:, None].expand(-1, width).double()
    return dgl.graph(([], []), num_nodes=len(owner)), feat, owner


def blocks(*sizes):
    return torch.block_diag(*(torch.ones(k, k, dtype=torch.float64) for k in sizes))[None]


# The rule. -----------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(0, 20))
@settings(max_examples=50, deadline=None)
def test_disjoint_groups_and_padding(sizes, padding):
    matrix = torch.nn.functional.pad(blocks(*sizes), (0, padding, 0, padding))
    n = sum(sizes)
    mask = torch.arange(n + padding)[None] < n
    soft = soft_count(matrix, mask)
    found = spectrum(torch.linalg.eigvalsh(matrix), torch.tensor([n]), soft)
    assert found.num_clusters.tolist() == [len(sizes)]
    assert found.soft_count.item() == pytest.approx(len(sizes))
    share = np.array(sizes) / n
    assert found.effective_rank.item() == pytest.approx(np.exp(-(share * np.log(share)).sum()))
    assert found.negative_share.item() == pytest.approx(0, abs=1e-12)


def test_an_indefinite_matrix():
    values = torch.tensor([[-1.0, -0.5, 0.5, 2.0]], dtype=torch.float64)
    found = spectrum(values, torch.tensor([4]), torch.ones(1))
    assert found.negative_share.item() == pytest.approx(1.5 / 4)
    assert found.num_clusters.tolist() == [2]  # the line is at 0.7 / 4


@pytest.mark.parametrize("weight", [1.0, 0.3, 1e-9])
def test_a_node_weighs_what_the_diagonal_has(weight):
    """``linear`` has M_ii = sigmoid(b): the unit drops out."""
    values = weight * torch.tensor([[0.1, 0.69, 0.71, 2.5]])
    assert count_groups(values, torch.tensor([4])).tolist() == [2]


def test_no_rounding_decides_at_the_line():
    for wobble in (-1e-12, 0.0, 1e-12):
        values = torch.tensor([[OF_A_NODE + wobble, 1.3, 1.0]], dtype=torch.float64)
        assert count_groups(values, torch.tensor([3])).tolist() == [3]


def test_nothing_counts_for_one():
    found = spectrum(torch.zeros(1, 4), torch.tensor([4]), torch.zeros(1))
    assert found.num_clusters.tolist() == [1]
    assert torch.isfinite(found.effective_rank).all()


def test_the_soft_count_of_a_root_is_that_of_its_matrix():
    generator = torch.Generator().manual_seed(0)
    root = torch.rand(2, 7, 3, generator=generator, dtype=torch.float64)
    root[1, 5:] = 0  # in no group
    found = soft_count_of_root(root)
    for one, each in zip(root, found):
        matrix = one @ one.T
        total = sum(matrix[i, i] / matrix[i].sum() for i in range(7) if matrix[i, i] > 0)
        assert each.item() == pytest.approx(total.item())


def test_it_is_differentiable_and_exact_on_groups():
    matrix = blocks(3, 1, 2).requires_grad_()
    count = soft_count(matrix, torch.ones(1, 6, dtype=torch.bool))
    assert count.item() == pytest.approx(3)
    assert torch.autograd.gradcheck(
        lambda m: soft_count(m, torch.ones(1, 6, dtype=torch.bool)), (matrix,)
    )


# In the poolings. ----------------------------------------------------------------------------


def test_the_soft_count_as_a_loss():
    """What is read is a number; the matrices to read give the same with a gradient."""
    chains = [(torch.arange(n - 1), torch.arange(1, n)) for n in (5, 8)]
    graph = dgl.batch([dgl.to_bidirected(dgl.graph(chain)) for chain in chains])
    feat, pool = torch.randn(13, 4).double(), GMPool(4).double()
    matrices = pool.grouping_matrices(graph, feat)
    soft = torch.stack([(1 / matrix.sum(1)).sum() for matrix in matrices])
    for read in (pool.spectrum(graph, feat), pool.coarsen(graph, feat)):
        torch.testing.assert_close(read.soft_count, soft.detach())
        assert not read.soft_count.requires_grad
    soft.sum().backward()
    assert pool.grouping.weight.grad.abs().sum() > 0
    assert pool.locality.log_time.grad != 0


def every_pool(**options):
    for decomposition in DECOMPOSITIONS:
        yield GMPool(1, decomposition=decomposition, **{**APART, **options})
    yield NGMPool(1, **{**APART, **options})


@pytest.mark.parametrize("n", [1, 2, 3, 10, 69, 70, 71, 99, 100, 101, 143, 500])
def test_every_node_a_group_of_its_own(n):
    """B1: at a fixed share of the trace whole nodes were lost from 100 nodes on."""
    graph, feat, _ = kinds([1] * n)
    for pool in every_pool():
        coarse = pool.coarsen(graph, feat)
        assert coarse.num_clusters.tolist() == [n]
        assert coarse.graph.num_nodes() == n
        assert coarse.soft_count.item() == pytest.approx(n)
        torch.testing.assert_close(coarse.feat.sum(), feat.sum().to(coarse.feat.dtype))


@pytest.mark.parametrize("sizes", [(1, 499), (1, 1, 98), (250, 250), (3, 5, 1, 91), (7,), (1, 1)])
def test_one_node_beside_many(sizes):
    graph, feat, _ = kinds(sizes)
    for pool in every_pool():
        coarse = pool.coarsen(graph, feat)
        assert coarse.num_clusters.tolist() == [len(sizes)]
        if isinstance(pool, GMPool) and pool.decomposition != "sqrtm":
            assert coarse.graph.num_nodes() == len(sizes)
            lifted = coarse.lift(torch.eye(len(sizes), dtype=torch.float64)).abs()
            assert lifted.amax(1).min() > 0  # no node in no group


def test_every_size_up_to_500_by_pivots():
    sizes = [*range(1, 101), *range(120, 501, 95)]
    for n in sizes:
        assert count_groups(torch.ones(1, n).double(), torch.tensor([n])).tolist() == [n]
    members = [kinds([1] * n) for n in (1, 17, 100, 150)]
    graph, feat = dgl.batch([each[0] for each in members]), torch.cat([m[1] for m in members])
    found = GMPool(1, **APART).coarsen(graph, feat)
    assert found.num_clusters.tolist() == found.graph.batch_num_nodes().tolist()
    assert found.num_clusters.tolist() == [1, 17, 100, 150]


@pytest.mark.parametrize("cap", [4, 40, 600])
@pytest.mark.parametrize("normalize", [False, True])
def test_a_cap_counts_up_to_itself(cap, normalize):
    """300 nodes and more take the path without M."""
    options = {"decomposition": "cholesky", "max_clusters": cap, "normalize": normalize, **APART}
    pool = GMPool(1, **options)
    for sizes in ((1, 299), (100,) * 5, (1,) * 30 + (300,), (1,) * 300):
        graph, feat, _ = kinds(sizes)
        found = pool.coarsen(graph, feat)
        assert found.num_clusters.tolist() == [min(cap, len(sizes))]
        assert found.graph.num_nodes() == min(cap, len(sizes))
        assert found.soft_count.item() == pytest.approx(min(cap, len(sizes)))


@pytest.mark.parametrize("decomposition", DECOMPOSITIONS)
def test_forced_numbers(decomposition):
    graph, feat, _ = kinds((3, 2, 5, 1))
    for forced in (1, 3, 50):
        pool = GMPool(1, decomposition=decomposition, num_clusters=forced, **APART)
        expected = [min(forced, 4)]  # the rank: a fifth pivot would split nothing
        coarse = pool.coarsen(graph, feat)
        assert coarse.num_clusters.tolist() == expected
        assert len(pool.groups(graph, feat).unique()) == expected[0]
        if decomposition != "sqrtm":
            assert coarse.graph.num_nodes() == expected[0]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("sizes", [(1,) * 12, (3, 1, 5, 2, 1, 1), (40,) * 8, (9, 290, 1, 1, 5)])
def test_a_cap_names_as_many_groups_as_it_counts(sizes, normalize):
    """Equal nodes are in one group; beyond the cap, nodes far from all pivots in all alike."""
    options = {"decomposition": "cholesky", "max_clusters": 4, "normalize": normalize, **APART}
    graph, feat, owner = kinds(sizes)
    pool = GMPool(1, **options)
    expected = min(4, len(sizes))
    (assign,), (shares,) = pool.assignments(graph, feat), pool.memberships(graph, feat)
    labels = pool.groups(graph, feat)
    assert pool.spectrum(graph, feat).num_clusters.tolist() == [expected]
    assert pool.coarsen(graph, feat).num_clusters.tolist() == [expected]
    assert assign.shape == shares.shape == (len(owner), expected)
    assert sorted(set(labels.tolist())) == list(range(expected))
    torch.testing.assert_close(shares.sum(1), torch.ones(len(owner), dtype=shares.dtype))
    # The largest groups are those that have a pivot, or as large ones.
    for label in range(1, expected):
        assert len(owner[labels == label].unique()) == 1
    for group in range(len(sizes)):
        assert len(labels[owner == group].unique()) == 1


def test_no_cap_in_reach_names_the_same_groups():
    torch.manual_seed(0)
    options = {**APART, "decomposition": "cholesky", "tol": 0.0, "aggregate": "mean"}
    graph = dgl.batch([dgl.graph(([], []), num_nodes=n) for n in (12, 1, 5)])
    feat = torch.randn(18, 4, dtype=torch.float64) / 20
    capped, whole = (GMPool(4, max_clusters=k, **options).double() for k in (18, None))
    assert torch.equal(capped.groups(graph, feat), whole.groups(graph, feat))
    for one, other in zip(capped.memberships(graph, feat), whole.memberships(graph, feat)):
        torch.testing.assert_close(one, other)


def test_counting_is_that_of_the_matrix_and_not_of_its_scaled_root():
    torch.manual_seed(0)
    graph, feat = dgl.rand_graph(12, 30), torch.randn(12, 4, dtype=torch.float64)
    for decomposition in DECOMPOSITIONS:
        options = {**APART, "decomposition": decomposition}
        one, other = (GMPool(4, normalize=n, **options).double() for n in (False, True))
        for name in ("num_clusters", "soft_count", "effective_rank"):
            first, second = (getattr(p.coarsen(graph, feat), name) for p in (one, other))
            torch.testing.assert_close(first.double(), second.double())


def test_nodes_in_no_group_do_not_blow_the_count_up():
    """ASAP drops nodes: their rows of S are zero."""
    torch.manual_seed(0)
    graph = dgl.graph(([0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]))
    coarse = get_readout("asap", in_feats=3, num_clusters=1).coarsen(graph, torch.randn(5, 3))
    assert 0 < coarse.soft_count.item() <= 5


def test_empty_graphs_and_single_nodes():
    graph = dgl.batch([dgl.graph(([], []), num_nodes=n) for n in (0, 1, 0)])
    for pool in (GMPool(2), NGMPool(2), GMPool.paper(2)):
        found = pool.spectrum(graph, torch.ones(1, 2))
        assert found.num_clusters.tolist() == [0, 1, 0]
        assert found.soft_count[[0, 2]].tolist() == [0, 0]


@pytest.mark.parametrize("rings", [10, 40])
def test_places_grow_with_the_graph(rings):
    """With locality K follows the size of a graph, so few columns cannot stand for M."""
    ring = [(i, (i + 1) % 6) for i in range(6)]
    edges = [(6 * r + i, 6 * r + j) for r in range(rings) for i, j in ring]
    edges += [(6 * r + 3, 6 * r + 6) for r in range(rings - 1)]
    graph = dgl.to_bidirected(dgl.graph(edges))
    feat = torch.ones(6 * rings, 2)
    pool = GMPool(2).eval()
    (matrix,) = pool.grouping_matrices(graph, feat)
    values = torch.linalg.eigvalsh(matrix.double()).flip(0)
    assert 0.8 * rings <= pool.spectrum(graph, feat).num_clusters.item() <= rings
    assert values[: rings // 4].sum() < 0.6 * len(feat)
    assert GMPool(2, locality="none").eval().spectrum(graph, feat).num_clusters.item() == 1
