"""What layers of a network share of a batch: let go in time, never stale, one for all."""

from __future__ import annotations

import gc
import weakref

import dgl
import numpy as np
import pytest
import torch

from dgl_gmpool import DMPNN, GMPool, MoleculePredictor, NGMPool
from dgl_gmpool.data.featurize import atom_order, with_fragments
from dgl_gmpool.data.fragments import brics_fragments
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.nn import locality
from dgl_gmpool.nn.structure import GraphStructure
from dgl_gmpool.training import TrainingConfig, train_run
from dgl_gmpool.training.run_folder import RunFolder


def chain(n: int) -> dgl.DGLGraph:
    ends = list(range(n - 1)), list(range(1, n))
    return dgl.graph((ends[0] + ends[1], ends[1] + ends[0]), num_nodes=n)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    graph = dgl.batch([chain(9), chain(12)])
    return graph, torch.randn(21, 8), torch.randn(graph.num_edges(), 4)


def model_of(**options):
    torch.manual_seed(1)
    return MoleculePredictor(8, 4, hidden_feats=16, head_feats=8, dropout=0.0, **options)


# Parts that have nothing to do with each other. ---------------------------------------------


def test_every_part_of_a_salt_has_a_group_of_its_own():
    """Docosane, a sodium and a chloride: long chains have many long columns, ions short ones."""
    graph = dgl.graph(chain(22).edges(), num_nodes=24)
    feat = torch.zeros(24, 8)
    feat[:22, 0] = 1
    feat[22, 4] = feat[23, 5] = 1
    for pool in (GMPool(8).eval(), NGMPool(8).eval()):
        names = pool.groups(graph, feat)
        assert not set(names[:22].tolist()) & set(names[22:].tolist())
        assert names[22] != names[23]
        (shares,) = pool.memberships(graph, feat)
        torch.testing.assert_close(shares[22:].max(1).values, torch.ones(2))
    coarse = GMPool(8).eval().coarsen(graph, feat)
    # The ions are nodes without edges.
    touched = torch.cat(coarse.graph.edges()).unique()
    assert len(touched) == coarse.graph.num_nodes() - 2


@pytest.mark.parametrize("seed", range(20))
def test_no_group_holds_two_components(seed):
    rng = np.random.default_rng(seed)
    n, alone = int(rng.integers(15, 40)), int(rng.integers(1, 4))
    parents = [int(rng.integers(i)) for i in range(1, n)]
    ends = list(range(1, n)) + parents, parents + list(range(1, n))
    graph = dgl.graph(ends, num_nodes=n + alone)
    names = (
        GMPool(4).eval().groups(graph, torch.from_numpy(rng.normal(size=(n + alone, 4))).float())
    )
    parts = [set(names[:n].tolist()), *({int(name)} for name in names[n:])]
    assert sum(map(len, parts)) == len(set.union(*parts)) == int(names.max()) + 1


# What is shared. ----------------------------------------------------------------------------


def test_a_step_leaves_nothing_behind(batch, monkeypatch):
    made: list[weakref.ref[GraphStructure]] = []
    begin = GraphStructure.__init__

    def noted(self, *arguments, **options):
        begin(self, *arguments, **options)
        made.append(weakref.ref(self))

    monkeypatch.setattr(GraphStructure, "__init__", noted)
    empty = dgl.batch([batch[0], chain(1).subgraph([])])
    gc.collect()
    gc.disable()
    try:
        for graph in (batch[0], empty):
            model_of()(graph, *batch[1:]).sum().backward()
        assert made
        assert not [each for each in made if each() is not None]
    finally:
        gc.enable()


def test_a_shared_diffusion_is_never_stale():
    torch.manual_seed(0)
    feat, pool = torch.randn(5, 8), GMPool(8).eval()
    structure = GraphStructure(chain(5), torch.device("cpu"))
    structure.shared = True
    torch.nn.init.ones_(pool.group_readout.gain)
    with torch.no_grad():
        first = pool(structure, feat)
    again = pool(structure, feat)
    torch.testing.assert_close(again, first)
    again.sum().backward()
    assert pool.locality.log_time.grad is not None
    with torch.no_grad():
        pool.locality.log_time.fill_(-20)
    found = pool(structure, feat)
    torch.testing.assert_close(found, pool(chain(5), feat))
    assert not torch.allclose(found, first)
    assert not torch.allclose(pool(structure, feat, conductance=torch.rand(8) * 9), found)
    with pytest.raises(TypeError, match="batch_num_nodes goes with a DGLGraph"):
        pool(structure, feat, batch_num_nodes=torch.tensor([5]))


@pytest.fixture
def diffusions(monkeypatch):
    """A list that grows with each diffusion in a bucket."""
    calls = []
    original = locality.heat_kernel
    monkeypatch.setattr(locality, "heat_kernel", lambda *a: calls.append(1) or original(*a))
    return calls


def test_the_exchange_and_the_groups_take_one_diffusion(batch, diffusions):
    model = model_of()
    model(*batch)
    assert len(diffusions) == 1  # one bucket


@pytest.mark.parametrize("options", [{}, {"readout": "ngmpool"}, {"levels": 2}])
def test_a_model_that_is_made_in_inference_mode(batch, diffusions, options):
    expected = model_of(**options).eval()(*batch)
    once = len(diffusions)
    with torch.inference_mode():
        model = model_of(**options).eval()
        torch.testing.assert_close(model(*batch), expected)
        assert len(diffusions) == 2 * once
    with torch.no_grad():
        torch.testing.assert_close(model(*batch), expected)


def test_a_shared_diffusion_is_never_stale_in_inference_mode():
    with torch.inference_mode():
        feat, pool = torch.randn(5, 8), GMPool(8, aggregate="mean").eval()
        structure = GraphStructure(chain(5), torch.device("cpu"))
        structure.shared = True
        first = pool(structure, feat)
        pool.locality.log_time.fill_(-20)
        found = pool(structure, feat)
        torch.testing.assert_close(found, pool(chain(5), feat))
        assert not torch.allclose(found, first)


def test_end_bonds_of_a_graph_of_single_directions():
    graph = dgl.graph(([0, 1, 2], [1, 2, 3]))
    for each in (graph, dgl.to_bidirected(graph), dgl.add_self_loop(graph)):
        ends = GraphStructure(each, torch.device("cpu")).at_end
        found = {(int(u), int(v)): float(end) for u, v, end in zip(*each.edges(), ends)}
        for (u, v), end in found.items():
            assert end == float({u, v} in ({0, 1}, {2, 3}) or (u == v and u in (0, 3)))


# Options that mean what they say. -----------------------------------------------------------


def test_names_follow_a_forced_number_and_the_edge_weight(batch):
    graph, feat, _ = batch
    pool = GMPool(8, num_clusters=4).eval()
    assert pool.spectrum(graph, feat).num_clusters.tolist() == [4, 4]
    assert [each.shape[1] for each in pool.memberships(graph, feat)] == [4, 4]
    assert pool.groups(graph, feat)[:9].unique().tolist() == [0, 1, 2, 3]
    weight = torch.rand(graph.num_edges()) + 0.1
    pool = GMPool(8).eval()
    found = pool.grouping_matrices(graph, feat, edge_weight=weight)
    for one, other in zip(found, pool.grouping_matrices(graph, feat, conductance=weight)):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(found[0], pool.grouping_matrices(graph, feat)[0])


def test_a_dmpnn_of_ones_own_exchanges_as_often_as_it_steps(batch):
    model = model_of(backbone=DMPNN(8, 4, hidden_feats=16, num_steps=4), exchange_after="layer")
    assert len(model.exchange_steps) == 4
    assert model(*batch).shape == (2, 1)


def test_edge_features_that_conduct_are_checked(batch):
    graph, feat, edges = batch
    model = model_of(backbone="gcn")
    with pytest.raises(ValueError, match="edge_feats is missing"):
        model(graph, feat)
    with pytest.raises(ValueError, match=r"edge_feats has shape \(38, 3\)"):
        model(graph, feat, edges[:, :3])
    assert model_of(backbone="gcn", readout="mean", exchange=False)(graph, feat).shape == (2, 1)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_every_parameter_learns_at_every_level(batch, levels):
    model = model_of(levels=levels)
    for step in model.exchange_steps:
        torch.nn.init.ones_(step.norm.weight)
    torch.nn.init.ones_(model.poolings[-1].group_readout.gain)
    model(*batch).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_wrong_options_of_the_exchange_and_of_conductances():
    with pytest.raises(ValueError, match="exchange is 'no'"):
        model_of(exchange="no")
    with pytest.raises(ValueError, match="give finite numbers"):
        model_of(conductance_start=[float("nan")] * 5)
    with pytest.raises(ValueError, match=r"cholesky.*locality='none'.*aggregate over S' X"):
        GMPool(8, max_clusters=10)


# Fragments. ---------------------------------------------------------------------------------


def fragments_dataset():
    from training_data import small_dataset

    return small_dataset()


def test_fragments_stand_at_the_nodes_of_their_atoms():
    dataset = with_fragments(fragments_dataset())
    for smiles, graph in zip(dataset.table.smiles, dataset.graphs):
        expected = brics_fragments(read_molecule(smiles)[0])
        found = graph.ndata["fragment"].numpy()
        for node, atom in enumerate(atom_order(smiles)):
            assert found[node] == expected[atom]


@pytest.mark.parametrize("levels", [1, 2])
def test_a_run_with_a_fragment_weight_trains(tmp_path, levels):
    from training_data import small_dataset, small_options

    from dgl_gmpool.data import make_splits

    dataset = small_dataset()
    splits = make_splits(dataset.table, folds=2, seed=0, test_fraction=0.25)
    options = {"fragment_weight": 0.1}
    config = TrainingConfig(
        **small_options(readout="gmpool", readout_options=options, levels=levels, epochs=1)
    )
    train_run(dataset, splits, config, tmp_path / "run", progress=False)
    assert RunFolder(tmp_path / "run").finished
