"""``dgl-gmpool train`` as a user without this repository has it, and its ``--config``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from test_recipes import CASES, SMALL, own_table, recipe
from test_training_run import content

from dgl_gmpool import cli
from dgl_gmpool.cli.config_file import FLAGS, read_config
from dgl_gmpool.cli.datasets import DATA_SETS
from dgl_gmpool.cli.split_plan import check_split_flags
from dgl_gmpool.cli.train_flags import TrainFlags
from dgl_gmpool.training import RunResult, TrainingConfig
from dgl_gmpool.training.config import LONGEST_NAME

FACE = {"csv": "molecules_csv"}


def own_flags(tmp_path: Path, *more: str) -> list[str]:
    return ["--csv", str(own_table(tmp_path)), "--target", "logS", *SMALL, *more]


@pytest.mark.parametrize("name", DATA_SETS)
def test_a_recipe_is_a_face_of_the_command(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    face = FACE.get(name, name)
    make, flags, _ = CASES[face]
    flags = [str(make(tmp_path)) if flag == "FILE" else flag for flag in flags]
    flags += [*SMALL, "--readout", "ngmpool"]
    assert cli.main(["train", name, *flags, "--output", "command"]) == 0
    by_command = capsys.readouterr().out.splitlines()[-1]
    assert recipe(face).main([*flags, "--output", "recipe"]) == 0
    by_recipe = capsys.readouterr().out.splitlines()[-1]
    assert by_recipe.split("|")[:-2] == by_command.split("|")[:-2]  # the last cell is the time
    run = "ngmpool-seed0"
    assert content(Path("recipe") / run) == content(Path("command") / run)


@pytest.mark.parametrize("name", DATA_SETS)
def test_help_goes_from_the_data_to_the_insides_of_the_model(name, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["train", name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: dgl-gmpool train {name} ")
    places = [
        text.index(f"\n{title}:\n") for title in ("data", "training", "files and machine", "model")
    ]
    assert places == sorted(places)
    assert text.index("--backbone NAME") > places[-1]


@pytest.mark.slow
def test_the_installed_command_in_an_empty_folder(tmp_path):
    """A process of its own, with nothing of this repository but the package in reach."""
    flags = own_flags(tmp_path, "--readout", "mean", "--output", "run")
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    table = [*flags[:2], "--output", "out.csv"]
    commands = (["train", "csv", *flags], ["predict", "--model", "run/mean-seed0", *table])
    code = f"from dgl_gmpool.cli import main; print([main(each) for each in {commands}])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.splitlines()[-1] == "[0, 0]", done.stderr
    assert "selection from" in done.stdout
    assert len((folder / "out.csv").read_text().splitlines()) == 38


def test_the_delimiter_and_bounds_are_flags(tmp_path, capsys):
    header, first, *rest = own_table(tmp_path).read_text().replace(",", "|").splitlines()
    first = f"{first.rpartition('|')[0]}|>2.5"
    table = tmp_path / "bars.csv"
    table.write_text("\n".join([header, first, *rest, ""]))
    flags = ["train", "csv", "--csv", str(table), "--target", "logS", *SMALL, "--readout", "mean"]
    flags += ["--delimiter", "|"]
    for number, (more, rows) in enumerate([([], 35), (["--censored", "as_measured"], 36)]):
        assert cli.main([*flags, *more, "--output", str(tmp_path / f"run{number}")]) == 0
        assert f"{rows}  usable rows" in capsys.readouterr().out
    assert cli.main([*flags, "--delimiter", ";", "--output", str(tmp_path / "run")]) == 2


def test_missing_data_flags_are_named(capsys):
    assert cli.main(["train", "csv", "--csv", "x.csv"]) == 2
    assert "--target is missing; give --target NAME" in capsys.readouterr().err
    assert cli.main(["train", "bindingdb"]) == 2
    assert "--tsv FILE" in capsys.readouterr().err


@pytest.mark.parametrize(("place", "message"), [
    ("FILE/run", "is a file; name another folder (--output)"),
    ("FILE", "is a file; the output must be a folder"),
    ("/proc/run", "nothing can be written in /proc"),
])  # fmt: skip
def test_an_output_that_cannot_be_written_is_found_before_the_data_are_read(
    place, message, tmp_path, monkeypatch, capsys
):
    def never(self, args):
        raise AssertionError("read")

    if place.startswith("/proc") and not Path("/proc").is_dir():
        pytest.skip("no /proc")
    monkeypatch.setattr(type(DATA_SETS["csv"]), "load", never)
    flags = own_flags(tmp_path)
    place = place.replace("FILE", flags[1])
    assert cli.main(["train", "csv", *flags, "--output", place]) == 2
    assert message in capsys.readouterr().err


def test_every_setting_of_a_run_has_a_flag():
    assert set(FLAGS) == {field.name for field in fields(TrainingConfig)}


class TestConfig:
    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        more = ["--lr", "0.01", "--readout-option", "similarity=cauchy", "gmpool.tol=0.02"]
        more += ["--seed", "3", "--auxiliary", "properties=0.5", "--id-column", "name"]
        flags = own_flags(tmp_path, *more)
        flags[1] = os.path.relpath(flags[1])
        assert cli.main(["train", "csv", *flags, "--output", "first"]) == 0
        (folder,) = (tmp_path / "first").glob("gmpool-*")
        return folder

    def test_alone_it_repeats_the_run(self, run, tmp_path, monkeypatch):
        monkeypatch.chdir("/")
        for number, given in enumerate((run, run / "config.json")):
            out = tmp_path / f"again{number}"
            again = ["--config", str(given), "--output", str(out), "--no-report"]
            assert cli.main(["train", "csv", *again]) == 0
            assert content(out / run.name) == content(run)

    def test_flags_win_whatever_their_place(self, run, tmp_path):
        flags = ["--epochs", "2", "--config", str(run), "--seed", "4", "--output", "again"]
        flags += ["--option", "similarity=gaussian", "--auxiliary", "properties=2"]
        assert cli.main(["train", "csv", *flags]) == 0
        (folder,) = (tmp_path / "again").glob("gmpool-*")
        config, before = RunResult.load(folder).config, RunResult.load(run).config
        assert (config.epochs, config.seed, config.lr) == (2, 4, before.lr)
        assert dict(config.readout_options) == {"similarity": "gaussian", "tol": 0.02}
        assert dict(config.auxiliary) == {"properties": 2.0}

    def test_a_default_that_is_given_wins_too(self, run, tmp_path):
        flags = ["--config", str(run), "--lr", "0.001", "--readout", "mean", "--output", "again"]
        assert cli.main(["train", "csv", *flags]) == 0
        (folder,) = (tmp_path / "again").glob("mean-*")
        assert RunResult.load(folder).config.lr == 0.001
        assert not RunResult.load(folder).config.readout_options

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"training": {"epoch": 3}}, "'epoch'. Did you mean 'epochs'?"),
            ({"epoch": 3}, "'epoch'. Did you mean 'epochs'?"),
            ({"training": {}, "trainings": {}}, "'trainings'. Did you mean 'training'?"),
            ({"training": {}, "source": {"data_set": "csv", "cvs": "x"}}, "Did you mean 'csv'?"),
            ({"training": 3}, "'training' is 3; expected an object"),
            ({"readout_options": 3}, "'readout_options' is 3; expected an object"),
            ({"epochs": 1.5}, "--epochs 1.5: expected a whole number"),
            ({"epochs": "1"}, "--epochs '1': expected a whole number"),
            ({"lr": "fast"}, "--lr 'fast': expected"),
            ({"seed": -1}, "--seed -1: expected"),
            ({"training": {}, "splits": {"folds": 0}}, "--folds 0: expected"),
            ({"training": {}, "splits": {"kind": "tim"}}, "unknown kind of split 'tim'"),
            ([1], "holds [1], not an object"),
        ],
    )
    def test_a_file_that_says_something_else(self, change, message, tmp_path, capsys):
        file = tmp_path / "mine.json"
        file.write_text(json.dumps(change))
        flags = own_flags(tmp_path)[:4]
        flags += ["--config", str(file), "--output", str(tmp_path / "run")]
        assert cli.main(["train", "csv", *flags]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
        assert not (tmp_path / "run").exists()

    def test_the_folder_of_a_training_stands_for_its_one_run(self, tmp_path, capsys):
        """As it does for predict --model."""
        for name, run in (("one", "a"), ("two", "a"), ("two", "b")):
            (tmp_path / name / run).mkdir(parents=True)
            (tmp_path / name / run / "config.json").write_text('{"epochs": 7}')
        for name in ("one", "one/a"):
            assert read_config(tmp_path / name, "csv", [])["epochs"] == 7
        assert cli.main(["train", "csv", "--config", str(tmp_path / "two")]) == 2
        assert "holds 2 runs; give one of them: " in capsys.readouterr().err

    def test_fewer_targets_than_those_of_the_file(self, tmp_path):
        """What it said of the others was an error that no flag could take back."""
        file = tmp_path / "config.json"
        source = {"data_set": "csv", "target": ["a", "b"], "kind": ["a=regression", "b=multiclass"]}
        parser = argparse.ArgumentParser()
        flags = TrainFlags(parser, DATA_SETS["csv"], output="out")
        for weights, left in (({"a": 2.0, "b": 3.0}, [("a", 2.0)]), ({"b": 3.0}, [])):
            file.write_text(json.dumps({"training": {"task_weights": weights}, "source": source}))
            given = parser.parse_args(["--config", str(file), "--target", "a"])
            found = flags.resolve(given, name="csv")
            assert (found.task_weights, found.kind) == (left, ["a=regression"])
        # A name that is no target of the file's run is a slip.
        file.write_text(json.dumps({"task_weights": {"A": 2.0}}))
        assert flags.resolve(given, name="csv").task_weights == [("A", 2.0)]

    def test_none_undoes_what_the_file_says(self, tmp_path, capsys):
        file = tmp_path / "config.json"
        training = {"positive_weight": "balanced", "head_feats": 4, "auxiliary": {"properties": 1}}
        training |= {"loss": "absolute_error", "readout_options": {"tol": 0.1}, "exchange": None}
        source = {"data_set": "csv", "standardize": ["charge"], "feature_columns": ["pH"]}
        source |= {"splits_file": "s.csv", "kind": ["regression"], "weight_column": "w"}
        file.write_text(json.dumps({"training": training, "source": source}))
        parser = argparse.ArgumentParser()
        flags = TrainFlags(parser, DATA_SETS["csv"], output="out")
        said = ["positive-weight", "head", "auxiliary", "loss", "option", "standardize", "kind"]
        said += ["feature-columns", "splits-file", "weight-column"]
        words = [word for name in said for word in (f"--{name}", "none")]
        found = flags.resolve(parser.parse_args(["--config", str(file), *words]), name="csv")
        plain = flags.resolve(argparse.Namespace())
        assert {**vars(found), "config": None} == vars(plain)
        with pytest.raises(ValueError, match="--standardize: none stands beside other values"):
            flags.resolve(parser.parse_args(["--standardize", "none", "charge"]))
        with pytest.raises(SystemExit):
            parser.parse_args(["--head", "nothing"])
        assert "--head: invalid int value: 'nothing'" in capsys.readouterr().err
        assert cli.main(["train", "csv", "--csv", "t.csv", "--target", "y", "--head", "0"]) == 2
        assert "--head 0: expected at least 1, or none" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("theirs", "given", "left"),
        [
            ("time, date", "--splits-file s.csv", "random, s.csv"),
            ("time, date", "--test-csv t.csv", "random, t.csv"),
            ("time, date", "--split-column day", "time, day"),
            ("time, date", "--split scaffold", "scaffold"),
            ("time, date", "--split time", "time, date"),
            ("random, s.csv", "--split-column part", "random, part"),
            ("scaffold, s.csv", "--split cluster", "cluster"),
            ("scaffold, t.csv", "--split cluster", "cluster, t.csv"),
            ("scaffold, part", "--split cluster", "cluster, part"),
        ],
    )
    def test_one_way_to_split_takes_the_place_of_that_of_the_file(
        self, theirs, given, left, tmp_path
    ):
        names = {"s.csv": "splits_file", "t.csv": "test_csv"}
        kind, _, way = theirs.partition(", ")
        source = {"data_set": "csv", "split": kind, names.get(way, "split_column"): way}
        file = tmp_path / "config.json"
        file.write_text(json.dumps({"training": {}, "source": source}))
        parser = argparse.ArgumentParser()
        flags = TrainFlags(parser, DATA_SETS["csv"], output="out")
        args = parser.parse_args(["--config", str(file), *given.split()])
        found = flags.resolve(args, name="csv")
        found.data_set = "csv"
        check_split_flags(found)
        ways = [found.split, found.split_column, found.splits_file, found.test_csv]
        assert ", ".join(filter(None, ways)) == left

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"readout": ["mean"]}, r"'readout' is \['mean'\]; expected one value.*--readout A B"),
            ({"levels": [1, 2]}, r"'levels' is \[1, 2\]; expected one value"),
            ({"seed": {"a": 1}}, "'seed' is .*; expected one value"),
            ({"start_from": [1]}, r"'start_from' is \[1\]; expected one value, as a run has it$"),
        ],
    )
    def test_a_list_in_place_of_one_value(self, tmp_path, setting, message):
        (tmp_path / "mine.json").write_text(json.dumps(setting))
        with pytest.raises(ValueError, match=message):
            read_config(tmp_path / "mine.json", "csv", [])

    @pytest.mark.parametrize("setting", [{"metric": 5}, {"descriptors": 5}, {"metric": {"a": 1}}])
    def test_a_number_in_place_of_names(self, setting):
        (name,) = setting
        with pytest.raises(ValueError, match=f"{name}=.*expected .*names?"):
            TrainingConfig(**setting)

    def test_a_file_that_is_not_there_or_not_json(self, tmp_path, capsys):
        for text, message in ((None, "there is no such file"), ("{", "not readable JSON")):
            file = tmp_path / "mine.json"
            if text is not None:
                file.write_text(text)
            assert cli.main(["train", "csv", "--config", str(file)]) == 2
            assert message in capsys.readouterr().err


def test_a_target_that_nobody_measured_is_named_before_anything_is_trained(tmp_path, capsys):
    text = own_table(tmp_path).read_text().splitlines()
    table = tmp_path / "blank.csv"
    table.write_text("\n".join([f"{text[0]},blank", *(f"{line}," for line in text[1:])]))
    command = ["train", "csv", "--csv", str(table), "--target", "logS", "blank", *SMALL]
    assert cli.main([*command, "--output", str(tmp_path / "run")]) == 2
    assert "has a measured blank; leave that target out" in capsys.readouterr().err


def test_a_run_of_many_long_names_has_a_folder_of_its_own(tmp_path, capsys):
    """Each weight is in the name, which the system refused as too long."""
    names = [f"some assay with a long name, number {n:02}" for n in range(8)]
    lines = [",".join(["smiles", *(f'"{name}"' for name in names)])]
    lines += [",".join(["C" * n, *[str(n % 7)] * 8]) for n in range(1, 25)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    out = tmp_path / "out"
    train = ["train", "csv", "--csv", str(tmp_path / "t.csv"), "--target", *names, *SMALL]
    train += ["--output", str(out), "--task-weights", *(f"{name}=2" for name in names)]
    assert cli.main([*train, "--hidden", "8"]) == 0
    assert cli.main([*train, "--hidden", "8", "--resume"]) == 0
    assert "finished before, in" in capsys.readouterr().out
    (run,) = (file.parent.name for file in out.glob("*/config.json"))
    weights = dict.fromkeys(names, 2.0)
    others = [{**weights, names[-1]: 3.0}, {name: 2.0 for name in names[:-1]}]
    runs = [TrainingConfig(task_weights=each).run_name for each in (weights, *others)]
    assert runs[0] == run
    assert len({*runs}) == 3
    assert {len(name) for name in runs} == {LONGEST_NAME}
    short = TrainingConfig(task_weights={"logS": 2.0}, seed=3)
    assert short.run_name == "gmpool-logS=2-seed3"
