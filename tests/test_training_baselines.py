"""The rows for what needs no network, on the same folds; scores that are chosen, in the table."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk
from test_recipes import SMALL, own_table
from test_target_kinds import load, table_file

from dgl_gmpool import cli
from dgl_gmpool.data import load_sodium_channel, make_splits
from dgl_gmpool.data.features import Features
from dgl_gmpool.training import TrainingConfig, markdown_table
from dgl_gmpool.training.baselines import baseline_row, baseline_rows, mean_predictions
from dgl_gmpool.training.forest import forest_predictions
from dgl_gmpool.training.metrics import METRICS, choose_metrics, metrics_of
from dgl_gmpool.training.scores import scores
from dgl_gmpool.training.table_text import _by_target


def test_numbers_against_their_definitions():
    rng = np.random.default_rng(0)
    y, z = rng.normal(size=(2, 30, 1))
    found = scores("regression", y, z)
    a, b = y[:, 0], z[:, 0]
    assert found["mae"] == pytest.approx(np.abs(a - b).mean())
    assert found["pearson"] == pytest.approx(pearsonr(a, b).statistic)
    assert found["spearman"] == pytest.approx(spearmanr(a, b).statistic)
    assert found["explained"] == found["r2"]
    flat = scores("regression", y, np.ones_like(z))
    assert np.isnan(flat["pearson"])
    assert np.isfinite(flat["rmse"])


def test_classes_against_their_definitions():
    rng = np.random.default_rng(1)
    y, p = rng.integers(0, 2, (50, 1)), rng.random((50, 1))
    found = scores("classification", y.astype(float), p)
    a, b = y[:, 0], (p[:, 0] > 0.5).astype(int)
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(a, b))
    assert found["f1"] == pytest.approx(sk.f1_score(a, b))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(a, b))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(a, b))
    assert found["log_loss"] == pytest.approx(sk.log_loss(a, p[:, 0]))
    shares = np.full((50, 1), a.mean())
    assert scores("classification", y.astype(float), shares)["explained"] == pytest.approx(0)
    certain = scores("classification", y.astype(float), 1.0 - y)
    assert np.isfinite(certain["log_loss"])


def test_scores_are_chosen_by_name_and_the_first_picks_the_epoch():
    assert [m.name for m in choose_metrics("regression", ["spearman", "mae"])] == [
        "spearman",
        "mae",
    ]
    assert [m.name for m in choose_metrics("classification", "mcc")] == ["mcc", "roc_auc"]
    assert metrics_of(["regression", "multiclass"])[0].name == "explained"
    with pytest.raises(ValueError, match="unknown regression and classification metric 'rsme'"):
        choose_metrics(["regression", "classification"], "rsme")
    assert TrainingConfig(metric=["mae"]).metric == "mae"
    config = TrainingConfig(metric=["mae", "r2"])
    assert config.metric == ("mae", "r2")
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    for wrong, message in (([], "the name of a metric"), (["mae", "mae"], "mae is named twice")):
        with pytest.raises(ValueError, match=message):
            TrainingConfig(metric=wrong)
    assert all(choose_metrics(metric.kinds, name) for name, metric in METRICS.items())


def test_the_mean_and_the_shares_of_classes(tmp_path):
    table = load(table_file(tmp_path), ["logS", "toxic", "colour"])
    train = np.arange(20)
    found = mean_predictions(table, train, np.arange(20, 25))
    logs, toxic, colour = table.targets[:20].T
    expected = [logs.mean(), toxic.mean(), *(np.mean(colour == c) for c in range(3))]
    np.testing.assert_allclose(found, np.tile(expected, (5, 1)))


def test_a_forest_beats_the_mean_and_both_stand_in_the_table(monkeypatch):
    monkeypatch.setattr("dgl_gmpool.training.baselines.TREES", 15)
    table = load_sodium_channel()
    splits = {0: make_splits(table, folds=2)}
    mean, forest = baseline_rows(["mean", "forest"], table, splits)
    assert forest["scores"]["rmse"]["mean"] < mean["scores"]["rmse"]["mean"]
    assert mean["scores"]["r2"]["mean"] < 0.05
    # The averaged forest errs less than its parts.
    assert forest["scores"]["rmse"]["averaged"] < forest["scores"]["rmse"]["mean"]
    again = baseline_row("forest", table, splits)
    assert again["scores"] == forest["scores"]
    text = markdown_table([mean, forest])
    assert "training mean" in text
    assert "random forest, Morgan fingerprints" in text
    with pytest.raises(ValueError, match="unknown baseline 'forrest'"):
        baseline_row("forrest", table, splits)


def test_a_large_table_gets_no_forest_unasked(monkeypatch):
    table = load_sodium_channel().take(range(30))
    splits = {0: make_splits(table, folds=2)}
    monkeypatch.setattr("dgl_gmpool.training.baselines.MOST_CELLS", 29)
    assert [row["label"] for row in baseline_rows(None, table, splits)] == ["training mean"]


@pytest.mark.slow
def test_the_table_of_a_command(tmp_path, capsys):
    path = table_file(tmp_path)
    flags = ["train", "csv", "--csv", str(path), "--target", "logS", "toxic", *SMALL]
    flags += ["--readout", "mean", "sum", "--metric", "explained", "mae", "mcc"]
    flags += ["--output", str(tmp_path / "run"), "--baselines", "mean", "forest"]
    assert cli.main(flags) == 0
    text = (tmp_path / "run" / "table.md").read_text()
    head = text.splitlines()[0]
    for name in ("test share explained", "MAE", "MCC", "averaged"):
        assert name in head
    assert "R2" not in head
    rows = json.loads((tmp_path / "run" / "table.json").read_text())["rows"]
    assert [row["readout"] for row in rows] == [
        "training mean",
        "random forest, Morgan fingerprints",
        "mean",
        "sum",
    ]
    metrics = json.loads((tmp_path / "run/mean-seed0/metrics.json").read_text())
    averaged = rows[2]["scores"]["mae"]["averaged"]
    assert averaged == pytest.approx(metrics["ensemble_test"]["mae"])
    assert [target[:2] for target in rows[2]["targets"]] == [
        ["logS", "explained"],
        ["toxic", "explained"],
    ]
    assert text.count("| toxic") == 1
    # --config takes scores and baselines over.
    again = ["train", "csv", "--config", str(tmp_path / "run/sum-seed0"), "--output"]
    assert cli.main([*again, str(tmp_path / "again"), "--no-report"]) == 0
    found = json.loads((tmp_path / "again" / "table.json").read_text())["rows"]
    assert [row["shown"] for row in found] == [["explained", "mae", "mcc"]] * 3


def test_a_metric_that_the_validation_rows_cannot_have_is_found_before_training(tmp_path, capsys):
    path = own_table(tmp_path)
    constant = tmp_path / "flat.csv"
    lines = path.read_text().splitlines()
    constant.write_text(
        "\n".join([lines[0], *(f"{line.rpartition(',')[0]},2.5" for line in lines[1:]), ""])
    )
    flags = ["train", "csv", "--csv", str(constant), "--target", "logS", *SMALL]
    flags += ["--metric", "r2", "--output", str(tmp_path / "run")]
    assert cli.main(flags) == 2
    assert "two different values" in capsys.readouterr().err


def test_the_forest_sees_the_feature_columns_too():
    """The target is the column: without it there is nothing to predict from one molecule."""
    table = load_sodium_channel().take([0] * 60)
    column = np.arange(60, dtype=np.float32)[:, None] % 7
    targets = column.astype(float)
    train, asked = np.arange(40), np.arange(40, 60)
    given = column.copy()
    given[[3, 45]] = np.nan
    table = replace(table, targets=targets, features=(Features("column", ("pH",), given),))
    found = forest_predictions(table, train, asked, seed=0, trees=30)
    known = np.arange(20) != 5
    assert np.abs(found - targets[asked])[known].max() < 0.5
    # What is not known is the training mean, which lies near 3.
    assert 2 < found[5, 0] < 4


def test_models_that_differ_in_their_levels_alone_are_told_apart_by_target():
    row = {"readout": "gmpool", "readout_options": {}, "backbone": "dmpnn", "auxiliary": {}}
    rows = [
        {**row, "levels": levels, "targets": [("a", "rmse", 1.0), ("b", "rmse", 2.0)]}
        for levels in (1, 2)
    ]
    assert "| gmpool, 1 levels | gmpool, 2 levels |" in _by_target(rows)
    assert "| gmpool |" in _by_target(rows[:1])
