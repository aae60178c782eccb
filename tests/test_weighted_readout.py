"""Readouts in one step against the same written out for autograd, and their dtype."""

from __future__ import annotations

import itertools
import weakref

import dgl
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from dgl_gmpool import GMPool, NGMPool
from dgl_gmpool.nn import weighted_readout
from dgl_gmpool.nn.dense_pooling import DensePooling
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.nn.square_root import root_times, symmetric_root

SIZES = (5, 1, 0, 32, 17, 9, 40)
SIMILARITIES = ("linear", "cauchy", "gaussian")


def batch(sizes=SIZES):
    return dgl.batch([dgl.graph(([], []), num_nodes=n) for n in sizes])


def pooling(similarity, aggregate="mean", width=16, kind=NGMPool):
    torch.manual_seed(0)
    pool = kind(width, similarity=similarity, aggregate=aggregate)
    if pool.grouping.bias is not None:
        torch.nn.init.constant_(pool.grouping.bias, 0.3)
    return pool


def values_and_gradients(pool, forward, graph, feat):
    feat = feat.clone().requires_grad_()
    pool.zero_grad()
    out, weights = forward(pool, pool._layout(graph, feat, None), feat)
    toward = torch.linspace(-1, 1, len(weights), dtype=feat.dtype)
    (out.square().sum() + (weights * toward).sum()).backward()
    return [out, weights, feat.grad, *(p.grad for p in pool.parameters())]


@pytest.mark.parametrize("kind", [NGMPool, GMPool])
@pytest.mark.parametrize(
    ("similarity", "aggregate", "dtype", "size"),
    [
        (similarity, aggregate, dtype, size)
        for similarity, aggregate in itertools.product(SIMILARITIES, ("mean", "sum"))
        # Of these, NGMPool takes the small float32 features alone in float32.
        for dtype, size in ((torch.float32, 1), (torch.float32, 30), (torch.float64, 1))
    ],
)
def test_it_is_the_readout_written_out(kind, similarity, aggregate, dtype, size):
    pool, graph = pooling(similarity, aggregate, kind=kind), batch()
    torch.manual_seed(1)
    feat = size * torch.randn(sum(SIZES), 16, dtype=dtype)
    feat[8:10] = feat[7]
    fast = values_and_gradients(pool, kind._weighted_sum, graph, feat)
    slow = values_and_gradients(pool, DensePooling._weighted_sum, graph, feat)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    for found, expected in zip(fast, slow):
        # Where M is the identity, gradients are zeros up to rounding.
        atol = tolerance * (1 + float(expected.detach().abs().max()))
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=atol)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_first_and_second_derivatives(similarity):
    pool, graph = pooling(similarity, width=4).double(), batch((3, 0, 4, 1))
    torch.manual_seed(2)
    feat = torch.randn(8, 4, dtype=torch.float64, requires_grad=True)

    def readout(feat, *_):
        out, weights = pool(graph, feat, get_node_weight=True)
        return out, weights[0]

    inputs = (feat, *pool.parameters())
    assert torch.autograd.gradcheck(readout, inputs)
    assert torch.autograd.gradgradcheck(readout, inputs)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_first_derivatives_of_the_root_and_no_second_ones(similarity):
    pool, graph = pooling(similarity, width=4, kind=GMPool).double(), batch((3, 0, 4, 1))
    torch.manual_seed(2)
    feat = 2 * torch.randn(8, 4, dtype=torch.float64)
    feat.requires_grad_()

    def readout(feat, *_):
        out, weights = pool(graph, feat, get_node_weight=True)
        return out, weights[0]

    inputs = (feat, *pool.parameters())
    assert torch.autograd.gradcheck(readout, inputs)
    for which in (0, 1):
        first, again = (
            torch.autograd.grad(readout(feat)[which].square().sum(), inputs, create_graph=create)
            for create in (True, False)
        )
        torch.testing.assert_close(first, again)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            first[0].sum().backward()


def test_the_second_derivative_of_the_readout_alone_and_with_frozen_parts():
    pool, graph = pooling("linear", width=4).double(), batch((3, 4))
    pool.requires_grad_(False)
    feat = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda feat: pool(graph, feat), (feat,))
    pool.requires_grad_(True)
    frozen = feat.detach()
    assert torch.autograd.gradgradcheck(lambda *_: pool(graph, frozen), tuple(pool.parameters()))


@pytest.mark.parametrize("kind", [NGMPool, GMPool])
def test_a_kept_graph_gives_the_same_gradient_again(kind):
    pool, graph = pooling("cauchy", kind=kind), batch()
    feat = torch.randn(sum(SIZES), 16, requires_grad=True)
    loss = pool(graph, feat).square().sum()
    first = torch.autograd.grad(loss, feat, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(loss, feat)[0])


@pytest.mark.parametrize(
    ("size", "dtype", "expected"),
    [
        (1.0, torch.float32, torch.float32),
        (2.5, torch.float32, torch.float32),  # small by the sum, not by its bound
        (1e3, torch.float32, torch.float64),
        (1.0, torch.float64, torch.float64),
    ],
)
def test_float32_where_features_are_small(size, dtype, expected):
    pool = pooling("linear")
    feat = size * torch.randn(5, 16, dtype=dtype)
    assert dtype_taken(pool, feat) == expected
    # Entries of M so near 1 that float32 would lose 1 - M, and with it the gradient.
    torch.nn.init.constant_(pool.grouping.bias, 10.0)
    assert dtype_taken(pool, feat) == torch.float64


def dtype_taken(pool, feat):
    layout = RaggedLayout.from_counts(torch.tensor([len(feat)]))
    weight = pool.grouping.distance_weight(feat.device).detach()
    bias = weight.new_zeros(1) if pool.grouping.bias is None else pool.grouping.bias.detach()
    flat = feat.index_select(0, layout.origin)
    _, dtype = weighted_readout._points(pool.grouping, layout, flat, weight, bias, exact=False)
    return dtype


def at_the_edge(pool, nodes, *, offset):
    """The largest features of this kind that are still taken in float32."""
    feat = offset + torch.randn(nodes, pool.in_feats)
    low, high = 1e-6, 1e6
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        if dtype_taken(pool, middle * feat) == torch.float32:
            low = middle
        else:
            high = middle
    return low * feat


@pytest.mark.parametrize("bias", [-8.0, 0.0, 4.0])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("nodes", [3, 35])
@pytest.mark.parametrize(("width", "offset"), [(16, 0.0), (64, 3.0), (400, 0.0)])
def test_how_far_off_it_is_at_the_edge_of_float32(similarity, width, offset, nodes, bias):
    pool = pooling(similarity, width=width)
    if pool.grouping.bias is None and bias:
        return
    if pool.grouping.bias is not None:
        torch.nn.init.constant_(pool.grouping.bias, bias)
    torch.manual_seed(4)
    feat, graph = at_the_edge(pool, nodes, offset=offset), batch((nodes,))
    narrow = values_and_gradients(pool, NGMPool._weighted_sum, graph, feat)
    wide = values_and_gradients(pool.double(), NGMPool._weighted_sum, graph, feat.double())
    for place, (found, expected) in enumerate(zip(narrow, wide)):
        scale = float(expected.detach().abs().max())
        error = float((found.double() - expected).detach().abs().max())
        # Readout and weights of nodes, then gradients, in which more cancels.
        assert error < (1e-5 if place < 2 else 1e-4) * max(scale, 1.0)


@pytest.mark.parametrize("bias", [-800.0, -100.0, 800.0])
@pytest.mark.parametrize("kind", [NGMPool, GMPool])
def test_a_slope_that_overflows_or_vanishes(kind, bias):
    pool = pooling("cauchy", kind=kind)
    torch.nn.init.constant_(pool.grouping.bias, bias)
    # The second graph, of equal nodes, is taken in float32 alone, with the slope of bias -100.
    for feat in (torch.randn(5, 16), torch.ones(5, 16)):
        feat.requires_grad_()
        out = pool(batch((5,)), feat)
        out.sum().backward()
        # One group of all: S is 1 / sqrt(5) everywhere. Or each node alone: the identity.
        together = bias > 0 or bool((feat == feat[0]).all())
        share = {NGMPool: 1.0, GMPool: 5**-0.5}[kind] if together else 0.2
        torch.testing.assert_close(out[0], share * feat.sum(0))
        assert torch.isfinite(feat.grad).all()
        assert all(bool(torch.isfinite(each.grad).all()) for each in pool.parameters())


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_who_else_is_in_the_batch_changes_a_readout_by_1e_5_at_most(similarity):
    """A neighbour with large features takes the whole batch to float64."""
    pool = pooling(similarity, width=200)
    torch.manual_seed(5)
    feat = at_the_edge(pool, 35, offset=0.0)
    alone = pool(batch((35,)), feat)
    beside = pool(batch((35, 9)), torch.cat([feat, 100 * torch.randn(9, 200)]))
    assert float((alone[0] - beside[0]).detach().abs().max()) < 1e-5


def test_features_that_follow_from_the_weights_have_one_gradient():
    pool, graph = pooling("linear", width=4).double(), batch((3, 4))
    feat, weight = torch.randn(7, 4, dtype=torch.float64), pool.grouping.weight
    found = [
        torch.autograd.grad(pool(graph, feat * weight).square().sum(), weight, create_graph=again)
        for again in (False, True)
    ]
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize(("kind", "matrices"), [(NGMPool, 1), (GMPool, 2)])
def test_nothing_is_kept_after_the_backward_pass(kind, matrices):
    pool, kept = pooling("linear", kind=kind), []

    def note(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = pool(batch((30,)), torch.randn(30, 16, requires_grad=True)).sum()
    # All that the backward pass needs goes through autograd, which lets go of it afterwards.
    assert kept.count(30 * 30) == matrices  # M, and its eigenvectors
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize("kind", [NGMPool, GMPool])
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize(("dtype", "far"), [(torch.float32, 1e6), (torch.float64, 1e10)])
def test_a_far_node_does_not_blur_the_others(similarity, kind, dtype, far):
    pool = pooling(similarity, kind=kind)
    feat = torch.randn(12, 16, dtype=dtype)
    feat[0] *= far
    _, (weights,) = pool(batch((12,)), feat, get_node_weight=True)
    matrix = pool.grouping(feat[None])
    if kind is GMPool:
        matrix, _ = symmetric_root(matrix)
    expected = matrix[0].sum(1).to(dtype) / 12
    torch.testing.assert_close(weights[:, 0], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [NGMPool, GMPool])
def test_under_checkpointing(kind):
    pool, graph = pooling("linear", kind=kind), batch((5, 9))
    feat = torch.randn(14, 16, requires_grad=True)
    (plain,) = torch.autograd.grad(pool(graph, feat).square().sum(), feat)
    out = checkpoint(lambda feat: pool(graph, feat), feat, use_reentrant=False)
    out.square().sum().backward()
    torch.testing.assert_close(feat.grad, plain)


def test_without_gradients_one_bucket_at_a_time_is_in_memory(monkeypatch):
    pool, graph = pooling("linear", kind=GMPool), batch((5, 200))
    matrices = []

    def spy(matrix, vector):
        assert all(earlier() is None for earlier in matrices)
        matrices.append(weakref.ref(matrix))
        return root_times(matrix, vector)

    monkeypatch.setattr(weighted_readout, "root_times", spy)
    with torch.no_grad():
        pool(graph, torch.randn(205, 16))
    assert len(matrices) == 2


def test_equal_nodes_stay_equal_however_large_they_are():
    pool, feat = pooling("gaussian"), 1e8 * torch.randn(6, 16)
    feat[3] = feat[0]
    out, (weights,) = pool(batch((6,)), feat, get_node_weight=True)
    expected = torch.full((6, 1), 1 / 6)
    expected[[0, 3]] = 2 / 6
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(out[0], (feat * expected).sum(0))
