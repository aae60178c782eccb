"""Stereochemistry: labels of atoms and bonds that are the same however a molecule is written."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdCIPLabeler, rdqueries

from dgl_gmpool.data.equal_rows import once_each, rows_of
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.table import MoleculeTable

#: CIP labels of atoms. R and S change places in the mirror image; r and s (a centre between groups
#: that are mirror images of each other, cis and trans on a ring) do not.
ATOM_LABELS = ("R", "S", "r", "s")
_COLUMN = {label: column for column, label in enumerate(ATOM_LABELS)}

#: RDKit's labeller compares ever longer paths. Drugs take some hundred steps (0.2 ms), chains of
#: cyclohexanes with cis and trans up to 400,000 (0.15 s); this many are some tenths of a second.
#: How many a molecule takes depends on how it is written, so the limit must lie far above.
MAX_STEPS = 1_000_000

_CHIRAL = Chem.RWMol(Chem.MolFromSmarts("*"))
_CHIRAL.ReplaceAtom(0, rdqueries.HasChiralTagQueryAtom())
_LABEL = "_CIPCode"
_E_OR_Z = {"E": Chem.BondStereo.STEREOE, "Z": Chem.BondStereo.STEREOZ}


def chiral_atoms(mol: Chem.Mol) -> list[int]:
    """The atoms whose neighbours are written in a sense of rotation, ``@`` or ``@@``.

    >>> chiral_atoms(Chem.MolFromSmiles("C[C@H](N)C(=O)O"))
    [1]
    """
    # To look at each atom costs fifty times as much.
    found = mol.GetSubstructMatches(_CHIRAL, maxMatches=mol.GetNumAtoms())
    return [atom for (atom,) in found]


def stereo_labels(
    mol: Chem.Mol, atoms: Sequence[int], bonds: Sequence[int]
) -> tuple[list[tuple[int, int]], list[int]]:
    """``([(atom, column of ATOM_LABELS), ...], [bond, ...])``: the labels of ``atoms``, where they
    have one, and those of ``bonds`` that were set to E or Z by the same rules.

    The rules are those of RDKit's ``rdCIPLabeler``. Its older labels, which come with every
    molecule, miss the centres of rings (cis and trans), and differ on 1 in 20 molecules with
    centres. Where the newer ones find no end (``MAX_STEPS``), the older ones are taken.

    >>> mol = Chem.MolFromSmiles("C[C@H](N)C(=O)O")
    >>> stereo_labels(mol, chiral_atoms(mol), [])
    ([(1, 1)], [])
    """
    _clear(mol, atoms)
    try:
        rdCIPLabeler.AssignCIPLabels(mol, maxRecursiveIterations=MAX_STEPS)
    except RuntimeError:  # "Max Iterations Exceeded", with a part of the labels set
        _clear(mol, atoms)
        with rdBase.BlockLogs():
            Chem.AssignStereochemistry(mol, force=True)
    found, turned = [], []
    for index in atoms:
        atom = mol.GetAtomWithIdx(index)
        if atom.HasProp(_LABEL):
            column = _COLUMN.get(atom.GetProp(_LABEL))
            if column is not None:
                found.append((index, column))
    for index in bonds:
        bond = mol.GetBondWithIdx(index)
        label = bond.GetProp(_LABEL).upper() if bond.HasProp(_LABEL) else ""
        if label in _E_OR_Z and bond.GetStereo() != _E_OR_Z[label]:
            bond.SetStereo(_E_OR_Z[label])
            turned.append(index)
    return found, turned


def _clear(mol: Chem.Mol, atoms: Sequence[int]) -> None:
    for atom in atoms:
        mol.GetAtomWithIdx(atom).ClearProp(_LABEL)


def without_stereo(smiles: str) -> str:
    """The canonical SMILES without its stereochemistry; isotopes stay.

    >>> without_stereo("C[C@H](N)C(=O)O")
    'CC(N)C(=O)O'
    """
    if not any(mark in smiles for mark in "@/\\"):
        return smiles
    mol, _ = read_molecule(smiles)
    if mol is None:
        return smiles
    Chem.RemoveStereochemistry(mol)
    return Chem.MolToSmiles(mol)


def with_twins_noted(table: MoleculeTable, *, told_apart: bool) -> MoleculeTable:
    """The table, with a note in its report if molecules differ in stereochemistry alone.

    Parameters
    ----------
    table : MoleculeTable
    told_apart : bool
        Whether the features that will be made differ.
    """
    alike = rows_of(once_each(without_stereo, table.canonical)).values()
    sets = [rows for rows in alike if len({table.canonical[row] for row in rows}) > 1]
    if not sets:
        return table
    molecules = sum(len({table.canonical[row] for row in rows}) for rows in sets)
    differ = sum(_differ(table, rows) for rows in sets)
    return table.with_notes(
        f"{molecules} molecules in {len(sets)} sets differ in stereochemistry alone, in {differ} "
        "of the sets with different targets; "
        + (
            "the features tell them apart"
            if told_apart
            else "the features do not tell mirror images apart, so a set stays on one side of "
            "every split"
        )
    )


def _differ(table: MoleculeTable, rows: Sequence[int]) -> bool:
    """Whether the stereoisomers among ``rows`` differ in a target, by their medians."""
    targets = table.targets[rows]
    isomers = rows_of(table.canonical[row] for row in rows).values()
    with warnings.catch_warnings():  # of a target that a molecule does not have
        warnings.simplefilter("ignore", RuntimeWarning)
        medians = [np.nanmedian(targets[own], axis=0) for own in isomers]
    for column in np.array(medians).T:
        known = column[~np.isnan(column)]
        if len(known) > 1 and not np.isclose(known, known[0], rtol=1e-9, atol=0).all():
            return True
    return False
