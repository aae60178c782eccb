"""Tox21, chromophores, any CSV and RDKit's sodium-channel set: what is kept, what is said."""

from __future__ import annotations

import csv
import gzip
import json
import math
from functools import partial

import numpy as np
import pytest

from dgl_gmpool.data import (
    MoleculeTable,
    load_chromophores,
    load_csv,
    load_sodium_channel,
    load_tox21,
    sodium_channel,
)
from dgl_gmpool.data.chromophores import SOLVENT_DESCRIPTORS
from dgl_gmpool.data.report import SelectionReport, SelectionTally
from dgl_gmpool.data.tox21 import TOX21_TASKS

EICOSANE = "C" * 20


def write(path, text: str):
    data = text.encode("utf-8")
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


# --- Tox21 --------------------------------------------------------------------------------------


def tox21_file(path, rows):
    """``rows``: (labels as a string of 0, 1 and '-', id, SMILES)."""
    lines = [",".join([*TOX21_TASKS, "mol_id", "smiles"])]
    for labels, name, smiles in rows:
        cells = ["" if label == "-" else label for label in labels.ljust(12, "-")]
        lines.append(",".join([*cells, name, smiles]))
    return write(path, "\n".join(lines) + "\n")


TOX21_ROWS = [
    ("0-1", "positive", EICOSANE),
    ("0-0", "negative", EICOSANE + "O"),
    ("---", "unmeasured", EICOSANE + "N"),
    ("1", "salt", EICOSANE + ".Cl"),
    ("1", "small", "C" * 19),
    ("1", "forty", "C" * 40),
    ("1", "large", "C" * 41),
    ("1", "aluminium", "C" * 20 + "O[AlH3](O)O"),
    ("1", "broken", "C1CC"),
    ("1", "blank", ""),
]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_tox21_selects_as_the_paper_and_names_the_refused(tmp_path, name):
    table = load_tox21(tox21_file(tmp_path / name, TOX21_ROWS))
    assert table.ids == ("positive", "negative", "forty")
    np.testing.assert_array_equal(table.targets, [[1], [0], [1]])
    assert table.report.counts == (
        ("rows in the file", 10),
        ("left out: blank SMILES", 1),
        ("left out: not a SMILES", 1),
        ("left out: more than one fragment", 1),
        ("left out: fewer than 20 heavy atoms", 1),
        ("left out: more than 40 heavy atoms", 1),
        ("selected: one fragment, 20 to 40 heavy atoms", 5),
        ("left out: no assay was measured", 1),
        ("left out: refused by RDKit", 1),
        ("molecules with a label that can be featurised", 3),
    )
    refused = {row: reason for row, _, reason in table.report.refused}
    assert set(refused) == {"broken", "aluminium"}
    assert "Al" in refused["aluminium"]
    assert "aluminium" in str(table.report)
    assert json.loads(json.dumps(table.report.to_dict()))["counts"][0] == ["rows in the file", 10]


def test_tox21_multitask_keeps_blanks_as_nan(tmp_path):
    table = load_tox21(tox21_file(tmp_path / "t.csv", TOX21_ROWS), multitask=True)
    assert table.task_names == TOX21_TASKS
    np.testing.assert_array_equal(table.targets[0], [0, math.nan, 1] + [math.nan] * 9)


def test_tox21_limits_can_be_lifted(tmp_path):
    table = load_tox21(tox21_file(tmp_path / "t.csv", TOX21_ROWS), min_atoms=None, max_atoms=None)
    assert {"small", "large"} < set(table.ids)
    assert "salt" not in table.ids


def test_tox21_without_a_usable_row_says_why(tmp_path):
    path = tox21_file(tmp_path / "t.csv", [row for row in TOX21_ROWS if row[1] != "forty"][2:])
    with pytest.raises(ValueError, match=r"t\.csv has no usable row:(.|\n)*more than one fragment"):
        load_tox21(path)


@pytest.mark.parametrize("label", ["2", "x", "0.5", "-1"])
def test_tox21_refuses_labels_that_are_none(tmp_path, label):
    path = tox21_file(tmp_path / "t.csv", [("0", "a", EICOSANE)])
    path.write_text(path.read_text().replace("\n0,", f"\n{label},"))
    with pytest.raises(ValueError, match=rf"row 2, NR-AR: '{label}' is not 0, 1 or blank"):
        load_tox21(path)


def test_tox21_comes_from_dgls_download_folder(tmp_path, monkeypatch):
    tox21_file(tmp_path / "tox21.csv.gz", TOX21_ROWS)
    monkeypatch.setenv("DGL_DOWNLOAD_DIR", str(tmp_path))
    assert len(load_tox21()) == 3


def test_tox21_without_a_network_says_what_to_do_and_leaves_no_file(tmp_path, monkeypatch):
    import dgl.data.utils

    def download(url, path, **_):
        with open(path, "w") as file:
            file.write("half a file")
        raise OSError("no route to host")

    monkeypatch.setattr(dgl.data.utils, "download", download)
    monkeypatch.setenv("DGL_DOWNLOAD_DIR", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"no route to host.*--data PATH"):
        load_tox21()
    assert list(tmp_path.iterdir()) == []


# --- any CSV ------------------------------------------------------------------------------------

CSV_ROWS = """smiles,pIC50,batch,name
CCO,5.1,A,ethanol
OCC,5.3,B,ethanol again
,6.0,A,no smiles
NaN,6.0,A,nan smiles
C1CC,6.0,A,open ring
c1cccc1,6.0,A,no kekule form
CCN,,A,no value
CCN,n/a,A,no value either
CCN,six,A,a word
CCN,inf,A,infinite
CCN,1_0,A,an underscore
CCN,7

[Na+].[Cl-],4,,salt
C,3.5,,methane
"""


def load(path, **options):
    options = {"smiles_column": "smiles", "target_columns": "pIC50", **options}
    return load_csv(path, **options)


@pytest.mark.parametrize("name", ["m.csv", "m.csv.gz"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_skips_are_reported_by_row_value_and_reason(tmp_path, name, mark):
    table = load(write(tmp_path / name, mark + CSV_ROWS))
    assert table.ids == ("2", "3", "15", "16")
    assert table.canonical == ("CCO", "CCO", "[Cl-].[Na+]", "C")
    np.testing.assert_allclose(table.targets[:, 0], [5.1, 5.3, 4, 3.5], rtol=1e-6)
    assert (table.kind, table.name) == ("regression", "m")
    assert table.groups == table.canonical
    said = {row: (smiles, reason) for row, smiles, reason in table.report.refused}
    assert set(said) == {f"row {n}" for n in range(4, 14)}
    assert said["row 6"] == ("C1CC", "not a SMILES")
    assert "kekulize" in said["row 7"][1]
    assert said["row 10"] == ("CCN", "target 'pIC50' is 'six', not a finite number")
    assert said["row 13"][1] == "2 cells where the header has 4"
    assert table.report.left_out["blank row"] == 1
    assert sum(table.report.left_out.values()) + len(table) == table.report.rows_read == 15


def test_csv_strict_stops_at_the_first_bad_row(tmp_path):
    with pytest.raises(ValueError, match=r"m\.csv, row 4: blank SMILES.*strict=False"):
        load(write(tmp_path / "m.csv", CSV_ROWS), strict=True)


def test_csv_groups_and_ids(tmp_path):
    path = write(tmp_path / "m.csv", CSV_ROWS)
    table = load(path, group_column="batch", id_column="name")
    assert table.ids[0] == "ethanol"
    assert table.groups == ("group A", "group B", "[Cl-].[Na+]", "C")
    assert "2 rows have a blank 'batch'" in table.report.notes[0]


def test_csv_limits(tmp_path):
    table = load(write(tmp_path / "m.csv", CSV_ROWS), min_atoms=2, one_fragment=True)
    assert table.canonical == ("CCO", "CCO")
    assert table.report.counts[-1] == ("selected: one fragment, at least 2 heavy atoms", 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smiles_column": "Smile"}, "no column 'Smile'. Did you mean 'smiles'"),
        ({"target_columns": ["pIC5"]}, "no column 'pIC5'. Did you mean 'pIC50'"),
        ({"group_column": "batsch"}, "Did you mean 'batch'"),
        ({"id_column": "zzz"}, "no column 'zzz'. Columns: smiles, pIC50, batch, name"),
        ({"target_columns": []}, "target_columns is empty"),
        ({"target_columns": ["pIC50", "pIC50"]}, "more than once"),
        ({"target_columns": "smiles"}, "more than once"),
        ({"kind": "regresion"}, "Did you mean 'regression'"),
        ({"kind": "classification"}, "classification targets are 0, 1 or NaN; id '2' has 5.1"),
    ],
)
def test_csv_misspelt_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path / "m.csv", CSV_ROWS), **options)


@pytest.mark.parametrize(("values", "kind"), [("01-1", "classification"), ("0112", "regression")])
def test_csv_infers_the_kind(tmp_path, values, kind):
    rows = "".join(f"C{'C' * i},{v if v != '-' else ''},1\n" for i, v in enumerate(values))
    path = write(tmp_path / "m.csv", "smiles,a,b\n" + rows)
    table = load(path, target_columns=["a", "b"])
    assert table.kind == kind
    assert np.isnan(table.targets[2, 0]) == ("-" in values)


def test_csv_several_targets_leave_out_only_rows_without_any(tmp_path):
    path = write(tmp_path / "m.csv", "smiles,a,b\nC,1,\nCC,,\nCCC,,2\n")
    table = load(path, target_columns=["a", "b"])
    np.testing.assert_array_equal(table.targets, [[1, math.nan], [math.nan, 2]])
    assert table.report.refused == (("row 3", "CC", "all 2 targets are blank"),)


def test_csv_quoted_cells_and_tabs(tmp_path):
    quoted = write(tmp_path / "m.csv", 'smiles,pIC50,"a, ""b"""\n"C",1,"two\nlines"\nCC,2,x\n')
    assert load(quoted).ids == ("2", "3")
    tabbed = write(tmp_path / "m.tsv", "smiles\tpIC50\nC\t1\n")
    assert len(load(tabbed)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header"),
        (b"\n\n", "no header"),
        (b"smiles,pIC50\n", "no usable row"),
        (b"smiles,pIC50\nC1CC,5\n", r"no usable row(.|\n)*row 2"),
        (b"smiles,pIC50,pIC50\nC,5,6\n", "2 columns named 'pIC50'"),
        (b"smiles,pIC50,name\nC,5,\xb5M\n", "not UTF-8"),
        (b"PK\x03\x04\xff\xfe", "not UTF-8"),
    ],
)
def test_csv_files_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(path)


def test_a_table_without_a_usable_row_names_the_first_of_many(tmp_path):
    """It printed every row of the file."""
    path = write(tmp_path / "m.csv", "smiles,pIC50\n" + "C1CC,5\n" * 1000)
    with pytest.raises(ValueError, match="no usable row") as caught:
        load(path)
    assert str(caught.value).splitlines()[-2:] == [
        "  refused row 21: 'C1CC': not a SMILES",
        "  ... and 980 more",
    ]


@pytest.mark.parametrize("separator", list(",;\t|"))
@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.txt"])
def test_separators_are_recognised_by_the_columns(tmp_path, separator, name):
    header = separator.join(["smiles", '"mol/l; 25, | deg"' if separator != "\t" else "mol/l", "y"])
    row = separator.join(["C", "x", "5.1"])
    path = write(tmp_path / name, f"{header}\n{row}\n")
    assert load(path, target_columns="y").targets.tolist() == [[5.1]]
    assert load(path, target_columns="y", delimiter=separator).ids == ("2",)
    with pytest.raises(ValueError, match=r"no column 'z'.*Columns: smiles, "):
        load(path, target_columns="z")


def test_a_separator_that_was_given_is_named_where_it_does_not_fit(tmp_path):
    path = write(tmp_path / "m.csv", "smiles;pIC50\nC;5.1\n")
    with pytest.raises(ValueError, match="read as separated by ','"):
        load(path, delimiter=",")


def test_repeated_columns_that_are_not_used_do_not_matter(tmp_path):
    assert len(load(write(tmp_path / "m.csv", "smiles,x,x,pIC50\nC,1,2,3\n"))) == 1


def test_torn_and_missing_files(tmp_path):
    path = write(tmp_path / "m.csv.gz", CSV_ROWS * 50)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="not a complete gzip file"):
        load(path)
    path.write_bytes(CSV_ROWS.encode())
    assert len(load(path)) == 4  # unpacked on the way, the name kept
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match="is a folder"):
        load(tmp_path)


# --- chromophores -------------------------------------------------------------------------------

HOST = "c1ccc(-c2ccccc2-n2c3ccccc3c3ccccc32)cc1"  # 25 heavy atoms
CHROMOPHORES = f"""\ufeffTag,Chromophore,Solvent,Emission max (nm),Quantum yield
1,c1ccc2ccccc2c1,CCO,400,0.2
2,c1ccc2ccccc2c1,OCC,410,NaN
3,c1ccc2ccccc2c1,CC#N,390,NaN
4,c1ccc2ccccc2c1,c1ccc2ccccc2c1,450,0.5
5,c1ccc2ccccc2c1,C1=CC=C2C=CC=CC2=C1,470,0.7
6,Oc1ccccc1,{HOST},350,NaN
7,Oc1ccccc1,gas,300,0.1
8,Oc1ccccc1,CCO,,0.3
9,Oc1ccccc1,{HOST},340,0.9
10,Oc1ccccc1,O,long,0.3
"""


def test_films_are_neat_solids_and_hosts(tmp_path):
    path = write(tmp_path / "c.csv", CHROMOPHORES)
    emission = load_chromophores(path, target="emission_film")
    assert emission.canonical == ("c1ccc2ccccc2c1", "Oc1ccccc1")
    np.testing.assert_array_equal(emission.targets, [[460], [345]])
    assert emission.global_feats is None
    assert emission.units == "nm"
    assert emission.report.left_out == {
        "solvent is not a molecule": 1,
        "measured in a solvent": 5,
        "more measurements of one molecule (median)": 2,
    }
    plqy = load_chromophores(path)
    np.testing.assert_allclose(plqy.targets, [[0.6], [0.9]], rtol=1e-6)


def test_chromophores_saved_with_decimal_commas(tmp_path):
    text = CHROMOPHORES.replace(",", ";").replace("0.", "0,").replace("340", "340,5")
    path = write(tmp_path / "c.csv", text)
    np.testing.assert_allclose(load_chromophores(path).targets, [[0.6], [0.9]])
    emission = load_chromophores(path, target="emission_film")
    np.testing.assert_array_equal(emission.targets, [[460], [345.25]])


def test_solvents_enter_as_descriptors_and_molecules_as_groups(tmp_path):
    table = load_chromophores(write(tmp_path / "c.csv", CHROMOPHORES), target="emission_solvent")
    assert table.ids == ("1", "3")
    assert len(set(table.groups)) == 1
    np.testing.assert_array_equal(table.targets, [[405], [390]])
    assert table.global_feats.shape == (2, len(SOLVENT_DESCRIPTORS))
    assert not np.array_equal(table.global_feats[0], table.global_feats[1])
    assert table.report.refused == (
        ("10", "Oc1ccccc1", "'Emission max (nm)' is 'long', not a finite number"),
    )
    left_out = table.report.left_out
    assert sum(left_out.values()) + len(table) == table.report.rows_read


def test_chromophore_mistakes(tmp_path):
    path = write(tmp_path / "c.csv", CHROMOPHORES)
    with pytest.raises(ValueError, match="Did you mean 'emission_film'"):
        load_chromophores(path, target="emission_films")
    with pytest.raises(ValueError, match="no usable row"):
        load_chromophores(path, target="emission_film", min_atoms=50)
    write(path, CHROMOPHORES.replace("Quantum yield", "QY"))
    with pytest.raises(ValueError, match="no column 'Quantum yield'"):
        load_chromophores(path)


# --- sodium channel -----------------------------------------------------------------------------


def test_sodium_channel_has_its_published_size():
    table = load_sodium_channel()
    assert len(table) == table.report.rows_read == 1017
    assert np.isfinite(table.targets).all()
    assert 4 < table.targets.min() < table.targets.max() < 10


def test_without_rdkits_folder_the_error_names_the_other_command(tmp_path, monkeypatch):
    monkeypatch.setattr(sodium_channel, "_contrib_folder", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match=r"dgl-gmpool train csv --csv YOUR\.csv"):
        load_sodium_channel()


# --- tables and reports -------------------------------------------------------------------------


def table(**changes) -> MoleculeTable:
    values = {
        "name": "t",
        "kind": "regression",
        "task_names": ("y",),
        "ids": ("1", "2"),
        "smiles": ("OCC", "C"),
        "canonical": ("CCO", "C"),
        "groups": ("CCO", "C"),
        "targets": np.array([[1], [2]], np.float32),
        "global_feats": np.array([[0], [1]], np.float32),
        "report": SelectionReport("t", (("rows", 2),)),
    }
    return MoleculeTable(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smiles": ("C",)}, "smiles has 1 rows where ids has 2"),
        ({"canonical": ("CCO", "")}, "canonical is empty in row 1"),
        ({"targets": np.zeros((2, 2), np.float32)}, r"expected \(rows, tasks\) = \(2, 1\)"),
        ({"targets": np.zeros((2, 1), np.int64)}, "float64"),
        ({"targets": np.array([[1], [np.inf]], np.float32)}, "infinite"),
        ({"kind": "ranking"}, "kind"),
        ({"kind": "classification"}, "id '2' has 2 for 'y'"),
        ({"global_feats": np.zeros((3, 1), np.float32)}, "global_feats"),
        ({"global_feats": np.array([[0], [np.nan]], np.float32)}, "finite"),
    ],
)
def test_tables_check_themselves(changes, message):
    with pytest.raises(ValueError, match=message):
        table(**changes)


def test_take_keeps_rows_aligned_and_changes_the_fingerprint():
    whole = table()
    part = whole.take([1])
    assert (part.ids, part.smiles, part.targets[0, 0], part.global_feats[0, 0]) == (
        ("2",),
        ("C",),
        2,
        1,
    )
    assert whole.take([0, 1]).fingerprint() == whole.fingerprint()
    assert whole.take([1, 0]).fingerprint() != whole.fingerprint()


def test_a_report_that_does_not_add_up_is_never_made():
    tally = SelectionTally("t", rows=3)
    tally.leave_out("a")
    with pytest.raises(RuntimeError, match="does not add up"):
        tally.finish("kept", 3)


def test_reports_go_on():
    report = SelectionReport("t", (("rows", 5),)).then([("x", 2)], [("1", "C", "x")], "kept")
    assert report.counts == (("rows", 5), ("left out: x", 2), ("kept", 3))
    assert report.rows_kept == 3
    assert report.refused == (("1", "C", "x"),)


def test_a_column_of_another_name_or_named_twice_says_which_flag(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("structure,y\nCC,1\nCCO,2\n")
    with pytest.raises(
        ValueError, match=r"no column 'smiles'\. Name the column of the molecules wi"
    ):
        load_csv(path, smiles_column="smiles", target_columns="y")
    with pytest.raises(
        ValueError,
        match=r"'y' is named more than once; .*feature_columns, --feature-columns",
    ):
        load_csv(path, smiles_column="structure", target_columns="y", feature_columns=["y"])


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_decimal_commas_in_every_column_of_numbers(tmp_path, separator):
    text = "smiles;y;w;year;pH\nC;1,5;0,5;2000,5;7,4\nCC;2;1;1999,25;5\n"
    (tmp_path / "t.csv").write_text(text.replace(";", separator))
    table = load_csv(
        tmp_path / "t.csv",
        smiles_column="smiles",
        target_columns="y",
        weight_column="w",
        split_column="year",
        feature_columns=["pH"],
    )
    assert table.features[0].values[:, 0].tolist() == pytest.approx([7.4, 5])
    assert table.targets[:, 0].tolist() == [1.5, 2]
    assert table.weights.tolist() == [0.5, 1]
    assert table.split_values == ("2000.5", "1999.25")


@pytest.mark.parametrize("separator", [";", ","])
def test_decimal_commas_that_are_said_to_be_some(tmp_path, separator):
    """Three digits behind each, or a table with commas between its cells, leave a doubt."""
    lines = [
        ("smiles", "y", "pH", "w"),
        ("C", "6,820", "7,400", "1.125"),
        ("CC", "1,500", "5", "2.5"),
    ]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(lines)
    read = partial(
        load_csv,
        tmp_path / "t.csv",
        smiles_column="smiles",
        target_columns="y",
        feature_columns=["pH"],
        weight_column="w",
    )
    table = read(decimal_comma=True)
    assert table.weights.tolist() == [1.125, 2.5]  # of a column with points
    assert table.targets[:, 0].tolist() == [6.82, 1.5]
    assert table.features[0].values[:, 0].tolist() == pytest.approx([7.4, 5])
    with pytest.raises(ValueError, match="no usable row"):
        read()
