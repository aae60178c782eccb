"""Importing says one clear thing where DGL cannot load, and has no side effects on files."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

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
    done = run("from dgl_gmpool import GMPool", tmp_path)
    assert done.returncode == 1
    assert "During handling" not in done.stderr
    assert "direct cause" not in done.stderr
    message = done.stderr[done.stderr.index("ImportError") :]
    assert reason in message
    assert "found: dgl " in message
    dgl = "1.1.3" if sys.version_info < (3, 12) else "2.1.0"
    assert f"pip install dgl=={dgl} torch==2.13.0 dgllife==0.3.2 packaging" in message


#: Loads the module alone, so that a stand-in for DGL need not have what the package uses.
ALONE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("environment", {file!r})
environment = importlib.util.module_from_spec(spec)
sys.modules["environment"] = environment
spec.loader.exec_module(environment)
"""


def with_dgl(folder: Path, code: str, *, libraries: Sequence[str], needs: str = "yaml") -> str:
    """What ``code`` prints next to a package that is built as DGL 2.1 is."""
    graphbolt = folder / "dgl" / "graphbolt"
    (folder / "dgl" / "distributed").mkdir(parents=True)
    graphbolt.mkdir()
    for name in libraries:
        (graphbolt / name).write_text("", encoding="utf-8")
    files = {
        "dgl/__init__.py": "from . import base, distributed\n",
        "dgl/base.py": "name = 'base'\n",
        "dgl/distributed/__init__.py": """
from .. import graphbolt as gb

def sample(graph):
    return isinstance(graph, gb.FusedCSCSamplingGraph)
""",
        "dgl/graphbolt/__init__.py": f"""
import os, torch
import {needs}
folder = os.path.dirname(__file__)
name = f"libgraphbolt_pytorch_{{torch.__version__.split('+')[0]}}.so"
if not os.path.exists(os.path.join(folder, name)):
    raise FileNotFoundError(name)

class FusedCSCSamplingGraph:
    pass
""",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    file = str(ROOT / "dgl_gmpool" / "_environment.py")
    done = run(ALONE.format(file=file) + textwrap.dedent(code), folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fitting() -> str:
    return f"libgraphbolt_pytorch_{torch.__version__.split('+', maxsplit=1)[0]}.so"


def test_dgl_loads_where_its_graphbolt_is_built_for_another_torch(tmp_path: Path) -> None:
    out = with_dgl(
        tmp_path,
        """
        assert environment.enable_dgl() and environment.enable_dgl()
        assert not {"dgl", "torch"} & set(sys.modules)  # decided without them
        import dgl
        assert not dgl.distributed.sample(3)
        assert dgl.graphbolt is sys.modules["dgl.graphbolt"]
        assert not hasattr(dgl.graphbolt, "__wrapped__") and not hasattr(dgl.graphbolt, "_x")
        from dgl.graphbolt import BuiltinDataset, expand_indptr

        class Mine(BuiltinDataset):
            pass

        def use_submodule():
            import dgl.graphbolt.impl

        uses = [
            lambda: expand_indptr([0]),
            BuiltinDataset,
            Mine,
            lambda: BuiltinDataset.load("x"),
            use_submodule,
        ]
        for use in uses:
            try:
                use()
            except ImportError as error:
                print(error)
        """,
        libraries=["libgraphbolt_pytorch_2.0.0.so", "libgraphbolt_pytorch_2.2.1.so"],
    )
    lines = out.splitlines()
    assert len(lines) == 5
    for line in lines:
        assert f"torch 2.0.0, 2.2.1, and torch {version('torch')} is installed" in line
        assert "install the torch" in line
    assert lines[0].startswith("dgl.graphbolt.expand_indptr: ")


def test_dgl_loads_where_something_that_graphbolt_needs_is_missing(tmp_path: Path) -> None:
    (tmp_path / "torchdata").mkdir()  # as torchdata since 0.10, without datapipes
    (tmp_path / "torchdata" / "__init__.py").write_text("", encoding="utf-8")
    out = with_dgl(
        tmp_path,
        """
        assert environment.enable_dgl()
        import dgl
        try:
            dgl.graphbolt.ItemSet()
        except ImportError as error:
            print(error)
        """,
        libraries=[fitting()],
        needs="torchdata.datapipes",
    )
    assert "it needs torchdata.datapipes, which is not installed" in out


def test_dgl_is_left_alone_where_its_graphbolt_loads(tmp_path: Path) -> None:
    out = with_dgl(
        tmp_path,
        """
        before = list(sys.meta_path)
        assert not environment.enable_dgl()
        assert sys.meta_path == before and "torch" not in sys.modules
        environment.import_dgl()
        assert sys.meta_path == before
        print(sys.modules["dgl.graphbolt"].__file__)
        """,
        libraries=[fitting()],
        needs="json",
    )
    assert Path(out.strip()) == tmp_path / "dgl" / "graphbolt" / "__init__.py"


def test_a_failed_import_of_dgl_does_not_stay_in_the_way(tmp_path: Path) -> None:
    out = with_dgl(
        tmp_path,
        """
        try:
            import dgl
        except FileNotFoundError:
            assert "dgl.base" in sys.modules
        dgl = environment.import_dgl()
        print(dgl.base.name, dgl.distributed.sample(3))
        """,
        libraries=["libgraphbolt_pytorch_2.2.1.so"],
        needs="json",
    )
    assert out == "base False\n"


def test_dgl_without_graphbolt_is_left_alone() -> None:
    if int(version("dgl").split(".")[0]) > 1:
        pytest.skip("this DGL has graphbolt")
    code = "import sys; before = list(sys.meta_path); import dgl_gmpool; "
    done = run(code + "assert sys.meta_path == before; print(dgl_gmpool.enable_dgl())")
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_dgl_can_be_imported_after_this_package() -> None:
    """Whatever DGL is installed, and with nothing else asked of this package."""
    done = run("import dgl_gmpool, dgl; print(dgl.graph(([0], [1])).num_nodes())")
    assert done.stdout == "2\n", done.stderr


@pytest.mark.slow
def test_import_works_where_home_cannot_be_written(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("", encoding="utf-8")  # a file, so nothing can be created below it
    done = run(
        "from dgl_gmpool import GMPool; import os; print('DGLBACKEND' in os.environ)",
        HOME=str(home),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str("DGLBACKEND" in os.environ)
    assert done.stderr == ""
