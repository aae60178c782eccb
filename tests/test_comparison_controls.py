"""The controls: the default readout with groups that nobody learned, or with none."""

from __future__ import annotations

import dgl
import pytest
import torch

from dgl_gmpool import GMPool, get_readout, list_readouts
from dgl_gmpool.data import featurize, load_sodium_channel
from dgl_gmpool.data.featurize import with_fragments
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.structure import GraphStructure
from dgl_gmpool.training import TrainingConfig, build_model
from dgl_gmpool.training.batches import collate
from experiments.table2.controls import (
    CONTROLS,
    BricsGroups,
    FrozenGrouping,
    NoGroups,
    OneGroup,
    RandomGraphGrouping,
    RandomGroups,
    control_readouts,
    rewired,
)


@pytest.fixture(scope="module")
def data():
    return with_fragments(featurize(load_sodium_channel().take(range(6)), progress=False))


@pytest.fixture(scope="module")
def graph(data):
    return dgl.batch(list(data.graphs))


def matrices(pool, graph):
    return pool.eval().grouping_matrices(graph, torch.randn(graph.num_nodes(), 8))


def test_given_groups_are_what_their_names_say(graph):
    counts = graph.batch_num_nodes().tolist()
    for matrix, n in zip(matrices(NoGroups(8), graph), counts):
        assert torch.equal(matrix, torch.eye(n))
    for matrix, n in zip(matrices(OneGroup(8), graph), counts):
        assert torch.equal(matrix, torch.ones(n, n))
    fragments = graph.ndata["fragment"].split(counts)
    for matrix, fragment in zip(matrices(BricsGroups(8), graph), fragments):
        assert torch.equal(matrix, (fragment[:, None] == fragment[None]).float())
    for matrix, n in zip(matrices(RandomGroups(8), graph), counts):
        groups = len(torch.unique(matrix, dim=0))
        assert 2 <= groups <= n // 5
        assert torch.equal(matrix, matrix.mT)


def test_random_groups_stay_with_the_molecule(graph, data):
    whole = matrices(RandomGroups(8), graph)
    for alone, in_batch in zip(data.graphs, whole):
        assert torch.equal(matrices(RandomGroups(8), alone)[0], in_batch)


def test_controls_are_known_inside_the_context_only():
    before = list_readouts()
    with control_readouts():
        for name in CONTROLS:
            assert get_readout(name, in_feats=8).out_feats == GMPool(8).out_feats
    assert list_readouts() == before
    with pytest.raises(ValueError, match="phi"):
        get_readout("phi", in_feats=8)


def losses_backward(readout, data):
    with control_readouts():
        model = build_model(
            TrainingConfig(readout=readout, hidden_feats=8, num_steps=1),
            node_in_feats=data.node_in_feats,
            edge_in_feats=data.edge_in_feats,
        )
    torch.nn.init.ones_(model.poolings[0].group_readout.gain)  # or no gradient reaches M
    for step in model.exchange_steps:
        torch.nn.init.ones_(step.norm.weight)
    batch = collate(data.graphs, edge_in_feats=data.edge_in_feats, device=torch.device("cpu"))
    model(*batch).square().sum().backward()
    return model


def test_a_frozen_matrix_learns_nothing_and_the_network_does(data):
    model = losses_backward("frozen", data)
    assert model.exchange_steps  # it is the default in all else
    for part in (model.poolings[0].grouping, model.poolings[0].locality, model.conductance):
        assert all(each.grad is None for each in part.parameters())
    learned = losses_backward("gmpool", data)
    for part in (learned.poolings[0].locality, learned.conductance):
        assert all(each.grad is not None for each in part.parameters())
    assert model.poolings[0].group_readout.linear.weight.grad is not None
    assert all(p.grad is not None for p in model.backbones.parameters())


def test_it_starts_as_the_default_does(graph):
    torch.manual_seed(0)
    frozen = FrozenGrouping(8).train()
    torch.manual_seed(0)
    default = GMPool(8).train()
    x = torch.randn(graph.num_nodes(), 8)
    assert torch.equal(frozen(graph, x), default(graph, x))


def test_a_random_graph_keeps_degrees_and_changes_neighbours(data, graph):
    structure = GraphStructure(graph, torch.device("cpu"))
    other = rewired(structure)
    assert torch.equal(other.in_degrees(), graph.in_degrees())
    assert torch.equal(other.out_degrees(), graph.out_degrees())
    again = rewired(GraphStructure(graph, torch.device("cpu")))
    for ends, same in zip(other.edges(), again.edges()):
        assert torch.equal(ends, same)
    pairs = set(zip(*(each.tolist() for each in graph.edges())))
    new = set(zip(*(each.tolist() for each in other.edges())))
    assert new == {(b, a) for a, b in new}  # both directions still
    assert len(pairs & new) < 0.3 * len(pairs)
    # No bond leaves its molecule, which other molecules beside it do not change.
    alone = rewired(GraphStructure(data.graphs[0], torch.device("cpu")))
    count = data.graphs[0].num_edges()
    assert torch.equal(alone.edges()[0], other.edges()[0][:count])


def test_too_few_bonds_to_swap_stay_as_they_are():
    small = dgl.batch(
        [
            dgl.graph(([0, 1], [1, 0])),
            dgl.graph(([], []), num_nodes=1),
            dgl.graph(([0, 0, 1], [0, 1, 0])),  # a self-loop
            dgl.graph(([0, 1, 1, 2, 0, 2], [1, 0, 2, 1, 2, 0])),  # a triangle
        ]
    )
    other = rewired(GraphStructure(small, torch.device("cpu")))
    for ends, same in zip(other.edges(), small.edges()):
        assert torch.equal(ends, same)


def test_groups_are_local_on_the_random_graph(data, graph):
    pool = RandomGraphGrouping(8).eval()
    x = torch.randn(graph.num_nodes(), 8)
    there = pool.grouping_matrices(graph, x)
    plain = GMPool(8).eval().grouping_matrices(graph, x)
    assert all(not torch.allclose(a, b, atol=0.1) for a, b in zip(there, plain))
    direct = GMPool(8).eval()
    other = rewired(GraphStructure(graph, torch.device("cpu")))
    other.set_batch_num_nodes(graph.batch_num_nodes().to(other.idtype))
    other.set_batch_num_edges(graph.batch_num_edges().to(other.idtype))
    for a, b in zip(there, direct.grouping_matrices(other, x)):
        torch.testing.assert_close(a, b)
    # The exchange sees it too, and takes what the readout made.
    structure = GraphStructure(graph, x.device)
    structure.shared = True
    batch = GraphBatch(structure, x, width=8, dtype=x.dtype)
    assert pool.locality(batch)[0] is pool.locality(batch)[0]
    losses_backward("random_graph", data)
