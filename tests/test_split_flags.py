"""``train``'s splits: every kind from the command line, resumed, and through ``--config``."""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from rdkit import Chem
from test_data_splits import sides, table_of
from test_recipes import SMALL

from dgl_gmpool import cli
from dgl_gmpool.cli.split_plan import _parts_of_file
from dgl_gmpool.data import MoleculeTable, Splits, load_bindingdb, load_csv, make_splits
from dgl_gmpool.data.chromophores import load_chromophores
from dgl_gmpool.data.held_out_table import with_test_table
from dgl_gmpool.data.make_splits import splits_of_parts
from dgl_gmpool.data.replicates import merged_replicates
from dgl_gmpool.data.split_units import clusters, times
from dgl_gmpool.data.tox21 import TOX21_TASKS

RINGS = ["c1ccccc1", "c1ccncc1", "C1CCCCC1", "C1CCNCC1", "c1ccsc1", "c1ccoc1"]
MOLECULES = [
    Chem.CanonSmiles("C" * n + "O" * (ring % 2) + tail)
    for n in range(1, 9)
    for ring, tail in enumerate(RINGS)
]


def timed(dates, canonical=None) -> MoleculeTable:
    table = table_of(canonical or [f"m{i}" for i in range(len(dates))])
    return replace(table, split_values=tuple(dates))


def test_the_newest_molecules_are_the_test_set_and_folds_are_stretches_of_time():
    order = np.random.default_rng(0).permutation(40)
    splits = make_splits(timed([f"{2000 + year}-06-01" for year in order]), kind="time", folds=3)
    years = np.array([2000 + year for year in order])
    assert sorted(years[splits.test]) == [2036, 2037, 2038, 2039]
    stretches = [sorted(years[valid]) for _, valid in splits.folds]
    assert [len(each) for each in stretches] == [12, 12, 12]
    assert all(each[-1] - each[0] == 11 for each in stretches)
    assert splits.notes == ("the test set begins with 2036-06-01",)
    (one,) = make_splits(timed(list(map(str, years))), kind="time", folds=1).folds
    assert min(years[one[1]]) > max(years[one[0]])


def test_equal_dates_on_both_sides_of_the_test_set_are_told():
    splits = make_splits(timed(["2001"] * 10 + ["2002"] * 10), kind="time", folds=2)
    assert splits.test == [18, 19]
    assert splits.notes[1].startswith("8 molecules outside the test set are as old as its oldest")
    whole = make_splits(timed(["2001"] * 18 + ["2002"] * 2), kind="time", folds=2)
    assert whole.notes == ("the test set begins with 2002",)


def test_a_molecule_is_as_old_as_its_first_measurement():
    table = timed(["2001", "2039", *map(str, range(2000, 2039))], ["a", "a", *map(str, range(39))])
    splits = make_splits(table, kind="time")
    assert not {0, 1} & set(splits.test)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["2001", " ", "2003"],
            "1 row has no date in the column of date .the first is usable r",
        ),
        (["2001", "", "-"], "2 rows have no date"),
        (["01/02/2003", "03/04/2005"], "may start with the day or with the month"),
        (["12.2019", " 1.2020"], "may be dates with the year last, or numbers; write dates as 20"),
        (["31122019", "01012020"], "may be dates with the year last, or numbers"),
        (["122019", "12020"], "write dates as .* or 2020-12, and numbers with one more decimal"),
        (["2019.2", " 2019.12"], "may be years with their months, or numbers; write months as 20"),
        (["2001-01-01", "2001-01-02", "soon"], "holds '2001-01-01' and 'soon', and not all its"),
        (["2001-01-01", "31.12.2001"], "'31.12.2001', and not all its cells are numbers or dates"),
        (["inf", "1"], "not all its cells"),
    ],
)
def test_cells_that_are_no_dates(cells, message):
    with pytest.raises(ValueError, match=message):
        times(cells, name="date")


def test_a_split_by_time_names_argument_and_flag():
    with pytest.raises(ValueError, match=r"--split-column NAME \(split_column=NAME\)"):
        make_splits(timed(()), kind="time")
    with pytest.raises(ValueError, match=r"in the column of split_column \(--split-column\)"):
        make_splits(timed(["2001", ""]), kind="time")


@pytest.mark.parametrize(
    "cells",
    [
        ["1", "2.5"],
        ["2001-01-31", "2001-02-01"],
        ["2001-01-31T23:00:00Z", "2001-02-01 07:00"],
        ["31.01.2001", "01.02.2001"],
        ["31/01/2001", "01/02/2001"],
        ["01/31/2001", "02/01/2001"],
        ["31-Jan-2001", "01-Feb-2001"],
        ["31 January 2001", "1 February 2001"],
    ],
)
def test_dates_grow(cells):
    early, late = times(cells, name="date")
    assert early < late
    assert late - early == (1.5 if cells[0] == "1" else 1)


@pytest.mark.parametrize(
    "cells",
    [
        ["20190501", "20201231"],
        ["201912", "202001"],
        ["2019.12", "2020.01"],
        ["2019.5", "2020.1"],
        ["2019.12", "2019.2", "2019.75"],
        ["43831", "43900"],
        ["1012001.0", "1012002.0"],
        ["9.20190", "12.20190"],
    ],
)
def test_numbers_that_are_no_dates_with_the_year_last(cells):
    assert times(cells, name="date") == [float(cell) for cell in cells]


def test_a_cluster_is_on_one_side():
    table = table_of(MOLECULES)
    names = clusters(table.canonical)
    assert 3 < len(set(names)) < 40
    for seed in range(3):
        for parts in sides(make_splits(table, kind="cluster", seed=seed, folds=2)):
            seen = [{names[row] for row in rows} for rows in parts.values()]
            assert sum(map(len, seen)) == len(set(names))


@pytest.mark.parametrize("kind", ["random", "scaffold", "cluster", "group"])
@pytest.mark.parametrize("fraction", [0, 0.2])
def test_one_fold_and_no_test_set(kind, fraction):
    table = table_of(MOLECULES)
    splits = make_splits(table, kind=kind, folds=1, test_fraction=fraction)
    ((train, valid),) = splits.folds
    assert bool(splits.test) == bool(fraction)
    assert sorted([*train, *valid, *splits.test]) == list(range(len(table)))
    assert 0 < len(valid) < len(train)


def test_groups_of_a_column_stay_together_and_blanks_do_not_tie():
    table = timed([f"s{i // 4}" if i < 40 else "" for i in range(60)])
    splits = make_splits(table, kind="group")
    for parts in sides(splits):
        for rows in parts.values():
            assert all(set(range(r // 4 * 4, r // 4 * 4 + 4)) <= set(rows) for r in rows if r < 40)
    assert "20 rows have no group: each is grouped by its molecule" in splits.notes


def test_parts_that_tear_a_molecule_apart_are_named():
    table = table_of(["a", "a", *map(str, range(20))])
    parts = ["test", "train"] + ["train"] * 20
    with pytest.raises(ValueError, match=r"rows 0 \(a\) and 1 \(a\) are one molecule"):
        splits_of_parts(table, parts)
    with pytest.raises(
        ValueError, match=r"rows 0 \(a\) and 1 \(a\) .* in the parts valid and train; give"
    ):
        splits_of_parts(table, ["valid", *parts[1:]])
    with pytest.raises(ValueError, match="all rows are 'train'"):
        splits_of_parts(table, ["train"] * 22)
    with pytest.raises(ValueError, match="no row is for training"):
        splits_of_parts(table, ["test"] * 22)


def test_a_test_table_takes_its_molecules_from_training():
    table = table_of(["a", "b", "c", "d"])
    both = with_test_table(table, table_of(["b", "e"]))
    assert both.canonical == ("a", "c", "d", "b", "e")
    assert both.split_values == ("train",) * 3 + ("test",) * 2
    assert both.ids[3:] == ("test 0", "test 1")
    assert both.report.rows_read == 6
    assert both.report.rows_kept == 5
    assert sum(both.report.left_out.values()) == 1
    with pytest.raises(
        ValueError, match=r"of 4 rows of .* 4 are of molecules of the test table too"
    ):
        with_test_table(table, table)
    groups = [replace(each, groups=("g",) * len(each)) for each in (table, table_of(["b", "e"]))]
    with pytest.raises(ValueError, match=r"1 are of molecules .* and 3 of groups .*--group"):
        with_test_table(*groups)


@pytest.mark.parametrize(
    ("flags", "twin"),
    [
        (["--standardize", "fragment"], "C[C@H](O)CCCN.Cl"),
        (["--featurizer", "canonical"], "C[C@@H](O)CCCN"),
        (["--featurizer", "canonical", "--standardize", "fragment"], "C[C@@H](O)CCCN.Cl"),
    ],
)
def test_what_becomes_a_molecule_of_the_test_table_is_left_out_of_training(
    flags, twin, tmp_path, capsys
):
    lines = ["smiles,y", *(f"{smiles},{i}" for i, smiles in enumerate([*MOLECULES[:20], twin]))]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    (tmp_path / "held.csv").write_text("smiles,y\nC[C@H](O)CCCN,1\nCCCCCCCCCCS,2\n")
    command = ["train", "csv", "--csv", str(tmp_path / "train.csv"), "--target", "y", *SMALL]
    command += ["--test-csv", str(tmp_path / "held.csv")]
    assert cli.main([*command, *flags, "--output", str(tmp_path / "run")]) == 0
    assert "-1  left out: the same molecule or group is in the test table" in (
        capsys.readouterr().out
    )
    (splits,) = tmp_path.glob("run/*/splits.json")
    saved = json.loads(splits.read_text())
    assert (saved["rows"], len(saved["test"])) == (22, 2)
    # By default the twin is another molecule.
    assert cli.main([*command, "--output", str(tmp_path / "all")]) == 0
    (splits,) = tmp_path.glob("all/*/splits.json")
    assert json.loads(splits.read_text())["rows"] == 23


@pytest.fixture
def files(tmp_path):
    rows = [
        {
            "smiles": smiles,
            "y": len(smiles) + i / 10,
            "date": f"20{i:02d}-01-01",
            "series": f"s{i % 8}",
            "part": "test" if i % 8 == 0 else "valid" if i % 8 == 1 else "train",
            "group or not": "test" if i % 8 == 0 else "train",
        }
        for i, smiles in enumerate(MOLECULES)
    ]
    for name, chosen in (("t.csv", rows), ("held.csv", rows[:6])):
        with open(tmp_path / name, "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(chosen)
    lines = [f"{i + 2},{row['part']}" for i, row in enumerate(rows)]
    (tmp_path / "parts.csv").write_text("\n".join(["row,part", *lines, "999,train", ""]))
    (tmp_path / "one.csv").write_text("row,part\n3,train\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "test", "folds"),
    [
        (["--split", "time", "--split-column", "date"], [43, 44, 45, 46, 47], 2),
        (["--split", "group", "--split-column", "series"], None, 2),
        (["--split", "cluster"], None, 2),
        (["--split-column", "part"], list(range(0, 48, 8)), 1),
        (["--split-column", "group or not", "--split", "scaffold"], list(range(0, 48, 8)), 2),
        (["--splits-file", "parts.csv"], list(range(0, 48, 8)), 1),
        (["--test-csv", "held.csv"], list(range(42, 48)), 2),
        (["--test-fraction", "0", "--folds", "1"], [], 1),
    ],
)
def test_every_split_resumes_and_comes_back_from_its_config(
    flags, test, folds, files, capsys, monkeypatch
):
    monkeypatch.chdir(files)
    start = ["train", "csv", "--csv", "t.csv", "--target", "y", *SMALL, "--readout", "mean"]
    seeds = ["--seed", "0", "1", "--no-report"]
    assert cli.main([*start, *flags, *seeds, "--output", "run"]) == 0
    capsys.readouterr()
    run = files / "run" / "mean-seed1"
    saved = json.loads((run / "splits.json").read_text())
    assert len(saved["folds"]) == folds
    if test is not None:
        assert saved["test"] == test
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test_rows"] == len(saved["test"])
    assert (metrics["test"]["rmse"]["mean"] is None) == (not saved["test"])
    predictions = (run / "test_predictions.csv").read_text().splitlines()
    assert len(predictions) == 1 + len(saved["test"])
    # Continued: nothing is trained again. From its config alone: the same splits.
    assert cli.main([*start, *flags, *seeds, "--output", "run", "--resume"]) == 0
    assert capsys.readouterr().out.count("finished before") == 2
    again = ["train", "csv", "--config", str(run), "--no-report", "--output", "again"]
    assert cli.main(again) == 0
    assert json.loads((files / "again" / "mean-seed1" / "splits.json").read_text()) == saved
    splits_of_a_run = ["--splits-file", str(run / "splits.json"), "--seed", "7"]
    if "--test-csv" not in flags:
        assert cli.main([*start, *splits_of_a_run, "--no-report", "--output", "third"]) == 0
        third = json.loads((files / "third" / "mean-seed7" / "splits.json").read_text())
        assert {**third, "seed": 1} == saved


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split", "time"], "--split time needs dates or numbers"),
        (["--split", "time", "--test-csv", "held.csv"], "leave --split time out"),
        (["--split", "time", "--splits-file", "parts.csv"], "leave --split time out"),
        (["--splits-file", "one.csv"], "the row '2' of the data (its number, as a spreadsheet"),
        (["--split", "group"], "groups: name their column with --split-column"),
        (["--split", "group", "--test-csv", "held.csv"], "name their column with --group-column"),
        (["--split-column", "part", "--test-csv", "held.csv"], "both say how to split"),
        (["--test-fraction", "1"], "--test-fraction 1.0: expected 0 or more, and below 1"),
        (["--split-column", "series"], "say what it is: --split group or --split time"),
        (["--splits-file", "t.csv"], "expected 'part', and 'row'"),
        (["--split-column", "nothing"], "nothing"),
        (["--folds", "0"], "--folds 0: expected a whole number of at least 1"),
    ],
)
def test_flags_that_do_not_say_how_to_split(flags, message, files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    start = ["train", "csv", "--csv", "t.csv", "--target", "y", *SMALL, "--readout", "mean"]
    assert cli.main([*start, *flags, "--output", "run"]) != 0
    assert message in capsys.readouterr().err


def _without_folds(files):
    return json.dumps({**json.loads((files / "other.json").read_text()), "folds": []})


def test_splits_of_another_table_say_what_to_give_in_their_place(files, capsys):
    make_splits(table_of(MOLECULES)).save(files / "other.json")
    start = ["train", "csv", "--csv", str(files / "t.csv"), "--target", "y", *SMALL]
    start += ["--splits-file", str(files / "other.json"), "--output", str(files / "run")]
    assert cli.main(start) == 2
    said = capsys.readouterr().err
    assert f"--splits-file {files / 'other.json'}: these splits were made for 48 rows" in said
    assert "columns row (or id) and part" in said
    for text, why in (("{", "JSONDecodeError"), (_without_folds(files), "the splits have no fold")):
        (files / "other.json").write_text(text)
        assert cli.main(start) == 2
        said = capsys.readouterr().err
        assert why in said
        assert "make_splits" not in said
    with pytest.raises(ValueError, match=r"no fold; make new splits with make_splits\(table\)"):
        Splits.load(files / "other.json")


def test_a_score_named_twice_is_named_by_its_flag(files, capsys):
    start = ["train", "csv", "--csv", str(files / "t.csv"), "--target", "y", *SMALL]
    assert cli.main([*start, "--metric", "mae", "mae", "--output", str(files / "run")]) == 2
    assert "--metric ['mae', 'mae']: mae is named twice" in capsys.readouterr().err


def test_what_a_run_knows_of_its_errors_is_made_again_from_the_table_it_was_made_from(
    tmp_path, capsys
):
    """Standardised, merged, with the test table: all of the flags."""
    lines = [f"{smiles},{i}" for i, smiles in enumerate(MOLECULES)]
    lines += [f"{smiles}.Cl,{i + 1}" for i, smiles in enumerate(MOLECULES[:9])]
    (tmp_path / "t.csv").write_text("\n".join(["smiles,y", *lines]))
    (tmp_path / "held.csv").write_text("smiles,y\nCCCCCCCCCCS,2\nCCCCCCCCCF,1\n")
    train = ["train", "csv", "--csv", str(tmp_path / "t.csv"), "--target", "y", *SMALL]
    train += ["--test-csv", str(tmp_path / "held.csv"), "--standardize", "fragment"]
    train += ["--replicates", "median", "--output", str(tmp_path / "run")]
    assert cli.main(train) == 0
    (file,) = tmp_path.glob("run/*/uncertainty.json")
    before = json.loads(file.read_text())
    file.unlink()
    predict = ["predict", "--model", str(tmp_path / "run"), "--csv", str(tmp_path / "held.csv")]
    assert cli.main([*predict, "--output", str(tmp_path / "out.csv")]) == 0
    assert "no intervals" not in capsys.readouterr().out
    assert json.loads(file.read_text()) == before


ANILIDES = [f"O=C(Nc1ccc({x})cc1)c1ccc({y})cc1CCCCC" for x in "CNO" for y in "CNOFI" + "S"]
FLUORANILIDES = [f"O=C(Nc1ccc(F)cc1)c1ccc({y})cc1CCCCC" for y in "CNOFIS"]
OWN_FILES = {"tox21": "--data", "bindingdb": "--tsv", "chromophores": "--csv"}


def published(folder, name, molecules, parts) -> str:
    """A file as the data set's publisher writes it, with a column of parts."""
    if name == "tox21":
        head, sep = ["mol_id", "smiles", *TOX21_TASKS, "part"], ","
        rows = [
            [f"T{i}", each, *("0", str(i % 2)) * 6, part]
            for i, (each, part) in enumerate(zip(molecules, parts))
        ]
    elif name == "bindingdb":
        ends = ["UniProt (SwissProt) Primary ID of Target Chain"]
        head, sep = (
            ["Ligand SMILES", "IC50 (nM)", "part", "BindingDB Target Chain Sequence", *ends],
            "\t",
        )
        rows = [
            [each, str(10 * i + 1), part, "MKV", "Q99572"]
            for i, (each, part) in enumerate(zip(molecules, parts))
        ]
    else:
        head, sep = ["Chromophore", "Solvent", "Emission max (nm)", "Quantum yield", "part"], ","
        rows = [
            [each, each, str(400 + i), str(i / 100), part]
            for i, (each, part) in enumerate(zip(molecules, parts))
        ]
    path = folder / f"{name}.txt"
    path.write_text("".join(sep.join(row) + "\n" for row in [head, *rows]), encoding="utf-8")
    return str(path)


def split_of(output):
    return json.loads((output / "mean-seed0" / "splits.json").read_text())


@pytest.mark.parametrize("name", OWN_FILES)
def test_published_sets_take_parts_and_a_test_table_of_their_own(tmp_path, name):
    (tmp_path / "new").mkdir()
    parts = ["test" if i % 6 == 5 else "train" for i in range(len(ANILIDES))]
    file = published(tmp_path, name, ANILIDES, parts)
    command = ["train", name, OWN_FILES[name], file, *SMALL, "--readout", "mean"]
    column, table = tmp_path / "column", tmp_path / "table"
    assert cli.main([*command, "--split-column", "part", "--output", str(column)]) == 0
    assert split_of(column)["test"] == [i for i, part in enumerate(parts) if part == "test"]

    # Two of the test table's molecules are in the table too: they go.
    test = published(tmp_path / "new", name, [*ANILIDES[:2], *FLUORANILIDES], ["x"] * 8)
    assert cli.main([*command, "--test-csv", test, "--output", str(table)]) == 0
    assert split_of(table)["test"] == list(range(len(ANILIDES) - 2, len(ANILIDES) + 6))
    saved = json.loads((table / "mean-seed0" / "config.json").read_text())["source"]
    assert saved["test_csv"] == test
    assert saved["split_column"] is None


@pytest.mark.parametrize("name", ["bindingdb", "chromophores"])
def test_parts_of_one_molecule_must_agree_where_its_rows_become_one(tmp_path, name, capsys):
    file = published(tmp_path, name, [*ANILIDES, ANILIDES[0]], ["train"] * len(ANILIDES) + ["test"])
    command = ["train", name, OWN_FILES[name], file, *SMALL, "--split-column", "part"]
    assert cli.main([*command, "--output", str(tmp_path / "run")]) == 2
    assert "train and test on rows of one molecule" in capsys.readouterr().err


def test_rows_of_one_molecule_may_call_their_part_by_different_words():
    table = replace(table_of(["a", "a"]), split_values=("valid", "Validation"))
    torn = replace(table, split_values=("train", "test"))
    for split in ("random", "time"):
        assert len(merged_replicates(table, "median", split=split)) == 1
        with pytest.raises(ValueError, match=r"one molecule, a; give its rows the same part$"):
            merged_replicates(torn, "median", split=split)
    with pytest.raises(ValueError, match="or say what it holds: --split time or --split group"):
        merged_replicates(replace(table, split_values=("x", "y")), "median", split="random")


@pytest.mark.parametrize(("tag", "names"), [("", ["2", "row 3"]), ("Tag", ["T0", "T1"])])
def test_a_splits_file_of_a_published_set_names_rows_as_its_report(tag, names, tmp_path):
    head = f"Chromophore,Solvent,Emission max (nm),Quantum yield,{tag or 'other'}\n"
    rows = [f"{smiles},{smiles},400,0.5,T{i}" for i, smiles in enumerate(("CCO", "CCN"))]
    (tmp_path / "c.csv").write_text(head + "\n".join(rows))
    table = load_chromophores(tmp_path / "c.csv")
    args = argparse.Namespace(splits_file=str(tmp_path / "s.csv"))
    (tmp_path / "s.csv").write_text(f"row,part\n{names[0]},train\n{names[1]},test\n")
    assert _parts_of_file(args, table) == ["train", "test"]
    (tmp_path / "s.csv").write_text(f"row,part\n{names[1]},test\n")
    how = "name, such as T0" if tag else "number, as a spreadsheet shows it"
    with pytest.raises(ValueError, match=f"no part for the row '{names[0]}' of .* .its {how}"):
        _parts_of_file(args, table)


def test_a_molecule_of_several_measurements_is_as_old_as_its_first(tmp_path):
    dates = [f"{2000 + i}-01-01" for i in range(len(ANILIDES))]
    file = published(tmp_path, "bindingdb", [*ANILIDES, ANILIDES[0]], [*dates, "1990-01-01"])
    table = load_bindingdb(file, split_column="part", split="time", progress=False)
    assert table.split_values == ("1990-01-01", *dates[1:])
    # Groups that share a molecule are one, whichever of them a row names.
    table = load_bindingdb(file, split_column="part", split="group", progress=False)
    assert table.split_values == tuple(dates)
    rows = [("CCO", "b"), ("CCN", "a"), ("CCO", "a"), ("CCC", "c"), ("CCC", "")]
    text = "smiles,y,part\n" + "".join(f"{s},{i},{p}\n" for i, (s, p) in enumerate(rows))
    (tmp_path / "own.csv").write_text(text)
    own = load_csv(
        tmp_path / "own.csv", smiles_column="smiles", target_columns="y", split_column="part"
    )
    assert merged_replicates(own, "median", split="group").split_values == ("b", "b", "c")


def test_replicates_are_as_old_as_the_first_of_them(tmp_path):
    text = "smiles,y,year\nCCO,1,2020\nCCN,2,2021\nCCO,3,2010\n"
    (tmp_path / "own.csv").write_text(text)
    own = load_csv(
        tmp_path / "own.csv", smiles_column="smiles", target_columns="y", split_column="year"
    )
    assert merged_replicates(own, "median", split="time").split_values == ("2010", "2021")


def test_a_splits_file_names_rows_by_number_or_by_the_id_column(tmp_path, capsys):
    """Also where the ids are numbers; and rows that become one must have one part."""
    parts = ["test" if i % 6 == 5 else "valid" if i % 6 == 4 else "train" for i in range(24)]
    names = [25 - i for i in range(24)]  # the numbers of the rows, backwards
    rows = [f"{smiles},{i},{name}" for i, (smiles, name) in enumerate(zip(MOLECULES, names))]
    (tmp_path / "t.csv").write_text("\n".join(["smiles,y,name", *rows, f"{MOLECULES[0]},9,1"]))
    start = ["train", "csv", "--csv", str(tmp_path / "t.csv"), "--target", "y", *SMALL]
    start += ["--readout", "mean", "--no-report", "--id-column", "name"]

    def run(column, more, *flags):
        lines = [f"{name},{part}" for name, part in zip(names, parts)]
        (tmp_path / "parts.csv").write_text("\n".join([f"{column},part", *lines, *more]))
        output = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        flags = [*flags, "--splits-file", str(tmp_path / "parts.csv"), "--output", str(output)]
        return output if cli.main([*start, *flags]) == 0 else capsys.readouterr().err

    expected = [i for i, part in enumerate(parts) if part == "test"]
    assert split_of(run("id", ["1,train"]))["test"] == expected
    assert "'id' (as in --id-column name; to number the rows" in run("row", [])
    merge = ("--replicates", "median")
    assert split_of(run("id", [], *merge))["test"] == expected
    assert "measurements of one molecule" in run("id", ["1,test"], *merge)


def test_blank_groups_are_no_group(tmp_path):
    text = "smiles,y,g\nC,1,NA\nCC,2,n/a\nCCC,3,a\nCCCC,4,a\nCCCCC,5,\n"
    (tmp_path / "t.csv").write_text(text)
    read = {"smiles_column": "smiles", "target_columns": "y"}
    table = load_csv(tmp_path / "t.csv", **read, group_column="g")
    assert table.groups == ("C", "CC", "group a", "group a", "CCCCC")
    assert "3 rows have a blank 'g'" in str(table.report)
    table = load_csv(tmp_path / "t.csv", **read, split_column="g")
    splits = make_splits(table, kind="group", folds=4, test_fraction=0)
    assert sorted(len(valid) for _, valid in splits.folds) == [1, 1, 1, 2]
    assert splits.notes[0] == "3 rows have no group: each is grouped by its molecule"


@pytest.mark.parametrize(
    "cells",
    [["a"] * 3, ["", "", ""], [*list("abcdefghijkl"), "a"]],
    ids=["one class", "no class", "many classes"],
)
def test_a_test_table_need_not_hold_what_can_be_learnt(tmp_path, cells):
    lines = [f"{'C' * (i + 1)},{c},{i}" for i, c in enumerate("abcdefghijkl" * 3)]
    (tmp_path / "t.csv").write_text("\n".join(["smiles,k,y", *lines]))
    tests = [f"{'C' * (i + 1)}O,{c},{i}" for i, c in enumerate(cells)]
    (tmp_path / "test.csv").write_text("\n".join(["smiles,k,y", *tests]))
    read = {"smiles_column": "smiles", "target_columns": ["k", "y"]}
    table = load_csv(tmp_path / "t.csv", **read, kind={"k": "multiclass"})
    test = load_csv(tmp_path / "test.csv", **read, test_of=table)
    both = with_test_table(table, test)
    assert both.classes == (tuple("abcdefghijkl"), ())
    expected = [np.nan if c == "" else "abcdefghijkl".index(c) for c in cells]
    np.testing.assert_array_equal(both.targets[36:, 0], expected)


def test_a_test_table_may_weigh_nothing(tmp_path):
    for name, weight in (("t", 1), ("test", 0)):
        rows = "".join(f"{'C' * i}{name[1:2]},{i},{weight}\n" for i in range(1, 4))
        (tmp_path / f"{name}.csv").write_text("smiles,y,w\n" + rows.replace("e", "O"))
    read = {"smiles_column": "smiles", "target_columns": "y", "weight_column": "w"}
    table = load_csv(tmp_path / "t.csv", **read)
    assert load_csv(tmp_path / "test.csv", **read, test_of=table).weights.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="all 3 weights in 'w' are 0"):
        load_csv(tmp_path / "test.csv", **read)
