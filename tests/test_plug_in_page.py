"""Every block of docs/plug-in.md, in order, in one folder."""

from __future__ import annotations

import configparser
import contextlib
import io
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from dgl_gmpool import cli, registry
from dgl_gmpool._environment import import_dgllife

PAGE = Path(__file__).parents[1] / "docs" / "plug-in.md"
SCRIPTS = Path(__file__).parent / "lifesci_script"
MOLECULES = "smiles,a,b\nCCO,0,1\nc1ccccc1O,1,0\nCC(=O)[O-].[Na+],1,1\nC,0,0\nCCN(CC)CC,0,1\n"


def blocks():
    """(language, text, first line) of every fenced block."""
    text = PAGE.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.S | re.M):
        yield match[1], match[2], text.count("\n", 0, match.start()) + 2


def run_python(code, line, namespace):
    """Run a block with the page's line numbers in its traceback; return what it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * (line - 1) + code, str(PAGE), "exec"), namespace)
    return printed.getvalue()


def run_console(text, monkeypatch):
    """Commands start with '$'; what follows is part of what they print when they fail."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, expected = part.partition("\n")
        program, *arguments = shlex.split(command)
        if program == "dgl-gmpool":
            assert cli.main(arguments) == 0, command
            continue
        assert program == "python", command
        monkeypatch.setattr(sys, "argv", arguments)
        monkeypatch.syspath_prepend(str(Path.cwd()))
        monkeypatch.delitem(sys.modules, "utils", raising=False)
        with pytest.raises(Exception) as error:  # noqa: PT011
            runpy.run_path(arguments[0], run_name="__main__")
        assert f"{error.type.__name__}: {error.value}".startswith(expected.strip()), command
        sys.modules.pop("utils")


def test_every_block(tmp_path, monkeypatch):
    import_dgllife("model")
    import_dgllife("utils")
    monkeypatch.chdir(tmp_path)
    for script in SCRIPTS.glob("*.py"):
        shutil.copy(script, tmp_path)
    (tmp_path / "molecules.csv").write_text(MOLECULES)
    namespace, printed, seen = {}, "", []
    for language, text, line in blocks():
        seen.append(language)
        if language == "python":
            printed = run_python(text, line, namespace)
        elif language == "text":
            assert printed == text, f"line {line} of {PAGE.name}"
        elif language == "console":
            run_console(text, monkeypatch)
        elif language == "ini":
            config = configparser.ConfigParser()
            config.read_string(text)
            assert list(config["options.entry_points"]) == [registry.ENTRY_POINT_GROUP]
        else:
            raise AssertionError(f"line {line}: nobody runs {language!r} blocks")
    assert len(seen) > 20


def test_links_inside_the_page():
    text = PAGE.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-")
        for h in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    }
    links = re.findall(r"\]\(#([^)]*)\)", text)
    assert len(links) >= 6
    assert set(links) <= headings
