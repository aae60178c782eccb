"""Codes of atoms and bonds for DGL-LifeSci's pretrained GIN, the same for every writing.

The codes are those of dgllife's ``PretrainAtomFeaturizer`` (element, chirality) and
``PretrainBondFeaturizer`` (type, direction). RDKit's tags of chirality and direction depend on the
order in which a SMILES names the atoms; here they are those of the canonical SMILES, so dgllife's
graphs of canonical SMILES have the same codes. What dgllife refuses has the code that pretraining
masks with (elements without a number, dative and other bonds), or none (rare chiralities).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from rdkit import Chem

from dgl_gmpool.data.distinct_rows import smallest
from dgl_gmpool.data.flat_graphs import FlatGraphs
from dgl_gmpool.data.stereo import chiral_atoms

#: Codes of an atom of no known element and of a bond of no known type.
MASKED_ATOM, MASKED_BOND = 119, 5
_CHIRALITY = {Chem.ChiralType.CHI_TETRAHEDRAL_CW: 1, Chem.ChiralType.CHI_TETRAHEDRAL_CCW: 2}
_TYPES = {
    Chem.BondType.SINGLE: 0,
    Chem.BondType.DOUBLE: 1,
    Chem.BondType.TRIPLE: 2,
    Chem.BondType.AROMATIC: 3,
}
_DIRECTIONS = {Chem.BondDir.ENDUPRIGHT: 1, Chem.BondDir.ENDDOWNRIGHT: 2}
#: Columns of the features of atoms and bonds. A bond's codes come last; before them is what says
#: how well it conducts (:func:`~dgl_gmpool.data.featurizers.conductance_start`).
WIDTHS = (2, 8)


class PretrainEncoder:
    """Collects molecules, as :class:`~dgl_gmpool.data.featurizers.CanonicalEncoder`."""

    def __init__(self) -> None:
        self._node_counts: list[int] = []
        self._edge_counts: list[int] = []
        self._atoms: list[tuple[int, int]] = []
        self._bonds: list[tuple[int, ...]] = []
        self._ends: list[tuple[int, int]] = []

    def add(self, mol: Chem.Mol) -> None:
        order = list(Chem.CanonicalRankAtoms(mol))
        node_of = np.argsort(order).tolist()
        chirality, directions = _written(mol)
        for index in order:
            number = mol.GetAtomWithIdx(index).GetAtomicNum()
            code = number - 1 if 1 <= number <= 118 else MASKED_ATOM
            self._atoms.append((code, chirality.get(index, 0)))
        for index in range(mol.GetNumBonds()):
            bond = mol.GetBondWithIdx(index)
            ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            code = _TYPES.get(bond.GetBondType(), MASKED_BOND)
            conducts = (*(code == each for each in range(4)), bond.GetIsConjugated())
            direction = directions.get(frozenset(ends), 0) if directions else 0
            self._bonds.append((*conducts, bond.IsInRing(), code, direction))
            self._ends.append((node_of[ends[0]], node_of[ends[1]]))
        self._node_counts.append(len(order))
        self._edge_counts.append(2 * mol.GetNumBonds())

    def finish(self) -> FlatGraphs:
        # Bond k is edges 2k (u to v) and 2k + 1 (v to u), with one feature row.
        ends = np.array(self._ends, np.int64).reshape(-1, 2)
        node_rows, atoms = _distinct(self._atoms, WIDTHS[0])
        edge_rows, bonds = _distinct(self._bonds, WIDTHS[1])
        return FlatGraphs(
            smallest(np.array(self._node_counts, np.int64)),
            smallest(np.array(self._edge_counts, np.int64)),
            smallest(ends.ravel()),
            smallest(ends[:, ::-1].ravel()),
            smallest(atoms),
            smallest(bonds.repeat(2)),
            node_rows,
            edge_rows,
        )


def _distinct(rows: list[Any], width: int) -> tuple[np.ndarray, np.ndarray]:
    """The different rows, float32, and which of them each is."""
    values = np.array(rows, np.float32).reshape(-1, width)
    found, place = np.unique(values, axis=0, return_inverse=True)
    return found, place.reshape(-1)


def _written(mol: Chem.Mol) -> tuple[dict[int, int], dict[frozenset[int], int]]:
    """Codes of chirality by atom, and of direction by the two atoms of a bond, where they are not
    0, as in the canonical SMILES."""
    turned = any(bond.GetBondDir() in _DIRECTIONS for bond in mol.GetBonds())
    if not turned and not chiral_atoms(mol):
        return {}, {}
    again = Chem.MolFromSmiles(Chem.MolToSmiles(mol))
    if again is None or again.GetNumAtoms() != mol.GetNumAtoms():
        again, place = mol, list(range(mol.GetNumAtoms()))
    else:
        place = list(mol.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    chirality = {
        place[atom.GetIdx()]: _CHIRALITY[atom.GetChiralTag()]
        for atom in again.GetAtoms()
        if atom.GetChiralTag() in _CHIRALITY
    }
    directions = {
        frozenset((place[bond.GetBeginAtomIdx()], place[bond.GetEndAtomIdx()])): _DIRECTIONS[
            bond.GetBondDir()
        ]
        for bond in again.GetBonds()
        if bond.GetBondDir() in _DIRECTIONS
    }
    return chirality, directions
