"""The recipes and commands as a user calls them, on files of a few molecules."""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_training_run import content
from training_data import rows_of

from dgl_gmpool import cli
from dgl_gmpool._options import parse_options
from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.cli.train_flags import TrainFlags
from dgl_gmpool.cli.train_plan import plan_runs
from dgl_gmpool.data import load_sodium_channel
from dgl_gmpool.training import TrainingError, markdown_table

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
GROUPS = ("F", "Cl", "Br", "C", "O", "N")
# Benzanilides of 22 heavy atoms: inside the paper's 20 to 40.
MOLECULES = [f"O=C(Nc1ccc({x})cc1)c1ccc({y})cc1CCCCC" for x, y in itertools.product(GROUPS, GROUPS)]
SMALL = ["--epochs", "1", "--hidden", "16", "--folds", "2", "--batch-size", "16", "--threads", "1"]
SMALL += ["--no-report"]  # tests/test_report.py has the pages
SMALL += ["--baselines", "none"]


def recipe(name: str):
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", RECIPES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tox21_file(folder: Path) -> Path:
    assays = ("NR-AR,NR-AR-LBD,NR-AhR,NR-Aromatase,NR-ER,NR-ER-LBD,NR-PPAR-gamma,SR-ARE,SR-ATAD5,"
              "SR-HSE,SR-MMP,SR-p53")  # fmt: skip
    lines = [f"{assays},mol_id,smiles"]
    for i, smiles in enumerate(MOLECULES):
        cells = ["" if (i + t) % 5 == 0 else str((i >> (t % 5)) & 1 if i % 3 else 0)
                 for t in range(12)]  # fmt: skip
        lines.append(f"{','.join(cells)},TOX{i},{smiles}")
    path = folder / "tox21.csv.gz"
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode()))
    return path


def bindingdb_file(folder: Path) -> Path:
    header = ["BindingDB Reactant_set_id", "Ligand SMILES", "Ki (nM)", "IC50 (nM)", "Kd (nM)",
              "EC50 (nM)", "BindingDB Target Chain Sequence 1",
              "UniProt (SwissProt) Primary ID of Target Chain 1",
              "UniProt (TrEMBL) Primary ID of Target Chain 1"]  # fmt: skip
    rows = [header]
    for i, smiles in enumerate(MOLECULES):
        rows.append([str(i), smiles, "", str(10 + 37 * i), "", "", "MST", "Q99572", ""])
    rows.append(["900", MOLECULES[0], "", ">10000", "", "", "MST", "Q99572", ""])
    rows.append(["901", MOLECULES[0], "", "5", "", "", "MST", "Q8NER1", ""])
    path = folder / "bindingdb.tsv"
    path.write_text("\n".join("\t".join(row) for row in rows) + "\n")
    return path


def chromophore_file(folder: Path) -> Path:
    lines = ["Tag,Chromophore,Solvent,Absorption max (nm),Emission max (nm),Quantum yield"]
    for i, smiles in enumerate(MOLECULES):
        for j, solvent in enumerate((smiles, "CCO", "c1ccccc1")):
            lines.append(f"{3 * i + j},{smiles},{solvent},400,{450 + i + 10 * j},{i / 40}")
    path = folder / "chromophores.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def own_table(folder: Path) -> Path:
    lines = ["name,smiles,logS"]
    lines += [f"n{i},{smiles},{i % 7 - 3.5}" for i, smiles in enumerate(MOLECULES)]
    lines.append("bad,C1CC,1.0")
    path = folder / "own.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


CASES = {
    "tox21": (tox21_file, ["--data", "FILE"], 1),
    "tox21 multitask": (tox21_file, ["--data", "FILE", "--multitask"], 12),
    "bindingdb": (bindingdb_file, ["--tsv", "FILE", "--accession", "Q99572"], 1),
    "chromophores": (chromophore_file, ["--csv", "FILE"], 1),
    "chromophores solvent": (
        chromophore_file,
        ["--csv", "FILE", "--target", "emission_solvent"],
        1,
    ),
    "molecules_csv": (own_table, ["--csv", "FILE", "--target", "logS", "--id-column", "name"], 1),
}


@pytest.mark.parametrize("case", CASES)
def test_a_recipe_runs_to_its_table(case, tmp_path, capsys):
    make, flags, tasks = CASES[case]
    flags = [str(make(tmp_path)) if flag == "FILE" else flag for flag in flags]
    output = tmp_path / "run"
    recipe(case.split()[0]).main([*flags, *SMALL, "--readout", "mean", "--output", str(output)])
    printed = capsys.readouterr().out
    assert "selection from" in printed
    table = (output / "table.md").read_text()
    assert printed.endswith(table)
    rows = json.loads((output / "table.json").read_text())["rows"]
    assert [(row["readout"], row["levels"], row["models"]) for row in rows] == [("mean", 1, 2)]
    predictions = rows_of((output / "mean-seed0" / "test_predictions.csv").read_text())
    assert len(predictions) == rows[0]["test_rows"] > 0
    assert len(predictions[0]) == 2 + 4 * tasks
    splits = json.loads((output / "mean-seed0" / "splits.json").read_text())
    expected = 72 if case.endswith("solvent") else 36
    assert splits["rows"] == expected


@pytest.mark.parametrize("name", ["tox21", "bindingdb", "chromophores", "molecules_csv"])
def test_help_shows_the_shared_flags(name, capsys):
    with pytest.raises(SystemExit) as end:
        recipe(name).main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for flag in ("--readout", "--levels", "--seed", "--folds", "--epochs", "--output", "--resume"):
        assert flag in text
    assert f"recipes/{name}.py" in text


def test_several_readouts_levels_and_seeds_share_splits_and_a_table(tmp_path, capsys):
    flags = ["--csv", str(own_table(tmp_path)), "--target", "logS", *SMALL]
    flags += ["--output", str(tmp_path / "run"), "--readout", "mean", "gmpool"]
    flags += ["--levels", "1", "2", "--seed", "0", "1"]
    flags += ["--readout-option", "similarity=cauchy", "gmpool.decomposition=sqrtm"]
    module = recipe("molecules_csv")
    module.main(flags)
    printed = capsys.readouterr().out
    assert "note: mean cannot do 2 levels; it is left out there" in printed
    assert "note: mean has no option similarity=cauchy; it goes to gmpool" in printed
    assert printed.count("decomposition=pivot keeps one node per group") == 1
    rows = json.loads((tmp_path / "run" / "table.json").read_text())["rows"]
    assert [(row["readout"], row["levels"], row["seeds"], row["models"]) for row in rows] == [
        ("mean", 1, [0, 1], 4),
        ("gmpool", 1, [0, 1], 4),
        ("gmpool", 2, [0, 1], 4),
    ]
    for seed in (0, 1):
        texts = {
            (tmp_path / "run" / folder / "splits.json").read_text()
            for row in rows
            for folder in row["folders"]
            if folder.endswith(f"seed{seed}")
        }
        assert len(texts) == 1
    # A run with other settings is refused before the runs ahead of it start.
    (tmp_path / "run" / "mean-seed0" / "metrics.json").unlink()
    with pytest.raises(ValueError, match=r"training\.lr was 0\.001, now 0\.5"):
        module.main([*flags, "--lr", "0.5", "--resume"])
    module.main([*flags, "--resume"])
    assert capsys.readouterr().out.count("finished before") == 5
    # A second command into the same folder must ask to continue.
    with pytest.raises(ValueError, match="--resume"):
        module.main(flags)
    module.main([*flags, "--resume"])
    assert capsys.readouterr().out.count("finished before") == 6


def parsed(tmp_path, *flags):
    parser = argparse.ArgumentParser()
    known = TrainFlags(parser, output=str(tmp_path / "run"))
    return known.resolve(parser.parse_args(list(flags)))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--readout", "gmpol"], "Did you mean 'gmpool'"),
        (["--backbone", "dmpn"], "Did you mean 'dmpnn'"),
        (["--readout", "mean", "ngmpool", "--levels", "2"], "mean cannot do --levels 2"),
        (["--readout-option", "similarty=cauchy"], "Did you mean 'similarity'"),
        (["--readout-option", "similarity=cauchi"], "cauchy"),
        (["--readout", "gmpool", "mean", "--readout-option", "tol=2"], "tol is 2"),
        (
            ["--readout", "gmpool", "topk", "--readout-option", "aggregate=avg"],
            "unknown aggregate 'avg'",
        ),
        (["--readout-option", "similarity"], "KEY=VALUE"),
        (["--readout-option", "mean.similarity=cauchy"], "not among --readout"),
        (["--readout", "mean", "mean"], "given twice"),
        (["--readout", "mean", "--readout-preset", "paper"], "paper is for gmpool and ngmpool"),
        (["--baselines", "none", "forest"], "--baselines none forest: none stands alone"),
        (["--epochs", "0"], "--epochs 0: expected a whole number of at least 1"),
        (["--hidden", "-3"], "--hidden -3: expected"),
        (["--batch-size", "0"], "--batch-size 0: expected"),
        (["--levels", "0"], "--levels 0: expected"),
        (["--seed", "0", "-1"], "--seed -1: expected a whole number, 0 or larger"),
        (["--lr", "0"], "--lr 0.0: expected"),
        (["--dropout", "1"], "--dropout 1.0: expected"),
        (["--positive-weight", "-1"], "--positive-weight -1.0: expected"),
        (["--folds", "0"], "--folds 0: expected a whole number of at least 1"),
        (["--processes", "0"], "--processes 0: expected"),
        (["--metric", "roc"], "Did you mean 'roc_auc'"),
        (["--threads", "0"], "--threads 0"),
        (["--device", "tpu"], "device"),
    ],
)
def test_flags_that_make_no_sense_are_refused_before_any_work(tmp_path, flags, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the message is checked below)
        plan_runs(parsed(tmp_path, *flags))
    assert message in str(caught.value)


def test_options_go_to_the_readouts_that_know_them(tmp_path, capsys):
    flags = ["--readout", "mean", "ngmpool", "gmpool", "--readout-option", "similarity=cauchy"]
    flags += ["gmpool.decomposition=cholesky", "--readout-option", "gmpool.num_clusters=4"]
    options = {c.readout: dict(c.readout_options) for c in plan_runs(parsed(tmp_path, *flags))}
    assert options == {
        "mean": {},
        "ngmpool": {"similarity": "cauchy"},
        "gmpool": {"similarity": "cauchy", "decomposition": "cholesky", "num_clusters": 4},
    }
    assert parse_options(["a=None", "b=true", "c=[1]", "d=1.5"], flag="--option") == {
        "a": None, "b": True, "c": "[1]", "d": 1.5,
    }  # fmt: skip


@pytest.mark.slow
def test_a_recipe_killed_by_the_system_continues_to_the_same_numbers(tmp_path):
    """SIGKILL in the middle of an epoch of a real process."""
    table = own_table(tmp_path)
    flags = ["--csv", str(table), "--target", "logS", "--folds", "2", "--epochs", "7"]
    flags += ["--patience", "7", "--hidden", "16", "--batch-size", "4", "--threads", "1"]
    flags += ["--no-report", "--baselines", "none"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, str(RECIPES / "molecules_csv.py"), *flags, "--output", str(killed)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = killed / "gmpool-seed0" / "fold_1" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    saved = torch.load(checkpoint, weights_only=True)
    assert 1 <= len(saved["history"]) < 7
    module = recipe("molecules_csv")
    module.main([*flags, "--output", str(killed), "--resume"])
    module.main([*flags, "--output", str(whole)])
    assert content(killed / "gmpool-seed0") == content(whole / "gmpool-seed0")


@pytest.mark.slow
def test_quickstart_runs_anywhere_and_reports_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = load_sodium_channel().take(range(0, 1017, 12))
    monkeypatch.setattr("dgl_gmpool.cli.quickstart.load_sodium_channel", lambda: table)
    flags = ["quickstart", "--epochs", "1", "--hidden", "8", "--folds", "2", "--threads", "1"]
    assert cli.main(flags) == 0
    first = capsys.readouterr().out
    rows = json.loads(Path("dgl_gmpool_quickstart/table.json").read_text())["rows"]
    assert [row["label"] for row in rows] == [
        "training mean",
        "random forest, Morgan fingerprints",
        "mean",
        "ngmpool",
        "gmpool",
    ]
    assert rows[0]["scores"]["r2"]["mean"] <= 0  # the training mean explains nothing
    assert markdown_table(rows) in first
    assert "What next" in first
    assert cli.main(flags) == 0
    again = capsys.readouterr().out
    assert again.count("finished before") == 3
    assert markdown_table(rows) in again


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", "0"], "--epochs 0: expected"),
        (["--hidden", "0"], "--hidden 0: expected"),
        (["--seed", "-1"], "--seed -1: expected"),
        (["--folds", "1"], "--folds 1: expected"),
        (["--threads", "0"], "--threads 0: expected"),
    ],
)
def test_quickstart_refuses_numbers_that_make_no_sense(flags, message, tmp_path, capsys):
    assert cli.main(["quickstart", *flags, "--output", str(tmp_path / "run")]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert not printed.out  # before the data


def test_quickstart_without_rdkits_data_says_what_to_run(tmp_path, monkeypatch, capsys):
    from rdkit import RDConfig

    monkeypatch.setattr(RDConfig, "RDContribDir", str(tmp_path))
    assert cli.main(["quickstart", "--output", str(tmp_path / "run")]) == 2
    assert "dgl-gmpool train csv --csv YOUR.csv" in capsys.readouterr().err


def test_version_and_unknown_commands(capsys):
    from dgl_gmpool import __version__

    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"dgl-gmpool {__version__}\n"
    with pytest.raises(SystemExit) as end:
        cli.main(["quickstrat"])
    assert end.value.code == 2
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert "quickstart" in capsys.readouterr().out


def test_ctrl_c_says_how_to_continue(capsys):
    def stopped(arguments):
        raise KeyboardInterrupt

    code = run_script(stopped, ["--output", "my runs"], program="python recipes/tox21.py")
    assert code == 130
    assert "python recipes/tox21.py --output 'my runs' --resume" in capsys.readouterr().err
    again = ["--output", "runs", "--resume"]
    assert run_script(stopped, again, program="python recipes/tox21.py") == 130
    assert capsys.readouterr().err.endswith("tox21.py --output runs --resume\n")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("quickstart", "continue with: dgl-gmpool quickstart --folds 2\n"),
        ("predict", "with: dgl-gmpool predict --model=m --csv=c --output=o --resume\n"),
    ],
)
def test_ctrl_c_in_a_command(command, said, monkeypatch, capsys):
    def stopped(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"dgl_gmpool.cli.{command}.main", stopped)
    flags = {"quickstart": ["--folds", "2"], "predict": ["--model=m", "--csv=c", "--output=o"]}
    assert cli.main([command, *flags[command]]) == 130
    assert capsys.readouterr().err.endswith(said)


def test_only_errors_meant_for_the_user_lose_their_traceback(capsys):
    def ours(arguments):
        parse_options(["nothing"], flag="--option")

    def training(arguments):
        raise TrainingError("the loss became nan")

    def defect(arguments):
        int("seven")

    assert run_script(ours, []) == 2
    assert (
        capsys.readouterr().err
        == "error: --option 'nothing': expected KEY=VALUE, such as similarity=cauchy\n"
    )
    assert run_script(training, []) == 2
    with pytest.raises(ValueError, match="nothing"):
        run_script(ours, ["--debug"])
    with pytest.raises(ValueError, match="seven"):
        run_script(defect, [])


def test_cache_makes_no_difference_to_the_numbers(tmp_path):
    flags = ["--csv", str(own_table(tmp_path)), "--target", "logS", *SMALL, "--readout", "ngmpool"]
    module = recipe("molecules_csv")
    for number in (1, 2):
        output = str(tmp_path / f"run{number}")
        module.main([*flags, "--cache", str(tmp_path / "cache"), "--output", output])
    assert os.listdir(tmp_path / "cache")
    runs = [content(tmp_path / f"run{number}" / "ngmpool-seed0") for number in (1, 2)]
    assert runs[0] == runs[1]
