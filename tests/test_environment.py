"""Importing says one clear thing where DGL cannot load, and has no side effects on files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(code: str, *paths: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT))), **env},
        check=False,
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise FileNotFoundError('libgraphbolt_pytorch_2.13.0.so')", "libgraphbolt_pytorch"),
        ("import torchdata.datapipes.nothing", "torchdata"),
        ("import packaging_that_is_missing", "packaging_that_is_missing"),
    ],
)
def test_broken_dgl_gives_one_message_with_the_pins(tmp_path: Path, body: str, reason: str) -> None:
    (tmp_path / "dgl").mkdir()
    (tmp_path / "dgl" / "__init__.py").write_text(body + "\n", encoding="utf-8")
    done = run("import dgl_gmpool", tmp_path)
    assert done.returncode == 1
    assert "During handling" not in done.stderr
    assert "direct cause" not in done.stderr
    message = done.stderr[done.stderr.index("ImportError") :]
    assert reason in message
    assert "found: dgl " in message
    assert "pip install dgl==1.1.3 torch==2.13.0 dgllife==0.3.2 packaging" in message


@pytest.mark.slow
def test_import_works_where_home_cannot_be_written(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("", encoding="utf-8")  # a file, so nothing can be created below it
    done = run("import dgl_gmpool, os; print('DGLBACKEND' in os.environ)", HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str("DGLBACKEND" in os.environ)
    assert done.stderr == ""
