"""A graph on the CPU, everything else on another device: nothing mixed up, no value asked for.

The other device is torch's "meta". It takes the same paths as a GPU, and holds no values, so that
any look at them (``.item()``, ``nonzero``), which would make a GPU wait, raises. Operations on
tensors of both devices, of which it lets some pass, are refused here. The checks of the features,
which do look at them, are left out. Waits inside torch, as for ``eigh`` on CUDA, do not show here.
"""

from __future__ import annotations

import contextlib
import sys

import dgl
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dgl_gmpool import MoleculePredictor, get_readout, list_readouts
from dgl_gmpool.data import featurize, load_sodium_channel
from dgl_gmpool.registry import readout_entry
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.distributed import World
from dgl_gmpool.training.fold_trainer import FoldTrainer
from dgl_gmpool.training.known_cells import masked_sum, selected_sum
from dgl_gmpool.training.task import TASKS, Labels

SIZES = (5, 9, 0, 12, 70)


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, copies and single numbers aside."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        leaves = tree_leaves((args, kwargs or {}))
        tensors = [each for each in leaves if isinstance(each, torch.Tensor) and each.dim()]
        devices = {each.device.type for each in tensors}
        if len(devices) > 1 and func is not torch.ops.aten.copy_.default:
            raise RuntimeError(f"{func} on {sorted(devices)}")
        return func(*args, **(kwargs or {}))


WIDTH = 8


@pytest.fixture(autouse=True)
def no_look_at_the_features(monkeypatch):
    for name in list_readouts():
        get_readout(name, in_feats=WIDTH)  # imports it
    for name, module in list(sys.modules.items()):
        if name.startswith("dgl_gmpool"):
            for check in ("check_features", "check_magnitude"):
                if hasattr(module, check):
                    monkeypatch.setattr(module, check, lambda *_: None)
    # There is no autocast for "meta".
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    with OneDevice():
        yield


def graph_and_feat():
    torch.manual_seed(0)
    graph = dgl.batch([dgl.to_bidirected(dgl.rand_graph(n, n)) for n in SIZES])
    return graph, torch.randn(graph.num_nodes(), WIDTH, device="meta", requires_grad=True)


def devices_after_a_step(module, out, feat):
    out.square().sum().backward()
    grads = [each.grad for each in (feat, *module.parameters()) if each.grad is not None]
    assert grads
    return {each.device.type for each in (out, *grads)}


#: Readouts whose shapes follow from values, or that have operations without a "meta" version.
ELSEWHERE = ("set_transformer", "sort")

PAPER = {"similarity": "linear", "locality": "none", "feature_norm": "none"}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ngmpool", {}),
        ("ngmpool", {"aggregate": "sum", "similarity": "gaussian"}),
        ("ngmpool", {"normalize": True}),
        ("ngmpool", {"aggregate": "max", "rank_weight": 0.1}),
        ("gmpool", {}),
        ("gmpool", {"rank_weight": 0.1, "similarity": "cauchy"}),
        ("gmpool", {"decomposition": "sqrtm", "aggregate": "sum", "similarity": "cauchy"}),
        ("gmpool", {"decomposition": "sqrtm", "aggregate": "mean", "normalize": True}),
        ("gmpool", {"decomposition": "sqrtm", "aggregate": "max", "num_clusters": 3}),
        ("gmpool", {"locality": "none", "feature_norm": "layer"}),
        ("gmpool", {"decomposition": "sqrtm", "aggregate": "mean", **PAPER}),
        *(
            (name, {})
            for name in list_readouts()
            if not readout_entry(name).coarsens and name not in ELSEWHERE
        ),
    ],
)
def test_readouts(name, options):
    graph, feat = graph_and_feat()
    pool = get_readout(name, in_feats=WIDTH, **options).to("meta")
    out, weights = pool(graph, feat, get_node_weight=True)
    assert out.shape == (len(SIZES), pool.out_feats)
    assert {each.device.type for each in weights} == {"meta"}
    assert devices_after_a_step(pool, out, feat) == {"meta"}


@pytest.mark.parametrize("readout", ["gmpool", "ngmpool", "mean"])
def test_a_whole_model(readout):
    graph, feat = graph_and_feat()
    options = {"hidden_feats": 16, "readout_norm": "batch", "n_tasks": 2}
    model = MoleculePredictor(WIDTH, 4, readout=readout, **options).to("meta")
    edge_feat = torch.randn(graph.num_edges(), 4, device="meta")
    out = model(graph, feat, edge_feat)
    assert out.shape == (len(SIZES), 2)
    assert devices_after_a_step(model, out, feat) == {"meta"}


def test_the_network_on_codes():
    graph, _ = graph_and_feat()
    nodes, edges = (
        torch.zeros(rows, width, device="meta")
        for rows, width in ((graph.num_nodes(), 2), (graph.num_edges(), 8))
    )
    model = MoleculePredictor(2, 8, backbone="gin", hidden_feats=16, readout_norm="batch")
    out = model.to("meta")(graph, nodes, edges)
    assert devices_after_a_step(model, out, next(model.parameters())) == {"meta"}


def cells_of(task):
    """Outputs and labels with cells that are not known, some of them bounded, and weights."""
    draw = torch.Generator().manual_seed(0)
    several = (3,) if task.kind == "multiclass" else ()
    outputs = torch.randn(6, 4, *several, generator=draw, dtype=torch.float64)
    targets = torch.randint(2, (6, 4), generator=draw).double()
    targets[torch.rand(6, 4, generator=draw) < 0.5] = torch.nan
    outputs[targets.isnan()] = torch.inf
    bounds = [None, None]
    if task.takes_bounds:
        for at, sort in enumerate((0.25, 0.75)):
            held = targets.isnan() & ((torch.rand(6, 4, generator=draw) < 0.5) == (at == 0))
            bounds[at] = torch.where(held, sort, torch.nan)
            outputs[held & outputs.isinf()] = 0.1
    return outputs, Labels(targets, *bounds, torch.rand(6, 4, generator=draw).double())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_losses_of_known_cells(task, monkeypatch):
    outputs, labels = cells_of(task)
    elsewhere = outputs.to("meta").requires_grad_()
    loss = task.loss(
        elsewhere, Labels(*(part if part is None else part.to("meta") for part in labels))
    )
    assert devices_after_a_step(torch.nn.Identity(), loss, elsewhere) == {"meta"}

    found = []
    for way in (selected_sum, masked_sum):
        monkeypatch.setattr("dgl_gmpool.training.task_base.sum_over", way)
        leaf = outputs.clone().requires_grad_()
        loss = task.loss(leaf, labels)
        loss.backward()
        found.append((loss, leaf.grad))
    assert all(torch.isfinite(each).all() for each in found[0])
    torch.testing.assert_close(found[1], found[0])


def test_a_training_step_looks_at_values_once(monkeypatch):
    dataset = featurize(load_sodium_channel().take(range(40)), progress=False)
    rows = torch.arange(30)
    trainer = FoldTrainer.start(
        dataset,
        rows.tolist(),
        range(30, 40),
        TrainingConfig(hidden_feats=16),
        fold=0,
        device=torch.device("meta"),
        world=World(),
    )
    looks, tolist = [], torch.Tensor.tolist

    def looked_at(values):
        if values.device.type != "meta":
            return tolist(values)
        looks.append(values.shape)
        return [0.0] * len(values)

    monkeypatch.setattr(torch.Tensor, "tolist", looked_at)
    trainer._step(rows[:20], 1)
    assert looks == [(2,)]


def test_a_look_at_the_values_would_be_seen():
    graph, feat = graph_and_feat()
    pool = get_readout("gmpool", in_feats=WIDTH, aggregate="mean").to("meta")
    with pytest.raises(RuntimeError, match="item"):  # its K is decided by eigenvalues
        pool(graph, feat)
    with pytest.raises(RuntimeError, match=r"cpu.*meta"):
        feat.index_select(0, torch.zeros(3, dtype=torch.int64))
