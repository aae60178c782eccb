"""Two processes train one model: the gradient, the rows, the folder and the end of one process."""

from __future__ import annotations

import copy
import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from distributed_worker import (
    GRADIENTS,
    NORMALISED,
    TRAIN,
    asked,
    gradients,
    recipe,
    recorded_fit,
    small_run,
)
from test_training_run import content

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.cli.processes import _say_once
from dgl_gmpool.nn.norm import RowNorm
from dgl_gmpool.training import World, current_world, data_parallel, join_world
from dgl_gmpool.training.batches import derived_seed
from dgl_gmpool.training.data_parallel import release_model, share_model
from dgl_gmpool.training.distributed import PATIENCE, ElsewhereError

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
# Long enough for a busy machine, and it ends a hang.
LIMIT = 240


def torchrun(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
    """Two processes; ``--standalone`` takes a free port."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    environment.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun ends its processes too
        out, err = process.communicate(timeout=60)
        pytest.fail(f"hangs; it said:\n{out}\n{err}")
    return process.returncode, out, err


def recipe_flags(folder: Path) -> list[str]:
    lines = ["smiles,logS"]
    for i in range(36):
        lines.append(f"O=C(Nc1ccccc1){'C' * (i + 1)},{i % 7 - 3.5}")
    (folder / "own.csv").write_text("\n".join(lines) + "\n")
    return [
        *("--csv", str(folder / "own.csv"), "--target", "logS", "--folds", "2", "--epochs", "6"),
        *("--patience", "6", "--hidden", "16", "--batch-size", "4", "--device", "cpu"),
        *("--cache", str(folder / "cache"), "--baselines", "none", "--no-report"),
    ]


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    return recipe_flags(tmp_path_factory.mktemp("table"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory, flags):
    """The folder of a run, one process of which was killed in its second fold."""
    folder = tmp_path_factory.mktemp("session")
    process = torchrun(  # the same as the recipe's script
        *("-m", "dgl_gmpool", "train", "csv", *flags, "--output", folder / "killed")
    )
    checkpoint = folder / "killed" / "gmpool-seed0" / "fold_1" / "checkpoint.pt"
    deadline = time.monotonic() + LIMIT
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    children = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout.split("\n")
    pairs = [line.split() for line in children if line]
    workers = [int(pid) for pid, parent in pairs if int(parent) == process.pid]
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    code, _, _ = ended(process)  # torchrun ends the other; nothing hangs
    assert code != 0
    assert 1 <= len(torch.load(checkpoint, weights_only=True)["history"]) < 6
    shutil.copytree(folder / "killed", folder / "alone")
    return folder


@pytest.fixture(scope="module")
def session(killed, flags):
    folder = killed
    smiles = [f"{'C' * (i % 9 + 1)}O" for i in range(22)]
    (folder / "in.csv").write_text("smiles\n" + "\n".join([*smiles, "C1CC"]) + "\n")
    return (folder, *ended(torchrun(HERE / "distributed_worker.py", folder, *flags)))


@pytest.fixture(scope="module")
def pair(session):
    """What both processes found, and their folder."""
    folder, _, _, err = session
    assert (folder / "0.pt").exists(), err
    assert (folder / "1.pt").exists(), err
    found = [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]
    assert [one["world"] for one in found] == [(0, 2, 0), (1, 2, 1)]
    return folder, found


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_gradient_is_that_of_one_process(pair, name):
    """Three tasks with missing cells, unequal shares, shares without rows, auxiliary losses."""
    expected, loss = gradients(World(), GRADIENTS[name])
    for one in pair[1]:
        steps, their_loss = one["gradients"][name]
        assert their_loss == pytest.approx(loss, abs=1e-6)
        assert len(steps) == len(expected)
        for theirs, ours in zip(steps, expected):
            # A gradient that is zero but for rounding (norms of one row) is that of the largest.
            # Norms of three rows divide by what hardly varies: the last digit of the weights moves
            # these gradients by 6e-6 in one process already. A wrong share moves them by far more.
            largest = max(float(value.abs().max()) for value in ours.values() if value is not None)
            for key, value in ours.items():
                assert (theirs[key] is None) == (value is None), key
                if value is not None:
                    torch.testing.assert_close(
                        theirs[key], value, rtol=1e-5, atol=1e-5 * max(largest, 1.0)
                    )


def test_every_row_is_trained_once_per_epoch(pair):
    fits = [one["fit"] for one in pair[1]]
    alone = recorded_fit({"batch_size": 6, "dropout": 0.3, "epochs": 3})
    assert [len(fit["batches"]) for fit in (alone, *fits)] == [12, 12, 12]
    for epoch in range(3):
        steps = slice(4 * epoch, 4 * epoch + 4)
        whole, *shares = (fit["batches"][steps] for fit in (alone, *fits))
        seen = []
        for step, (_, together) in enumerate(whole):
            first, second = (share[step][1] for share in shares)
            assert first + second == together
            assert (len(first), len(second)) == ((4, 3) if step == 3 else (3, 3))
            seen += together
        assert sorted(seen) == TRAIN
        # Dropout differs between the processes and follows from the numbers alone.
        assert {seed for seed, _ in whole} == {seed for seed, _ in shares[0]}
        assert {seed for seed, _ in shares[1]} == {derived_seed(0, 3, epoch + 1, 1)}
        assert shares[0][0][0] != shares[1][0][0]


def test_both_processes_end_with_the_same_model(pair):
    first, second = (one["fit"] for one in pair[1])
    assert first["history"] == second["history"]
    assert first["best_epoch"] == second["best_epoch"]
    for key, value in first["state"].items():
        assert torch.equal(value, second["state"][key]), key
    statistics = [key for key in pair[1][0]["batch norm"] if "running" in key]
    assert statistics
    for key in statistics:
        assert torch.equal(*(one["batch norm"][key] for one in pair[1])), key


def test_the_readout_is_normalised_over_the_rows_of_both_processes(pair):
    """Also where one of them has no row: the statistics are those of one process."""
    alone = recorded_fit(NORMALISED)["state"]
    for key in ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"):
        first, second = (one["readout norm"][key] for one in pair[1])
        assert torch.equal(first, second)
        torch.testing.assert_close(first, alone[key], rtol=1e-3, atol=1e-4)


def test_every_group_of_processes_waits_as_long(monkeypatch):
    """One may write to a slow disk meanwhile; the default of a new group is 30 minutes."""
    asked = []
    monkeypatch.setattr(dist, "new_group", lambda **options: asked.append(options))
    data_parallel._statistics_group.__wrapped__()
    data_parallel._gradient_group.__wrapped__("cuda")
    assert [options["timeout"] for options in asked] == [PATIENCE, PATIENCE]


def test_a_model_after_training_is_alone_again():
    """It can be trained further, copied and pickled when the other processes are gone."""
    norm = RowNorm(2)
    norm.total = current_world  # of another process group: never called, never copied
    assert copy.deepcopy(norm).total is None
    assert pickle.loads(pickle.dumps(norm)).total is None
    model = MoleculePredictor(3, 0, hidden_feats=4, readout="mean", readout_norm="batch")
    model.norm.total = current_world
    release_model(model)
    assert model.norm.total is None


def test_one_folder_with_the_splits_rows_and_scores_of_one_process(pair, tmp_path):
    folder, found = pair
    expected = small_run(tmp_path / "run")
    names = [
        {str(p.relative_to(run)) for p in run.rglob("*")}
        for run in (tmp_path / "run", folder / "run")
    ]
    assert names[0] == names[1]
    assert (folder / "run/splits.json").read_bytes() == (tmp_path / "run/splits.json").read_bytes()
    assert json.loads((folder / "run/config.json").read_text())["environment"]["processes"] == 2
    assert found[0]["result"] == found[1]["result"]
    assert json.loads((folder / "run/metrics.json").read_text()) == found[0]["result"]
    runs = (tmp_path / "run", folder / "run")
    for k in range(2):
        a, b = (np.load(run / f"fold_{k}/outputs.npz") for run in runs)
        for part in ("valid", "test"):
            np.testing.assert_array_equal(a[f"{part}_rows"], b[f"{part}_rows"])
            # A bias before a batch normalisation has a gradient of rounding alone where nothing is
            # cut off behind it, and Adam makes steps of it.
            np.testing.assert_allclose(a[f"{part}_outputs"], b[f"{part}_outputs"], atol=1e-3)
        ours, theirs = expected.metrics["folds"][k], found[0]["result"]["folds"][k]
        for part in ("valid", "test"):
            for score in ("roc_auc", "average_precision"):
                assert theirs[part][score] == pytest.approx(ours[part][score], abs=1e-4)
        assert ours["best_epoch"] == theirs["best_epoch"]


def test_process_0_alone_decides_about_files_and_the_data_must_agree(pair):
    folder, found = pair
    assert found[0]["not empty"].startswith("ValueError: the output folder")
    assert found[1]["not empty"].startswith("ElsewhereError: process 0: the output folder")
    for one in found:
        assert one["read again"]
        assert "ValueError: process 1 of 2 was given other data than process 0" in one["other data"]
        assert one["main first"]
        assert one["totals"] == [3.0, 1.0]
    assert not (folder / "other").exists()


def test_a_killed_run_goes_on_with_two_processes_or_one(session, pair, flags, capsys):
    folder, _, out, _ = session
    whole, alone = folder / "recipe", folder / "alone"
    assert "instead of" not in out
    assert content(folder / "killed" / "gmpool-seed0") == content(whole / "gmpool-seed0")

    recipe("molecules_csv").main([*flags, "--output", str(alone), "--resume"])
    assert "goes on with 1 instead of 2 processes" in capsys.readouterr().out
    ours, theirs = (content(run / "gmpool-seed0") for run in (alone, whole))
    assert ours["splits.json"] == theirs["splits.json"]
    assert ours["fold_0/model.pt"] == theirs["fold_0/model.pt"]
    assert ours["metrics.json"]["complete"]


@pytest.mark.parametrize("name", ["predict", "embed"])
def test_a_command_that_asks_a_run_shares_the_rows(pair, tmp_path, name):
    asked(name, pair[0], tmp_path / "one.csv")
    one, two = (
        list(csv.DictReader((folder / file).read_text().splitlines()))
        for folder, file in ((tmp_path, "one.csv"), (pair[0], f"{name}.csv"))
    )
    assert [row["smiles"] for row in two] == [row["smiles"] for row in one]
    assert len(two) == 23
    column = "logS predicted" if name == "predict" else "e0"
    values = [[float(row[column] or "nan") for row in rows] for rows in (one, two)]
    np.testing.assert_allclose(*values, atol=1e-5)
    assert np.isnan(values[0]).tolist() == [False] * 22 + [True]


def test_an_error_in_one_process_is_told_once_and_ends_both(session, pair):
    _, code, out, err = session
    assert code != 0
    assert "find_unused_parameters" not in err
    # Twice for each run of the session, which joins without run_script; once in the failing recipe.
    assert out.count("run 1 of 1") == 5
    assert err.count("error: gmpool: the loss became nan in fold_0, epoch ") == 1
    assert err.count("--lr") == 1
    assert "does not answer" not in err


class FromOthers:
    """The store as one process sees it, with no time to wait."""

    def __init__(self) -> None:
        self.real = dist.HashStore()

    def add(self, key: str, amount: int) -> int:
        return self.real.add(key, amount)

    def set(self, key: str, value: str) -> None:
        self.real.set(key, value)

    def wait(self, keys: list[str], timeout: Any) -> None:
        if not self.real.check(keys):
            raise RuntimeError("timeout")


def test_of_several_messages_the_cause_is_told(capsys):
    for order, expected in (
        ([("a", True), ("b", True), ("lost", False)], "a"),
        ([("lost", False), ("a", True)], "lost"),  # nobody told the cause in time
        ([("a", True), ("lost", False)], "a"),
    ):
        store = FromOthers()
        for rank, (text, cause) in enumerate(order):
            _say_once(text, World(rank, 3, rank, store), cause=cause)
        assert capsys.readouterr().err == expected


def test_a_lost_connection_is_an_error_of_another_process_and_other_errors_are_not():
    world = World(1, 2)
    with (
        pytest.raises(ElsewhereError, match=r"process 1 of 2.*Connection closed by peer"),
        world.answering(),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    with pytest.raises(RuntimeError, match="out of memory"), world.answering():
        raise RuntimeError("out of memory")


def test_one_process_needs_no_torchrun(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert join_world() == current_world() == World()
    monkeypatch.setenv("WORLD_SIZE", "4")  # some schedulers set it for purposes of their own
    assert join_world() == World()
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(ValueError, match="not MASTER_ADDR and MASTER_PORT"):
        join_world()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join_world() == World()
    assert not dist.is_initialized()
    module = torch.nn.Module()
    assert share_model(module, World(), torch.device("cpu")).model is module  # type: ignore[arg-type]


def test_shares_are_a_partition_in_order():
    for size in range(1, 6):
        for rows in range(12):
            parts = [World(rank, size).share(torch.arange(rows)) for rank in range(size)]
            assert torch.equal(torch.cat(parts), torch.arange(rows))
            lengths = [len(part) for part in parts]
            assert lengths == sorted(lengths, reverse=True)
            assert lengths[0] - lengths[-1] <= 1
