"""Directed message passing: against dictionaries, on every kind of graph, with its gradients."""

from __future__ import annotations

import dgl
import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_gmpool import DMPNN
from dgl_gmpool.models.reverse_edges import reverse_edges
from dgl_gmpool.testing import batch_members

#: Name: (number of nodes, directed edges).
GRAPHS = {
    "one node": (1, []),
    "no edge": (4, []),
    "one bond": (2, [(0, 1), (1, 0)]),
    "path": (4, [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)]),
    "ring": (3, [(0, 1), (1, 0), (1, 2), (2, 1), (2, 0), (0, 2)]),
    "two parts": (4, [(0, 1), (1, 0), (2, 3), (3, 2)]),
    "self-loops": (3, [(0, 1), (1, 0), (1, 2), (2, 1), (0, 0), (1, 1), (2, 2)]),
    "two self-loops on a node": (2, [(0, 0), (0, 1), (0, 0), (1, 0)]),
    "one way only": (4, [(0, 1), (1, 2), (2, 3), (3, 1)]),
    "some reverses missing": (4, [(0, 1), (1, 0), (1, 2), (3, 2), (2, 3)]),
    "parallel edges": (3, [(0, 1), (0, 1), (1, 0), (1, 2), (2, 1), (2, 1)]),
    "everything": (4, [(0, 1), (1, 1), (1, 0), (0, 1), (2, 1), (2, 2), (3, 2), (2, 3), (3, 2)]),
}


def make(node=3, edge=2, steps=3, **options):
    torch.manual_seed(0)
    return DMPNN(node, edge, hidden_feats=5, num_steps=steps, dropout=0.0, **options).double()


def inputs(name, node=3, edge=2):
    n, edges = GRAPHS[name]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, node, generator=generator, dtype=torch.float64)
    e = torch.randn(len(edges), edge, generator=generator, dtype=torch.float64)
    weight = torch.randn(len(edges), generator=generator, dtype=torch.float64)
    source, destination = zip(*edges) if edges else ([], [])
    return dgl.graph((list(source), list(destination)), num_nodes=n), x, e, weight


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", GRAPHS)
def test_equals_the_loop(name, steps, weighted):
    graph, x, e, weight = inputs(name)
    model = make(steps=steps)
    weight = weight if weighted else None
    nodes, edges = model(graph, x, e, edge_weight=weight)
    expected = reference.dmpnn(
        model,
        graph.num_nodes(),
        GRAPHS[name][1],
        x.numpy(),
        e.numpy(),
        None if weight is None else weight.numpy(),
    )
    np.testing.assert_allclose(nodes.detach(), expected[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(edges.detach(), expected[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", [name for name in GRAPHS if GRAPHS[name][1]])
@pytest.mark.parametrize("exchanging", [False, True])
def test_gradcheck(name, weighted, exchanging):
    """The messages' gradient is written by hand: features, weights and parameters."""
    graph, x, e, weight = inputs(name)
    model = make(steps=2)
    names = [key for key, _ in model.named_parameters()]
    options = {"exchange": lambda step, arriving: arriving + arriving.sin() * (step + 1)}

    def run(x, e, weight, *values):
        return torch.func.functional_call(
            model,
            dict(zip(names, values)),
            (graph, x, e),
            {"edge_weight": weight, **(options if exchanging else {})},
        )

    values = [p.detach().clone().requires_grad_() for p in model.parameters()]
    given_weight = weight.requires_grad_() if weighted else None
    arguments = (x.requires_grad_(), e.requires_grad_(), given_weight, *values)
    assert torch.autograd.gradcheck(run, arguments, atol=1e-6, fast_mode=True)


@pytest.mark.parametrize("name", ["ring", "self-loops", "some reverses missing", "everything"])
def test_the_order_of_edges_does_not_matter(name):
    graph, x, e, weight = inputs(name)
    model = make()
    nodes, states = model(graph, x, e, edge_weight=weight)
    # Parallel edges are matched in order, so they keep theirs.
    edges = GRAPHS[name][1]
    seen = {edge: 0 for edge in edges}
    rank = [(seen.__setitem__(edge, seen[edge] + 1), seen[edge])[1] for edge in edges]
    shuffled = torch.randperm(len(edges), generator=torch.Generator().manual_seed(3)).tolist()
    order = torch.tensor(sorted(range(len(edges)), key=lambda k: (rank[k], shuffled[k])))
    source, destination = (ids[order] for ids in graph.edges())
    other = dgl.graph((source, destination), num_nodes=graph.num_nodes())
    again, permuted = model(other, x, e[order], edge_weight=weight[order])
    torch.testing.assert_close(again, nodes, rtol=0, atol=1e-12)
    torch.testing.assert_close(permuted, states[order], rtol=0, atol=1e-12)


def test_no_message_comes_back():
    """On a single bond the only message would be one's own: states stay as they start."""
    graph, x, e, _ = inputs("one bond")
    one, two = make(steps=1), make(steps=5)
    two.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(graph, x, e)[1], two(graph, x, e)[1], rtol=0, atol=0)


def test_weights_of_one_change_nothing_and_of_zero_cut():
    graph, x, e, _ = inputs("path")
    model = make()
    plain = model(graph, x, e)
    ones = model(graph, x, e, edge_weight=torch.ones(6))
    for found, expected in zip(ones, plain):
        torch.testing.assert_close(found, expected)
    cut = model(graph, x, e, edge_weight=torch.zeros(6, dtype=torch.float64))[0]
    alone = model(dgl.graph(([], []), num_nodes=4), x)[0]
    torch.testing.assert_close(cut, alone)


def test_without_edge_features():
    graph, x, _, _ = inputs("ring")
    model = make(edge=0)
    nodes, states = model(graph, x)
    assert nodes.shape == (3, 5)
    assert states.shape == (6, 5)


def test_batched_equals_concatenated_float32():
    torch.manual_seed(0)
    graphs = batch_members()
    model = DMPNN(16, 12, hidden_feats=32).eval()
    together = dgl.batch(graphs)
    nodes, edges = model(together, together.ndata["h"], together.edata["e"])
    parts = [model(g, g.ndata["h"], g.edata["e"]) for g in graphs]
    torch.testing.assert_close(nodes, torch.cat([p[0] for p in parts]), rtol=0, atol=1e-5)
    torch.testing.assert_close(edges, torch.cat([p[1] for p in parts]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("idtype", [torch.int32, torch.int64])
def test_id_types(idtype):
    graph, x, e, _ = inputs("everything")
    model = make()
    assert torch.equal(model(graph.astype(idtype), x, e)[0], model(graph, x, e)[0])


def test_dropout_acts_in_training_only():
    graph, x, e, _ = inputs("ring")
    model = DMPNN(3, 2, hidden_feats=50, dropout=0.5).double()
    assert not torch.equal(model(graph, x, e)[0], model(graph, x, e)[0])
    model.eval()
    assert torch.equal(model(graph, x, e)[0], model(graph, x, e)[0])


def test_bfloat16_autocast():
    graph, x, e, _ = inputs("everything")
    model = make().float()
    expected = model(graph, x.float(), e.float())[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        nodes = model(graph, x.float(), e.float())[0]
    torch.testing.assert_close(nodes.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("x", "e", "message"),
    [
        (torch.zeros(3, 4), torch.zeros(6, 2), "node_in_feats=3"),
        (torch.zeros(2, 3), torch.zeros(6, 2), "3 nodes"),
        (torch.zeros(3, 3), None, "edge_feats is missing"),
        (torch.zeros(3, 3), torch.zeros(5, 2), "6 edges"),
        (torch.zeros(3, 3), torch.zeros(6, 3), "edge_in_feats=2"),
    ],
)
def test_misshapen_input_is_refused(x, e, message):
    graph, *_ = inputs("ring")
    with pytest.raises(ValueError, match=message):
        make()(graph, x.double(), None if e is None else e.double())


@pytest.mark.parametrize(
    "options", [{"hidden_feats": 0}, {"num_steps": 0}, {"num_steps": 1.5}, {"hidden_feats": None}]
)
def test_options_are_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        DMPNN(3, 2, **options)


# Reverse edges. ------------------------------------------------------------------------------

EDGES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=25)


@given(EDGES, st.booleans())
@settings(max_examples=150, deadline=None)
def test_reverse_edges_equal_the_loop_and_are_an_involution(edges, in_pairs):
    if in_pairs:
        edges = [end for u, v in edges for end in ((u, v), (v, u))]
    ends = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2)
    source, destination = ends[:, 0], ends[:, 1]
    reverse = reverse_edges(source, destination, 5)
    expected = reference.reverse_of(edges)
    assert reverse.tolist() == [expected.get(k, -1) for k in range(len(edges))]
    has = reverse >= 0
    own = torch.arange(len(edges))[has]
    assert torch.equal(reverse[reverse[has]], own)
    assert torch.equal(source[reverse[has]], destination[has])
    assert torch.equal(destination[reverse[has]], source[has])
    assert not bool((has & (source == destination)).any())


def test_reverse_edges_of_molecules_are_their_bonds():
    graph = dgl.batch(batch_members())
    source, destination = graph.edges()
    reverse = reverse_edges(source, destination, graph.num_nodes())
    # dgllife writes each bond as two neighbouring edges.
    assert torch.equal(reverse, torch.arange(graph.num_edges()) ^ 1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"node_feats": torch.ones(3, 8).long()}, TypeError, "node_feats is torch.int64"),
        ({"edge_feats": torch.ones(4, 4).long()}, TypeError, "edge_feats is torch.int64"),
        ({"node_feats": torch.ones(3, 8).double()}, TypeError, r"node_feats is torch\.float64 and"),
        ({"edge_feats": torch.ones(4, 4).numpy()}, TypeError, "edge_feats is ndarray"),
        ({"edge_weight": torch.ones(3)}, ValueError, "each of the 4 edges"),
        ({"edge_weight": 1.0}, TypeError, "edge_weight is float; give a tensor"),
    ],
)
def test_wrong_dtypes_and_weights_are_named(change, error, message):
    graph = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1]))
    given = {"node_feats": torch.ones(3, 8), "edge_feats": torch.ones(4, 4), **change}
    with pytest.raises(error, match=message):
        DMPNN(8, 4, hidden_feats=6)(graph, **given)
