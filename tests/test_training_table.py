"""The table of a comparison: what is one row, and how its numbers are shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from training_data import small_dataset, small_options, with_targets

from dgl_gmpool.data import make_splits
from dgl_gmpool.training import (
    RunResult,
    TrainingConfig,
    comparison_rows,
    markdown_table,
    train_run,
    write_table,
)
from dgl_gmpool.training.fold_data import check_fold
from dgl_gmpool.training.words import score_text


def result(score, **options):
    """A finished run of one fold, as its metrics.json tells it."""
    metrics = {
        "metric": "rmse",
        "units": "",
        "test_rows": 4,
        "parameters": options.get("hidden_feats", 200),
        "seconds": 1.0,
        "folds": [{"test": {"rmse": score, "r2": 0.5}}],
    }
    return RunResult(Path("run"), TrainingConfig(readout="mean", **options), metrics)


def test_seeds_are_put_together_and_unlike_models_are_not():
    runs = [
        result(1.0, hidden_feats=8, seed=0),
        result(5.0, hidden_feats=64, epochs=3, seed=0),
        result(3.0, hidden_feats=8, seed=1),
        result(7.0, hidden_feats=8, lr=0.5, readout_options={"a": 1}, seed=0),
    ]
    rows = comparison_rows(runs)
    assert [(row["seeds"], row["mean"], row["parameters"]) for row in rows] == [
        ([0, 1], 2.0, 8),
        ([0], 5.0, 64),
        ([0], 7.0, 8),
    ]
    assert rows[0]["differs"] == {"hidden_feats": 8, "epochs": 30}
    assert rows[1]["differs"] == {"hidden_feats": 64, "epochs": 3}
    assert rows[2]["differs"] == {}  # told apart by its options
    assert len({row["label"] for row in rows}) == 3
    text = markdown_table(rows)
    assert "mean (hidden_feats=8, epochs=30)" in text
    assert "mean (a=1) " in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("readout_norm", "none"), ("dropout", 0.5), ("num_steps", 2), ("weight_decay", 0.1),
     ("patience", 3), ("batch_size", 7), ("schedule", "one_cycle"), ("head_feats", 9)],
)  # fmt: skip
def test_every_setting_counts(name, value):
    rows = comparison_rows([result(1.0), result(2.0, **{name: value})])
    assert rows[1]["differs"] == {name: value}
    assert list(rows[0]["differs"]) == [name]


def test_unlike_runs_of_one_label_are_two_rows_of_the_files(tmp_path):
    dataset = small_dataset()
    splits = make_splits(dataset.table, folds=2, test_fraction=0.25)
    runs = []
    for width in (8, 16):
        config = TrainingConfig(**small_options(readout="mean", hidden_feats=width))
        runs.append(train_run(dataset, splits, config, tmp_path / str(width), progress=False))
    text = write_table(runs, tmp_path)
    stored = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [row["differs"] for row in stored] == [{"hidden_feats": 8}, {"hidden_feats": 16}]
    assert text.count("| mean (hidden_feats=") == 2


def test_small_and_large_scores_keep_three_digits():
    scores = [1.49e-9, 0.00999, 0.01, 0.5, -0.127, 12.3456, 2e6, float("nan")]
    assert [score_text(score) for score in scores] == [
        "1.49e-09", "0.00999", "0.010", "0.500", "-0.127", "12.346", "2e+06", "-",
    ]  # fmt: skip


@pytest.mark.parametrize(("scale", "offset"), [(1e-9, 0.0), (1.0, -25e6), (1e-3, 1e5)])
def test_the_unit_of_the_targets_changes_no_score(tmp_path, scale, offset):
    """float32 would round targets far from 0 before their mean is taken off."""
    dataset = small_dataset()
    splits = make_splits(dataset.table, folds=2, test_fraction=0.25)
    config = TrainingConfig(**small_options(readout="mean"))
    other = with_targets(dataset, dataset.table.targets * scale + offset)
    scores = [
        train_run(data, splits, config, tmp_path / name, progress=False).fold_scores("r2")
        for name, data in (("a", dataset), ("b", other))
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.02)


def test_labels_of_one_class_only_are_named_as_that():
    dataset = small_dataset("classification")
    ones = with_targets(dataset, np.ones_like(dataset.table.targets))
    with pytest.raises(
        ValueError, match="every label of task0 is 1: there is nothing to tell apart"
    ):
        check_fold(ones, range(20), range(20, 30), fold=0)
    # Both classes in the table, one only among the validation rows: other advice helps.
    some = np.where(np.arange(36)[:, None] < 10, 0.0, 1.0)
    with pytest.raises(ValueError, match="use fewer folds, another kind of split"):
        check_fold(with_targets(dataset, some), range(20), range(20, 30), fold=0)
