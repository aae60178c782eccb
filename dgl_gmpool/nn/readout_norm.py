"""Batch normalisation of the readout, which takes the size of the molecules out of its scale."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ReadoutNorm(nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` (Ioffe and Szegedy, 2015) that takes any number of rows.

    A readout of rectified states is far from centred, and that of a grouping matrix grows with the
    number of nodes. A batch of fewer than two rows has no variance; in training it is normalised
    with the running statistics and leaves them as they are.

    Examples
    --------
    >>> import torch
    >>> norm = ReadoutNorm(3)
    >>> norm(5 + 2 * torch.randn(100, 3)).mean().abs().item() < 1e-5
    True
    >>> norm(torch.ones(1, 3)).shape, norm(torch.ones(0, 3)).shape
    (torch.Size([1, 3]), torch.Size([0, 3]))
    """

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(B, num_features)`` in and out."""
        if self.training and len(x) < 2:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)
