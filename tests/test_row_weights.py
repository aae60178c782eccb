"""Weights of rows and of targets: what they do to the loss, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_recipes import SMALL
from test_target_kinds import load, table_file
from training_data import small_dataset, small_options

from dgl_gmpool import cli
from dgl_gmpool.data import AuxiliaryTargets
from dgl_gmpool.data.features import COLUMN, Features
from dgl_gmpool.training import TrainingConfig
from dgl_gmpool.training.fold_data import FoldData, check_fold
from dgl_gmpool.training.forest import _filled
from dgl_gmpool.training.standardizer import Standardizer
from dgl_gmpool.training.table_task import TableTask

CPU = torch.device("cpu")


def with_weights(dataset, weights):
    object.__setattr__(dataset.table, "weights", np.asarray(weights, dtype=np.float64))
    return dataset


def prepared(dataset, rows, **options):
    return FoldData.prepare(dataset, rows, TrainingConfig(**small_options(**options)), device=CPU)


def test_a_row_of_weight_two_is_two_rows_and_one_of_none_is_no_row():
    rng = np.random.default_rng(0)
    weights = np.resize([2.0, 0.0, 1.0, 3.0], 36)
    dataset = with_weights(small_dataset(), weights)
    rows = list(range(24))
    data = prepared(dataset, rows)
    repeated = np.repeat(rows, weights[:24].astype(int))
    scaler = Standardizer.fit(dataset.table.targets[repeated])
    np.testing.assert_allclose(data.target_scaler.mean, scaler.mean)
    np.testing.assert_allclose(data.target_scaler.std, scaler.std)
    outputs = torch.tensor(rng.normal(size=(36, data.task.width)), dtype=torch.float32)
    found = data.task.loss(outputs[rows], data.labels.take(torch.tensor(rows)))
    plain = data.labels.take(torch.tensor(repeated))._replace(weight=None)
    assert found.item() == pytest.approx(data.task.loss(outputs[repeated], plain).item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["classification", "multiclass"])
def test_balanced_classes_are_counted_by_the_weights_of_their_rows(kind):
    """Rows of weight 0 had a share in the balance, and one of weight 2 counted once."""
    names = ("a", "b", "c") if kind == "multiclass" else ()
    targets = np.resize([0.0, 0, 1, 0, 2 if names else 1, np.nan], (36, 1))
    weights = np.random.default_rng(0).integers(0, 4, 36).astype(float)
    task = TableTask.of(["y"], [kind], [names])
    found = task.cell_weights("balanced", targets, np.arange(24), weights[:24] / 8)
    repeated = np.repeat(np.arange(24), weights[:24].astype(int))
    np.testing.assert_allclose(found, task.cell_weights("balanced", targets, repeated))
    dataset = small_dataset()
    table = replace(
        dataset.table, kind=kind, kinds=(), classes=(names,), targets=targets, weights=weights
    )
    data = prepared(replace(dataset, table=table), range(24), positive_weight="balanced")
    cells = data.labels.weight.numpy()
    sums = [cells[:24][targets[:24] == each].sum() for each in range(len(names) or 2)]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-6)


def test_rows_of_no_weight_say_nothing_of_features():
    """They moved the scale; a column that only they had, or that varied in them alone, counted."""
    weights = np.resize([2.0, 0.0, 1.0], 36)
    columns = np.random.default_rng(0).normal(size=(36, 4)).astype(np.float32)
    columns[weights > 0, 1] = np.nan
    columns[weights > 0, 2] = 5
    columns[:, 3] *= 1e-13
    dataset = with_weights(small_dataset(), weights)
    names = ("a", "b", "c", "d")
    table = replace(dataset.table, features=(Features(COLUMN, names, columns),))
    data = prepared(replace(dataset, table=table), range(24))
    repeated = np.repeat(columns[:24], weights[:24].astype(int), axis=0).astype(np.float64)
    kept = [0, 3]
    np.testing.assert_allclose(data.global_scaler.mean[kept], repeated[:, kept].mean(axis=0))
    np.testing.assert_allclose(data.global_scaler.std[kept], repeated[:, kept].std(axis=0))
    assert (data.global_feats[:, [1, 2]] == 0).all()
    filled = _filled(columns, np.arange(24), weights)
    assert np.array_equal(filled[weights > 0, 1], np.zeros(24))


def test_auxiliary_targets_have_the_weights_of_their_rows():
    weights = np.resize([2.0, 0.0, 1.0, 3.0], 36)
    values = np.random.default_rng(0).normal(size=(36, 3)).astype(np.float32)
    values[::5, 0] = np.nan
    values[weights > 0, 2] = np.nan
    dataset = with_weights(small_dataset(), weights)
    beside = AuxiliaryTargets("sizes", "regression", ("a", "b", "c"), values)
    table = replace(dataset.table, auxiliary=(beside,))
    (part,) = prepared(replace(dataset, table=table), range(24), auxiliary={"sizes": 1}).auxiliary
    repeated = np.repeat(values[:24, :2], weights[:24].astype(int), axis=0).astype(np.float64)
    expected = (repeated - np.nanmean(repeated, axis=0)) / np.nanstd(repeated, axis=0)
    rows = torch.arange(24)
    found = part.task.loss(torch.zeros(24, 2), part.labels.take(rows))
    assert found.item() == pytest.approx(np.nanmean(expected**2), rel=1e-5)


def test_weights_of_one_size_change_nothing():
    plain = prepared(small_dataset(), range(24))
    assert plain.labels.weight is None
    same = prepared(with_weights(small_dataset(), np.full(36, 7.0)), range(24))
    assert (same.labels.weight == 1).all()
    np.testing.assert_allclose(same.target_scaler.std, plain.target_scaler.std)
    assert torch.equal(same.labels.targets, plain.labels.targets)


def test_rows_without_weight_cannot_train_alone():
    dataset = with_weights(small_dataset(), np.r_[np.zeros(24), np.ones(12)])
    with pytest.raises(ValueError, match="rows with a weight above 0 has a measured"):
        check_fold(dataset, range(24), range(24, 36), fold=0)


def test_weights_of_targets():
    task = TableTask.of(["a", "b"], ["regression", "regression"])
    assert task.weights_of({}) is None
    assert task.weights_of({"b": 3}).tolist() == [1, 3]
    with pytest.raises(ValueError, match=r"target in task_weights: 'B'\. Did you mean 'b'"):
        task.weights_of({"B": 3})
    with pytest.raises(ValueError, match="a weight above 0 for one target at least"):
        task.weights_of({"a": 0, "b": 0})
    for wrong in ({"a": -1}, {"a": float("inf")}, {"a": "1"}):
        with pytest.raises(ValueError, match="task_weights=a="):
            TrainingConfig(task_weights=wrong)
    config = TrainingConfig(task_weights={"a": 2})
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert "task_weights" not in TrainingConfig().to_dict()


@pytest.mark.parametrize(("cell", "message"), [
    ("-1", "'-1': expected a number from 0"),
    ("1.7e308", r"'1.7e308': expected .* to 3e\+38; correct"),
    ("inf", "'inf': expected"),
    ("heavy", r"'heavy': expected .* another weight_column \(--weight-column\)"),
])  # fmt: skip
def test_cells_that_are_no_weights_are_errors(cell, message, tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(f"smiles,y,w\nC,1,1\nCC,2,{cell}\n")
    with pytest.raises(ValueError, match=rf"row 3, 'w' is {message}"):
        load(path, "y", weight_column="w")


def test_a_blank_weight_leaves_its_row_out_and_all_zero_is_an_error(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("smiles,y,w\nC,1,0.5\nCC,2,\nCCC,3,0\n")
    table = load(path, "y", weight_column="w")
    assert table.weights.tolist() == [0.5, 0]
    assert table.report.refused == (("row 3", "CC", "'w' is blank"),)
    path.write_text("smiles,y,w\nC,1,0\nCC,2,0\n")
    with pytest.raises(ValueError, match=r"all 2 weights in 'w' are 0.*weight_column \(--weight"):
        load(path, "y", weight_column="w")


@pytest.mark.slow
def test_weights_from_the_command_are_part_of_the_run(tmp_path, capsys):
    path = table_file(tmp_path)
    flags = ["train", "csv", "--csv", str(path), "--target", "logS", *SMALL, "--readout", "mean"]
    out = ["--output", str(tmp_path / "run")]
    assert cli.main([*flags, "--weight-column", "weight", *out]) == 0
    assert cli.main([*flags, *out, "--resume"]) == 2
    assert "data.fingerprint was" in capsys.readouterr().err
    assert cli.main([*flags, "--weight-column", "weigth", "--output", str(tmp_path / "b")]) == 2
    assert "'weight'" in capsys.readouterr().err
    assert cli.main([*flags, "--task-weights", "logs=2", "--output", str(tmp_path / "c")]) == 2
    assert "logs" in capsys.readouterr().err
