r"""Square roots of the grouping matrix, S S' = M (eq. 9-12), and their gradients (eq. 16).

Autograd through ``torch.linalg.eigh`` multiplies by :math:`1 / (\lambda_i - \lambda_j)` (eq. 16),
which is infinite for the repeated eigenvalues that every symmetric molecule has. A *function* of a
matrix, however, has a derivative without eigengaps: in the eigenbasis, dS is dM times the divided
differences of f (Daleckii and Krein, 1965; Higham, Functions of Matrices, theorem 3.11). For the
square root they are :math:`1 / (\sqrt{\lambda_i} + \sqrt{\lambda_j})`.

The root itself is steep at zero, and grouping matrices are close to singular by design. So f is

.. math:: f(\lambda) = \mu / \sqrt{\mu + \delta}, \qquad \mu = \max(\lambda, 0),

which is the root of the nearest positive semidefinite matrix (Higham, 1988) to within
:math:`\delta`: :math:`S S' = M_+ - \delta + O(\delta^2)`, and its divided differences never exceed
:math:`1 / \sqrt\delta`. Forward and backward use this same f, so the gradient is exact, not
approximate.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dgl_gmpool.nn.counting import eigh
from dgl_gmpool.nn.first_order import first_order
from dgl_gmpool.nn.pivots import pivot_nodes

#: Distance to the exact root: entries of M are in [0, 1], those of S S' are off by at most this.
DELTA = 1e-7

#: Default share of the trace that a root may leave out; never as much as half a node.
RANK_TOLERANCE = 0.01

#: What has no second derivative.
ROOT = "a square root of the grouping matrix (decomposition='pivot' and NGMPool have them)"

#: Eigengaps below this count as none, in the one place where a gap is left: the rotation of single
#: eigenvectors in ``eigen_root``.
GAP = 1e-6


def symmetric_root(matrix: Tensor, *, num_clusters: int | None = None) -> tuple[Tensor, Tensor]:
    """The symmetric root S = U f(L) U' (eq. 12): S = S', S S' = nearest PSD matrix of M.

    It is unique: it does not depend on eigenvector signs, bases of repeated eigenvalues or the
    order of the nodes.

    Parameters
    ----------
    matrix : Tensor
        Symmetric matrices M. Shape ``(b, n, n)``.
    num_clusters : int, optional
        Keep only this many of the largest eigenvalues (the paper's Figure 3a).

    Returns
    -------
    Tensor
        S. Shape ``(b, n, n)``. The gradient is finite for every finite M.
    Tensor
        The eigenvalues of M, ascending, without gradient. Shape ``(b, n)``.

    Examples
    --------
    >>> M = torch.tensor([[[1., 1, 0], [1, 1, 0], [0, 0, 1]]], dtype=torch.float64)
    >>> S, _ = symmetric_root(M)
    >>> S[0].round(decimals=4).abs().tolist()
    [[0.7071, 0.7071, 0.0], [0.7071, 0.7071, 0.0], [0.0, 0.0, 1.0]]
    """
    root, eigenvalues = _SymmetricRoot.apply(matrix, num_clusters)
    return root, eigenvalues


def eigen_root(
    matrix: Tensor,
    *,
    num_clusters: int | None = None,
    tol: float = RANK_TOLERANCE,
    sizes: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """S = U f(L) with the K leading eigenvectors as columns, largest first (eq. 11-12).

    Each column's sign is chosen so that its sum is not negative.

    Its gradient splits into a part without eigengaps (that of the symmetric root) and the rotation
    of single eigenvectors, where 1 / gap becomes gap / (gap^2 + GAP^2): exact for separated
    eigenvalues, finite for all, zero for equal ones, whose eigenvectors are arbitrary. A loss that
    depends on S S' alone has its exact gradient even there.

    Parameters
    ----------
    matrix : Tensor
        Symmetric matrices M. Shape ``(b, n, n)``.
    num_clusters : int, optional
        Force K. By default K follows from ``tol`` for each matrix.
    tol : float, optional
        Share of the trace that the columns left out may hold, up to half a node.
    sizes : Tensor, optional
        Number of nodes of each graph. Shape ``(b,)``. Default: n.

    Returns
    -------
    Tensor
        S. Shape ``(b, n, max K)``, zeros in columns beyond a matrix's own K.
    Tensor
        K. Shape ``(b,)``, int64.
    Tensor
        The eigenvalues of M, ascending, without gradient. Shape ``(b, n)``.
    """
    return _EigenRoot.apply(matrix, num_clusters, tol, _sizes(matrix, sizes))


def cholesky_root(
    matrix: Tensor,
    *,
    num_clusters: int | None = None,
    max_clusters: int | None = None,
    tol: float = RANK_TOLERANCE,
    priority: Tensor | None = None,
    sizes: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pivoted (rank-revealing) Cholesky: one column of S per pivot node.

    The next pivot is the longest column of the residual. That depends on no order of the nodes,
    and bounds the pivots away from zero. It stops when the residual's trace is below ``tol`` times
    the trace of M. On disjoint clusters (eq. 7) it returns their indicator columns (eq. 8), the
    largest cluster first.

    With the pivots P fixed, S = M[:, P] L^-T where L L' = M[P, P]; the gradient is that of this
    expression, in which no eigengap occurs.

    Parameters
    ----------
    matrix : Tensor
        Positive semidefinite matrices M, see :func:`nearest_psd`. Shape ``(b, n, n)``.
    num_clusters : int, optional
        Force K (still fewer where M has lower rank).
    max_clusters : int, optional
        Stop at this K if ``tol`` has not been reached.
    tol : float, optional
        Relative residual trace at which to stop, at most half a node.
    priority : Tensor, optional
        See :func:`~dgl_gmpool.nn.pivots.pivot_nodes`. Shape ``(b, n)``.
    sizes : Tensor, optional
        Number of nodes of each graph. Shape ``(b,)``. Default: n.

    Returns
    -------
    Tensor
        S. Shape ``(b, n, max K)``, zeros in columns beyond a matrix's own K.
    Tensor
        K. Shape ``(b,)``, int64.
    Tensor
        The pivots P, a matrix's own K first. Shape ``(b, max K)``, int64.

    Examples
    --------
    >>> M = torch.block_diag(torch.ones(3, 3), torch.ones(1, 1), torch.ones(2, 2))[None]
    >>> S, K, _ = cholesky_root(M.double())
    >>> S[0].int().tolist(), K.tolist()
    ([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]], [3])
    """
    if priority is None:
        priority = matrix.new_zeros(matrix.shape[:2])
    most = matrix.shape[1]
    for cap in (num_clusters, max_clusters):
        most = most if cap is None else min(most, cap)
    # A forced number of clusters still ends where nothing but rounding is left to split.
    limit = torch.zeros_like(matrix[:, 0, 0])
    if num_clusters is None:
        limit = residual_limit(tol, _sizes(matrix, sizes), matrix.dtype)
    pivots, ranks = pivot_nodes(matrix.detach(), most, limit, priority.detach())
    most = pivots.shape[1]
    used = torch.arange(most, device=matrix.device) < ranks[:, None]
    columns = matrix.gather(2, pivots[:, None, :].expand(-1, matrix.shape[1], -1))
    columns = torch.where(used[:, None, :], columns, 0)
    block = columns.gather(1, pivots[:, :, None].expand(-1, -1, most))
    # Unused pivots become rows of the identity, which leaves their (zero) columns alone.
    both = used[:, :, None] & used[:, None, :]
    block = torch.where(both, block, torch.eye(most, dtype=block.dtype, device=block.device))
    # Without the check, a NaN in one graph stays there, and no GPU waits.
    lower, failed = torch.linalg.cholesky_ex(block)
    lower = lower.masked_fill((failed > 0)[:, None, None], torch.nan)
    root = torch.linalg.solve_triangular(lower.mT, columns, upper=True, left=False)
    return root, ranks, pivots


def nearest_psd(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest positive semidefinite matrix, in the Frobenius norm (Higham, 1988).

    Returns it, ``(b, n, n)``, with a gradient that is bounded by the incoming one, and the
    eigenvalues of M, ascending, ``(b, n)``, without.
    """
    return _NearestPSD.apply(matrix)


def without_rounding(root: Tensor) -> Tensor:
    """S with exact zeros where there is nothing but rounding, so that no coarse edge hangs on the
    last bit, whatever its sign. The gradient is that of all entries. ``(b, n, K)``."""
    values = root.detach()
    size = values.abs()
    least = 8 * torch.finfo(root.dtype).eps * root.shape[1] * size.amax((1, 2), keepdim=True)
    return root - values.masked_fill(size > least, 0)


def residual_limit(tol: float, sizes: Tensor, dtype: torch.dtype) -> Tensor:
    """The share of the trace that may be left out: ``tol``, or half a node of n. ``(b,)``.

    A whole node is never rounding: at ``tol=0.01`` it would be, from 100 nodes on.
    """
    return (0.5 / sizes.clamp(min=1).to(dtype)).clamp(max=tol)


def _sizes(matrix: Tensor, sizes: Tensor | None) -> Tensor:
    if sizes is not None:
        return sizes
    return torch.full((len(matrix),), matrix.shape[1], device=matrix.device)


def _columns(eigenvalues: Tensor, tol: float, sizes: Tensor) -> Tensor:
    """The smallest K for which the K largest eigenvalues hold all but the share that may be left
    out of the trace of the nearest positive semidefinite matrix. ``(b,)``, int64."""
    positive = eigenvalues.clamp(min=0)
    # The tail is summed from its small end: subtracting from the trace would lose it in rounding.
    tail = positive.cumsum(-1)
    trace = tail[:, -1:]
    rounding = sizes.to(trace.dtype) * torch.finfo(trace.dtype).eps
    limit = trace * residual_limit(tol, sizes, trace.dtype).maximum(rounding)[:, None]
    return (tail > limit * (1 + 1e-9)).sum(-1).clamp(min=1)


def _kept(eigenvalues: Tensor, counts: Tensor) -> Tensor:
    """1 for the ``counts`` largest of ascending eigenvalues ``(b, n)``, else 0."""
    n = eigenvalues.shape[-1]
    rank = torch.arange(n - 1, -1, -1, device=eigenvalues.device)
    return (rank < counts[:, None]).to(eigenvalues.dtype)


def _smooth_root(eigenvalues: Tensor) -> tuple[Tensor, Tensor]:
    """f(lambda) = mu / s and s = sqrt(mu + delta)."""
    mu = eigenvalues.clamp(min=0)
    s = (mu + DELTA).sqrt()
    return mu / s, s


def _positive_part_differences(eigenvalues: Tensor) -> Tensor:
    """Divided differences of mu = max(lambda, 0), in [0, 1]. Shape ``(b, n, n)``."""
    above, size = _positive_part_fraction(eigenvalues)
    return above.div_(size)


def _positive_part_fraction(eigenvalues: Tensor) -> tuple[Tensor, Tensor]:
    """Those differences as a fraction, (mu_i + mu_j) / (|lambda_i| + |lambda_j|).

    It is 1 between positive and 0 between negative eigenvalues, and the slope of the line across 0
    between the two kinds. 0 counts as positive.
    """
    nothing = torch.finfo(eigenvalues.dtype).tiny ** 0.5
    mu, size = eigenvalues.clamp(min=0) + nothing, eigenvalues.abs() + nothing
    return mu[:, :, None] + mu[:, None, :], size[:, :, None] + size[:, None, :]


def _root_differences(eigenvalues: Tensor, s: Tensor) -> Tensor:
    """Divided differences of f, from f = s - delta / s and mu = s^2 - delta. ``(b, n, n)``."""
    above, below = _positive_part_fraction(eigenvalues)
    inverse = 1 / s
    above *= torch.mul((inverse * DELTA)[:, :, None], inverse[:, None, :]).add_(1)
    below *= s[:, :, None] + s[:, None, :]
    return above.div_(below)


def _broadened_inverse(gap: Tensor) -> Tensor:
    """1 / gap for gaps above ``GAP``, falling to 0 below."""
    return gap / (gap.square() + GAP**2)


def _forced_differences(eigenvalues: Tensor, s: Tensor, f: Tensor, kept: Tensor) -> Tensor:
    """Divided differences of f where only some eigenvalues are kept.

    Between a kept and a dropped one the difference is f / gap, the only eigengap left.
    """
    inside = kept[:, :, None] * kept[:, None, :]
    gap = eigenvalues[:, :, None] - eigenvalues[:, None, :]
    across = (f[:, :, None] - f[:, None, :]) * _broadened_inverse(gap)
    neither = (1 - kept)[:, :, None] * (1 - kept)[:, None, :]
    return torch.where(
        inside > 0, _root_differences(eigenvalues, s), torch.where(neither > 0, 0.0, across)
    )


class _SymmetricRoot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, num_clusters: int | None) -> tuple[Tensor, Tensor]:
        eigenvalues, vectors = eigh(matrix)
        f, s = _smooth_root(eigenvalues)
        kept = None
        if num_clusters is not None:
            counts = torch.full((len(matrix),), num_clusters, device=matrix.device)
            kept = _kept(eigenvalues, counts)
            f = f * kept
        root = (vectors * f[:, None, :]) @ vectors.mT
        root = (root + root.mT) / 2
        ctx.save_for_backward(eigenvalues, vectors, s, f, kept, matrix)
        ctx.mark_non_differentiable(eigenvalues)
        return root, eigenvalues

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
        eigenvalues, vectors, s, f, kept, matrix = ctx.saved_tensors
        if kept is None:
            differences = _root_differences(eigenvalues, s)
        else:
            differences = _forced_differences(eigenvalues, s, f, kept)
        inner = vectors.mT @ ((grad + grad.mT) / 2) @ vectors
        return first_order(vectors @ (inner * differences) @ vectors.mT, ROOT, grad, matrix), None


class _EigenRoot(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, matrix: Tensor, num_clusters: int | None, tol: float, sizes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        eigenvalues, vectors = eigh(matrix)
        f, s = _smooth_root(eigenvalues)
        if num_clusters is None:
            counts = _columns(eigenvalues, tol, sizes)
        else:
            counts = torch.full(
                (len(matrix),), min(num_clusters, matrix.shape[1]), device=matrix.device
            )
        kept = _kept(eigenvalues, counts)
        f = f * kept
        sums = vectors.sum(1, keepdim=True)
        vectors = torch.where(sums < 0, -vectors, vectors)
        most = int(counts.max())
        root = (vectors * f[:, None, :]).flip(-1)[:, :, :most].contiguous()
        ctx.save_for_backward(eigenvalues, vectors, s, f, kept, matrix)
        ctx.mark_non_differentiable(counts, eigenvalues)
        return root, counts, eigenvalues

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor, __: Tensor) -> tuple[Tensor, None, None, None]:
        eigenvalues, vectors, s, f, kept, matrix = ctx.saved_tensors
        missing = grad.shape[1] - grad.shape[2]
        columns = torch.nn.functional.pad(grad, (0, missing)).flip(-1) * kept[:, None, :]
        inner = vectors.mT @ columns
        differences = _forced_differences(eigenvalues, s, f, kept)
        # What is left for the rotation is zero for every loss that depends on S S' alone, whose
        # gradient is thus exact, repeated eigenvalues or not.
        turn = inner * f[:, :, None]
        gap = eigenvalues[:, None, :] - eigenvalues[:, :, None]
        rotation = (turn - turn.mT) / 2 * _broadened_inverse(gap)
        coefficients = (inner + inner.mT) / 2 * differences + rotation
        found = first_order(vectors @ coefficients @ vectors.mT, ROOT, grad, matrix)
        return found, None, None, None


class _NearestPSD(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        eigenvalues, vectors = eigh(matrix)
        nearest = (vectors * eigenvalues.clamp(min=0)[:, None, :]) @ vectors.mT
        ctx.save_for_backward(eigenvalues, vectors, matrix)
        ctx.mark_non_differentiable(eigenvalues)
        return (nearest + nearest.mT) / 2, eigenvalues

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Tensor:
        eigenvalues, vectors, matrix = ctx.saved_tensors
        inner = vectors.mT @ ((grad + grad.mT) / 2) @ vectors
        found = vectors @ (inner * _positive_part_differences(eigenvalues)) @ vectors.mT
        return first_order(found, ROOT, grad, matrix)
