"""Eigenvalues of blocks of symmetric matrices, where they are fast, with an error that helps."""

from __future__ import annotations

import re

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
