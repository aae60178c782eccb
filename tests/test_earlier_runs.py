"""Runs of before 0.7, whose atoms exchange after each layer, and whose files do not say so."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import pytest
import torch
from training_data import small_dataset, small_options

from dgl_gmpool import cli
from dgl_gmpool._io import atomic_torch_save
from dgl_gmpool.data import make_splits
from dgl_gmpool.sklearn import GMPoolRegressor
from dgl_gmpool.training import TrainingConfig, load_models, train_run
from dgl_gmpool.training.config import BEFORE
from dgl_gmpool.training.run_folder import RunFolder, read_json
from dgl_gmpool.training.study import CONFIG, other_settings

SMALL = ["--epochs", "1", "--folds", "2", "--batch-size", "8", "--hidden", "8"]
NEW = TrainingConfig(**small_options(hidden_feats=8, num_steps=3))


def run_of_before(folder, dataset):
    """As 0.6 left it: after each layer, and neither the models nor the record say so."""
    splits = make_splits(dataset.table, seed=0, folds=2)
    train_run(dataset, splits, NEW.from_dict({**NEW.to_dict(), **BEFORE}), folder, progress=False)
    for file in folder.glob("fold_*/model.pt"):
        saved = torch.load(file, weights_only=True)
        assert saved["config"].pop("exchange_after") == "layer"
        atomic_torch_save(file, saved)
    config = folder / "config.json"
    record = read_json(config)
    del record["training"]["exchange_after"]
    config.write_text(json.dumps(record))
    return folder


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    return run_of_before(tmp_path_factory.mktemp("earlier") / "run", small_dataset())


def test_a_record_without_the_setting_is_of_before():
    record = NEW.to_dict()
    assert record["exchange_after"] == "network"
    assert TrainingConfig.from_dict(record) == NEW
    assert pickle.loads(pickle.dumps(NEW)) == NEW
    del record["exchange_after"]
    assert TrainingConfig.from_dict(record).exchange_after == "layer"
    with pytest.raises(ValueError, match="unknown exchange_after 'atoms'"):
        TrainingConfig(exchange_after="atoms")


def test_its_models_are_read_as_they_were(old):
    for trained in load_models(old):
        assert trained.model.config["exchange_after"] == "layer"
        assert len(trained.model.exchange_steps) == 3


def test_it_goes_on_as_it_was_begun(old, tmp_path, capsys):
    dataset = small_dataset()
    folder = run_of_before(tmp_path / "run", dataset)
    files = RunFolder(folder)
    wanted = files.predictions.read_bytes()
    for file in (files.metrics, files.predictions, files.fold(1).result, files.fold(1).model):
        file.unlink()
    splits = make_splits(dataset.table, seed=0, folds=2)
    train_run(dataset, splits, NEW, folder, resume=True, progress=True, device="cpu")
    assert "goes on with exchange_after='layer'" in capsys.readouterr().out
    assert files.predictions.read_bytes() == wanted
    assert len(load_models(folder)[1].model.exchange_steps) == 3
    # One that was begun with another place is another run.
    new = tmp_path / "new"
    train_run(dataset, splits, NEW, new, progress=False)
    other = TrainingConfig.from_dict({**NEW.to_dict(), **BEFORE})
    with pytest.raises(ValueError, match="exchange_after was 'network', now 'layer'"):
        train_run(dataset, splits, other, new, resume=True, progress=False)


def flags_of(folder):
    dataset = small_dataset()
    lines = [f"{s},{t[0]}" for s, t in zip(dataset.table.smiles, dataset.table.targets)]
    file = folder / "t.csv"
    file.write_text("\n".join(["smiles,y", *lines, ""]))
    return ["train", "csv", "--csv", str(file), "--target", "y", "--output", str(folder / "out")]


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("--config", "layer"),
        ("--start-from", "layer"),
        ("--config --exchange-after network", "network"),
        ("handwritten", "network"),
        ("", "network"),
    ],
)
def test_its_settings_for_another_run(old, tmp_path, given, place):
    flags, words = flags_of(tmp_path), given.split()
    if given == "handwritten":
        own = tmp_path / "own.json"
        own.write_text(json.dumps({"exchange": True, "hidden_feats": 8, "num_steps": 3}))
        words = ["--config", str(own)]
    elif words:
        words[1:1] = [str(old / "config.json" if words[0] == "--config" else old)]
    width = [] if "--start-from" in words else SMALL[-2:]
    assert cli.main([*flags, *SMALL[:-2], *width, *words]) == 0
    (record,) = (tmp_path / "out").glob("*/config.json")
    assert read_json(record)["training"]["exchange_after"] == place


def test_an_estimator_starts_from_it(old):
    """It has no parameter for what a run's network may have."""
    dataset = small_dataset()
    options = read_json(old / "config.json")["training"]
    names = ("readout", "readout_options", "levels", "backbone", "hidden_feats", "num_steps")
    model = GMPoolRegressor(
        start_from=str(old), epochs=1, **{name: options[name] for name in names}
    )
    model.fit(list(dataset.table.smiles), dataset.table.targets[:, 0])
    assert model._trained.model.config["exchange_after"] == "layer"


def test_a_study_of_before_tells_what_is_another_now():
    record = NEW.to_dict()
    del record["exchange_after"]

    trials = [SimpleNamespace(user_attrs={CONFIG: record})]
    study = SimpleNamespace(get_trials=lambda deepcopy: trials)
    (note,) = other_settings(study, NEW, ["lr"])
    assert "exchange_after layer, now network" in note
