"""SDF and Parquet files are tables like any other: a row for each record, none lost."""

from __future__ import annotations

import gzip

import pytest
from rdkit import Chem

from dgl_gmpool.cli.molecule_rows import MoleculeRows
from dgl_gmpool.data import load_csv
from dgl_gmpool.data.delimited_text import DelimitedText

BAD_VALENCE = """bad
     RDKit          2D

  6  5  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0
    1.0000    0.0000    0.0000 C   0  0
   -1.0000    0.0000    0.0000 C   0  0
    0.0000    1.0000    0.0000 C   0  0
    0.0000   -1.0000    0.0000 C   0  0
    1.0000    1.0000    0.0000 C   0  0
  1  2  1  0
  1  3  1  0
  1  4  1  0
  1  5  1  0
  1  6  1  0
M  END
"""


def record(structure, name="", **properties):
    mol = Chem.MolFromSmiles(structure)
    mol.SetProp("_Name", name)
    text = Chem.MolToMolBlock(mol)
    for key, value in properties.items():
        text += f"> <{key}>\n{value}\n\n"
    return text + "$$$$\n"


def table(path):
    found = DelimitedText(path, columns=["smiles"])
    return found.header, [dict(zip(found.header, row.cells)) for row in found]


def test_a_row_for_each_record(tmp_path):
    text = record("CCO", "ethanol", pIC50="5.5", note='a "quote", a comma\nand a line')
    text += record("C[C@H](N)O", "chiral", smiles="x", pIC50="6")
    (tmp_path / "t.sdf").write_text(text)
    header, rows = table(tmp_path / "t.sdf")
    assert header == ["smiles", "name", "pIC50", "note", "smiles (property)"]
    assert [row["smiles"] for row in rows] == ["CCO", Chem.CanonSmiles("C[C@H](N)O")]
    assert [row["name"] for row in rows] == ["ethanol", "chiral"]
    assert [row["pIC50"] for row in rows] == ["5.5", "6"]
    assert rows[0]["note"] == 'a "quote", a comma and a line'
    assert [row["smiles (property)"] for row in rows] == ["", "x"]
    (tmp_path / "t.sdf.gz").write_bytes(gzip.compress(text.encode()))
    assert table(tmp_path / "t.sdf.gz") == (header, rows)


def test_nobody_chose_a_separator_of_structures(tmp_path):
    path = tmp_path / "t.sdf"
    path.write_text(record("CCO", "a", logS="1"))
    with pytest.raises(ValueError, match=r"^(?!.*separated by).*no column 'logs'"):
        DelimitedText(path, columns=["logs"]).column("logs")


def test_records_that_are_refused_keep_their_place(tmp_path):
    empty = "none\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n"
    text = record("CCO") + BAD_VALENCE + "$$$$\n" + "no structure\n$$$$\n" + empty + "$$$$\n"
    text += record("CC").removesuffix("$$$$\n")
    (tmp_path / "t.sdf").write_text(text)
    _, rows = table(tmp_path / "t.sdf")
    assert [row["smiles"] for row in rows] == ["CCO", "", "", "", "CC"]
    assert "valence" in rows[1]["refused"]
    assert "no structure" in rows[2]["refused"]
    assert "no atoms" in rows[3]["refused"]


def test_what_rdkit_says_of_a_record_is_the_reason(tmp_path):
    text = record("CCO", y="1") + BAD_VALENCE + "> <y>\n2\n\n$$$$\n" + record("CCN", y="3")
    (tmp_path / "t.sdf").write_text(text)
    report = load_csv(tmp_path / "t.sdf", smiles_column="smiles", target_columns=["y"]).report
    assert report.left_out["refused by RDKit"] == 1
    ((row, _, why),) = report.refused
    assert row == "row 3"
    assert "valence" in why
    found = list(MoleculeRows(str(tmp_path / "t.sdf"), "smiles"))
    assert ["valence" in each.wrong for each in found] == [False, True, False]


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file_of_structures(tmp_path, text):
    (tmp_path / "t.sdf").write_text(text)
    assert table(tmp_path / "t.sdf") == (["smiles", "name"], [])


def test_training_takes_them_too(tmp_path):
    smiles = ["CCO", "CCN", "CCC", "CCS"]
    text = "".join(record(s, pIC50=str(5 + i)) for i, s in enumerate(smiles))
    (tmp_path / "t.sdf").write_text(text)
    found = load_csv(tmp_path / "t.sdf", smiles_column="smiles", target_columns=["pIC50"])
    assert found.targets[:, 0].tolist() == [5, 6, 7, 8]


def test_parquet_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="pip install pyarrow, or save the table as CSV"):
        DelimitedText(tmp_path / "t.parquet")


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"name": ["a, b", None, "c\nd"], "smiles": ["CCO", "", "CC"], "y": [1.5, None, 3.0]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    header, rows = table(tmp_path / "t.parquet")
    assert header == ["name", "smiles", "y"]
    assert [list(row.values()) for row in rows] == [
        ["a, b", "CCO", "1.5"], ["", "", ""], ["c d", "CC", "3.0"],
    ]  # fmt: skip
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(ValueError, match="cannot be read as a Parquet table"):
        DelimitedText(tmp_path / "torn.parquet")
