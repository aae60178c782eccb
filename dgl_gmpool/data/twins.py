"""Twins: molecules that differ in stereochemistry or isotopes alone, which features may not see."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import numpy as np
from rdkit import Chem

from dgl_gmpool.data.equal_rows import once_each, rows_of
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.table import MoleculeTable

_ISOTOPE = re.compile(r"\[\d")


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


def without_isotopes(smiles: str) -> str:
    """The canonical SMILES with every atom as it occurs in nature; of deuterium and tritium that is
    an ordinary hydrogen. No featurizer sees the mass of an atom.

    >>> without_isotopes("[2H]C([2H])([2H])Oc1cc[13cH]cc1"), without_isotopes("CO")
    ('COc1ccccc1', 'CO')
    """
    if not _ISOTOPE.search(smiles):
        return smiles
    mol, _ = read_molecule(smiles)
    if mol is None:
        return smiles
    for atom in mol.GetAtoms():
        atom.SetIsotope(0)
    # Read again: what was a centre by an isotope may be none.
    mol, _ = read_molecule(Chem.MolToSmiles(Chem.RemoveHs(mol)))
    return smiles if mol is None else Chem.MolToSmiles(mol)


def as_features_see(canonical: Sequence[str], *, stereo: bool) -> Sequence[str]:
    """Of each molecule a text that twins share: they stay on one side of a split.

    Parameters
    ----------
    canonical : sequence of str
        Canonical SMILES.
    stereo : bool
        Whether the features tell stereoisomers apart. Isotopes they never do.

    Examples
    --------
    >>> as_features_see(["C[C@H](N)[13CH3]", "C[C@H](N)Cl"], stereo=True)
    ['CC(C)N', 'C[C@H](N)Cl']
    """

    def seen(smiles: str) -> str:
        plain = without_isotopes(smiles)
        return plain if stereo else without_stereo(plain)

    return once_each(seen, canonical)


def with_twins_noted(table: MoleculeTable, *, told_apart: bool) -> MoleculeTable:
    """The table, with a note in its report if molecules differ in stereochemistry alone, and one
    if they do in isotopes alone.

    Parameters
    ----------
    table : MoleculeTable
    told_apart : bool
        Whether the features that will be made differ between stereoisomers.
    """
    so = "so a set stays on one side of every split"
    stereo = (
        "the features tell them apart"
        if told_apart
        else f"the features do not tell mirror images apart, {so}"
    )
    kinds = (
        (without_stereo, "stereochemistry", stereo),
        (without_isotopes, "isotopes", f"no features tell them apart, {so}"),
    )
    notes = []
    for form, what, then in kinds:
        alike = rows_of(once_each(form, table.canonical)).values()
        sets = [rows for rows in alike if len({table.canonical[row] for row in rows}) > 1]
        if sets:
            molecules = sum(len({table.canonical[row] for row in rows}) for rows in sets)
            differ = sum(_differ(table, rows) for rows in sets)
            notes.append(
                f"{molecules} molecules in {len(sets)} sets differ in {what} alone, in {differ} of "
                f"the sets with different targets; {then}"
            )
    return table.with_notes(*notes)


def _differ(table: MoleculeTable, rows: Sequence[int]) -> bool:
    """Whether the molecules among ``rows`` differ in a target, by their medians."""
    targets = table.targets[rows]
    molecules = rows_of(table.canonical[row] for row in rows).values()
    with warnings.catch_warnings():  # of a target that a molecule does not have
        warnings.simplefilter("ignore", RuntimeWarning)
        medians = [np.nanmedian(targets[own], axis=0) for own in molecules]
    for column in np.array(medians).T:
        known = column[~np.isnan(column)]
        if len(known) > 1 and not np.isclose(known, known[0], rtol=1e-9, atol=0).all():
            return True
    return False
