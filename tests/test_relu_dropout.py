"""Dropout of a rectified tensor: its distribution, its gradient, and what turns it off."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from dgl_gmpool.models.relu_dropout import LEVELS, ReLUDropout


@pytest.mark.parametrize("p", [0.05, 0.15, 0.5, 0.9])
def test_entries_drop_with_probability_p_and_the_mean_stays(p):
    torch.manual_seed(0)
    x = torch.ones(1000, 1001)  # not a multiple of the four entries that share a draw
    out = ReLUDropout(p)(x)
    share = (out == 0).double().mean().item()
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / x.numel()) + 1 / LEVELS
    assert abs(out.double().mean().item() - 1) < 5 * math.sqrt(p / (1 - p) / x.numel())
    # Neighbours share a draw of the generator, and must still drop independently.
    dropped = (out == 0).double().flatten()
    for lag in (1, 2, 3, 4):
        together = (dropped[lag:] * dropped[:-lag]).mean().item()
        assert abs(together - p * p) < 0.003


def test_values_are_those_of_relu_scaled_or_zero():
    torch.manual_seed(1)
    x = torch.randn(50, 7)
    out = ReLUDropout(0.25)(x)
    kept = out != 0
    assert kept.any()
    assert not kept[x <= 0].any()
    torch.testing.assert_close(out[kept], x[kept] / 0.75)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_gradient_follows_the_entries_that_passed(dtype):
    torch.manual_seed(2)
    x = torch.randn(40, 3, dtype=dtype, requires_grad=True)
    out = ReLUDropout(0.3)(x)
    assert out.dtype == dtype
    weight = torch.randn(40, 3, dtype=dtype)
    (out * weight).sum().backward()
    scale = LEVELS / (LEVELS - round(0.3 * LEVELS))
    torch.testing.assert_close(x.grad, torch.where(out > 0, weight, 0) * scale)


def test_gradcheck_with_the_mask_held_fixed():
    def fixed(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return ReLUDropout(0.4)(x)

    x = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    x = torch.where(x.abs() < 0.1, 0.2, x).requires_grad_()
    assert torch.autograd.gradcheck(fixed, x)
    assert torch.autograd.gradgradcheck(fixed, x)


def test_evaluation_mode_and_p_zero_are_relu():
    x = torch.randn(9, 4)
    torch.testing.assert_close(ReLUDropout(0.5).eval()(x), F.relu(x), rtol=0, atol=0)
    torch.testing.assert_close(ReLUDropout(0.0)(x), F.relu(x), rtol=0, atol=0)


def test_the_same_seed_gives_the_same_mask_and_two_calls_do_not():
    layer, x = ReLUDropout(0.5), torch.ones(20, 20)
    torch.manual_seed(5)
    first, second = layer(x), layer(x)
    torch.manual_seed(5)
    torch.testing.assert_close(layer(x), first, rtol=0, atol=0)
    assert not torch.equal(first, second)


def test_nothing_in_nothing_out_and_transposed_input():
    assert ReLUDropout(0.5)(torch.empty(0, 4)).shape == (0, 4)
    assert ReLUDropout(0.5)(torch.ones(6, 4).T).shape == (4, 6)


def test_a_probability_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"p is 1\.5"):
        ReLUDropout(1.5)
