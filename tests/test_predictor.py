"""MoleculePredictor: every backbone, readout and level; configuration; errors."""

from __future__ import annotations

import json

import dgl
import numpy as np
import pytest
import torch
from dgl.nn import GraphConv, NNConv
from torch import nn

from dgl_gmpool import MoleculePredictor, list_readouts
from dgl_gmpool.models.backbones import BACKBONES, Backbone
from dgl_gmpool.nn.coarsen import normalise_edge_weight
from dgl_gmpool.registry import readout_entry
from dgl_gmpool.testing import batch_members, batch_of, empty_graph, molecule

NODE, EDGE = 16, 12
#: The one on codes has a file of its own, test_gin.py.
NETWORKS = [name for name in BACKBONES if name != "gin"]
LEVELS = [(name, 1) for name in NETWORKS] + [(n, k) for n in NETWORKS if n != "gcn" for k in (2, 3)]
SMALL = {"hidden_feats": 12, "num_steps": 2, "head_feats": 8}


def graphs():
    return dgl.batch([*batch_members(), molecule("methane"), molecule("sodium acetate")])


def run(model, graph, **options):
    return model(graph, graph.ndata["h"], graph.edata["e"], **options)


def make(**options):
    torch.manual_seed(0)
    return MoleculePredictor(NODE, EDGE, **{**SMALL, **options})


def check_gradients(model):
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert bool(torch.isfinite(parameter.grad).all()), name
    for pool in model.poolings:
        grads = [parameter.grad for parameter in pool.parameters()]
        assert not grads or any(grad is not None for grad in grads)


@pytest.mark.parametrize(("backbone", "levels"), LEVELS)
def test_every_backbone_and_level(backbone, levels):
    model = make(backbone=backbone, levels=levels, n_tasks=3, dropout=0.0)
    graph = graphs()
    out = run(model, graph)
    assert out.shape == (graph.batch_size, 3)
    assert bool(torch.isfinite(out).all())
    out.square().sum().backward()
    check_gradients(model)


@pytest.mark.parametrize(
    "options", [{}, {"backbone": "gcn", "backbone_options": {"edges": True}}], ids=["dmpnn", "gcn"]
)
@pytest.mark.parametrize("sparse", ["csc", "csr"])
def test_graphs_kept_in_one_sparse_format(options, sparse):
    """Edge features stay with their edges, which stand in another order in there. dgllife's own
    networks take what DGL's message passing takes."""
    graph = graphs()
    feats = graph.ndata["h"], graph.edata["e"] * torch.rand(graph.num_edges(), 1)
    model = make(levels=2, **options).eval()
    with torch.no_grad():
        expected, found = model(graph, *feats), model(graph.formats(sparse), *feats)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list_readouts())
def test_every_readout_at_one_level(name):
    model = make(readout=name)
    out = run(model, graphs())
    assert out.shape == (graphs().batch_size, 1)
    out.sum().backward()
    check_gradients(model)


@pytest.mark.parametrize(
    "name",
    [n for n in list_readouts() if readout_entry(n).coarsens and not readout_entry(n).single_level],
)
def test_every_pooling_at_two_levels(name):
    model = make(readout=name, levels=2)
    out = run(model, graphs())
    assert bool(torch.isfinite(out).all())
    out.sum().backward()
    check_gradients(model)


@pytest.mark.parametrize(
    "options",
    [*({"readout": name} for name in list_readouts()), *({"backbone": name} for name in NETWORKS)],
    ids=str,
)
def test_made_without_memory_it_is_filled_by_reset_parameters(options):
    """As large models are made: on "meta", ``to_empty``, ``reset_parameters``."""
    with torch.device("meta"):
        model = make(**options)
    model = model.to_empty(device="cpu")
    with torch.no_grad():
        for each in [*model.parameters(), *model.buffers()]:
            each.fill_(-77)  # what was in the memory before
    model.reset_parameters()
    for name, value in model.state_dict().items():
        assert not (value == -77).any(), name
    fresh = dict(make(**options).named_buffers())
    for name, value in model.named_buffers():
        assert torch.equal(value, fresh[name]), name


@pytest.mark.parametrize("decomposition", ["sqrtm", "eigen", "cholesky"])
def test_two_levels_with_a_root(decomposition):
    options = {"decomposition": decomposition, "locality": "none", "aggregate": "mean_and_max"}
    model = make(levels=2, readout_options=options)
    run(model, graphs()).sum().backward()
    check_gradients(model)


@pytest.mark.parametrize(("backbone", "levels"), LEVELS)
def test_configuration_round_trip(backbone, levels):
    model = make(
        backbone=backbone,
        levels=levels,
        n_tasks=2,
        readout_options={"similarity": "cauchy"},
        conductance_start=[0.5] * (EDGE + 1),
        global_feats=3,
    )
    config = json.loads(json.dumps(model.config))
    other = MoleculePredictor(**config)
    assert other.config == model.config
    other.load_state_dict(model.state_dict())
    graph = batch_of("aspirin", "methanol")
    extra = torch.randn(2, 3)
    found = run(other.eval(), graph, global_feats=extra)
    assert torch.equal(found, run(model.eval(), graph, global_feats=extra))


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_configuration_of_arrays_and_tensors_is_that_of_their_numbers(kind):
    start = [0.5] * EDGE + [2.0]
    model = make(
        conductance_start=kind(start, dtype=kind(0.5).dtype),
        readout_options={"rank_weight": np.float64(0.25)},
        exchange=np.bool_(True),
    )
    config = json.loads(json.dumps(model.config))
    assert (config["conductance_start"], config["exchange"]) == (start, True)
    assert config["readout_options"] == {"rank_weight": 0.25}
    other = MoleculePredictor(**config)
    assert torch.equal(other.conductance.weight, model.conductance.weight)


def test_configuration_is_a_copy():
    model = make()
    model.config["levels"] = 7
    assert model.config["levels"] == 1


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("similarity", ["linear", "cauchy"])
def test_order_of_atoms_and_company_do_not_matter(levels, similarity):
    """The whole model in float32 on symmetric molecules."""
    model = make(levels=levels, readout_options={"similarity": similarity}).eval()
    members = batch_members()
    with torch.no_grad():
        expected = run(model, dgl.batch(members))
        for index, graph in enumerate(members):
            place = torch.randperm(graph.num_nodes(), generator=torch.Generator().manual_seed(2))
            source, destination = (place[ids.long()] for ids in graph.edges())
            other = dgl.graph((source, destination), num_nodes=graph.num_nodes())
            h = torch.empty_like(graph.ndata["h"]).index_copy(0, place, graph.ndata["h"])
            found = model(other, h, graph.edata["e"])[0]
            torch.testing.assert_close(found, expected[index], rtol=0, atol=1e-5)


def test_empty_graphs_keep_their_rows():
    model = make(levels=2).eval()
    a, b = molecule("aspirin"), molecule("caffeine")
    with torch.no_grad():
        out = run(model, dgl.batch([empty_graph(), a, empty_graph(), b, empty_graph()]))
        expected = run(model, dgl.batch([a, b]))
    torch.testing.assert_close(out[[1, 3]], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(out[[0, 2]], out[[4, 4]], rtol=0, atol=0)


def test_learns():
    """A few steps on one batch bring the loss down."""
    for readout, levels in (("gmpool", 1), ("ngmpool", 1), ("gmpool", 2)):
        model = make(readout=readout, levels=levels, dropout=0.0, hidden_feats=32)
        graph = graphs()
        target = torch.arange(float(graph.batch_size))[:, None] / graph.batch_size
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        losses = []
        for _ in range(30):
            loss = (run(model, graph) - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.3 * losses[0], (readout, levels)


def test_two_levels_of_0_2_0_load():
    """They had a readout on both levels, and used the second."""
    model = MoleculePredictor(16, 12, levels=2, hidden_feats=8)
    state = model.state_dict()
    readout = {name: value for name, value in state.items() if "poolings.1.group_readout" in name}
    assert readout
    state |= {name.replace("poolings.1", "poolings.0"): value for name, value in readout.items()}
    other = MoleculePredictor(**model.config)
    other.load_state_dict(state)
    graph = batch_of("aspirin", "ethanol")
    feats = graph.ndata["h"], graph.edata["e"]
    assert torch.equal(other.eval()(graph, *feats), model.eval()(graph, *feats))


@pytest.mark.parametrize("part", ["backbones.", "poolings.1.", "head.", "conductance."])
def test_a_part_of_a_state_leaves_the_rest_as_it_is(part):
    """Nothing is filled in where an older file would have had something else."""
    model = MoleculePredictor(
        16, 12, levels=2, hidden_feats=8, conductance_start=[0.0] * 13, lift=True
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    given = {
        name: value
        for name, value in MoleculePredictor(**model.config).state_dict().items()
        if name.startswith(part)
    }
    with pytest.raises(RuntimeError, match=r"Missing key.*start"):
        model.load_state_dict(given)
    found = model.load_state_dict(given, strict=False)
    # torch counts batches from where it is, as its files did not always hold the number.
    missing = {name for name in before.keys() - given.keys() if "num_batches" not in name}
    assert set(found.missing_keys) == missing
    for name, value in model.state_dict().items():
        assert torch.equal(value, given.get(name, before[name])), name


def test_reset_parameters_draws_new_ones():
    model = make(levels=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.reset_parameters()
    same = [k for k, v in model.state_dict().items() if v.dim() > 1 and torch.equal(v, before[k])]
    assert same == []


def test_global_features_join_the_readout():
    model = make(global_feats=2).eval()
    graph = batch_of("aspirin", "benzene")
    one = run(model, graph, global_feats=torch.zeros(2, 2))
    other = run(model, graph, global_feats=torch.tensor([[0.0, 0.0], [3.0, 1.0]]))
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[1], other[1])
    for wrong in (None, torch.zeros(2, 3), torch.zeros(3, 2)):
        with pytest.raises(ValueError, match=r"expected \(2, 2\)"):
            run(model, graph, global_feats=wrong)
    with pytest.raises(ValueError, match=r"global_feats\[1, 0\] is nan, in graph 1 of the batch"):
        run(model, graph, global_feats=torch.tensor([[0.0, 0.0], [torch.nan, 1.0]]))
    with pytest.raises(TypeError, match="global_feats is list; give a tensor"):
        run(model, graph, global_feats=[[0.0, 0.0], [3.0, 1.0]])
    with pytest.raises(ValueError, match=r"shape \(2, 2\); expected \(2, 0\).*global_feats=0"):
        run(make(), graph, global_feats=torch.zeros(2, 2))


class _OwnBackbone(nn.Module):
    out_feats = 7

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(NODE, 7)

    def forward(self, graph, node_feats, edge_feats):
        return self.layer(node_feats)


def test_a_backbone_of_your_own():
    model = make(backbone=_OwnBackbone())
    assert run(model, graphs()).shape == (graphs().batch_size, 1)
    with pytest.raises(ValueError, match="your own module"):
        model.config  # noqa: B018 - the property raises
    wrapped = make(backbone=Backbone(nn.Linear(NODE, 7), 7))
    assert wrapped.poolings[0].in_feats == 7
    layer = GraphConv(NODE, 7, allow_zero_in_degree=True)
    wrapped = make(backbone=Backbone(layer, 7, takes_edges=False))
    assert run(wrapped, graphs()).shape == (graphs().batch_size, 1)


class _OwnOnCodes(_OwnBackbone):
    def forward(self, graph, node_feats, edge_feats):
        return self.layer(nn.functional.one_hot(node_feats, NODE).float())


@pytest.mark.parametrize("readout", ["gmpool", "mean"])
@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda states: states[:, :5], r"\(\d+, 5\)"),
        (lambda states: states.unflatten(1, (1, 7)), r"\(\d+, 1, 7\)"),
        (lambda states: [states], "list"),
    ],
)
def test_a_backbone_of_your_own_is_told_what_it_gives(readout, change, seen):
    model = make(backbone=_OwnBackbone(), readout=readout)
    model.backbones[0].gnn.register_forward_hook(lambda _, given, out: change(out))
    with pytest.raises(ValueError, match=rf"_OwnBackbone gave node states {seen}; expected"):
        run(model, graphs())


def test_edge_features_beside_a_backbone_of_your_own_are_checked():
    model, graph = make(backbone=_OwnBackbone()), graphs()
    with pytest.raises(ValueError, match=r"edge_feats has shape .*edge_in_feats=12"):
        model(graph, graph.ndata["h"], graph.edata["e"][:, :3])
    with pytest.raises(TypeError, match="edge_feats is"):
        model(graph, graph.ndata["h"], graph.edata["e"].long())
    with pytest.raises(TypeError, match=r"edge_feats is torch\.float64 and the network"):
        model(graph, graph.ndata["h"], graph.edata["e"].double())
    graph.edata["e"][7, 1] = torch.nan
    with pytest.raises(ValueError, match=r"edge_feats\[7, 1\] is nan, in graph 0"):
        run(model, graph)


@pytest.mark.parametrize("readout", ["gmpool", "mean"])
def test_a_backbone_of_your_own_may_take_codes_of_atoms(readout):
    """And makes of them what another makes of their one-hot rows."""
    graph = graphs()
    codes = torch.arange(graph.num_nodes()) % NODE
    model = make(backbone=_OwnOnCodes(), readout=readout).eval()
    of_rows = make(backbone=_OwnBackbone(), readout=readout).eval()
    of_rows.load_state_dict(model.state_dict())
    rows = nn.functional.one_hot(codes, NODE).float()
    edges = graph.edata["e"]
    assert torch.equal(model(graph, codes, edges), of_rows(graph, rows, edges))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"readout": "gmpol"}, "Did you mean 'gmpool'"),
        ({"backbone": "dmpn"}, "Did you mean 'dmpnn'"),
        ({"readout_options": {"similarty": "cauchy"}}, "Did you mean 'similarity'"),
        ({"levels": 0}, "levels is 0"),
        ({"levels": 1.0}, "levels is 1.0"),
        ({"levels": 2, "readout": "mean"}, "readout='gmpool'"),
        ({"levels": 2, "readout": "ngmpool"}, r"do not commute.*activations"),
        ({"levels": 2, "backbone": "gcn"}, "neither edge weights nor edge features"),
        ({"levels": 2, "backbone": _OwnBackbone()}, "name it instead"),
        ({"backbone": nn.Linear(3, 3)}, "takes nothing as the third; wrap it"),
        ({"backbone": GraphConv(NODE, 7)}, r"takes weight as the third; .*takes_edges=False"),
        ({"backbone": NNConv(NODE, 7, nn.Identity())}, "no integer out_feats; set it"),
        ({"n_tasks": 0}, "n_tasks is 0"),
        ({"head_feats": 0}, "head_feats is 0"),
        ({"global_feats": -1}, "global_feats is -1"),
        ({"backbone": "gcn", "num_steps": 0}, "num_steps is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_errors_say_what_to_do(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_normalised_edge_weights():
    """Against D^-1/2 A D^-1/2 with the absolute degrees; signs stay, isolated edges become one."""
    graph = dgl.graph(([0, 0, 1, 1, 2], [0, 1, 0, 2, 1]))
    weight = torch.tensor([4.0, 2.0, 2.0, -3.0, -3.0], dtype=torch.float64)
    matrix = torch.zeros(3, 3, dtype=torch.float64)
    matrix[graph.edges()[0], graph.edges()[1]] = weight
    scale = matrix.abs().sum(1).rsqrt()
    expected = (scale[:, None] * matrix * scale)[graph.edges()[0], graph.edges()[1]]
    torch.testing.assert_close(normalise_edge_weight(graph, weight), expected)
    values = torch.linalg.eigvalsh(scale[:, None] * matrix * scale)
    assert float(values.abs().max()) <= 1 + 1e-12


@pytest.mark.parametrize("backbone", NETWORKS)
@pytest.mark.parametrize(
    ("nodes", "edges", "error", "message"),
    [
        ((NODE + 1, torch.float32), (EDGE, torch.float32), ValueError, "node_in_feats=16"),
        ((NODE, torch.int64), (EDGE, torch.float32), TypeError, "node_feats is torch.int64"),
        ((NODE, torch.float32), (EDGE + 1, torch.float32), ValueError, "edge_in_feats=12"),
        ((NODE, torch.float32), None, ValueError, "edge_feats is missing"),
    ],
)
def test_wrong_features_are_named_for_every_backbone(backbone, nodes, edges, error, message):
    graph = molecule("ethane")
    node_feats = torch.ones(graph.num_nodes(), nodes[0], dtype=nodes[1])
    edge_feats = None
    if edges is not None:
        edge_feats = torch.ones(graph.num_edges(), edges[0], dtype=edges[1])
    model = make(backbone=backbone, readout="mean")
    if backbone == "gcn" and message.startswith("edge"):
        # It takes no edge features, so whatever comes is left alone.
        assert model(graph, node_feats, edge_feats).shape == (1, 1)
        return
    with pytest.raises(error, match=message):
        model(graph, node_feats, edge_feats)


#: And whether it looks at edge features.
TAKERS = [
    *((dict(backbone=name, readout="mean"), name != "gcn") for name in NETWORKS),
    (dict(backbone="gcn"), True),  # its bonds conduct
    (dict(backbone="gcn", readout="mean", backbone_options={"edges": True}), True),
    (dict(backbone_options={"norm": "batch"}, readout="mean"), True),
]


@pytest.mark.parametrize(("options", "edges"), TAKERS)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_value_that_is_not_finite_is_named_and_leaves_the_statistics(options, edges, value):
    graph, model = graphs(), make(**options).train()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    for data, name, counts in (
        (graph.ndata["h"], "node_feats", graph.batch_num_nodes()),
        (graph.edata["e"], "edge_feats", graph.batch_num_edges()),
    ):
        if name == "edge_feats" and not edges:
            continue
        row = int(counts[:5].sum())  # the first of graph 5
        kept = float(data[row, 3])
        data[row, 3] = value
        with pytest.raises(ValueError, match=rf"{name}\[{row}, 3\] is {value:g}, in graph 5 of"):
            run(model, graph)
        data[row, 3] = kept
    for name, each in model.state_dict().items():
        assert torch.equal(each, before[name]), name
    assert bool(torch.isfinite(run(model, graph)).all())


@pytest.mark.parametrize(("options", "edges"), TAKERS)
def test_double_features_and_arrays_are_told_with_a_remedy(options, edges):
    graph, model = graphs(), make(**options)
    nodes, bonds = graph.ndata["h"], graph.edata["e"]
    told = r"node_feats is torch.float64 and the network torch.float32; .*\.to\(torch.float32\)"
    for call in (model, model.embed):
        with pytest.raises(TypeError, match=told):
            call(graph, nodes.double(), bonds)
        with pytest.raises(TypeError, match=r"ndarray; .*torch\.as_tensor\(node_feats, dtype="):
            call(graph, nodes.numpy(), bonds)
        with pytest.raises(ValueError, match="node_in_feats=16"):
            call(graph, nodes[:, :3], bonds)
        with pytest.raises(TypeError, match="graph is list; give a DGLGraph"):
            call([graph], nodes, bonds)
        if edges:
            with pytest.raises(TypeError, match=r"edge_feats is torch\.float64 and the network"):
                call(graph, nodes, bonds.double())
            with pytest.raises(TypeError, match="edge_feats is ndarray"):
                call(graph, nodes, bonds.numpy())
            with pytest.raises(ValueError, match="edge_feats is missing"):
                call(graph, nodes)
    with pytest.raises(TypeError, match=r"node_feats is torch\.float32 and the network"):
        model.double()(graph, nodes, bonds)
    expected = make(**options).eval()(graph, nodes, bonds)
    found = model.eval()(graph, nodes.double(), bonds.double())
    torch.testing.assert_close(found.float(), expected, rtol=1e-4, atol=1e-5)


# DGL says so itself when a graph has no edges.
@pytest.mark.filterwarnings("ignore:The input graph for the user-defined edge function")
@pytest.mark.parametrize("backbone", NETWORKS)
def test_molecules_without_bonds_need_no_edge_features(backbone):
    graph = molecule("methane")
    assert graph.num_edges() == 0
    model = make(backbone=backbone).eval()  # dgllife's GCN normalises over the atoms of a batch
    assert model(graph, graph.ndata["h"]).shape == (1, 1)


@pytest.mark.parametrize("backbone", ["mpnn", "attentivefp"])
def test_networks_over_edge_features_need_some(backbone):
    with pytest.raises(ValueError, match="needs edge features"):
        MoleculePredictor(NODE, 0, backbone=backbone)


def test_tasks_that_are_dropped_leave_the_others_as_they_were():
    model = MoleculePredictor(8, 4, n_tasks=5, hidden_feats=16, dropout=0.0).eval()
    graph = dgl.batch([dgl.graph(([0, 1], [1, 0])), dgl.graph(([], []), num_nodes=1)])
    inputs = graph, torch.randn(3, 8), torch.randn(2, 4)
    before = model(*inputs)
    model.keep_tasks(2)
    # A product of other shape may add up in another order.
    torch.testing.assert_close(model(*inputs), before[:, :2], rtol=1e-6, atol=1e-6)
    assert model.n_tasks == model.config["n_tasks"] == 2
    again = MoleculePredictor(**model.config).eval()
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(*inputs), model(*inputs))
    model.keep_tasks(2)
    for wrong in (0, 3):
        with pytest.raises(ValueError, match="n_tasks is"):
            model.keep_tasks(wrong)
