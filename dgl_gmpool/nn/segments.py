"""Sum, mean, max and softmax over the nodes of each graph, several side by side."""

from __future__ import annotations

import torch
from torch import Tensor


class Segments:
    """Which rows of a batch belong to which graph.

    DGL's own segment operations raise for half precision on a CPU, need a CUDA build on a GPU,
    and lose track of the batch where the graph has. These need torch and the counts only.

    Parameters
    ----------
    counts : Tensor
        Number of nodes of each graph, zeros allowed. Shape ``(B,)``, int64, on the device of the
        features.
    num_nodes : int, optional
        Their sum, where it is known: adding them up makes a GPU wait.

    Examples
    --------
    >>> segments = Segments(torch.tensor([2, 0, 1]))
    >>> x = torch.tensor([[1.], [3.], [5.]])
    >>> segments.sum(x).flatten().tolist(), segments.max(x).flatten().tolist()
    ([4.0, 0.0, 5.0], [3.0, 0.0, 5.0])
    >>> segments.softmax(torch.zeros(3, 1)).flatten().tolist()
    [0.5, 0.5, 1.0]
    """

    def __init__(self, counts: Tensor, num_nodes: int | None = None) -> None:
        self.counts = counts
        self.owner = torch.repeat_interleave(counts, output_size=num_nodes)

    def __len__(self) -> int:
        return self.counts.shape[0]

    def broadcast(self, rows: Tensor) -> Tensor:
        """Rows of graphs ``(B, D)`` on their nodes, ``(N, D)``."""
        return rows.index_select(0, self.owner)

    def sum(self, values: Tensor) -> Tensor:
        """``(N, D)`` to ``(B, D)``; 0 for a graph without nodes."""
        return values.new_zeros(len(self), values.shape[1]).index_add(0, self.owner, values)

    def mean(self, values: Tensor) -> Tensor:
        """``(N, D)`` to ``(B, D)``; 0 for a graph without nodes."""
        return self.sum(values) / self.counts.clamp(min=1).to(values.dtype)[:, None]

    def max(self, values: Tensor) -> Tensor:
        """``(N, D)`` to ``(B, D)``; 0 for a graph without nodes."""
        index = self.owner[:, None].expand_as(values)
        out = values.new_zeros(len(self), values.shape[1])
        return out.scatter_reduce(0, index, values, "amax", include_self=False)

    def softmax(self, logits: Tensor) -> Tensor:
        """Softmax of ``(N, D)`` over the nodes of each graph, ``(N, D)``."""
        shifted = (logits - self.broadcast(self.max(logits.detach()))).exp()
        return shifted / self.broadcast(self.sum(shifted))


#: Values this near each other, relative to the largest in size of their column and graph, tie: well
#: above the rounding of float32, by which equivalent nodes differ, sums that cancel included.
TIE = 1e-5


def tie_margin(size: Tensor) -> Tensor:
    """How far apart values may be that tie, where ``size`` is the largest of those that compete.

    Those that tie for a maximum share it evenly, so that who wins follows from no order of nodes.
    """
    return max(TIE, 8 * torch.finfo(size.dtype).eps) * size


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
        channels that it wins, where rows that tie share evenly; averaged over the parts. Shape
        ``(N,)``.

    Examples
    --------
    >>> segments = Segments(torch.tensor([2, 1]))
    >>> out, share = reduce(torch.tensor([[1., 4.], [3., 4.], [5., 5.]]), segments, "mean_and_max")
    >>> out.tolist(), share.tolist()
    ([[2.0, 4.0, 3.0, 4.0], [5.0, 5.0, 5.0, 5.0]], [0.375, 0.625, 1.0])
    """
    parts, shares = [], []
    for part in AGGREGATES[aggregate]:
        if part == "max":
            found = segments.max(rows)
            shares.append(_won(rows.detach(), found.detach(), segments))
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


def _won(rows: Tensor, largest: Tensor, segments: Segments) -> Tensor:
    """The share of the channels that each row wins in the maximum of its graph, ``(N,)``."""
    least = segments.broadcast(largest - tie_margin(segments.max(rows.abs())))
    # Written as numbers: a detour by bool takes longer than all the rest.
    hits = torch.ge(rows, least, out=torch.empty_like(rows))
    each = segments.sum(hits).clamp(min=1).reciprocal() / rows.shape[1]
    return torch.linalg.vecdot(hits, segments.broadcast(each))
