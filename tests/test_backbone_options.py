"""Options of the networks before the pooling: norm and residual of DMPNN, edges of GCN, lift."""

from __future__ import annotations

import dgl
import pytest
import torch

from dgl_gmpool import DMPNN, MoleculePredictor
from dgl_gmpool.cli import main as entry
from dgl_gmpool.models.backbones import get_backbone
from dgl_gmpool.models.edge_gcn import EdgeGCN
from dgl_gmpool.models.lift_step import LiftStep
from dgl_gmpool.nn.norm import RowNorm
from dgl_gmpool.testing import batch_members, batch_of, molecule
from dgl_gmpool.training.config import TrainingConfig

NODE, EDGE = 16, 12
OPTIONS = [
    {"backbone_options": {"norm": "batch"}},
    {"backbone_options": {"residual": True}},
    {"backbone_options": {"norm": "batch", "residual": True}, "levels": 2},
    {"backbone": "gcn", "backbone_options": {"edges": True}},
    {"backbone": "gcn", "backbone_options": {"edges": True}, "levels": 2},
    {"levels": 2, "lift": True},
    {"levels": 3, "lift": True, "backbone_options": {"norm": "batch"}},
]


def make(**options):
    torch.manual_seed(0)
    small = {"hidden_feats": 12, "num_steps": 2, "head_feats": 8, "dropout": 0.0}
    return MoleculePredictor(NODE, EDGE, **{**small, **options})


def run(model, graph):
    return model(graph, graph.ndata["h"], graph.edata["e"])


def graphs():
    return dgl.batch([*batch_members(), molecule("methane"), molecule("sodium acetate")])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_trains_and_comes_back_from_its_configuration(options):
    model, graph = make(**options), graphs()
    run(model, graph).square().sum().backward()
    # Zero gains at the start hide what is behind them from the first gradient.
    shown = [p for n, p in model.named_parameters() if "exchange" not in n and "lift" not in n]
    assert all(torch.isfinite(p.grad).all() for p in shown if p.grad is not None)
    assert all(p.grad is not None for p in model.backbones[0].parameters())
    other = MoleculePredictor(**model.config)
    other.load_state_dict(model.state_dict())
    assert torch.equal(run(other.eval(), graph), run(model.eval(), graph))
    model.reset_parameters()
    assert torch.isfinite(run(model, graph)).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_order_of_nodes_and_company_do_not_matter(options):
    model, members = make(**options), batch_members()
    with torch.no_grad():
        for _ in range(3):  # running statistics, and gains that are not zero
            run(model, dgl.batch(members))
        for each in model.modules():
            if isinstance(each, RowNorm) and each.affine:
                each.weight.fill_(0.5)
        model.eval()
        together = run(model, dgl.batch(members))
        for row, member in zip(together, members):
            place = torch.randperm(member.num_nodes(), generator=torch.Generator().manual_seed(2))
            source, destination = (place[ids.long()] for ids in member.edges())
            other = dgl.graph((source, destination), num_nodes=member.num_nodes())
            h = torch.empty_like(member.ndata["h"]).index_copy(0, place, member.ndata["h"])
            found = model(other, h, member.edata["e"])[0]
            torch.testing.assert_close(found, row, rtol=1e-5, atol=1e-5)


def test_norm_and_residual_of_dmpnn_are_what_they_say():
    graph, torch_seed = batch_of("aspirin", "methanol"), 3
    x, e = graph.ndata["h"].double(), graph.edata["e"].double()
    torch.manual_seed(torch_seed)
    model = DMPNN(NODE, EDGE, hidden_feats=5, num_steps=2, dropout=0, norm="batch", residual=True)
    model = model.double()
    nodes, edges = model(graph, x, e)
    source, destination = (ends.long() for ends in graph.edges())
    hidden = first = torch.relu(model.edge_init(torch.cat([x[source], e], 1)))
    for norm in model.step_norms:
        message = torch.zeros_like(hidden)
        for k in range(len(hidden)):
            arrive = (destination == source[k]) & (source != destination[k])
            message[k] = hidden[arrive].sum(0)
        hidden = hidden + torch.relu(norm(first + model.edge_update(message)))
    torch.testing.assert_close(edges, hidden)
    arriving = torch.zeros(len(x), 5, dtype=x.dtype).index_add(0, destination, hidden)
    expected = torch.relu(model.node_norm(model.node_update(torch.cat([x, arriving], 1))))
    torch.testing.assert_close(nodes, expected)


def test_without_options_dmpnn_is_the_papers():
    """Same parameters, same numbers as ever: models of 0.2.0 load."""
    model = DMPNN(NODE, EDGE, hidden_feats=5)
    assert {name.split(".")[0] for name in model.state_dict()} == {
        "edge_init",
        "edge_update",
        "node_update",
    }


def test_edge_gcn_against_a_loop():
    torch.manual_seed(1)
    graph = dgl.graph(([0, 1, 1, 2, 3], [1, 0, 2, 1, 3]), num_nodes=5)
    x, e, a = torch.randn(5, 3), torch.randn(5, 2), torch.rand(5)
    model = EdgeGCN(3, 2, hidden_feats=4, num_layers=2).eval()
    found = model(graph, x, e, edge_weight=a)
    for layer, norm in zip(model.layers, model.step_norms):
        arriving = layer.bias.repeat(5, 1)
        for k, (u, v) in enumerate(zip(*(ends.tolist() for ends in graph.edges()))):
            arriving[v] += a[k] * torch.relu(layer.of_node(x[u]) + layer.of_edge(e[k]))
        x = norm(torch.relu(arriving) + torch.relu(layer.residual(x)))
    torch.testing.assert_close(found, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_edge_gcn_under_autocast(dtype):
    graph = batch_of("aspirin", "ethane")
    feat, bonds = graph.ndata["h"], torch.rand(graph.num_edges(), 3)
    torch.manual_seed(0)
    network = EdgeGCN(feat.shape[1], 3, hidden_feats=8).eval()
    expected = network(graph, feat, bonds)
    with torch.autocast("cpu", dtype=dtype):
        found = network(graph, feat, bonds)
    found.sum().backward()
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


def test_messages_of_gcn_see_the_bonds():
    graph = batch_of("aspirin")
    options = {"readout": "mean", "exchange": False}
    for model, same in (
        (make(backbone="gcn", **options), True),
        (make(**OPTIONS[3], **options), False),
    ):
        before = run(model.eval(), graph)
        changed = graph.clone()
        changed.edata["e"] = graph.edata["e"].flip(1)
        assert torch.equal(run(model, changed), before) == same


@pytest.mark.parametrize("readout", ["gmpool", "diffpool"])
def test_lift_starts_as_the_network_without_groups_and_then_sees_them(readout):
    graph, options = batch_of("aspirin", "caffeine"), {"readout": readout, "levels": 2}
    model = make(lift=True, **options).eval()
    flat = make(readout=readout).eval()
    rename = {"poolings.1.": "poolings.0."}
    state = model.state_dict()
    for old, new in rename.items():
        state |= {new + key[len(old) :]: v for key, v in state.items() if key.startswith(old)}
    flat.load_state_dict({key: state[key] for key in flat.state_dict()})
    first = run(model, graph)
    torch.testing.assert_close(first, run(flat, graph))
    (step,) = model.lift_steps
    assert isinstance(step, LiftStep)
    with torch.no_grad():
        step.norm.weight.fill_(1.0)
    assert not torch.allclose(run(model, graph), first)
    run(model, graph).sum().backward()
    assert model.backbones[1].gnn.node_update.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lift": True}, "lift is True with levels=1"),
        ({"levels": 2, "lift": "yes"}, "lift is 'yes'"),
        ({"backbone_options": {"nrom": "batch"}}, "Did you mean 'norm'"),
        ({"backbone_options": {"norm": "layer"}}, "unknown norm 'layer'"),
        ({"backbone_options": {"residual": 1}}, "residual is 1"),
        ({"backbone": "gcn", "backbone_options": {"edges": "add"}}, "edges is 'add'"),
        ({"backbone": "mpnn", "backbone_options": {"norm": "batch"}}, "It has no options"),
        ({"backbone": "gcn", "levels": 2}, "edges=True"),
    ],
)
def test_wrong_options_name_the_next_step(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
    with pytest.raises(TypeError, match="give a dict"):
        make(backbone_options=["norm"])


def test_gcn_with_edges_needs_edge_features():
    with pytest.raises(ValueError, match="needs edge features"):
        get_backbone("gcn", node_in_feats=4, edge_in_feats=0, options={"edges": True})


def test_settings_of_a_run():
    options = {"norm": "batch", "residual": True}
    config = TrainingConfig(levels=2, lift=True, backbone_options=options)
    assert config.run_name == "dmpnn-norm=batch-residual=True-gmpool-2levels-lift-seed0"
    assert TrainingConfig.from_dict(config.to_dict()) == config
    assert not {"lift", "backbone_options"} & set(TrainingConfig().to_dict())
    with pytest.raises(ValueError, match="lift=True: expected"):
        TrainingConfig(lift=True)


WITHOUT = ["--no-report", "--baselines", "none"]
FLAGS = "--backbone-option norm=batch --levels 2 --levels-lift --hidden 8 --epochs 1 --folds 2"


def test_flags_config_and_resume(tmp_path, capsys):
    table = tmp_path / "table.csv"
    rows = [f"{'C' * (1 + i % 9)}{'O' * (1 + i % 2)},{i % 7}" for i in range(40)]
    table.write_text("\n".join(["smiles,y", *rows]) + "\n")
    train = ["train", "csv", "--csv", str(table), "--target", "y", *WITHOUT, "--output"]
    assert entry([*train, str(tmp_path / "a"), *FLAGS.split()]) == 0
    (run_a,) = (tmp_path / "a").glob("*seed0")
    assert run_a.name == "dmpnn-norm=batch-gmpool-2levels-lift-seed0"
    config = ["--config", str(run_a / "config.json")]
    assert entry([*train, str(tmp_path / "b"), *config]) == 0
    (run_b,) = (tmp_path / "b").glob("*seed0")
    assert run_b.name == run_a.name
    assert entry([*train, str(tmp_path / "a"), *FLAGS.split(), "--resume"]) == 0
    # The command line wins over the file, option by option.
    more = ["--backbone-option", "norm=none", "residual=true", "--no-levels-lift"]
    assert entry([*train, str(tmp_path / "c"), *config, *more]) == 0
    assert [each.name for each in (tmp_path / "c").glob("*seed0")] == [
        "dmpnn-norm=None-residual=True-gmpool-2levels-seed0"
    ]
    # Options of another network are left behind.
    assert entry([*train, str(tmp_path / "d"), *config, "--backbone", "gcn", "--levels", "1"]) == 2
    capsys.readouterr()
    assert entry([*train, str(tmp_path / "e"), "--levels-lift"]) == 2
    assert "add --levels 2" in capsys.readouterr().err
    assert entry([*train, str(tmp_path / "e"), "--backbone-option", "norm"]) == 2
    assert "expected KEY=VALUE" in capsys.readouterr().err
