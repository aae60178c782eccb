"""ReLU and dropout in one step: what a message passing layer ends with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_gmpool._options import probability

#: Random numbers have 16 bits each: probabilities are multiples of 1 / LEVELS.
LEVELS = 2**16


class ReLUDropout(nn.Module):
    """Dropout of a rectified tensor.

    On the CPU, drawing the mask of ``torch.nn.functional.dropout`` takes most of the time of the
    layer: one 32-bit draw and a floating-point comparison per entry. Here four entries share one
    64-bit draw of the same generator, and the backward pass needs no mask at all: an entry passes
    the gradient on exactly where the output is positive. Elsewhere (CUDA) this is
    ``F.dropout(F.relu(x))``.

    Parameters
    ----------
    p : float
        Probability to drop an entry, in [0, 1); on the CPU rounded to a multiple of 1 / 65,536.
        What remains is scaled by the rounded probability, so that the expectation is exact.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = ReLUDropout(0.5)
    >>> sorted(set(layer(torch.tensor([[-1.0, 2.0]]).repeat(20, 1)).flatten().tolist()))
    [0.0, 4.0]
    >>> layer.eval()(torch.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = probability("p", p)

    def forward(self, x: Tensor) -> Tensor:
        """relu(x) with entries dropped in training mode. Shape and dtype of ``x``."""
        dropped = round(self.p * LEVELS)
        if not self.training or dropped == 0:
            return F.relu(x)
        if x.device.type != "cpu" or dropped == LEVELS:
            return F.dropout(F.relu(x), self.p)
        return _ReLUDropout.apply(x, dropped)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class _ReLUDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dropped: int) -> Tensor:
        count = x.numel()
        draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        levels = draws.view(torch.int16)[:count].view(x.shape)
        keep = levels >= dropped - LEVELS // 2
        ctx.scale = LEVELS / (LEVELS - dropped)
        out = F.relu(x).mul_(keep.to(x.dtype)).mul_(ctx.scale)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (out,) = ctx.saved_tensors
        # Not torch.where, which takes ten times as long.
        return torch.ops.aten.threshold_backward(grad, out, 0) * ctx.scale, None
