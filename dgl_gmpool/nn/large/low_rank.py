r"""S with S S' close to M from some columns of M, for graphs whose n x n matrix is too large.

Pivoted Cholesky needs only the columns of M that it picks, and their entries follow from the
features: M itself is never formed. Time O(n k (k + d + m)), memory O(n (k + d + m)) for n nodes,
k columns, d features and m = ``LANDMARKS``.

Which column comes next decides how good k columns are. ``cholesky_root`` (square_root.py) takes the
longest column of the residual, which takes the whole residual to know. The textbook's choice, the
largest residual diagonal entry, is free but poor here: every M_ii is 1, so it starts with outliers
and walks along the rim of the data. Here the lengths are *estimated* from the residual's rows at m
landmark nodes, drawn evenly from its trace, and are never less than the diagonal entry, so that no
node is overlooked. Nothing is left to chance or to the order of the nodes. A graph of up to m nodes
has all its nodes as landmarks and would get exactly the pivots of ``cholesky_root``; GMPool takes
that for them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dgl_gmpool.nn.distance import compute_dtype
from dgl_gmpool.nn.first_order import first_order
from dgl_gmpool.nn.grouping import Measure
from dgl_gmpool.nn.large.grouping_product import CELLS
from dgl_gmpool.nn.pivots import TIE, least_residual
from dgl_gmpool.nn.square_root import RANK_TOLERANCE, residual_limit

#: Nodes whose residual rows estimate the lengths of columns.
LANDMARKS = 256

#: Landmarks are drawn anew when this many columns are found, and whenever they have doubled.
RENEWAL = 16

#: Columns of M that are made at a time.
COLUMNS = 32


def low_rank_root(
    measure: Measure,
    x: Tensor,
    scale: Tensor,
    *,
    max_clusters: int,
    tol: float = RANK_TOLERANCE,
    priority: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Pivoted Cholesky of D M D, D = diag(scale), without forming M (eq. 9, 10 and 13).

    It stops when the residual's trace is below ``tol`` times the trace of D M D, or at
    ``max_clusters`` columns; the share of the trace left out is then
    1 - \|S\|^2 / \|scale\|^2. On disjoint clusters (eq. 7) it returns their indicator columns
    (eq. 8).

    With the pivots P fixed, S = M[:, P] L^-T where L L' = M[P, P]; the gradient is that of this
    expression.

    Parameters
    ----------
    measure : Measure
        Positive semidefinite (``similarity`` ``"cauchy"`` or ``"gaussian"``).
    x : Tensor
        Node features of graphs of like size. Shape ``(b, n, in_feats)``.
    scale : Tensor
        D: 1 for a node, 0 for padding; or, to divide M by its row sums, their inverse roots. Shape
        ``(b, n)``.
    max_clusters : int
        The most columns that S may have.
    tol : float, optional
        Relative residual trace at which to stop.
    priority : Tensor, optional
        Decides between columns of equal length, and where landmarks lie, see
        :func:`~dgl_gmpool.nn.square_root.cholesky_root`. Shape ``(b, n)``.

    Returns
    -------
    Tensor
        S. Shape ``(b, n, max K)``, zeros in columns beyond a graph's own K. float64 (float32 where
        the device has no float64).
    Tensor
        K. Shape ``(b,)``, int64.
    Tensor
        The pivots P, a graph's own K first. Shape ``(b, max K)``, int64.

    Raises
    ------
    ValueError
        If M need not be positive semidefinite.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> measure = Measure("gaussian", torch.ones(2))
    >>> x = torch.tensor([[[0., 0], [0, 0], [99, 0], [0, 99], [99, 0], [0, 0]]])
    >>> S, K, _ = low_rank_root(measure, x, torch.ones(1, 6), max_clusters=4)
    >>> S[0].int().tolist(), K.tolist()
    ([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]], [3])
    """
    if measure.similarity == "linear":
        raise ValueError(not_semidefinite(measure.similarity))
    scale = scale.to(compute_dtype(x.device))
    if priority is None:
        priority = torch.zeros_like(scale)
    root, pivots, ranks = _pivoted(measure, x, scale, max_clusters, tol, priority)
    used = torch.arange(root.shape[2], device=x.device) < ranks[:, None]
    if torch.is_grad_enabled():
        # Made again in the backward pass, a few at a time: what the similarity makes on its way
        # would take several times the memory of S.
        step = max(1, CELLS // scale.numel())
        columns = [
            checkpoint(
                _columns, measure, x, scale, part, use_reentrant=False, preserve_rng_state=False
            )
            if step < pivots.shape[1]
            else _columns(measure, x, scale, part)
            for part in pivots.split(step, dim=1)
        ]
        root = _FromColumns.apply(torch.cat(columns, dim=2), root, pivots, used)
    return root, ranks, pivots


def _columns(measure: Measure, x: Tensor, scale: Tensor, nodes: Tensor) -> Tensor:
    """The columns of D M D of these nodes ``(b, k)``, ``(b, n, k)``, with gradient."""
    chosen = x.gather(1, nodes[:, :, None].expand(-1, -1, x.shape[2]))
    columns = measure.between(x, chosen)
    return columns * scale[:, :, None] * scale.gather(1, nodes)[:, None, :]


def not_semidefinite(similarity: str) -> str:
    """What to say where a low-rank root was asked for of a matrix that may have none."""
    return (
        f"max_clusters builds S from columns of M, which needs a positive semidefinite M; with "
        f"similarity={similarity!r} M can have negative eigenvalues, which only the whole matrix "
        "shows. Use similarity='gaussian' (or 'cauchy')"
    )


@torch.no_grad()
def _pivoted(
    measure: Measure,
    x: Tensor,
    scale: Tensor,
    max_clusters: int,
    tol: float,
    priority: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """S ``(b, n, max K)``, pivot nodes ``(b, max K)`` and K ``(b,)``."""
    batch, n = scale.shape
    tiny = torch.finfo(scale.dtype).tiny
    entries = _Entries(measure, x, scale)
    diagonal = scale.square()
    trace = diagonal.sum(1)
    sizes = (scale > 0).sum(1)
    least = least_residual(sizes, scale.dtype)
    limit = trace * residual_limit(tol, sizes, scale.dtype).maximum(least)
    most = min(max_clusters, n)
    transposed = scale.new_empty(batch, most, n)  # rows of S' are contiguous
    pivots = torch.zeros(batch, most, dtype=torch.int64, device=x.device)
    ranks = torch.zeros(batch, dtype=torch.int64, device=x.device)
    rows = torch.arange(batch, device=x.device)
    filled = 0
    for step in range(most):
        left = diagonal.sum(1)
        # The first column is always taken: a graph with nodes has at least one cluster.
        active = left > (limit * (1 + TIE) if step else 0)
        if not active.any():
            break
        # Landmarks among nodes that are accounted for see nothing: new ones from time to time.
        if step == 0 or (step >= RENEWAL and step & (step - 1) == 0):
            landmarks, share = _landmarks(priority, scale, diagonal)
            residual = entries.columns(landmarks)
            if step:
                before = transposed[:, :step]
                at_landmarks = before.gather(2, landmarks[:, None].expand(-1, step, -1))
                residual.baddbmm_(before.mT, at_landmarks, alpha=-1)
            residual.mul_(share[:, None, :])
        pivot = _next_pivot(residual, diagonal, left, priority)
        column = entries.column(pivot)
        if step:
            before = transposed[:, :step]
            at_pivot = before[rows, :, pivot]
            column = torch.baddbmm(column, before.mT, at_pivot[:, :, None], alpha=-1)
            # Exact zeros keep M[P, P] = L L' triangular.
            column.scatter_(1, pivots[:, :step, None], 0)
        column = column.squeeze(2)
        length = column[rows, pivot].clamp(min=tiny).sqrt()
        column = torch.where(active[:, None], column / length[:, None], 0)
        at_landmarks = column.gather(1, landmarks)
        residual.baddbmm_(column[:, :, None], (at_landmarks * share)[:, None, :], alpha=-1)
        diagonal = (diagonal - column.square()).clamp(min=0)
        # Exact zeros, so that rounding can never bring a pivot back.
        diagonal[rows[active], pivot[active]] = 0
        residual[rows[active], pivot[active]] = 0
        transposed[:, step] = column
        pivots[:, step] = pivot
        ranks += active
        filled = step + 1
    root = transposed[:, :filled].mT
    return (root if filled == most else root.contiguous()), pivots[:, :filled], ranks


class _Entries:
    """Columns of D M D from features, O(n d) time for each."""

    def __init__(self, measure: Measure, x: Tensor, scale: Tensor) -> None:
        self.measure, self.scale = measure.detach(), scale
        weight = self.measure.weight
        wide = x.detach().to(weight.dtype)
        # Centred: distances stay the same, and less cancels.
        self.feat = wide - wide.mean(1, keepdim=True)
        self.square = self.feat.square() @ weight
        self.weight = weight

    def column(self, node: Tensor) -> Tensor:
        """The column of one node of each graph ``(b,)``, ``(b, n, 1)``.

        From differences rather than products: exact however close two nodes are.
        """
        rows = torch.arange(len(node), device=node.device)
        distance = (self.feat - self.feat[rows, node][:, None]).square_() @ self.weight
        found = self.measure.of(distance)
        return (found * (self.scale * self.scale[rows, node][:, None]))[:, :, None]

    def columns(self, nodes: Tensor) -> Tensor:
        """The columns of these nodes ``(b, k)``, ``(b, n, k)``, from products."""
        found = self.scale.new_empty(*self.scale.shape, nodes.shape[1])
        # A few at a time: what the similarity makes on its way is as large as its result.
        for part, out in zip(nodes.split(COLUMNS, dim=1), found.split(COLUMNS, dim=2)):
            chosen = self.feat.gather(1, part[:, :, None].expand(-1, -1, self.feat.shape[2]))
            distance = (self.feat @ (chosen * self.weight).mT).mul_(-2)
            distance.add_(self.square[:, :, None]).add_(self.square.gather(1, part)[:, None, :])
            distance.scatter_(1, part[:, None, :], 0)
            out.copy_(self.measure.of(distance))
        return found.mul_(self.scale[:, :, None]).mul_(self.scale.gather(1, nodes)[:, None, :])


def _landmarks(priority: Tensor, scale: Tensor, diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes ``(b, m)`` drawn evenly from the residual's trace, and the root of what each counts.

    The nodes stand in the order of ``priority``, each as wide as its diagonal entry, and every m-th
    part of the whole width takes the node at its middle. R_ij^2 / R_jj never exceeds R_ii, so the
    estimate sum_j R_ij^2 / (probability of j) cannot be far off. A graph of up to m nodes has all
    of them, once.
    """
    sizes = (scale > 0).sum(1, keepdim=True)
    width = torch.where(sizes > LANDMARKS, diagonal, (scale > 0).to(scale.dtype))
    order = priority.masked_fill(scale == 0, torch.inf).argsort(1)
    width = width.gather(1, order)
    ends = width.cumsum(1)
    counts = sizes.clamp(max=LANDMARKS)
    index = torch.arange(min(LANDMARKS, scale.shape[1]), device=scale.device)
    middle = (index + 0.5) / counts.clamp(min=1) * ends[:, -1:]
    place = torch.searchsorted(ends, middle, right=True).clamp(max=scale.shape[1] - 1)
    found = width.gather(1, place).clamp(min=torch.finfo(scale.dtype).tiny)
    share = ends[:, -1:] / (counts.clamp(min=1) * found)
    return order.gather(1, place), torch.where(index < counts, share, 0).sqrt()


def _next_pivot(residual: Tensor, diagonal: Tensor, left: Tensor, priority: Tensor) -> Tensor:
    """The node of the longest residual column, ``(b,)``, by what the landmarks see of it."""
    length = torch.linalg.vector_norm(residual, dim=2).square()
    length = torch.maximum(length, diagonal.square())
    # Every column of at least average length has a diagonal entry like this; an estimate need not,
    # and a pivot close to zero would blow rounding up.
    large = diagonal.amax(1, keepdim=True).square() * (1 - TIE)
    length = torch.where(diagonal * left[:, None] >= large, length, -1)
    tied = length >= length.amax(1, keepdim=True) * (1 - TIE)
    return priority.masked_fill(~tied, -torch.inf).argmax(1)


class _FromColumns(torch.autograd.Function):
    """S = C L^-T with L L' = C[P]: the value is known, the gradient is that of the expression."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, root: Tensor, pivots: Tensor, used: Tensor) -> Tensor:
        ctx.save_for_backward(columns, root, pivots, used)
        return root.view_as(root)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        given, root, pivots, used = ctx.saved_tensors
        at_pivots = pivots[:, :, None].expand(-1, -1, root.shape[2])
        both = used[:, :, None] & used[:, None, :]
        identity = torch.eye(root.shape[2], dtype=root.dtype, device=root.device)
        lower = torch.where(both, root.gather(1, at_pivots), identity)
        grad = torch.where(used[:, None, :], grad, 0)
        columns = torch.linalg.solve_triangular(lower, grad, upper=False, left=False)
        # Through L: dS = -S dL' L^-T, and that of a Cholesky factor (Murray, 2016).
        inner = (lower.mT @ (columns.mT @ root).tril()).neg_().tril_()
        inner.diagonal(dim1=1, dim2=2).mul_(0.5)
        inner = torch.linalg.solve_triangular(lower, inner, upper=False, left=False)
        inner = torch.linalg.solve_triangular(lower.mT, inner, upper=True)
        inner = torch.where(both, (inner + inner.mT) / 2, 0)
        # Pivots of a graph that has stopped before others count for nothing, and may repeat.
        found = columns.scatter_add(1, at_pivots, inner)
        return first_order(found, "max_clusters of a large graph", given, grad), None, None, None
