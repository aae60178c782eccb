"""A loss is one class: it is trained, scored, stored and used for predictions like ours."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from test_recipes import SMALL, own_table
from training_data import rows_of, small_dataset, small_options

from dgl_gmpool import cli
from dgl_gmpool.data import make_splits
from dgl_gmpool.training import TrainingConfig, fit_fold, load_models, train_run
from dgl_gmpool.training.fold_data import FoldData
from dgl_gmpool.training.task import TASKS, AbsoluteError, Numbers, Standardizer, get_task

TRAIN, VALID = list(range(24)), list(range(24, 36))


class PoissonCounts(Numbers):
    """Counts, learnt on the logarithm: a loss, a scaler and a link of its own."""

    name = "poisson"

    def cells(self, outputs, targets):
        return torch.nn.functional.poisson_nll_loss(outputs, targets, reduction="none")

    def scaler(self, targets, weight=None):
        return Standardizer.identity(targets.shape[1])

    def link(self, outputs):
        return np.exp(outputs)


@pytest.fixture
def poisson(monkeypatch):
    monkeypatch.setattr("dgl_gmpool.training.task.TASKS", [*TASKS, PoissonCounts()])
    monkeypatch.setattr("dgl_gmpool.training.table_task.TASKS", [*TASKS, PoissonCounts()])


def test_a_new_loss_is_one_class(poisson, tmp_path, capsys):
    table = own_table(tmp_path)
    header, *lines = table.read_text().splitlines()
    counts = [f"{line.rpartition(',')[0]},{i % 4}" for i, line in enumerate(lines)]
    table.write_text("\n".join([header, *counts, ""]))
    flags = ["--csv", str(table), "--target", "logS", "--kind", "regression", *SMALL]
    flags += ["--id-column", "name"]
    run = tmp_path / "run" / "mean-poisson-seed0"
    flags += ["--readout", "mean", "--loss", "poisson", "--output", str(tmp_path / "run")]
    assert cli.main(["train", "csv", *flags]) == 0
    found = rows_of((run / "test_predictions.csv").read_text())
    mean = np.array([float(row["logS predicted"]) for row in found])
    assert (mean > 0).all()
    folds = np.array([[float(row[f"logS fold {k}"]) for k in (0, 1)] for row in found])
    assert mean == pytest.approx(folds.mean(axis=1))
    # The scores are those of the linked predictions, and the stored models link by themselves.
    targets = np.array([float(row["logS"]) for row in found])
    scores = json.loads((run / "metrics.json").read_text())
    for k in (0, 1):
        expected = np.sqrt(np.mean((folds[:, k] - targets) ** 2))
        assert scores["folds"][k]["test"]["rmse"] == pytest.approx(expected)
    out = tmp_path / "out.csv"
    assert cli.main(["predict", f"--model={run}", f"--csv={table}", f"--output={out}"]) == 0
    predicted = {row["name"]: row["logS predicted"] for row in rows_of(out.read_text())}
    again = [float(predicted[row["id"]]) for row in found]
    assert again == pytest.approx(mean, rel=1e-4)
    assert all(model.loss == "poisson" for model in load_models(run))


@pytest.mark.slow
def test_another_loss_trains_to_another_model_and_says_so():
    dataset = small_dataset()
    dataset.table.targets[0] = 1e4  # one wild value
    fits = {
        loss: fit_fold(dataset, TRAIN, VALID, TrainingConfig(**small_options(loss=loss, epochs=9)))
        for loss in (None, "squared_error", "absolute_error")
    }
    weights = {loss: torch.cat([p.flatten() for p in fit.model.parameters()])
               for loss, fit in fits.items()}  # fmt: skip
    assert torch.equal(weights[None], weights["squared_error"])
    assert not torch.equal(weights[None], weights["absolute_error"])
    assert TrainingConfig(loss="absolute_error").label == "gmpool-absolute_error"
    assert "loss" not in TrainingConfig().to_dict()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("regression", {"loss": "cross_entropy"}, "unknown regression loss 'cross_entropy'"),
        ("classification", {"loss": "squared_error"}, "unknown classification loss"),
        ("classification", {"metric": "rmse"}, "unknown classification metric 'rmse'"),
        ("regression", {"positive_weight": "balanced"}, "positive_weight='balanced': expected"),
    ],
)
def test_settings_for_another_kind_of_targets_are_refused(kind, options, message, tmp_path):
    dataset = small_dataset(kind)
    splits = make_splits(dataset.table, folds=2)
    config = TrainingConfig(**small_options(**options))
    with pytest.raises(ValueError, match=message):
        train_run(dataset, splits, config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_the_command_refuses_them_before_it_featurises(tmp_path, monkeypatch, capsys):
    def never(*given, **options):
        raise AssertionError("featurised")

    monkeypatch.setattr("dgl_gmpool.cli.train.featurize", never)
    flags = ["train", "csv", "--csv", str(own_table(tmp_path)), "--target", "logS"]
    flags += ["--output", str(tmp_path / "run")]
    for wrong, message in (
        (["--loss", "cross_entropy"], "unknown regression loss 'cross_entropy'"),
        (["--metric", "roc_auc"], "unknown regression metric 'roc_auc'"),
        (["--positive-weight", "balanced"], "--positive-weight 'balanced': expected none"),
        (["--loss", "squared_eror"], "Did you mean 'squared_error'"),
    ):
        assert cli.main([*flags, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_names_of_kinds_and_losses():
    assert [get_task(kind).name for kind in ("classification", "regression")] == [
        "cross_entropy",
        "squared_error",
    ]
    assert isinstance(get_task("regression", "absolute_error"), AbsoluteError)
    with pytest.raises(ValueError, match="unknown kind of task 'counts'"):
        get_task("counts")


def test_targets_are_standardised_in_float64():
    """Differences of 1e-3 at 1e7 are lost in float32, whose step there is 1."""
    dataset = small_dataset()
    fine = np.linspace(0, 35e-3, 36)[:, None]
    # Past the table's own check, for what a table of float64 hands to training.
    object.__setattr__(dataset.table, "targets", 1e7 + fine)
    config = TrainingConfig(**small_options())
    data = FoldData.prepare(dataset, range(36), config, device=torch.device("cpu"))
    assert data.labels.targets.dtype == torch.float32
    expected = (fine - fine.mean()) / fine.std()
    assert np.abs(data.labels.targets.numpy() - expected).max() < 1e-5
    back = data.target_scaler.inverse(data.labels.targets.numpy())
    assert np.abs(back - dataset.table.targets).max() < 1e-6
