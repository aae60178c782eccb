"""Pivots: whose group a node is in, shares in groups, and the coarse graph that follows."""

from __future__ import annotations

import copy
import io
import pickle

import dgl
import numpy as np
import pytest
import reference
import torch
from test_counting import APART, kinds
from test_pooling import SIZES, WIDTH, batch, loop_matrices

from dgl_gmpool import GMPool, NGMPool, PooledGraph
from dgl_gmpool.nn.coarsen import normalise_edge_weight
from dgl_gmpool.nn.grouping import SIMILARITIES
from dgl_gmpool.testing import IN_FEATS, batch_members


def local(similarity="gaussian", **options):
    """A pooling with the defaults that group, in evaluation, not at its start."""
    torch.manual_seed(3)
    pool = GMPool(WIDTH, similarity=similarity, **options).double()
    with torch.no_grad():
        pool.grouping.weight.add_(torch.randn(WIDTH))
        pool.locality.log_time.fill_(1.0)
    graph, feat = batch()
    pool(graph, feat)  # running statistics that are not those of the start
    return pool.eval()


# M. ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("feature_norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("kind", [GMPool, NGMPool])
def test_the_matrix_is_the_product_of_both_kernels(kind, feature_norm, similarity):
    graph, feat = batch()
    torch.manual_seed(0)
    pool = kind(WIDTH, similarity=similarity, feature_norm=feature_norm).double()
    pool.locality.paths_power.fill_(0)  # all edges alike, as the reference has them
    pool.grouping.pace.fill_(1)
    with torch.no_grad():
        pool.locality.log_time.fill_(0.7)
        pool.grouping.weight.add_(0.3 * torch.randn(WIDTH))
    pool(graph, feat)
    pool.eval()
    expected = loop_matrices(pool, feat, graph=graph)
    for found, wanted in zip(pool.grouping_matrices(graph, feat), expected):
        np.testing.assert_allclose(found.detach(), wanted, rtol=2e-5, atol=1e-9)
        if similarity != "linear" and len(wanted):
            np.testing.assert_allclose(np.diag(found.detach()), 1, atol=1e-12)
            assert found.detach().max() <= 1


def test_the_feature_norm_is_what_it_says():
    graph, feat = batch()
    pool = GMPool(WIDTH, feature_norm="batch").double().train()
    expected = (feat - feat.mean(0)) / (feat.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(pool.grouping.norm(feat), expected)
    # So M starts neither at one group nor at n, whatever the scale of the network before it.
    for scale in (0.1, 1.0, 1e3):
        matrices = GMPool(WIDTH, locality="none").double().grouping_matrices(graph, scale * feat)
        off = torch.cat([m[~torch.eye(len(m), dtype=torch.bool)] for m in matrices])
        assert 0.4 < off.mean() < 0.7


def test_paper_is_the_papers_reading():
    pool = GMPool.paper(8)
    assert (pool.grouping.similarity, pool.locality, pool.aggregate) == ("linear", None, "mean")
    assert (pool.decomposition, pool.grouping.feature_norm) == ("sqrtm", "none")
    assert pool.out_feats == 8
    assert GMPool.paper(8, similarity="cauchy").grouping.similarity == "cauchy"
    assert NGMPool.paper(8).out_feats == 8
    assert not NGMPool.paper(8).normalize


def test_an_inverted_matrix_says_so():
    pool = GMPool.paper(4)
    for value, expected in ((0.5, True), (-0.5, False)):
        with torch.no_grad():
            pool.grouping.weight.fill_(value)
        assert pool.inverted is expected
    assert not GMPool(4).inverted


# Names. --------------------------------------------------------------------------------------


def same_partition(one, other):
    return torch.equal(one[:, None] == one, other[:, None] == other)


@pytest.mark.parametrize("sizes", [(1,), (4,), (3, 3, 3), (1, 5, 2), (1,) * 20, (40, 1, 1, 30)])
def test_disjoint_groups_are_named(sizes):
    graph, feat, owner = kinds(sizes)
    found = GMPool(1, **APART).groups(graph, feat)
    assert found.dtype == torch.int64
    assert same_partition(found, owner)
    assert sorted(set(found.tolist())) == list(range(len(sizes)))
    # The longest pivot's group, the largest, comes first.
    counts = torch.bincount(found).tolist()
    assert counts == sorted(counts, reverse=True)


def adjusted_rand(one, other):
    from scipy.special import comb

    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    pairs, a, b = (comb(t, 2).sum() for t in (table, table.sum(0), table.sum(1)))
    expected = a * b / comb(len(one), 2)
    return (pairs - expected) / ((a + b) / 2 - expected)


def test_planted_groups_are_found_by_number_and_by_name():
    """Cliques in a chain, in kinds that repeat: two of one kind are two groups."""
    scores, right, generator = [], 0, np.random.default_rng(0)
    for _ in range(20):
        k = int(generator.integers(2, 6))
        sizes = generator.integers(4, 8, k)
        ends = np.cumsum(sizes)
        owner = np.repeat(np.arange(k), sizes)
        u, v = np.nonzero((owner[:, None] == owner) & ~np.eye(len(owner), dtype=bool))
        u, v = [*u, *(ends[:-1] - 1), *ends[:-1]], [*v, *ends[:-1], *(ends[:-1] - 1)]
        feat = np.eye(2)[np.arange(k) % 2][owner] + 0.05 * generator.standard_normal(
            (len(owner), 2)
        )
        graph, feat = dgl.graph((u, v)), torch.from_numpy(feat).float()
        pool = GMPool(2)  # alone, a graph is its own batch of nodes
        found = pool.groups(graph, feat).numpy()
        right += int(pool.spectrum(graph, feat).num_clusters) == k
        scores.append(adjusted_rand(found, owner))
    assert right >= 19
    assert np.mean(scores) >= 0.98


def test_labels_follow_the_batch_and_empty_graphs():
    pool = local()
    graph, feat = batch()
    found = pool.groups(graph, feat)
    counts = pool.spectrum(graph, feat).num_clusters.tolist()
    assert counts[2] == 0
    for one, x, labels, k in zip(
        dgl.unbatch(graph), feat.split(list(SIZES)), found.split(list(SIZES)), counts
    ):
        assert sorted(set(labels.tolist())) == list(range(k))
        if len(x):
            assert torch.equal(pool.groups(one, x), labels)
    nothing = dgl.batch([dgl.graph(([], []), num_nodes=0)] * 2)
    assert pool.groups(nothing, torch.zeros(0, WIDTH)).shape == (0,)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_memberships_are_shares_in_those_groups(similarity):
    pool = local(similarity)
    graph, feat = batch()
    shares, labels = pool.memberships(graph, feat), pool.groups(graph, feat)
    matrices = loop_matrices(pool, feat, graph=graph)
    for share, own, matrix in zip(shares, labels.split(list(SIZES)), matrices):
        if not len(matrix):
            assert share.shape == (0, 0)
            continue
        expected = reference.assignment(matrix, "pivot")
        np.testing.assert_allclose(share.detach(), expected, rtol=1e-4, atol=1e-8)
        torch.testing.assert_close(share.sum(1), torch.ones(len(own), dtype=torch.float64))
        assert torch.equal(share.argmax(1), own)


@pytest.mark.parametrize(
    "other", [lambda pool: pool, torch.nn.SyncBatchNorm.convert_sync_batchnorm]
)
def test_a_look_leaves_the_pooling_as_it_is(other):
    """In training, too: neither the statistics of the batch nor open losses are touched."""
    pool, (graph, feat) = other(GMPool(WIDTH, rank_weight=1.0).double().train()), batch()
    state = {name: value.clone() for name, value in pool.state_dict().items()}
    for look in (pool.groups, pool.spectrum, pool.memberships, pool.grouping_matrices,
                 pool.assignments):  # fmt: skip
        look(graph, feat)
    for name, value in pool.state_dict().items():
        assert torch.equal(value, state[name]), name
    pool(graph, feat)
    assert pool.grouping.norm.num_batches_tracked == 1


def test_looks_that_overlap_leave_the_pooling_able_to_learn():
    """As those of several threads do: the first that began is the first that ends."""
    pool, (graph, feat) = local(), batch()
    looks = [pool.looking(feat) for _ in range(2)]
    for look in looks:
        look.__enter__()
    for look in looks:
        look.__exit__(None, None, None)
    before = pool.grouping.norm.running_mean.clone()
    pool.train()(graph, feat + 3)
    assert not torch.equal(pool.grouping.norm.running_mean, before)


# The coarse graph. ---------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_the_assignment_keeps_mass(similarity):
    pool, (graph, feat) = local(similarity), batch()
    weight = torch.rand(graph.num_edges(), dtype=torch.float64)
    coarse = pool.coarsen(graph, feat, edge_weight=weight)
    for assign, n in zip(pool.assignments(graph, feat, edge_weight=weight), SIZES):
        assert (assign >= 0).all()
        torch.testing.assert_close(assign.sum(1), torch.ones(n, dtype=torch.float64))
    owner = torch.repeat_interleave(coarse.graph.batch_num_edges())
    before = torch.repeat_interleave(graph.batch_num_edges())
    torch.testing.assert_close(
        torch.zeros(6).double().index_add(0, owner, coarse.edge_weight),
        torch.zeros(6).double().index_add(0, before, weight),
        atol=2e-4, rtol=0,
    )  # fmt: skip
    torch.testing.assert_close(
        dgl.batch([coarse.graph]).batch_num_nodes(), coarse.num_clusters.to(torch.int64)
    )
    sums = [part.sum(0) for part in coarse.feat.split(coarse.num_clusters.tolist())]
    for found, x in zip(sums, feat.split(list(SIZES))):
        torch.testing.assert_close(found, x.sum(0))


@pytest.mark.parametrize("decomposition", ["pivot", "sqrtm", "cholesky"])
def test_conv_weight_is_positive_and_normalised(decomposition):
    pool, (graph, feat) = local(decomposition=decomposition), batch()
    coarse = pool.coarsen(graph, feat)
    expected = normalise_edge_weight(coarse.graph, coarse.edge_weight.abs())
    torch.testing.assert_close(coarse.conv_weight, expected)
    assert (coarse.conv_weight > 0).all()
    tiny = PooledGraph(
        coarse.graph, coarse.feat, torch.zeros_like(coarse.edge_weight), None, coarse.origin
    )
    assert (tiny.conv_weight > 0).all()


@pytest.mark.parametrize("decomposition", ["pivot", "cholesky"])
def test_the_inverse_lift_gives_back_what_is_constant_in_groups(decomposition):
    graph, feat, owner = kinds((3, 1, 4))
    values = torch.randn(3, 5, dtype=torch.float64)[owner]
    pool = GMPool(1, decomposition=decomposition, **APART).double()
    coarse = pool.coarsen(graph, feat)
    carried = pool.assignments(graph, feat)[0].T @ values
    torch.testing.assert_close(coarse.lift(carried, inverse=True), values)
    # With soft shares it is the projection on what S can say: S (S'S)^+ S' X.
    pool, (graph, feat) = local(decomposition=decomposition), batch()
    coarse = pool.coarsen(graph, feat)
    lifted = coarse.lift(coarse.feat, inverse=True).split(list(SIZES))
    parts = zip(lifted, pool.assignments(graph, feat), feat.split(list(SIZES)))
    for found, assign, x in parts:
        s = assign.detach().numpy()
        if len(s):
            expected = s @ np.linalg.pinv(s) @ x.numpy()
            np.testing.assert_allclose(found.detach(), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [8, 16, 30])
@pytest.mark.parametrize(
    "make",
    [lambda: NGMPool(8)]
    + [lambda d=d: GMPool(8, decomposition=d) for d in ("pivot", "sqrtm", "cholesky")],
)
def test_the_inverse_lift_is_no_noise(make, n, dtype):
    """A path of unlike nodes, numbered otherwise: S has singular values down to nothing."""
    generator = torch.Generator().manual_seed(n)
    first = torch.arange(n - 1)
    feat = torch.randn(n, 8, generator=generator).to(dtype)
    place = torch.randperm(n, generator=generator)
    torch.manual_seed(0)
    pool, lifted = make().to(dtype).eval(), []
    for number in (torch.arange(n), place):
        graph = dgl.to_bidirected(dgl.graph((number[first], number[first + 1])))
        coarse = pool.coarsen(graph, torch.empty_like(feat).index_copy(0, number, feat))
        x = coarse.feat.detach().requires_grad_()
        out = coarse.lift(x, inverse=True)
        (grad,) = torch.autograd.grad(out.square().sum(), x)
        assert torch.isfinite(grad).all()
        lifted.append(out.detach()[number])
    torch.testing.assert_close(*lifted, rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-6)
    assert lifted[0].abs().max() <= 1.1 * feat.abs().max()


def dense_by_loops(coarse):
    counts = coarse.graph.batch_num_nodes().tolist()
    most = max(counts)
    feat = np.zeros((len(counts), most, coarse.feat.shape[1]))
    matrix = np.zeros((len(counts), most, most))
    start = 0
    for index, n in enumerate(counts):
        feat[index, :n] = coarse.feat.detach()[start : start + n].numpy()
        for u, v, w in zip(*coarse.graph.edges(), coarse.edge_weight.detach()):
            if start <= u < start + n:
                matrix[index, u - start, v - start] += w
        start += n
    return feat, counts, matrix


@pytest.mark.parametrize("decomposition", ["pivot", "sqrtm"])
def test_dense_equals_the_loop(decomposition):
    pool, (graph, feat) = local(decomposition=decomposition), batch()
    coarse = pool.coarsen(graph, feat)
    feats, mask, matrix = coarse.dense()
    expected, counts, adjacency = dense_by_loops(coarse)
    np.testing.assert_array_equal(feats.detach(), expected)
    np.testing.assert_array_equal(matrix.detach(), adjacency)
    assert mask.sum(1).tolist() == counts
    assert feats.requires_grad
    nothing = dgl.batch([dgl.graph(([], []), num_nodes=0)] * 2)
    feats, mask, matrix = pool.coarsen(nothing, torch.zeros(0, WIDTH).double()).dense()
    assert (feats.shape, mask.shape, matrix.shape) == ((2, 0, WIDTH), (2, 0), (2, 0, 0))


def _copies(coarse):
    buffer = io.BytesIO()
    torch.save(coarse, buffer)
    buffer.seek(0)
    yield "pickle", pickle.loads(pickle.dumps(coarse))
    yield "torch.save", torch.load(buffer, weights_only=False)
    yield "deepcopy", copy.deepcopy(coarse)
    yield "copy", copy.copy(coarse)
    yield "detach", coarse.detach()
    yield "to", coarse.to("cpu")


@pytest.mark.parametrize(
    "make", [GMPool, NGMPool, lambda w: GMPool.paper(w, decomposition="cholesky", rank_weight=1.0)]
)
def test_a_coarse_graph_can_be_copied_saved_and_moved(make):
    graph = dgl.batch(batch_members())
    feat = graph.ndata["h"].clone().requires_grad_()
    pool = make(IN_FEATS).eval()
    coarse = pool.coarsen(graph, feat, graph.edata["e"])
    y = torch.randn(coarse.graph.num_nodes(), 3)
    for way, other in _copies(coarse):
        assert repr(other) == repr(coarse), way
        for name in ("feat", "edge_weight", "edge_feat", "conv_weight", "soft_count"):
            assert torch.equal(getattr(other, name), getattr(coarse, name)), (way, name)
        assert torch.equal(other.lift(y), coarse.lift(y)), way
        assert sorted(other.losses) == sorted(coarse.losses)
        assert other.feat.requires_grad == (way in ("copy", "to")), way
        if type(pool).single_level and way != "copy":
            with pytest.raises(ValueError, match="do not commute"):  # it knows where it comes from
                pool(other.graph, other.feat)
    meta = coarse.to("meta")
    assert meta.feat.device.type == meta.lift(y.to("meta")).device.type == "meta"
    assert meta.num_clusters.device.type == "meta"
    twin = copy.deepcopy(coarse)
    twin.feat.zero_()
    twin.graph.ndata["x"] = y
    assert coarse.feat.abs().sum() > 0
    assert "x" not in coarse.graph.ndata
