"""How many groups a grouping matrix holds, by its eigenvalues."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

#: Up to this size every CUDA build takes a block of matrices at once.
BATCHED = 32


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """``torch.linalg.eigh`` of ``(b, n, n)``: eigenvalues ``(b, n)``, ascending, and vectors.

    Raises
    ------
    ValueError
        If the matrices hold NaN or infinite entries (a GPU gives NaN instead).
    """
    try:
        values, vectors = torch.linalg.eigh(_there(matrix))
    except RuntimeError as error:
        raise _explained(matrix, error) from error
    return values.to(matrix.device), vectors.to(matrix.device)


def eigvalsh(matrix: Tensor) -> Tensor:
    """The eigenvalues alone."""
    try:
        return torch.linalg.eigvalsh(_there(matrix)).to(matrix.device)
    except RuntimeError as error:
        raise _explained(matrix, error) from error


_NOT_FINITE = (
    "a grouping matrix has no eigenvalues: it holds NaN or infinite entries. Look for features or "
    "parameters that are not finite: a learning rate that let training diverge, or a row of "
    "features that holds NaN"
)


def _explained(matrix: Tensor, error: RuntimeError) -> Exception:
    """What LAPACK could not do, in words: it has no eigenvalues of what is not finite."""
    return error if bool(torch.isfinite(matrix).all()) else ValueError(_NOT_FINITE)


def _there(matrix: Tensor) -> Tensor:
    """On the CPU, where torch would take large matrices of a GPU one by one (before 2.12)."""
    if not matrix.is_cuda or matrix.shape[-1] <= BATCHED or _takes_any_size():
        return matrix
    return matrix.cpu()


def _takes_any_size() -> bool:
    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    return found is not None and (int(found[1]), int(found[2])) >= (2, 12)


#: An eigenvalue above this share of a node counts as a group: Kaiser's rule (components of a
#: correlation matrix that outweigh one variable) in the form of Jolliffe (1972).
OF_A_NODE = 0.7

#: Eigenvalues this close below the line, relatively, count too, so that no rounding decides.
MARGIN = 1e-6


@dataclass(frozen=True)
class Spectrum:
    """What the spectra of the grouping matrices of a batch say, in numbers without gradients.

    Attributes
    ----------
    num_clusters : Tensor
        K: the number of eigenvalues of M above 0.7 of a node, where a node weighs what the
        diagonal of M has on average (1 for ``gaussian`` and ``cauchy``). On disjoint groups (eq. 7)
        exactly their number, for a graph of any size. At least 1 for a graph with nodes. Shape
        ``(B,)``, int64.
    soft_count : Tensor
        sum_i 1 / (M 1)_i, a number of groups that takes no eigenvalues, exact on eq. 7; where S S'
        stands for M, sum_i M_ii / (M 1)_i. Shape ``(B,)``. That of a matrix of
        ``pool.grouping_matrices``, ``(1 / M.sum(1)).sum()``, has a gradient.
    effective_rank : Tensor
        exp(entropy of the normalised eigenvalues), Roy and Vetterli (2007). Shape ``(B,)``.
    negative_share : Tensor
        Sum of the negative eigenvalues over the sum of all, in absolute values: what the nearest
        positive semidefinite matrix leaves out. Shape ``(B,)``.
    """

    num_clusters: Tensor
    soft_count: Tensor
    effective_rank: Tensor
    negative_share: Tensor


def count_groups(eigenvalues: Tensor, sizes: Tensor, trace: Tensor | None = None) -> Tensor:
    """The number of eigenvalues of M above 0.7 of a node.

    Parameters
    ----------
    eigenvalues : Tensor
        Those of M, or of S' S where S S' = M: zeros more or less make no difference. ``(b, w)``.
    sizes : Tensor
        Number of nodes of each graph, at least 1. Shape ``(b,)``.
    trace : Tensor, optional
        That of M, where eigenvalues are left out. Shape ``(b,)``. Default: their sum.

    Returns
    -------
    Tensor
        Shape ``(b,)``, int64.

    Examples
    --------
    >>> count_groups(torch.tensor([[0., 0, 2, 1, 3]]), torch.tensor([6])).tolist()
    [3]
    """
    eigenvalues = eigenvalues.detach()
    node = (eigenvalues.sum(-1) if trace is None else trace).clamp(min=0) / sizes
    line = OF_A_NODE * (1 - MARGIN) * node
    return (eigenvalues > line[:, None]).sum(-1).clamp(min=1)


def soft_count(matrix: Tensor, mask: Tensor) -> Tensor:
    """sum_i 1 / (M 1)_i of matrices that are zero in padding, ``(b, w, w)`` to ``(b,)``."""
    size = matrix.sum(-1)
    tiny = torch.finfo(size.dtype).tiny ** 0.5
    return torch.where(mask, 1 / torch.where(mask, size, 1).clamp(min=tiny), 0).sum(-1)


def soft_count_of_root(root: Tensor) -> Tensor:
    """sum_i M_ii / (M 1)_i for M = S S', without M; a node that is in no group counts for none.

    ``(b, w, K)`` to ``(b,)``.
    """
    size = (root @ root.sum(1)[:, :, None])[..., 0]
    tiny = torch.finfo(size.dtype).tiny ** 0.5
    share = root.square().sum(-1) / size.clamp(min=tiny)
    return torch.where(size > tiny, share, 0).sum(-1)


def spectrum(
    eigenvalues: Tensor, sizes: Tensor, soft: Tensor, trace: Tensor | None = None
) -> Spectrum:
    """All four figures from the eigenvalues of M ``(b, w)``, node counts and the soft count;
    ``trace`` as for :func:`count_groups`."""
    eigenvalues = eigenvalues.detach()
    positive = eigenvalues.clamp(min=0)
    tiny = torch.finfo(positive.dtype).tiny
    share = positive / positive.sum(-1, keepdim=True).clamp(min=tiny)
    entropy = -torch.xlogy(share, share).sum(-1)
    negative = (-eigenvalues).clamp(min=0).sum(-1) / eigenvalues.abs().sum(-1).clamp(min=tiny)
    return Spectrum(count_groups(eigenvalues, sizes, trace), soft.detach(), entropy.exp(), negative)
