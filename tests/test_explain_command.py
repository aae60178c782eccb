"""``dgl-gmpool explain``: the folder that is left, its tables and page, fragments and pairs."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
from explain_data import (
    ACID,
    run_with_groups,
    run_with_solvents,
    run_without_groups,
    standardising,
)
from rdkit import Chem
from training_data import check_refused, rows_of

from dgl_gmpool.cli import main
from dgl_gmpool.explain.drawing import NoPictureError
from dgl_gmpool.explain.explanation import Explanation
from dgl_gmpool.explain.fragments import (
    HYDROGEN,
    Cut,
    Setting,
    context_smiles,
    flat_smiles,
    fragment_rows,
    fragment_smiles,
    matched_pairs,
)
from dgl_gmpool.explain.report import ExplainedRow, Report
from dgl_gmpool.training import load_models, predict_smiles


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_with_groups(tmp_path_factory.mktemp("explain") / "run")


@pytest.fixture(scope="module")
def without_groups(tmp_path_factory):
    return run_without_groups(tmp_path_factory.mktemp("explain") / "run")


@pytest.fixture(scope="module")
def with_solvents(tmp_path_factory):
    return run_with_solvents(tmp_path_factory.mktemp("explain") / "run")


# ---------------------------------------------------------------- fragments and pairs


def test_fragments_and_what_is_left():
    mol = Chem.MolFromSmiles("C[C@H](N)C(=O)O")
    assert fragment_smiles(mol, [0, 1]) == "*C(*)C"
    assert context_smiles(mol, [0, 1]) == "*C(=O)O.*N"
    assert flat_smiles(mol) == "CC(N)C(=O)O"
    assert fragment_smiles(mol, range(6)) == "CC(N)C(=O)O"
    assert context_smiles(mol, range(6)) == ""
    salt = Chem.MolFromSmiles("[Na+].CC(=O)[O-]")
    assert fragment_smiles(salt, [0, 4]) == "*[O-].[Na+]"
    # Pieces of an aromatic ring, a numbered atom, a group that its neighbour touches twice.
    assert fragment_smiles(Chem.MolFromSmiles("c1cc[n:7]cc1"), [3]) == "*n*"
    assert fragment_smiles(Chem.MolFromSmiles("C1CC1"), [0]) == "*C*"


def cut(row, smiles, atoms, prediction=0.0, target="y", beside=""):
    mol = Chem.MolFromSmiles(smiles)
    return Cut(
        row,
        Setting(target, beside),
        flat_smiles(mol),
        fragment_smiles(mol, atoms),
        context_smiles(mol, atoms),
        prediction,
        0.5,
    )


def test_pairs_differ_in_one_group():
    cuts = [
        cut(2, "Nc1ccccc1", [0], 1.0),
        cut(3, "Oc1ccccc1", [0], 4.0),
        cut(4, "c1ccccc1", range(6), 2.0),
        cut(5, "OC1CCCCC1", [0], 9.0),  # another context
        cut(6, "Oc1ccccc1", [0], 4.0),  # row 3 again
    ]
    pairs, count = matched_pairs(cuts, most=10)
    found = [(p.first.row, p.second.row, p.second.fragment, p.difference) for p in pairs]
    assert found == [(2, 3, "*O", 3.0), (3, 4, HYDROGEN, -2.0), (2, 4, HYDROGEN, 1.0)]
    assert count == 3
    assert pairs[0].context == "*c1ccccc1"
    few, count = matched_pairs(cuts, most=1)
    assert (few, count) == (pairs[:1], 3)


def test_only_predictions_of_one_target_beside_the_same_things_are_compared():
    amine, alcohol, benzene = ("Nc1ccccc1", [0]), ("Oc1ccccc1", [0]), ("c1ccccc1", range(6))
    cuts = [
        cut(2, *amine, 1.0, beside="pH=2"),
        cut(3, *amine, 2.0, beside="pH=7"),
        cut(4, *alcohol, 5.0, beside="pH=7"),
        cut(5, *benzene, 9.0, beside="pH=2"),
        cut(6, *alcohol, 0.5, target="kind=a"),
        cut(7, *amine, 0.6, target="kind=b"),
        cut(8, *benzene, 0.7, target="kind=b"),
    ]
    pairs, count = matched_pairs(cuts, most=10)
    found = {(p.first.row, p.second.row): p.difference for p in pairs}
    assert found == {(2, 5): 8.0, (3, 4): 3.0, (7, 8): pytest.approx(0.1)}
    assert count == 3


def test_fragments_of_a_table():
    groups = [(2, "y", "*O", 1.0), (2, "y", "*O", 2.0), (3, "y", "*O", 3.0), (3, "y", "*N", -9.0)]
    rows = fragment_rows([*groups, (4, "z", "*O", 0.5)])
    assert [(r.fragment, r.target, r.count, r.molecules, r.mean) for r in rows] == [
        ("*N", "y", 1, 1, -9.0),
        ("*O", "y", 3, 2, 2.0),
        ("*O", "z", 1, 1, 0.5),
    ]


# ---------------------------------------------------------------- the folder


@pytest.fixture(scope="module")
def explained(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    table = folder / "in.csv"
    lines = ["name,structure", "a,CCO", "<b>x,C1CC", "c,", f"d,{ACID}", "e,CCN", "short", "f,CCO"]
    table.write_text("\n".join(lines) + "\n")
    output = folder / "out" / "deep"
    arguments = ["explain", "--model", str(run), "--csv", str(table)]
    arguments += ["--smiles-column", "structure", "--output", str(output)]
    assert main(arguments) == 0
    return output, arguments


def test_the_folder_holds_every_row_with_its_number(explained, run):
    output, _ = explained
    rows = rows_of((output / "molecules.csv").read_text())
    assert [row["row"] for row in rows] == [str(n) for n in range(2, 9)]
    reasons = [row["reason"] for row in rows]
    assert reasons == [
        *("", "not a SMILES", "blank SMILES", "", ""),
        "1 cells where the header has 2",
        "",
    ]
    for row in rows:
        assert bool(row["prediction"]) != bool(row["reason"])
        there = (output / f"molecule_{row['row']}.svg").exists()
        assert there == (output / f"molecule_{row['row']}.png").exists() == (not row["reason"])
    stored = predict_smiles(load_models(run), [ACID]).mean[0, 0]
    assert float(rows[3]["prediction"]) == pytest.approx(stored, abs=1e-4)
    assert rows[0]["prediction"] == rows[6]["prediction"]


def test_tables_add_up(explained):
    output, _ = explained
    atoms = rows_of((output / "atoms.csv").read_text())
    assert list(atoms[0]) == [
        *("row", "atom", "element", "group", "membership", "weight", "contribution"),
    ]
    groups = rows_of((output / "groups.csv").read_text())
    for row in rows_of((output / "molecules.csv").read_text()):
        if row["reason"]:
            assert row["row"] not in {atom["row"] for atom in atoms}
            continue
        own = [atom for atom in atoms if atom["row"] == row["row"]]
        mol = Chem.MolFromSmiles(row["smiles"])
        assert [atom["element"] for atom in own] == [atom.GetSymbol() for atom in mol.GetAtoms()]
        assert [int(atom["atom"]) for atom in own] == list(range(mol.GetNumAtoms()))
        total = float(row["prediction"]) - float(row["baseline"])
        assert sum(float(atom["contribution"]) for atom in own) == pytest.approx(total, abs=1e-9)
        of_row = [group for group in groups if group["row"] == row["row"]]
        assert len(of_row) == int(row["groups"])
        for group in of_row:
            inside = [atom["atom"] for atom in own if atom["group"] == group["group"]]
            assert inside == group["atoms"].split()
            share = sum(float(own[int(atom)]["contribution"]) for atom in inside)
            assert share == pytest.approx(float(group["contribution"]), abs=1e-9)


def test_fragments_and_pairs_of_the_table(explained):
    output, _ = explained
    groups = rows_of((output / "groups.csv").read_text())
    fragments = rows_of((output / "fragments.csv").read_text())
    assert sum(int(row["count"]) for row in fragments) == len(groups)
    for row in fragments:
        own = [float(g["contribution"]) for g in groups if g["fragment"] == row["fragment"]]
        assert float(row["mean contribution"]) == pytest.approx(np.mean(own))
    smiles = {row["row"]: row["smiles"] for row in rows_of((output / "molecules.csv").read_text())}
    for pair in csv.DictReader((output / "pairs.csv").read_text().splitlines()):
        assert pair["smiles 1"] == smiles[pair["row 1"]]
        difference = float(pair["prediction 2"]) - float(pair["prediction 1"])
        assert float(pair["difference of predictions"]) == pytest.approx(difference)


@pytest.fixture
def standardised(run, tmp_path, monkeypatch):
    """A table of odd molecules, and flags of a command whose models standardise them."""
    for module in ("explain", "streamed"):
        monkeypatch.setattr(
            f"dgl_gmpool.cli.{module}.load_models", lambda path: standardising(load_models(path))
        )
    table = tmp_path / "in.csv"
    table.write_text("smiles\n[Na+].CC(=O)[O-]\nOCC\n[CH3:1]CO |r|\nC1CC\n")
    return ["--model", str(run), "--csv", str(table)]


NOTES = [
    "standardised from CC(=O)[O-].[Na+] to CC(=O)O",
    "",
    "the extension behind the SMILES is ignored; "
    "the numbers of atoms in a mapped reaction are ignored",
    "",
]


def test_the_molecule_that_is_explained_is_told_row_by_row(standardised, tmp_path, capsys):
    output = tmp_path / "out"
    assert main(["explain", *standardised, "--output", str(output)]) == 0
    assert "3 explained by 2 model(s), 2 with a note (see" in capsys.readouterr().out
    rows = rows_of((output / "molecules.csv").read_text())
    assert [row["note"] for row in rows] == NOTES
    seen = [row["explained smiles"] for row in rows]
    assert seen == ["CC(=O)O", "OCC", "[CH3:1]CO |r|", ""]
    atoms = rows_of((output / "atoms.csv").read_text())
    for row, smiles in zip(rows[:3], seen):
        elements = [atom["element"] for atom in atoms if atom["row"] == row["row"]]
        assert elements == [atom.GetSymbol() for atom in Chem.MolFromSmiles(smiles).GetAtoms()]
    page = (output / "index.html").read_text()
    # The legend is that of groups, and a note stands with its molecule.
    assert "Groups are those of the model" in page
    assert "Atoms that raise" not in page
    for note, number in ((NOTES[0], 2), (NOTES[2], 4)):
        shown = f"<p class='note'>{note[0].upper()}{note[1:]}.</p>"
        assert page.count(shown) == 1
        assert page.rindex("id='row", 0, page.index(shown)) == page.index(f"id='row{number}'")


def test_vectors_have_the_same_notes(standardised, tmp_path, capsys):
    output = tmp_path / "vectors.csv"
    assert main(["embed", *standardised, "--output", str(output)]) == 0
    assert [row["note"] for row in rows_of(output.read_text())] == NOTES
    assert f"note: 1 of the rows embedded (2): {NOTES[0]}" in capsys.readouterr().out


def on_benzene(symbol, prediction, target, beside=""):
    """An explanation by hand: one atom on a phenyl ring, and all that is predicted is its own."""
    groups = np.array([0] + [1] * 6)
    shares = np.array([prediction, 0.0])
    return Explanation(
        *(f"{symbol}c1ccccc1", target, "", "classification", prediction, 0.0, "CC1CCCCC1"),
        *((symbol, *"CCCCCC"), np.where(groups == 0, prediction, 0.0)),
        groups=groups,
        memberships=np.eye(2)[groups],
        group_contributions=shares,
        group_spread=shares * 0,
        fragments=(f"*{symbol}", "*c1ccccc1"),
        beside=beside,
    )


def test_what_is_explained_of_other_classes_or_at_another_ph_is_not_compared(tmp_path):
    report = Report(tmp_path)
    for number, each in enumerate(
        (
            on_benzene("N", 0.5, "kind=a", "pH=2"),
            on_benzene("N", 0.75, "kind=a", "pH=7"),
            on_benzene("O", 0.625, "kind=a", "pH=7"),
            on_benzene("F", 0.875, "kind=b", "pH=7"),
        ),
        start=2,
    ):
        report.add(ExplainedRow(number, each.smiles, each))
    report.finish("kind")
    (pair,) = rows_of((tmp_path / "pairs.csv").read_text())
    assert (pair["target"], pair["beside the molecule"]) == ("kind=a", "pH=7")
    assert (pair["row 1"], pair["row 2"], pair["difference of predictions"]) == ("3", "4", "-0.125")
    fragments = {
        (row["fragment"], row["target"]): (row["count"], float(row["mean contribution"]))
        for row in rows_of((tmp_path / "fragments.csv").read_text())
    }
    # The mean over the pH says something, that over classes would not.
    assert fragments == {
        ("*N", "kind=a"): ("2", 0.625),
        ("*O", "kind=a"): ("1", 0.625),
        ("*F", "kind=b"): ("1", 0.875),
        ("*c1ccccc1", "kind=a"): ("3", 0.0),
        ("*c1ccccc1", "kind=b"): ("1", 0.0),
    }
    page = (tmp_path / "index.html").read_text()
    assert (
        "Explained is the probability of kind=a or kind=b, for each molecule its most probable "
        "class." in page
    )
    assert "<code>*c1ccccc1</code> <span class='quiet'>(kind=a, pH=7)</span>" in page
    assert page.count("<td>kind=b</td>") == 2


def test_a_picture_that_cannot_be_drawn_is_a_note(tmp_path, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no room for <it>")

    monkeypatch.setattr("dgl_gmpool.explain.drawing._canvas", fails)
    each = on_benzene("N", 0.5, "y")
    with pytest.raises(NoPictureError, match="no picture can be drawn: no room for <it>"):
        each.png()
    report = Report(tmp_path)
    report.add(ExplainedRow(2, each.smiles, each))
    report.finish("y")
    (row,) = rows_of((tmp_path / "molecules.csv").read_text())
    assert row["note"] == "no picture can be drawn: no room for <it>"
    assert float(row["prediction"]) == 0.5
    page = (tmp_path / "index.html").read_text()
    assert "No picture can be drawn: no room for &lt;it&gt;." in page
    assert page.rstrip().endswith("</html>")


def test_the_page_is_one_file_that_needs_no_network(explained):
    output, _ = explained
    page = (output / "index.html").read_text(encoding="utf-8")
    outside = re.findall(r"(?:src|href)\s*=\s*['\"]([^'\"#][^'\"]*)", page)
    assert outside == []
    assert "<script" not in page
    # The namespaces of SVG are names, not addresses that are loaded.
    addresses = set(re.findall(r"https?://[^\s'\"<]+", page))
    assert addresses <= {
        "http://www.w3.org/2000/svg",
        "http://www.rdkit.org/xml",
        "http://www.w3.org/1999/xlink",
    }
    assert page.count("<svg") >= 4
    assert page.count("<svg") == page.count("<svg role='img' aria-label='structure of ")
    assert "7 rows, 4 explained" in page
    assert "not a SMILES" in page
    assert page.rstrip().endswith("</html>")


def test_text_of_the_user_cannot_become_markup(run, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    arguments = ["explain", "--model", str(run), "--smiles", evil, "CCO"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<img" not in page
    assert "&lt;img" in page


def test_a_full_folder_is_refused_before_any_work_and_replaced_when_asked(explained, capsys):
    output, arguments = explained
    before = (output / "index.html").read_bytes()
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    (output / "mine.txt").write_text("kept")
    (output / "molecule_99.svg").write_text("of a longer table")
    assert main([*arguments, "--overwrite"]) == 0
    assert (output / "mine.txt").read_text() == "kept"
    assert not (output / "molecule_99.svg").exists()
    assert (output / "index.html").read_bytes() == before
    assert "7 rows, 4 explained by 2 model(s), 3 refused" in capsys.readouterr().out


def test_a_file_in_place_of_the_folder(run, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    arguments = ["explain", "--model", str(run), "--smiles", "C"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
    assert "is a file" in capsys.readouterr().err
    assert main([*arguments, "--output", str(tmp_path / "out" / "deeper")]) == 2
    assert "name another folder" in capsys.readouterr().err


def test_smiles_on_the_command_line_of_a_model_without_groups(without_groups, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["explain", "--model", str(without_groups), "--smiles", "CCO", "C1CC", "CCN"]
    assert main([*arguments, "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert said.count("this model has no groups") == 1
    assert "CCN: task0 " in said
    rows = rows_of((output / "molecules.csv").read_text())
    assert [(row["row"], bool(row["prediction"])) for row in rows] == [
        ("1", True),
        ("2", False),
        ("3", True),
    ]
    # What is to be known about all molecules is no reason of one.
    assert [row["reason"] for row in rows] == ["", "not a SMILES", ""]
    atoms = rows_of((output / "atoms.csv").read_text())
    assert {atom["group"] for atom in atoms} == {""}
    for name in ("groups.csv", "fragments.csv", "pairs.csv"):
        assert (output / name).read_text().count("\n") == 1
    page = (output / "index.html").read_text()
    assert page.count("This model has no groups") == page.count("Atoms that raise") == 1
    assert "Groups are those of the model" not in page


def test_only_refused_molecules(run, tmp_path):
    output = tmp_path / "out"
    assert main(["explain", "--model", str(run), "--smiles", "C1CC", "--output", str(output)]) == 0
    assert "1 rows, 0 explained" in (output / "index.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "nowhere"}, "no run folder"),
        ({"--smiles-column": "Structure"}, "Did you mean 'structure'?"),
        ({"--csv": "nowhere.csv"}, "nowhere.csv"),
        ({"--solvent-column": "structure"}, "trained without solvents"),
        ({"--solvent": "O"}, "trained without solvents"),
        ({"--target": "tsk0"}, "Did you mean 'task0'?"),
        ({"--device": "gpu"}, "unknown device"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(run, tmp_path, capsys, change, message):
    check_refused("explain", change, message, run, tmp_path, capsys)


def test_solvents_of_the_command(with_solvents, tmp_path, capsys):
    table = tmp_path / "new.csv"
    table.write_text("smiles,solvent\nCCO,O\nCCO,CCCCCC\nCCO,gas\n")
    common = ["explain", "--model", str(with_solvents), "--csv", str(table)]
    assert main([*common, "--output", str(tmp_path / "none")]) == 2
    assert "give each row's solvent" in capsys.readouterr().err
    # A table's column was all that it named.
    given = ["--smiles", "CCO", "--output", str(tmp_path / "no")]
    assert main([*common[:3], *given]) == 2
    assert "--solvent SMILES" in capsys.readouterr().err
    own = [*common, "--solvent-column", "solvent", "--output", str(tmp_path / "own")]
    assert main(own) == 0
    rows = rows_of((tmp_path / "own" / "molecules.csv").read_text())
    assert rows[0]["prediction"] != rows[1]["prediction"]
    assert "gas" in rows[2]["reason"]
    beside = [row["beside the molecule"] for row in rows]
    assert beside == ["solvent=O", "solvent=CCCCCC", ""]
    assert "<span class='quiet'>(solvent=O)</span>" in (tmp_path / "own/index.html").read_text()
    assert main([*common, "--solvent", "O", "--output", str(tmp_path / "one")]) == 0
    same = rows_of((tmp_path / "one" / "molecules.csv").read_text())
    assert [row["prediction"] for row in same] == [rows[0]["prediction"]] * 3
