"""Importing the package changes nothing: DGL, dgllife, RDKit's logging, random states, files."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ENVIRONMENT = Path(__file__).parent.parent / "dgl_gmpool" / "_environment.py"

SNAPSHOT = """
import importlib, json, logging, os, random, sys, warnings

def attributes(name):
    # Submodules become attributes of their package when somebody imports them; that is Python.
    found = vars(importlib.import_module(name))
    return {k: id(v) for k, v in found.items() if not hasattr(v, "__spec__")}

def snapshot(modules):
    import numpy, torch
    from rdkit import rdBase
    return {
        "attributes": {name: attributes(name) for name in modules},
        "rdkit": rdBase.LogStatus(),
        "python": repr(random.getstate()),
        "numpy": repr(numpy.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
        "dtype": str(torch.get_default_dtype()),
        "grad": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "environ": dict(os.environ),
        "warnings": repr(warnings.filters),
        "handlers": repr(logging.getLogger().handlers),
        "level": logging.getLogger().level,
        "cwd": os.getcwd(),
        "path": list(sys.path),
        "meta_path": [repr(finder) for finder in sys.meta_path],
        "recursion": sys.getrecursionlimit(),
        "hooks": [id(sys.excepthook), id(sys.displayhook)],
    }
"""


def run(code, home, **environ):
    env = {**os.environ, "HOME": str(home), "USERPROFILE": str(home), **environ}
    for name in ("DGLBACKEND", "DGL_HOME", "DGLDEFAULTDIR"):
        if name not in environ:
            env.pop(name, None)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", SNAPSHOT + textwrap.dedent(code)],
        env=env,
        capture_output=True,
        text=True,
        cwd=home,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_next_to_dgl_and_dgllife(home):
    """Both are there first, RDKit's logging is partly on, generators are seeded."""
    out = run(
        """
        import importlib.util
        # What lets DGL 2.1.0 load at all next to today's torch; the rest of the package is not in.
        spec = importlib.util.spec_from_file_location("environment", os.environ["ENVIRONMENT"])
        sys.modules["environment"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["environment"])
        sys.modules["environment"].enable_dgl()
        # DGL 2.1's own sources, where they were not compiled when it was installed.
        warnings.filterwarnings("ignore", category=SyntaxWarning)
        import dgl, dgllife, dgllife.model, dgllife.data, dgllife.utils, numpy, torch
        from rdkit import RDLogger
        random.seed(1); numpy.random.seed(2); torch.manual_seed(3)
        RDLogger.EnableLog("rdApp.warning"); RDLogger.DisableLog("rdApp.error")
        modules = [n for n in sys.modules if n.split(".")[0] in ("dgl", "dgllife")
                   and hasattr(sys.modules[n], "__spec__")]
        assert {"dgl.nn", "dgl.nn.pytorch.glob", "dgllife.model.readout"} <= set(modules)
        before = snapshot(modules)
        import dgl_gmpool
        from dgl_gmpool import GMPool, MoleculePredictor, swap_readout
        after = snapshot(modules)
        for key in before:
            assert before[key] == after[key], key
        print("compared", len(modules), "modules")
        """,
        home,
        DGLBACKEND="pytorch",
        ENVIRONMENT=str(ENVIRONMENT),
    )
    assert out.startswith("compared")


@pytest.mark.slow
def test_alone(home):
    """As the first import of a process. What DGL itself changes is not ours to keep."""
    out = run(
        """
        import numpy, torch
        from rdkit import RDLogger
        RDLogger.EnableLog("rdApp.info")
        random.seed(1); numpy.random.seed(2); torch.manual_seed(3)
        before = snapshot([])
        import dgl_gmpool
        from dgl_gmpool import GMPool, MoleculePredictor, swap_readout
        after = snapshot([])
        # DGL adds warning filters and a variable; test_next_to_dgl_and_dgllife has them before.
        after["environ"].pop("KMP_DUPLICATE_LIB_OK", None)
        before["environ"].pop("KMP_DUPLICATE_LIB_OK", None)
        if dgl_gmpool.enable_dgl():  # this DGL does not load without its stand-in for graphbolt
            del after["meta_path"][0]
        for key in before.keys() - {"warnings"}:
            assert before[key] == after[key], key
        # dgllife's readouts come without dgllife.
        for name in dgl_gmpool.list_readouts():
            dgl_gmpool.get_readout(name, in_feats=4)
        assert "dgllife" not in sys.modules
        for name in ("GMPool", "NGMPool"):
            for place in ("dgl.nn", "dgl.nn.pytorch", "dgl.nn.pytorch.glob"):
                assert not hasattr(importlib.import_module(place), name)
        print("same")
        """,
        home,
    )
    assert out == "same\n"
    assert list(home.rglob("*")) == []


def test_the_package_and_its_version_load_neither_torch_nor_dgl(home):
    """So that --version is quick, and Ctrl-C is answered from the first moment; nor do the commands
    load, before their first score, what takes another second. What is asked for later comes, and
    bringing in dgllife leaves RDKit's log switches."""
    out = run(
        """
        import pathlib
        import dgl_gmpool, dgl_gmpool.cli
        try:
            dgl_gmpool.cli.main(["--version"])
        except SystemExit as end:
            assert end.code == 0
        assert not {"torch", "dgl", "numpy", "rdkit"} & set(sys.modules)
        import dgl_gmpool._dgl
        of_dgl = set(sys.modules)  # DGL 2 brings some of these itself
        for path in pathlib.Path(dgl_gmpool.cli.__file__).parent.glob("[!_]*.py"):
            importlib.import_module(f"dgl_gmpool.cli.{path.stem}")
        late = {"sklearn", "scipy.stats", "pandas", "matplotlib", "optuna"}
        assert not late & (set(sys.modules) - of_dgl)
        # Every public name is there when it is asked for, and in dir().
        for name in dgl_gmpool.__all__:
            assert getattr(dgl_gmpool, name) is not None and name in dir(dgl_gmpool)
        from dgl_gmpool import GMPool
        assert dgl_gmpool.nn.pooled_graph.PooledGraph is dgl_gmpool.PooledGraph
        assert not hasattr(dgl_gmpool, "GMPol")

        from rdkit import RDLogger, rdBase
        RDLogger.EnableLog("rdApp.warning"); RDLogger.DisableLog("rdApp.info")
        before = rdBase.LogStatus()
        assert "dgllife" not in sys.modules
        dgl_gmpool.register()
        assert "dgllife.model" in sys.modules
        assert rdBase.LogStatus() == before
        """,
        home,
    )
    assert out.startswith("dgl-gmpool ")


def test_each_part_can_be_imported_first(home):
    """DGL writes into the home folder when it is imported without care."""
    # A process of its own for each, forked from one that has loaded what all of them need.
    run(
        """
        import importlib, os, pathlib, warnings
        import torch, rdkit.Chem
        home = pathlib.Path.home()
        for part in ("data", "lifesci", "models", "nn.ragged", "poolings.gmpool", "registry",
                     "testing", "training", "cli.predict"):
            with warnings.catch_warnings():  # of forks of a process with threads, since 3.12
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if not child:
                importlib.import_module(f"dgl_gmpool.{part}")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0, part
            assert list(home.rglob("*")) == [], part
        """,
        home,
    )
