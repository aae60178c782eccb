"""The flags of training, whose values may come from a file.

A value comes from the command line, else from ``--config``, else it is the default. So the parser
itself has no defaults: what it returns is what the user gave.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

from dgl_gmpool.cli.config_file import (
    NAMED_WEIGHTS,
    merged,
    network_flags,
    read_config,
    without_other_split,
    without_targets,
)
from dgl_gmpool.cli.datasets import DataSet
from dgl_gmpool.cli.flags import add_flag
from dgl_gmpool.cli.train_flag_groups import add_machine, add_model, add_training
from dgl_gmpool.data.featurizers import CODES

#: What undoes the value that ``--config`` gives to a flag that may be without one.
NONE = "none"


class TrainFlags:
    """The flags of one training command, in the order in which ``--help`` shows them.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Gets the flags.
    data : DataSet, optional
        Whose flags come first; without one, only what all have.
    output : str
        Default output folder.
    """

    def __init__(
        self, parser: argparse.ArgumentParser, data: DataSet | None = None, *, output: str
    ) -> None:
        self._defaults: dict[str, Any] = {}
        self._files: set[str] = set()
        self._may_be_none: set[str] = set()
        self._needs = data.needs if data else {}
        self.data_flags: list[str] = []
        if data is not None:
            data.add_flags(self._group(parser, "data"))
            self.data_flags = list(self._defaults)
        #: Those of the data flags that take a file.
        self.data_files = sorted(self._files)
        add_training(
            self._group(parser, "training"),
            split=data.split if data else "random",
            epochs=data.epochs if data else 30,
            auxiliary=data.auxiliary if data else (),
        )
        # What decides no model's numbers is kept where the data came from.
        self.data_flags += ["baselines", "split", "test_fraction", "splits_file"]
        self.data_flags += ["standardize", "replicates"]
        add_machine(self._group(parser, "files and machine"), output=output)
        add_model(self._group(parser, "model"))

    def _group(self, parser: argparse.ArgumentParser, title: str) -> Callable[..., None]:
        group = parser.add_argument_group(title)

        def add(*names: str, **options: Any) -> None:
            action = add_flag(group.add_argument, *names, **options)
            self._defaults[action.dest] = action.default
            if action.metavar == "FILE":
                self._files.add(action.dest)
            # A switch takes no value, and "none" may be one of a flag's own.
            may_be_none = action.default in (None, []) and action.dest not in self._needs
            if may_be_none and action.nargs != 0 and NONE not in (action.choices or ()):
                self._may_be_none.add(action.dest)
                action.type = _or_none(action.type or str)
                action.choices = action.choices and [*action.choices, NONE]
            action.default = argparse.SUPPRESS

        return add

    def resolve(self, args: argparse.Namespace, *, name: str = "") -> argparse.Namespace:
        """``args`` with the values of ``--config`` and the defaults filled in.

        Parameters
        ----------
        args : argparse.Namespace
            What the user gave.
        name : str
            The data set, to know whether the file's data flags are its own.

        Raises
        ------
        ValueError
            The file is none that a run wrote, or has a key that is not known; or "none" stands
            beside other values.
        """
        given = {key: self._value(key, value) for key, value in vars(args).items()}
        saved: dict[str, Any] = {}
        if given.get("config") is not None:
            saved = read_config(given["config"], name, self.data_flags)
            if isinstance(given.get("target"), list):
                saved = without_targets(saved, given["target"])
            saved = without_other_split(saved, given)
        start = given.get("start_from", saved.get("start_from"))
        of_run: dict[str, Any] = {}
        if start is not None:
            of_run = network_flags(start)
            given = {**of_run, **given, "start_from": os.path.abspath(start)}
        for key in ("readout_option", "backbone_option", *NAMED_WEIGHTS):
            undone = given.get(key) == []
            if key in saved and not undone and (key not in of_run or key in vars(args)):
                given[key] = merged(key, saved, given)
        values = {**self._defaults, **saved, **given}
        if values["backbone"] == "gin" and "featurizer" not in {**saved, **given}:
            values["featurizer"] = CODES
        return argparse.Namespace(**values)

    def _value(self, key: str, value: Any) -> Any:
        """What a flag was given, ``none`` being its default."""
        words = value if isinstance(value, list) else [value]
        if key not in self._may_be_none or NONE not in words:
            return value
        if len(words) > 1:
            raise ValueError(
                f"--{key.replace('_', '-')}: {NONE} stands beside other values; leave it or them "
                "out"
            )
        return self._defaults[key]

    def source(self, args: argparse.Namespace, name: str) -> dict[str, Any]:
        """The data flags of a resolved ``args``, as a run keeps them for ``--config``."""
        found: dict[str, Any] = {"data_set": name}
        for key in self.data_flags:
            value = getattr(args, key)
            found[key] = (
                os.path.abspath(value) if key in self._files and value not in (None, "-") else value
            )
        return found


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """The type of a flag whose value may be the word ``none``."""

    def value(text: str) -> Any:
        return text if text == NONE else read(text)

    value.__name__ = getattr(read, "__name__", "value")  # argparse names it
    return value
