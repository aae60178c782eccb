"""``dgl-gmpool tune``: a search that goes on, is shared, and ends in a file for ``train``."""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dgl_gmpool import cli
from dgl_gmpool.cli.datasets import DATA_SETS
from dgl_gmpool.cli.train_flags import TrainFlags
from dgl_gmpool.training import TrainingConfig, tuning
from dgl_gmpool.training.provenance import data_record
from dgl_gmpool.training.run import run_record
from dgl_gmpool.training.search_space import (
    DEFAULT_SPACE,
    SETTINGS,
    parse_space,
    suggest_config,
)

optuna = pytest.importorskip("optuna")

SMALL = ["--epochs", "1", "--hidden", "8", "--steps", "1", "--folds", "2", "--batch-size", "16"]
SMALL += ["--baselines", "none"]
SPACE = ["--space", "width=4,8", "lr=1e-3:1e-2", "readout=gmpool,mean"]


def started(target, *arguments):
    """A process of its own, forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["pytest", "dgl_gmpool.cli.tune", "optuna.storages", "torch._dynamo"]
    )
    process = context.Process(target=target, args=arguments)
    process.start()
    return process


def search(arguments, said):
    with open(said, "w") as file, redirect_stdout(file), redirect_stderr(file):
        raise SystemExit(cli.main(arguments))


def search_beside_another(arguments, said, folder):
    """A search that trains as soon as two do."""
    fit_fold = tuning.fit_fold

    def wait_and_fit(*args, **options):
        (folder / str(os.getpid())).touch()
        deadline = time.monotonic() + 60
        while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return fit_fold(*args, **options)

    tuning.fit_fold = wait_and_fit
    search(arguments, said)


def table(folder):
    lines = ["smiles,y", *(f"{'C' * n}{end},{n}" for n in range(1, 13) for end in ("", "O", "N"))]
    file = folder / "t.csv"
    file.write_text("\n".join(lines) + "\n")
    return ["tune", "csv", "--csv", str(file), "--target", "y", *SMALL]


def rows(folder):
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_search_ends_in_a_file_that_train_takes(tmp_path, capsys):
    out = tmp_path / "out"
    tune = [*table(tmp_path), *SPACE, "--epochs", "2", "--trials", "4"]
    assert cli.main([*tune, "--output", str(out)]) == 0
    said = capsys.readouterr().out
    found = rows(out)
    assert len(found) == 4
    assert {row["state"] for row in found} <= {"complete", "pruned"}
    # The settings of the flags come first.
    assert (found[0]["width"], found[0]["lr"], found[0]["readout"]) == ("8", "0.001", "gmpool")
    scores = {row["trial"]: float(row["valid rmse"]) for row in found if row["state"] == "complete"}
    best = min(scores, key=scores.get)
    assert f"the best, trial {best}: valid RMSE" in said
    settings = json.loads((out / "best.json").read_text())["training"]
    row = found[int(best)]
    assert (str(settings["hidden_feats"]), settings["readout"]) == (row["width"], row["readout"])
    assert settings["lr"] == float(row["lr"])
    # train repeats the trial: the same folds, and so the same validation scores.
    run = tmp_path / "run"
    train = ["train", "csv", "--config", str(out / "best.json"), "--output", str(run)]
    assert cli.main([*train, "--no-report"]) == 0
    (metrics,) = run.glob("*/metrics.json")
    folds = json.loads(metrics.read_text())["folds"]
    assert np.mean([fold["valid"]["rmse"] for fold in folds]) == pytest.approx(scores[best])


def odd_table(folder):
    """With salts, a molecule measured twice, mirror images, bounds, and a column for each flag."""
    smiles = [f"{'C' * n}{end}" for n in range(2, 12) for end in ("O", "N")]
    smiles += ["C[C@H](N)C(=O)[O-].[Na+]", "C[C@@H](N)C(=O)O", "CCO", "CCO"]
    lines = ["structure;y;z;odd;series;date;part;weight;pH;name"]
    for n, text in enumerate(smiles):
        part = ("test", "valid", "train", "train")[n % 4] if text != "CCO" else "test"
        lines.append(
            f"{text};{'>' * (n == 7)}{n};{n * n % 7};{n % 2};s{n // 4};{2000 + n};{part};"
            f"{1 + n % 3};{n % 5};row {n}"
        )
    (folder / "odd.csv").write_text("\n".join(lines) + "\n")
    (folder / "test.csv").write_text("\n".join([lines[0], *lines[6:10]]) + "\n")
    parts = [
        f"{n + 2},{'test' if n < 4 or text == 'CCO' else 'train'}" for n, text in enumerate(smiles)
    ]
    (folder / "parts.csv").write_text("\n".join(["row,part", *parts]) + "\n")
    return ["csv", "--csv", str(folder / "odd.csv"), "--smiles-column", "structure"]


def chromophores(folder):
    lines = ["Tag,Chromophore,Solvent,Absorption max (nm),Emission max (nm),Quantum yield"]
    for n in range(1, 11):
        lines += [f"{n},{'C' * n}O,{solvent},400,{450 + n},0.5" for solvent in ("CCO", "O")]
    (folder / "c.csv").write_text("\n".join(lines) + "\n")
    return ["chromophores", "--csv", str(folder / "c.csv"), "--baselines", "none"]


#: Beside those, each with another value than its default.
FLAGS = {
    "featurizer": "--featurizer canonical --standardize fragment charge --replicates median",
    "columns": "--weight-column weight --feature-columns pH --bounds use --delimiter ; --units M "
    "--kind regression --id-column name --decimal-comma",
    "groups": "--split group --group-column series --folds 3 --test-fraction 0.3 --seed 4",
    "time": "--split time --split-column date",
    "parts": "--split-column part --replicates mean",
    "test table": "--test-csv test.csv",
    "splits": "--splits-file parts.csv",
    "targets": "--target y z --task-weights z=2 --loss absolute_error --metric mae rmse --final",
    "classes": "--target odd --positive-weight balanced --auxiliary properties=0.1",
    "training": "--epochs 3 --patience 2 --batch-size 7 --lr 0.01 --schedule one_cycle "
    "--weight-decay 0.1 --dropout 0.1 --readout-norm none --head 4 --steps 2 --hidden 4",
    "readout": "--readout-preset paper --readout-option tol=0.01 fragment_weight=0.1 --no-exchange "
    "--levels 2 --levels-lift",
    "other readout": "--readout mean --descriptors morgan",
    "backbone": "--backbone gcn --backbone-option edges=true --exchange-after layer "
    "--featurizer attentivefp",
    "start": "--start-from first --freeze backbone",
    "solvent": "--target emission_solvent --folds 2",
}
#: What decides no number of a run, or only says where it is written.
MACHINE = {"config", "output", "resume", "cache", "processes", "device", "threads", "debug"}
MACHINE |= {"tensorboard", "no_report"}


def test_every_flag_is_given_below():
    flags = TrainFlags(argparse.ArgumentParser(), DATA_SETS["csv"], output="out")
    every = vars(flags.resolve(argparse.Namespace()))
    given = " ".join(["--csv --smiles-column --baselines", *FLAGS.values()]).replace("no-", "")
    given = {word[2:].replace("-", "_") for word in given.split() if word.startswith("--")}
    assert given | MACHINE == {*every}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_train_does_what_the_best_trial_did(flags, tmp_path, monkeypatch):
    """best.json knew nothing of the features, and trials nothing of auxiliary targets."""
    monkeypatch.chdir(tmp_path)
    data = [*odd_table(tmp_path), "--target", "y", "--baselines", "none", "--epochs", "1"]
    if "emission" in flags:
        data = chromophores(tmp_path)
    if "first" in flags:
        small = ["--hidden", "8", "--folds", "2", "--no-report", "--output", "first"]
        assert cli.main(["train", *data, *small]) == 0
    tried, trained = [], []

    def try_fold(dataset, train, valid, config, **_):
        tried.append((dataset, config, (list(train), list(valid))))
        return SimpleNamespace(best_score=1.0)

    def train_run(dataset, splits, config, *_, **__):
        trained.append((dataset, splits, config))
        raise SystemExit

    monkeypatch.setattr("dgl_gmpool.training.tuning.fit_fold", try_fold)
    monkeypatch.setattr("dgl_gmpool.cli.train_plan.train_run", train_run)
    search = ["--space", "lr=1e-3:1e-2", "--trials", "1", "--output", "out"]
    assert cli.main(["tune", *data, *flags.split(), *search]) == 0
    with pytest.raises(SystemExit):
        cli.main(["train", data[0], "--config", "out/best.json", "--output", "again"])
    ((dataset, splits, config),) = trained
    record = json.loads(json.dumps(run_record(dataset, splits, config)))
    saved = json.loads(Path("out/best.json").read_text())
    assert {key: saved[key] for key in record} == record
    assert [rows for *_, rows in tried] == [tuple(map(list, fold)) for fold in splits.folds]
    for seen, same, _ in tried:
        assert same == config
        assert data_record(seen, same.auxiliary, same.descriptors) == saved["data"]


@pytest.mark.parametrize(
    "flags",
    [
        "--featurizer canonical --standardize fragment charge --replicates median",
        "--weight-column weight --feature-columns pH --auxiliary properties=0.5",
        "--readout-option fragment_weight=0.5 --descriptors rdkit",
    ],
)
def test_train_repeats_the_score_of_the_best_trial(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = "--target y --epochs 1 --hidden 8 --steps 1 --folds 2 --batch-size 8 --baselines none"
    tune = ["tune", *odd_table(tmp_path), *small.split(), *flags.split(), "--output", "out"]
    assert cli.main([*tune, "--space", "dropout=0.1:0.4", "--trials", "1"]) == 0
    train = ["train", "csv", "--config", "out/best.json", "--output", "run", "--no-report"]
    assert cli.main(train) == 0
    (metrics,) = Path("run").glob("*/metrics.json")
    scores = [fold["valid"]["rmse"] for fold in json.loads(metrics.read_text())["folds"]]
    assert float(rows(Path("out"))[0]["valid rmse"]) == pytest.approx(np.mean(scores))


def test_targets_of_several_kinds_are_searched_by_the_share_explained(tmp_path):
    lines = [
        f"{'C' * n}{end},{n},{n % 2},{word}"
        for n in range(1, 13)
        for end, word in (("", "red"), ("O", "green"), ("N", "blue"))
    ]
    (tmp_path / "t.csv").write_text("\n".join(["smiles,y,odd,colour", *lines]))
    tune = ["tune", "csv", "--csv", str(tmp_path / "t.csv"), "--target", "y", "odd", "colour"]
    out = tmp_path / "out"
    tune += [*SMALL, "--readout", "mean", "--space", "lr", "--trials", "2"]
    assert cli.main([*tune, "--output", str(out)]) == 0
    assert all(row["valid explained"] for row in rows(out))
    train = ["train", "csv", "--config", str(out / "best.json"), "--no-report"]
    assert cli.main([*train, "--output", str(tmp_path / "run")]) == 0


def test_the_network_of_the_run_to_start_from_is_not_searched(tmp_path, capsys):
    first = ["train", *table(tmp_path)[1:], "--no-report"]
    assert cli.main([*first, "--output", str(tmp_path / "first")]) == 0
    # Width and depth come from the run.
    tune = [*table(tmp_path)[:6], *SMALL[:2], *SMALL[6:], "--start-from", str(tmp_path / "first")]
    tune += ["--trials", "2", "--output", str(tmp_path / "out")]
    assert cli.main([*tune, "--space", "lr", "width=4,8"]) == 2
    assert "--space width: these are as in the run or weights to" in capsys.readouterr().err
    assert cli.main([*tune, "--resume"]) == 0
    assert "note: readout, width, depth are as in" in capsys.readouterr().out
    assert len(rows(tmp_path / "out")) == 2
    assert "width" not in rows(tmp_path / "out")[0]


def test_a_search_goes_on_and_knows_its_data(tmp_path, capsys):
    out = ["--output", str(tmp_path / "out")]
    tune = [*table(tmp_path), *SPACE, *out]
    assert cli.main([*tune, "--trials", "2"]) == 0
    assert cli.main([*tune, "--trials", "3"]) == 2
    assert "Add --resume" in capsys.readouterr().err
    assert cli.main([*tune, "--trials", "3", "--resume"]) == 0
    found = rows(tmp_path / "out")
    assert len(found) == 3
    assert len({(row["width"], row["lr"], row["readout"]) for row in found}) == 3
    assert cli.main([*tune, "--trials", "3", "--resume"]) == 0
    assert len(rows(tmp_path / "out")) == 3
    assert cli.main([*tune, "--trials", "4", "--resume", "--folds", "3"]) == 2
    assert "is of other splits; continue it with" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_search_tries_its_last_trial_again(tmp_path):
    out = tmp_path / "out"
    tune = [*table(tmp_path), *SPACE, "--output", str(out), "--threads", "1"]
    longer = [*tune, "--epochs", "2000", "--patience", "2000", "--trials", "1"]
    process = started(search, longer, tmp_path / "said")
    storage = f"sqlite:///{out / 'study.db'}"
    deadline = time.monotonic() + 120
    running: list = []
    while not running and time.monotonic() < deadline:
        time.sleep(0.1)
        if (out / "study.db").exists():
            try:
                study = optuna.load_study(study_name="dgl-gmpool", storage=storage)
                running = [t for t in study.trials if t.intermediate_values]
            except Exception:
                continue  # the tables are not there yet
    process.kill()
    process.join()
    assert running, (tmp_path / "said").read_text()
    assert cli.main([*tune, "--trials", "1", "--resume"]) == 0
    found = rows(out)
    assert [row["state"] for row in found] == ["fail", "complete"]
    assert [found[0][name] for name in ("width", "lr", "readout")] == [
        found[1][name] for name in ("width", "lr", "readout")
    ]


def test_two_processes_share_a_study(tmp_path):
    storage = ["--storage", f"sqlite:///{tmp_path / 'shared.db'}"]
    tune = [*table(tmp_path), *SPACE, *storage, "--trials", "4", "--output"]
    (tmp_path / "there").mkdir()
    said = {name: tmp_path / f"{name}.txt" for name in ("a", "b")}
    processes = [
        started(search_beside_another, [*tune, str(tmp_path / name)], file, tmp_path / "there")
        for name, file in said.items()
    ]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0], [
        file.read_text() for file in said.values()
    ]
    study = optuna.load_study(study_name="dgl-gmpool", storage=storage[1])
    finished = [t for t in study.trials if t.state.name in ("COMPLETE", "PRUNED")]
    assert 4 <= len(finished) <= 5
    assert len({t.user_attrs["process"][1] for t in finished}) == 2
    assert len({tuple(t.params.items()) for t in finished}) >= len(finished) - 1


def test_a_trial_that_cannot_be_trained_is_one_of_the_table(tmp_path, capsys):
    tune = [*table(tmp_path), "--space", "lr=1e30,1e-3", "--trials", "3"]
    assert cli.main([*tune, "--output", str(tmp_path / "out")]) == 0
    failed = [row for row in rows(tmp_path / "out") if row["state"] == "fail"]
    assert failed
    assert all("lr 1e+30" in row["error"] for row in failed)


def test_hopeless_trials_end_early(tmp_path):
    """Five that learn, and one that does not, but for the first epochs, which prove nothing."""
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name="dgl-gmpool", storage=storage)
    for rate in [1e-2] * 5 + [1e-9]:
        study.enqueue_trial({"lr": rate})
    flags = ["--space", "lr=1e-9,1e-2", "--epochs", "6", "--patience", "6", "--storage", storage]
    tune = [*table(tmp_path), *flags, "--trials", "6", "--output", str(tmp_path / "out")]
    assert cli.main(tune) == 0
    found = [(row["state"], int(row["epochs"])) for row in rows(tmp_path / "out")]
    assert found == [("complete", 12)] * 5 + [("pruned", 5)]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["widht"], "setting of --space 'widht'. Did you mean 'width'"),
        (["width", "width=8"], "--space width is given twice"),
        (["width=8,8.0"], "a value is given twice"),
        (["descriptors=rdkit+morgan,morgan+rdkit"], "a value is given twice"),
        (["width=a"], "'a' is no number; expected width=A,B,C or width=LOW:HIGH"),
        (["width=8.5"], "8.5 is not whole"),
        (["width=8:4"], "the lower number first"),
        (["width=0,8"], "hidden_feats=0: expected"),
        (["dropout=0:1"], "dropout=1.0: expected 0 <= dropout < 1"),
        (["lr=nan"], "'nan' is no number"),
        (["lr="], "or lr alone"),
        (["descriptors=rdkti"], "Did you mean 'rdkit'"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(texts, message):
    with pytest.raises(ValueError, match=message.replace("+", r"\+")):
        parse_space(texts)


def test_every_suggestion_is_a_configuration():
    space = parse_space([*SETTINGS])
    assert set(DEFAULT_SPACE) < set(SETTINGS)
    base = TrainingConfig(epochs=7)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(60):
        config = suggest_config(study.ask(), base, space, {"mean_and_max": {}})
        assert config.epochs == 7
        assert config.levels == 1 or config.readout == "gmpool"
        assert set(config.descriptors) <= {"rdkit", "morgan"}


def test_several_readouts_of_the_flags_are_the_choices(tmp_path):
    tune = [*table(tmp_path), "--readout", "sum", "max", "--space", "lr", "--trials", "3"]
    assert cli.main([*tune, "--output", str(tmp_path / "out")]) == 0
    assert {row["readout"] for row in rows(tmp_path / "out")} <= {"sum", "max"}


def settings_of(folder):
    study = optuna.load_study(study_name="dgl-gmpool", storage=f"sqlite:///{folder / 'study.db'}")
    return [trial.user_attrs["training"] for trial in study.trials]


def test_readouts_of_the_space_are_planned_as_those_of_the_flags(tmp_path, capsys):
    """Preset, options and levels went to the readouts of --readout alone, without a word."""
    tune = [*table(tmp_path), "--space", "readout=mean,gmpool,ngmpool", "--trials", "6"]
    out = tmp_path / "out"
    options = ["--readout-preset", "paper", "--readout-option", "gmpool.tol=0.01"]
    assert cli.main([*tune, *options, "--output", str(out)]) == 0
    tried = {each["readout"]: each["readout_options"] for each in settings_of(out)}
    assert tried["gmpool"]["tol"] == 0.01
    assert tried["gmpool"]["similarity"] == "linear"
    if "ngmpool" in tried:
        assert tried["ngmpool"]["similarity"] == "linear"
    assert tried.get("mean", {}) == {}
    assert "has no option gmpool.tol" not in capsys.readouterr().out


def test_a_search_over_levels_lifts_where_there_are_two(tmp_path):
    tune = [*table(tmp_path), "--space", "levels", "readout=mean,gmpool", "--trials", "5"]
    out = tmp_path / "out"
    assert cli.main([*tune, "--levels", "2", "--levels-lift", "--output", str(out)]) == 0
    tried = settings_of(out)
    assert (tried[0]["readout"], tried[0]["levels"]) == ("gmpool", 2)  # as the flags say
    assert all(each.get("lift", False) == (each["levels"] == 2) for each in tried)


def test_without_a_space_what_a_flag_says_is_not_searched(tmp_path, capsys):
    tune = [*table(tmp_path), "--dropout", "0.3", "--trials", "2", "--levels", "2"]
    out = tmp_path / "out"
    assert cli.main([*tune, "--output", str(out)]) == 0
    said = capsys.readouterr().out
    assert "not searched: width (--hidden), depth (--steps), dropout (--dropout)" in said
    assert "note: ngmpool, mean_and_max cannot do 2 levels; not searched" in said
    assert set(rows(out)[0]) >= {"readout", "lr", "descriptors"}
    for each in settings_of(out):
        assert (each["hidden_feats"], each["dropout"], each["num_steps"]) == (8, 0.3, 1)


def test_what_a_flag_says_and_the_space_lacks_is_told(tmp_path, capsys):
    tune = [*table(tmp_path), "--readout", "sum", "--space", "readout=mean,max", "width=4,16"]
    assert cli.main([*tune, "--trials", "1", "--output", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "note: readout sum is not tried: --space has readout=mean,max" in said
    assert "note: width 8 is not tried: --space has width=4,16" in said


def test_a_study_keeps_its_choices_and_tells_of_other_settings(tmp_path, capsys):
    tune = [*table(tmp_path), "--output", str(tmp_path / "out"), "--resume"]
    assert cli.main([*tune, "--space", "width=4,8", "lr=1e-3:1e-2", "--trials", "1"]) == 0
    for other in ("width=4,8,16", "width=4:8"):
        assert cli.main([*tune, "--space", other, "dropout=0:0.1", "--trials", "2"]) == 2
        said = capsys.readouterr().err
        assert f"--space {other}: the study 'dgl-gmpool' has tried width=4,8" in said
        # What it tells to type keeps the rest of the search.
        assert "continue it with --space width=4,8 dropout=0:0.1 in place of" in said
    assert cli.main([*tune, "--space", "lr=1e-3,1e-2", "--trials", "2"]) == 2
    assert "has tried lr=0.001:0.01" in capsys.readouterr().err
    assert len(rows(tmp_path / "out")) == 1
    # The ends of a range may move, and other settings are told.
    wider = ["--space", "width=4,8", "lr=1e-4:1e-2", "--epochs", "3", "--trials", "2"]
    assert cli.main([*tune, *wider]) == 0
    assert "note: earlier trials of the study had epochs 1, now 3" in capsys.readouterr().out
    assert len(rows(tmp_path / "out")) == 2


def test_choices_in_another_order_are_those_of_the_study(tmp_path, capsys):
    tune = [*table(tmp_path), "--output", str(tmp_path / "out"), "--resume"]
    assert cli.main([*tune, "--readout", "mean", "max", "--trials", "1"]) == 0
    assert "is not tried" not in capsys.readouterr().out
    flags = ["--readout", "max", "mean"]
    assert cli.main([*tune, *flags, "--trials", "2"]) == 0
    assert "searching readout (mean,max)" in capsys.readouterr().out
    assert cli.main([*tune, *flags, "--space", "readout=mean,max", "lr", "--trials", "3"]) == 0
    assert len(rows(tmp_path / "out")) == 3


def test_trials_that_all_fail_say_why(tmp_path, capsys):
    tune = [*table(tmp_path), "--space", "lr=1e30,1e31", "--trials", "2"]
    assert cli.main([*tune, "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert "trial 0 fail: lr=1e+30 (gmpool: " in said.out
    assert "none of 2 trials came to a score; the first: gmpool: " in said.err


def test_a_readout_of_another_package_that_refuses_some_settings(tmp_path, monkeypatch):
    """Its error ends the trial, and the search goes on."""
    package = tmp_path / "site"
    (package / "fussy-1.0.dist-info").mkdir(parents=True)
    (package / "fussy-1.0.dist-info" / "METADATA").write_text("Name: fussy\nVersion: 1.0\n")
    (package / "fussy-1.0.dist-info" / "entry_points.txt").write_text(
        "[dgl_gmpool.readouts]\nfussy = fussy:Fussy\n"
    )
    (package / "fussy.py").write_text(
        "from dgl_gmpool.registry import readout_entry\n"
        "def Fussy(in_feats):\n"
        "    if in_feats == 6:\n"
        "        raise ValueError('six is no width for heads')\n"
        "    return readout_entry('mean').factory(in_feats)\n"
    )
    monkeypatch.syspath_prepend(package)
    tune = [*table(tmp_path), "--readout", "fussy", "max", "--space", "width=6,8"]
    assert cli.main([*tune, "--trials", "8", "--output", str(tmp_path / "out")]) == 0
    found = rows(tmp_path / "out")
    assert {row["state"] for row in found if row["readout"] == "max"} == {"complete"}
    for row in found:
        if row["readout"] == "fussy":
            assert ("six is no width" in row["error"]) == (row["width"] == "6")
    assert {(row["readout"], row["width"]) for row in found} >= {("fussy", "6"), ("fussy", "8")}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed", "0", "1"], "take one value in a search"),
        (["--levels", "1", "2"], "take one value in a search"),
        (["--readout", "mean", "--lr", "0.1", "--dropout", "0", "--descriptors", "rdkit"], "leave"),
        (["--readout", "mean", "sum", "--space", "readout=max,sum"], "both list readouts"),
        (["--space", "readout=men,sum"], "unknown readout 'men'"),
        (["--space", "readout=gmpool,mean", "--levels", "2"], "mean cannot do --levels 2; leave"),
        (["--storage", "nothing://x"], "cannot be opened"),
        (["--trials", "0"], "expected a whole number of at least 1"),
        (["--space", "nothing"], "unknown setting of --space"),
    ],
)
def test_wrong_flags(flags, message, tmp_path, capsys):
    try:
        code = cli.main([*table(tmp_path), "--output", str(tmp_path / "out"), *flags])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert message in capsys.readouterr().err


def test_without_optuna_the_remedy_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert cli.main([*table(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "pip install 'dgl-gmpool[tune]'" in capsys.readouterr().err
