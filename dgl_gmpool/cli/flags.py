"""What flags have in common: a number says its type by its default, which the help ends with."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dgl_gmpool._options import closest


class FlagParser(argparse.ArgumentParser):
    """Answers a flag that it does not know with the closest that it knows.

    Examples
    --------
    >>> parser = FlagParser(prog="train")
    >>> _ = parser.add_argument("--epochs")
    >>> parser.exit = lambda status, message: print(message.strip())
    >>> _ = parser.parse_known_args(["--epcohs=3"])
    train: error: there is no flag --epcohs. Did you mean --epochs? See train --help
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._given = [] if args is None else list(args)
        found, unknown = super().parse_known_args(args, namespace)
        self._refuse_unknown(unknown)
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """A flag that is missing may be one that is misspelt."""
        if "required" in message and self._subparsers is None:
            known = " ".join(self._option_string_actions)
            self._refuse_unknown([text for text in self._given if text.split("=")[0] not in known])
        super().error(message)

    def _refuse_unknown(self, texts: Sequence[str]) -> None:
        flag = next((text.split("=")[0] for text in texts if text[:2] == "--" < text), None)
        if flag is not None:
            near = closest(flag, [name for name in self._option_string_actions if len(name) > 2])
            hint = f" Did you mean {near}?" if near else ""
            self.exit(
                2, f"{self.prog}: error: there is no flag {flag}.{hint} See {self.prog} --help\n"
            )


def output_folder(text: str) -> Path:
    """The type of ``--output`` where it is a folder, which standard output is not.

    Examples
    --------
    >>> output_folder("runs").name
    'runs'
    """
    if text == "-":
        raise argparse.ArgumentTypeError(
            "- is standard output, and this writes a folder; give its name (./- if it is that)"
        )
    return Path(text)


def add_flag(add: Callable[..., Any], *names: str, **options: Any) -> Any:
    """``add(*names, **options)``, ``add`` being a parser's ``add_argument``.

    A default that is a number is also the flag's type. A help text that says nothing of the default
    gets it at its end, where there is one.

    Examples
    --------
    >>> add_flag(argparse.ArgumentParser().add_argument, "--folds", default=5, help="parts").help
    'parts (default: 5)'
    """
    default = options.get("default")
    if "type" not in options and "action" not in options and type(default) in (int, float):
        options["type"] = type(default)
        if type(default) is int:
            options.setdefault("metavar", "N")
    there = type(default) in (int, float) or isinstance(default, (str, Path))
    if there and default != "" and "(default" not in options["help"]:
        shown = f"{default:g}" if isinstance(default, float) else default
        options["help"] += f" (default: {shown})"
    action = add(*names, **options)
    # Python 3.10's BooleanOptionalAction adds the default to the help once more.
    action.help = options.get("help")
    return action
