"""Bring in DGL and dgllife without their side effects, or say which versions work."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

#: The set that is tested (see constraints.txt of the repository).
TESTED = "dgl==1.1.3 torch==2.13.0 dgllife==0.3.2 packaging"


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("dgl", "torch", "dgllife", "rdkit", "packaging", "numpy"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} missing")
    return ", ".join(found)


def _explain(module: str, error: BaseException) -> ImportError:
    return ImportError(
        f"dgl_gmpool needs {module}, which cannot be imported here: "
        f"{type(error).__name__}: {error}\n"
        f"  found: {_versions()}\n"
        f"  DGL 2.x loads only next to torch 2.0.0-2.2.1; DGL 1.1.3 works with newer torch.\n"
        f"  tested together: pip install {TESTED}"
    )


def import_dgl() -> ModuleType:
    """Import DGL with the PyTorch backend, without a prompt, a config file or an env change."""
    # DGL otherwise writes ~/.dgl/config.json on its first import, and fails where it cannot.
    before = os.environ.get("DGLBACKEND")
    os.environ["DGLBACKEND"] = "pytorch"
    try:
        return importlib.import_module("dgl")
    except Exception as error:
        # DGL raises FileNotFoundError, OSError and others for libraries that do not load.
        raise _explain("dgl", error) from None
    finally:
        if before is None:
            del os.environ["DGLBACKEND"]
        else:
            os.environ["DGLBACKEND"] = before


@contextmanager
def rdkit_logging_kept() -> Iterator[None]:
    """Undo what happens to RDKit's log switches inside the block (dgllife turns them off)."""
    from rdkit import rdBase

    def enabled() -> dict[str, bool]:
        lines = (line.rsplit(":", 1) for line in rdBase.LogStatus().splitlines())
        return {name.strip(): state.strip() == "enabled" for name, state in lines}

    before = enabled()
    try:
        yield
    finally:
        for name, was_enabled in before.items():
            (rdBase.EnableLog if was_enabled else rdBase.DisableLog)(name)


def import_dgllife(submodule: str = "") -> ModuleType:
    """Import ``dgllife`` or ``dgllife.<submodule>``, leaving RDKit's logging as it was."""
    import_dgl()
    name = f"dgllife.{submodule}" if submodule else "dgllife"
    with rdkit_logging_kept():
        try:
            return importlib.import_module(name)
        except Exception as error:
            raise _explain(name, error) from None
