"""Coarse nodes to one vector per graph: mean, sum and maximum, several side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_gmpool.nn.segments import Segments

#: How a readout reduces rows, and what it puts side by side for that.
AGGREGATES = {
    "mean": ("mean",),
    "sum": ("sum",),
    "max": ("max",),
    "mean_and_max": ("mean", "max"),
    "mean_max_and_sum": ("mean", "max", "sum"),
}


def reduce(
    rows: Tensor, segments: Segments, aggregate: str, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Reduce the rows of each graph.

    Parameters
    ----------
    rows : Tensor
        Shape ``(N, D)``.
    segments : Segments
        Which row belongs to which graph.
    aggregate : str
        A key of :data:`AGGREGATES`.
    weight : Tensor, optional
        How much each row counts in mean and sum, at least 0. Shape ``(N,)``. Default: 1.

    Returns
    -------
    Tensor
        Shape ``(B, parts x D)``; zeros for a graph without rows.
    Tensor
        What each row contributes: its weight in a mean or sum, and in a maximum the share of the
        channels that it wins; averaged over the parts. Shape ``(N,)``.

    Examples
    --------
    >>> segments = Segments(torch.tensor([2, 1]))
    >>> out, share = reduce(torch.tensor([[1., 4.], [3., 2.], [5., 5.]]), segments, "mean_and_max")
    >>> out.tolist(), share.tolist()
    ([[2.0, 3.0, 3.0, 4.0], [5.0, 5.0, 5.0, 5.0]], [0.5, 0.5, 1.0])
    """
    parts, shares = [], []
    for part in AGGREGATES[aggregate]:
        if part == "max":
            found = segments.max(rows)
            shares.append((rows == segments.broadcast(found)).to(rows.dtype).mean(1))
        else:
            each = rows.new_ones(len(rows)) if weight is None else weight
            if part == "mean":
                total = segments.sum(each[:, None])
                tiny = torch.finfo(total.dtype).tiny
                each = each / segments.broadcast(total.clamp(min=tiny))[:, 0]
            found = segments.sum(rows * each[:, None])
            shares.append(each)
        parts.append(found)
    out = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    return out, shares[0] if len(shares) == 1 else torch.stack(shares).mean(0)
