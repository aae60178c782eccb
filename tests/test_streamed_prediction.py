"""Tables of any length through predict and embed: in chunks, after a kill, by several processes."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil

import numpy as np
import pytest
from training_data import SMILES, rows_of, small_dataset, small_options

from dgl_gmpool.cli import main, partial_output, streamed
from dgl_gmpool.cli.partial_output import PartialOutput
from dgl_gmpool.data import make_splits
from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.load import load_predictor
from dgl_gmpool.training import TrainingConfig, load_models, predict_smiles, train_run
from dgl_gmpool.training.uncertainty import RunUncertainty

ROWS = [*SMILES, "C1CC", "", *SMILES[::-1], "OCC"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    dataset = small_dataset()
    splits = make_splits(dataset.table, folds=2, test_fraction=0.25)
    folder = tmp_path_factory.mktemp("streamed") / "run"
    config = TrainingConfig(**small_options())
    return train_run(dataset, splits, config, folder, progress=False).folder


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "in.csv"
    file.write_text("name,smiles\n" + "".join(f"m{i},{s}\n" for i, s in enumerate(ROWS)))
    return file


@pytest.fixture
def chunks(monkeypatch):
    monkeypatch.setattr(streamed, "CHUNK", 10)


def command(name, run, table, output, *more):
    arguments = [name, "--model", str(run), "--csv", str(table), "--output", str(output)]
    return main([*arguments, *map(str, more)])


@pytest.mark.parametrize(("name", "end"), [("predict", "csv"), ("embed", "csv"), ("embed", "npy")])
def test_killed_at_any_chunk_it_goes_on_to_the_same_output(
    run, table, tmp_path, monkeypatch, chunks, name, end
):
    whole, output = tmp_path / f"whole.{end}", tmp_path / f"out.{end}"
    assert command(name, run, table, whole) == 0
    add = PartialOutput.add
    count = 0

    def killed(self, data, state):
        nonlocal count
        if count == 0:
            raise KeyboardInterrupt
        count -= 1
        add(self, data, state)
        if count == 0:  # and what a kill leaves behind the last whole part
            self._file.write(b"half a li")
            self._file.flush()

    monkeypatch.setattr(PartialOutput, "add", killed)
    for parts in (0, 1, 3):
        count = parts
        assert command(name, run, table, output, "--resume") == 130
        assert not output.exists()
    monkeypatch.setattr(PartialOutput, "add", add)
    assert command(name, run, table, output, "--resume") == 0
    if end == "npy":
        np.testing.assert_allclose(np.load(output), np.load(whole), atol=1e-6)
    else:
        before, after = (list(csv.reader(f.read_text().splitlines())) for f in (whole, output))
        assert len(before) == len(after) == len(ROWS) + 1
        for old, new in zip(before, after):
            for a, b in zip(old, new):
                assert a == b or float(a) == pytest.approx(float(b), abs=1e-6)
    assert [file.name for file in tmp_path.iterdir() if "partial" in file.name] == []


def test_ctrl_c_says_how_to_go_on(run, table, tmp_path, monkeypatch, capsys, chunks):
    add = PartialOutput.add

    def killed(self, data, state):
        add(self, data, state)
        if state["rows"] == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(PartialOutput, "add", killed)
    assert command("predict", run, table, tmp_path / "out.csv") == 130
    assert "What is finished is kept; continue with: dgl-gmpool predict" in capsys.readouterr().err
    monkeypatch.setattr(PartialOutput, "add", add)
    assert command("predict", run, table, tmp_path / "out.csv", "--resume") == 0
    said = capsys.readouterr().out
    # Counts are of all rows, not of those since.
    assert f"{len(ROWS)} rows, {len(ROWS) - 2} predicted by 2 model(s), 2 without" in said


def stopped(run, table, output, monkeypatch):
    add = PartialOutput.add

    def killed(self, data, state):
        add(self, data, state)
        if state["rows"]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PartialOutput, "add", killed)
        assert command("predict", run, table, output) == 130


def test_going_on_with_something_else_is_refused(run, table, tmp_path, monkeypatch, capsys, chunks):
    output = tmp_path / "out.csv"
    stopped(run, table, output, monkeypatch)
    for change, said in ((["--coverage", "0.8"], "another --coverage"), ([], "another table")):
        if not change:
            table.write_text(table.read_text().replace("CCO\n", "CCN\n"))
        assert command("predict", run, table, output, "--resume", *change) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "leave out --resume to start over" in error
    # It put vectors behind predictions: its options are among those of predict.
    assert command("embed", run, table, output, "--resume") == 2
    assert "another command" in capsys.readouterr().err
    assert command("predict", run, table, output) == 0
    assert len(rows_of(output.read_text())) == len(ROWS)

    # The same run, by another way of writing its path.
    shutil.copytree(run, tmp_path / "run")
    stopped(tmp_path / "run", table, tmp_path / "path.csv", monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert command("predict", "run", table, tmp_path / "path.csv", "--resume") == 0

    # What one fold's model predicts comes with the intervals of its run.
    fold = tmp_path / "run" / "fold_0" / "model.pt"
    stopped(fold, table, tmp_path / "fold.csv", monkeypatch)
    with open(tmp_path / "run" / "uncertainty.json", "a") as file:
        file.write(" ")
    assert command("predict", fold, table, tmp_path / "fold.csv", "--resume") == 2
    assert "another model" in capsys.readouterr().err

    stopped(run, table, tmp_path / "b.csv", monkeypatch)
    (tmp_path / ".b.csv.partial").write_text("torn")
    assert command("predict", run, table, tmp_path / "b.csv", "--resume") == 2
    assert "is shorter than it was" in capsys.readouterr().err
    (tmp_path / ".b.csv.partial.json").write_text("{")
    assert command("predict", run, table, tmp_path / "b.csv", "--resume") == 2
    assert "is damaged" in capsys.readouterr().err
    assert command("predict", run, table, "-", "--resume") == 2
    assert "give --output a file" in capsys.readouterr().err


def test_two_commands_do_not_write_one_output(run, table, tmp_path, capsys):
    with PartialOutput(tmp_path / "out.csv", {}, resume=False) as first:
        first.add(b"mine", {})
        assert command("predict", run, table, tmp_path / "out.csv") == 2
        assert "another process is writing" in capsys.readouterr().err
        first.finish()
    assert (tmp_path / "out.csv").read_bytes() == b"mine"


@pytest.mark.parametrize("resume", [False, True])
def test_what_another_process_finishes_meanwhile_is_left_alone(tmp_path, monkeypatch, resume):
    output = tmp_path / "out.csv"
    first = PartialOutput(output, {}, resume=False).__enter__()
    first.add(b"mine", {})
    second = PartialOutput(output, {}, resume=resume)
    lock = partial_output.lock

    def end():
        first.finish()
        first.__exit__(None, None, None)

    if resume:  # before the second one opens what it goes on with
        end()
    else:  # or between opening and locking
        monkeypatch.setattr(partial_output, "lock", lambda *given: (end(), lock(*given)))
    with pytest.raises(ValueError, match="another process has just written"):
        second.__enter__()
    assert output.read_bytes() == b"mine"


def test_rows_of_one_molecule_get_equal_numbers_across_chunks(run, table, tmp_path, chunks):
    assert command("predict", run, table, tmp_path / "out.csv") == 0
    rows = rows_of((tmp_path / "out.csv").read_text())
    of = {}
    for row in rows:
        of.setdefault(row["smiles"], set()).add(row["task0 predicted"])
    assert all(len(values) == 1 for values in of.values())
    assert of["OCC"] == of["CCO"]


def test_the_command_and_python_say_the_same(run, table, tmp_path, chunks):
    assert command("predict", run, table, tmp_path / "out.csv", "--coverage", "0.8") == 0
    rows = rows_of((tmp_path / "out.csv").read_text())
    found = load_predictor(run).predict(ROWS, coverage=0.8)
    assert found.coverage == 0.8
    for name, values in {
        "task0 predicted": found.mean[:, 0],
        "task0 lower": found.lower[:, 0],
        "task0 upper": found.upper[:, 0],
        "task0 std over models": found.std[:, 0],
        "similarity to training": found.similarity,
        "nearest measured task0": found.nearest_measured[:, 0],
    }.items():
        written = np.array([float(row[name] or "nan") for row in rows])
        np.testing.assert_allclose(written, values, atol=1e-6)
    assert tuple(row["nearest training molecule"] for row in rows) == found.nearest
    assert tuple(row["reason"] for row in rows) == found.reasons
    assert tuple(row["note"] for row in rows) == found.notes
    known = RunUncertainty.load(run)
    there = [i for i, reason in enumerate(found.reasons) if not reason]
    half = known.tasks[0].half_width(found.similarity[there], 0.8)
    np.testing.assert_allclose(found.upper[there, 0] - found.mean[there, 0], half)
    np.testing.assert_allclose(found.mean[there, 0] - found.lower[there, 0], half)


def test_what_is_outside_the_domain_is_said(run):
    found = load_predictor(run).predict(["C" * 300, "CCO", "C1CC"])
    assert "larger than every validation row" in found.notes[0]
    assert found.notes[2] == ""
    assert found.nearest[2] == ""
    assert np.isnan(found.similarity[2])


@pytest.mark.parametrize("share", ["0", "1", "-0.5", "90", "nan"])
def test_a_coverage_is_a_share(run, table, tmp_path, capsys, share):
    assert command("predict", run, table, tmp_path / "out.csv", f"--coverage={share}") == 2
    assert "such as 0.9" in capsys.readouterr().err


def test_a_coverage_that_the_run_cannot_tell(run, table, tmp_path, capsys):
    assert command("predict", run, table, tmp_path / "out.csv", "--coverage", "0.99") == 2
    error = capsys.readouterr().err
    assert "too few validation rows to tell more than" in error
    share = error.rstrip(")\n").rpartition("--coverage ")[2]
    assert command("predict", run, table, tmp_path / "out.csv", "--coverage", share) == 0


def test_models_without_their_run_predict_alone(run, table, tmp_path):
    shutil.copy(run / "fold_0" / "model.pt", tmp_path / "model.pt")
    assert command("predict", tmp_path / "model.pt", table, tmp_path / "out.csv") == 0
    header = (tmp_path / "out.csv").read_text().splitlines()[0]
    assert header == "name,smiles,task0 predicted,note,reason"
    found = predict_smiles(load_models(run), ["CCO"])
    assert found.coverage is None
    assert np.isnan(found.lower).all()
    assert np.isnan(found.similarity).all()


def test_strict_ends_with_1_if_a_row_has_no_result(run, table, tmp_path):
    for name in ("predict", "embed"):
        assert command(name, run, table, tmp_path / f"{name}.csv", "--strict") == 1
        assert len(rows_of((tmp_path / f"{name}.csv").read_text())) == len(ROWS)
    (tmp_path / "good.csv").write_text("smiles\nCCO\n")
    assert command("predict", run, tmp_path / "good.csv", tmp_path / "o.csv", "--strict") == 0


def test_scores_where_the_table_has_measured_values(run, tmp_path, capsys):
    (tmp_path / "t.csv").write_text(
        "smiles;task0\nCCO;3,5\nCCN;>4\nCO;about 4\nC1CC;2,0\nCCC;n.d.\nCC;2,5\n"
    )
    assert command("predict", run, tmp_path / "t.csv", tmp_path / "out.csv") == 0
    said = capsys.readouterr().out
    found = load_predictor(run).predict(["CCO", "CC"]).mean[:, 0]
    rmse = np.sqrt(np.mean((found - [3.5, 2.5]) ** 2))
    assert f"task0, 2 measured rows: RMSE {rmse:.3f}" in said
    kept = load_predictor(run).predict(["CCN"]).mean[0, 0] > 4
    assert f"; {kept:.0%} of 1 bounds respected; 1 cells could not be used" in said
    (tmp_path / "t.csv").write_text("smiles,task0\nCCO,\n")
    assert command("predict", run, tmp_path / "t.csv", tmp_path / "b.csv") == 0
    assert "no scores of 'task0': its column holds no value" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("head", "cell", "flags", "mark"),
    [
        ("smiles;task0", "CCO;3,5", [], ","),
        ("smiles,task0", 'CCO,"3,500"', ["--decimal-comma"], ","),
        ("smiles;task0", "CCO;3.5", [], "."),
        ("smiles;position", "CCO;2,4", [], "."),
    ],
)
def test_new_numbers_are_written_as_those_of_the_table(run, tmp_path, head, cell, flags, mark):
    """Beside decimal commas, a spreadsheet takes 6.878 for six thousand."""
    (tmp_path / "t.csv").write_text(f"{head}\n{cell}\n")
    assert command("predict", run, tmp_path / "t.csv", tmp_path / "o.csv", *flags) == 0
    (row,) = DelimitedText(tmp_path / "o.csv", columns=["smiles"])
    known = dict(zip(DelimitedText(tmp_path / "o.csv", columns=["smiles"]).header, row.cells))
    expected = load_predictor(run).predict(["CCO"])
    for name, value in (
        ("task0 predicted", expected.mean[0, 0]),
        ("task0 lower", expected.lower[0, 0]),
        ("similarity to training", expected.similarity[0]),
    ):
        assert known[name] == repr(float(value)).replace(".", mark)


def test_a_table_without_rows(run, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("smiles,task0\n")
    for name in ("predict", "embed"):
        assert command(name, run, tmp_path / "t.csv", tmp_path / f"{name}.csv") == 0
        assert len((tmp_path / f"{name}.csv").read_text().splitlines()) == 1
    assert "0 rows" in capsys.readouterr().out


def test_an_output_named_gz_is_compressed(run, table, tmp_path, chunks):
    assert command("predict", run, table, tmp_path / "out.csv.gz") == 0
    rows = rows_of(gzip.decompress((tmp_path / "out.csv.gz").read_bytes()).decode())
    assert [row["smiles"] for row in rows] == ROWS
    assert command("predict", run, tmp_path / "out.csv.gz", tmp_path / "again.csv") == 0


def test_an_output_named_as_something_else_is_refused(run, table, tmp_path, capsys):
    """Read as SMILES, an output of commas had "a quote that opens a cell", after all the work."""
    for name in (
        *("out.parquet", "out.sdf", "out.xlsx", "out.json", "out.smi", "out.SMI", "out.can"),
        *("out.npy", "out.npz"),
    ):
        for packed in ("", ".gz", ".GZ"):
            for verb in ("predict", "embed"):
                if (verb, name + packed) == ("embed", "out.npy"):
                    continue
                assert command(verb, run, table, tmp_path / f"{name}{packed}") == 2
                remedy = f"give a name such as {tmp_path / 'out.csv'}{packed}"
                if verb == "embed" and name.startswith("out.np"):
                    remedy += f", or {tmp_path / 'out.npy'} for an array"
                assert f"{remedy}\n" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(("out", "."))] == []


@pytest.mark.parametrize("name", ["out.tsv", "out.tab", "out.TSV", "out.tsv.gz"])
def test_tabs_where_the_output_is_named_so(run, tmp_path, capsys, name):
    """With the cells that CSV needs quotes for, titles and Excel's first line."""
    header = 'smiles;"a ""b"";";task0'
    rows = ['CCO;"x;y";3,5', 'CCN;"""q""";4,5', 'CC;"two\nlines";5', "CO;tab\there;"]
    lines = ["sep=;", "a title;;", header, *rows]
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    assert command("predict", run, tmp_path / "in.csv", tmp_path / "plain.csv") == 0
    said = capsys.readouterr().out.splitlines()[1:]
    assert command("predict", run, tmp_path / "in.csv", tmp_path / name) == 0
    assert capsys.readouterr().out.splitlines()[1:] == said
    assert "task0, 3 measured rows: RMSE" in " ".join(said)
    tabs, plain = (
        DelimitedText(tmp_path / each, columns=["task0"]) for each in (name, "plain.csv")
    )
    assert (tabs.delimiter, plain.delimiter, tabs.rows_above) == ("\t", ";", 1)
    assert tabs.header == plain.header
    found = [[re.sub(r"\s", " ", cell) for cell in row.cells] for row in plain]
    assert [row.cells for row in tabs] == found
    assert found[1][1] == '"q"'


def test_structures_are_predicted_from_a_file_of_them(run, tmp_path):
    from rdkit import Chem

    writer = Chem.SDWriter(str(tmp_path / "in.sdf"))
    for smiles in ("CCO", "c1ccccc1"):
        writer.write(Chem.MolFromSmiles(smiles))
    writer.close()
    assert command("predict", run, tmp_path / "in.sdf", tmp_path / "out.csv") == 0
    rows = rows_of((tmp_path / "out.csv").read_text())
    assert [row["smiles"] for row in rows] == ["CCO", "c1ccccc1"]
    assert all(row["task0 predicted"] for row in rows)


@pytest.mark.slow
def test_several_processes_read_the_molecules(run, table, tmp_path, chunks):
    for name, processes in (("one.csv", 1), ("two.csv", 2)):
        assert command("predict", run, table, tmp_path / name, "--processes", processes) == 0
    assert (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()


def test_runs_of_earlier_versions_get_what_they_lack_once(tmp_path, capsys):
    table = tmp_path / "own.csv"
    lines = [f"O=C(Nc1ccccc1){'C' * (i + 1)},{i % 7 - 3.5}" for i in range(36)]
    table.write_text("smiles,logS\n" + "\n".join(lines) + "\n")
    flags = ["--csv", str(table), "--target", "logS", "--folds", "2", "--epochs", "1"]
    flags += ["--hidden", "8", "--readout", "mean", "--output", str(tmp_path / "runs")]
    flags += ["--no-report", "--baselines", "none"]
    assert main(["train", "csv", *flags]) == 0
    folder = tmp_path / "runs" / "mean-seed0"
    before = json.loads((folder / "uncertainty.json").read_text())
    for name in ("uncertainty.json", "training_molecules.csv"):
        (folder / name).unlink()
    capsys.readouterr()
    assert command("predict", folder, table, tmp_path / "a.csv") == 0
    assert "lacks what tells its errors: intervals are worked out, this once" in (
        capsys.readouterr().out
    )
    assert json.loads((folder / "uncertainty.json").read_text()) == before
    assert command("predict", folder, table, tmp_path / "b.csv") == 0
    assert "worked out" not in capsys.readouterr().out
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    (folder / "uncertainty.json").unlink()
    table.write_text("smiles,logS\nC,1\nCC,2\n")
    (tmp_path / "new.csv").write_text("smiles\nCCO\n")
    assert command("predict", folder, tmp_path / "new.csv", tmp_path / "c.csv") == 0
    said = capsys.readouterr().out
    assert "no intervals, calibration or nearest molecules: these splits were made for" in said
    assert "lower" not in (tmp_path / "c.csv").read_text()
