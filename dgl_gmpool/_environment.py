"""Bring in DGL and dgllife without their side effects, or say which versions work."""

from __future__ import annotations

import importlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

#: The set that is tested (see constraints.txt of the repository).
TESTED = (
    f"dgl=={'1.1.3' if sys.version_info < (3, 12) else '2.1.0'} "
    "torch==2.13.0 dgllife==0.3.2 packaging"
)


def _versions() -> str:
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
        f"  tested together: pip install {TESTED}"
    )


#: The part of DGL 2.x that is built for certain versions of torch alone. The rest of DGL imports it
#: for distributed sampling, and uses it nowhere else.
GRAPHBOLT = "dgl.graphbolt"

#: What graphbolt imports and DGL 2.1 does not bring.
_GRAPHBOLT_NEEDS = ("torchdata.datapipes", "pydantic", "yaml")


def enable_dgl() -> bool:
    """Let ``import dgl`` succeed where DGL's graphbolt does not fit the torch that is installed.

    DGL 2.1.0 brings graphbolt libraries for torch 2.0.0 to 2.2.1 and stops importing next to any
    other torch. Where that would happen, imports of ``dgl.graphbolt`` find a stand-in from here on:
    ``isinstance`` checks against its classes are false, and each other use raises an ImportError
    that says what to install. Everything else of DGL works, distributed sampling with graphbolt
    aside. Where graphbolt fits, and with DGL 1.x, which has none, nothing changes.

    ``import dgl_gmpool`` calls it. Neither dgl nor torch is imported to decide.

    Returns
    -------
    bool
        Whether the stand-in is in place.
    """
    if any(isinstance(finder, _StandInFinder) for finder in sys.meta_path):
        return True
    why = None if GRAPHBOLT in sys.modules else _why_graphbolt_fails()
    if why is None:
        return False
    sys.meta_path.insert(0, _StandInFinder(why))
    return True


def _folder(package: str) -> Path | None:
    """Where a package is installed; None if it is not, or has no folder. Does not import it."""
    try:
        spec = find_spec(package)
    except ValueError:  # a module without a spec stands in for it
        return None
    places = (spec and spec.submodule_search_locations) or []
    return next((Path(place) for place in places), None)


def _why_graphbolt_fails() -> str | None:
    """What keeps DGL's graphbolt from loading; None if nothing does or there is none."""
    dgl = _folder("dgl")
    if dgl is None or not (dgl / "graphbolt" / "__init__.py").is_file():
        return None
    folder = dgl / "graphbolt"
    try:
        torch = str(getattr(sys.modules.get("torch"), "__version__", None) or version("torch"))
    except PackageNotFoundError:
        return None  # then DGL says what it misses
    release = torch.split("+", maxsplit=1)[0]
    libraries = sorted(folder.glob("*graphbolt_pytorch_*"))
    fitting = [re.sub(r".*pytorch_(.*)\.\w+$", r"\1", path.name) for path in libraries]
    if release not in fitting:
        return f"it is built for torch {', '.join(fitting)}, and torch {torch} is installed"
    sources = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    for name in _GRAPHBOLT_NEEDS:
        parent, _, child = name.partition(".")
        place = _folder(parent)
        absent = place is None or (child and not (place / child).exists())
        if absent and re.search(rf"^(from|import) {re.escape(name)}\b", sources, re.MULTILINE):
            return f"it needs {name}, which is not installed"
    return None


class _StandInFinder(MetaPathFinder, Loader):
    """Finds a stand-in for ``dgl.graphbolt``, so that it is imported as any other module."""

    def __init__(self, why: str) -> None:
        self.why = why

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.startswith(f"{GRAPHBOLT}."):
            raise ImportError(_graphbolt_error(self.why), name=name)
        if name != GRAPHBOLT:
            return None
        return ModuleSpec(name, self, origin="stand-in of dgl_gmpool", is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name, _graphbolt_error(self.why))

    def exec_module(self, module: ModuleType) -> None:
        pass


class _StandIn(ModuleType):
    """A module whose every public name is a class that can be asked for, and not be used."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self._reason = reason

    def __getattr__(self, name: str) -> type:
        if name.startswith("_"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        made = _Unusable(name, (), {"__module__": self.__name__, "_reason": self._reason})
        setattr(self, name, made)
        return made


class _Unusable(type):
    """Classes, and what DGL has as functions: calling them, or a part of them, says why not."""

    _reason: str

    def __call__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise ImportError(f"{cls.__module__}.{cls.__qualname__}: {cls._reason}")

    def __getattr__(cls, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        raise ImportError(f"{cls.__module__}.{cls.__qualname__}.{name}: {cls._reason}")


def _graphbolt_error(why: str) -> str:
    return (
        f"DGL's graphbolt does not load here: {why}. dgl_gmpool put a stand-in in its place, so "
        "that the rest of DGL works. To use graphbolt, install the torch that it is built for, "
        "torchdata==0.7.1, pydantic and pyyaml"
    )


def import_dgl() -> ModuleType:
    """Import DGL with the PyTorch backend, without a prompt, a config file or an env change."""
    enable_dgl()
    # DGL otherwise writes ~/.dgl/config.json on its first import, and fails where it cannot.
    before = os.environ.get("DGLBACKEND")
    os.environ["DGLBACKEND"] = "pytorch"
    # Python 3.12 warns of DGL 2.1's sources where they were not compiled when it was installed.
    # Not catch_warnings: it would undo the filters that DGL sets.
    quiet = ("ignore", None, SyntaxWarning, None, 0)
    warnings.filters.insert(0, quiet)  # type: ignore[attr-defined]
    try:
        return importlib.import_module("dgl")
    except Exception as error:
        # DGL raises FileNotFoundError, OSError and others for libraries that do not load.
        raise _explain("dgl", error) from None
    finally:
        warnings.filters.remove(quiet)  # type: ignore[attr-defined]
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
