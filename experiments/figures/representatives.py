"""From a soft grouping matrix to one group per atom, for drawings."""

from __future__ import annotations

import numpy as np
import torch

from dgl_gmpool.nn.square_root import nearest_psd, pivot_nodes


def representatives(matrix: np.ndarray, count: int) -> list[int]:
    """The pivots of the pivoted Cholesky decomposition: ``count`` atoms that stand for the groups.

    As in :func:`dgl_gmpool.nn.square_root.cholesky_root`, the next pivot is the longest column of
    what the pivots before it leave unexplained.

    Parameters
    ----------
    matrix : numpy.ndarray
        Grouping matrix. Shape ``(n, n)``; of an indefinite one, the nearest positive semidefinite
        matrix is taken.
    count : int
        How many; fewer are returned where the matrix has a lower rank.

    Examples
    --------
    >>> blocks = np.kron(np.eye(2), np.ones((2, 2)))
    >>> representatives(blocks, 2)
    [0, 2]
    """
    psd = torch.from_numpy(_nearest_psd(matrix))[None]
    if not psd.numel() or count < 1:
        return []
    # Of equal columns the first atom's wins: one picture per molecule.
    pivots, used = pivot_nodes(psd, min(count, psd.shape[1]), 0.0, psd.new_zeros(psd.shape[:2]))
    return pivots[0, : int(used)].tolist()


def groups_of_atoms(matrix: np.ndarray, count: int) -> np.ndarray:
    """The group of each atom, ``(n,)`` int64: 0 is the largest group.

    An atom belongs to the representative that it is most similar to (M_ip by the root of M_pp).
    On disjoint groups (eq. 7) these are the groups.

    Why not the largest entry in the atom's row of S: the columns of a Cholesky factor after the
    first hold what the columns before leave over. With two representatives 0.8 similar, S is
    [[1, 0], [0.8, 0.6]], and the second would not be in its own group. Why not the connected blocks
    of M above a threshold: they join in chains, and their number follows from the threshold, not
    from the model. Here there are as many groups as the model counts.

    Parameters
    ----------
    matrix : numpy.ndarray
        Grouping matrix. Shape ``(n, n)``.
    count : int
        Number of groups, as the model counts them (``num_clusters``).

    Examples
    --------
    >>> blocks = np.kron(np.eye(2), np.ones((2, 2)))
    >>> groups_of_atoms(blocks[[0, 2, 1, 3]][:, [0, 2, 1, 3]], 2).tolist()
    [0, 1, 0, 1]
    >>> groups_of_atoms(np.array([[1.0, 0.8], [0.8, 1.0]]), 2).tolist()
    [0, 1]
    """
    psd = _nearest_psd(matrix)
    pivots = representatives(matrix, count)
    if not pivots:  # a matrix of zeros: nothing says that two atoms differ
        return np.zeros(len(psd), np.int64)
    likeness = psd[:, pivots] / np.sqrt(psd[pivots, pivots])
    # Equivalent atoms have equal rows up to rounding: a tie must go the same way for both.
    best = likeness >= likeness.max(1, keepdims=True) - 1e-9
    group = best.argmax(1)
    sizes = np.bincount(group, minlength=len(pivots))
    first = [
        int(np.flatnonzero(group == g)[0]) if sizes[g] else len(psd) for g in range(len(sizes))
    ]
    order = sorted(range(len(sizes)), key=lambda g: (-sizes[g], first[g]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[group]


def _nearest_psd(matrix: np.ndarray) -> np.ndarray:
    """The nearest positive semidefinite matrix, float64; ValueError if M is not square, symmetric
    and finite."""
    values = np.asarray(matrix, np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not np.isfinite(values).all():
        raise ValueError(f"a grouping matrix is square and finite; got shape {values.shape}")
    if not np.allclose(values, values.T, atol=1e-6):
        raise ValueError("the grouping matrix is not symmetric; give M as the model returns it")
    if len(values) == 0:
        return values
    return nearest_psd(torch.from_numpy((values + values.T) / 2)[None])[0][0].numpy()
