"""``--start-from`` and ``--freeze``: weights of an earlier run."""

from __future__ import annotations

import argparse
import json

import pytest
import torch
from training_data import small_dataset, small_options

from dgl_gmpool import cli, load_predictor
from dgl_gmpool.cli.datasets import DATA_SETS
from dgl_gmpool.cli.train_flags import TrainFlags
from dgl_gmpool.data import make_splits
from dgl_gmpool.training import TrainingConfig, load_model, load_models, train_run
from dgl_gmpool.training.transfer import _flags_of, known_already

SMALL = ["--epochs", "1", "--folds", "2", "--batch-size", "8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer") / "first"
    dataset = small_dataset(tasks=2)
    splits = make_splits(dataset.table, seed=0, folds=2)
    train_run(dataset, splits, TrainingConfig(**small_options()), folder, progress=False)
    return folder


def states(model, *, head: bool):
    return {k: v for k, v in model.state_dict().items() if k.startswith("head.") == head}


def table(folder):
    dataset = small_dataset()
    lines = [
        "smiles,y",
        *(f"{s},{t[0]}" for s, t in zip(dataset.table.smiles, dataset.table.targets)),
    ]
    file = folder / "t.csv"
    file.write_text("\n".join(lines) + "\n")
    return ["train", "csv", "--csv", str(file), "--target", "y", *SMALL]


def trained(folder, dataset, run, **changes):
    splits = make_splits(dataset.table, seed=0, folds=2)
    config = TrainingConfig(**small_options(start_from=str(run), epochs=1, **changes))
    train_run(dataset, splits, config, folder, progress=False)
    return load_models(folder)


def test_each_fold_starts_from_its_own_weights(run, tmp_path):
    """With a learning rate of nearly nothing, what comes out is what went in."""
    for number, model in enumerate(trained(tmp_path / "a", small_dataset(), run, lr=1e-12)):
        before = load_model(run / f"fold_{number}" / "model.pt").model
        for name, value in before.named_parameters():
            if not name.startswith("head."):
                assert torch.allclose(model.model.get_parameter(name), value, atol=1e-9), name


@pytest.mark.parametrize("path", ["", "first/fold_0/model.pt"])
def test_a_folder_with_one_run_and_a_file_of_one_stand_for_it(run, path, tmp_path, capsys):
    start = run.parent / path
    train = [*table(tmp_path), "--start-from", str(start), "--lr", "1e-12", "--seed", "1"]
    assert cli.main([*train, "--output", str(tmp_path / "out")]) == 0
    assert f"note: {start} was trained on" in capsys.readouterr().out
    before = load_model(run / "fold_0" / "model.pt").model
    for name, value in load_models(tmp_path / "out")[0].model.named_parameters():
        if not name.startswith("head."):
            assert torch.allclose(value, before.get_parameter(name), atol=1e-9), name


def test_a_head_is_kept_where_it_predicts_the_same(run, tmp_path):
    (same, _), (other, _) = (
        trained(tmp_path / str(tasks), small_dataset(tasks=tasks), run, lr=1e-12)
        for tasks in (2, 1)
    )
    before = states(load_model(run / "fold_0" / "model.pt").model, head=True)
    assert all(torch.allclose(v, before[k]) for k, v in states(same.model, head=True).items())
    assert not torch.allclose(
        states(other.model, head=True)["head.1.weight"], before["head.1.weight"]
    )


def test_a_frozen_backbone_does_not_move(run, tmp_path):
    """Neither its weights nor the statistics of its batch normalisations, over real steps."""
    (model, _) = trained(tmp_path / "a", small_dataset(), run, lr=0.05, freeze="backbone")
    (free, _) = trained(tmp_path / "b", small_dataset(), run, lr=0.05)
    before = states(load_model(run / "fold_0" / "model.pt").model, head=False)
    moved = {k for k, v in states(model.model, head=False).items() if not torch.equal(v, before[k])}
    assert moved
    frozen = ("backbones.", "exchange_steps.", "conductance.", "poolings.0.locality.")
    assert not [name for name in moved if name.startswith(frozen)]
    freely = {k for k, v in states(free.model, head=False).items() if not torch.equal(v, before[k])}
    assert {name for name in before if name.startswith(frozen)} & freely


def test_a_killed_transfer_goes_on_to_the_same_numbers(run, tmp_path, monkeypatch):
    dataset = small_dataset()
    splits = make_splits(dataset.table, seed=0, folds=2)
    config = TrainingConfig(**small_options(start_from=str(run), freeze="backbone"))
    train_run(dataset, splits, config, tmp_path / "whole", progress=False)
    from dgl_gmpool.training import run_trainer as module

    close = module.save_model

    def killed(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_model", killed)
    with pytest.raises(KeyboardInterrupt):
        train_run(dataset, splits, config, tmp_path / "cut", progress=False)
    monkeypatch.setattr(module, "save_model", close)
    train_run(dataset, splits, config, tmp_path / "cut", resume=True, progress=False)
    whole, cut = (load_models(tmp_path / name)[1].model.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_the_command_takes_the_network_from_the_run(run, tmp_path, capsys):
    train = table(tmp_path)
    out = ["--output", str(tmp_path / "out")]
    # Another seed, other test molecules: some of them the first run was trained on.
    flags = ["--start-from", str(run), "--freeze", "backbone", "--seed", "1"]
    assert cli.main([*train, *out, *flags]) == 0
    said = capsys.readouterr().out
    assert f"note: {run} was trained on" in said
    (folder,) = (tmp_path / "out").glob("gmpool*")
    settings = json.loads((folder / "config.json").read_text())["training"]
    assert (settings["hidden_feats"], settings["num_steps"]) == (8, 1)
    assert settings["start_from"] == str(run)
    assert load_predictor(folder).predict(["CCO"]).mean.shape == (1, 1)
    assert cli.main([*train, *out, *flags, "--resume"]) == 0
    again = ["--config", str(folder), "--output", str(tmp_path / "again")]
    assert cli.main([*train, *again]) == 0
    scores = [
        json.loads((place / "metrics.json").read_text())["folds"][0]["test"]
        for place in (folder, tmp_path / "again" / folder.name)
    ]
    assert scores[0] == scores[1]


def test_test_molecules_are_known_to_final_models_alone(tmp_path):
    """The folds' weights, from which a run starts, were said to know them as well."""
    dataset = small_dataset()
    splits = make_splits(dataset.table, seed=0, folds=2)
    config = TrainingConfig(**small_options(epochs=1, readout="mean", final=True))
    train_run(dataset, splits, config, tmp_path, progress=False)
    for start, count in (("", 0), ("fold_1/model.pt", 0), ("final_0/model.pt", len(splits.test))):
        again = TrainingConfig(**small_options(start_from=str(tmp_path / start)))
        said = known_already(dataset, splits, again)
        assert f"trained on {count} of the {count} test" in said if count else said == ""


@pytest.mark.parametrize("readout", ["gmpool", "mean"])
def test_the_network_of_the_run_counts_more_than_that_of_config(run, readout, tmp_path):
    """Options came from the file, with the advice to give nothing on the command line."""
    file = tmp_path / "config.json"
    options = {} if readout == "mean" else {"readout_options": {"similarity": "cauchy"}}
    options |= {"readout": readout, "backbone_options": {"norm": "batch"}, "weight_decay": 1e-5}
    file.write_text(json.dumps(options))
    parser = argparse.ArgumentParser()
    flags = TrainFlags(parser, DATA_SETS["csv"], output="out")
    given = ["--start-from", str(run), "--config", str(file)]
    found = flags.resolve(parser.parse_args(given))
    assert (found.readout, found.readout_option, found.backbone_option) == (["gmpool"], [], [])
    assert (found.hidden, found.weight_decay) == (8, 1e-5)
    found = flags.resolve(parser.parse_args([*given, "--option", "tol=1e-3", "--hidden", "16"]))
    assert (found.readout_option[-1], found.hidden) == ("tol=1e-3", 16)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--start-from", "RUN", "--hidden", "16"], "--hidden 16: expected 8, as in the run to"),
        (["--start-from", "RUN", "--readout", "mean"], "--readout 'mean': expected 'gmpool'"),
        (["--freeze", "backbone"], "--freeze 'backbone': expected a run to start from"),
        (["--start-from", "nowhere"], "no run folder"),
    ],
)
def test_what_does_not_fit_is_refused(run, flags, message, tmp_path, capsys):
    flags = [str(run) if flag == "RUN" else flag for flag in flags]
    assert cli.main([*table(tmp_path), "--output", str(tmp_path / "out"), *flags]) == 2
    assert message in capsys.readouterr().err


def test_other_features_are_refused(run, tmp_path):
    from dgl_gmpool.data import featurize

    dataset = featurize(small_dataset().table, featurizer="attentivefp", progress=False)
    with pytest.raises(ValueError, match=r"trained on the features .*'attentivefp'"):
        trained(tmp_path / "a", dataset, run)


@pytest.mark.parametrize(
    ("recipe", "flags"),
    [
        ("canonical", "--featurizer canonical without --standardize"),
        ("stereo+fragment+charge", "--featurizer stereo --standardize fragment charge"),
    ],
)
def test_the_flags_that_make_the_same_features_are_named(recipe, flags):
    assert _flags_of(recipe) == flags
