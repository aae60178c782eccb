"""The registry, and DGL's and dgllife's readouts behind it."""

from __future__ import annotations

import copy
import sys
import types
from importlib.metadata import EntryPoint

import dgl
import pytest
import torch

from dgl_gmpool import collect_losses, get_readout, list_readouts, registry
from dgl_gmpool._environment import import_dgllife

WRAPPED = (
    "attention",
    "attentivefp",
    "mlp",
    "set2set",
    "set_transformer",
    "sort",
    "sum_and_max",
    "weave",
    "weighted_sum_and_max",
)
WIDTH = 6
SIZES = [3, 1, 5]


def batch(sizes, idtype=torch.int32):
    """Chains of atoms."""
    graphs = []
    for n in sizes:
        ends = torch.arange(max(n - 1, 0), dtype=idtype)
        pairs = torch.cat([ends, ends + 1]), torch.cat([ends + 1, ends])
        graphs.append(dgl.graph(pairs, num_nodes=n, idtype=idtype))
    return dgl.batch(graphs)


def features(sizes, dtype=torch.float32):
    return torch.randn(sum(sizes), WIDTH, generator=torch.Generator().manual_seed(1)).to(dtype)


def originals():
    """Our name -> DGL's or dgllife's module with the same options."""
    dgllife = import_dgllife("model")
    weave = import_dgllife("model.readout.weave_readout").WeaveGather
    mlp = import_dgllife("model.readout.mlp_readout").MLPNodeReadout
    glob = dgl.nn.pytorch.glob
    return {
        "sum": glob.SumPooling(),
        "mean": glob.AvgPooling(),
        "max": glob.MaxPooling(),
        "attention": glob.GlobalAttentionPooling(torch.nn.Linear(WIDTH, 1)),
        "attentivefp": dgllife.AttentiveFPReadout(WIDTH),
        "mlp": mlp(WIDTH, WIDTH, WIDTH, activation=torch.nn.ReLU()),
        "set2set": glob.Set2Set(WIDTH, 6, 3),
        "sort": glob.SortPooling(10),
        "sum_and_max": dgllife.SumAndMax(),
        "weave": weave(WIDTH),
        "weighted_sum_and_max": dgllife.WeightedSumAndMax(WIDTH),
    }


@pytest.mark.parametrize("name", sorted({*WRAPPED, "sum", "mean", "max"} - {"set_transformer"}))
def test_computes_what_the_original_computes(name):
    original = originals()[name]
    ours = get_readout(name, in_feats=WIDTH)
    if isinstance(original, torch.nn.Module):
        # Same names and shapes, so that checkpoints load in both directions.
        ours.load_state_dict(original.state_dict(), strict=True)
        original.load_state_dict(ours.state_dict(), strict=True)
    graph, feat = batch(SIZES), features(SIZES)
    expected = original(graph, feat)
    assert expected.shape == (len(SIZES), ours.out_feats)
    torch.testing.assert_close(ours(graph, feat), expected, rtol=1e-5, atol=1e-6)


def test_mean_and_max_are_those_of_dgl_side_by_side():
    graph, feat, glob = batch(SIZES), features(SIZES), dgl.nn.pytorch.glob
    expected = torch.cat([glob.AvgPooling()(graph, feat), glob.MaxPooling()(graph, feat)], 1)
    ours = get_readout("mean_and_max", in_feats=WIDTH)
    assert expected.shape == (len(SIZES), ours.out_feats)
    torch.testing.assert_close(ours(graph, feat), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["attentivefp", "set2set", "weave", "weighted_sum_and_max"])
def test_same_seed_same_initial_parameters(name):
    torch.manual_seed(3)
    expected = {
        "attentivefp": lambda: import_dgllife("model").AttentiveFPReadout(WIDTH),
        "set2set": lambda: dgl.nn.pytorch.Set2Set(WIDTH, 6, 3),
        "weave": lambda: import_dgllife("model").WeaveGather(WIDTH),
        "weighted_sum_and_max": lambda: import_dgllife("model").WeightedSumAndMax(WIDTH),
    }[name]()
    torch.manual_seed(3)
    ours = get_readout(name, in_feats=WIDTH)
    for key, value in expected.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key


def test_set_transformer_is_dgls_encoder_and_decoder():
    ours = get_readout("set_transformer", in_feats=8, k=3)
    graph, feat = batch(SIZES), torch.randn(sum(SIZES), 8)
    expected = ours.decoder(graph, ours.encoder(graph, feat))
    assert expected.shape == (3, ours.out_feats)
    torch.testing.assert_close(ours(graph, feat), expected)


def test_attention_rounds_agree_with_dgllife():
    original = import_dgllife("model").AttentiveFPReadout(WIDTH, num_timesteps=3)
    ours = get_readout("attentivefp", in_feats=WIDTH, num_timesteps=3)
    ours.load_state_dict(original.state_dict())
    graph, feat = batch(SIZES), features(SIZES)
    _, expected = original(graph, feat, True)
    _, found = ours(graph, feat, True)
    assert len(found) == len(expected) == 3
    for mine, theirs in zip(found, expected):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("name", WRAPPED)
class TestEveryWrappedReadout:
    def test_empty_graphs_give_zeros_and_leave_the_others_alone(self, name):
        readout = get_readout(name, in_feats=WIDTH).eval()
        feat = features(SIZES)
        alone = readout(batch(SIZES), feat)
        out = readout(batch([0, 3, 0, 1, 5, 0]), feat)
        assert torch.equal(out[[0, 2, 5]], torch.zeros(3, readout.out_feats))
        torch.testing.assert_close(out[[1, 3, 4]], alone)
        assert torch.equal(readout(batch([0, 0]), feat[:0]), torch.zeros(2, readout.out_feats))

    def test_permutation_batching_and_repetition(self, name):
        readout = get_readout(name, in_feats=WIDTH).eval()
        graph, feat = batch(SIZES), features(SIZES)
        # Rows that tie in their largest entry, so that an order by that alone is not enough.
        feat[3:7] = feat[3:7].clamp(max=feat[3:7].min())
        feat[:3, 0] = 9.0
        out = readout(graph, feat)
        assert torch.equal(out, readout(graph, feat))
        order = torch.tensor([2, 0, 1, 3, 8, 6, 4, 7, 5])
        torch.testing.assert_close(readout(graph, feat[order]), out, rtol=1e-5, atol=1e-5)
        alone = [readout(batch([n]), f) for n, f in zip(SIZES, feat.split(SIZES))]
        torch.testing.assert_close(torch.cat(alone), out, rtol=1e-5, atol=1e-5)
        lost = dgl.add_self_loop(graph)
        lost.set_batch_num_nodes(torch.tensor([sum(SIZES)], dtype=lost.idtype))  # DGL 2 asks
        lost.set_batch_num_edges(torch.tensor([lost.num_edges()], dtype=lost.idtype))
        counts = graph.batch_num_nodes()
        assert torch.equal(readout(lost, feat, batch_num_nodes=counts), out)

    def test_dtypes_and_id_types(self, name):
        readout = get_readout(name, in_feats=WIDTH).eval()
        feat = features(SIZES)
        single = readout(batch(SIZES), feat)
        assert torch.equal(readout(batch(SIZES, torch.int64), feat), single)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(readout(batch(SIZES), feat), single)
            half = readout(batch(SIZES), feat.bfloat16())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), single, rtol=0.05, atol=0.05)
        double = readout.double()(batch(SIZES), feat.double())
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)

    def test_gradients_are_finite_and_exact(self, name):
        readout = get_readout(name, in_feats=3).double().eval()
        graph = batch([2, 0, 1, 3])
        feat = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: readout(graph, x), feat)
        readout(graph, feat).square().sum().backward()
        for parameter in readout.parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all()

    def test_refuses_bad_features(self, name):
        readout = get_readout(name, in_feats=WIDTH)
        feat = features(SIZES)
        with pytest.raises(ValueError, match=r"feat has shape \(9, 5\)"):
            readout(batch(SIZES), feat[:, :5])
        with pytest.raises(ValueError, match="rows"):
            readout(batch([3, 1]), feat)
        feat[4, 2] = torch.nan
        with pytest.raises(ValueError, match="node 0 of graph 2"):
            readout(batch(SIZES), feat)
        with pytest.raises(TypeError, match="int64"):
            readout(batch(SIZES), torch.ones(9, WIDTH, dtype=torch.int64))

    def test_node_weights(self, name):
        readout = get_readout(name, in_feats=WIDTH).eval()
        graph, feat = batch(SIZES), features(SIZES)
        if name == "set_transformer":
            with pytest.raises(ValueError, match="no node has a weight"):
                readout(graph, feat, True)
            return
        out, weights = readout(graph, feat, True)
        assert torch.equal(out, readout(graph, feat, False))
        assert all(w.shape == (9, 1) and torch.isfinite(w).all() for w in weights)
        if name in ("attention", "attentivefp", "set2set"):
            for weight in weights:
                sums = torch.stack([w.sum() for w in weight.split(SIZES)])
                torch.testing.assert_close(sums, torch.ones(3))

    def test_reset_parameters_draws_new_ones(self, name):
        readout = get_readout(name, in_feats=WIDTH)
        before = [p.detach().clone() for p in readout.parameters() if p.requires_grad]
        readout.reset_parameters()
        after = [p for p in readout.parameters() if p.requires_grad]
        changed = [not torch.equal(a, b) for a, b in zip(after, before) if a.dim() > 1]
        assert all(changed)
        assert all(torch.isfinite(p).all() for p in after)


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_every_entry_makes_a_readout_of_its_width(name):
    readout = get_readout(name, in_feats=WIDTH)
    assert readout(batch(SIZES), features(SIZES)).shape == (3, readout.out_feats)
    assert registry.readout_entry(name).summary
    with pytest.raises(ValueError, match="in_feats"):
        get_readout(name, in_feats=0)


@pytest.mark.parametrize(
    ("name", "options", "hint"),
    [
        ("set2st", {}, "set2set"),
        ("NGMPool", {}, "ngmpool"),
        ("set2set", {"n_iter": 3}, "n_iters"),
        ("sort", {"kk": 3}, "Options: k"),
        ("mean", {"tol": 3}, "It has no options"),
    ],
)
def test_misspelt_names_and_options(name, options, hint):
    with pytest.raises(ValueError, match=hint):
        get_readout(name, in_feats=4, **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sort", {"k": 0}),
        ("set2set", {"n_iters": 1.5}),
        ("set_transformer", {"k": 1}),
        ("attentivefp", {"dropout": 1.0}),
        ("mlp", {"activation": "rellu"}),
        ("mlp", {"aggregate": "median"}),
    ],
)
def test_bad_option_values(name, options):
    with pytest.raises(ValueError, match=r"give|Known"):
        get_readout(name, in_feats=4, **options)


class _Foreign(torch.nn.Module):
    def __init__(self, in_feats, *, depth=1):
        super().__init__()
        self.out_feats = 3 * in_feats * depth


def _points(*pairs):
    return [EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in pairs]


@pytest.fixture
def installed(monkeypatch):
    module = types.ModuleType("a_foreign_package")
    module.Foreign = _Foreign
    module.any_option = lambda in_feats, **options: _Foreign(in_feats, **options)
    module.no_width = lambda in_feats: torch.nn.Identity()
    module.no_module = lambda in_feats: types.SimpleNamespace(out_feats=in_feats)
    module.made = _Foreign(2)
    monkeypatch.setitem(sys.modules, "a_foreign_package", module)

    def install(*pairs):
        monkeypatch.setattr(registry, "entry_points", lambda *, group: _points(*pairs))

    return install


def test_other_packages_add_readouts(installed):
    installed(
        ("foreign", "a_foreign_package:Foreign"),
        # Seen twice: harmless.
        ("foreign", "a_foreign_package:Foreign"),
        ("loose", "a_foreign_package:any_option"),
        ("no_width", "a_foreign_package:no_width"),
        ("broken", "a_foreign_package:Missing"),
        ("made", "a_foreign_package:made"),
        ("package", "a_foreign_package"),
        ("no_module", "a_foreign_package:no_module"),
        ("gmpool", "a_foreign_package:Foreign"),
    )
    assert {"foreign", "gmpool", "set2set"} <= set(list_readouts())
    assert get_readout("foreign", in_feats=2, depth=2).out_feats == 12
    assert get_readout("loose", in_feats=2, depth=2).out_feats == 12
    with pytest.raises(ValueError, match=r"'depht'\. Did you mean 'depth'"):
        get_readout("foreign", in_feats=2, depht=2)
    with pytest.raises(ValueError, match="must state the width"):
        get_readout("no_width", in_feats=2)
    with pytest.raises(ImportError, match="a_foreign_package:Missing"):
        get_readout("broken", in_feats=2)
    with pytest.raises(ImportError, match=r"'a_foreign_package:made', which is a _Foreign"):
        get_readout("made", in_feats=2)
    with pytest.raises(ImportError, match=r"'a_foreign_package', which is a module and makes no"):
        registry.readout_entry("package")
    with pytest.raises(ValueError, match=r"'no_module' made a SimpleNamespace, not a torch"):
        get_readout("no_module", in_feats=2)
    # A built-in name stays ours.
    assert type(get_readout("gmpool", in_feats=2)).__module__.startswith("dgl_gmpool.")


def test_without_other_packages_there_are_ours(installed):
    installed()
    assert list_readouts() == sorted(registry.BUILT_IN)


def test_two_packages_with_one_name(installed):
    installed(("twice", "a_foreign_package:Foreign"), ("twice", "a_foreign_package:any_option"))
    with pytest.raises(ValueError, match="several installed packages"):
        get_readout("twice", in_feats=2)


def test_equal_nodes_share_the_last_places_of_sort():
    graph, feat = dgl.graph(([], []), num_nodes=5), torch.ones(5, WIDTH)
    feat[3] += 1
    _, (weight,) = get_readout("sort", in_feats=WIDTH, k=3)(graph, feat, get_node_weight=True)
    assert weight[:, 0].tolist() == [0.5, 0.5, 0.5, 1.0, 0.5]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", list_readouts())
def test_modules_in_half_precision(name, dtype):
    """They agree with float32 but for rounding, losses too, and train with finite gradients."""
    torch.manual_seed(0)
    sizes = [3, 1, 5, 40]
    graph, feat = batch(sizes), features(sizes).to(dtype)
    feat[3] = 30.0  # far from all others
    readout = get_readout(name, in_feats=WIDTH).to(dtype).eval()
    wide = copy.deepcopy(readout).float()
    with collect_losses() as expected_losses:
        expected = wide(graph, feat.float())
    with collect_losses() as losses:
        out = readout(graph, feat)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.05)
    for each, value in expected_losses.items():
        torch.testing.assert_close(losses[each].float(), value, rtol=0.02, atol=0.01)
    feat.requires_grad_()
    with collect_losses() as losses:
        out = readout.train()(graph, feat)
    (out.float().square().mean() + sum(losses.values())).backward()
    gradients = [feat.grad, *(each.grad for each in readout.parameters() if each.grad is not None)]
    assert all(torch.isfinite(each).all() for each in gradients)


@pytest.mark.parametrize(
    ("name", "option"),
    [(name, each) for name in list_readouts() for each in registry.readout_entry(name).options],
)
def test_values_of_options_are_checked_when_given(name, option):
    """A value that cannot be is told with the option; any other makes a readout that works."""
    made, told = [], []
    for value in (None, "x", float("nan"), float("inf"), -1, 0, [1], True):
        try:
            made.append(get_readout(name, in_feats=WIDTH, **{option: value}))
        except ValueError as error:
            told.append(str(error))
    assert told
    assert all(option in each for each in told)
    with torch.no_grad():
        for readout in made:
            assert torch.isfinite(readout.eval()(batch(SIZES), features(SIZES))).all()


def test_no_activation_has_two_names():
    for activation in ("none", None):
        readout = get_readout("mlp", in_feats=WIDTH, activation=activation)
        assert isinstance(readout.activation, torch.nn.Identity)


@pytest.mark.parametrize("value", [0, 1])
def test_weave_of_runs_that_were_told_0_or_1(value):
    """``--readout-option gaussian_expand=0``: such a run was called damaged."""
    readout = get_readout("weave", in_feats=WIDTH, gaussian_expand=value)
    assert readout.gaussian_expand is bool(value)
    assert hasattr(readout, "to_out") == bool(value)
