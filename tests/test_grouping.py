"""Grouping matrix: against loops, exact properties, gradients, memory."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dgl_gmpool.nn.grouping import SIMILARITIES, GroupingMatrix


def _numbers(module):
    weight = module.weight.detach().double()
    if module.similarity != "linear":
        weight = module._first + module.pace * (weight - module._first)
    weight = weight.numpy()
    bias = None if module.bias is None else float(module.bias.detach())
    return module.similarity, weight, bias


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("weight", [0.1, 3.0])
def test_equals_the_loop(similarity, weight):
    torch.manual_seed(0)
    module = GroupingMatrix(5, similarity=similarity, feature_norm="none")
    with torch.no_grad():
        module.weight.normal_(std=weight)
        if module.bias is not None:
            module.bias.normal_()
    x = torch.randn(3, 7, 5)
    found = module(x).detach().numpy()
    for block, matrix in zip(x.double().numpy(), found):
        expected = reference.grouping_matrix(block, *_numbers(module))
        np.testing.assert_allclose(matrix, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_symmetric_bounded_exact_diagonal(similarity, scale, dtype):
    torch.manual_seed(1)
    module = GroupingMatrix(16, similarity=similarity, feature_norm="none")
    matrix = module((torch.randn(4, 33, 16) * scale).to(dtype)).detach()
    assert torch.equal(matrix, matrix.mT)
    assert bool((matrix >= 0).all())
    assert bool((matrix <= 1).all())
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    exact = torch.ones(())
    if similarity == "linear":
        exact = torch.sigmoid(module.bias.detach().double())
    assert torch.equal(diagonal, exact.double().expand_as(diagonal))


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_bounded_where_rounding_makes_squared_distances_negative(similarity):
    """Nodes close together and far from the origin."""
    torch.manual_seed(1)
    x = 1e5 + 1e-6 * torch.randn(4, 33, 16, dtype=torch.float64)
    matrix = GroupingMatrix(16, similarity=similarity, feature_norm="none")(x).detach()
    assert bool((matrix >= 0).all())
    assert bool((matrix <= 1).all())


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_identical_nodes_have_finite_gradients_and_equal_rows(similarity):
    torch.manual_seed(2)
    module = GroupingMatrix(6, similarity=similarity, feature_norm="none")
    x = torch.randn(1, 1, 6).repeat(1, 5, 1)
    x[0, 3:] += 1
    x.requires_grad_()
    matrix = module(x)
    torch.testing.assert_close(matrix[0, 0], matrix[0, 1], rtol=0, atol=1e-14)
    (matrix * torch.randn_like(matrix)).sum().backward()
    assert bool(torch.isfinite(x.grad).all())
    assert all(bool(torch.isfinite(p.grad).all()) for p in module.parameters())


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_gradients(similarity):
    torch.manual_seed(3)
    module = GroupingMatrix(4, similarity=similarity).double()
    x = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    parameters = list(module.parameters())
    names = [name for name, _ in module.named_parameters()]

    def run(x, *values):
        return torch.func.functional_call(module, dict(zip(names, values)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters))


@pytest.mark.parametrize("similarity", ["cauchy", "gaussian"])
def test_positive_semidefinite_by_construction(similarity):
    torch.manual_seed(4)
    for _ in range(20):
        module = GroupingMatrix(8, similarity=similarity, feature_norm="none")
        with torch.no_grad():
            module.weight.normal_(std=5)
        least = torch.linalg.eigvalsh(module(torch.randn(4, 20, 8)).detach())[:, 0]
        assert float(least.min()) > -1e-13
    assert module.positive_semidefinite


def test_linear_is_indefinite_as_documented():
    torch.manual_seed(5)
    module = GroupingMatrix(8, similarity="linear", feature_norm="none")
    assert float(torch.linalg.eigvalsh(module(torch.randn(4, 20, 8)).detach()).min()) < -1e-3
    assert not module.positive_semidefinite


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_follows_the_order_of_nodes(similarity):
    torch.manual_seed(6)
    module = GroupingMatrix(8, similarity=similarity, feature_norm="none")
    x, order = torch.randn(1, 12, 8), torch.randperm(12)
    torch.testing.assert_close(
        module(x[:, order]), module(x)[:, order][:, :, order], rtol=0, atol=1e-13
    )


class _Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for each in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(each, torch.Tensor):
                self.elements = max(self.elements, each.untyped_storage().nbytes() // 8)
        return out


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_never_builds_the_tensor_of_differences(similarity):
    n, d = 300, 64
    module = GroupingMatrix(d, similarity=similarity)
    x = torch.randn(1, n, d, requires_grad=True)
    with _Largest() as largest:
        module(x).sum().backward()
    assert n * n <= largest.elements < 2 * n * n


def test_two_thousand_nodes():
    x = torch.randn(1, 2000, 512)
    assert GroupingMatrix(512)(x).shape == (1, 2000, 2000)


def test_misspelt_similarity_names_the_closest():
    with pytest.raises(ValueError, match="Did you mean 'gaussian'"):
        GroupingMatrix(4, similarity="gausian")


@pytest.mark.parametrize("width", [0, -1, 2.0, None])
def test_width_is_checked(width):
    with pytest.raises(ValueError, match="in_feats"):
        GroupingMatrix(width)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_second_derivatives_are_those_of_float64_in_float32(similarity):
    grouping, generator = GroupingMatrix(3, similarity=similarity), torch.Generator().manual_seed(0)
    start = torch.randn(1, 4, 3, generator=generator)

    def second(x, face):
        x = x.clone().requires_grad_()
        matrix = grouping(x) if face == "all" else grouping.measure(x.device).between(x, x[:, :2])
        (gradient,) = torch.autograd.grad(matrix.square().sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), x)[0]

    for face in ("all", "between"):
        exact = second(start.double(), face)
        assert exact.abs().max() > 1e-6
        torch.testing.assert_close(second(start, face).double(), exact, rtol=1e-4, atol=1e-5)
    x = start.double().requires_grad_()
    assert torch.autograd.gradgradcheck(grouping, x)


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_gradients_lose_no_digits_to_what_all_nodes_have_in_common(similarity, offset):
    """In float32 as in float64 from the same features, with padding."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 9, 5, generator=generator) + offset
    x[1, 6:] = 0
    real = torch.ones(2, 9, dtype=torch.float64)
    real[1, 6:] = 0
    factor = torch.randn(2, 9, 9, generator=generator).double() * real[:, :, None] * real[:, None]
    torch.manual_seed(0)
    grouping, found = GroupingMatrix(5, similarity=similarity, feature_norm="none"), []
    for values in (x.clone(), x.double()):
        leaves = [values.requires_grad_(), grouping.weight]
        found.append(torch.autograd.grad((grouping(values) * factor).sum(), leaves))
    for one, exact in zip(*found):
        assert (one - exact).norm() <= 1e-6 * exact.norm()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_a_column_that_all_nodes_have_in_common_changes_nothing(similarity):
    """A pressure in Pa, a time: it hid what the other features say, as if nodes were equal."""
    torch.manual_seed(0)
    grouping = GroupingMatrix(17, similarity=similarity, feature_norm="none")
    x = torch.rand(2, 6, 17)
    x[..., 0] = 0
    expected = grouping(x)
    x[..., 0] = 1e8
    torch.testing.assert_close(grouping(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("similarity", ["gaussian", "cauchy"])
def test_weights_of_models_of_0_2_0_mean_what_they_meant(similarity):
    module = GroupingMatrix(3, similarity=similarity)
    state = module.state_dict()
    state["weight"] = torch.tensor([-2.0, 0.5, 3.0])
    del state["pace"]
    module.load_state_dict(state)
    expected = torch.nn.functional.softplus(state["weight"].double())
    torch.testing.assert_close(module.measure(torch.device("cpu")).weight, expected)
