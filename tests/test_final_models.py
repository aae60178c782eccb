"""``--final``: models on all rows, for the epochs that the folds chose, and they predict."""

from __future__ import annotations

import html
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_data import small_dataset, small_options

from dgl_gmpool import load_predictor
from dgl_gmpool.data import make_splits
from dgl_gmpool.report import write_index, write_report
from dgl_gmpool.training import TrainingConfig, load_models, train_run, write_table
from dgl_gmpool.training import run_trainer as run_module
from dgl_gmpool.training.fold import fit_fold
from dgl_gmpool.training.model_file import load_model


@pytest.fixture(scope="module")
def dataset():
    return small_dataset()


def config_of(**options) -> TrainingConfig:
    return TrainingConfig(**small_options(epochs=3, readout="mean", **options))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("final") / "run"
    splits = make_splits(dataset.table, folds=2)
    return train_run(dataset, splits, config_of(final=True), folder, progress=False)


def test_final_models_are_trained_on_all_rows_for_the_mean_of_the_best_epochs(dataset, run):
    epochs = round(np.mean([fold["best_epoch"] for fold in run.metrics["folds"]]))
    assert [each["rows"] for each in run.metrics["final"]] == [len(dataset)] * 2
    assert [each["epochs"] for each in run.metrics["final"]] == [epochs] * 2
    rows = range(len(dataset))
    for number in range(2):
        saved = load_model(run.folder / f"final_{number}" / "model.pt")
        again = fit_fold(dataset, rows, (), config_of(final=True), fold=number, epochs=epochs)
        assert len(again.history) == epochs
        for name, value in again.model.state_dict().items():
            assert torch.equal(value, saved.model.state_dict()[name])


def test_final_models_predict_and_scores_are_those_of_the_folds(dataset, run, tmp_path):
    folds = [load_model(run.folder / f"fold_{number}" / "model.pt") for number in range(2)]
    finals = [load_model(run.folder / f"final_{number}" / "model.pt") for number in range(2)]
    graphs = dataset.graphs[:5]
    found = [each.predict(graphs) for each in load_models(run.folder)]
    np.testing.assert_array_equal(found, [each.predict(graphs) for each in finals])
    assert not np.array_equal(found, [each.predict(graphs) for each in folds])
    assert load_predictor(run.folder).num_models == 2
    splits = make_splits(dataset.table, folds=2)
    plain = train_run(dataset, splits, config_of(), tmp_path / "plain", progress=False)
    assert plain.metrics["test"] == run.metrics["test"]
    assert "final" not in plain.metrics
    assert "final" not in json.loads((tmp_path / "plain/config.json").read_text())["training"]


def test_pages_and_tables_do_not_take_the_folds_scores_for_those_of_predict(tmp_path):
    dataset = small_dataset("classification")
    splits = make_splits(dataset.table, folds=2)
    said = {}
    for final in (False, True):
        folder = tmp_path / f"{final}"
        config = config_of(final=final)
        done = train_run(dataset, splits, config, folder / "run", progress=False)
        table = write_table([done], folder)
        index, page = write_index(folder).read_text(), write_report(done.folder)[0].read_text()
        said[final] = [html.unescape(text) for text in (table, index, page)]
    for plain, final in zip(said[False], said[True]):
        assert "models, which is what predict returns" in plain
        assert "predict returns that of the final models" not in plain
        assert "models, which is what predict returns" not in final
        assert "predict returns that of the final models" in final
    assert "are not calibrated" not in said[False][2]
    assert "are not calibrated" in said[True][2]


def test_a_run_killed_in_its_final_models_goes_on(dataset, run, tmp_path, monkeypatch):
    splits, real = make_splits(dataset.table, folds=2), run_module.fit_fold

    def killed(*args, **options):
        if options.get("epochs") is not None and options["fold"] == 1:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(run_module, "fit_fold", killed)
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train_run(dataset, splits, config_of(final=True), folder, progress=False)
    with pytest.raises(ValueError, match="is not finished"):
        load_models(folder)
    monkeypatch.setattr(run_module, "fit_fold", real)
    train_run(dataset, splits, config_of(final=True), folder, resume=True, progress=False)
    for number in range(2):
        one, other = (load_model(f / f"final_{number}" / "model.pt") for f in (folder, run.folder))
        for name, value in one.model.state_dict().items():
            assert torch.equal(value, other.model.state_dict()[name])
    with pytest.raises(ValueError, match=r"training\.final was True, now None"):
        train_run(dataset, splits, config_of(), folder, resume=True, progress=False)


def test_final_is_true_or_false():
    with pytest.raises(ValueError, match="final=1: expected true or false"):
        replace(config_of(), final=1)
