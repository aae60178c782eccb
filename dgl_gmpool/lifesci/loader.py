"""What makes a script's models: find it by name, and put something around it for one run."""

from __future__ import annotations

import functools
import importlib
import re
import sys
import types
from collections import UserDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from dgl_gmpool._environment import import_dgllife
from dgl_gmpool._options import closest

#: The function that DGL-LifeSci's property prediction scripts make their models with.
LOADER = "utils.load_model"

#: Called with the arguments a loader got and what it made; what it returns takes its place.
Swap = Callable[[tuple[Any, ...], dict[str, Any], Any], Any]


@contextmanager
def running(
    script: Path, arguments: list[str], loader: str, swap: Swap
) -> Iterator[Callable[[], None]]:
    """Everything as if Python had been started with the script, and ``swap`` behind the loader.

    Parameters
    ----------
    script : path
    arguments : list of str
        Its own.
    loader : str
        ``module.function``, ``module.Class``, ``module.Class.method`` or ``__main__.name``.
    swap : callable

    Yields
    ------
    callable
        Runs the script, once.

    Raises
    ------
    ValueError
        There is no such loader; the script has not been started then.
    """
    names = loader.split(".")
    if len(names) < 2 or not all(names):
        raise ValueError(f"loader is {loader!r}; give module.function, such as {LOADER!r}")
    folder, root = script.resolve().parent, names[0]
    argv, path, modules = sys.argv, list(sys.path), dict(sys.modules)
    if _has_module(folder, root) and not is_beside(folder, sys.modules.get(root)):
        # Somebody else's utils; the script has its own.
        for name in [n for n in sys.modules if n.split(".")[0] == root]:
            del sys.modules[name]
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    undo: list[Callable[[], None]] = []

    def put(owner: Any, name: str) -> None:
        undo.append(_put_around(owner, name, loader, swap))

    try:
        wanted: list[str] = []
        # Imported under its own name, the script would run once more.
        if root in ("__main__", script.stem):
            wanted = names[1:]
            if not re.search(rf"\b{re.escape(wanted[0])}\b", script.read_text(errors="replace")):
                raise ValueError(
                    f"{script.name} has no {wanted[0]!r}; say what makes its models: "
                    "--loader __main__.NAME, or --loader module.function"
                )
        else:
            put(*_find(script, names))
        yield functools.partial(_run, script, wanted, put)
    finally:
        for each in reversed(undo):
            each()
        sys.argv = argv
        sys.path[:] = path
        added = set(sys.modules) - set(modules)
        # First all, as a package's modules are known by the package.
        theirs = [n for n in added if is_beside(folder, sys.modules.get(n.split(".")[0]))]
        for name in theirs:
            del sys.modules[name]
        sys.modules.update(modules)


def _run(script: Path, wanted: list[str], put: Callable[[Any, str], None]) -> None:
    module = types.ModuleType("__main__")
    module.__file__ = str(script)
    sys.modules["__main__"] = module
    names: dict[str, Any] = module.__dict__
    # A name of the script itself is taken when the script defines it.
    local = _Watched(names, wanted, put) if wanted else names
    # Not with this file's own __future__ imports, which compile() would hand on.
    code = compile(script.read_bytes(), str(script), "exec", dont_inherit=True)
    exec(code, names, local)


class _Watched(UserDict[str, Any]):
    """A module's names, for its own top level: what is put under one of them is wrapped first."""

    def __init__(
        self, names: dict[str, Any], wanted: list[str], put: Callable[[Any, str], None]
    ) -> None:
        self.data = names  # itself, not a copy: the module's functions look there
        self._wanted, self._put = wanted, put

    def __setitem__(self, key: str, value: Any) -> None:
        if key == self._wanted[0]:
            owner: Any = types.SimpleNamespace(**{key: value})
            held = owner
            for name in self._wanted[:-1]:
                owner = getattr(owner, name)
            self._put(owner, self._wanted[-1])
            value = getattr(held, key)
        super().__setitem__(key, value)


def _find(script: Path, names: list[str]) -> tuple[Any, str]:
    """The object that holds the loader, and the loader's name in it."""
    if names[0] == "dgllife":
        import_dgllife("model")  # without its side effects
    for length in range(len(names) - 1, 0, -1):
        name = ".".join(names[:length])
        try:
            owner: Any = importlib.import_module(name)
            break
        except ModuleNotFoundError as error:
            if error.name is None or not (name + ".").startswith(error.name + "."):
                raise  # the module is there, and something that it imports is not
    else:
        raise ValueError(
            f"there is no module {names[0]!r}, neither next to {script.name} nor installed, whose "
            f"{names[-1]} could be wrapped. DGL-LifeSci's property prediction scripts have "
            f"{LOADER}; for another script say what makes its models: --loader module.function, "
            "or --loader __main__.function for one in the script itself"
        )
    for at in range(length, len(names)):
        if not hasattr(owner, names[at]):
            near = closest(names[at], [n for n in dir(owner) if not n.startswith("_")])
            where = getattr(owner, "__file__", None) or getattr(owner, "__qualname__", owner)
            raise ValueError(
                f"{where} has no function {names[at]!r}"
                + (f"; did you mean {near!r}?" if near else "")
                + "; say what makes the script's models: --loader module.function"
            )
        if at < len(names) - 1:
            owner = getattr(owner, names[at])
    return owner, names[-1]


def _put_around(owner: Any, name: str, loader: str, swap: Swap) -> Callable[[], None]:
    """Let ``swap`` see every model that ``owner.name`` makes; returns what takes this back."""
    target = getattr(owner, name, None)
    if not callable(target):
        raise ValueError(f"{loader} is {target!r}, nothing that could be called")
    if isinstance(target, type):
        if not issubclass(target, nn.Module):
            raise ValueError(
                f"{loader} is a class of {target.__name__} objects, not of models; name what "
                "returns the model, such as --loader module.Class.method"
            )
        # In the class and not in its module: others have imported it under names of their own.
        owner, name, target = target, "__init__", target.__init__
    held = vars(owner).get(name)
    inside = held.__func__ if isinstance(held, (staticmethod, classmethod)) else target

    @functools.wraps(inside)
    def around(*args: Any, **kwargs: Any) -> Any:
        made = inside(*args, **kwargs)
        if name == "__init__":
            swap(args[1:], kwargs, args[0])
            return None
        return swap(args, kwargs, made)

    put: Any = around
    if isinstance(held, (staticmethod, classmethod)):
        put = type(held)(around)
    setattr(owner, name, put)

    def undo() -> None:
        if held is None:
            delattr(owner, name)
        else:
            setattr(owner, name, held)

    return undo


def _has_module(folder: Path, root: str) -> bool:
    return (folder / root).is_dir() or (folder / f"{root}.py").is_file()


def is_beside(folder: Path, module: types.ModuleType | None) -> bool:
    """Whether a top-level module or package, with or without ``__init__.py``, lies here."""
    where = list(getattr(module, "__path__", None) or ())  # a package's folders
    where += [file] if (file := getattr(module, "__file__", None)) and not where else []
    return any(Path(place).resolve().parent == folder for place in where)
