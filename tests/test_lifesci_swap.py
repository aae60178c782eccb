"""swap_readout on every dgllife predictor, on the MTL example's shapes and on one's own models."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import dgl
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from dgl_gmpool import GMPool, GroupExchange, MoleculePredictor, get_readout, swap_readout
from dgl_gmpool._environment import import_dgllife
from dgl_gmpool.lifesci.pooled_head import PooledHead
from dgl_gmpool.lifesci.readout_sites import find_sites, get_path, set_path

#: Said of Weave, PAGTN, MGCN and SchNet, once for each swap.
pytestmark = pytest.mark.filterwarnings("ignore:.* join atoms without a bond")


MOLECULES = ["CCO", "c1ccccc1O", "C", "CC(=O)[O-].[Na+]"]
NODE, EDGE, TASKS = 74, 13, 3
READOUTS = ("gmpool", "ngmpool", "mean")


# Models and their inputs ---------------------------------------------------------------------


def gatv2(zoo):
    model = import_dgllife("model.model_zoo.gatv2_predictor").GATv2Predictor
    common = dict(feat_drops=[0.0, 0.0], attn_drops=[0.0, 0.0], alphas=[0.2, 0.2])
    return model(
        NODE,
        hidden_feats=[8, 6],
        num_heads=[2, 2],
        residuals=[False, False],
        activations=[None, None],
        biases=[True, True],
        share_weights=[False, False],
        agg_modes=["flatten", "mean"],
        n_tasks=TASKS,
        allow_zero_in_degree=False,
        **common,
    )


#: name -> (how to build it, kind of inputs, the original readout's name and options here)
PREDICTORS = {
    "GCN": (
        lambda zoo: zoo.GCNPredictor(NODE, hidden_feats=[8, 6], n_tasks=TASKS),
        "nodes",
        ("weighted_sum_and_max", {}),
    ),
    "GAT": (
        lambda zoo: zoo.GATPredictor(
            NODE,
            hidden_feats=[8, 6],
            num_heads=[2, 2],
            agg_modes=["flatten", "mean"],
            n_tasks=TASKS,
        ),
        "nodes",
        ("weighted_sum_and_max", {}),
    ),
    "GAT, flatten": (
        lambda zoo: zoo.GATPredictor(
            NODE,
            hidden_feats=[8, 6],
            num_heads=[2, 3],
            agg_modes=["flatten", "flatten"],
            n_tasks=TASKS,
        ),
        "nodes",
        ("weighted_sum_and_max", {}),
    ),
    "GATv2": (gatv2, "nodes", ("weighted_sum_and_max", {})),
    "MPNN": (
        lambda zoo: zoo.MPNNPredictor(
            NODE,
            EDGE,
            node_out_feats=6,
            edge_hidden_feats=5,
            num_step_message_passing=2,
            n_tasks=TASKS,
        ),
        "edges",
        ("set2set", {}),
    ),
    "AttentiveFP": (
        lambda zoo: zoo.AttentiveFPPredictor(NODE, EDGE, graph_feat_size=8, n_tasks=TASKS),
        "edges",
        ("attentivefp", {}),
    ),
    "Weave": (
        lambda zoo: zoo.WeavePredictor(
            NODE, EDGE, gnn_hidden_feats=7, graph_feats=6, n_tasks=TASKS
        ),
        "edges",
        ("weave", {}),
    ),
    "Weave, no histogram": (
        lambda zoo: zoo.WeavePredictor(
            NODE, EDGE, gnn_hidden_feats=7, graph_feats=6, n_tasks=TASKS, gaussian_expand=False
        ),
        "edges",
        ("weave", {"gaussian_expand": False}),
    ),
    "NF": (
        lambda zoo: zoo.NFPredictor(
            NODE, n_tasks=TASKS, hidden_feats=[8, 8], predictor_hidden_size=6
        ),
        "nodes",
        ("sum_and_max", {}),
    ),
    "GIN": (
        lambda zoo: zoo.GINPredictor([20, 3], [6, 3], num_layers=2, emb_dim=8, n_tasks=TASKS),
        "types",
        ("mean", {}),
    ),
    "GIN, concat": (
        lambda zoo: zoo.GINPredictor(
            [20, 3],
            [6, 3],
            num_layers=2,
            emb_dim=8,
            JK="concat",
            readout="attention",
            n_tasks=TASKS,
        ),
        "types",
        ("attention", {}),
    ),
    "GNNOGB": (
        lambda zoo: zoo.GNNOGBPredictor(
            EDGE, num_node_types=20, hidden_feats=8, n_layers=2, n_tasks=TASKS, readout="sum"
        ),
        "node types",
        ("sum", {}),
    ),
    "PAGTN": (
        lambda zoo: zoo.PAGTNPredictor(NODE, 6, 7, EDGE, depth=2, n_tasks=TASKS),
        "edges",
        ("mlp", {}),
    ),
    "MGCN": (
        lambda zoo: zoo.MGCNPredictor(feats=8, n_layers=2, n_tasks=TASKS, num_node_types=20),
        "distances",
        ("mlp", {}),
    ),
    "SchNet": (
        lambda zoo: zoo.SchNetPredictor(8, [8, 8], n_tasks=TASKS, num_node_types=20),
        "distances",
        ("mlp", {}),
    ),
    "MTL parallel": (lambda zoo: Regressor(zoo), "edges", ("weighted_sum_and_max", {})),
    "MTL bypass": (lambda zoo: Bypass(zoo), "edges", ("weighted_sum_and_max", {})),
}


class Head(nn.Module):
    """As the MTL example's regressors have it."""

    def __init__(self, width, tasks):
        super().__init__()
        self.predict = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(width, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, tasks)
        )

    def forward(self, x):
        return self.predict(x)


class Regressor(nn.Module):
    """One readout for all tasks, called ``readout``, with ``regressor`` behind it."""

    def __init__(self, zoo):
        super().__init__()
        self.regressor = Head(12, TASKS)
        self.gnn = zoo.MPNNGNN(NODE, EDGE, 6, 4, 2)
        self.readout = zoo.WeightedSumAndMax(6)

    def forward(self, graph, nodes, edges):
        return self.regressor(self.readout(graph, self.gnn(graph, nodes, edges)))


class Bypass(nn.Module):
    """One readout per task, over the joined states of a shared network and the task's own."""

    def __init__(self, zoo):
        super().__init__()
        self.shared_gnn = zoo.MPNNGNN(NODE, EDGE, 6, 4, 2)
        self.task_gnns = nn.ModuleList(zoo.MPNNGNN(NODE, EDGE, 6, 4, 2) for _ in range(TASKS))
        self.readouts = nn.ModuleList(zoo.WeightedSumAndMax(12) for _ in range(TASKS))
        self.regressors = nn.ModuleList(Head(24, 1) for _ in range(TASKS))

    def forward(self, graph, nodes, edges):
        shared = self.shared_gnn(graph, nodes, edges)
        out = []
        for gnn, readout, regressor in zip(self.task_gnns, self.readouts, self.regressors):
            joined = torch.cat([shared, gnn(graph, nodes, edges)], dim=1)
            out.append(regressor(readout(graph, joined)))
        return torch.cat(out, dim=1)


def build(name, seed=0):
    torch.manual_seed(seed)
    return PREDICTORS[name][0](import_dgllife("model")).eval()


@pytest.fixture(scope="module")
def to_graph():
    utils = import_dgllife("utils")
    return utils.SMILESToBigraph(
        add_self_loop=True,
        node_featurizer=utils.CanonicalAtomFeaturizer(),
        edge_featurizer=utils.CanonicalBondFeaturizer(self_loop=True),
    )


@pytest.fixture(scope="module")
def inputs(to_graph):
    """kind, SMILES, dtype -> the arguments of a predictor, graphs as the recipes make them."""
    made = {smiles: to_graph(smiles) for smiles in [*MOLECULES, "O"]}

    def make(kind, smiles, dtype=torch.float32):
        graph = dgl.batch([made[s] for s in smiles])
        assert graph.idtype == torch.int32
        assert graph.num_edges() >= graph.num_nodes()
        # The recipes take the features out before they call the model.
        nodes = graph.ndata.pop("h").to(dtype)
        edges = graph.edata.pop("e").to(dtype)
        types = nodes.argmax(1) % 20
        if kind == "nodes":
            return graph, nodes
        if kind == "edges":
            return graph, nodes, edges
        if kind == "node types":
            return graph, types, edges
        if kind == "distances":
            return graph, types, 1 + edges.sum(1, keepdim=True)
        bonds = edges.argmax(1)
        return graph, [types, types % 3], [bonds % 6, bonds % 3]

    return make


def sizes(state):
    return {key: tuple(value.shape) for key, value in state.items()}


# Every predictor x readout --------------------------------------------------------------------


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("name", PREDICTORS)
class TestEveryPredictor:
    def test_forward_and_backward(self, name, readout, inputs):
        model = swap_readout(build(name), readout)
        args = inputs(PREDICTORS[name][1], MOLECULES)
        out = model.train()(*args)
        assert out.shape == (4, TASKS)
        assert torch.isfinite(out).all()
        out.square().sum().backward()
        trained = [k for k, p in model.named_parameters() if "readout" in k and p.requires_grad]
        if readout != "mean":
            assert any("grouping" in key for key in trained)
        for key, parameter in model.named_parameters():
            if parameter.grad is not None:
                assert torch.isfinite(parameter.grad).all(), key
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        assert len(grads) > len(trained)
        for key in trained:
            assert model.get_parameter(key).grad is not None, key

    def test_copies_and_files_predict_the_same(self, name, readout, inputs, tmp_path):
        model = swap_readout(build(name), readout)
        args = inputs(PREDICTORS[name][1], MOLECULES)
        expected = model(*args)
        fresh = swap_readout(build(name, seed=1), readout)
        assert not torch.equal(fresh(*args), expected)
        torch.save(model.state_dict(), tmp_path / "model.pth")
        fresh.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        for copied in (
            fresh,
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
            torch.load(buffer, weights_only=False),
        ):
            assert torch.equal(copied(*args), expected)
        # A copy has parameters of its own.
        clone = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in clone.parameters():
                parameter.add_(1.0)
        assert torch.equal(model(*args), expected)

    def test_float64(self, name, readout, inputs):
        kind = PREDICTORS[name][1]
        model = swap_readout(build(name), readout)
        single = model(*inputs(kind, MOLECULES))
        double = model.double()(*inputs(kind, MOLECULES, torch.float64))
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)

    def test_one_molecule_and_molecules_without_bonds(self, name, readout, inputs):
        kind = PREDICTORS[name][1]
        model = swap_readout(build(name), readout)
        together = model(*inputs(kind, MOLECULES))
        for row, smiles in enumerate(MOLECULES):
            alone = model(*inputs(kind, [smiles]))
            assert alone.shape == (1, TASKS)
            torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)
        out = model(*inputs(kind, ["C", "O", "C"]))
        assert torch.isfinite(out).all()
        torch.testing.assert_close(out[0], together[2], rtol=1e-4, atol=1e-5)

    def test_keeps_everything_but_the_readout_and_its_consumer(self, name, readout, inputs):
        model = build(name)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        new, options = PREDICTORS[name][2]
        assert swap_readout(model, readout) is model
        changed = {
            key
            for key in set(before) | set(model.state_dict())
            if key not in before
            or key not in model.state_dict()
            or not torch.equal(before[key], model.state_dict()[key])
        }
        outside = sorted(key for key in changed if "readout" not in key)
        consumer = {
            "GCN": ["predict.predict.1"], "GAT": ["predict.predict.1"],
            "GAT, flatten": ["predict.predict.1"], "GATv2": ["predict.predict.1"],
            "MPNN": ["predict.0"], "AttentiveFP": ["predict.1"], "PAGTN": [], "MGCN": [],
            "SchNet": [], "MTL parallel": ["regressor.predict.1"],
            "MTL bypass": [f"regressors.{t}.predict.1" for t in range(TASKS)],
        }.get(name, ["predict"])  # fmt: skip
        assert outside == sorted(f"{c}.{kind}" for c in consumer for kind in ("weight", "bias"))
        if not consumer:
            kept = [key for key in before if "readout.out_project" in key]
            assert len(kept) == 2
            assert not set(kept) & changed
        assert not model.training
        assert not any(module.training for module in model.modules())

        # The way back.
        swap_readout(model, new, **options)
        assert sizes(model.state_dict()) == sizes(before)
        model.load_state_dict(before)
        args = inputs(PREDICTORS[name][1], MOLECULES)
        torch.testing.assert_close(model(*args), build(name)(*args), rtol=1e-4, atol=1e-5)


# Single properties ----------------------------------------------------------------------------


@pytest.mark.parametrize("readout", READOUTS)
def test_attentivefp_gives_node_weights(readout, inputs):
    model = swap_readout(build("AttentiveFP"), readout)
    args = inputs("edges", MOLECULES)
    out, weights = model(*args, get_node_weight=True)
    assert torch.equal(out, model(*args))
    assert [tuple(w.shape) for w in weights] == [(args[0].num_nodes(), 1)]
    # A readout that is a weighted sum is that of these weights.
    options = {} if readout == "mean" else {"aggregate": "mean"}
    model = swap_readout(build("AttentiveFP"), readout, **options)
    out, weights = model(*args, get_node_weight=True)
    assert [tuple(w.shape) for w in weights] == [(args[0].num_nodes(), 1)]
    states = model.gnn(*args)
    owner = torch.repeat_interleave(args[0].batch_num_nodes())
    pooled = torch.zeros(4, 8).index_add(0, owner.long(), weights[0] * states)
    torch.testing.assert_close(model.predict(pooled), out, rtol=1e-4, atol=1e-5)


def test_attentivefp_needs_a_readout_with_a_third_argument():
    class Two(nn.Module):
        out_feats = 8

        def forward(self, graph, feat):
            return feat

    class Three(Two):
        def forward(self, graph, feat, get_node_weight=False):
            return feat

    model = build("AttentiveFP")
    before = model.readout
    with pytest.raises(ValueError, match=r"readout\(graph, feats, get_node_weight\)"):
        swap_readout(model, Two())
    assert model.readout is before
    assert isinstance(swap_readout(model, Three()).readout, Three)
    # A model that never passes it takes either, also after ours was there.
    gcn = swap_readout(build("GCN"), "gmpool")
    assert isinstance(swap_readout(gcn, Two()).readout, Two)


def test_options_widths_dtype_and_mode():
    model = build("GCN").double().train()
    swap_readout(model, "set2set", n_iters=2, n_layers=1)
    assert model.readout.n_iters == 2
    assert model.predict.predict[1].in_features == 2 * 6
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert all(module.training for module in model.modules())
    # From wide to wider, and modules by instance.
    swap_readout(model, GMPool.paper(6, similarity="cauchy"))
    assert model.readout.grouping.similarity == "cauchy"
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert model.predict.predict[1].in_features == 6
    swap_readout(model, "gmpool", aggregate="mean_and_max")
    assert model.predict.predict[1].in_features == model.readout.out_feats == 2 * 6


def test_meta_device_stays_meta():
    model = swap_readout(build("GCN").to("meta"), "gmpool")
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_a_frozen_backbone_stays_frozen_and_the_new_parts_train():
    model = build("GCN")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    swap_readout(model, "gmpool")
    free = sorted(key for key, p in model.named_parameters() if p.requires_grad)
    assert free == [
        "predict.predict.1.bias",
        "predict.predict.1.weight",
        "readout.group_readout.gain",
        "readout.group_readout.linear.bias",
        "readout.group_readout.linear.weight",
        "readout.group_readout.log_power",
        "readout.group_readout.node_norm.bias",
        "readout.group_readout.node_norm.weight",
        "readout.grouping.weight",
        "readout.locality.log_time",
    ]


def test_one_instance_for_several_tasks_is_copied():
    model = swap_readout(build("MTL bypass"), GMPool(12))
    pointers = {readout.grouping.weight.data_ptr() for readout in model.readouts}
    assert len(pointers) == TASKS


def test_predicting_readouts_keep_the_models_two_layers():
    model = build("SchNet")
    out_project, activation = model.readout.out_project, model.readout.activation
    swap_readout(model, "set2set", n_layers=1)
    assert model.readout.in_project.in_features == 2 * 8
    assert model.readout.out_project is out_project
    assert model.readout.activation is activation
    swap_readout(model, "mlp", aggregate="mean")
    assert model.readout.aggregate == "mean"
    with pytest.raises(ValueError, match="hidden_feats"):
        swap_readout(model, "mlp", hidden_feats=5)


# One's own models -------------------------------------------------------------------------------


def test_a_layer_too_narrow_for_the_readout():
    model = build("GCN")
    model.other = nn.Linear(5, 2)
    with pytest.raises(ValueError, match="other takes 5 inputs and readout makes 12"):
        swap_readout(model, "gmpool", layer="other")


class Own(nn.Module):
    """A readout under another name, descriptors joined to its output."""

    def __init__(self, readout, width, extra=0):
        super().__init__()
        self.net = nn.ModuleDict({"pool": readout})
        self.head = nn.Sequential(nn.LayerNorm(width + extra), nn.Linear(width + extra, 2))
        self.out = nn.Linear(width + extra, 2)

    def forward(self, graph, feat, descriptors):
        vector = self.net["pool"](graph, feat)
        return self.out(torch.cat([vector, descriptors], dim=1))


def test_escape_hatch():
    graph = dgl.batch([dgl.graph(([0], [1])), dgl.graph(([0], [1]))])
    model = Own(dgl.nn.pytorch.Set2Set(4, 2, 1), 8, extra=3)
    swap_readout(model, "gmpool", attribute="net.pool", layer="out")
    assert model.out.in_features == 5 * 4 + 3
    assert model(graph, torch.randn(4, 4), torch.randn(2, 3)).shape == (2, 2)
    swap_readout(model, "set2set", attribute="net.pool", layer="out")
    assert model.out.in_features == 8 + 3


def test_a_readout_that_does_not_state_its_width():
    class Strange(nn.Module):
        def forward(self, graph, feat):
            return dgl.mean_nodes(graph, feat)

    model = Own(Strange(), 8)
    with pytest.raises(ValueError, match=r"Strange, does not say how wide.*in_feats="):
        swap_readout(model, "gmpool", attribute="net.pool", layer="out")
    swap_readout(model, "gmpool", attribute="net.pool", layer="out", in_feats=5)
    assert (model.net.pool.in_feats, model.out.in_features) == (5, 5 * 5)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m: swap_readout(m, "gmpol"), "Did you mean 'gmpool'"),
        (lambda m: swap_readout(m, "gmpool", tole=1), "no option 'tole'"),
        (lambda m: swap_readout(m, GMPool(6), tol=0.1), "module has its own"),
        (lambda m: swap_readout(m, GMPool(5)), "make it with in_feats=6"),
        (lambda m: swap_readout(m, nn.Identity()), "states no out_feats"),
        (lambda m: swap_readout(m, GroupExchange(6)), "a row for each node and none"),
        (lambda m: swap_readout(m, "gmpool", layer="predict.predict.0"), r"torch\.nn\.Linear"),
        (lambda m: swap_readout(m, "gmpool", layer="predict.predikt"), "it has predict"),
        (lambda m: swap_readout(m, "gmpool", in_feats=9), "leave in_feats out"),
    ],
)
def test_errors_say_what_to_do_and_change_nothing(call, match):
    model = build("GCN")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    readout, layer = model.readout, model.predict.predict[1]
    with pytest.raises(ValueError, match=match):
        call(model)
    assert model.readout is readout
    assert model.predict.predict[1] is layer
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (lambda: nn.Linear(2, 2), "attribute=.*layer=.*in_feats="),
        (lambda: MoleculePredictor(4, 2, hidden_feats=4), "takes the readout when it is made"),
        (lambda: nn.DataParallel(build("GCN")), r"model\.module"),
    ],
)
def test_unknown_models(model, match):
    with pytest.raises(ValueError, match=match):
        swap_readout(model(), "gmpool")


class Doubled(nn.Linear):
    def forward(self, values):
        return 2 * super().forward(values)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (parametrizations.weight_norm, "ParametrizedLinear"),
        (nn.utils.spectral_norm, "weight_orig"),
        (lambda layer: Doubled(layer.in_features, layer.out_features), "Doubled"),
        (lambda layer: nn.LazyLinear(layer.out_features), "LazyLinear"),
    ],
)
@pytest.mark.parametrize("kind", ["GCN", "PAGTN"])
def test_a_layer_that_is_more_than_linear_is_not_lost(kind, change, told):
    model = build(kind)
    path = "readout.in_project" if kind == "PAGTN" else "predict.predict.1"
    set_path(model, path, change(get_path(model, path)))
    layer, readout = get_path(model, path), model.readout
    with pytest.raises(ValueError, match=rf"{path}.*{told}.*put it on again afterwards"):
        swap_readout(model, "ngmpool", locality="none")
    assert get_path(model, path) is layer
    assert model.readout is readout


def test_automatic_detection_refuses_what_does_not_add_up():
    model = build("GCN")
    model.predict.predict[1] = nn.Linear(15, 128)
    with pytest.raises(ValueError, match="takes 15 inputs and readout makes 12"):
        swap_readout(model, "gmpool")
    # Naming the layer confirms that 3 of its inputs come from elsewhere.
    swap_readout(model, "gmpool", layer="predict.predict.1")
    assert model.predict.predict[1].in_features == 5 * 6 + 3


def test_wrong_types():
    with pytest.raises(TypeError, match=r"give a torch\.nn\.Module"):
        swap_readout("GCN", "gmpool")
    with pytest.raises(TypeError, match="give a name"):
        swap_readout(build("GCN"), GMPool)
    with pytest.raises(ValueError, match="one by one"):
        swap_readout(build("MTL bypass"), "gmpool", layer="regressors.0.predict.1")


def test_every_readout_fits_gcn(inputs):
    from dgl_gmpool import list_readouts

    args = inputs("nodes", MOLECULES)
    for name in list_readouts():
        model = swap_readout(build("GCN"), name)
        assert model.train()(*args).shape == (4, TASKS), name
        assert type(model.readout) is type(get_readout(name, in_feats=6))
        # Also after a training step, with whatever a readout keeps of it.
        expected = model.eval()(*args)
        assert torch.equal(copy.deepcopy(model)(*args), expected), name
        assert torch.equal(pickle.loads(pickle.dumps(model))(*args), expected), name


@pytest.mark.parametrize("name", ["gmpool", "ngmpool"])
def test_a_pretrained_backbone_leaves_the_readout_as_it_is(name):
    """K would be another: the first time of 0.2.0's models, and edges that conduct alike."""
    model = swap_readout(build("GCN"), name)
    before = {key: value.clone() for key, value in model.readout.state_dict().items()}
    backbone = {k: v for k, v in build("GCN", 1).state_dict().items() if k.startswith("gnn.")}
    found = model.load_state_dict(backbone, strict=False)
    after = model.readout.state_dict()
    named = {"grouping.weight", "grouping.pace", "locality.start", "locality.paths_power"}
    assert {f"readout.{key}" for key in named} <= set(found.missing_keys)
    assert all(torch.equal(after[key], value) for key, value in before.items())


def pool_of(model):
    return model.readout.pool if isinstance(model.readout, PooledHead) else model.readout


def test_what_is_built_on_a_network_without_bonds_is_known_too():
    zoo = import_dgllife("model")

    class Mine(zoo.SchNetPredictor):
        pass

    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.gnn, self.readout = zoo.MGCNGNN(), GMPool(6)
            self.predict = nn.Linear(self.readout.out_feats, 1)

    for model in (Mine(), Around()):
        with pytest.warns(UserWarning, match="gmpool has locality='none' here"):
            assert pool_of(swap_readout(model, "gmpool")).locality is None


@pytest.mark.parametrize("kind", ["Weave", "PAGTN", "MGCN", "SchNet"])
def test_a_local_module_on_graphs_of_more_than_bonds_is_told(kind):
    width = find_sites(build(kind))[0].in_feats
    with pytest.warns(UserWarning, match="make your GMPool with locality='none'"):
        swap_readout(build(kind), GMPool(width))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        swap_readout(build(kind), GMPool(width, locality="none"))
        swap_readout(build("GCN"), GMPool(find_sites(build("GCN"))[0].in_feats))


@pytest.mark.parametrize("kind", ["Weave", "PAGTN", "MGCN", "SchNet"])
@pytest.mark.parametrize("name", ["gmpool", "ngmpool"])
def test_groups_are_not_local_on_graphs_of_more_than_bonds(kind, name):
    with pytest.warns(UserWarning, match=f"{kind}Predictor .* {name} has locality='none' here"):
        model = swap_readout(build(kind), name)
    assert pool_of(model).locality is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = swap_readout(build(kind), name, locality="diffusion")
        swap_readout(build(kind), "mean")
        assert swap_readout(build("GCN"), name).readout.locality is not None
    assert pool_of(model).locality is not None
