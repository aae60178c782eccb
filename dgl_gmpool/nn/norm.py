"""Batch normalisation of any number of rows, over one process or several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from dgl_gmpool.nn.distance import compute_dtype


def narrowed(width: int, by: int) -> int:
    """The width of a layer between: that part of ``width``, but at least 32 or all of it."""
    return max(width // by, min(width, 32))


class RowNorm(nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` (Ioffe and Szegedy, 2015) that takes any number of rows.

    A batch of fewer than two rows has no variance; in training it is normalised with the running
    statistics and leaves them as they are. Rows may be graphs or nodes.

    Attributes
    ----------
    total : callable or None
        Where several processes share each batch: the sum of a tensor over them, differentiable.
        Statistics are then those of all rows, on every process. Not copied or pickled.

    Examples
    --------
    >>> import torch
    >>> norm = RowNorm(3)
    >>> norm(5 + 2 * torch.randn(100, 3)).mean().abs().item() < 1e-5
    True
    >>> norm(torch.ones(1, 3)).shape, norm(torch.ones(0, 3)).shape
    (torch.Size([1, 3]), torch.Size([0, 3]))
    """

    total: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Shape ``(B, num_features)`` in and out.

        Raises
        ------
        ValueError
            In training on a CPU, if the variance of x is not finite in the dtype of the running
            statistics, which stay as they were.
        """
        if not self.training:
            return super().forward(x)
        if self.total is None and len(x) < 2:
            return self._with_running_statistics(x)
        mean, var = self.running_mean, self.running_var
        if mean is None or var is None or var.device.type != "cpu" or is_compiling():
            return self._with_statistics_of(x)
        before = mean.clone(), var.clone()
        out = self._with_statistics_of(x)
        # A sum first: it is one pass, and finite unless a term is not, or many are huge.
        if not isfinite(float(var.sum())) and not torch.isfinite(var).all():
            mean.copy_(before[0])
            var.copy_(before[1])
            largest = torch.finfo(var.dtype).max ** 0.5
            raise ValueError(
                f"a batch normalisation got values up to {x.detach().abs().max().item():.3g}; the "
                f"variance of values beyond {largest:.1e} overflows {var.dtype}, and the running "
                "statistics would never be finite again. Standardise the features, or look for a "
                "learning rate that let training diverge"
            )
        return out

    def _with_statistics_of(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.total is None else self._with_totals(x, self.total)

    def _with_running_statistics(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )

    def _with_totals(self, x: Tensor, total: Callable[[Tensor], Tensor]) -> Tensor:
        """As ``BatchNorm1d`` does with the rows of all processes; all of them must call it.

        They are asked once, for sums of values and of squares, which are wide enough to be told
        apart from the mean afterwards.
        """
        dtype, x = x.dtype, x if self.weight is None else x.to(self.weight.dtype)
        wide = x.to(compute_dtype(x.device))
        width = x.shape[1]
        sums = total(torch.cat([wide.new_full((1,), len(x)), wide.sum(0), wide.square().sum(0)]))
        count, added, squares = sums.split([1, width, width])
        count = count.detach()
        mean = added / count.clamp(min=1)
        squares = (squares - added * mean).clamp(min=0).to(x.dtype)
        mean, count = mean.to(x.dtype), count.to(x.dtype)
        if count < 2:
            return self._with_running_statistics(x).to(dtype)
        with torch.no_grad():
            found = ((self.running_mean, mean), (self.running_var, squares / (count - 1)))
            for running, of_batch in found:
                if running is not None and self.momentum is not None:
                    running.lerp_(of_batch, self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        normal = (x - mean) * (squares / count + self.eps).rsqrt()
        return (normal * self.weight + self.bias if self.affine else normal).to(dtype)

    def __getstate__(self) -> dict[str, Any]:
        # The other processes are not part of the module.
        return {key: value for key, value in self.__dict__.items() if key != "total"}


def row_norms(part: nn.Module) -> list[RowNorm]:
    """The batch normalisations in a module, in its order."""
    return [each for each in part.modules() if isinstance(each, RowNorm)]


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """To look at groups is not to train: inside the block batch normalisations of ``module``
    normalise as before, but remember nothing, and ask no other process."""
    # In evaluation they do neither, and are left alone: several threads may look at once.
    # Those of a pooling of yours, and what SyncBatchNorm.convert_sync_batchnorm makes of ours, too.
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm) and each.training]
    shared = [each for each in norms if isinstance(each, RowNorm)]
    totals = [each.total for each in shared]
    tracked = [each.track_running_stats for each in norms]
    for each in shared:
        each.total = None
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for each, total in zip(shared, totals):
            each.total = total
        for norm, tracks in zip(norms, tracked):
            norm.track_running_stats = tracks
