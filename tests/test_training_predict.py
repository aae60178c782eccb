"""Models on new molecules: the same rows out as in, and the reason where there is no prediction."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_data import SMILES, check_refused, rows_of, small_dataset, small_options

from dgl_gmpool import __version__, load_predictor
from dgl_gmpool.cli import main
from dgl_gmpool.data import make_splits
from dgl_gmpool.data.chromophores import SOLVENT_DESCRIPTORS, solvent_descriptors
from dgl_gmpool.training import (
    RunResult,
    TrainingConfig,
    load_model,
    load_models,
    predict_smiles,
    train_run,
)
from dgl_gmpool.training.run_trainer import RunTrainer

#: What ``predict`` puts behind a table's columns, for a run of one number.
NEW = [
    *("task0 predicted", "task0 lower", "task0 upper", "task0 std over models"),
    *("similarity to training", "nearest training molecule", "nearest measured task0"),
    *("note", "reason"),
]


def trained_folder(dataset, folder, **changes):
    splits = make_splits(dataset.table, folds=2, test_fraction=0.25)
    config = TrainingConfig(**small_options(**changes))
    return train_run(dataset, splits, config, folder, progress=False).folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained_folder(small_dataset(), tmp_path_factory.mktemp("predict") / "run")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    dataset = small_dataset("classification", tasks=2)
    return trained_folder(dataset, tmp_path_factory.mktemp("predict") / "run")


def test_predictions_of_the_test_rows_are_those_of_the_run(run):
    stored = rows_of((run / "test_predictions.csv").read_text())
    found = predict_smiles(load_models(run), [row["smiles"] for row in stored])
    np.testing.assert_allclose(
        found.mean[:, 0], [float(row["task0 predicted"]) for row in stored], atol=1e-6
    )
    one = predict_smiles([load_model(run / "fold_1" / "model.pt")], [stored[0]["smiles"]])
    assert one.mean[0, 0] == pytest.approx(float(stored[0]["task0 fold 1"]), abs=1e-6)
    assert np.isnan(one.std).all()


def test_rows_that_cannot_be_predicted_keep_their_place(run):
    smiles = ["CCO", "C1CC", "", "c1ccccc1", "C(C)(C)(C)(C)C", "CCO"]
    found = predict_smiles(load_models(run), smiles)
    failed = [bool(reason) for reason in found.reasons]
    assert failed == [False, True, True, False, True, False]
    assert np.isnan(found.mean[:, 0]).tolist() == failed
    assert found.mean[0, 0] == found.mean[5, 0]
    assert "valence" in found.reasons[4]
    nothing = predict_smiles(load_models(run), ["", "C1CC"])
    assert np.isnan(nothing.mean).all()
    assert predict_smiles(load_models(run), []).mean.shape == (0, 1)


def test_the_command_keeps_every_row_and_column(classifier, tmp_path, capsys):
    table = tmp_path / "new.csv"
    table.write_text(
        'name,structure,note\na,CCO,"with, comma"\nb,C1CC,\nc,,blank\n\nd,CC\ne,[Na+].[Cl-],salt\n'
    )
    output = tmp_path / "out.csv"
    arguments = ["predict", "--model", str(classifier), "--csv", str(table)]
    arguments += ["--smiles-column", "structure", "--output", str(output)]
    assert main(arguments) == 0
    assert "6 rows, 2 predicted by 2 model(s), 4 without a prediction" in capsys.readouterr().out
    with open(output, newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == [
        "name", "structure", "note", *(f"{name} 2" for name in (
            "task0 predicted", "task0 std over models", "task1 predicted", "task1 std over models",
            "similarity to training", "nearest training molecule", "nearest measured task0",
            "nearest measured task1", "note", "reason",
        )),
    ]  # fmt: skip
    assert [row[:3] for row in rows] == [
        ["a", "CCO", "with, comma"], ["b", "C1CC", ""], ["c", "", "blank"], ["", "", ""],
        ["d", "CC", ""], ["e", "[Na+].[Cl-]", "salt"],
    ]  # fmt: skip
    for row in rows:
        predicted = bool(row[3])
        assert predicted == bool(row[5]) != bool(row[-1])
        if predicted:
            assert 0 < float(row[3]) < 1
    assert rows[4][-1] == "2 cells where the header has 3"
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0


def command(model, table, output, *more):
    return main(["predict", "--model", str(model), "--csv", str(table), "--output", str(output),
                 *more])  # fmt: skip


def cells_of(path, delimiter=","):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_rows_of_one_molecule_get_equal_numbers(run):
    """However it is written, wherever it stands, whatever the processor's rounding."""
    smiles = ["CCO", "c1ccccc1C", "OCC", "CC(C)O", "C(O)C", "Cc1ccccc1", "CCO |r|", *SMILES, "CCO"]
    found = predict_smiles(load_models(run), smiles, batch_size=3)
    for rows in ([0, 2, 4, 6, len(smiles) - 1], [1, 5]):
        assert len({float(found.mean[row, 0]) for row in rows}) == 1
        assert len({float(found.std[row, 0]) for row in rows}) == 1
    assert not np.isnan(found.mean).any()
    assert [row for row, note in enumerate(found.notes) if note] == [6]


def test_atoms_that_the_features_do_not_tell_apart_are_noted(run):
    found = predict_smiles(
        load_models(run), ["CCO", "*C", "[Og]", "[He]", "[Na+].[Cl-]", "[*]O[Og]"]
    )
    said = "atoms of kinds that the features do not tell apart: "
    assert found.notes == ("", f"{said}*", f"{said}Og", f"{said}He", "", f"{said}*, Og")
    assert found.reasons == ("",) * 6


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_a_batch_holds_at_least_one_molecule(run, size):
    with pytest.raises(ValueError, match=f"batch_size is {size}; give an integer >= 1"):
        predict_smiles(load_models(run), ["CCO"], batch_size=size)


@pytest.mark.parametrize("size", ["0", "-1", "x", "1.5"])
def test_the_commands_batch_size(run, tmp_path, capsys, size):
    with pytest.raises(SystemExit) as end:
        command(run, "t.csv", tmp_path / "out.csv", f"--batch-size={size}")
    assert end.value.code == 2
    assert (
        f"--batch-size: '{size}': expected a whole number of at least 1" in capsys.readouterr().err
    )


def test_no_row_and_no_cell_is_lost(run, tmp_path):
    table = tmp_path / "t.csv"
    table.write_text('smiles,name\nCCO,a,EXTRA,MORE\nCC OC,b\n"CC",c\n\nC\n')
    assert command(run, table, tmp_path / "out.csv") == 0
    header, *rows = cells_of(tmp_path / "out.csv")
    assert header == ["smiles", "name", "", "", *NEW]
    assert [row[:4] for row in rows] == [
        ["CCO", "a", "EXTRA", "MORE"],
        ["CC OC", "b", "", ""],
        ["CC", "c", "", ""],
        ["", "", "", ""],
        ["C", "", "", ""],
    ]
    assert [bool(row[4]) for row in rows] == [False, False, True, False, False]
    assert [row[-1][:16] for row in rows] == [
        "4 cells where th", "not a SMILES: 'O", "", "blank row", "1 cells where th",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "separator"),
    [
        ("t.csv", "# made by a tool\nname;smiles\na;CCO\nb;CC\n", ";"),
        ("t.csv", "sep=|\nname|smiles\na|CCO\nb|CC\n", "|"),
        ("t.tsv", 'name\tsmiles\n"a\tCCO\nb"b\tCC\n', "\t"),
        ("t.smi", "CCO a\nCC b\n", "\t"),
        ("t.csv", "smiles,task0 predicted,reason\nCCO,1,x\nCC,2,y\n", ","),
    ],
)
def test_output_is_input(run, tmp_path, name, text, separator):
    first = tmp_path / f"0{name}"
    second, third = (tmp_path / f"{n}{name.replace('.smi', '.tsv')}" for n in (1, 2))
    first.write_text(text)
    assert command(run, first, second) == 0
    assert command(run, second, third) == 0
    for before, after in ((first, second), (second, third)):
        above = before.read_text().splitlines()[: -3 if name != "t.smi" or before != first else -2]
        assert after.read_text().splitlines()[: len(above)] == above
        rows = [line.split(separator) for line in after.read_text().splitlines()[-3:]]
        assert len({len(row) for row in rows}) == 1
        assert len(set(rows[0])) == len(rows[0])
    width = len(second.read_text().splitlines()[-1].split(separator))
    for old, new in zip(second.read_text().splitlines()[-2:], third.read_text().splitlines()[-2:]):
        assert new.startswith(old)
        cells = new.split(separator)
        assert cells[width - len(NEW) : width] == cells[width:]


def test_the_table_can_come_by_pipe_and_go_to_standard_output(run, tmp_path):

    (tmp_path / "t.csv").write_text("smiles\nCCO\n")
    # What is written twice in one process comes from a pipe, and then from a file.
    twice = (
        "import sys; from dgl_gmpool.cli import main; "
        "[main(['predict', '--model', sys.argv[1], '--csv', table, '--output', output]) "
        "for table, output in (('-', '-'), (sys.argv[2], '/dev/stdout'))]"
    )
    pipe = 'cat {2} | {0} -c "{3}" {1} {2}'
    file = "cat {2} | {0} -m dgl_gmpool predict --model {1} --csv - --output /dev/stdout > {4}"
    for shell, outputs in ((pipe, ("-", "/dev/stdout")), (file, ("/dev/stdout",))):
        given = (sys.executable, run, tmp_path / "t.csv", twice, tmp_path / "o.csv")
        done = subprocess.run(
            ["bash", "-c", shell.format(*given)], capture_output=True, text=True, check=True
        )
        text = (tmp_path / "o.csv").read_text() if shell is file else done.stdout
        lines = text.splitlines()
        assert len(lines) == 2 * len(outputs)
        assert lines[::2] == [",".join(["smiles", *NEW])] * len(outputs)
        for output in outputs:
            assert f"{output}: 1 rows, 1 predicted by 2 model(s)" in done.stderr
    assert os.path.islink("/dev/stdout")


def test_output_that_cannot_be_written_is_found_before_the_model_is_read(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for output in (tmp_path, tmp_path / "file" / "out.csv"):
        assert command("no model", "no table", output) == 2
        error = capsys.readouterr().err
        assert "folder" in error
        assert "no run folder" not in error


def test_a_link_as_output_is_written_through(run, tmp_path):
    (tmp_path / "t.csv").write_text("smiles\nCCO\n")
    (tmp_path / "old.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("old.csv")
    assert command(run, tmp_path / "t.csv", tmp_path / "link.csv", "--overwrite") == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len(cells_of(tmp_path / "old.csv")) == 2


@pytest.mark.parametrize("final", [False, True])
def test_a_run_without_one_of_its_models_is_not_used_in_silence(final, tmp_path, capsys):
    folder = trained_folder(small_dataset(), tmp_path / "run", readout="mean", final=final)
    lost = folder / ("final_0" if final else "fold_0") / "model.pt"
    lost.unlink()
    (tmp_path / "t.csv").write_text("smiles\nCCO\n")
    assert command(folder, tmp_path / "t.csv", tmp_path / "out.csv") == 2
    error = capsys.readouterr().err
    assert f"{lost} is not there, one of the 2 models that the run predicts with" in error
    assert load_models(error.split()[-1])  # the way out that the message offers


def test_an_unfinished_run_is_not_used_in_silence(tmp_path, monkeypatch, capsys):
    train = RunTrainer._train_fold

    def killed(self, number):
        if number == 1:
            raise KeyboardInterrupt
        train(self, number)

    monkeypatch.setattr(RunTrainer, "_train_fold", killed)
    with pytest.raises(KeyboardInterrupt):
        trained_folder(small_dataset(), tmp_path / "run", readout="mean")
    with pytest.raises(
        ValueError, match=r"is not finished \(1 of its folds .*--resume .*; or use"
    ) as caught:
        load_models(tmp_path / "run")
    (tmp_path / "t.csv").write_text("smiles\nCCO\n")
    assert command(tmp_path / "run", tmp_path / "t.csv", tmp_path / "out.csv") == 2
    assert not (tmp_path / "out.csv").exists()
    # The way out that the message offers.
    alone = str(caught.value).rpartition(": ")[2]
    assert command(alone, tmp_path / "t.csv", tmp_path / "out.csv") == 0
    said = capsys.readouterr().out
    assert "1 predicted by 1 model(s)" in said
    assert "no intervals, calibration or nearest molecules: the run in" in said
    assert "is not finished; continue it" in said
    with pytest.warns(UserWarning, match="is of a run that is not finished, so intervals"):
        load_predictor(alone).predict(["CCO"])
    with pytest.raises(ValueError, match=r"holds a run that is not finished; .*resume=True"):
        RunResult.load(tmp_path / "run")
    with pytest.raises(ValueError, match="there is no folder"):
        RunResult.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        RunResult.load(tmp_path)


def test_models_of_other_versions_say_which(run, tmp_path):
    whole = torch.load(run / "fold_0" / "model.pt", weights_only=True)
    state = dict(whole["state_dict"])
    key, value = next(iter(state.items()))
    for changes, said in (
        ({"format": 2}, "it has the format 2, expected 1"),
        ({"format": None}, "it has the format None"),
        ({"config": {**whole["config"], "new_option": 3}}, "argument 'new_option'"),
        ({"config": {**whole["config"], "readout": "newpool"}}, "unknown readout 'newpool'"),
        ({"state_dict": {k: v for k, v in state.items() if k != key}}, f'"{key}"'),
        ({"state_dict": {**state, key: value[:1]}}, "size mismatch"),
        ({"target_scaler": {"mean": torch.zeros(1)}}, "'std'"),
        *(({name: KeyError}, f"it lacks {name}") for name in whole if name not in
          ("format", "dgl_gmpool", "loss", "features", "kinds", "classes")),
    ):  # fmt: skip
        saved = {k: v for k, v in {**whole, **changes}.items() if v is not KeyError}
        torch.save({**saved, "dgl_gmpool": "9.9.9"}, tmp_path / "m.pt")
        with pytest.raises(ValueError, match=r"written by dgl_gmpool 9\.9\.9 and") as caught:
            load_model(tmp_path / "m.pt")
        assert said in str(caught.value)
        assert f"by this one, {__version__}" in str(caught.value)
        assert "pip install dgl_gmpool==9.9.9" in str(caught.value)
        assert "\n" not in str(caught.value)
        torch.save(saved, tmp_path / "m.pt")
        with pytest.raises(ValueError, match="it was changed or damaged"):
            load_model(tmp_path / "m.pt")


def test_a_models_configuration_is_a_copy(run):
    model = load_model(run / "fold_0" / "model.pt").model
    model.config["readout_options"]["tol"] = 0.9
    assert "tol" not in model.config["readout_options"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "nowhere"}, "no run folder"),
        ({"--smiles-column": "Structure"}, "Did you mean 'structure'?"),
        ({"--csv": "nowhere.csv"}, "nowhere.csv"),
        ({"--solvent-column": "structure"}, "trained without solvents"),
    ],
)
def test_errors_of_the_command_are_one_line(run, tmp_path, capsys, change, message):
    check_refused("predict", change, message, run, tmp_path, capsys)


def test_the_folder_above_a_single_run_stands_for_it_and_of_several_asks_which(run, tmp_path):
    shutil.copytree(run, tmp_path / "a")
    above, alone = load_predictor(tmp_path), load_predictor(run)
    assert np.array_equal(above.predict(["CCO"]).mean, alone.predict(["CCO"]).mean)
    assert np.array_equal(above.predict(["CCO"]).lower, alone.predict(["CCO"]).lower)
    shutil.copytree(run, tmp_path / "b")
    with pytest.raises(FileNotFoundError, match=r"holds 2 runs; give one of them: .*a, .*b"):
        load_models(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no fold_"):
        load_models(tmp_path / "a" / "fold_0")


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_a_packed_run_is_to_be_unpacked(run, tmp_path, kind):
    packed = shutil.make_archive(str(tmp_path / "run"), kind, run)
    with pytest.raises(ValueError, match="unpack it and give the folder of the run"):
        load_models(packed)


def test_a_damaged_or_foreign_model_file_is_refused(tmp_path):
    (tmp_path / "torn.pt").write_bytes(b"torn")
    with pytest.raises(ValueError, match="not a readable model file") as caught:
        load_model(tmp_path / "torn.pt")
    assert "weights_only" not in str(caught.value)  # torch's advice would run the file's code
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.pt")
    whole = (tmp_path / "foreign.pt").read_bytes()
    (tmp_path / "bits.pt").write_bytes(whole.replace(b"weights", b"w\xff\xff\xff\xffts"))
    with pytest.raises(ValueError, match="it is damaged"):
        load_model(tmp_path / "bits.pt")
    with pytest.raises(ValueError, match="something else than a model of dgl_gmpool"):
        load_model(tmp_path / "foreign.pt")


def test_models_of_different_runs_do_not_mix(run, classifier):
    with pytest.raises(ValueError, match="predict different things"):
        predict_smiles([*load_models(run), *load_models(classifier)], ["CCO"])
    with pytest.raises(ValueError, match="no model"):
        predict_smiles([], ["CCO"])


def test_models_trained_with_solvents_take_a_solvent(tmp_path):
    dataset = small_dataset()
    solvents = ["O" if i % 2 else "CCO" for i in range(len(dataset))]
    feats = np.array([solvent_descriptors(s) for s in solvents], np.float32)
    assert feats.shape[1] == len(SOLVENT_DESCRIPTORS)
    dataset = replace(dataset, table=replace(dataset.table, global_feats=feats))
    folder = trained_folder(dataset, tmp_path / "run", readout="mean")
    stored = rows_of((folder / "test_predictions.csv").read_text())
    of = dict(zip(SMILES, solvents))
    models = load_models(folder)
    smiles = [row["smiles"] for row in stored]
    found = predict_smiles(models, smiles, solvents=[of[s] for s in smiles])
    np.testing.assert_allclose(
        found.mean[:, 0], [float(row["task0 predicted"]) for row in stored], atol=1e-5
    )
    bad = predict_smiles(models, ["CCO", "CCO"], solvents=["gas", "O"])
    assert "gas" in bad.reasons[0]
    assert bad.reasons[1] == ""
    with pytest.raises(ValueError, match="give each row's solvent"):
        predict_smiles(models, smiles)
