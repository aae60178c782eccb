"""docs/run-folder.md names every file that a training leaves, and no other."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_recipes import SMALL, own_table

from dgl_gmpool import cli, load_predictor

PAGE = Path(__file__).parent.parent / "docs" / "run-folder.md"
#: Only while a fold trains, or by a flag that needs another package.
SOMETIMES = {"fold_N/checkpoint.pt", "tensorboard/"}


def named(header: str) -> set[str]:
    """Files in the first column of the table with this header."""
    rows = PAGE.read_text(encoding="utf-8").partition(f"| {header} |")[2].partition("\n\n")[0]
    return {
        file
        for row in rows.splitlines()[2:]
        for file in re.findall(r"`([^`]+)`", row.split("|")[1])
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    flags = ["--csv", str(own_table(folder)), "--target", "logS", *SMALL, "--final"]
    flags.remove("--no-report")
    assert cli.main(["train", "csv", *flags, "--output", str(folder / "out")]) == 0
    return folder / "out"


def files(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {re.sub(r"_\d+/", "_N/", file) for file in found if not file.startswith(".")}


@pytest.mark.slow
def test_the_page_names_every_file(trained):
    (run,) = (path for path in trained.iterdir() if path.is_dir())
    assert files(run) == named("in a run") - SOMETIMES
    assert {path.name for path in trained.iterdir() if path.is_file()} == named("in `OUT`")


@pytest.mark.slow
def test_what_may_be_left_out_of_a_run_that_is_handed_on(trained, tmp_path):
    (run,) = (path for path in trained.iterdir() if path.is_dir())
    known = (run / "training_molecules.csv").read_text(encoding="utf-8").splitlines()[1]
    molecule = known.split(",")[0]
    full = load_predictor(run).predict([molecule])
    assert full.lower is not None
    assert full.nearest == (molecule,)

    handed_on = tmp_path / "another name"
    left_out = ("history.csv", "valid_predictions.csv", "outputs.npz")
    shutil.copytree(run, handed_on, ignore=shutil.ignore_patterns(*left_out))
    found = load_predictor(handed_on).predict([molecule])
    np.testing.assert_array_equal(found.lower, full.lower)
    assert found.nearest == full.nearest

    for name in ("training_molecules.csv", "uncertainty.json"):
        (handed_on / name).unlink()
    with pytest.warns(UserWarning, match="lacks what tells its errors"):
        bare = load_predictor(handed_on).predict([molecule])
    np.testing.assert_array_equal(bare.mean, full.mean)
    assert bare.nearest == ("",)

    model = run / "final_0" / "model.pt"
    assert molecule.encode() not in model.read_bytes()
    assert np.isfinite(load_predictor(model).predict([molecule]).mean).all()
