"""Atoms and groups that exchange inside the network."""

from __future__ import annotations

import dgl
import numpy as np
import pytest
import reference
import torch
from test_pooling import SIZES, WIDTH, batch

from dgl_gmpool import DMPNN, GroupExchange, MoleculePredictor
from dgl_gmpool.models.backbones import Backbone
from dgl_gmpool.nn.locality import START_TIME
from dgl_gmpool.nn.structure import GraphStructure
from dgl_gmpool.testing import batch_members, empty_graph, molecule

BACKBONES = ("dmpnn", "gcn", "attentivefp")
PLACES = ("network", "layer")


def trained(time=3.0):
    torch.manual_seed(0)
    layer = GroupExchange(WIDTH, time=time).double()
    with torch.no_grad():
        layer.step.norm.weight.normal_()
        layer.step.norm.running_mean.normal_()
        layer.step.norm.running_var.uniform_(0.5, 2)
    return layer.eval()


# The layer. ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_it_starts_as_the_identity(mode):
    graph, feat = batch()
    layer = getattr(GroupExchange(WIDTH).double(), mode)()
    assert torch.equal(layer(graph, feat), feat)
    layer = trained()
    layer.reset_parameters()
    assert torch.equal(layer(graph, feat), feat)
    assert layer.locality.time.item() == pytest.approx(3)


def ways_around(n, source, destination):
    """R^-4 of each edge, R its effective resistance."""
    laplacian = np.zeros((n, n))
    for u, v in {tuple(sorted(ends)) for ends in zip(source, destination) if len(set(ends)) > 1}:
        laplacian[[u, v], [u, v]] += 1
        laplacian[[u, v], [v, u]] -= 1
    inverse = np.linalg.pinv(laplacian)
    found = [inverse[u, u] + inverse[v, v] - 2 * inverse[u, v] for u, v in zip(source, destination)]
    return [r**-4 if r > 1e-9 else 1.0 for r in found]


@pytest.mark.parametrize("conducting", [False, True])
def test_equals_the_loop(conducting):
    graph, feat = batch()
    layer = trained()
    values = torch.rand(graph.num_edges(), dtype=torch.float64) + 0.2
    found = layer(graph, feat, conductance=values if conducting else None).detach()
    linear, bias = (p.detach().numpy() for p in layer.step.to_groups.parameters())
    back_again = layer.step.to_nodes.weight.detach().numpy()
    norm = layer.step.norm
    parts = zip(
        dgl.unbatch(graph),
        values.split(graph.batch_num_edges().tolist()),
        feat.split(list(SIZES)),
        found.split(list(SIZES)),
    )
    for one, own, x, out in parts:
        if not len(x):
            continue
        ends = [ids.tolist() for ids in one.edges()]
        a = own.tolist() if conducting else ways_around(len(x), *ends)
        kernel = reference.heat_kernel(reference.conductances(len(x), *ends, a), 1.5)
        share = kernel / kernel.sum(1, keepdims=True)
        hidden = np.maximum((share @ x.numpy()) @ linear.T + bias, 0)
        back = (share @ hidden) @ back_again.T - norm.running_mean.numpy()
        back = back / np.sqrt(norm.running_var.numpy() + norm.eps)
        back = back * norm.weight.detach().numpy() + norm.bias.detach().numpy()
        np.testing.assert_allclose(out, x.numpy() + back, rtol=1e-5, atol=1e-6)


def test_node_order_company_and_empty_graphs_do_not_matter():
    graph, feat = batch((6, 3))
    layer = trained()
    expected = layer(graph, feat)
    place = torch.randperm(6, generator=torch.Generator().manual_seed(1))
    first, second = dgl.unbatch(graph)
    u, v = (place[ids.long()] for ids in first.edges())
    moved = dgl.graph((u, v), num_nodes=6)
    x = torch.empty_like(feat[:6]).index_copy(0, place, feat[:6])
    none = dgl.graph(([], []), num_nodes=0)
    out = layer(dgl.batch([none, second, none, moved]), torch.cat([feat[6:], x]))
    torch.testing.assert_close(out[:3], expected[6:], rtol=0, atol=1e-12)
    torch.testing.assert_close(out[3:][place], expected[:6], rtol=0, atol=1e-12)
    assert layer(none, feat[:0]).shape == (0, WIDTH)


def test_gradcheck():
    graph, feat = batch((5, 1, 0, 3))
    layer = trained()
    names = [name for name, _ in layer.named_parameters()]
    conductance = torch.rand(graph.num_edges(), dtype=torch.float64) + 0.5

    def run(feat, conductance, *values):
        options = {"conductance": conductance}
        return torch.func.functional_call(layer, dict(zip(names, values)), (graph, feat), options)

    inputs = [feat, conductance, *(p.detach() for p in layer.parameters())]
    assert torch.autograd.gradcheck(run, tuple(each.clone().requires_grad_() for each in inputs))


def test_dtypes_and_errors():
    graph, feat = batch()
    layer = GroupExchange(WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(graph, feat.bfloat16()).dtype == torch.bfloat16
    with pytest.raises(ValueError, match=rf"in_feats={WIDTH}"):
        layer(graph, feat[:, :2])
    with pytest.raises(TypeError, match="int64"):
        layer(graph, feat.long())
    with pytest.raises(ValueError, match="time is 0"):
        GroupExchange(WIDTH, time=0)
    assert layer.locality.time.item() == pytest.approx(START_TIME)


# In the network. -----------------------------------------------------------------------------

SMALL = {"hidden_feats": 12, "num_steps": 3, "head_feats": 8, "dropout": 0.0}


def graphs():
    return dgl.batch([*batch_members(), molecule("methane"), molecule("sodium acetate")])


def run(model, graph):
    return model(graph, graph.ndata["h"], graph.edata["e"])


def model_of(backbone, **options):
    torch.manual_seed(0)
    model = MoleculePredictor(16, 12, backbone=backbone, **{**SMALL, **options})
    with torch.no_grad():
        for step in model.exchange_steps:
            step.norm.weight.normal_()
    return model


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("exchange", [True, False, None])
@pytest.mark.parametrize("readout", ["gmpool", "mean"])
@pytest.mark.parametrize("place", PLACES)
def test_exchange_is_on_where_it_is_asked_for(backbone, exchange, readout, place):
    model = model_of(backbone, exchange=exchange, readout=readout, exchange_after=place)
    steps = 3 if place == "layer" and backbone in ("dmpnn", "gcn") else 1
    wanted = exchange if exchange is not None else readout == "gmpool"
    assert len(model.exchange_steps) == (steps if wanted else 0)
    # The diffusion of the exchange is that of the groups where there are groups.
    own = readout != "gmpool"
    assert (model.exchange_locality is not None) == (wanted and own)
    assert (model.conductance is not None) == (wanted or readout == "gmpool")
    graph = graphs()
    out = run(model, graph)
    out.square().sum().backward()
    assert torch.isfinite(out).all()
    for name, parameter in model.named_parameters():
        if "exchange" in name:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
    if wanted:
        locality = model.exchange_locality if own else model.poolings[0].locality
        assert locality.log_time.grad.abs() > 0
        assert model.conductance.weight.grad.abs().sum() > 0
        with torch.no_grad():
            for step in model.exchange_steps:
                torch.nn.init.zeros_(step.norm.weight)
        assert not torch.allclose(run(model, graph), out)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_after_the_network_it_changes_what_the_network_gives(backbone):
    """Once, on the last states: the layer of the same weights, on the network's own output."""
    model = model_of(backbone, readout="mean", exchange=True).eval()
    graph = graphs()
    plain, _ = model.backbones[0](graph, graph.ndata["h"], graph.edata["e"])
    layer = GroupExchange(SMALL["hidden_feats"]).eval()
    layer.locality.load_state_dict(model.exchange_locality.state_dict())
    layer.step.load_state_dict(model.exchange_steps[0].state_dict())
    at_end = GraphStructure(graph, plain.device).at_end.to(plain.dtype)
    conductance = model.conductance(graph.edata["e"], at_end)
    seen = []
    model.poolings[0].register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    run(model, graph)
    torch.testing.assert_close(seen[0], layer(graph, plain, conductance=conductance))
    assert not torch.allclose(seen[0], plain)


@pytest.mark.parametrize("backbone", ["dmpnn", "gcn"])
def test_a_network_of_one_layer_has_one_place(backbone):
    """The same for a GCN; in a DMPNN, in front of its output layer or behind it."""
    one = model_of(backbone, num_steps=1).eval()
    other = MoleculePredictor(**{**one.config, "exchange_after": "layer"}).eval()
    other.load_state_dict(one.state_dict())
    same = torch.equal(run(one, graphs()), run(other, graphs()))
    assert same == (backbone == "gcn")


def test_two_models_share_a_backbone_and_not_its_place():
    shared = Backbone(DMPNN(16, 12, hidden_feats=12), 12, edge_out_feats=12)
    first = model_of(shared, exchange_after="layer").eval()
    before = run(first, graphs())
    model_of(shared, exchange_after="network")
    assert torch.equal(run(first, graphs()), before)


def test_weights_of_the_other_place_say_so():
    older = model_of("gcn", exchange_after="layer")
    with pytest.raises(RuntimeError, match="exchange_after='layer'"):
        model_of("gcn").load_state_dict(older.state_dict())
    model_of("gcn").load_state_dict(older.state_dict(), strict=False)
    del older.exchange_after  # as a whole module that 0.6 pickled
    assert torch.isfinite(run(older, graphs())).all()
    with pytest.raises(ValueError, match="layer, network"):
        model_of("gcn", exchange_after="atoms")


def test_none_follows_the_readout():
    for options in ({"locality": "none"}, {"aggregate": "mean"}, {"similarity": "linear"}):
        model = model_of("gcn", readout_options=options)
        assert (len(model.exchange_steps) > 0) == ("similarity" in options), options


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("place", PLACES)
def test_order_of_atoms_and_company_do_not_matter(backbone, place):
    model = model_of(backbone, exchange_after=place)
    graph = graphs()
    for _ in range(3):
        run(model, graph)  # running statistics
    model.eval()
    with torch.no_grad():
        expected = run(model, graph)
        scale = max(1.0, float(expected.abs().max()))
        for index, one in enumerate(batch_members()):
            place = torch.randperm(one.num_nodes(), generator=torch.Generator().manual_seed(2))
            u, v = (place[ids.long()] for ids in one.edges())
            other = dgl.graph((u, v), num_nodes=one.num_nodes())
            h = torch.empty_like(one.ndata["h"]).index_copy(0, place, one.ndata["h"])
            found = model(other, h, one.edata["e"])[0]
            torch.testing.assert_close(found, expected[index], rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("backbone", ["dmpnn", "attentivefp"])
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("place", PLACES)
def test_more_levels(backbone, levels, place):
    model = model_of(backbone, levels=levels, exchange_after=place)
    graph = dgl.batch([graphs(), empty_graph()])
    out = run(model, graph)
    out.square().sum().backward()
    assert torch.isfinite(out).all()
    assert model.poolings[0].grouping.weight.grad.abs().sum() > 0
    for pool in model.poolings[1:-1]:  # on two or three nodes there may be nothing to divide
        assert pool.grouping.weight.grad is not None
    assert model.conductance.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("place", PLACES)
def test_configuration_and_state_rebuild_it(backbone, place):
    prior = [0.0] * 12 + [5.0]
    model = model_of(backbone, exchange=True, exchange_after=place, conductance_start=prior)
    graph = graphs()
    run(model, graph)
    other = MoleculePredictor(**model.config)
    assert other.config == model.config
    assert other.config["conductance_start"] == prior
    other.load_state_dict(model.state_dict())
    assert torch.equal(run(other.eval(), graph), run(model.eval(), graph))
    model.config["conductance_start"][0] = 9.0  # a copy
    assert model.config["conductance_start"] == prior
    wrong = {"conductance_start": [1.0]}
    with pytest.raises(ValueError, match="start has 1 values; give 13"):
        model_of(backbone, **wrong)


def test_norms_come_in_the_order_of_a_call(monkeypatch):
    """Several processes meet in each of them: in one order, all of them, and no other."""
    from dgl_gmpool.nn.norm import RowNorm

    normed = {"backbone_options": {"norm": "batch", "residual": True}}
    for options in (
        {},
        {"levels": 2},
        {"backbone": "gcn"},
        {"readout_norm": "batch"},
        normed,
        {"exchange": False, **normed},
        {"exchange_after": "layer"},
        {"exchange_after": "layer", "backbone": "gcn"},
        {"exchange_after": "layer", "levels": 2, **normed},
        {"levels": 3, "lift": True, **normed},
        {"backbone": "gcn", "levels": 2, "lift": True, "backbone_options": {"edges": True}},
    ):
        model = model_of(options.pop("backbone", "dmpnn"), **options)
        seen = []
        original = RowNorm.forward

        def forward(self, x, seen=seen, original=original):
            seen.append(self)
            return original(self, x)

        monkeypatch.setattr(RowNorm, "forward", forward)
        run(model, graphs())
        monkeypatch.undo()
        assert [id(each) for each in seen] == [
            id(each) for each in model.row_norms() if each in seen
        ]
        assert [id(each) for each in seen] == [id(each) for each in model.row_norms()]
