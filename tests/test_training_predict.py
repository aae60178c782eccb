"""Models on new molecules: the same rows out as in, and the reason where there is no prediction."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_data import SMILES, rows_of, small_dataset, small_options

from dgl_gmpool.cli import main
from dgl_gmpool.data import make_splits
from dgl_gmpool.data.chromophores import SOLVENT_DESCRIPTORS, solvent_descriptors
from dgl_gmpool.training import TrainingConfig, load_model, load_models, predict_smiles, train_run


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
        "name", "structure", "note", "task0 predicted", "task0 std over models",
        "task1 predicted", "task1 std over models", "reason",
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
    table = tmp_path / "new.csv"
    table.write_text("structure\nCCO\n")
    options = {
        "--model": str(run),
        "--csv": str(table),
        "--smiles-column": "structure",
        "--output": str(tmp_path / "out.csv"),
        **change,
    }
    assert main(["predict", *(part for pair in options.items() for part in pair)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out.csv").exists()


def test_the_folder_above_a_run_points_to_the_run(run):
    with pytest.raises(FileNotFoundError, match=r"did you mean .*run"):
        load_models(run.parent)


def test_a_damaged_or_foreign_model_file_is_refused(tmp_path):
    (tmp_path / "torn.pt").write_bytes(b"torn")
    with pytest.raises(ValueError, match="not a readable model file") as caught:
        load_model(tmp_path / "torn.pt")
    assert "weights_only" not in str(caught.value)  # torch's advice would run the file's code
    torch.save({"weights": torch.zeros(1)}, tmp_path / "foreign.pt")
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
