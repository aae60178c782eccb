"""How a chemist divides a molecule: BRICS fragments and ring systems, a number for each atom."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
from rdkit import Chem
from rdkit.Chem import BRICS
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def brics_fragments(mol: Chem.Mol) -> np.ndarray:
    """The BRICS fragment of each atom (Degen et al., ChemMedChem 3, 1503, 2008).

    All bonds that BRICS may cut are cut; a salt's parts are apart anyway.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        Sanitised.

    Returns
    -------
    numpy.ndarray
        Numbers from 0, in the order of the molecule's atoms. Shape ``(atoms,)``, int64. For
        ``graph.ndata["fragment"]`` put them in the order of the graph's nodes, see
        :func:`~dgl_gmpool.data.atom_order`.

    Examples
    --------
    >>> brics_fragments(Chem.MolFromSmiles("CCOc1ccccc1")).tolist()
    [0, 0, 1, 2, 2, 2, 2, 2, 2]
    """
    cut = {mol.GetBondBetweenAtoms(*ends).GetIdx() for ends, _ in BRICS.FindBRICSBonds(mol)}
    return _pieces(mol, cut)


def ring_systems(mol: Chem.Mol) -> np.ndarray:
    """The ring system of each atom: what bonds of rings hold together.

    Fused, bridged and spiro rings are one system; two rings joined by a bond of no ring are two.
    An atom in no ring has a number of its own.

    Parameters
    ----------
    mol : rdkit.Chem.Mol
        Sanitised.

    Returns
    -------
    numpy.ndarray
        Numbers from 0, in the order of the molecule's atoms. Shape ``(atoms,)``, int64.

    Examples
    --------
    >>> ring_systems(Chem.MolFromSmiles("CC1CC1C1CC1")).tolist()
    [0, 1, 1, 1, 2, 2, 2]
    """
    return _pieces(mol, {bond.GetIdx() for bond in mol.GetBonds() if not bond.IsInRing()})


def _pieces(mol: Chem.Mol, cut: Set[int]) -> np.ndarray:
    """Connected pieces without the bonds of these numbers, ``(atoms,)``."""
    atoms = mol.GetNumAtoms()
    if not atoms:
        return np.zeros(0, np.int64)
    kept = [
        (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
        for bond in mol.GetBonds()
        if bond.GetIdx() not in cut
    ]
    ends = np.array(kept, np.int64).reshape(-1, 2).T
    bonds = coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(atoms, atoms))
    _, numbers = connected_components(bonds, directed=False)
    return np.asarray(numbers, np.int64)
