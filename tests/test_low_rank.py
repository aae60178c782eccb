"""The path for large graphs: S from columns of M, A' from edges, M v in rows; never n x n."""

from __future__ import annotations

import functools

import dgl
import numpy as np
import pytest
import reference
import torch
from test_pooling import SIZES, WIDTH, batch, make
from torch.autograd import gradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from dgl_gmpool import GMPool, MoleculePredictor, NGMPool
from dgl_gmpool.nn import coarsen as coarsen_file
from dgl_gmpool.nn.grouping import SIMILARITIES, GroupingMatrix
from dgl_gmpool.nn.large import grouping_product as product_file
from dgl_gmpool.nn.large import low_rank
from dgl_gmpool.nn.large.coarse_adjacency import coarse_adjacency
from dgl_gmpool.nn.large.grouping_product import grouping_operator
from dgl_gmpool.nn.large.low_rank import low_rank_root
from dgl_gmpool.nn.segments import AGGREGATES
from dgl_gmpool.nn.square_root import cholesky_root
from dgl_gmpool.poolings import gmpool
from dgl_gmpool.testing import CONDITIONS

SEMIDEFINITE = ("cauchy", "gaussian")
FACES = ("readout", "coarsen")


@pytest.fixture
def few_landmarks(monkeypatch):
    """As if every graph of more than 4 nodes were large, for S as well as for A'."""
    monkeypatch.setattr(low_rank, "LANDMARKS", 4)
    monkeypatch.setattr(gmpool, "LANDMARKS", 4)
    monkeypatch.setattr(low_rank, "RENEWAL", 2)
    monkeypatch.setattr(coarsen_file, "LARGE", 2)
    monkeypatch.setattr(coarsen_file, "SPARSE", 0)


def grouping_of(similarity, width=WIDTH, seed=0):
    torch.manual_seed(seed)
    grouping = GroupingMatrix(width, similarity=similarity, feature_norm="none")
    with torch.no_grad():
        grouping.weight.normal_()
        if grouping.bias is not None:
            grouping.bias.normal_()
    return grouping.double()


def measure_of(similarity, width=WIDTH, seed=0):
    return grouping_of(similarity, width, seed).measure(torch.device("cpu"))


def features(n, width=WIDTH, seed=0, batch_size=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, n, width, generator=generator, dtype=torch.float64)


def priority_of(x):
    return x @ torch.arange(1, x.shape[-1] + 1, dtype=x.dtype).sin()


def clustered(n, groups, width=WIDTH, seed=0):
    """n nodes with the features of ``groups`` far-apart centres, and the group of each."""
    generator = torch.Generator().manual_seed(seed)
    centers = 100 * torch.randn(groups, width, generator=generator, dtype=torch.float64)
    owner = torch.randint(groups, (n,), generator=generator)
    owner[:groups] = torch.arange(groups)
    return centers[owner][None], owner


def ring(n):
    ids = torch.arange(n)
    return dgl.graph((torch.cat([ids, (ids + 1) % n]), torch.cat([(ids + 1) % n, ids])))


# S from columns of M. ------------------------------------------------------------------------


@pytest.mark.parametrize("tol", [0.3, 0.01, 0.0])
@pytest.mark.parametrize("similarity", SEMIDEFINITE)
def test_equals_the_dense_root_up_to_the_number_of_landmarks(similarity, tol):
    grouping, x = grouping_of(similarity), features(40, batch_size=3)
    priority = priority_of(x)
    found, ranks, _ = low_rank_root(
        grouping.measure(x.device),
        x,
        x.new_ones(3, 40),
        max_clusters=40,
        tol=tol,
        priority=priority,
    )
    expected, counts, _ = cholesky_root(grouping(x), tol=tol, priority=priority)
    assert ranks.tolist() == counts.tolist()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7 if tol else 1e-5)


@pytest.mark.parametrize("similarity", SEMIDEFINITE)
def test_equals_the_dense_matrix_with_few_landmarks(similarity, few_landmarks):
    """Other pivots, but the same S S' once nothing is left out."""
    grouping, x = grouping_of(similarity), features(40)
    measure = grouping.measure(x.device)
    found, ranks, _ = low_rank_root(measure, x, x.new_ones(1, 40), max_clusters=40, tol=0.0)
    assert ranks.tolist() == [40]
    torch.testing.assert_close(found @ found.mT, grouping(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("cap", [1, 3, 7])
def test_the_cap_is_a_prefix(cap, few_landmarks):
    grouping, x = measure_of("cauchy"), features(30)
    scale, priority = x.new_ones(1, 30), priority_of(x)
    whole, _, _ = low_rank_root(grouping, x, scale, max_clusters=30, priority=priority)
    part, ranks, _ = low_rank_root(grouping, x, scale, max_clusters=cap, priority=priority)
    assert ranks.tolist() == [cap]
    torch.testing.assert_close(part, whole[:, :, :cap])


@torch.no_grad()
@pytest.mark.parametrize("tol", [0.5, 0.1, 0.01])
def test_no_more_than_tol_of_the_trace_is_left_out(tol, few_landmarks):
    grouping, x = grouping_of("gaussian"), features(60)
    measure = grouping.measure(x.device)
    root, ranks, _ = low_rank_root(measure, x, x.new_ones(1, 60), max_clusters=60, tol=tol)
    left = grouping(x) - root @ root.mT
    tol = min(tol, 0.5 / 60)
    assert left.diagonal(dim1=1, dim2=2).sum() <= tol * 60
    assert 1 - root.square().sum() / 60 == pytest.approx(
        float(left.diagonal(dim1=1, dim2=2).sum() / 60), abs=1e-12
    )
    fewer = root[:, :, : int(ranks) - 1]
    assert 60 - fewer.square().sum() > tol * 60


@torch.no_grad()
@pytest.mark.parametrize("groups", [1, 5, 30])
def test_disjoint_clusters_give_their_indicators(groups, few_landmarks):
    """Eq. 7 gives eq. 8, clusters that no landmark stands for included."""
    x, owner = clustered(200, groups)
    root, ranks, _ = low_rank_root(
        measure_of("gaussian"), x, x.new_ones(1, 200), max_clusters=64, tol=1e-6
    )
    assert ranks.tolist() == [groups]
    indicators = torch.nn.functional.one_hot(owner, groups).double()
    columns = sorted(root[0].round(decimals=6).T.tolist())
    assert columns == sorted(indicators.T.tolist())


@torch.no_grad()
def test_the_largest_cluster_comes_first():
    """900 nodes, as many landmarks as by default."""
    centers, _ = clustered(3, 3)
    owner = torch.randint(3, (900,), generator=torch.Generator().manual_seed(1))
    owner[:500] = 1
    x = centers[:, owner]
    root, _, _ = low_rank_root(measure_of("gaussian"), x, x.new_ones(1, 900), max_clusters=2)
    assert root[0, :, 0].round().bool().tolist() == (owner == 1).tolist()


@torch.no_grad()
def test_landmarks_lose_little_against_all_columns(monkeypatch):
    """Fifty clusters of very different sizes and twenty columns; and what the textbook's rule, the
    largest diagonal entry, would lose."""
    generator = torch.Generator().manual_seed(0)
    centers = 2 * torch.randn(50, 16, generator=generator)
    owner = torch.multinomial(1 / torch.arange(1, 51.0), 1000, True, generator=generator)
    x = (centers[owner] + 0.1 * torch.randn(1000, 16, generator=generator)).double()[None]
    grouping = GroupingMatrix(16, similarity="cauchy", feature_norm="none").double()
    with torch.no_grad():
        grouping.weight.fill_(np.log(np.expm1(1.0)))
    matrix, priority = grouping(x), priority_of(x)

    def error(root):
        return float((matrix - root @ root.mT).norm() / matrix.norm())

    def found():
        options = {"max_clusters": 20, "priority": priority}
        measure = grouping.measure(x.device)
        return error(low_rank_root(measure, x, x.new_ones(1, 1000), **options)[0])

    dense = error(cholesky_root(matrix, num_clusters=20, priority=priority)[0])
    assert found() < 1.25 * dense
    estimate = low_rank._next_pivot
    monkeypatch.setattr(low_rank, "_next_pivot", lambda r, *rest: estimate(0 * r, *rest))
    assert found() > 2 * dense


@pytest.mark.parametrize("shift", [0.0, 1e5])
@pytest.mark.parametrize("spread", [1e-8, 1e-3, 1.0, 1e6])
def test_hostile_features_give_finite_values_and_gradients(spread, shift, few_landmarks):
    """Tiny, huge and shifted features, with exact and near duplicates, down to rounding."""
    x = features(24) * spread + shift
    x[:, 8:16] = x[:, :8]
    x[:, 16:] = x[:, :8] * (1 + 1e-9)
    x.requires_grad_()
    for similarity in SEMIDEFINITE:
        for tol in (0.01, 0.0):
            grouping = grouping_of(similarity)
            measure = grouping.measure(x.device)
            root, ranks, _ = low_rank_root(
                measure, x, x.new_ones(1, 24), max_clusters=24, tol=tol, priority=priority_of(x)
            )
            assert torch.isfinite(root).all()
            assert 1 <= int(ranks) <= 24
            if tol == 0:
                exact = _exact(grouping, x.detach())
                torch.testing.assert_close(root @ root.mT, exact, rtol=0, atol=1e-6)
            for grad in torch.autograd.grad(root.square().sum(), [x, *grouping.parameters()]):
                assert torch.isfinite(grad).all()


def _exact(grouping, x):
    """M from differences."""
    squares = (x[:, :, None] - x[:, None, :]).square()
    measure = grouping.measure(x.device)
    return measure.of(squares @ measure.weight)


@pytest.mark.parametrize("cap", [3, 12])
@pytest.mark.parametrize("similarity", SEMIDEFINITE)
def test_gradcheck(similarity, cap, few_landmarks):
    """Two graphs with padding, which stop at different numbers of columns."""
    grouping = grouping_of(similarity)
    x = 2 * features(12, batch_size=2)  # so far apart that M has full rank
    x[1, 8:] = 0
    x[1, 4:8] = x[1, :4]
    scale = torch.linspace(1, 0.5, 12, dtype=torch.float64).repeat(2, 1)  # no ties
    scale[1, 8:] = 0
    measure = grouping.measure(x.device)
    ranks = low_rank_root(measure, x, scale, max_clusters=cap)[1].tolist()
    assert ranks == [cap, min(4, cap)]

    # The second graph has duplicates, which tie: it stays as it is.
    names = [name for name, _ in grouping.named_parameters()]

    class Root(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.grouping = grouping

        def forward(self, *both):
            return low_rank_root(self.grouping.measure(x.device), *both, max_clusters=cap)[0]

    def root(first, first_scale, *values):
        both = torch.stack([first, x[1]]), torch.stack([first_scale, scale[1]])
        given = {f"grouping.{name}": value for name, value in zip(names, values)}
        return torch.func.functional_call(Root(), given, both)

    first = x[0].clone().requires_grad_(), scale[0].clone().requires_grad_()
    assert gradcheck(root, (*first, *grouping.parameters()))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_between_and_its_gradient_are_those_of_the_matrix(similarity):
    grouping = grouping_of(similarity)
    x = (features(7) + 3).requires_grad_()
    between = grouping.measure(x.device).between
    torch.testing.assert_close(between(x, x[:, 2:5]), grouping(x)[:, :, 2:5])
    inputs = (features(3, seed=1).requires_grad_(), features(4, seed=2).requires_grad_())
    assert gradcheck(between, inputs)
    weights = torch.randn(7, 3, dtype=torch.float64)
    leaves = [x, *grouping.parameters()]
    expected = torch.autograd.grad((grouping(x)[:, :, 2:5] * weights).sum(), leaves)
    found = torch.autograd.grad((between(x, x[:, 2:5]) * weights).sum(), leaves)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other)


# The pooling. --------------------------------------------------------------------------------


def capped(similarity="cauchy", cap=8, **options):
    return make("cholesky", similarity, max_clusters=cap, **options)


def rows_of(pool, graph, feat, face, edge_feat=None):
    """What one face gives, as a list of tensors."""
    if face == "readout":
        return [pool(graph, feat)]
    edge_feat = (
        torch.ones(graph.num_edges(), 2, dtype=feat.dtype) if edge_feat is None else edge_feat
    )
    coarse = pool.coarsen(graph, feat, edge_feat)
    return [
        coarse.feat,
        coarse.edge_weight,
        coarse.edge_feat,
        coarse.lift(coarse.feat),
        coarse.effective_rank,
        coarse.num_clusters,
    ]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("similarity", SEMIDEFINITE)
def test_a_cap_not_reached_changes_nothing(similarity, aggregate, normalize, face):
    graph, feat = batch()
    options = {"aggregate": aggregate, "normalize": normalize}
    expected = rows_of(make("cholesky", similarity, **options), graph, feat, face)
    found = rows_of(capped(similarity, **options), graph, feat, face)
    for one, other in zip(found[:4], expected[:4]):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("similarity", SEMIDEFINITE)
def test_coarsening_from_edges_equals_the_loop(similarity, weighted, few_landmarks):
    """X' = S'X, A' = S'AS, E' = S'ES; the random graphs have self-loops and parallel edges."""
    graph, feat = batch()
    generator = torch.Generator().manual_seed(1)
    weight = torch.rand(graph.num_edges(), generator=generator, dtype=torch.float64) + 0.5
    edge_feat = torch.randn(graph.num_edges(), 3, generator=generator, dtype=torch.float64)
    pool = capped(similarity, cap=2, edge_tol=0.0)
    coarse = pool.coarsen(graph, feat, edge_feat, edge_weight=weight if weighted else None)
    assert coarse.graph.batch_num_nodes().tolist() == [min(n, 2) for n in SIZES]
    assert coarse.negative_share.tolist() == [0] * len(SIZES)
    first = first_edge = start = edge = 0
    source, destination = (ids.numpy() for ids in graph.edges())
    u, v = (ids.numpy() for ids in coarse.graph.edges())
    assigned = pool.assignments(graph, feat)
    for index, n in enumerate(SIZES):
        k, m = int(coarse.graph.batch_num_nodes()[index]), int(graph.batch_num_edges()[index])
        count = int(coarse.graph.batch_num_edges()[index])
        here, there = slice(edge, edge + m), slice(first_edge, first_edge + count)
        values = weight[here].numpy() if weighted else np.ones(m)
        ends = (source[here] - start).tolist(), (destination[here] - start).tolist()
        ends_of = (u[there] - first).tolist(), (v[there] - first).tolist()
        if n:
            assign = assigned[index].detach().numpy()
            for given, pooled in (
                (values, coarse.edge_weight),
                (edge_feat[here].numpy(), coarse.edge_feat),
            ):
                dense = reference.dense_edges(n, *ends, given)
                expected = np.einsum("ik,ij...,jl->kl...", assign, dense, assign)
                found = reference.dense_edges(k, *ends_of, pooled.detach()[there].numpy())
                np.testing.assert_allclose(found, expected, atol=1e-9)
        first, first_edge, start, edge = first + k, first_edge + count, start + n, edge + m


@pytest.mark.parametrize("normalize", [False, True])
def test_the_spectrum_is_that_of_the_matrix(normalize, few_landmarks):
    graph, feat = batch()
    options = {"tol": 0.0, "normalize": normalize}
    found = capped(cap=8, **options).spectrum(graph, feat)
    expected = make("cholesky", "cauchy", **options).spectrum(graph, feat)
    assert found.num_clusters.tolist() == expected.num_clusters.tolist()
    torch.testing.assert_close(found.effective_rank, expected.effective_rank)
    torch.testing.assert_close(found.soft_count, expected.soft_count)
    assert found.negative_share.tolist() == [0] * len(SIZES)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("face", FACES)
def test_gradcheck_of_the_pooling(face, normalize, few_landmarks):
    graph, feat = batch((5, 0, 6))
    pool = capped(cap=4, normalize=normalize, edge_tol=0.0)
    edge_feat = torch.randn(graph.num_edges(), 2, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(graph.num_edges(), dtype=torch.float64, requires_grad=True)

    def run(feat, edge_feat, weight):
        if face == "readout":
            return pool(graph, feat)
        coarse = pool.coarsen(graph, feat, edge_feat, edge_weight=weight)
        return (
            coarse.feat,
            coarse.edge_weight,
            coarse.edge_feat,
            coarse.lift(coarse.feat.square()),
        )

    inputs = feat.requires_grad_(), edge_feat, weight
    assert gradcheck(run, inputs, fast_mode=True)
    if face == "readout":
        parameters = tuple(pool.parameters())
        assert gradcheck(lambda *p: pool(graph, feat.detach()), parameters, fast_mode=True)


def test_gradcheck_of_the_coarse_adjacency():
    generator = torch.Generator().manual_seed(0)
    assign = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    ends = torch.randint(5, (2, 14), generator=generator)
    ends[:, 7:] += 5
    ends[:, 1] = ends[:, 0]  # parallel edges
    values = torch.randn(14, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    dense = torch.zeros(2, 5, 5, 2, dtype=torch.float64)
    for edge in range(14):
        dense[edge // 7, ends[0, edge] % 5, ends[1, edge] % 5] += values[edge].detach()
    expected = torch.einsum("bik,bijc,bjl->bklc", assign, dense, assign)
    torch.testing.assert_close(coarse_adjacency(assign, *ends, values), expected)
    assert gradcheck(lambda s, v: coarse_adjacency(s, *ends, v), (assign, values))


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    "condition", [c for c in CONDITIONS if "wrong" not in c.name], ids=lambda c: c.name
)
def test_reliable_with_few_landmarks(condition, face, few_landmarks):
    """Every condition once more on the path of large graphs."""
    make_pool = functools.partial(
        GMPool.paper, similarity="cauchy", decomposition="cholesky", max_clusters=6
    )
    condition.run(make_pool, face)


def test_large_graphs_do_not_depend_on_node_order_or_company():
    """700 nodes with duplicates, more than there are landmarks, alone and among small graphs."""
    n = 700
    feat = features(n)[0]
    feat[: n // 2] = feat[n // 2 :]
    graph = ring(n)
    small, small_feat = batch((5, 3))
    for normalize in (False, True):
        pool = capped(cap=20, normalize=normalize)
        expected = pool(graph, feat)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(pool(ring(n), feat[order]), expected, rtol=0, atol=1e-9)
        together = pool(dgl.batch([small, graph, small]), torch.cat([small_feat, feat, small_feat]))
        torch.testing.assert_close(together[2:3], expected, rtol=0, atol=1e-9)
        torch.testing.assert_close(together[:2], pool(small, small_feat), rtol=0, atol=1e-9)
        torch.testing.assert_close(together[:2], together[3:], rtol=0, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("normalize", [False, True])
def test_where_it_ends_does_not_depend_on_company(normalize):
    """250 nodes alone have all of M, beside 258 only columns: both end at the same residual."""
    feat = features(508, width=6, seed=1)[0] / 2
    graphs = [dgl.graph(([], []), num_nodes=n) for n in (250, 258)]
    options = {"locality": "none", "decomposition": "cholesky", "aggregate": "mean"}
    torch.manual_seed(0)
    pool = GMPool(6, max_clusters=250, tol=0.0, normalize=normalize, **options).double().eval()
    (alone,) = pool.assignments(graphs[0], feat[:250])
    together = pool.assignments(dgl.batch(graphs), feat)[0]
    assert together.shape == alone.shape
    torch.testing.assert_close(together @ together.T, alone @ alone.T, rtol=0, atol=1e-7)
    torch.testing.assert_close(
        pool(dgl.batch(graphs), feat)[:1], pool(graphs[0], feat[:250]), rtol=0, atol=1e-4
    )


def test_two_levels_train():
    model = MoleculePredictor(
        4,
        2,
        levels=2,
        readout="gmpool",
        readout_options={
            "decomposition": "cholesky",
            "locality": "none",
            "aggregate": "mean_and_max",
            "max_clusters": 3,
        },
        hidden_feats=8,
        num_steps=2,
    )
    graph, feat = batch()
    out = model(graph, feat.float(), torch.ones(graph.num_edges(), 2))
    out.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert any(p.grad.abs().sum() > 0 for n, p in model.named_parameters() if "grouping" in n)


# Never n x n. --------------------------------------------------------------------------------


class _Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation made."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for each in out if isinstance(out, (tuple, list)) else (out,):
            # A sparse n x n tensor holds its edges only; a view holds nothing.
            if isinstance(each, torch.Tensor) and each.layout == torch.strided:
                self.numel = max(self.numel, each.untyped_storage().nbytes() // each.itemsize)
        return out


def largest_tensor(run):
    with _Largest() as seen:
        run()
    return seen.numel


N = 3000


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("normalize", [False, True])
def test_no_tensor_of_n_by_n(face, normalize):
    """Forward and backward; the largest block is n x landmarks, or the rows of M for its sums."""
    graph, feat = ring(N), features(N)[0].float().requires_grad_()
    pool = GMPool.paper(
        WIDTH, similarity="cauchy", decomposition="cholesky", max_clusters=16, normalize=normalize
    )
    edge_feat = torch.ones(graph.num_edges(), 2)

    def run():
        rows = rows_of(pool, graph, feat, face, edge_feat)
        sum(row.square().sum() for row in rows if row.requires_grad).backward()

    limit = max(N * low_rank.LANDMARKS, product_file.CELLS if normalize else 0)
    assert N * 16 < largest_tensor(run) <= limit < N * N
    assert torch.isfinite(feat.grad).all()


def test_groups_need_no_tensor_of_n_by_n():
    graph, feat = ring(N), features(N)[0].float()
    options = {"similarity": "cauchy", "decomposition": "cholesky", "max_clusters": 16}
    pool = GMPool.paper(WIDTH, **options)
    for look in (pool.groups, pool.memberships):
        assert largest_tensor(lambda look=look: look(graph, feat)) <= N * low_rank.LANDMARKS
    clusters = int(pool.spectrum(graph, feat).num_clusters)
    assert pool.groups(graph, feat).unique().tolist() == list(range(clusters))


@pytest.mark.parametrize("normalize", [False, True])
def test_ngmpool_needs_no_tensor_of_n_by_n(normalize):
    graph, feat = ring(N), features(N)[0].float().requires_grad_()
    pool = NGMPool.paper(WIDTH, normalize=normalize)
    assert largest_tensor(lambda: pool(graph, feat).sum().backward()) <= product_file.CELLS < N * N


def test_the_dense_path_is_seen_to_make_it():
    """The watch sees what it is meant to see."""
    graph, feat = ring(400), features(400)[0]
    pool = make("cholesky", "cauchy", num_clusters=4)
    assert largest_tensor(lambda: pool(graph, feat).sum().backward()) >= 400 * 400


# M v in rows. --------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_product_in_rows(similarity, monkeypatch):
    monkeypatch.setattr(product_file, "CELLS", 30)
    grouping, x = grouping_of(similarity), features(9, batch_size=2).requires_grad_()
    vector = torch.rand(2, 9, dtype=torch.float64, requires_grad=True)
    expected = (grouping(x) @ vector[:, :, None]).squeeze(-1)
    measure = grouping.measure(x.device)
    torch.testing.assert_close(grouping_operator(measure, x)(vector), expected)
    assert gradcheck(lambda x, v: grouping_operator(measure, x)(v), (x, vector))
    leaves = list(grouping.parameters())
    found = torch.autograd.grad(grouping_operator(measure, x)(vector).square().sum(), leaves)
    for one, other in zip(found, torch.autograd.grad(expected.square().sum(), leaves)):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("frozen", ["weight", "all parameters", "features"])
def test_product_in_rows_where_something_is_frozen(frozen, monkeypatch):
    monkeypatch.setattr(product_file, "CELLS", 30)
    grouping, x = grouping_of("cauchy"), features(9, batch_size=2)
    grouping.weight.requires_grad_(frozen == "features")
    grouping.bias.requires_grad_(frozen != "all parameters")
    x.requires_grad_(frozen != "features")
    ones = torch.ones(2, 9, dtype=torch.float64)
    leaves = [leaf for leaf in (x, *grouping.parameters()) if leaf.requires_grad]
    measure = grouping.measure(x.device)
    found = torch.autograd.grad(grouping_operator(measure, x)(ones).square().sum(), leaves)
    expected = torch.autograd.grad(grouping(x).sum(-1).square().sum(), leaves)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("aggregate", ["mean", "sum"])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_ngmpool_in_rows_equals_the_matrix(similarity, aggregate, normalize, monkeypatch):
    graph, feat = batch()
    pool = make("none", similarity, aggregate=aggregate, normalize=normalize)
    feat.requires_grad_()
    leaves = [feat, *pool.parameters()]
    expected = pool(graph, feat)
    gradients = torch.autograd.grad(expected.square().sum(), leaves)
    monkeypatch.setattr(product_file, "CELLS", 10)
    found = pool(graph, feat)
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(found.square().sum(), leaves), gradients):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("similarity", ["linear", "gaussian"])
def test_padding_far_from_all_nodes_leaves_the_gradient_finite(similarity, monkeypatch):
    monkeypatch.setattr(product_file, "CELLS", 10)
    graph = dgl.batch([dgl.rand_graph(3, 4), dgl.rand_graph(4, 4)])
    pool = NGMPool.paper(2, similarity=similarity, normalize=True).double()
    with torch.no_grad():
        # Zeros, as in padding, are 625 away from every node, and exp(-625)^1.5 underflows.
        pool.grouping.weight.fill_(-0.5 if similarity == "linear" else np.log(np.expm1(0.5)))
    feat = (25 + 0.01 * features(7, width=2)[0]).requires_grad_()
    leaves = [feat, pool.grouping.weight]
    found = torch.autograd.grad(pool(graph, feat).square().sum(), leaves)
    monkeypatch.setattr(product_file, "CELLS", 10**6)
    for one, other in zip(found, torch.autograd.grad(pool(graph, feat).square().sum(), leaves)):
        torch.testing.assert_close(one, other)


# Options. ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_clusters": 8, "decomposition": "cholesky"}, "Use similarity='gaussian'"),
        ({"max_clusters": 8, "similarity": "cauchy"}, "give as well: decomposition='cholesky'$"),
        (
            {
                "max_clusters": 8,
                "similarity": "cauchy",
                "decomposition": "cholesky",
                "num_clusters": 3,
            },
            "give one of them",
        ),
        (
            {"max_clusters": 0, "similarity": "cauchy", "decomposition": "cholesky"},
            "max_clusters is 0; give an integer >= 1",
        ),
        (
            {"max_clusters": 2.5, "similarity": "cauchy", "decomposition": "cholesky"},
            "max_clusters is 2.5",
        ),
        (
            {"max_clusters": True, "similarity": "cauchy", "decomposition": "cholesky"},
            "max_clusters is True",
        ),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        GMPool.paper(4, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "max_clusters=8 .*give as well: locality='none'; an aggregate"),
        ({"locality": None}, "give as well: an aggregate over S' X, such as"),
        ({"locality": None, "aggregate": "mean", "fragment_weight": 1.0}, "fragment_weight=1.0"),
    ],
)
def test_defaults_that_need_the_whole_matrix_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        GMPool(4, decomposition="cholesky", max_clusters=8, **options)


def test_a_root_of_an_indefinite_matrix_is_refused():
    with pytest.raises(ValueError, match="can have negative eigenvalues"):
        low_rank_root(measure_of("linear"), features(3), torch.ones(1, 3), max_clusters=2)


def test_repr():
    assert "max_clusters=8" in repr(capped())
    assert "max_clusters" not in repr(make("cholesky", "cauchy"))
