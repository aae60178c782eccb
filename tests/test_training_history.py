"""Every epoch is told of as it ends: in history.csv, in a log, for TensorBoard."""

from __future__ import annotations

import io
import sys
from types import ModuleType
from typing import ClassVar

import pytest
from test_training_run import splits_of
from training_data import rows_of, small_dataset, small_options

from dgl_gmpool.cli import main
from dgl_gmpool.training import RunResult, TrainingConfig, train_run
from dgl_gmpool.training.history import EpochLog


@pytest.fixture(scope="module")
def dataset():
    return small_dataset(rows=24)


@pytest.fixture(scope="module")
def config():
    return TrainingConfig(**small_options(readout="mean", epochs=3))


class Killed(BaseException):
    """Stands for the end of the process."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def without_time(text: str) -> list[dict[str, str]]:
    return [{**row, "seconds": ""} for row in rows_of(text)]


def test_an_epoch_is_in_the_file_when_it_ends_and_once_after_a_kill(
    dataset, config, tmp_path, monkeypatch
):
    """Killed after any epoch, also in the middle of its line."""
    whole = train_run(dataset, splits_of(dataset), config, tmp_path / "whole", progress=False)
    expected = without_time((whole.folder / "history.csv").read_text())
    assert [(row["fold"], row["epoch"]) for row in expected] == [
        (str(fold), str(epoch)) for fold in range(2) for epoch in (1, 2, 3)
    ]
    tell = EpochLog.epoch
    for last in range(1, 7):
        folder, seen = tmp_path / f"killed{last}", []

        def kill(log, history, last=last, seen=seen):
            tell(log, history)
            seen.append(without_time(log.path.read_text()))
            if len(seen) == last:
                with open(log.path, "a") as file:
                    file.write("0,9,0.1")  # a torn line
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(EpochLog, "epoch", kill)
            with pytest.raises(Killed):
                train_run(dataset, splits_of(dataset), config, folder, progress=False)
        assert seen == [expected[:number] for number in range(1, last + 1)]
        train_run(dataset, splits_of(dataset), config, folder, progress=False, resume=True)
        assert without_time((folder / "history.csv").read_text()) == expected


@pytest.mark.parametrize("terminal", [False, True])
def test_a_line_for_every_epoch_where_nobody_sees_a_bar(
    terminal, dataset, config, tmp_path, monkeypatch
):
    stderr = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    result = train_run(dataset, splits_of(dataset), config, tmp_path / "run")
    lines = [line for line in stderr.getvalue().splitlines() if "of 3: loss" in line]
    if terminal:
        assert lines == []
        return
    assert [line.partition(":")[0] for line in lines] == [
        f"fold {fold} of 2, epoch {epoch} of 3" for fold in (1, 2) for epoch in (1, 2, 3)
    ]
    history = rows_of((result.folder / "history.csv").read_text())
    for line, row in zip(lines, history):
        assert f"loss {float(row['train_loss']):.3f}, " in line
        assert f"valid RMSE {float(row['valid_score']):.3f}" in line
        assert ("(best)" in line) == (row["is_best"] == "True")
        assert f", {float(row['seconds']):.1f} s" in line
    assert all("left of this run" in line for line in lines[:-1])
    assert "left" not in lines[-1]


def test_nothing_is_printed_without_progress(dataset, config, tmp_path, capsys):
    train_run(dataset, splits_of(dataset), config, tmp_path / "run", progress=False)
    assert capsys.readouterr() == ("", "")


class Writer:
    """Keeps what ``SummaryWriter`` would write, and purges as its reader does."""

    written: ClassVar[dict[str, dict[tuple[str, int], float]]] = {}

    def __init__(self, log_dir, purge_step=None):
        self.values = self.written.setdefault(log_dir, {})
        if purge_step is not None:
            for key in [key for key in self.values if key[1] >= purge_step]:
                del self.values[key]

    def add_scalar(self, name, value, step):
        assert (name, step) not in self.values
        self.values[name, step] = value

    def flush(self):
        pass

    def close(self):
        pass


def test_tensorboard_gets_every_epoch_once(dataset, config, tmp_path, monkeypatch):
    stand_in = ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    monkeypatch.setattr(Writer, "written", {})
    tell = EpochLog.epoch

    def kill(log, history):
        tell(log, history)
        if log._fold == 1 and len(history) == 2:
            raise Killed

    options = {"progress": False, "tensorboard": True}
    with monkeypatch.context() as patch:
        patch.setattr(EpochLog, "epoch", kill)
        with pytest.raises(Killed):
            train_run(dataset, splits_of(dataset), config, tmp_path / "run", **options)
    result = train_run(
        dataset, splits_of(dataset), config, tmp_path / "run", resume=True, **options
    )
    assert result == RunResult.load(tmp_path / "run")
    history = rows_of((tmp_path / "run" / "history.csv").read_text())
    for fold in range(2):
        assert Writer.written[str(tmp_path / "run" / "tensorboard" / f"fold_{fold}")] == {
            (name, int(row["epoch"])): float(row[name])
            for row in history
            if row["fold"] == str(fold)
            for name in ("train_loss", "valid_score")
        }


def test_without_tensorboard_its_flag_is_refused_before_the_data_are_read(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    flags = ["--csv", str(tmp_path / "none.csv"), "--target", "y", "--tensorboard"]
    assert main(["train", "csv", *flags, "--output", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "pip install tensorboard" in error
    assert "history.csv" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
