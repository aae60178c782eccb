"""What a table of one's own loses cell by cell, and what its report says aloud."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dgl_gmpool.data import load_csv


def csv(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def load(path, targets="y", **options):
    return load_csv(path, smiles_column="smiles", target_columns=targets, **options)


def note(table, word):
    """The one note with a word in it."""
    (found,) = [each for each in table.report.notes if word in each]
    return found


def test_a_bad_cell_costs_a_cell(tmp_path):
    path = csv(
        tmp_path / "m.csv", "smiles,a,b",
        "C,1,#N/A", "CC,2,>10", "CCC,3,30", "CCCC,4,about 5", "CCCCC,x,y", "CO,,n.d.", "CC#N,-,9",
    )  # fmt: skip
    table = load(path, ["a", "b"])
    nan = math.nan
    np.testing.assert_array_equal(table.targets, [[1, nan], [2, nan], [3, 30], [4, nan], [nan, 9]])
    assert table.report.cells == (
        ("row 3", "CC", "target 'b' is '>10', a bound and not a measured value"),
        ("row 5", "CCCC", "target 'b' is 'about 5', not a finite number"),
    )
    both = "target 'a' is 'x', not a finite number; target 'b' is 'y', not a finite number"
    assert table.report.refused == (
        ("row 6", "CCCCC", both),
        ("row 7", "CO", "all 2 targets are blank"),
    )
    assert "cell left out, row 5: 'CCCC': target 'b' is 'about 5'" in str(table.report)
    assert table.report.to_dict()["cells"][0]["id"] == "row 3"
    assert note(table, "bound").startswith("1 values are bounds")
    with pytest.raises(ValueError, match=r"row 3: target 'b' is '>10'"):
        load(path, ["a", "b"], strict=True)


def test_bounds_and_commas_are_no_random_part(tmp_path):
    path = csv(tmp_path / "m.csv", "smiles,y", "C,5", "CC,10", "CCC,>100", "CO,<0.1", 'CN,"1,036"')
    table = load(path)
    assert table.targets.tolist() == [[5], [10]]
    assert note(table, "--bounds use").startswith("2 values are bounds such as '>100' and left out")
    assert note(table, "comma").startswith("1 values are left out because they are written with")
    table = load(path, bounds="as_measured")
    assert table.targets.tolist() == [[5], [10], [100], [0.1]]
    assert "2 values are bounds used as if they had been measured" in table.report.notes
    with pytest.raises(ValueError, match="Did you mean 'drop'"):
        load(path, bounds="dropp")


def test_decimal_commas_between_semicolons(tmp_path):
    path = csv(tmp_path / "m.csv", "smiles;y;z", "C;-4,14;>1,5", "CC;3;2", "CCC;1,036;1")
    table = load(path, ["y", "z"], bounds="as_measured")
    assert table.targets.tolist() == [[-4.14, 1.5], [3, 2], [1.036, 1]]
    assert note(table, "'y' is read with a decimal comma")
    path = csv(tmp_path / "m.csv", "smiles;y;z", "C;1.036,5;1,5", "CC;2.000;2.5", "CCC;12,25;2.500")
    table = load(path, ["y", "z"])
    assert table.targets[:, 0].tolist() == [1036.5, 2000, 12.25]
    assert table.targets[1:, 1].tolist() == [2.5, 2.5]  # points and a comma: the comma is told
    path = csv(tmp_path / "m.csv", "smiles;y", "C;107", "CC;1,036")
    assert load(path).targets.tolist() == [[107]]  # thousands or decimal: who knows


@pytest.mark.parametrize(
    ("positive", "negative"),
    [
        ("active", "inactive"),
        ("True", "False"),
        ("yes", "no"),
        ("Y", "N"),
        ("POSITIVE", "negative"),
    ],
)
def test_words_for_classes(tmp_path, positive, negative):
    path = csv(
        tmp_path / "m.csv", "smiles,y", f"C,{positive}", f"CC, {negative}", "CN,", "CO,maybe"
    )
    table = load(path)
    assert (table.kind, table.targets.tolist()) == ("classification", [[1], [0]])
    assert f"{positive.lower()!r} as 1" in note(table, "target 'y'")
    assert table.report.refused[-1][2] == "target 'y' is 'maybe', not a finite number"
    assert load(path, kind="classification").targets.tolist() == [[1], [0]]
    with pytest.raises(ValueError, match="no usable row"):
        load(path, kind="regression")


def test_words_in_a_column_of_numbers_are_no_classes(tmp_path):
    path = csv(tmp_path / "m.csv", "smiles,y", "C,5.5", "CC,inactive", "CCC,4.5")
    assert load(path).targets.tolist() == [[5.5], [4.5]]
    path = csv(tmp_path / "m.csv", "smiles,y", "C,1", "CC,inactive", "CCC,active")
    assert load(path).targets.tolist() == [[1], [0], [1]]


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ("-1 1 1 -1", None, "'y' holds only the values -1, 1 and is trained as a regression"),
        ("1 2 2 1", None, "'y' holds only the values 1, 2 and is trained as a regression"),
        ("0 1 2 0", None, "'y' holds only the values 0, 1, 2 and is trained as a regression"),
        ("1 2 3 4 " * 5, None, "'y' holds only 4 whole numbers (1, 2, 3, ...) and is trained as a"),
        ("1 30 2e3 4e4 5e6 " * 4, None, "'y' is above 0 and spans a factor of 5e+06"),
        ("0 1 1 0", None, "classification, as every value is 0 or 1; kind='regression' (--kind"),
        ("1 1 1 1", None, "every label of 'y' is 1: there is nothing to tell apart"),
        ("2 2 2 2", None, "every value of 'y' is 2: there is nothing to tell apart"),
        ("1 1 1 1", "classification", "every label of 'y' is 1: there is nothing to tell apart"),
    ],
)
def test_a_guess_is_said_aloud(tmp_path, values, kind, said):
    rows = [f"{'C' * i},{value}" for i, value in enumerate(values.split(), start=1)]
    table = load(csv(tmp_path / "m.csv", "smiles,y", *rows), kind=kind)
    assert note(table, said)


@pytest.mark.parametrize("values", ["1 2 3 4 " * 3, "1 2.5 3 4 " * 5, "1.5 30 200 400 " * 5])
def test_measured_numbers_are_not_taken_for_anything_else(tmp_path, values):
    rows = [f"{'C' * i},{value}" for i, value in enumerate(values.split(), start=1)]
    table = load(csv(tmp_path / "m.csv", "smiles,y", *rows))
    assert not any("trained as a" in each or "spans" in each for each in table.report.notes)


def test_targets_of_different_kinds_are_named(tmp_path):
    path = csv(tmp_path / "m.csv", "smiles,y,z", "C,0,1.5", "CC,1,2.5", "CCC,0,3.5")
    table = load(path, ["y", "z"])
    assert note(table, "'y' holds only 0 and 1 and is a classification beside the others")
    assert (table.kind, table.kinds) == ("mixed", ("classification", "regression"))
    assert load(path, ["y", "z"], kind="regression").kind == "regression"
    with pytest.raises(ValueError, match=r"Write 0 and 1 .*--kind regression"):
        load(path, ["y", "z"], kind="classification")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("0 1 0 0", "4 rows are 2 molecules; 1 of them have contradicting labels on their rows"),
        ("0 0 1 1", "4 rows are 2 molecules"),
        ("5.1 5.3 2 2", "4 rows are 2 molecules; 1 of them have different values on their rows"),
    ],
)
def test_repeats_and_contradictions_are_counted(tmp_path, values, said):
    rows = [f"{smiles},{v}" for smiles, v in zip(["CCO", "OCC", "C", "[CH4]"], values.split())]
    assert said in load(csv(tmp_path / "m.csv", "smiles,y", *rows)).report.notes


def test_large_targets_that_differ_little_stay_different(tmp_path):
    values = [-25_000_000 + 0.37 * i for i in range(20)] + [1e8 + 0.5]
    table = load(csv(tmp_path / "m.csv", "smiles,y", *(f"C,{value!r}" for value in values)))
    assert table.targets.dtype == np.float64
    assert table.targets[:, 0].tolist() == values
    assert table.take([1, 0]).targets[:, 0].tolist() == [values[1], values[0]]


def test_headers_further_down_and_long_lists(tmp_path):
    rows = [f"C1CC,{i}" for i in range(30)]
    table = load(csv(tmp_path / "m.csv", "made by a tool", "smiles,y", "C,1", *rows))
    assert table.ids == ("3",)
    assert note(table, "the header is in row 2")
    assert "... and 10 more (all of them: config.json of the run's folder" in str(table.report)
    # Where no run starts there is no such file.
    with pytest.raises(ValueError, match=r"refused row 21: 'C1CC': .*\n  \.\.\. and 10 more$"):
        load(csv(tmp_path / "m.csv", "smiles,y", *rows))


def test_smiles_files(tmp_path):
    path = csv(tmp_path / "m.smi", "CCO\tethanol\t5", "C |r|\tmethane\t6")
    table = load(path, "column 3", id_column="name")
    assert (table.ids, table.targets.tolist()) == (("ethanol", "methane"), [[5], [6]])
