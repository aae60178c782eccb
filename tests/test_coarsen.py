"""Coarsening: eq. 13-15 against loops, the coarse batch as a graph, and the way back."""

from __future__ import annotations

import dgl
import numpy as np
import pytest
import reference
import torch
from dgl.nn import GraphConv
from scipy.optimize import linear_sum_assignment
from test_pooling import SIZES, WIDTH, batch, loop_assignments, make

from dgl_gmpool import GMPool, NGMPool
from dgl_gmpool.nn.grouping import SIMILARITIES
from dgl_gmpool.poolings.gmpool import DECOMPOSITIONS
from dgl_gmpool.testing import IN_FEATS, batch_members, molecule

CHANNELS = 3


def edges_of(graph, seed=1):
    """Random edge weights and multi-channel edge features, float64."""
    generator = torch.Generator().manual_seed(seed)
    count = graph.num_edges()
    weight = torch.rand(count, generator=generator, dtype=torch.float64) + 0.5
    return weight, torch.randn(count, CHANNELS, generator=generator, dtype=torch.float64)


def coarse_parts(coarse):
    """For each graph: X', A' and E' as dense arrays."""
    out = []
    nodes = coarse.graph.batch_num_nodes().tolist()
    edges = coarse.graph.batch_num_edges().tolist()
    source, destination = (ids.long() for ids in coarse.graph.edges())
    first = edge = 0
    for n, m in zip(nodes, edges):
        rows, here = slice(first, first + n), slice(edge, edge + m)
        u, v = (source[here] - first).tolist(), (destination[here] - first).tolist()
        weight = coarse.edge_weight.detach()[here].numpy()
        adjacency = reference.dense_edges(n, u, v, weight)
        features = None
        if coarse.edge_feat is not None:
            features = coarse.edge_feat.detach()[here].numpy()
            features = reference.dense_edges(n, u, v, features)
        out.append((coarse.feat.detach()[rows].numpy(), adjacency, features))
        first, edge = first + n, edge + m
    return out


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("decomposition", [*DECOMPOSITIONS, "none"])
def test_equals_the_loop(decomposition, similarity, weighted):
    """X' = S'X, A' = S'AS, E' = S'ES; the random graphs have self-loops and parallel edges."""
    graph, feat = batch()
    weight, edge_feat = edges_of(graph)
    pool = make(decomposition, similarity)
    options = {"edge_weight": weight} if weighted else {}
    coarse = pool.coarsen(graph, feat, edge_feat, **options)
    assigns = loop_assignments(pool, feat)
    for one, own, x, e, assign, part in zip(
        dgl.unbatch(graph),
        weight.split(graph.batch_num_edges().tolist()),
        feat.split(list(SIZES)),
        edge_feat.split(graph.batch_num_edges().tolist()),
        assigns,
        coarse_parts(coarse),
    ):
        if not len(x):
            assert part[0].shape == (0, WIDTH)
            continue
        ends = [ids.tolist() for ids in one.edges()]
        values = own.numpy() if weighted else np.ones(one.num_edges())
        adjacency = reference.dense_edges(len(x), *ends, values)
        features = reference.dense_edges(len(x), *ends, e.numpy())
        np.testing.assert_allclose(
            part[0], reference.pooled_features(assign, x.numpy()), rtol=0, atol=5e-5
        )
        expected = reference.pooled_edges(assign, adjacency)
        np.testing.assert_allclose(part[1], expected, rtol=0, atol=1e-4)
        expected = np.where(
            (np.abs(expected) > pool.edge_tol)[:, :, None],
            reference.pooled_edges(assign, features),
            0,
        )
        np.testing.assert_allclose(part[2], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("idtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("decomposition", [*DECOMPOSITIONS, "none"])
def test_the_coarse_batch_is_a_proper_batch(decomposition, idtype):
    graph, feat = batch()
    graph = graph.astype(idtype)
    pool = make(decomposition, "cauchy")
    coarse = pool.coarsen(graph, feat)
    assert coarse.graph.idtype == idtype
    assert coarse.graph.batch_size == len(SIZES)
    assert int(coarse.graph.batch_num_nodes().sum()) == coarse.graph.num_nodes()
    assert int(coarse.graph.batch_num_edges().sum()) == coarse.graph.num_edges()
    assert coarse.edge_weight.shape == (coarse.graph.num_edges(),)
    assert coarse.edge_feat is None
    parts = dgl.unbatch(coarse.graph)
    assert sum(part.num_edges() for part in parts) == coarse.graph.num_edges()
    columns = [each.shape[1] for each in pool.assignments(graph, feat)]
    assert coarse.graph.batch_num_nodes().tolist() == columns
    if decomposition == "pivot":
        assert columns == coarse.num_clusters.tolist()
    elif decomposition in ("sqrtm", "none"):
        assert columns == list(SIZES)


def test_a_dgl_layer_runs_on_the_coarse_batch():
    graph, feat = batch()
    coarse = make("sqrtm", "cauchy").coarsen(graph, feat)
    layer = GraphConv(WIDTH, 7, norm="none", allow_zero_in_degree=True).double()
    out = layer(coarse.graph, coarse.feat, edge_weight=coarse.edge_weight)
    expected = []
    for x, adjacency, _ in coarse_parts(coarse):
        weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
        expected.append(adjacency.T @ x @ weight + bias)
    np.testing.assert_allclose(out.detach().numpy(), np.concatenate(expected), atol=1e-9)


@pytest.mark.parametrize("decomposition", [*DECOMPOSITIONS, "none"])
def test_lift_is_the_adjoint_of_pooling(decomposition):
    """lift(Y) = S Y: the inner product of S Y with X is that of Y with S'X, in any width."""
    graph, feat = batch()
    pool = make(decomposition, "linear")
    coarse = pool.coarsen(graph, feat)
    y = torch.randn(coarse.feat.shape[0], 2 * WIDTH, dtype=torch.float64)
    lifted = coarse.lift(y)
    expected = [
        s @ part
        for s, part in zip(
            pool.assignments(graph, feat), y.split(coarse.graph.batch_num_nodes().tolist())
        )
        if len(s)
    ]
    torch.testing.assert_close(lifted, torch.cat(expected), rtol=0, atol=1e-10)
    left = (coarse.lift(coarse.feat) * feat).sum()
    torch.testing.assert_close(left, coarse.feat.square().sum(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("clusters", [1, 3])
def test_conv_weight_of_large_groups_in_half_precision(dtype, clusters):
    """The degree of a group is the number of its edges, and two of 256 were infinite together."""
    ends = torch.arange(160)
    graph = dgl.graph((torch.cat([ends, ends.roll(1)]), torch.cat([ends.roll(1), ends])))
    pool, feat = GMPool(4, num_clusters=clusters), torch.randn(160, 4).to(dtype)
    narrow, wide = pool.coarsen(graph, feat), pool.coarsen(graph, feat.float())
    assert narrow.conv_weight.dtype == dtype
    torch.testing.assert_close(narrow.conv_weight.float(), wide.conv_weight, rtol=0.02, atol=0.01)
    if clusters == 1:
        assert narrow.conv_weight.tolist() == [1.0]


def test_lift_refuses_other_rows():
    graph, feat = batch()
    coarse = make("cholesky", "cauchy").coarsen(graph, feat)
    with pytest.raises(ValueError, match=rf"{coarse.graph.num_nodes()} coarse nodes"):
        coarse.lift(torch.zeros(coarse.graph.num_nodes() + 1, WIDTH))
    with pytest.raises(TypeError, match=r"feat is ndarray; .*torch\.as_tensor\(feat, dtype=torch"):
        coarse.lift(coarse.feat.detach().numpy())
    with pytest.raises(TypeError, match=r"int64; .*feat\.float\(\)"):
        coarse.lift(torch.ones(coarse.graph.num_nodes(), WIDTH, dtype=torch.int64))


@pytest.mark.parametrize("other", [torch.float64, torch.int64, torch.ones(2), None])
def test_it_moves_to_devices_alone(other):
    """A dtype would be that of indices too, and cut features down to whole numbers."""
    coarse = GMPool(4).coarsen(dgl.graph(([0, 1], [1, 0])), torch.randn(2, 4))
    for device in ("cpu", torch.device("cpu")):
        assert torch.equal(coarse.to(device).feat, coarse.feat)
    with pytest.raises(TypeError, match="give a device, such as 'cpu'"):
        coarse.to(other)


def test_results_are_told_apart_as_objects():
    graph, feat = dgl.graph(([0, 1], [1, 0])), torch.randn(2, 4)
    one, other = (GMPool(4).coarsen(graph, feat, torch.ones(2, 1)) for _ in range(2))
    assert one == one
    assert one != other
    assert len({one, other, one}) == 2


def test_negligible_entries_make_no_edge():
    """Two far groups without a bond between them stay unconnected; edge_tol sets the limit."""
    graph = dgl.graph(([0, 1, 2, 3], [1, 0, 3, 2]))
    feat = torch.tensor([[0.0], [0.0], [50.0], [50.0]])
    coarse = GMPool.paper(1, similarity="gaussian", decomposition="cholesky").coarsen(graph, feat)
    assert [ids.tolist() for ids in coarse.graph.edges()] == [[0, 1], [0, 1]]
    assert coarse.edge_weight.tolist() == [2.0, 2.0]
    none = GMPool.paper(1, similarity="gaussian", edge_tol=10.0).coarsen(graph, feat)
    assert none.graph.num_edges() == 0
    assert none.feat.shape == (4, 1)


@pytest.mark.parametrize("decomposition", ["pivot", "cholesky"])
def test_eq_7_merges_groups_exactly(decomposition):
    """Disjoint clusters: coarse features are sums, coarse edges count bonds."""
    graph = dgl.graph(([0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]))
    feat = torch.tensor([[99.0, 1], [99, 1], [0, 2], [0, 2]])
    edge_feat = torch.arange(12.0).reshape(6, 2)
    pool = GMPool.paper(2, similarity="gaussian", decomposition=decomposition)
    with torch.no_grad():
        pool.grouping.weight.fill_(5)
    coarse = pool.coarsen(graph, feat, edge_feat)
    assert coarse.num_clusters.tolist() == [2]
    rows = {tuple(row) for row in coarse.feat.tolist()}
    assert rows == {(198.0, 2.0), (0.0, 4.0)}
    assert sorted(coarse.edge_weight.tolist()) == [1.0, 1.0, 2.0, 2.0]
    torch.testing.assert_close(coarse.edge_feat.sum(0), edge_feat.sum(0))


# Order of nodes. -----------------------------------------------------------------------------


def _renumber(graph, seed):
    place = torch.randperm(graph.num_nodes(), generator=torch.Generator().manual_seed(seed))
    source, destination = (place[ids.long()] for ids in graph.edges())
    out = dgl.graph((source, destination), num_nodes=graph.num_nodes())
    out.ndata["h"] = torch.empty_like(graph.ndata["h"]).index_copy(0, place, graph.ndata["h"])
    out.edata["e"] = graph.edata["e"]
    return out, place.numpy()


def _close(found, expected):
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("kind", ["sqrtm", "none"])
def test_coarse_nodes_follow_the_nodes(kind, similarity):
    """float32: coarse node i belongs to node i, so the coarse graph is permuted like the graph."""
    torch.manual_seed(0)
    if kind == "none":
        pool = NGMPool.paper(IN_FEATS, similarity=similarity)
    else:
        pool = GMPool.paper(IN_FEATS, similarity=similarity)
    for seed, graph in enumerate(batch_members()):
        other, place = _renumber(graph, seed)
        ((x, a, e),) = coarse_parts(pool.coarsen(graph, graph.ndata["h"], graph.edata["e"]))
        ((y, b, f),) = coarse_parts(pool.coarsen(other, other.ndata["h"], other.edata["e"]))
        _close(y[place], x)
        _close(b[place][:, place], a)
        _close(f[place][:, place], e)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("decomposition", ["pivot", "cholesky"])
def test_clusters_are_the_same_set(decomposition, similarity):
    """float32, symmetric molecules: the same coarse graph up to the order of clusters."""
    torch.manual_seed(0)
    pool = GMPool.paper(IN_FEATS, similarity=similarity, decomposition=decomposition)
    for seed, graph in enumerate([*batch_members(), molecule("ethane")]):
        other, _ = _renumber(graph, seed)
        ((x, a, e),) = coarse_parts(pool.coarsen(graph, graph.ndata["h"], graph.edata["e"]))
        ((y, b, f),) = coarse_parts(pool.coarsen(other, other.ndata["h"], other.edata["e"]))
        assert x.shape == y.shape
        _, order = linear_sum_assignment(np.abs(x[:, None] - y[None]).max(2))
        _close(y[order], x)
        _close(b[order][:, order], a)
        _close(f[order][:, order], e)


@pytest.mark.parametrize("decomposition", DECOMPOSITIONS)
def test_alone_and_batched(decomposition):
    torch.manual_seed(0)
    pool = GMPool.paper(IN_FEATS, decomposition=decomposition, similarity="cauchy")
    graphs = batch_members()
    together = dgl.batch(graphs)
    parts = coarse_parts(pool.coarsen(together, together.ndata["h"], together.edata["e"]))
    for graph, (x, a, e) in zip(graphs, parts):
        ((y, b, f),) = coarse_parts(pool.coarsen(graph, graph.ndata["h"], graph.edata["e"]))
        for found, expected in ((y, x), (b, a), (f, e)):
            _close(found, expected)


# Gradients and errors. -----------------------------------------------------------------------


@pytest.mark.parametrize("decomposition", [*DECOMPOSITIONS, "none"])
def test_gradcheck_through_coarsening_and_lift(decomposition):
    graph, feat = batch((4, 1, 0, 3))
    weight, edge_feat = edges_of(graph)
    # Entries of A' near edge_tol would make an edge appear; with a negative-free A none does.
    pool = make(decomposition, "cauchy", edge_tol=0.0)
    names = [name for name, _ in pool.named_parameters()]

    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = pool

        def forward(self, feat, weight, edge_feat):
            coarse = self.pool.coarsen(graph, feat, edge_feat, edge_weight=weight)
            return coarse.feat, coarse.edge_weight, coarse.edge_feat, coarse.lift(coarse.feat)

    both = Both()

    def run(feat, weight, edge_feat, *values):
        parameters = {f"pool.{name}": value for name, value in zip(names, values)}
        return torch.func.functional_call(both, parameters, (feat, weight, edge_feat))

    inputs = [feat, weight, edge_feat, *(p.detach() for p in pool.parameters())]
    inputs = tuple(each.clone().requires_grad_() for each in inputs)
    assert torch.autograd.gradcheck(run, inputs, atol=1e-4, rtol=1e-3, fast_mode=True)


def test_two_levels_have_gradients_everywhere():
    graph, feat = batch()
    first, second = (make("sqrtm", "linear") for _ in range(2))
    feat.requires_grad_()
    coarse = first.coarsen(graph, feat)
    again = second.coarsen(coarse.graph, coarse.feat, edge_weight=coarse.edge_weight)
    (again.feat.square().sum() + again.edge_weight.sum()).backward()
    for each in (feat, *first.parameters(), *second.parameters()):
        assert bool(torch.isfinite(each.grad).all())
        assert bool(each.grad.abs().sum() > 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"edge_feat": torch.ones(3, 2)}, ValueError, r"edge_feat has shape \(3, 2\)"),
        ({"edge_feat": torch.ones(4)}, ValueError, "channels"),
        ({"edge_weight": torch.ones(3)}, ValueError, "4 edges"),
        ({"edge_feat": torch.ones(4, 2).long()}, TypeError, "int64"),
        ({"edge_weight": torch.tensor([1, torch.nan, 1, 1])}, ValueError, r"edge_weight\[1\]"),
        ({"edge_feat": torch.full((4, 1), torch.inf)}, ValueError, r"edge_feat\[0\]"),
        ({"batch_num_nodes": torch.tensor([1, 3])}, ValueError, "edge 0 joins node 0 of graph 0"),
        ({"batch_num_nodes": torch.tensor([2, 3])}, ValueError, "adds up to 5"),
        ({"batch_num_nodes": torch.tensor([2.5, 2.5])}, TypeError, "give integers"),
        ({"edge_weight": [1.0, 1.0, 1.0, 1.0]}, TypeError, "edge_weight is list"),
    ],
)
def test_errors_name_what_is_wrong(arguments, error, message):
    graph = dgl.graph(([0, 1, 2, 3], [1, 0, 3, 2]))
    with pytest.raises(error, match=message):
        GMPool(2).coarsen(graph, torch.randn(4, 2), **arguments)


def test_a_column_of_edge_weights_is_taken():
    graph, feat = batch()
    weight, _ = edges_of(graph)
    pool = make("sqrtm", "cauchy")
    flat = pool.coarsen(graph, feat, edge_weight=weight)
    column = pool.coarsen(graph, feat, edge_weight=weight[:, None])
    assert torch.equal(flat.edge_weight, column.edge_weight)


def test_repr_is_short():
    graph, feat = batch((2, 3))
    text = repr(make("cholesky", "cauchy").coarsen(graph, feat))
    assert text.startswith("PooledGraph(graphs=2, ")
    assert "\n" not in text


@pytest.mark.parametrize(
    "make_pool",
    [lambda: GMPool(2, decomposition="sqrtm"), lambda: NGMPool(2)],
    ids=["sqrtm", "ngmpool"],
)
def test_nodes_that_edge_features_alone_tell_apart_follow_no_numbering(make_pool):
    """A chain of equal atoms, numbered backwards, with a self-loop at one end. Pivots, which see M
    and X, are another matter (docs/numerics.md)."""
    first, end = torch.arange(8), torch.tensor([0])
    ends = torch.cat([first, first + 1, end]), torch.cat([first + 1, first, end])
    feat, values = torch.ones(9, 2).double(), torch.cat([first, first, end + 9])[:, None]
    pool = make_pool().double().eval()
    parts = [
        coarse_parts(pool.coarsen(graph, feat, values.double()))[0]
        for graph in (dgl.graph(ends), dgl.graph((8 - ends[0], 8 - ends[1])))
    ]
    (_, one, of_one), (_, other, of_other) = parts
    np.testing.assert_allclose(other[::-1, ::-1], one, atol=1e-9)
    np.testing.assert_allclose(of_other[::-1, ::-1], of_one, atol=1e-9)
