"""What a cell holds: a SMILES and nothing else, a number, a class, or nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from dgl_gmpool.data import atom_order, load_bindingdb, load_chromophores, load_csv, load_tox21
from dgl_gmpool.data.molecule import (
    NOT_A_SMILES,
    canonical_smiles,
    count_atoms,
    is_missing,
    read_molecule,
    split_smiles,
)
from dgl_gmpool.data.number import (
    has_decimal_commas,
    parse_value,
    read_cell,
    with_decimal_point,
)
from dgl_gmpool.data.tox21 import TOX21_TASKS

#: Cells that RDKit alone takes for another molecule, and what the refusal must say.
NO_SMILES = [
    ("CC OC(=O)c1ccccc1", "'OC(=O)c1ccccc1' stands behind 'CC'"),
    ("CC\u00a0OC", "'OC' stands behind 'CC'"),
    ("CC\u2003OC", "'OC' stands behind 'CC'"),
    ("c1ccccc1N\nCCC", "'CCC' stands behind"),
    ("c1ccccc1N\r\nCCC", "'CCC' stands behind"),
    ("CCO\tethanol", "'ethanol' stands behind 'CCO'"),
    ("CCO or CCN", "'or CCN' stands behind 'CCO'"),
    ("CCO ; CCN", "'; CCN' stands behind 'CCO'"),
    ("CCO | CCN", "'| CCN' stands behind 'CCO'"),
    ("CCO |CCN|", "'|CCN|' stands behind 'CCO'"),
    ("CCO |r| ethanol", "'ethanol' stands behind 'CCO'"),
    ("\u0421CO", "character 1 is '\u0421' (U+0421, CYRILLIC CAPITAL LETTER ES), which looks like"),
    ("\u0421CO", "which looks like 'C'"),
    ("\uff23CO", "(U+FF23, FULLWIDTH LATIN CAPITAL LETTER C), which looks like 'C'"),
    ("\u039fCC", "which looks like 'O'"),
    ("CC\u2013O", "character 3 is '\u2013' (U+2013, EN DASH), which looks like '-'"),
    ("CC\u2261N", "which looks like '#'"),
    ("CCl\u2082", "which looks like '2'"),
    ("\ufeffCCO", "U+FEFF"),
    ("CC\u200bO", "U+200B, ZERO WIDTH SPACE"),
    ("\x01CCO", "U+0001, a control character"),
    ("CCO\x00", "U+0000"),
    ("\x7fCCO", "U+007F"),
]  # fmt: skip


@pytest.mark.parametrize(("cell", "said"), NO_SMILES)
def test_a_cell_that_is_no_smiles_never_becomes_another_molecule(cell, said):
    mol, why = read_molecule(cell)
    assert mol is None
    assert why.startswith(NOT_A_SMILES)
    assert said in why
    assert canonical_smiles(cell) == ("", why)
    assert count_atoms(cell) is None
    with pytest.raises(ValueError, match="is refused by RDKit: not a SMILES"):
        atom_order(cell)


@given(
    st.sampled_from(["CCO", "c1ccccc1N", "C[C@H](F)Cl", "[Na+].[Cl-]"]),
    st.characters(exclude_categories=["Cs"]).filter(lambda c: not "!" <= c <= "~"),
    st.integers(0, 20),
)
def test_a_foreign_character_anywhere_is_refused_or_a_blank_at_an_end(smiles, foreign, place):
    place = min(place, len(smiles))
    mol, why = read_molecule(smiles[:place] + foreign + smiles[place:])
    if place in (0, len(smiles)) and foreign.isspace():
        assert Chem.MolToSmiles(mol) == Chem.CanonSmiles(smiles)
    else:
        assert mol is None
        assert why.startswith(NOT_A_SMILES)


EXTENSIONS = ["|r|", "|r,THB:3:4:5.6|", "|w:1,r|", "|c:1|", "|&1:1,4,r|", "|&1:1,4,r", "|$R1;;$|",
              "|(0,0,0;1,0,0)|", "|@:3|", "|TLB:1:2:3.4|", "|o1:2|", "|^1:0|", "||"]  # fmt: skip


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_extension_costs_no_molecule(extension):
    for between in (" ", "  ", "\t"):
        cell = f"OCC{between}{extension}"
        assert canonical_smiles(cell) == ("CCO", "")
        assert split_smiles(cell) == ("OCC", extension, "")
    assert count_atoms(f"OCC {extension}").heavy_atoms == 3
    assert atom_order(f"OCC {extension}") == atom_order("OCC")


def loaded(kind, path, cells):
    """The table that a loader makes of some SMILES, each with a target."""
    if kind == "csv":
        path.write_text("smiles\ty\n" + "".join(f"{c}\t{i}\n" for i, c in enumerate(cells)))
        return load_csv(path.rename(path.with_suffix(".tsv")), smiles_column="smiles",
                        target_columns="y")  # fmt: skip
    if kind == "tox21":
        rows = "".join(f"{'1,' * 12}m{i},{c}\n" for i, c in enumerate(cells))
        path.write_text(",".join([*TOX21_TASKS, "mol_id", "smiles"]) + "\n" + rows)
        return load_tox21(path, min_atoms=None, max_atoms=None)
    if kind == "chromophores":
        rows = "".join(f"{i},{c},O,400\n" for i, c in enumerate(cells))
        path.write_text("Tag,Chromophore,Solvent,Emission max (nm)\n" + rows)
        return load_chromophores(path, target="emission_solvent")
    header = ["BindingDB Reactant_set_id", "Ligand SMILES", "IC50 (nM)",
              "BindingDB Target Chain Sequence",
              "UniProt (SwissProt) Primary ID of Target Chain"]  # fmt: skip
    rows = "".join(f"{i}\t{c}\t10\tM\tQ99572\n" for i, c in enumerate(cells))
    path.write_text("\t".join(header) + "\n" + rows)
    return load_bindingdb(path, min_atoms=None, max_atoms=None, progress=False)


@pytest.mark.parametrize("kind", ["csv", "tox21", "chromophores", "bindingdb"])
def test_every_loader_refuses_and_counts_alike(tmp_path, kind):
    # A comma would part cells of some of the files.
    cells = ["CCN", "CC OC", "\u0421CO", "OCC |r|", "c1ccccc1 |w:1.0|"]
    table = loaded(kind, tmp_path / "t.csv", cells)
    assert table.canonical == ("CCN", "CCO", "c1ccccc1")
    assert table.smiles == ("CCN", "OCC", "c1ccccc1")
    refused = {smiles: why for _, smiles, why in table.report.refused}
    assert set(refused) == {"CC OC", "\u0421CO"}
    assert all(why.startswith("not a SMILES: ") for why in refused.values())
    assert table.report.left_out["not a SMILES"] == 2
    (note,) = [n for n in table.report.notes if "extension" in n]
    assert note.startswith("2 rows have an extension behind the SMILES (such as '|r|')")


# --- numbers ------------------------------------------------------------------------------------

MISSING = ["", " ", "NaN", "NA", "n/a", "#N/A", "#VALUE!", "#DIV/0!", "#REF!", "#NAME?", "#NUM!",
           "#NULL!", "#NV", "#WERT!", "nd", "N.D.", "n.d", "-", "--", "\u2013", "NULL", "None",
           "<NA>", "not determined", "?", "."]  # fmt: skip


@pytest.mark.parametrize("cell", MISSING)
def test_what_spreadsheets_write_for_missing(cell):
    assert is_missing(cell)
    assert math.isnan(read_cell(cell).value)
    assert read_cell(cell).why == ""
    assert read_molecule(cell) == (None, "blank SMILES")


@pytest.mark.parametrize("cell", ["0", "-1", "N", "#5", "C", "I", "active", "no", "#"])
def test_what_is_not_missing(cell):
    assert not is_missing(cell)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("1,036", "with a comma; write it with a point, and thousands together"),
        ("-4,14", "with a comma"),
        ("1,234,567", "with a comma"),
        ("1,036.5", "with a comma"),
        ("1.234,5", "with a comma"),
        (">100", "a bound and not a measured value"),
        ("<= 0.1", "a bound and not a measured value"),
        ("\u226510", "a bound and not a measured value"),
        ("~5", "an approximate value"),
        ("10%", "not a finite number: write the number alone, without its unit, its error or a"),
        ("4.5 \u00b1 0.3", "not a finite number: write the number alone"),
        ("4.5+/-0.3", "not a finite number: write the number alone"),
        ("3.2 uM", "not a finite number: write the number alone"),
        ("1 mg/ml", "not a finite number: write the number alone"),
        ("1e39", "larger than 3e+38"),
        ("5-Jan", "not a finite number"),
        ("1_0", "not a finite number"),
        ("inf", "not a finite number"),
        ("0x10", "not a finite number"),
    ],
)  # fmt: skip
def test_a_cell_that_is_no_number_says_what_to_write(cell, said):
    found = read_cell(cell)
    assert math.isnan(found.value)
    assert found.why.startswith(f"is {cell!r}, ")
    assert said in found.why


@given(st.floats(-1e38, 1e38))
def test_every_float_is_read_as_it_is_written(value):
    for text in (repr(value), f" {value:.17g} ", f"{value:e}"):
        assert read_cell(text).value == float(text)
        assert parse_value(text) == ("", float(text))


@pytest.mark.parametrize("cell", ["-0", "-0.00", "-0e3"])
def test_zero_has_no_sign(cell):
    assert math.copysign(1, read_cell(cell).value) == 1


@pytest.mark.parametrize("minus", "-\u2010\u2011\u2012\u2013\u2212")
def test_a_minus_sign_may_be_a_printed_one(minus):
    assert read_cell(f" {minus}4.5e{minus}1").value == -0.45
    assert parse_value(f"> {minus}2") == (">", -2)
    assert has_decimal_commas([f"{minus}4,14"], separator=";")
    assert "write it with a point" in read_cell(f"{minus}1,036").why
    assert math.isnan(read_cell(f"3{minus}5").value)  # a range
    assert math.isnan(read_cell(minus).value)
    assert not read_cell("\u2013").why


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_decimal_comma_is_one_only_without_doubt(separator):
    def found(*cells):
        assert not has_decimal_commas(cells, separator=",")
        return has_decimal_commas(cells, separator=separator)

    assert found("-4,14", "5", "n.d.")
    assert not found("1,036", "107")
    assert not found("1,0", "2.5")
    assert not found("1,234,567", "1,5")
    assert not found()
    assert found("1,5e-3", "2")
    assert found("ca. 3", "4,25", ">1,5")
    assert found("-0,123", "1,036")  # no thousands begin with 0
    assert not found("10,123", "1,036")
    assert not found("1.036,5", "0.250")  # nor do they here: the point is the decimal mark


@pytest.mark.parametrize("separator", [";", ","])
def test_columns_with_points_keep_them_where_the_table_is_said_to_have_commas(separator):
    def found(*cells):
        return has_decimal_commas(cells, separator=separator, said=True)

    assert found("6,820", "1.500")
    assert found("5")
    assert found("1.036", "2.000")
    assert not found("7.125", "3.5")
    assert not found("0.250", "7.125")
    assert found("7,5", "3.5")
    assert [with_decimal_point(cell) for cell in ("0.250", "1.036")] == ["0.250", "1036"]
