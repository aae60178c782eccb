"""The default readout: mean and maximum of atoms, beside what a network makes of groups."""

from __future__ import annotations

import dgl
import numpy as np
import pytest
import reference
import torch
from test_pooling import SIZES, WIDTH, batch, loop_matrices

from dgl_gmpool import GMPool, MoleculePredictor, NGMPool, get_readout
from dgl_gmpool.nn.grouping import SIMILARITIES
from dgl_gmpool.testing import batch_members


def make(**options):
    torch.manual_seed(1)
    pool = GMPool(WIDTH, **options).double()
    with torch.no_grad():
        pool.group_readout.gain.normal_()
        pool.group_readout.log_power.fill_(0.4)
        pool.group_readout.group_norm.running_mean.normal_()
        pool.group_readout.node_norm.running_var.uniform_(0.5, 2)
        pool.grouping.norm.running_mean.normal_()
    return pool.eval()


def loop(pool, graph, feat):
    """Row by row, with the running statistics."""
    part = pool.group_readout
    linear, bias = (p.detach().numpy() for p in part.linear.parameters())
    node, group = part.node_norm, part.group_norm

    def normal(x, norm):
        x = (x - norm.running_mean.numpy()) / np.sqrt(norm.running_var.numpy() + norm.eps)
        return x * norm.weight.detach().numpy() + norm.bias.detach().numpy() if norm.affine else x

    rows = []
    for matrix, x in zip(loop_matrices(pool, feat, graph=graph), feat.split(list(SIZES))):
        if not len(x):
            rows.append(np.zeros(pool.out_feats))
            continue
        x = x.numpy()
        power = float(part.log_power.detach().exp())
        hidden, count = reference.group_readout(matrix**power, x, linear, bias)
        hidden = np.maximum(normal(hidden, node), 0)
        total = (count[:, None] * hidden).sum(0)
        groups = np.concatenate([total / count.sum(), hidden.max(0), total])
        groups = normal(groups, group) * part.gain.detach().numpy()
        rows.append(np.concatenate([x.mean(0), x.max(0), groups]))
    return np.array(rows)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("locality", ["diffusion", "none"])
def test_equals_the_loop(locality, similarity):
    graph, feat = batch()
    pool = make(locality=locality, similarity=similarity)
    out = pool(graph, feat)
    assert out.shape == (len(SIZES), 5 * WIDTH) == (len(SIZES), pool.out_feats)
    np.testing.assert_allclose(out.detach().numpy(), loop(pool, graph, feat), rtol=1e-4, atol=1e-6)


def test_each_group_counts_once_on_disjoint_groups():
    """Sizes 5 and 1: the mean over groups is that of two, the sum adds two, whatever the sizes."""
    feat = torch.tensor([[9.0, 1]] * 5 + [[0.0, 9]], dtype=torch.float64)
    pool = GMPool(2, locality="none", feature_norm="none").double().eval()
    with torch.no_grad():
        pool.grouping.weight.fill_(5)
        pool.group_readout.linear.weight.copy_(torch.eye(2))
        pool.group_readout.linear.bias.zero_()
        pool.group_readout.gain.fill_(1)
    out = pool(dgl.graph(([], []), num_nodes=6), feat)[0, 4:]
    expected = torch.tensor([4.5, 5, 9, 9, 9, 10], dtype=torch.float64)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_it_starts_as_exactly_mean_and_max(mode):
    graph, feat = batch()
    pool = getattr(GMPool(WIDTH), mode)()
    expected = getattr(get_readout("mean_and_max", in_feats=WIDTH), mode)()(graph, feat.float())
    out = pool(graph, feat.float())
    assert torch.equal(out[:, : 2 * WIDTH], expected)
    assert not out[:, 2 * WIDTH :].any()


@pytest.mark.parametrize("backbone", ["dmpnn", "gcn", "attentivefp"])
def test_a_whole_network_starts_as_with_mean_and_max(backbone):
    """Equal weights: predictions equal, with and without exchange."""
    graph = dgl.batch(batch_members())
    inputs = graph, graph.ndata["h"], graph.edata["e"]
    options = {"backbone": backbone, "hidden_feats": 12, "num_steps": 2, "dropout": 0.0}
    models = [
        MoleculePredictor(16, 12, readout="mean_and_max", **options),
        MoleculePredictor(16, 12, readout="gmpool", exchange=False, **options),
        MoleculePredictor(16, 12, readout="gmpool", **options),
    ]
    assert [len(model.exchange_steps) > 0 for model in models] == [False, False, True]
    state = models[0].state_dict()
    for other in models[1:]:
        own = other.state_dict()
        for name, value in state.items():
            if name == "head.1.weight":
                own[name][:, :24] = value
            else:
                own[name].copy_(value)
    expected = models[0](*inputs)
    for other in models[1:]:
        torch.testing.assert_close(other(*inputs), expected, rtol=1e-5, atol=1e-6)


def test_groups_enter_where_they_pay():
    """The gain of the added half has a gradient at its start, phi has one after the first step."""
    graph, feat = batch()
    pool, target = GMPool(WIDTH), torch.randn(len(SIZES), 5 * WIDTH)
    optimizer = torch.optim.SGD(pool.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        (pool(graph, feat.float()) * target).sum().backward()
        grads = {name: p.grad.abs().sum().item() for name, p in pool.named_parameters()}
        assert grads["group_readout.gain"] > 0
        for name in ("group_readout.linear.weight", "grouping.weight", "locality.log_time"):
            assert (grads[name] > 0) == (step > 0), name
        optimizer.step()


def test_node_weights():
    graph, feat = batch()
    pool = make()
    out, (weight,) = pool(graph, feat, get_node_weight=True)
    assert torch.equal(out, pool(graph, feat))
    assert weight.shape == (sum(SIZES), 1)
    assert (weight >= 0).all()
    assert torch.isfinite(weight).all()


def test_graphs_without_nodes_give_zeros_and_leave_the_statistics_alone():
    graph, feat = batch((4, 0, 3))
    rest, _ = batch((4, 3))
    one, other = make().train(), make().train()
    out = one(graph, feat)
    assert not out[1].any()
    rest = dgl.batch([g for g in dgl.unbatch(graph) if g.num_nodes()])
    torch.testing.assert_close(out[[0, 2]], other(rest, feat), rtol=0, atol=1e-12)
    for (name, a), b in zip(one.named_buffers(), other.buffers()):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12, msg=name)


def test_ngmpool_can_have_it_too():
    graph, feat = batch()
    pool = NGMPool(WIDTH, aggregate="atoms_and_groups")
    assert pool(graph, feat.float()).shape == (len(SIZES), 5 * WIDTH)


def test_reset_parameters_starts_again():
    pool = make()
    pool.reset_parameters()
    assert not pool.group_readout.gain.any()
    assert not pool.group_readout.group_norm.running_mean.any()
    graph, feat = batch()
    assert not pool(graph, feat)[:, 2 * WIDTH :].any()


@pytest.mark.parametrize("aggregate", ["atoms_and_groups", "mean_max_and_sum"])
@pytest.mark.parametrize("decomposition", ["pivot", "sqrtm", "cholesky"])
@pytest.mark.parametrize("face", ["readout", "coarsen"])
def test_gradcheck_with_locality(face, decomposition, aggregate):
    """Features, conductances and every parameter, through both faces."""
    graph, feat = batch((5, 1, 0, 4))
    if aggregate == "atoms_and_groups":
        pool = make(decomposition=decomposition)
    else:
        torch.manual_seed(1)
        pool = GMPool(WIDTH, decomposition=decomposition, aggregate=aggregate).double().eval()
    names = [name for name, _ in pool.named_parameters()]
    conductance = torch.rand(graph.num_edges(), dtype=torch.float64) + 0.5

    class Face(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = pool

        def forward(self, feat, conductance):
            if face == "readout":
                return self.pool(graph, feat, conductance=conductance)
            coarse = self.pool.coarsen(graph, feat, conductance=conductance)
            return coarse.feat, coarse.edge_weight, coarse.lift(coarse.feat)

    both = Face()

    def run(feat, conductance, *values):
        given = {f"pool.{name}": value for name, value in zip(names, values)}
        return torch.func.functional_call(both, given, (feat, conductance))

    inputs = [feat, conductance, *(p.detach() for p in pool.parameters())]
    inputs = tuple(each.clone().requires_grad_() for each in inputs)
    assert torch.autograd.gradcheck(run, inputs, atol=1e-4, rtol=1e-3, fast_mode=True)
