"""Second derivatives: right, or refused on every road; parameters that change; devices; dtypes."""

from __future__ import annotations

import pickle
import sys

import dgl
import pytest
import torch
from torch.autograd import functional
from torch.nn.utils import prune
from torch.utils._python_dispatch import TorchDispatchMode

from dgl_gmpool import (
    DMPNN,
    GMPool,
    GroupExchange,
    MoleculePredictor,
    NGMPool,
    PooledGraph,
    collect_losses,
    get_readout,
    list_readouts,
)
from dgl_gmpool.models.edge_gcn import EdgeGCN
from dgl_gmpool.nn import batch as batch_file
from dgl_gmpool.nn import coarsen
from dgl_gmpool.nn.large import grouping_product, low_rank
from dgl_gmpool.poolings import gmpool
from dgl_gmpool.testing import IN_FEATS, batch_of
from dgl_gmpool.training import data_parallel

WIDTH = 3


def graph_and_feat(n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ends = torch.arange(n - 1)
    graph = dgl.graph((torch.cat([ends, ends + 1]), torch.cat([ends + 1, ends])))
    return graph, torch.randn(n, WIDTH, generator=generator, dtype=torch.float64)


def make(kind, **options):
    torch.manual_seed(0)
    pool = kind(WIDTH, **options).double().eval()
    with torch.no_grad():
        if pool.group_readout is not None:
            pool.group_readout.gain.normal_()
        if pool.locality is not None:
            pool.locality.start.fill_(4.0)  # a graph this small would be one group
        pool.grouping.weight.add_(0.3 * torch.randn(WIDTH))
    return pool


PLAIN = {"locality": "none", "aggregate": "mean_max_and_sum"}

WRONG_OTHERWISE = [
    (GMPool, {"decomposition": "sqrtm", "aggregate": "sum"}),
    (GMPool, {"decomposition": "sqrtm", "normalize": True, **PLAIN}),
    (GMPool, {"decomposition": "sqrtm", "num_clusters": 2, **PLAIN}),
    (GMPool, {"decomposition": "eigen", "similarity": "cauchy", **PLAIN}),
    (GMPool, {"decomposition": "eigen", "similarity": "linear", **PLAIN}),
    (GMPool, {"decomposition": "cholesky", "similarity": "linear", **PLAIN}),
    (GMPool.paper, {}),
    (GMPool, {"decomposition": "cholesky", "max_clusters": 3, **PLAIN}),
    (NGMPool, {"locality": "none", "aggregate": "mean"}),
]

RIGHT = [
    (GMPool, {}),
    (GMPool, {"similarity": "cauchy"}),
    (GMPool, {"similarity": "linear"}),
    (GMPool, {"aggregate": "sum", "locality": "none"}),
    (GMPool, {"aggregate": "mean_max_and_sum", "feature_norm": "layer"}),
    (GMPool, {"decomposition": "cholesky", "aggregate": "sum"}),
    (GMPool, {"decomposition": "cholesky", "similarity": "cauchy", **PLAIN}),
    (NGMPool, {}),
    (NGMPool, {"similarity": "linear", "normalize": False, **PLAIN}),
]


@pytest.fixture
def all_graphs_are_large(monkeypatch):
    for module in (gmpool, low_rank):
        monkeypatch.setattr(module, "LANDMARKS", 2)
    monkeypatch.setattr(grouping_product, "CELLS", 4)
    monkeypatch.setattr(coarsen, "LARGE", 2)
    monkeypatch.setattr(coarsen, "SPARSE", 1)


def started(module):
    """Away from where gains are zero, in evaluation."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.eval()


def roads(function, x):
    """Every road to a second derivative of a scalar function."""

    def twice(x):
        x = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(function(x), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x)

    def backward(x):
        x = x.clone().requires_grad_()
        function(x).backward(create_graph=True)
        (x.grad.square().sum() + x.grad.sum()).backward()

    yield "grad", lambda: twice(x)
    yield "backward", lambda: backward(x)
    yield "hessian", lambda: functional.hessian(function, x)
    yield "hvp", lambda: functional.hvp(function, x, torch.ones_like(x))
    yield "vhp", lambda: functional.vhp(function, x, torch.ones_like(x))


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True:UserWarning")
@pytest.mark.parametrize(("kind", "options"), WRONG_OTHERWISE)
def test_refused_on_every_road(kind, options, all_graphs_are_large):
    graph, feat = graph_and_feat()
    pool = make(kind, **options)

    def function(x):
        return pool(graph, x).square().sum()

    for road, run in roads(function, feat):
        with pytest.raises(RuntimeError, match="second derivatives through"):
            print(road, run())  # what it gave, where it gave something


class Varied(torch.nn.Module):
    """A number, by all that it can be derived in: inputs of a module and its parameters."""

    def __init__(self, call, module, graph, **inputs):
        super().__init__()
        self.call, self.module, self.graph = call, module, graph
        self.inputs = torch.nn.ParameterDict(inputs)

    def forward(self):
        out = self.call(self.graph, **self.inputs)
        if isinstance(out, PooledGraph):
            out = (out.feat, out.edge_weight, out.edge_feat, out.conv_weight, out.lift(out.feat))
        return sum(part.sin().sum() for part in ([out] if torch.is_tensor(out) else out))

    def curvature(self, names):
        """The product of the Hessian and a direction, and the derivative of the gradient that way
        by finite differences."""

        def function(*values):
            return torch.func.functional_call(self, dict(zip(names, values)), ())

        def gradient(step):
            there = tuple(value + step * each for value, each in zip(values, way))
            return functional.vjp(function, there)[1]

        generator, step = torch.Generator().manual_seed(1), 1e-5
        values = [dict(self.named_parameters())[name].detach() for name in names]
        way = [torch.randn(v.shape, generator=generator, dtype=v.dtype) for v in values]
        expected = [(up - down) / (2 * step) for up, down in zip(gradient(step), gradient(-step))]
        return functional.hvp(function, tuple(values), tuple(way))[1], expected


def of_face(pool, face, graph, feat):
    generator, edges = torch.Generator().manual_seed(1), graph.num_edges()
    weight, conductance = torch.rand(2, edges, generator=generator).double() + 0.5
    inputs = {"feat": feat, "edge_weight": weight, "conductance": conductance}
    if face == "readout":
        return Varied(pool.forward, pool, graph, **inputs)
    inputs["edge_feat"] = torch.randn(edges, 2, generator=generator).double()
    return Varied(pool.coarsen, pool, graph, **inputs)


def check_right(varied):
    names = [name for name, _ in varied.named_parameters()]
    found, expected = varied.curvature(names)
    assert any(each.abs().max() > 1e-3 for each in expected)
    for name, one, other in zip(names, found, expected):
        torch.testing.assert_close(
            one, other, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(("kind", "options"), RIGHT)
@pytest.mark.parametrize("face", ["readout", "coarsen"])
def test_right_by_finite_differences(kind, options, face):
    """In features, edge weights, conductances, edge features and parameters, all at once."""
    check_right(of_face(make(kind, **options), face, *graph_and_feat()))


@pytest.mark.parametrize(("kind", "options"), WRONG_OTHERWISE)
@pytest.mark.parametrize("face", ["readout", "coarsen"])
def test_refused_or_right_in_every_single_input(kind, options, face, all_graphs_are_large):
    """A' is a polynomial in A, say, whatever S comes from."""
    varied = of_face(make(kind, **options), face, *graph_and_feat())
    refused = 0
    for name, _ in varied.named_parameters():
        try:
            ((found,), (expected,)) = varied.curvature([name])
        except RuntimeError as error:
            assert "second derivatives through" in str(error), name  # noqa: PT017
            refused += 1
        else:
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert refused > 1


def test_right_for_exchange_and_predictor():
    graph, feat = graph_and_feat()
    conductance = torch.rand(graph.num_edges()).double() + 0.5
    layer = started(GroupExchange(WIDTH, time=4.0))
    check_right(Varied(layer.forward, layer, graph, feat=feat, conductance=conductance))
    model = started(MoleculePredictor(WIDTH, 2, hidden_feats=8, head_feats=8, levels=2))
    inputs = {"node_feats": feat, "edge_feats": torch.randn(graph.num_edges(), 2).double()}
    check_right(Varied(model.forward, model, graph, **inputs))


def test_right_through_a_sum_over_processes(monkeypatch):
    monkeypatch.setattr(data_parallel, "_sum_over", lambda part, group: 2 * part.detach())
    value = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: data_parallel._Total.apply(None, x).sin(), value)


def test_a_penalty_on_gradients_of_the_default_pooling():
    """WGAN-GP's way: the parameters get the gradient of a gradient's norm."""
    graph, feat = graph_and_feat()
    pool = make(GMPool)
    feat.requires_grad_()
    (first,) = torch.autograd.grad(pool(graph, feat).sum(), feat, create_graph=True)
    (first.norm() - 1).square().backward()
    assert pool.group_readout.gain.grad.abs().sum() > 0
    assert torch.isfinite(pool.grouping.weight.grad).all()


# Parameters that are not those of the module, or change. --------------------------------------

LARGE = [
    (GMPool, {"decomposition": "cholesky", "max_clusters": 3, **PLAIN}),
    (GMPool, {"decomposition": "cholesky", "max_clusters": 3, "normalize": True, **PLAIN}),
    (NGMPool, {"locality": "none", "aggregate": "mean"}),
]


@pytest.mark.parametrize(("kind", "options"), LARGE)
@pytest.mark.parametrize("similarity", ["cauchy", "gaussian"])
def test_functional_call_on_large_graphs(kind, options, similarity, all_graphs_are_large):
    """B4: gradients are those of the parameters that were passed, not of the module's own."""
    graph, feat = graph_and_feat(9)
    pool = make(kind, similarity=similarity, **options)
    given = {name: (p.detach() + 0.5).requires_grad_() for name, p in pool.named_parameters()}
    out = torch.func.functional_call(pool, given, (graph, feat))
    found = torch.autograd.grad(out.square().sum(), [*given.values()], allow_unused=True)
    with torch.no_grad():
        for name, parameter in pool.named_parameters():
            parameter.copy_(given[name])
    expected = torch.autograd.grad(
        pool(graph, feat).square().sum(), [*pool.parameters()], allow_unused=True
    )
    assert any(each is not None and each.abs().sum() > 0 for each in expected)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("similarity", ["cauchy", "gaussian"])
@pytest.mark.parametrize(
    ("kind", "options"), [*LARGE, (GMPool, {}), (GMPool.paper, {}), (NGMPool, {})]
)
def test_a_step_between_forward_and_backward(kind, options, similarity, all_graphs_are_large):
    """torch's own error, or the gradient of the parameters that made the output."""
    graph, feat = graph_and_feat(9)
    pool = make(kind, **{"similarity": similarity, **options})
    expected = torch.autograd.grad(pool(graph, feat).square().sum(), pool.grouping.weight)[0]
    out = pool(graph, feat).square().sum()
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.add_(0.5)
    try:
        found = torch.autograd.grad(out, pool.grouping.weight)[0]
    except RuntimeError as error:
        assert "modified by an inplace operation" in str(error)  # noqa: PT017
    else:
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["weight", "bias"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [GMPool, NGMPool, GMPool.paper, NGMPool.paper])
def test_parameters_that_are_not_finite_are_named(kind, name, value):
    """B5: M would be 0 by the rule for rounding, and the readout 0.0."""
    graph, feat = graph_and_feat()
    pool = kind(WIDTH, similarity="cauchy")
    with torch.no_grad():
        getattr(pool.grouping, name).fill_(value)
    for call in (pool, pool.coarsen, pool.groups, pool.spectrum):
        with pytest.raises(ValueError, match=rf"grouping matrix's {name} is not finite.*learning"):
            call(graph, feat)


# Losses. -------------------------------------------------------------------------------------


def test_losses_belong_to_the_call_that_makes_them():
    """B6: a look for logging neither adds nor takes; blocks nest; nothing is kept."""
    graph, feat = graph_and_feat()
    pool = make(GMPool, rank_weight=1.0)
    with collect_losses() as losses:
        out = pool(graph, feat)
        for look in (pool.spectrum, pool.groups, pool.memberships, pool.grouping_matrices,
                     pool.assignments):  # fmt: skip
            look(graph, feat)
        with collect_losses() as inner:
            pool(graph, feat)
    assert list(losses) == list(inner) == ["GMPool rank"]
    (out.sum() + losses["GMPool rank"]).backward()
    with collect_losses() as again:
        pool(graph, feat)
        pool.coarsen(graph, feat)
    assert list(again) == ["GMPool rank", "GMPool rank (2)"]
    assert not hasattr(pool, "losses")
    pool(graph, feat)
    assert list(losses) == ["GMPool rank"]
    with collect_losses() as numbers, torch.no_grad():
        pool(graph, feat)
    assert numbers["GMPool rank"] == losses["GMPool rank"]
    assert not numbers["GMPool rank"].requires_grad


def test_a_block_that_fails_closes():
    graph, feat = graph_and_feat()
    pool = make(GMPool, rank_weight=1.0)
    with pytest.raises(ZeroDivisionError), collect_losses() as losses:
        raise ZeroDivisionError
    pool(graph, feat)
    assert losses == {}


# Devices. ------------------------------------------------------------------------------------


class _Dtypes(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for each in out if isinstance(out, (tuple, list)) else (out,):
            # A single number in the host's memory goes everywhere as a number.
            if isinstance(each, torch.Tensor) and each.dim() and each.is_floating_point():
                self.seen.setdefault(each.dtype, str(function))
        return out


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gmpool", {}),
        ("gmpool", {"decomposition": "sqrtm", "aggregate": "mean"}),
        ("gmpool", {"decomposition": "cholesky", "aggregate": "max", "fragment_weight": 1.0}),
        ("gmpool", {"decomposition": "cholesky", "aggregate": "sum", "locality": "none",
                    "max_clusters": 3}),
        ("gmpool", {"similarity": "linear", "locality": "none", "rank_weight": 1.0}),
        ("ngmpool", {}),
        ("ngmpool", {"aggregate": "mean", "locality": "none"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("face", ["readout", "coarsen"])
def test_no_float64_where_the_device_has_none(name, options, face, monkeypatch):
    """B8: Apple's GPUs."""
    for module in [m for n, m in sys.modules.items() if n.startswith("dgl_gmpool")]:
        if hasattr(module, "compute_dtype"):
            monkeypatch.setattr(module, "compute_dtype", lambda device: torch.float32)
    graph, feat = graph_and_feat(12)
    graph.ndata["fragment"] = torch.arange(12) // 4
    pool = get_readout(name, in_feats=WIDTH, **options)
    feat = feat.float().requires_grad_()
    with _Dtypes() as dtypes, collect_losses() as losses:
        if face == "readout":
            out = pool(graph, feat)
        else:
            coarse = pool.coarsen(graph, feat, torch.ones(graph.num_edges(), 2))
            out = coarse.feat + coarse.conv_weight.sum() + coarse.soft_count.sum()
            assert coarse.num_clusters.numel() == 1
            pool.groups(graph, feat)
        (out.square().sum() + sum(losses.values())).backward()
    assert torch.float64 not in dtypes.seen, dtypes.seen
    assert torch.isfinite(out).all()


@pytest.mark.parametrize(
    ("name", "options", "face"),
    [
        (name, options, face)
        for name, options in (
            ("gmpool", {}),
            ("gmpool", {"decomposition": "cholesky", "aggregate": "mean_and_max"}),
            ("ngmpool", {}),
        )
        for face in ("readout", "coarsen", "groups")
    ]
    + [("mean", {}, "readout"), ("set2set", {}, "readout"), ("topk", {}, "readout")],
)
def test_a_nan_stays_in_the_row_of_its_graph(name, options, face, monkeypatch):
    """On a device whose values are not looked at (here: with the look left out), in evaluation."""
    monkeypatch.setattr(batch_file, "check_rows", lambda *_: None)
    members = [graph_and_feat(n, seed=n) for n in (5, 4, 6, 5)]
    graph, feat = dgl.batch([m[0] for m in members]), torch.cat([m[1] for m in members])
    pool = get_readout(name, in_feats=WIDTH, **options).double().eval()
    bad = feat.clone()
    bad[6, 1] = torch.nan  # of graph 1
    rows = [0, 2, 3]
    if face == "readout":
        out, expected = pool(graph, bad), pool(graph, feat)
        assert torch.isnan(out[1]).any()
        assert torch.equal(out[rows], expected[rows])
        return
    if face == "groups":
        found, expected = pool.groups(graph, bad), pool.groups(graph, feat)
        keep = torch.cat([torch.arange(5), torch.arange(9, 20)])
        assert torch.equal(found[keep], expected[keep])
        return
    found, expected = pool.coarsen(graph, bad), pool.coarsen(graph, feat)
    mine, theirs = (c.feat.split(c.graph.batch_num_nodes().tolist()) for c in (found, expected))
    assert torch.isnan(mine[1]).any()
    for row in rows:
        torch.testing.assert_close(mine[row], theirs[row])


def test_a_root_of_nan_says_what_is_wrong(monkeypatch):
    monkeypatch.setattr(batch_file, "check_rows", lambda *_: None)
    graph, feat = graph_and_feat()
    feat[1] = torch.nan
    with pytest.raises(ValueError, match=r"holds NaN or infinite entries.*learning rate"):
        make(GMPool, decomposition="sqrtm", aggregate="mean")(graph, feat)


# Graphs that are none of ours. ---------------------------------------------------------------


CALLS = {
    "readout": GMPool(WIDTH),
    "coarsen": GMPool(WIDTH).coarsen,
    "groups": GMPool(WIDTH).groups,
    "exchange": GroupExchange(WIDTH),
    "mean": get_readout("mean", in_feats=WIDTH),
    "dmpnn": DMPNN(WIDTH, 0, hidden_feats=4),
    "predictor": MoleculePredictor(WIDTH, 0, hidden_feats=4),
    "edge gcn": lambda graph, feat: EdgeGCN(WIDTH, 1)(graph, feat, feat[:, :1]),
}


@pytest.mark.parametrize("call", CALLS)
def test_heterographs_and_blocks_are_refused_with_the_remedy(call):
    edges = ([0, 1], [1, 0])
    nodes = dgl.heterograph({("a", "x", "a"): edges, ("b", "y", "b"): edges})
    kinds = dgl.heterograph({("a", "x", "a"): edges, ("a", "y", "a"): edges})
    block = dgl.to_block(dgl.graph(edges))
    for graph, remedy in (
        (nodes, r"node types \['a', 'b'\].*to_homogeneous"),
        (kinds, r"edge types \['x', 'y'\].*edge_type_subgraph"),
        (block, "block_to_graph"),
    ):
        with pytest.raises(ValueError, match=remedy):
            CALLS[call](graph, torch.randn(graph.num_nodes(), WIDTH))


@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_graph_is_told(call):
    for other, name in ((None, "NoneType"), ([dgl.graph(([0], [1]))], "list")):
        with pytest.raises(TypeError, match=rf"graph is {name}; give a DGLGraph, dgl\.batch"):
            CALLS[call](other, torch.randn(2, WIDTH))


# Not DGL's set transformer, which has such steps.
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("name", sorted({*list_readouts()} - {"set_transformer"}))
def test_detect_anomaly_finds_none(name):
    """No step of the way back is NaN, not even in padding."""
    graph = batch_of("aspirin", "methane", "ethane", "sodium acetate")
    feat = graph.ndata["h"].clone().requires_grad_()
    pool = get_readout(name, in_feats=IN_FEATS)
    with torch.autograd.detect_anomaly(check_nan=True), collect_losses() as losses:
        total = pool(graph, feat).square().sum()
        if hasattr(pool, "coarsen"):
            coarse = pool.coarsen(graph, feat)
            total = total + coarse.lift(coarse.feat).square().sum() + coarse.conv_weight.sum()
        (total + sum(losses.values())).backward()


#: Networks, and every readout.
WITH_LAYERS = [
    {"backbone_options": {"norm": "batch"}},
    {"levels": 2, "lift": True},
    {"backbone": "gcn", "backbone_options": {"edges": True}},
    *({"readout": name} for name in list_readouts()),
]


def with_layers(**options):
    """A model with hooks, and its layers of torch."""
    torch.manual_seed(0)
    model = MoleculePredictor(IN_FEATS, 12, hidden_feats=8, **options)
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return model, {name: each for name, each in model.named_modules() if isinstance(each, kinds)}


@pytest.mark.parametrize("options", WITH_LAYERS)
def test_hooks_on_every_layer(options):
    graph, (model, layers) = batch_of("aspirin", "ethane"), with_layers(**options)
    there, back = set(), set()
    for name, layer in layers.items():
        layer.register_forward_hook(lambda *_, name=name: there.add(name))
        layer.register_full_backward_hook(lambda *_, name=name: back.add(name))
    nodes, edges = (each.requires_grad_() for each in (graph.ndata["h"], graph.edata["e"]))
    model(graph, nodes, edges).sum().backward()
    assert there == back == {*layers}


@pytest.mark.parametrize("options", [{}, {"readout": "mempool"}])
def test_layers_with_weights_that_are_made_before_each_call(options):
    """As torch's pruning does it, in a hook: what is cut stays cut, the rest is learnt."""
    graph, (model, layers) = batch_of("aspirin", "ethane"), with_layers(**options)
    for layer in layers.values():
        prune.random_unstructured(layer, "weight", amount=0.5)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(graph, graph.ndata["h"], graph.edata["e"]).square().sum().backward()
        optimizer.step()
    model.eval()(graph, graph.ndata["h"], graph.edata["e"])
    for layer in layers.values():
        assert torch.equal(layer.weight, layer.weight_orig * layer.weight_mask)


@pytest.mark.parametrize("options", [{}, {"readout": "mempool"}])
def test_whole_modules_of_before_0_7_1(options):
    graph, (model, _) = batch_of("aspirin", "ethane"), with_layers(**options)
    expected = model.eval()(graph, graph.ndata["h"], graph.edata["e"])
    model.backbones[0].gnn.edge_init.__class__ = torch.nn.Linear
    if options:
        model.poolings[0].conv.__class__ = torch.nn.Conv2d
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again(graph, graph.ndata["h"], graph.edata["e"]), expected)


@pytest.mark.parametrize(("kind", "options"), [*RIGHT, *WRONG_OTHERWISE])
def test_several_gradients_at_once(kind, options):
    """As ``torch.autograd.functional.jacobian(vectorize=True)`` takes them."""
    pool, (graph, feat) = make(kind, **options), graph_and_feat()

    def numbers(feat):
        coarse = pool.coarsen(graph, feat)
        return torch.cat([pool(graph, feat).sum(0)[:4], coarse.lift(coarse.feat).sum(0)])

    one_by_one = functional.jacobian(numbers, feat)
    torch.testing.assert_close(functional.jacobian(numbers, feat, vectorize=True), one_by_one)


@pytest.mark.parametrize("counts", [torch.tensor([[2], [3]]), torch.tensor(5), [-1, 6]])
def test_counts_that_add_up_and_are_none_are_told(counts):
    graph, feat = graph_and_feat()
    with pytest.raises(ValueError, match=r"of shape \(.*one count >= 0 per graph .*shape \(B,\)"):
        GMPool(WIDTH)(graph, feat, batch_num_nodes=counts)
