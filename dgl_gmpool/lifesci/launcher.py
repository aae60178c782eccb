"""Run an unmodified DGL-LifeSci script with another readout in the models it makes."""

from __future__ import annotations

import importlib
import os
import random
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from dgl_gmpool.lifesci.choice import (
    KEY,
    ReadoutChoice,
    record_beside,
    recorded_beside,
    recorded_in,
)
from dgl_gmpool.lifesci.swap import swap_readout

#: The function that DGL-LifeSci's property prediction scripts make their models with.
LOADER = "utils.load_model"


def run_with_readout(
    script: str | os.PathLike[str],
    arguments: Sequence[str] = (),
    *,
    readout: str | None = None,
    options: Mapping[str, Any] | None = None,
    loader: str = LOADER,
    seed: int | None = None,
) -> ReadoutChoice:
    """Run a script as ``python SCRIPT ARGUMENTS`` would, swapping the readout of its models.

    The script's own ``utils.load_model`` is wrapped, for this run, so that each model it returns
    goes through :func:`~dgl_gmpool.swap_readout`. No file of the script is touched. The choice is
    added to the configuration that ``load_model`` gets, under the key ``dgl_gmpool``, so it lands
    in ``configure.json`` where the script writes one; and it is written to ``dgl_gmpool.json``
    next to every model file that the script saves with ``torch.save``. Later runs on that model
    find it there and need no ``readout``.

    Parameters
    ----------
    script : path
    arguments : sequence of str, optional
        The script's own.
    readout : str, optional
        A name from :func:`dgl_gmpool.list_readouts`. Default: the one recorded with the model.
    options : mapping, optional
        Of that readout; values that JSON can hold.
    loader : str, optional
        ``module.function`` that makes the models. Default ``"utils.load_model"``.
    seed : int, optional
        Seed Python's, NumPy's and torch's generators before the script starts. DGL-LifeSci's
        scripts have no seed of their own; with one, readouts are compared on the same random
        split, which is drawn before the model is made.

    Returns
    -------
    ReadoutChoice
        What the models got.

    Raises
    ------
    ValueError
        If the name or an option is unknown, if the script has no such loader or ends without
        calling it, if nothing is recorded where no readout is given, or if the readout given is
        not the recorded one.
    """
    path = Path(script)
    if not path.is_file():
        raise FileNotFoundError(f"there is no script {str(path)!r}")
    if readout is None and options:
        raise ValueError(f"options {sorted(options)} need a readout; give --readout too")
    given = None if readout is None else ReadoutChoice(readout, dict(options or {}))
    if given is not None:
        given.check()
    run = _Run(given, list(arguments))
    with _as_main(path, run.arguments, loader):
        module, function = _find_loader(path, loader)
        original = getattr(module, function)
        setattr(module, function, run.wrap(original))
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - the generator that the scripts draw from
            torch.manual_seed(seed)
        with run.watching_files():
            try:
                runpy.run_path(str(path), run_name="__main__")
            except SystemExit as end:
                if end.code not in (None, 0) or {"-h", "--help"} & set(run.arguments):
                    raise
    if run.used is None:
        raise ValueError(
            f"{path.name} ended without calling {loader}, so no readout was swapped and its "
            "results are those of the original model. (The moleculenet scripts skip it with "
            "--pretrain.) If it makes its models elsewhere, name that: --loader module.function"
        )
    run.say_what_was_left_out()
    return run.used


class _Run:
    """What one run knows about the readout."""

    def __init__(self, given: ReadoutChoice | None, arguments: list[str]) -> None:
        self.given = given
        self.arguments = arguments
        self.used: ReadoutChoice | None = None
        self._loaded: ReadoutChoice | None = None
        self._models: list[frozenset[str]] = []
        self._last: nn.Module | None = None

    def wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """The script's ``load_model``, followed by the swap."""

        def load_model(*args: Any, **kwargs: Any) -> Any:
            model = original(*args, **kwargs)
            if not isinstance(model, nn.Module):
                # DGL-LifeSci's own returns its error instead of raising it.
                raise ValueError(f"the script's load_model made no model but {model!r}")
            config = next(
                (each for each in (*args, *kwargs.values()) if isinstance(each, dict)), {}
            )
            choice, source = self._choose(config)
            before = {key: value.shape for key, value in model.state_dict().items()}
            swap_readout(model, choice.readout, **choice.options)
            after = {key: value.shape for key, value in model.state_dict().items()}
            config[KEY] = choice.to_dict()
            self.used = choice
            self._models.append(frozenset(after))
            self._last = model
            _say(f"readout {choice} in {type(model).__name__} ({source})")
            if before == after:
                _say(
                    "this readout has no parameters and leaves every layer its shape: without "
                    "dgl-gmpool the script would load this model and predict with its own readout"
                )
            return model

        return load_model

    def say_what_was_left_out(self) -> None:
        """Name auxiliary losses: only the script could have added them to its own."""
        names: set[str] = set()
        for module in self._last.modules() if self._last is not None else ():
            names.update(getattr(module, "losses", None) or ())
        if names:
            _say(
                f"{self.used} has auxiliary losses ({', '.join(sorted(names))}), which the script "
                "does not know of: the model was trained without them"
            )

    def _choose(self, config: Mapping[str, Any]) -> tuple[ReadoutChoice, str]:
        recorded, source = self._recorded(config)
        if self.given is None:
            if recorded is None:
                raise ValueError(
                    "no readout is given and none is recorded with the model; give --readout NAME, "
                    "or run the script without dgl-gmpool"
                )
            return recorded, source
        # A configuration belongs to a trained model; a folder may be about to be trained anew.
        if recorded is not None and KEY in config:
            self._agree(recorded, source)
        return self.given, "--readout"

    def _recorded(self, config: Mapping[str, Any]) -> tuple[ReadoutChoice | None, str]:
        if KEY in config:
            source = f"recorded in the model's configuration, {KEY!r}"
            return ReadoutChoice.from_dict(config[KEY], f"the configuration's {KEY!r}"), source
        if self.given is not None or self._loaded is not None:
            return self._loaded, "recorded with the model file"
        values = [text.split("=", 1)[-1] for text in self.arguments]
        for text in [*values, *config.values()]:
            if isinstance(text, (str, Path)) and text and os.path.isdir(text):
                found = recorded_in(text)
                if found is not None:
                    return found, f"recorded in {text}"
        return None, ""

    def _agree(self, recorded: ReadoutChoice, source: str) -> None:
        choice = self.given if self.used is None else self.used
        if choice is not None and choice != recorded:
            raise ValueError(
                f"the model was trained with the readout {recorded} ({source}), this run uses "
                f"{choice}; leave --readout and --option out to take the recorded one"
            )

    @contextmanager
    def watching_files(self) -> Iterator[None]:
        """Write the choice next to models that are saved, and compare it where one is loaded."""
        save, load = torch.save, torch.load

        def watched_save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> Any:
            result = save(obj, f, *args, **kwargs)
            if _is_path(f) and self.used is not None and self._is_swapped(obj):
                record_beside(f, self.used)
            return result

        def watched_load(f: Any, *args: Any, **kwargs: Any) -> Any:
            if _is_path(f):
                recorded = recorded_beside(f)
                if recorded is not None:
                    self._agree(recorded, f"recorded beside {os.fspath(f)}")
                    self._loaded = recorded
            return load(f, *args, **kwargs)

        torch.save, torch.load = watched_save, watched_load
        try:
            yield
        finally:
            torch.save, torch.load = save, load

    def _is_swapped(self, obj: Any) -> bool:
        """Whether what is saved is, or holds, a model of this run or its parameters."""
        inside = list(obj.values()) if isinstance(obj, dict) else []
        for each in [obj, *inside]:
            keys = each.state_dict() if isinstance(each, nn.Module) else each
            if isinstance(keys, Mapping) and frozenset(keys) in self._models:
                return True
        return False


def _find_loader(script: Path, loader: str) -> tuple[ModuleType, str]:
    name, _, function = loader.rpartition(".")
    if not name or not function:
        raise ValueError(f"loader is {loader!r}; give module.function, such as {LOADER!r}")
    module: ModuleType | None
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.split(".")[0]:
            raise
        module = None
    root = sys.modules.get(name.split(".")[0])
    if module is None or not _is_beside(script.resolve().parent, root):
        raise ValueError(
            f"there is no module {name!r} next to {script.name}, whose {function} could be "
            "wrapped. DGL-LifeSci's property prediction scripts have one; for another script say "
            "what makes its models: --loader module.function"
        )
    if not callable(getattr(module, function, None)):
        raise ValueError(
            f"{module.__file__} has no function {function!r}; say what makes the script's models: "
            "--loader module.function"
        )
    return module, function


@contextmanager
def _as_main(script: Path, arguments: list[str], loader: str) -> Iterator[None]:
    """argv, path and modules as if Python had been started with the script."""
    folder = script.resolve().parent
    argv, path, modules = sys.argv, list(sys.path), dict(sys.modules)
    root = loader.split(".")[0]
    if not _is_beside(folder, sys.modules.get(root)):
        # Somebody else's utils; the script has its own.
        for name in [n for n in sys.modules if n.split(".")[0] == root]:
            del sys.modules[name]
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.argv = argv
        sys.path[:] = path
        for name in set(sys.modules) - set(modules):
            if _is_beside(folder, sys.modules.get(name.split(".")[0])):
                del sys.modules[name]
        sys.modules.update(modules)


def _is_beside(folder: Path, module: ModuleType | None) -> bool:
    """Whether a top-level module or package lies in this folder."""
    where = getattr(module, "__file__", None)
    if where is None:
        return False
    place = Path(where).resolve()
    return folder in (place.parent, place.parent.parent if place.stem == "__init__" else None)


def _is_path(f: Any) -> bool:
    return isinstance(f, (str, os.PathLike))


def _say(text: str) -> None:
    print(f"dgl-gmpool: {text}", file=sys.stderr)
