"""The launcher, on scripts of the shape of DGL-LifeSci's (tests/lifesci_script)."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dgl_gmpool import cli
from dgl_gmpool.lifesci.choice import ReadoutChoice, record_beside, recorded_beside, recorded_in
from dgl_gmpool.lifesci.launcher import run_with_readout

SCRIPTS = Path(__file__).parent / "lifesci_script"
TRAIN, INFER = "classification_train.py", "classification_inference.py"
MOLECULES = """smiles,a,b
CCO,0,1
c1ccccc1O,1,0
CC(=O)[O-].[Na+],1,1
C,0,0
CCN(CC)CC,0,1
c1ccncc1,1,0
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The scripts and a CSV file in a folder of their own, which is the current one."""
    from dgl_gmpool._environment import import_dgllife

    # The scripts import dgllife as they please; bringing it in first keeps RDKit's log switches.
    import_dgllife("model")
    import_dgllife("utils")
    for name in ("utils.py", TRAIN, INFER):
        shutil.copy(SCRIPTS / name, tmp_path / name)
    (tmp_path / "molecules.csv").write_text(MOLECULES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*more, **how):
    return run_with_readout(TRAIN, ["-c", "molecules.csv", "-sc", "smiles", *more], **how)


def infer(*more, **how):
    return run_with_readout(INFER, ["-f", "molecules.csv", "-sc", "smiles", *more], **how)


def plain(script, *arguments):
    """Without the launcher."""
    command = [sys.executable, script, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def predictions(path):
    with open(path, newline="") as file:
        return torch.tensor([[float(v) for v in row[1:]] for row in list(csv.reader(file))[1:]])


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.py")}


@pytest.mark.parametrize("model", ["GCN", "AttentiveFP"])
@pytest.mark.parametrize("readout", ["gmpool", "ngmpool", "set2set"])
def test_train_and_flagless_inference(folder, capsys, readout, model):
    before = hashes(folder)
    used = train("-mo", model, readout=readout)
    assert used == ReadoutChoice(readout)
    assert f"readout {readout} in {model}Predictor (--readout)" in capsys.readouterr().err
    config = json.loads(Path("classification_results/configure.json").read_text())
    assert config["dgl_gmpool"]["readout"] == readout
    assert config["readout"] == "mean"
    state = torch.load("classification_results/model.pth", weights_only=True)["model_state_dict"]
    assert any(key.startswith(("readout.grouping", "readout.lstm")) for key in state)

    assert infer() == ReadoutChoice(readout)
    assert "recorded in the model's configuration" in capsys.readouterr().err
    found = predictions("inference_results/prediction.csv")
    expected = predictions("classification_results/prediction.csv")
    assert found.shape == (6, 2)
    assert (found - expected).abs().max() <= 1e-6
    assert hashes(folder) == before


def test_options_are_recorded_and_applied(folder):
    options = {"similarity": "cauchy", "num_clusters": 2}
    train(readout="gmpool", options=options)
    used = infer()
    assert used == ReadoutChoice("gmpool", options)
    assert (
        predictions("inference_results/prediction.csv")
        - predictions("classification_results/prediction.csv")
    ).abs().max() <= 1e-6


def test_another_readout_than_the_recorded_one_is_refused(folder):
    train(readout="gmpool", options={"similarity": "cauchy"})
    for how in (
        {"readout": "ngmpool"},
        {"readout": "gmpool"},
        {"readout": "gmpool", "options": {"similarity": "gaussian"}},
    ):
        with pytest.raises(ValueError, match="trained with the readout gmpool, similarity=cauchy"):
            infer(**how)
    infer(readout="gmpool", options={"similarity": "cauchy"})


@pytest.mark.slow
def test_plain_inference_on_a_swapped_model_fails_loudly(folder):
    train(readout="ngmpool")
    # Nothing but that DGL loads, where it would not without us.
    code = f"import dgl_gmpool, runpy; runpy.run_path({INFER!r}, run_name='__main__')"
    result = plain("-c", code, "-f", "molecules.csv", "-sc", "smiles")
    assert result.returncode != 0
    assert "readout.grouping.weight" in result.stderr
    assert not Path("inference_results/prediction.csv").exists()


def test_says_so_where_plain_inference_would_not_notice(folder, capsys):
    # The original readout under our name: same parameters, same shapes.
    train(readout="weighted_sum_and_max")
    assert "predict with its own readout" in capsys.readouterr().err
    train(readout="mean")
    assert "predict with its own readout" not in capsys.readouterr().err


def test_names_auxiliary_losses_that_the_script_cannot_add(folder, capsys):
    train(readout="mincut")
    assert "auxiliary losses (MinCutPool cut, MinCutPool orthogonality)" in capsys.readouterr().err
    train(readout="gmpool")
    assert "auxiliary" not in capsys.readouterr().err


class TestScriptsWithoutASettingsFile:
    def test_remembers_in_a_file_beside_the_model(self, folder, capsys):
        train("--no-configure", readout="gmpool", options={"tol": 0.05})
        text = Path("classification_results/dgl_gmpool.json").read_text()
        recorded = json.loads(text)["files"]["model.pth"]
        assert (recorded["readout"], recorded["options"]) == ("gmpool", {"tol": 0.05})
        infer("-tp", "classification_results")
        assert "recorded in classification_results" in capsys.readouterr().err
        infer("--train-result-path=classification_results")
        assert (
            predictions("inference_results/prediction.csv")
            - predictions("classification_results/prediction.csv")
        ).abs().max() <= 1e-6

    def test_refuses_other_options_when_the_model_file_is_loaded(self, folder):
        # The parameters have the same shapes, so load_state_dict alone would not notice.
        train("--no-configure", readout="gmpool", options={"aggregate": "sum"})
        with pytest.raises(ValueError, match="trained with the readout gmpool, aggregate=sum"):
            infer(readout="gmpool")
        assert not Path("inference_results/prediction.csv").exists()

    def test_training_again_with_another_readout_replaces_it(self, folder):
        train("--no-configure", readout="gmpool")
        train("--no-configure", readout="ngmpool")
        assert recorded_beside("classification_results/model.pth") == ReadoutChoice("ngmpool")

    def test_nothing_recorded_and_nothing_given(self, folder):
        with pytest.raises(ValueError, match="give --readout NAME"):
            train()

    def test_other_files_are_not_marked(self, folder, tmp_path):
        Path("saves.py").write_text(
            "import torch\n"
            "from utils import load_model\n"
            "m = load_model(dict(model='GCN', in_node_feats=74, gnn_hidden_feats=4, n_tasks=1))\n"
            "torch.save([1, 2], 'list.pt')\n"
            "torch.save({'seed': 1}, 'seed.pt')\n"
            "torch.save(m.gnn.state_dict(), 'backbone.pt')\n"
            "torch.save(m.state_dict(), 'state.pt')\n"
            "torch.save(m, 'model.pt')\n"
        )
        run_with_readout("saves.py", readout="ngmpool")
        files = json.loads(Path("dgl_gmpool.json").read_text())["files"]
        assert sorted(files) == ["model.pt", "state.pt"]


def test_sidecar_errors(tmp_path):
    record_beside(tmp_path / "a.pth", ReadoutChoice("gmpool"))
    assert recorded_in(tmp_path) == ReadoutChoice("gmpool")
    assert recorded_beside(tmp_path / "b.pth") is None
    record_beside(tmp_path / "b.pth", ReadoutChoice("mean"))
    with pytest.raises(ValueError, match="several readouts; say which"):
        recorded_in(tmp_path)
    for text in ("{", "[]", '{"files": 3}'):
        (tmp_path / "dgl_gmpool.json").write_text(text)
        with pytest.raises(ValueError, match="delete it"):
            recorded_in(tmp_path)
    (tmp_path / "dgl_gmpool.json").write_text('{"files": {"a.pth": "gmpool"}}')
    with pytest.raises(ValueError, match="expected a readout"):
        recorded_beside(tmp_path / "a.pth")


def test_leaves_the_process_as_it_was(folder, monkeypatch):
    import types

    other = types.ModuleType("utils")
    monkeypatch.setitem(sys.modules, "utils", other)
    before = (sys.argv, list(sys.path), torch.save, torch.load, os.getcwd())
    train(readout="mean")
    with pytest.raises(ValueError, match=r"utils\.load_model made no model but ValueError"):
        train("-mo", "Transformer", readout="mean")
    with pytest.raises(SystemExit):
        train("--no-such-flag", readout="mean")
    assert before == (sys.argv, list(sys.path), torch.save, torch.load, os.getcwd())
    assert sys.modules["utils"] is other


def test_two_scripts_with_their_own_utils(folder, tmp_path):
    second = tmp_path / "second"
    second.mkdir()
    text = (SCRIPTS / "utils.py").read_text().replace("CC(=O)", "C(C)(=O)")
    (second / "utils.py").write_text(text + "\nprint('second utils')\n")
    shutil.copy(SCRIPTS / TRAIN, second / TRAIN)
    train(readout="mean")
    run_with_readout(second / TRAIN, ["-c", "molecules.csv", "-sc", "smiles"], readout="max")
    assert recorded_beside("classification_results/model.pth") == ReadoutChoice("max")


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        (dict(readout="gmpol"), ValueError, "Did you mean 'gmpool'"),
        (dict(readout="gmpool", options={"similarty": 1}), ValueError, "'similarity'"),
        (dict(readout="gmpool", options={"similarity": "x"}), ValueError, "cauchy"),
        (dict(options={"tol": 1}), ValueError, "need a readout"),
        (dict(readout="mean", loader="load_model"), ValueError, r"module\.function"),
        (dict(readout="mean", loader="utils.make"), ValueError, "has no function 'make'"),
        (dict(readout="mean", loader="models.load"), ValueError, "no module 'models', neither"),
        (dict(readout="mean", loader="utils.read_csvs"), ValueError, "mean 'read_csv'"),
        (dict(readout="mean", loader="utils..x"), ValueError, r"module\.function"),
        (dict(readout="mean", loader="csv.Sniffer"), ValueError, "class of Sniffer objects"),
        (dict(readout="mean", loader="math.pi"), ValueError, r"math\.pi is 3"),
        (dict(readout="mean", loader="__main__.build"), ValueError, "has no 'build'"),
        (dict(readout="mean", loader="classification_train.build"), ValueError, "no 'build'"),
        (dict(readout="mean", seed=-1), ValueError, "seed is -1; give a whole number from 0"),
        (dict(readout="mean", seed=2**32), ValueError, "give a whole number from 0"),
    ],
)
def test_errors_before_the_script_starts(folder, how, error, match):
    Path(TRAIN).write_text("raise SystemExit('the script was started')")
    with pytest.raises(error, match=match):
        train(**how)


def test_missing_script(folder):
    with pytest.raises(FileNotFoundError, match=r"no script 'tran\.py'"):
        run_with_readout("tran.py", readout="mean")


def test_a_script_that_makes_its_model_elsewhere(folder):
    with pytest.raises(ValueError, match=r"without calling utils\.load_model.*--pretrain"):
        train("--pretrain", readout="mean")
    Path("models.py").write_text("from utils import load_model as build\n")
    text = Path(TRAIN).read_text()
    text = text.replace("load_model,", "").replace("load_model(", "build(")
    Path("own.py").write_text(
        text.replace("import torch\n", "import torch\nfrom models import build\n")
    )
    arguments = ["-c", "molecules.csv", "-sc", "smiles"]
    assert run_with_readout("own.py", arguments, readout="mean", loader="models.build")


SCRIPT = """
import pathlib, sys, torch
print("body", __name__)
{setup}
if __name__ == "__main__":
    made = {call}
    model = {model}
    pathlib.Path("seen.txt").write_text(type(model.readout).__name__)
    torch.save(model.state_dict(), "model.pth")
"""
GCN = "GCNPredictor(74, hidden_feats=[4], n_tasks=1)"
FROM = "from dgllife.model import GCNPredictor"
OWN = f"{FROM}\nclass Own(GCNPredictor): pass"


@pytest.mark.parametrize(
    ("loader", "setup", "call", "model"),
    [
        ("dgllife.model.GCNPredictor", FROM, GCN, "made"),
        # Under another name, taken before the run and from deeper inside.
        (
            "dgllife.model.GCNPredictor",
            "from dgllife.model.model_zoo.gcn_predictor import GCNPredictor as G",
            f"G{GCN[12:]}",
            "made",
        ),
        ("dgllife.model.GCNPredictor", OWN, f"Own{GCN[12:]}", "made"),
        ("__main__.build", f"{FROM}\ndef build(): return {GCN}", "build()", "made"),
        ("script.build", f"{FROM}\ndef build(): return {GCN}", "build()", "made"),
        ("__main__.build", f"{FROM}\nbuild = lambda: {GCN}", "build()", "made"),
        ("__main__.GCNPredictor", FROM, GCN, "made"),
        ("__main__.Own", OWN, f"Own{GCN[12:]}", "made"),
        (
            "__main__.Make.model",
            f"{FROM}\nclass Make:\n    @staticmethod\n    def model(): return {GCN}",
            "Make.model()",
            "made",
        ),
        ("__main__.build", f"{FROM}\ndef build(): return {GCN}, 'name'", "build()", "made[0]"),
        ("__main__.build", f"{FROM}\ndef build(): return [3, {GCN}]", "build()", "made[1]"),
        ("__main__.build", f"{FROM}\ndef build(): return dict(m={GCN})", "build()", "made['m']"),
        ("src.models.build", "from src.models import build", "build()", "made"),
        ("src.models.Make.plain", "from src.models import Make", "Make().plain()", "made"),
        ("src.models.Make.of_class", "from src.models import Make", "Make.of_class()", "made"),
        ("src.models.Make.static", "from src.models import Make", "Make().static()", "made"),
    ],
)  # fmt: skip
def test_what_makes_the_models_may_be_anything_that_can_be_called(
    folder, capsys, loader, setup, call, model
):
    from dgllife.model import GCNPredictor

    before = GCNPredictor.__init__
    (folder / "src").mkdir()  # a namespace package: no __init__.py
    (folder / "src" / "models.py").write_text(
        f"{FROM}\n"
        f"def build(): return {GCN}\n"
        "class Make:\n"
        f"    def plain(self): return {GCN}\n"
        "    @classmethod\n"
        f"    def of_class(cls): return {GCN}\n"
        "    @staticmethod\n"
        f"    def static(): return {GCN}\n"
    )
    Path("script.py").write_text(SCRIPT.format(setup=setup, call=call, model=model))
    main = sys.modules["__main__"]
    assert run_with_readout("script.py", readout="ngmpool", loader=loader)
    assert Path("seen.txt").read_text() == "NGMPool"
    assert recorded_beside("model.pth") == ReadoutChoice("ngmpool")
    said = capsys.readouterr()
    assert said.out == "body __main__\n"  # once
    assert said.err.count("readout ngmpool in ") == 1
    assert GCNPredictor.__init__ is before
    assert sys.modules["__main__"] is main
    assert not [name for name in sys.modules if name.split(".")[0] == "src"]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("None", r"__main__\.build made no model but None"),
        ("('a', 'b')", r"no model but a tuple of 2: \('a', 'b'\)"),
        (f"[{GCN}, {GCN}]", "no model but a list of 2"),
        (f"(m := {GCN}, torch.optim.Adam(m.parameters()))", "with an optimizer"),
    ],
)
def test_a_loader_that_returns_something_else(folder, returned, message):
    setup = f"{FROM}\ndef build(): return {returned}"
    Path("script.py").write_text(SCRIPT.format(setup=setup, call="build()", model="made"))
    with pytest.raises(ValueError, match=message) as caught:
        run_with_readout("script.py", readout="mean", loader="__main__.build")
    assert len(str(caught.value)) < 500


def test_a_script_of_the_shape_of_gin_fine_tuning(folder):
    """A class of dgllife, other classes of models beside it that must stay as they are."""
    Path("script.py").write_text(
        "import torch\n"
        "from dgllife.model import AttentiveFPPredictor, GINPredictor\n"
        "other = AttentiveFPPredictor(5, 3)\n"
        "model = GINPredictor([4], [3], num_layers=2, emb_dim=8)\n"
        "assert type(model.readout).__name__ == 'GMPool', model.readout\n"
        "assert 'GMPool' not in repr(other)\n"
        "assert isinstance(model, GINPredictor)\n"
    )
    loader = "dgllife.model.GINPredictor"
    assert run_with_readout("script.py", readout="gmpool", loader=loader)
    Path("script.py").write_text("from dgllife.model import GINPredictor\n")
    with pytest.raises(ValueError, match=r"without calling dgllife\.model\.GINPredictor"):
        run_with_readout("script.py", readout="gmpool", loader=loader)


@pytest.mark.parametrize("loader", ["dgllife.model.GCNPredictor", "__main__.GCNPredictor"])
def test_annotations_are_what_the_script_makes_of_them(folder, loader):
    """As ``argparse`` takes the types of a dataclass's fields; the script imports no annotations
    from ``__future__``, and neither does the launcher for it."""
    setup = """
import argparse, dataclasses
from dgllife.model import GCNPredictor
@dataclasses.dataclass
class Settings:
    epochs: int = 3
parser = argparse.ArgumentParser()
for field in dataclasses.fields(Settings):
    parser.add_argument("--" + field.name, type=field.type, default=field.default)
assert parser.parse_args().epochs == 5
"""
    Path("own.py").write_text(SCRIPT.format(setup=setup, call=GCN, model="made"))
    run_with_readout("own.py", ["--epochs", "5"], readout="mean", loader=loader)
    assert Path("seen.txt").read_text() == "MeanReadout"


def test_a_module_that_misses_a_module_says_which(folder):
    Path("broken.py").write_text("import no_such_module_anywhere\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        train(readout="mean", loader="broken.make")


def test_hints_for_what_is_started_wrongly(folder, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        try:
            code = cli.main(["run", *arguments])
        except SystemExit as end:
            code = end.code
        except FileNotFoundError:
            code = 1
        return code, capsys.readouterr().err

    code, said = run("--readout", "mean", ".")
    assert code == 2
    assert "'.' is a folder; give a script in it: classification_inference.py" in said
    code, said = run("--readout", "mean", "python", TRAIN)
    assert code == 2
    assert "leave python out" in said
    code, said = run("--readout", "mean", "clasification_train.py")
    assert "did you mean 'classification_train.py'?" in said
    data = ["-c", "molecules.csv", "-sc", "smiles"]
    code, said = run(TRAIN, *data, "--readout", "mean")
    assert code == 2
    assert "--readout stands behind the script" in said
    code, said = run("--readout", "mean", "--seed", "-1", TRAIN, *data)
    assert code == 2
    assert "error: seed is -1" in said
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    code, said = run("--readout", "mean", str(folder / TRAIN), *data)
    assert code == 1
    assert f"start it there: cd {folder}" in said


def test_seed(folder):
    Path("draws.py").write_text(
        "import pathlib, random, sys, numpy, torch\n"
        "from utils import load_model\n"
        "drawn = [random.random(), numpy.random.rand(), torch.rand(1).item()]\n"
        "load_model(dict(model='GCN', in_node_feats=74, gnn_hidden_feats=4, n_tasks=1))\n"
        "pathlib.Path(sys.argv[1]).write_text(repr(drawn))\n"
    )
    for seed, file, readout in ((1, "a", "mean"), (1, "b", "gmpool"), (2, "c", "mean")):
        run_with_readout("draws.py", [file], readout=readout, seed=seed)
    a, b, c = (Path(name).read_text() for name in "abc")
    assert a == b
    assert all(x != y for x, y in zip(a.split(","), c.split(",")))


def test_help_of_the_script(folder, capsys):
    with pytest.raises(SystemExit) as end:
        train("--help", readout="mean")
    assert end.value.code == 0
    assert "--smiles-column" in capsys.readouterr().out


def test_command_line(folder, capsys):
    data = ["-c", "molecules.csv", "-sc", "smiles"]
    option = ["--option", "similarity=cauchy", "--option", "tol=0.05"]
    assert cli.main(["run", "--readout", "gmpool", *option, TRAIN, *data]) == 0
    recorded = recorded_beside("classification_results/model.pth")
    assert recorded == ReadoutChoice("gmpool", {"similarity": "cauchy", "tol": 0.05})
    assert cli.main(["run", INFER, "-f", "molecules.csv", "-sc", "smiles"]) == 0
    capsys.readouterr()
    for wrong, match in (
        (["--option", "tol"], "expected KEY=VALUE"),
        (["--option", "tol=1", "--option", "tol=2"], "given twice"),
        (["--option", "tl=1"], "Did you mean 'tol'"),
        (["--option", "fragment_weight=1"], "fragment_weight=1 needs each atom's fragment"),
    ):
        assert cli.main(["run", "--readout", "gmpool", *wrong, TRAIN, *data]) == 2
        err = capsys.readouterr().err
        assert match in err
        assert err.count("\n") == 1


@pytest.mark.slow
def test_as_a_module(folder):
    module = ["-m", "dgl_gmpool", "run"]
    result = plain(*module, "--readout", "ngmpool", TRAIN, "-c", "molecules.csv", "-sc", "smiles")
    assert result.returncode == 0, result.stderr
    assert recorded_beside("classification_results/model.pth") == ReadoutChoice("ngmpool")


def test_the_scripts_run_by_themselves(folder, monkeypatch):
    """The scripts of this test are right without the launcher, or it would prove nothing."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(sys, "argv", [TRAIN, "-c", "molecules.csv", "-sc", "smiles"])
    monkeypatch.delitem(sys.modules, "utils", raising=False)
    runpy.run_path(TRAIN, run_name="__main__")
    config = json.loads(Path("classification_results/configure.json").read_text())
    assert "dgl_gmpool" not in config
    monkeypatch.setattr(sys, "argv", [INFER, "-f", "molecules.csv", "-sc", "smiles"])
    runpy.run_path(INFER, run_name="__main__")
    sys.modules.pop("utils")
    expected = predictions("classification_results/prediction.csv")
    assert torch.equal(predictions("inference_results/prediction.csv"), expected)
