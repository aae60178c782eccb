"""How commands end: what the system, the terminal and the user's keyboard do to them."""

from __future__ import annotations

import errno
import os
import shlex
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from dgl_gmpool import cli
from dgl_gmpool._io import atomic_write, check_output
from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.cli.molecule_rows import FeatureSource
from dgl_gmpool.cli.output_table import check_table_name
from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.training.model_file import load_models
from dgl_gmpool.training.run_folder import RunFolder, run_of
from dgl_gmpool.training.search_space import Choices
from dgl_gmpool.training.study import space_of_study

ROOT = Path(__file__).parent.parent


def script(tmp_path, body):
    file = tmp_path / "command.py"
    file.write_text(
        f"from dgl_gmpool.cli.entry import run_script\n\n\ndef main(arguments):\n{body}\n\n\n"
        "raise SystemExit(run_script(main))\n"
    )
    return [sys.executable, str(file)]


def run(command, *, path="", **options):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(path), str(ROOT)]))}
    return subprocess.run(
        command, env={**env, **options.pop("env", {})}, capture_output=True, check=False, **options
    )


def test_ctrl_c_while_torch_is_imported(tmp_path):
    (tmp_path / "torch.py").write_text("raise KeyboardInterrupt\n")
    for command in ("predict", "quickstart"):
        done = run([sys.executable, "-m", "dgl_gmpool", command, "--help"], path=tmp_path)
        assert done.returncode == 130
        assert done.stderr.decode().strip().startswith("Stopped.")
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_characters_that_the_terminal_lacks_are_replaced(tmp_path, encoding):
    body = """    from dgl_gmpool._options import parse_options
    print('pIC50 (\u03b2)')
    parse_options(['\u03b2'], flag='--option')"""
    done = run(script(tmp_path, body), env={"PYTHONIOENCODING": encoding})
    assert done.returncode == 2
    assert done.stdout.split() == [b"pIC50", b"(?)"]
    # Python escapes on standard error by itself.
    assert done.stderr.startswith(b"error: --option '\\u03b2': expected KEY=VALUE")


@pytest.mark.parametrize("lines", [1, 100_000])  # what fits the buffer fails only at the end
def test_a_reader_that_has_gone_ends_the_command_without_a_word(tmp_path, lines):
    command = script(tmp_path, f"    for i in range({lines}):\n        print('line', i)")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=env, stdout=writing, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_standard_output_that_is_closed(tmp_path):
    body = """    from dgl_gmpool._io import atomic_write_text
    print('nobody hears')
    atomic_write_text(arguments[0], 'x')"""
    command = " ".join(script(tmp_path, body))
    done = run(["bash", "-c", f"{command} {tmp_path / 'out'} >&-"])
    assert (done.returncode, done.stderr, (tmp_path / "out").read_text()) == (0, b"", "x")
    done = run(["bash", "-c", f"{command} - >&-"])
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: - cannot be written (Bad file descriptor)")


def test_no_space_left_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def write(_file):
        raise OSError(errno.ENOSPC, "No space left on device")

    def main(_arguments):
        atomic_write("RUN/fold_0/checkpoint.pt", write)

    monkeypatch.chdir(tmp_path)
    assert run_script(main, ["--output", "RUN"], program="train") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: no space left to write RUN/fold_0/checkpoint.pt (No space left")
    assert "continue with: train --output RUN --resume" in said
    assert run_script(main, [], program="predict", resume=None) == 2
    assert "continue" not in capsys.readouterr().err


def test_a_module_is_continued_as_a_module(monkeypatch, capsys):
    def stopped(arguments):
        raise KeyboardInterrupt

    for name, said in (
        ("experiments.table2.__main__", "python -m experiments.table2 --seeds 1"),
        ("experiments.attribution", "python -m experiments.attribution --seeds 1"),
        (None, "python /somewhere/script.py --seeds 1"),
    ):
        spec = None if name is None else ModuleSpec(name, None, origin="/somewhere/script.py")
        monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
        monkeypatch.setattr("sys.argv", ["/somewhere/script.py"])
        assert run_script(stopped, ["--seeds", "1"], resume="") == 130
        assert capsys.readouterr().err.rstrip().endswith(f"continue with: {said}")


def refuse_settings(folder):
    (folder / "config.json").write_text('{"training": {"seed": 0}}')
    RunFolder(folder).check_same({"training": {"seed": 1}})


def refuse_two_runs(folder):
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text("{}")
    run_of(folder)


def refuse_half_a_run(folder):
    (folder / "fold_0").mkdir()
    (folder / "fold_0" / "model.pt").write_text("")
    (folder / "config.json").write_text("{}")
    load_models(folder)


def refuse_features(folder):
    (folder / "t.csv").write_text("smiles\nC\n")
    source = FeatureSource.__new__(FeatureSource)
    source.constants, source.columns = {}, ("bath's pH",)
    source.reader(DelimitedText(folder / "t.csv"))


def refuse_choices(_):
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study()
    study.add_trial(optuna.create_trial(
        params={"readout": "my mean"}, value=1.0,
        distributions={"readout": optuna.distributions.CategoricalDistribution(["my mean", "b"])},
    ))  # fmt: skip
    space_of_study(study, {"readout": Choices(("b",))})


@pytest.mark.parametrize(
    ("refuse", "typed"),
    [
        (refuse_settings, ["--config", "HERE/config.json"]),
        (refuse_two_runs, ["HERE/a"]),
        (refuse_half_a_run, ["HERE/fold_0/model.pt"]),
        (refuse_features, ["--feature", "bath's pH=VALUE"]),
        (refuse_choices, ["--space", "readout=my mean,b"]),
        (lambda folder: check_output(folder, overwrite=True), ["HERE/out.csv"]),
        (lambda folder: check_table_name(folder / "out.smi"), ["HERE/out.csv"]),
    ],
)
def test_what_a_message_tells_to_type_can_be_pasted(refuse, typed, tmp_path):
    folder = tmp_path / "my $run"
    folder.mkdir()
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        refuse(folder)
    assert shlex.join(word.replace("HERE", str(folder)) for word in typed) in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("train csv --hidden-feats 16", "train csv: error: there is no flag --hidden-feats. Did"),
        ("predict --model r --csv c --output o --devise=cpu", "Did you mean --device? See dgl-"),
        ("--debg train csv", "Did you mean --debug?"),
        ("train csv -- --hidde 8", "there is no flag --hidde. Did you mean --hidden?"),
        # The flag that is missing for it comes second.
        ("predict --mdoel r --csv c --output o", "no flag --mdoel. Did you mean --model?"),
        ("prdict --model r --csv c --output o", "invalid choice: 'prdict'"),
        ("predict --modle=r --csv c --output o", "no flag --modle. Did you mean --model?"),
    ],
)
def test_a_flag_that_is_not_there_names_the_closest(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    ["explain --model r --smiles C", "train csv --csv t --target y", "tune csv", "quickstart"],
)
def test_a_folder_is_not_standard_output(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main([*command.split(), "--output", "-"])
    assert "--output: - is standard output, and this writes a folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        "predict --model none --csv none --output out.csv --debug",
        "embed --model none --csv none --output out.csv --debug",
        "explain --model none --smiles C --output out --debug",
        "report --run none --debug",
        "run --debug none.py",
        "train csv --csv none --target y --debug",
    ],
)
def test_debug_is_a_flag_of_every_command(command, tmp_path, monkeypatch):
    """Added to the command that failed, it shows the traceback."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match="none"):
        cli.main(command.split())
