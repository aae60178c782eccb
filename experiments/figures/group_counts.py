"""How many groups a model finds in each of many molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dgl
import numpy as np

from dgl_gmpool import MoleculePredictor
from experiments.figures.first_pooling import evaluation, first_pooling, pooled_batches


@dataclass(frozen=True, eq=False)
class GroupCounts:
    """One value per molecule.

    Attributes
    ----------
    num_clusters : numpy.ndarray
        As the pooling counts them. ``(molecules,)`` int64.
    effective_rank : numpy.ndarray
        exp(entropy of the normalised eigenvalues of M). ``(molecules,)`` float64.
    """

    num_clusters: np.ndarray
    effective_rank: np.ndarray


def group_counts(
    model: MoleculePredictor, graphs: Sequence[dgl.DGLGraph], *, batch_size: int = 80
) -> GroupCounts:
    """Number of groups and effective rank of the first pooling, molecule by molecule.

    Raises
    ------
    ValueError
        There is no molecule, or the model has no grouping matrix.
    """
    if len(graphs) == 0:
        raise ValueError("no molecules; give at least one graph")
    pool = first_pooling(model)
    with evaluation(model):
        found = [
            pool.spectrum(graph, states, **options)
            for graph, states, options in pooled_batches(model, graphs, batch_size=batch_size)
        ]
    return GroupCounts(
        np.concatenate([each.num_clusters.cpu().numpy() for each in found]),
        np.concatenate([each.effective_rank.double().cpu().numpy() for each in found]),
    )


def few_and_many(
    counts: GroupCounts, atoms: Sequence[int], *, max_atoms: int = 28
) -> tuple[int, int]:
    """Which molecules to show: one with few groups for its size, one with many.

    Few and many are by the number of groups per atom, then by the effective rank per atom. A
    molecule in one group shows nothing, so molecules with two or more come first. Larger molecules
    are left aside where their labels would be too small to read.

    Parameters
    ----------
    counts : GroupCounts
    atoms : sequence of int
        Heavy atoms of each molecule.
    max_atoms : int
        Largest molecule to be shown.

    Returns
    -------
    (int, int)
        Positions of the molecule with few groups and of the one with many.

    Raises
    ------
    ValueError
        No molecule is small enough.

    Examples
    --------
    >>> counts = GroupCounts(np.array([1, 2, 9, 4]), np.array([1.0, 1.3, 6.0, 2.5]))
    >>> few_and_many(counts, [20, 20, 40, 20])
    (1, 3)
    """
    size = np.asarray(atoms)
    small = np.flatnonzero(size <= max_atoms)
    if len(small) == 0:
        raise ValueError(
            f"none of the {len(size)} molecules has {max_atoms} atoms or fewer; raise max_atoms"
        )
    several = small[counts.num_clusters[small] > 1]
    rows = several if len(several) else small
    ranked = sorted(
        rows.tolist(),
        key=lambda i: (counts.num_clusters[i] / size[i], counts.effective_rank[i] / size[i], i),
    )
    return ranked[0], ranked[-1]
