"""What a molecule is made of: heavy atoms, rings, functional groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

#: Carbons that belong to a functional group, with what they are bonded to: bonded to a heteroatom
#: by a double or triple bond; in a C-C double or triple bond; acetals; three-membered rings.
#: Aromatic bonds do not count.
_PATTERNS = tuple(
    Chem.MolFromSmarts(text)
    for text in ("A=,#[!#6]", "C=,#C", "[CX4](-[O,N,S])-[O,N,S]", "[O,N,S]1CC1")
)


@dataclass(frozen=True, eq=False)
class MoleculeParts:
    """One value per molecule, int64 each.

    Attributes
    ----------
    atoms, rings, functional_groups : numpy.ndarray
        Heavy atoms, smallest rings, functional groups. ``(molecules,)``.
    """

    atoms: np.ndarray
    rings: np.ndarray
    functional_groups: np.ndarray


def molecule_parts(smiles: Sequence[str]) -> MoleculeParts:
    """Count the parts of every molecule.

    Raises
    ------
    ValueError
        RDKit refuses a SMILES.

    Examples
    --------
    >>> parts = molecule_parts(["CC(=O)Oc1ccccc1C(=O)O"])  # aspirin: ester and acid
    >>> parts.atoms.tolist(), parts.rings.tolist(), parts.functional_groups.tolist()
    ([13], [1], [2])
    """
    rows = []
    for text in smiles:
        mol = Chem.MolFromSmiles(text)
        if mol is None:
            raise ValueError(f"{text!r} is refused by RDKit; leave it out")
        rows.append(
            (
                mol.GetNumHeavyAtoms(),
                rdMolDescriptors.CalcNumRings(mol),
                len(functional_groups(mol)),
            )
        )
    table = np.array(rows, np.int64).reshape(-1, 3)
    return MoleculeParts(table[:, 0], table[:, 1], table[:, 2])


def functional_groups(mol: Chem.Mol) -> list[tuple[int, ...]]:
    """Atoms of each functional group, by the rules of Ertl (J. Cheminform. 9, 36, 2017).

    Heteroatoms, and carbons next to them in multiple bonds, in C-C multiple bonds, in acetals and
    in three-membered heterocycles are marked; marked atoms that are bonded are one group. This is
    the definition behind the paper's "40 most common functional groups". No atom is in two groups,
    unlike in RDKit's ``fr_`` patterns, where phenol counts three times.

    Examples
    --------
    >>> functional_groups(Chem.MolFromSmiles("NC(=O)c1ccc(Cl)cc1"))
    [(0, 1, 2), (7,)]
    """
    marked = {atom.GetIdx() for atom in mol.GetAtoms() if atom.GetAtomicNum() not in (1, 6)}
    for pattern in _PATTERNS:
        for match in mol.GetSubstructMatches(pattern):
            marked.update(match)
    groups = []
    while marked:
        group, front = set(), {min(marked)}
        while front:
            group |= front
            around = {n.GetIdx() for i in front for n in mol.GetAtomWithIdx(i).GetNeighbors()}
            front = (around & marked) - group
        marked -= group
        groups.append(tuple(sorted(group)))
    return groups
