"""A run folder: whole at any moment, continued to the same numbers, the same rows out as in."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_data import rows_of, small_dataset, small_options, with_targets, without_seconds

from dgl_gmpool import GMPool, MoleculePredictor
from dgl_gmpool.data import Splits, make_splits
from dgl_gmpool.nn.grouping import GroupingMatrix
from dgl_gmpool.report.run_data import RunData
from dgl_gmpool.training import RunResult, TrainingConfig, TrainingError, load_models, train_run
from dgl_gmpool.training.run_folder import RunFolder
from dgl_gmpool.training.scores import scores


@pytest.fixture(scope="module")
def regression():
    return small_dataset(global_feats=True)


@pytest.fixture(scope="module")
def several_tasks():
    return small_dataset("classification", tasks=3)


@pytest.fixture(scope="module")
def config():
    return TrainingConfig(**small_options())


def splits_of(dataset, folds=2, seed=0):
    return make_splits(dataset.table, folds=folds, seed=seed, test_fraction=0.25)


def train(dataset, config, folder, **options):
    return train_run(dataset, splits_of(dataset), config, folder, progress=False, **options)


def content(folder: Path) -> dict[str, object]:
    """Every file of a run in comparable form, timings left out."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        # A page has the folder and the time of its run in it.
        if path.is_dir() or path.name == ".lock" or path.suffix == ".html":
            continue
        if path.suffix == ".json":
            value = without_seconds(json.loads(path.read_text()))
            found[name] = {k: v for k, v in value.items() if k not in ("environment", "commit")}
        elif path.name == "history.csv":
            found[name] = [{**row, "seconds": ""} for row in rows_of(path.read_text())]
        elif path.suffix == ".pt":
            saved = torch.load(path, weights_only=True)
            found[name] = {k: v.numpy().tobytes() for k, v in saved["state_dict"].items()}
        elif path.suffix == ".npz":
            with np.load(path) as saved:
                found[name] = {k: (saved[k].shape, saved[k].tobytes()) for k in saved.files}
        else:
            found[name] = path.read_text()
    return found


@pytest.fixture(scope="module")
def finished(regression, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    return train(regression, config, folder)


def test_the_folder_holds_what_it_promises(finished, regression):
    names = {str(p.relative_to(finished.folder)) for p in finished.folder.rglob("*")}
    per_fold = {"", "/model.pt", "/outputs.npz", "/result.json"}
    assert names - {".lock"} == {
        "config.json", "splits.json", "metrics.json", "history.csv", "test_predictions.csv",
        "valid_predictions.csv", "uncertainty.json", "training_molecules.csv",
        *(f"fold_{k}{name}" for k in (0, 1) for name in per_fold),
    }  # fmt: skip
    stored = json.loads((finished.folder / "config.json").read_text())
    assert {"dgl_gmpool", "torch", "dgl", "rdkit", "python"} <= set(stored["versions"])
    assert stored["report"] == regression.table.report.to_dict()
    assert TrainingConfig(**stored["training"]) == finished.config
    Splits.load(finished.folder / "splits.json").check(regression.table)
    assert RunResult.load(finished.folder) == finished


def test_mean_std_and_history_follow_from_the_folds(finished):
    folds = finished.metrics["folds"]
    values = [fold["test"]["rmse"] for fold in folds]
    assert finished.fold_scores() == values
    summary = finished.metrics["test"]["rmse"]
    assert summary == {
        "mean": pytest.approx(np.mean(values)),
        "std": pytest.approx(abs(values[0] - values[1]) / np.sqrt(2)),
        "folds": 2,
    }
    history = rows_of((finished.folder / "history.csv").read_text())
    for fold in folds:
        epochs = [row for row in history if row["fold"] == str(fold["fold"])]
        assert [row["epoch"] for row in epochs] == ["1", "2"]
        best = min(epochs, key=lambda row: float(row["valid_score"]))
        assert int(best["epoch"]) == fold["best_epoch"]
        assert float(best["valid_score"]) == fold["valid"]["rmse"]


@pytest.mark.parametrize("data", ["regression", "several_tasks"])
def test_predictions_are_the_test_rows_and_give_the_reported_scores(
    data, config, request, tmp_path
):
    dataset = request.getfixturevalue(data)
    result = train(dataset, config, tmp_path / "run")
    table, splits = dataset.table, splits_of(dataset)
    rows = rows_of((tmp_path / "run" / "test_predictions.csv").read_text())
    assert [row["id"] for row in rows] == [table.ids[i] for i in splits.test]
    assert [row["smiles"] for row in rows] == [table.smiles[i] for i in splits.test]

    def column(name):
        return np.array([[float(row[name.format(t)] or "nan") for t in table.task_names]
                         for row in rows])  # fmt: skip

    targets = column("{}")
    np.testing.assert_array_equal(targets.astype(np.float32), table.targets[splits.test])
    folds = [column(f"{{}} fold {k}") for k in range(2)]
    np.testing.assert_allclose(column("{} predicted"), np.mean(folds, axis=0), rtol=1e-12)
    if table.kind == "classification":
        assert ((np.array(folds) > 0) & (np.array(folds) < 1)).all()
    name = result.metrics["metric"]
    for k, values in enumerate(folds):
        again = scores(table.kind, targets.astype(np.float32), values)
        assert again[name] == pytest.approx(result.metrics["folds"][k]["test"][name], rel=1e-12)
    ensemble = scores(table.kind, targets.astype(np.float32), column("{} predicted"))
    assert ensemble[name] == pytest.approx(result.metrics["ensemble_test"][name], rel=1e-12)


@pytest.mark.parametrize("data", ["regression", "several_tasks"])
def test_every_validation_row_has_the_prediction_that_was_scored(data, config, request, tmp_path):
    dataset = request.getfixturevalue(data)
    result = train(dataset, config, tmp_path / "run")
    table, splits = dataset.table, splits_of(dataset)
    rows = rows_of((tmp_path / "run" / "valid_predictions.csv").read_text())
    valid = [(fold, i) for fold, (_, rows) in enumerate(splits.folds) for i in rows]
    assert [(int(row["fold"]), row["id"]) for row in rows] == [(f, table.ids[i]) for f, i in valid]
    name = result.metrics["metric"]
    for fold, (_, members) in enumerate(splits.folds):
        mine = [row for row in rows if row["fold"] == str(fold)]
        measured, predicted = (
            np.array([[float(row[head.format(t)] or "nan") for t in table.task_names]
                      for row in mine])
            for head in ("{}", "{} predicted")
        )  # fmt: skip
        np.testing.assert_array_equal(measured, table.targets[members])
        again = scores(table.kind, measured, predicted)[name]
        assert again == pytest.approx(result.metrics["folds"][fold]["valid"][name], rel=1e-12)


def test_model_files_hold_tensors_and_plain_values_and_predict_the_same(finished, regression):
    test = splits_of(regression).test
    for k, trained in enumerate(load_models(finished.folder)):
        path = finished.folder / f"fold_{k}" / "model.pt"
        saved = torch.load(path, weights_only=True)
        model = MoleculePredictor(**saved["config"])
        model.load_state_dict(saved["state_dict"])
        assert saved["task_names"] == ["task0"]
        assert saved["units"] == "log units"
        found = trained.predict(
            [regression.graphs[i] for i in test],
            global_feats=regression.table.global_feats[test],
            batch_size=finished.config.batch_size,
        )
        with np.load(path.with_name("outputs.npz")) as outputs:
            assert outputs["test_rows"].tolist() == test
            np.testing.assert_array_equal(found, outputs["test_outputs"])
    with pytest.raises(ValueError, match="2 global features per row and got 0"):
        trained.predict(regression.graphs[:2])


@pytest.mark.slow
def test_killed_at_any_write_it_continues_to_the_same_numbers(
    finished, regression, config, tmp_path, monkeypatch
):
    """From what is on the disk before and after each write, temporary files and all."""
    expected = content(finished.folder)
    folder, real, writes = tmp_path / "whole", os.replace, []

    def replace(source, target):
        writes.append(Path(target).name)
        shutil.copytree(folder, tmp_path / f"{len(writes)} before")
        real(source, target)
        shutil.copytree(folder, tmp_path / f"{len(writes)} after")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", replace)
        train(regression, config, folder)
    # config, splits; per fold history at its start and end, 2 epochs, model, outputs, result,
    # metrics; predictions of test and validation, training molecules, uncertainty
    assert len(writes) == 2 + 2 * 8 + 4
    for number, name in enumerate(writes, start=1):
        for moment in ("before", "after"):
            killed = tmp_path / f"{number} {moment}"
            # A killed process leaves its temporary file behind.
            assert len(list(killed.rglob(f".{name}.*"))) == (moment == "before")
            resumed = train(regression, config, killed, resume=True)
            assert content(killed) == expected, (moment, name)
            assert without_seconds(resumed.metrics) == without_seconds(finished.metrics)


def test_a_finished_run_is_read_not_repeated(finished, regression, config, monkeypatch, capsys):
    def never(*args, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr("dgl_gmpool.training.run_trainer.fit_fold", never)
    assert train(regression, config, finished.folder, resume=True) == finished
    train_run(regression, splits_of(regression), config, finished.folder, resume=True)
    assert "finished before" in capsys.readouterr().out


def test_a_lost_model_file_is_trained_again(finished, regression, config, tmp_path):
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run" / "fold_1" / "model.pt").unlink()
    (tmp_path / "run" / "metrics.json").unlink()
    train(regression, config, tmp_path / "run", resume=True)
    assert content(tmp_path / "run") == content(finished.folder)


@pytest.mark.parametrize(
    ("name", "key", "read"),
    [
        ("config.json", "training", RunResult.load),
        ("config.json", "data.task_names", RunData.load),
        ("metrics.json", "folds", load_models),
        ("metrics.json", "folds", RunResult.load),
        ("metrics.json", "seconds", RunResult.load),
        ("metrics.json", "valid", RunData.load),
    ],
)
def test_a_record_without_a_key_is_named_with_it(finished, tmp_path, name, key, read):
    shutil.copytree(finished.folder, tmp_path / "run")
    file = tmp_path / "run" / name
    record = json.loads(file.read_text())
    *above, last = key.split(".")
    del (record[above[0]] if above else record)[last]
    file.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=rf"{name} lacks '{key}'; was it edited\?"):
        read(tmp_path / "run")


def test_a_folder_in_use_or_foreign_is_refused(finished, regression, config, tmp_path):
    with pytest.raises(ValueError, match=r"not empty.*--resume \(resume=True\).*--output"):
        train(regression, config, finished.folder)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.docx").write_text("do not touch")
    with pytest.raises(ValueError, match="not a run that could be continued"):
        train(regression, config, tmp_path / "foreign", resume=True)
    with pytest.raises(ValueError, match="is a file"):
        train(regression, config, tmp_path / "foreign" / "thesis.docx")
    with (
        RunFolder(tmp_path / "busy").locked(),
        pytest.raises(ValueError, match="another process is writing"),
    ):
        train(regression, config, tmp_path / "busy")


def test_resuming_with_other_settings_names_them(finished, regression, tmp_path):
    other = TrainingConfig(**small_options(lr=0.5, readout_options={"similarity": "cauchy"}))
    with pytest.raises(ValueError, match="other settings") as caught:
        train(regression, other, finished.folder, resume=True)
    message = str(caught.value)
    assert "training.lr was 0.01, now 0.5" in message
    assert "training.readout_options.similarity was None, now 'cauchy'" in message
    assert "epochs" not in message

    targets = regression.table.targets.copy()
    targets[3] += 1
    config = finished.config
    with pytest.raises(ValueError, match=r"data\.fingerprint.* with the table and the settings"):
        train(with_targets(regression, targets), config, finished.folder, resume=True)
    # Only the file has another name.
    renamed = replace(regression, table=replace(regression.table, name="renamed"))
    assert train(renamed, config, finished.folder, resume=True) == finished
    with pytest.raises(ValueError, match=r"splits\.folds was 2, now 3"):
        train_run(regression, splits_of(regression, folds=3), config, finished.folder, resume=True)


def test_splits_of_another_table_are_refused(regression, several_tasks, config, tmp_path):
    fewer = small_dataset(rows=30)
    with pytest.raises(ValueError, match="splits were made for 30 rows"):
        train_run(regression, splits_of(fewer), config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_test_set_of_one_class_has_no_score_but_predictions(several_tasks, config, tmp_path):
    targets = several_tasks.table.targets.copy()
    splits = splits_of(several_tasks)
    targets[splits.test] = 1.0
    result = train(with_targets(several_tasks, targets), config, tmp_path / "run")
    assert np.isnan(result.fold_scores()).all()
    assert result.metrics["test"]["roc_auc"] == {"mean": None, "std": None, "folds": 0}
    assert result.metrics["folds"][0]["test"]["tasks"] == 0
    rows = rows_of((tmp_path / "run" / "test_predictions.csv").read_text())
    assert len(rows) == len(splits.test)


def test_an_error_in_a_fold_leaves_a_run_that_can_go_on(
    finished, regression, config, tmp_path, monkeypatch
):
    from dgl_gmpool.training.fold_trainer import FoldTrainer

    def fails(*args, **options):
        raise TrainingError("no luck")

    with monkeypatch.context() as patch:
        patch.setattr(FoldTrainer, "epoch", fails)
        with pytest.raises(TrainingError, match="no luck"):
            train(regression, config, tmp_path / "run")
    assert not RunFolder(tmp_path / "run").finished
    train(regression, config, tmp_path / "run", resume=True)
    assert content(tmp_path / "run") == content(finished.folder)


@pytest.mark.parametrize("device", ["cuda", "tpu"])
def test_a_device_that_is_not_there_is_refused(regression, config, tmp_path, device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ValueError, match="device"):
        train(regression, config, tmp_path / "run", device=device)


@pytest.mark.parametrize("similarity", ["linear", "gaussian"])
def test_inverted_groups_are_told(regression, tmp_path, capsys, monkeypatch, similarity):
    """Training leaves `linear` with either sign; here it starts inverted and hardly moves."""
    draw = GroupingMatrix.reset_parameters

    def inverted(grouping):
        draw(grouping)
        torch.nn.init.constant_(grouping.weight, 1.0)

    monkeypatch.setattr(GroupingMatrix, "reset_parameters", inverted)
    options = {**GMPool.PAPER, "similarity": similarity}
    config = TrainingConfig(
        **small_options(readout="gmpool", readout_options=options, epochs=1, lr=1e-6)
    )
    train_run(regression, splits_of(regression), config, tmp_path / "run")
    told = json.loads((tmp_path / "run" / "metrics.json").read_text())["folds"]
    assert [fold["inverted"] for fold in told] == [similarity == "linear"] * 2
    assert ("groups inverted" in capsys.readouterr().out) == (similarity == "linear")
