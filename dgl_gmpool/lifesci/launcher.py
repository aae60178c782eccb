"""Run an unmodified DGL-LifeSci script with another readout in the models it makes."""

from __future__ import annotations

import os
import random
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dgl_gmpool._options import as_typed, closest
from dgl_gmpool.lifesci.choice import (
    KEY,
    ReadoutChoice,
    record_beside,
    recorded_beside,
    recorded_in,
)
from dgl_gmpool.lifesci.loader import LOADER, running
from dgl_gmpool.lifesci.swap import swap_readout

_OUR_FLAGS = ("--readout", "--option", "--readout-option", "--loader", "--seed")


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

    The script's own ``utils.load_model`` is wrapped, for this run, so that each model it returns,
    alone or in a tuple, goes through :func:`~dgl_gmpool.swap_readout`. No file of the script is
    touched. The choice is added to the configuration that ``load_model`` gets, under the key
    ``dgl_gmpool``, so it lands in ``configure.json`` where the script writes one; and it is
    written to ``dgl_gmpool.json`` next to every model file that the script saves with
    ``torch.save``, which is another function while the script runs. Later runs on that model find
    it there and need no ``readout``.

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
        What makes the models: ``module.function``, a class of models (``module.Class``: every one
        that is made gets the readout), ``module.Class.method``, or ``__main__.name`` for what the
        script itself defines. Any module that the script could import. Default
        ``"utils.load_model"``.
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
        raise FileNotFoundError(_no_script(path, arguments))
    if readout is None and options:
        raise ValueError(f"options {sorted(options)} need a readout; give --readout too")
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**32):
        raise ValueError(f"seed is {seed!r}; give a whole number from 0 to {2**32 - 1}")
    given = None if readout is None else ReadoutChoice(readout, dict(options or {}))
    if given is not None:
        given.check()
    run = _Run(given, list(arguments), loader)
    with running(path, run.arguments, loader, run.swap) as start:
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - the generator that the scripts draw from
            torch.manual_seed(seed)
        with run.watching_files():
            try:
                start()
            except SystemExit as end:
                if end.code not in (None, 0) or {"-h", "--help"} & set(run.arguments):
                    run.say_flags_behind_the_script()
                    raise
            except FileNotFoundError as error:
                _say_other_folder(path, error)
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

    def __init__(self, given: ReadoutChoice | None, arguments: list[str], loader: str) -> None:
        self.given = given
        self.loader = loader
        self.arguments = arguments
        self.used: ReadoutChoice | None = None
        self._loaded: ReadoutChoice | None = None
        self._models: list[frozenset[str]] = []

    def swap(self, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> Any:
        """What the loader made, with another readout in the model."""
        model = self._model_in(made)
        config = next((each for each in (*args, *kwargs.values()) if isinstance(each, dict)), {})
        choice, source = self._choose(config)
        before = {key: value.shape for key, value in model.state_dict().items()}
        swap_readout(model, choice.readout, **choice.options)
        after = {key: value.shape for key, value in model.state_dict().items()}
        config[KEY] = choice.to_dict()
        self.used = choice
        self._models.append(frozenset(after))
        _say(f"readout {choice} in {type(model).__name__} ({source})")
        if before == after:
            _say(
                "this readout has no parameters and leaves every layer its shape: without "
                "dgl-gmpool the script would load this model and predict with its own readout"
            )
        return made

    def _model_in(self, made: Any) -> nn.Module:
        if isinstance(made, nn.Module):
            return made
        what = textwrap.shorten(repr(made), 200, placeholder=" ...")
        parts: list[Any] = []
        if isinstance(made, (tuple, list)):
            what, parts = f"a {type(made).__name__} of {len(made)}: {what}", list(made)
        elif isinstance(made, Mapping):
            what, parts = f"a {type(made).__name__} of {len(made)}: {what}", list(made.values())
        models = [each for each in parts if isinstance(each, nn.Module)]
        if len(models) != 1:
            # DGL-LifeSci's own returns its error instead of raising it.
            raise ValueError(
                f"{self.loader} made no model but {what}; name what returns the model: "
                "--loader module.function"
            )
        if any(isinstance(each, torch.optim.Optimizer) for each in parts):
            raise ValueError(
                f"{self.loader} returns its model with an optimizer ({what}), which would not "
                "train the new readout; name what makes the model alone: --loader module.function"
            )
        return models[0]

    def say_flags_behind_the_script(self) -> None:
        """Name our flags among the script's own, where something went wrong."""
        ours = [text for text in self.arguments if text.partition("=")[0] in _OUR_FLAGS]
        if ours and self.given is None:
            _say(
                f"{ours[0]} stands behind the script and went to the script; dgl-gmpool's own "
                "flags go before it: dgl-gmpool run --readout NAME SCRIPT ARGS"
            )

    def say_what_was_left_out(self) -> None:
        """Name auxiliary losses: only the script could have added them to its own."""
        names = [] if self.used is None else self.used.auxiliary_losses()
        if names:
            _say(
                f"{self.used} has auxiliary losses ({', '.join(names)}), which the script does not "
                "know of: the model was trained without them"
            )

    def _choose(self, config: Mapping[str, Any]) -> tuple[ReadoutChoice, str]:
        recorded, source = self._recorded(config)
        if self.given is None:
            if recorded is None:
                self.say_flags_behind_the_script()
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


def _no_script(path: Path, arguments: Sequence[str]) -> str:
    if path.is_dir():
        inside = sorted(file.name for file in path.glob("*.py"))
        return f"{str(path)!r} is a folder; give a script in it" + (
            f": {', '.join(inside[:5])}" if inside else ", a .py file"
        )
    said = f"there is no script {str(path)!r}"
    if path.name.startswith("python") and any(text.endswith(".py") for text in arguments):
        return f"{said}; leave {path.name} out: dgl-gmpool run --readout NAME SCRIPT.py ARGS"
    near = closest(path.name, [file.name for file in path.parent.glob("*.py")])
    return said + (f"; did you mean {str(path.with_name(near))!r}?" if near else "")


def _say_other_folder(script: Path, error: FileNotFoundError) -> None:
    folder, missing = script.resolve().parent, error.filename
    if not isinstance(missing, (str, Path)) or folder == Path.cwd():
        return
    if not os.path.isabs(missing) and (folder / missing).exists():
        _say(
            f"{missing} is in the script's own folder, and the script looks for it in the current "
            f"one; start it there: {as_typed('cd', folder)}"
        )


def _is_path(f: Any) -> bool:
    return isinstance(f, (str, os.PathLike))


def _say(text: str) -> None:
    print(f"dgl-gmpool: {text}", file=sys.stderr)
