"""States of equal trees computed once: what comes out is the same, and less is computed."""

from __future__ import annotations

import dgl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_gmpool import DMPNN, MoleculePredictor
from dgl_gmpool.data import featurize, load_sodium_channel
from dgl_gmpool.models.shared_states import Alike, sharing_states


def widened(step, arriving):
    """Stands for an exchange: every node sees the others."""
    return arriving + (step + 1) * arriving.mean(0).sin()


def compare(model, graph, x, e, **options):
    model.eval()
    with torch.no_grad():
        expected = model(graph, x, e, **options)
        with sharing_states(model):
            found = model(graph, x, e, **options)
    assert not model.shares_states
    for mine, theirs in zip(found, expected):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def rows_of_updates(model, graph, x, e):
    seen = []
    hook = model.edge_update.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    with torch.no_grad(), sharing_states(model):
        model(graph, x, e)
    hook.remove()
    return seen


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_graph_any_network(data):
    """Self-loops, parallel edges, edges without a reverse, nodes without edges; few kinds of
    features, so that much is alike."""
    nodes = data.draw(st.integers(1, 9))
    node = st.integers(0, nodes - 1)
    edges = data.draw(st.lists(st.tuples(node, node), max_size=20))
    edges += [(v, u) for u, v in edges if data.draw(st.booleans())]
    kinds = st.integers(0, data.draw(st.integers(0, 2)))
    table = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = table[[data.draw(kinds) for _ in range(nodes)]]
    e = table[[data.draw(kinds) for _ in edges]]
    source, destination = zip(*edges) if edges else ((), ())
    graph = dgl.graph((list(source), list(destination)), num_nodes=nodes)
    options = data.draw(st.sampled_from([{}, {"norm": "batch", "residual": True}]))
    torch.manual_seed(0)
    model = DMPNN(4, 4, hidden_feats=5, num_steps=data.draw(st.integers(1, 4)), **options).double()
    given_options = {"exchange": widened} if data.draw(st.booleans()) else {}
    compare(model, graph, x, e, **given_options)


def test_a_molecule_twice_is_computed_as_once():
    graphs = featurize(load_sodium_channel().take(range(3)), progress=False).graphs
    torch.manual_seed(0)
    model = DMPNN(78, 12, hidden_feats=8).eval()
    once, ten = (dgl.batch([graphs[i] for i in range(3)] * times) for times in (1, 10))
    seen = [rows_of_updates(model, each, each.ndata["h"], each.edata["e"]) for each in (once, ten)]
    assert seen[0] == seen[1]
    # Different atoms of a molecule share states too, the deeper the fewer.
    assert seen[0] == sorted(seen[0])
    assert seen[0][0] < seen[0][-1] < once.num_edges()


def test_different_trees_have_states_of_their_own():
    # Two paths that differ in an atom three bonds away from the end.
    ends = [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)]
    path = dgl.graph(tuple(map(list, zip(*ends))))
    both = dgl.batch([path, path])
    x = torch.ones(8, 2)
    x[7] = 2
    torch.manual_seed(0)
    model = DMPNN(2, 0, hidden_feats=4, num_steps=3, dropout=0).eval()
    with torch.no_grad(), sharing_states(model):
        nodes, _ = model(both, x)
    assert torch.equal(nodes[0], nodes[3])
    assert not torch.allclose(nodes[0], nodes[4])


def test_features_that_no_row_shares_or_that_are_not_a_number():
    graph = dgl.rand_graph(20, 60)
    torch.manual_seed(0)
    model = DMPNN(3, 2, hidden_feats=4).double()
    x, e = torch.randn(20, 3).double(), torch.randn(60, 2).double()
    compare(model, graph, x, e)
    x[3, 1] = float("nan")
    assert Alike.rows(x) is None
    with torch.no_grad(), sharing_states(model.eval()):
        nodes, _ = model(graph, x, e)
    assert nodes.isnan().any()


@pytest.mark.parametrize("case", ["training", "gradients", "weights"])
def test_elsewhere_nothing_is_shared(case):
    graph = dgl.graph(([0, 1, 2, 3], [1, 0, 3, 2]))
    model = DMPNN(2, 2, hidden_feats=4, dropout=0.5).train(case == "training")
    x, e = torch.ones(4, 2), torch.ones(4, 2)
    seen = []
    model.edge_update.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    with torch.set_grad_enabled(case == "gradients"), sharing_states(model):
        model(graph, x, e, edge_weight=torch.ones(4) if case == "weights" else None)
    assert seen == [4, 4, 4]


@pytest.mark.parametrize(
    "options", [{}, {"exchange_after": "layer"}, {"readout": "mean"}, {"levels": 2}], ids=str
)
def test_predictions_are_the_same_to_rounding(options):
    data = featurize(load_sodium_channel().take(range(40)), progress=False)
    torch.manual_seed(0)
    model = MoleculePredictor(
        data.node_in_feats,
        data.edge_in_feats,
        hidden_feats=16,
        conductance_start=data.conductance_start,
        **options,
    ).eval()
    for each in model.exchange_steps:  # as after training; they start as the identity
        torch.nn.init.ones_(each.norm.weight)
    graph = data.graphs.batch()
    with torch.no_grad():
        expected = model(graph, graph.ndata["h"], graph.edata["e"])
        with sharing_states(model):
            found = model(graph, graph.ndata["h"], graph.edata["e"])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
