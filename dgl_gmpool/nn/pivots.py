"""Pivots: the nodes that stand for the groups of a grouping matrix, and who belongs to them."""

from __future__ import annotations

import torch
from torch import Tensor

#: Lengths and priorities this close, as a share of the largest, are equal: above rounding in
#: float64, below any difference that means something.
TIE = 1e-9


@torch.no_grad()
def pivot_nodes(
    matrix: Tensor, most: int, limit: Tensor | float, priority: Tensor, *, cover: bool = False
) -> tuple[Tensor, Tensor]:
    """The pivots of a pivoted (rank-revealing) Cholesky factorisation of M.

    The next pivot is the longest column of the residual. Columns of equal length are told apart by
    ``priority``, and nodes that still tie, by their place. Ties are wider than rounding, so that a
    change of M in its last digits changes no pivot. Nodes that still tie are the same to M and in
    their features, not always in what M does not see: edge features, self-loops, directions.

    Parameters
    ----------
    matrix : Tensor
        Positive semidefinite matrices M. Shape ``(b, n, n)``.
    most : int
        At most this many.
    limit : Tensor or float
        Stop where the residual's trace is at most this share of that of M. Shape ``(b,)``.
    priority : Tensor
        The node with the larger value comes first. Shape ``(b, n)``.
    cover : bool, optional
        Take nodes first that have nothing to do with any pivot: one for each part of the graph that
        M leaves apart, such as the ions of a salt. Each of them has an eigenvalue of at least a
        node, so there are never more of them than groups. Default False.

    Returns
    -------
    Tensor
        Pivot nodes. Shape ``(b, max K)``, int64; a graph's own come first.
    Tensor
        How many of them each matrix has. Shape ``(b,)``, int64.

    Examples
    --------
    >>> M = torch.block_diag(torch.ones(1, 1), torch.ones(3, 3), torch.ones(2, 2))[None]
    >>> pivots, ranks = pivot_nodes(M.double(), 6, 0.01, torch.zeros(1, 6))
    >>> pivots.tolist(), ranks.tolist()
    ([[1, 4, 0]], [3])
    """
    dtype, width = matrix.dtype, matrix.shape[1]
    trace = matrix.diagonal(dim1=1, dim2=2).sum(-1)
    # Relative to the trace: squares of tiny entries would underflow, and all columns would tie.
    residual = matrix / trace.clamp(min=torch.finfo(dtype).tiny)[:, None, None]
    bare = matrix.diagonal(dim1=1, dim2=2) > 0
    least = least_residual(bare.sum(1), dtype)
    limit = torch.as_tensor(limit, dtype=dtype, device=matrix.device).maximum(least)
    margin = TIE * priority.abs().amax(1, keepdim=True)
    ranks = torch.zeros(len(matrix), dtype=torch.int64, device=matrix.device)
    chosen: list[Tensor] = []
    # The first column is always taken: a graph with nodes has at least one cluster. NaN counts as
    # something, so that it ends in the result and not in a matrix of zeros.
    active = ~(trace <= 0)
    # As a share of the longest column of M: what is left of a matrix of full rank can be rounding.
    tie = TIE / 2 * torch.linalg.vector_norm(residual, dim=2).amax(1, keepdim=True)
    on_host = matrix.device.type == "cpu"
    for _ in range(min(most, width)):
        # A pivot's own column is zero but for rounding, which must never bring it back: `length`
        # is compared among the others only.
        length = torch.linalg.vector_norm(residual, dim=2)  # symmetric: rows are columns
        if chosen:
            length.scatter_(1, torch.stack(chosen, dim=1), -1.0)
        if cover:
            length = torch.where(bare.any(1, keepdim=True) & ~bare, -1.0, length)
        tied = length >= length.amax(1, keepdim=True) - tie
        first = priority.masked_fill(~tied, -torch.inf)
        tied &= first >= first.amax(1, keepdim=True) - margin
        pivot = tied.to(torch.uint8).argmax(1)
        column = residual.gather(2, pivot[:, None, None].expand(-1, width, 1))
        scale = column.gather(1, pivot[:, None, None]).clamp(min=torch.finfo(dtype).tiny)
        column = torch.where(active[:, None, None], column * scale.rsqrt(), 0)
        residual.baddbmm_(column, column.mT, alpha=-1)
        ranks += active
        chosen.append(pivot)
        if cover:
            own = matrix.gather(2, pivot[:, None, None].expand(-1, width, 1))[..., 0]
            bare = bare & (own == 0)
        left = residual.diagonal(dim1=1, dim2=2).sum(-1)
        # A little above the limit is at it, so that no rounding decides.
        active = active & ~(left <= limit * (1 + TIE))
        # To look is to wait for a GPU, once for every pivot; there the steps run on, masked.
        if on_host and not active.any():
            break
    return torch.stack(chosen, dim=1), ranks


def least_residual(sizes: Tensor, dtype: torch.dtype) -> Tensor:
    """The share of the trace below which there is nothing but rounding left to split, ``(b,)``.

    Kernels that join all nodes, such as that of a small symmetric molecule after a long time, leave
    1e-12, of which no digit is sure. It follows from a graph's own size, not from its company.
    """
    return (torch.finfo(dtype).eps * sizes.to(dtype).square()).clamp(min=TIE)


def pivot_columns(matrix: Tensor, pivots: Tensor, counts: Tensor) -> Tensor:
    """M[:, P] of each matrix, zeros beyond its own pivots. Shape ``(b, n, max K)``."""
    most = pivots.shape[1]
    used = torch.arange(most, device=matrix.device) < counts[:, None]
    columns = matrix.gather(2, pivots[:, None, :].expand(-1, matrix.shape[1], -1))
    return torch.where(used[:, None, :], columns, 0)


def pivot_assignment(columns: Tensor, counts: Tensor, mask: Tensor) -> Tensor:
    """S = M[:, P] with rows divided by their sums: each node's shares in the groups of the pivots.

    Non-negative, with rows that add up to 1, so that A' = S' A S keeps the sum of A; on disjoint
    groups (eq. 7) their indicator columns (eq. 8). A node that is far from every pivot belongs to
    all of them alike.

    Parameters
    ----------
    columns : Tensor
        M[:, P], at least 0, from :func:`pivot_columns`. Shape ``(b, n, max K)``.
    counts : Tensor
        How many pivots each matrix has. Shape ``(b,)``, int64.
    mask : Tensor
        False in padding. Shape ``(b, n)``, bool.

    Returns
    -------
    Tensor
        Shape ``(b, n, max K)``; rows of padding are zero.

    Examples
    --------
    >>> M = torch.tensor([[[1., 1, 0], [1, 1, 0], [0, 0, 1]]])
    >>> counts = torch.tensor([2])
    >>> columns = pivot_columns(M, torch.tensor([[0, 2]]), counts)
    >>> pivot_assignment(columns, counts, torch.ones(1, 3, dtype=torch.bool)).tolist()
    [[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]
    """
    total = columns.sum(-1, keepdim=True)
    tiny = torch.finfo(columns.dtype).tiny ** 0.5
    used = torch.arange(columns.shape[2], device=columns.device) < counts[:, None]
    alike = used[:, None, :] / counts.clamp(min=1)[:, None, None].to(columns.dtype)
    shares = columns / total.clamp(min=tiny)
    alone = torch.where(mask[:, :, None], alike, 0).to(columns.dtype)
    return torch.where(total > tiny, shares, alone)


@torch.no_grad()
def nearest_pivot(columns: Tensor, counts: Tensor) -> Tensor:
    """The group of each node: the pivot with the largest entry of M. Shape ``(b, n)``, int64.

    ``columns`` and ``counts`` as for :func:`pivot_assignment`. Of entries that differ by rounding
    only, the earlier pivot's counts.
    """
    used = torch.arange(columns.shape[2], device=columns.device) < counts[:, None]
    columns = columns.masked_fill(~used[:, None, :], -1)
    near = columns >= columns.amax(-1, keepdim=True) - TIE
    return near.to(torch.uint8).argmax(-1)
