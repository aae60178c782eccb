"""Stereochemistry: labels of atoms and bonds that are the same however a molecule is written."""

from __future__ import annotations

from collections.abc import Sequence

from rdkit import Chem, rdBase
from rdkit.Chem import rdCIPLabeler, rdqueries

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
