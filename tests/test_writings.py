"""One molecule, however its SMILES is written: one canonical SMILES, the same features."""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem

from dgl_gmpool.data import load_csv, load_sodium_channel
from dgl_gmpool.data.molecule import canonical_smiles, read_molecule
from dgl_gmpool.data.parsed_rows import ATOM_MAPS, parse_rows
from dgl_gmpool.data.smiles_to_graphs import featurize_molecules, featurize_smiles

PLAIN = [
    "CO",
    "C",
    "CC(=O)Nc1ccc(O)cc1",
    "c1cc[nH]c1",
    "C[C@H](N)C(=O)O",
    "C/C=C/c1ccccc1",
    "C[NH3+].[Cl-]",
    "[13CH3]O",
    "C[CH]C",
    "OB(O)c1ccccc1",
    "CP(C)C",
    "C[SH](C)C",
    "[NH4+]",
    "*CC*",
]


def features(smiles: str) -> np.ndarray:
    """Rows of the atoms, sorted: how atoms are numbered does not matter."""
    flat, failed = featurize_smiles([smiles], "stereo")
    assert not failed
    rows = np.asarray(flat.node_rows)[flat.node_kinds]
    return rows[np.lexsort(rows.T)]


def writings(smiles: str) -> list[str]:
    """With all hydrogens in brackets or as atoms, with numbers of atoms, and in other orders."""
    mol = Chem.MolFromSmiles(smiles)
    mapped = Chem.Mol(mol)
    for atom in mapped.GetAtoms():
        atom.SetAtomMapNum(atom.GetIdx() + 1)
    found = [Chem.MolToSmiles(mol, allHsExplicit=True), Chem.MolToSmiles(mapped)]
    found.append(Chem.MolToSmiles(Chem.AddHs(mol)))
    return found + list(Chem.MolToRandomSmilesVect(mapped, 3, randomSeed=1))


@pytest.mark.parametrize("smiles", [*PLAIN, *load_sodium_channel().canonical[::100]])
def test_features_do_not_hang_on_brackets_and_numbers_of_atoms(smiles):
    expected = features(smiles)
    for text in writings(smiles):
        assert canonical_smiles(text) == (Chem.CanonSmiles(smiles), "")
        np.testing.assert_array_equal(features(text), expected)


def test_marks_of_a_centre_that_is_none_change_nothing():
    np.testing.assert_array_equal(features("C[C@@H](C)O"), features("CC(C)O"))


def test_the_order_of_the_atoms_is_that_of_the_smiles():
    mol, _ = read_molecule("[OH:7][CH2:3][CH3:1]")
    assert [atom.GetSymbol() for atom in mol.GetAtoms()] == ["O", "C", "C"]
    assert [atom.GetAtomMapNum() for atom in mol.GetAtoms()] == [0, 0, 0]


def test_molecules_without_needless_brackets_are_left_as_rdkit_reads_them():
    for smiles in PLAIN:
        mols = read_molecule(smiles)[0], Chem.MolFromSmiles(smiles)
        ours, theirs = (featurize_molecules([mol], "stereo") for mol in mols)
        np.testing.assert_array_equal(ours.node_rows, theirs.node_rows)
        np.testing.assert_array_equal(ours.node_kinds, theirs.node_kinds)


def test_mapped_rows_of_a_table_are_one_molecule_and_said_so(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("smiles,y\n[CH3:1][OH:2],1\nCO,2\n[CH3][OH],3\nCC,4\n")
    table = load_csv(path, smiles_column="smiles", target_columns="y")
    assert table.groups == ("CO", "CO", "CO", "CC")
    notes = table.report.notes
    assert any("1 row has the numbers of atoms in a mapped reaction" in each for each in notes)
    assert any("4 rows are 2 molecules" in each for each in notes)
    parsed = parse_rows(["[CH3:1][OH:2]", "CO"], "stereo")
    assert parsed.place.tolist() == [0, 0]
    assert parsed.notes == [ATOM_MAPS, ""]


def test_an_inchi_is_named_as_one():
    assert canonical_smiles("InChI=1S/CH4/h1H4")[1] == (
        "not a SMILES: it is an InChI; write SMILES in its place"
    )
