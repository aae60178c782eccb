"""GMPool and NGMPool as readouts: against loops, gradients, invariances, options."""

from __future__ import annotations

import dgl
import numpy as np
import pytest
import reference
import torch

from dgl_gmpool import GMPool, NGMPool
from dgl_gmpool.nn.grouping import SIMILARITIES
from dgl_gmpool.nn.segments import AGGREGATES
from dgl_gmpool.poolings.gmpool import DECOMPOSITIONS
from dgl_gmpool.testing import IN_FEATS, batch_members, batch_of

SIZES = (5, 1, 0, 8, 3, 8)
WIDTH = 4


def batch(sizes=SIZES, seed=0):
    """Random directed graphs with these sizes and float64 features."""
    generator = torch.Generator().manual_seed(seed)
    graphs = []
    for n in sizes:
        ends = torch.randint(max(n, 1), (2, 3 * n if n > 1 else 0), generator=generator)
        graphs.append(dgl.graph((ends[0], ends[1]), num_nodes=n))
    graph = dgl.batch(graphs)
    feat = torch.randn(graph.num_nodes(), WIDTH, generator=generator, dtype=torch.float64)
    return graph, feat


def make(decomposition, similarity, **options):
    """The paper's pooling with these, NGMPool where there is no decomposition; parameters from a
    fixed seed, in float64, in evaluation."""
    torch.manual_seed(7)
    options = {"similarity": similarity, **options}
    if decomposition == "none":
        pool = NGMPool.paper(WIDTH, **options)
    else:
        pool = GMPool.paper(WIDTH, decomposition=decomposition, **options)
    with torch.no_grad():
        pool.grouping.pace.fill_(1.0)  # the weights as they stand
        pool.grouping.weight.normal_()
        if pool.grouping.bias is not None:
            pool.grouping.bias.normal_()
    return pool.double().eval()


def loop_matrices(pool, feat, sizes=SIZES, graph=None):
    """The grouping matrix of each graph, by loops; of the graph too where the pool is local."""
    grouping = pool.grouping
    weight = grouping.weight.detach().numpy()
    bias = None if grouping.bias is None else float(grouping.bias.detach())
    parts = [x.numpy() for x in grouping.norm(feat).detach().split(list(sizes))]
    kernels = [1.0] * len(parts)
    if pool.locality is not None:
        time = float(pool.locality.time.detach())
        for index, one in enumerate(dgl.unbatch(graph)):
            ends = [ids.tolist() for ids in one.edges()]
            edges = reference.conductances(sizes[index], *ends, [1.0] * one.num_edges())
            parts[index] = reference.averaged(edges, time, parts[index])
            kernels[index] = reference.heat_kernel(edges, time)
    return [
        kernel * reference.grouping_matrix(x, grouping.similarity, weight, bias)
        for x, kernel in zip(parts, kernels)
    ]


def loop_assignments(pool, feat, sizes=SIZES, graph=None):
    options = {}
    if isinstance(pool, GMPool):
        options = {"tol": pool.tol, "num_clusters": pool.num_clusters}
    return [
        reference.assignment(matrix, getattr(pool, "decomposition", "none"), **options)
        if len(matrix)
        else matrix
        for matrix in loop_matrices(pool, feat, sizes, graph)
    ]


# Against the loops. --------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("decomposition", [*DECOMPOSITIONS, "none"])
def test_readout_equals_the_loop(decomposition, similarity, aggregate):
    graph, feat = batch()
    pool = make(decomposition, similarity, aggregate=aggregate)
    found = pool(graph, feat).detach().numpy()
    assert found.shape == (len(SIZES), pool.out_feats)
    for row, x, assign in zip(found, feat.split(list(SIZES)), loop_assignments(pool, feat)):
        expected = reference.readout(assign, x.numpy(), aggregate) if len(x) else 0 * row
        np.testing.assert_allclose(row, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("decomposition", [*DECOMPOSITIONS, "none"])
def test_matrices_and_assignments_equal_the_loop(decomposition, similarity):
    graph, feat = batch()
    pool = make(decomposition, similarity)
    matrices, assignments = pool.grouping_matrices(graph, feat), pool.assignments(graph, feat)
    assert [tuple(m.shape) for m in matrices] == [(n, n) for n in SIZES]
    expected = zip(loop_matrices(pool, feat), loop_assignments(pool, feat))
    for matrix, assign, (loop_matrix, loop_assign) in zip(matrices, assignments, expected):
        np.testing.assert_allclose(matrix.detach(), loop_matrix, atol=1e-12)
        if len(matrix):
            np.testing.assert_allclose(assign.detach(), loop_assign, rtol=0, atol=2e-5)


@pytest.mark.parametrize("num_clusters", [1, 3, 100])
@pytest.mark.parametrize("decomposition", DECOMPOSITIONS)
def test_forced_number_of_clusters(decomposition, num_clusters):
    """The paper's Figure 3a; a graph with fewer nodes has as many clusters as nodes."""
    graph, feat = batch()
    pool = make(decomposition, "cauchy", num_clusters=num_clusters)
    expected = [min(n, num_clusters) for n in SIZES]
    assert pool.spectrum(graph, feat).num_clusters.tolist() == expected
    assert pool.coarsen(graph, feat).num_clusters.tolist() == expected
    for assign, loop in zip(pool.assignments(graph, feat), loop_assignments(pool, feat)):
        if len(loop):
            np.testing.assert_allclose(assign.detach(), loop, rtol=0, atol=2e-5)
            assert np.linalg.matrix_rank(assign.detach().numpy(), tol=1e-3) <= num_clusters
    found = pool(graph, feat).detach().numpy()
    for row, x, assign in zip(found, feat.split(list(SIZES)), loop_assignments(pool, feat)):
        if len(x):
            np.testing.assert_allclose(
                row, reference.readout(assign, x.numpy(), "mean"), rtol=0, atol=2e-5
            )


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_spectrum_equals_the_loop(similarity):
    graph, feat = batch()
    pool = make("sqrtm", similarity)
    found = pool.spectrum(graph, feat)
    for index, matrix in enumerate(loop_matrices(pool, feat)):
        if not len(matrix):
            assert found.num_clusters[index] == 0
            continue
        values = np.linalg.eigvalsh(matrix)
        positive = values[values > 0] / values[values > 0].sum()
        assert found.num_clusters[index] == reference.number_of_groups(matrix)
        assert found.soft_count[index].item() == pytest.approx((1 / matrix.sum(1)).sum())
        assert found.effective_rank[index].item() == pytest.approx(
            np.exp(-(positive * np.log(positive)).sum()), rel=1e-6
        )
        negative = -values[values < 0].sum() / np.abs(values).sum()
        assert found.negative_share[index].item() == pytest.approx(negative, abs=1e-9)
    assert bool((found.negative_share > 0.01).any()) == (similarity == "linear")


def test_number_of_clusters_is_the_number_of_kinds_of_atoms():
    """Three far kinds of nodes, several of each: K is 3, whatever the decomposition."""
    kinds = torch.tensor([0, 0, 1, 2, 1, 0, 2, 2, 2])
    graph = dgl.graph(([], []), num_nodes=9)
    feat = 100 * torch.eye(3)[kinds]
    for decomposition in DECOMPOSITIONS:
        pool = GMPool.paper(3, similarity="gaussian", decomposition=decomposition)
        found = pool.spectrum(graph, feat)
        assert found.num_clusters.tolist() == [3]
        share = np.array([3, 2, 4]) / 9
        assert found.effective_rank.item() == pytest.approx(np.exp(-share @ np.log(share)))
        assert found.soft_count.item() == pytest.approx(3)


# Weights. ------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
@pytest.mark.parametrize("decomposition", [*DECOMPOSITIONS, "none"])
def test_node_weights_reproduce_the_readout(decomposition, aggregate):
    graph, feat = batch()
    pool = make(decomposition, "linear", aggregate=aggregate)
    out, weights = pool(graph, feat, get_node_weight=True)
    assert torch.equal(out, pool(graph, feat))
    assert [tuple(w.shape) for w in weights] == [(len(feat), 1)]
    rows = torch.stack([part.sum(0) for part in (weights[0] * feat).split(list(SIZES))])
    torch.testing.assert_close(rows, out, rtol=0, atol=1e-12)


@pytest.mark.parametrize("decomposition", [*DECOMPOSITIONS, "none"])
def test_node_weights_of_max_are_shares_in_the_winning_groups(decomposition):
    graph, feat = batch()
    pool = make(decomposition, "cauchy", aggregate="max")
    _, (weights,) = pool(graph, feat, get_node_weight=True)
    parts = zip(weights.detach().split(list(SIZES)), feat.split(list(SIZES)))
    for (found, x), assign in zip(parts, loop_assignments(pool, feat)):
        if len(x):
            winners = reference.pooled_features(assign, x.numpy()).argmax(0)
            expected = assign[:, winners].mean(1)
            np.testing.assert_allclose(found[:, 0], expected, rtol=0, atol=2e-5)


TWO = {
    "max": lambda **options: GMPool(4, aggregate="max", **options),
    "max of a root": lambda **options: GMPool(4, aggregate="max", decomposition="sqrtm", **options),
    "ngmpool": lambda **options: NGMPool(4, **options),
    "atoms_and_groups": lambda **options: GMPool(4, **options),
}


@pytest.mark.parametrize("rounding", [0.0, 1e-7])
@pytest.mark.parametrize("name", TWO)
def test_nodes_that_tie_share_a_maximum(name, rounding):
    """Two atoms, and two benzenes: equal in all, but for rounding, wherever they stand."""
    pool = TWO[name]().eval()
    pair = dgl.graph(([], []), num_nodes=2)
    rings = dgl.to_bidirected(
        dgl.graph([(6 * k + i, 6 * k + (i + 1) % 6) for k in range(2) for i in range(6)])
    )
    for graph in (pair, rings):
        feat = torch.ones(graph.num_nodes(), 4)
        feat[0] += rounding
        _, (weight,) = pool(graph, feat, get_node_weight=True)
        torch.testing.assert_close(weight, weight[:1].expand_as(weight), rtol=1e-5, atol=0)


@pytest.mark.parametrize("decomposition", [*DECOMPOSITIONS, "none"])
def test_node_weights_of_both_are_their_average(decomposition):
    graph, feat = batch()
    weights = {}
    for aggregate in ("mean", "max", "mean_and_max"):
        pool = make(decomposition, "cauchy", aggregate=aggregate)
        weights[aggregate] = pool(graph, feat, get_node_weight=True)[1][0]
    expected = (weights["mean"] + weights["max"]) / 2
    torch.testing.assert_close(weights["mean_and_max"], expected, rtol=0, atol=1e-12)


# Gradients. ----------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("decomposition", [*DECOMPOSITIONS, "none"])
@pytest.mark.parametrize("aggregate", ["mean", "mean_and_max"])
def test_gradcheck_through_the_pool(decomposition, similarity, aggregate):
    """With respect to the features and to every parameter."""
    graph, feat = batch((4, 1, 0, 3))
    pool = make(decomposition, similarity, aggregate=aggregate)
    names = [name for name, _ in pool.named_parameters()]

    def run(feat, *values):
        return torch.func.functional_call(pool, dict(zip(names, values)), (graph, feat))

    inputs = (feat.requires_grad_(), *(p.detach().requires_grad_() for p in pool.parameters()))
    assert torch.autograd.gradcheck(run, inputs, atol=1e-5, rtol=1e-3, fast_mode=True)


@pytest.mark.parametrize("decomposition", [*DECOMPOSITIONS, "none"])
def test_node_weights_carry_gradients(decomposition):
    graph, feat = batch()
    pool = make(decomposition, "cauchy")
    _, (weights,) = pool(graph, feat, get_node_weight=True)
    weights.square().sum().backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in pool.parameters())


# Invariances, float32, symmetric molecules. --------------------------------------------------


def _renumbered(graph, seed):
    place = torch.randperm(graph.num_nodes(), generator=torch.Generator().manual_seed(seed))
    source, destination = (place[ids.long()] for ids in graph.edges())
    out = dgl.graph((source, destination), num_nodes=graph.num_nodes())
    out.ndata["h"] = torch.empty_like(graph.ndata["h"]).index_copy(0, place, graph.ndata["h"])
    return out


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("decomposition", ["sqrtm", "cholesky", "none"])
def test_node_order_and_company_do_not_matter(decomposition, similarity, aggregate):
    torch.manual_seed(0)
    options = {"similarity": similarity, "aggregate": aggregate}
    if decomposition == "none":
        pool = NGMPool.paper(IN_FEATS, **options)
    else:
        pool = GMPool.paper(IN_FEATS, decomposition=decomposition, **options)
    graphs = batch_members()
    together = dgl.batch(graphs)
    expected = pool(together, together.ndata["h"]).detach()
    scale = max(1.0, float(expected.abs().max()))
    for seed, graph in enumerate(graphs):
        other = _renumbered(graph, seed)
        difference = pool(other, other.ndata["h"]).detach()[0] - expected[seed]
        assert float(difference.abs().max()) <= 1e-5 * scale


# Options and errors. -------------------------------------------------------------------------


def test_low_precision_features():
    graph = batch_of("aspirin", "benzene")
    feat = graph.ndata["h"]
    for dtype in (torch.bfloat16, torch.float16):
        for pool in (GMPool(IN_FEATS), NGMPool(IN_FEATS), GMPool.paper(IN_FEATS, aggregate="max")):
            pool.eval()
            out = pool(graph, feat.to(dtype))
            assert out.dtype == dtype
            torch.testing.assert_close(out.float(), pool(graph, feat), rtol=0.05, atol=0.05)


def test_reset_parameters_draws_new_ones():
    pool = GMPool.paper(8)
    before = pool.grouping.weight.detach().clone()
    pool.reset_parameters()
    assert not torch.equal(before, pool.grouping.weight)


def test_repr_shows_the_options():
    text = repr(GMPool.paper(8, similarity="cauchy", decomposition="eigen", num_clusters=3))
    for part in ("in_feats=8", "'cauchy'", "'eigen'", "num_clusters=3", "aggregate='mean'"):
        assert part in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity": "caucy"}, "Did you mean 'cauchy'"),
        ({"decomposition": "choleski"}, "Did you mean 'cholesky'"),
        ({"aggregate": "avg"}, "Known: atoms_and_groups, max, mean, mean_and_max"),
        ({"num_clusters": 0}, "num_clusters is 0"),
        ({"num_clusters": 2.5}, "num_clusters is 2.5"),
        ({"tol": 1.0}, "tol is 1.0"),
        ({"tol": -0.1}, "tol is -0.1"),
        ({"tol": "0.1"}, "tol is '0.1'"),
        ({"num_clusters": True}, "num_clusters is True"),
        ({"edge_tol": -1e-3}, "edge_tol"),
        ({"edge_tol": None}, "edge_tol is None"),
        ({"edge_tol": float("nan")}, "edge_tol is nan"),
        ({"locality": "difusion"}, "Did you mean 'diffusion'"),
        ({"feature_norm": "bach"}, "Did you mean 'batch'"),
        ({"fragment_weight": -1.0}, "fragment_weight is -1.0"),
        ({"fragment_weight": "1"}, "fragment_weight is '1'"),
        ({"decomposition": "eigen"}, "use decomposition='pivot' or 'sqrtm', or locality='none'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        GMPool(8, **options)


@pytest.mark.parametrize("first", [GMPool, NGMPool])
@pytest.mark.parametrize("second", [GMPool, NGMPool])
def test_ngmpool_has_one_level_only(first, second):
    graph, feat = batch()
    coarse = first(WIDTH).double().coarsen(graph, feat)
    pool = second(WIDTH).double()
    if first is second is GMPool:
        assert pool(coarse.graph, coarse.feat).shape == (len(SIZES), pool.out_feats)
        assert pool.coarsen(coarse.graph, coarse.feat).graph.batch_size == len(SIZES)
        return
    for run in (pool, pool.coarsen):
        with pytest.raises(ValueError, match=r"do not commute.*activations.*Use GMPool") as error:
            run(coarse.graph, coarse.feat)
        assert first.__name__ in str(error.value)


@pytest.mark.parametrize(
    ("module", "values", "limit"),
    [(torch.float32, torch.float64, 1e40), (torch.float16, torch.float32, 1e5)],
)
@pytest.mark.parametrize("training", [False, True])
def test_values_that_the_dtype_of_the_module_cannot_hold_are_refused(
    training, module, values, limit
):
    """They are finite as they are given."""
    pool, graph = GMPool(2).to(module).train(training), dgl.graph(([0, 1], [1, 0]))
    before = {name: value.clone() for name, value in pool.state_dict().items()}
    feat = torch.tensor([[1.0, 2], [limit, 3]], dtype=values)
    with pytest.raises(ValueError, match=r"feat\[1, 0\] is 1.*beyond the .* of torch.float"):
        pool(graph, feat)
    with pytest.raises(ValueError, match=r"edge_weight\[0\] is not finite, beyond the"):
        pool(graph, feat.clamp(max=1), edge_weight=feat[:, 0].flip(0))
    with pytest.raises(ValueError, match=r"edge_feat\[1\] is not finite, beyond the"):
        pool.coarsen(graph, feat.clamp(max=1), feat)
    for name, value in pool.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_values_whose_variance_overflows_leave_the_running_statistics_alone():
    pool, graph = GMPool(2).train(), dgl.graph(([0, 1], [1, 0]))
    pool(graph, torch.tensor([[1.0, 2], [1e18, 3]]))
    before = {name: value.clone() for name, value in pool.grouping.norm.named_buffers()}
    for name in ("running_mean", "running_var"):
        assert torch.isfinite(before[name]).all()
    with pytest.raises(ValueError, match=r"values up to 1e\+20.* beyond 1.8e\+19 overflows"):
        pool(graph, torch.tensor([[1.0, 2], [1e20, 3]]))
    for name in ("running_mean", "running_var"):
        assert torch.equal(getattr(pool.grouping.norm, name), before[name])


@pytest.mark.parametrize("similarity", ["linear", "cauchy", "gaussian"])
def test_values_whose_squares_overflow_are_refused_and_large_ones_are_not(similarity):
    graph, feat = batch()
    pool = GMPool.paper(WIDTH, similarity=similarity).double()
    with pytest.raises(ValueError, match="overflow; standardise"):
        pool(graph, feat * 1e200)
    assert pool(graph, feat * 1e100).isfinite().all()


@pytest.mark.parametrize("similarity", ["linear", "cauchy", "gaussian"])
@pytest.mark.parametrize("decomposition", ["none", "sqrtm", "cholesky"])
def test_normalised_pool_equals_the_loop(decomposition, similarity):
    """S S' (or S, for NGMPool) is D^-1/2 M D^-1/2 of each graph, and the readout follows from S."""
    graph, feat = batch()
    options = {} if decomposition == "none" else {"tol": 0.0}
    pool = make(decomposition, similarity, normalize=True, **options)
    out = pool(graph, feat)
    found = pool.assignments(graph, feat)
    for x, matrix, assign, row in zip(
        feat.split(list(SIZES)), loop_matrices(pool, feat), found, out
    ):
        size = matrix.sum(1)
        expected = torch.as_tensor(matrix / (size[:, None] * size[None, :]) ** 0.5)
        values, vectors = torch.linalg.eigh(expected)
        nearest = (vectors * values.clamp(min=0)) @ vectors.mT
        product = assign if decomposition == "none" else assign @ assign.mT
        wanted = expected if decomposition == "none" else nearest
        torch.testing.assert_close(product, wanted, rtol=0, atol=1e-6)
        if len(x):
            torch.testing.assert_close(row, (assign.mT @ x).mean(0))


@pytest.mark.parametrize("pool_class", [GMPool, NGMPool])
def test_normalised_readout_does_not_grow_with_size(pool_class):
    """Copies of one node: the mean is that node, however many there are."""
    pool = pool_class.paper(WIDTH, normalize=True).double()
    node = torch.linspace(1, 2, WIDTH, dtype=torch.float64)
    for number in (1, 4, 60):
        graph = dgl.graph(([], []), num_nodes=number)
        found = pool(graph, node.expand(number, -1).contiguous())
        torch.testing.assert_close(found[0], node, rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="normalize is 1"):
        pool_class(WIDTH, normalize=1)
