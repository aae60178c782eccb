"""What flags have in common: a number says its type by its default, which the help ends with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def add_flag(add: Callable[..., Any], *names: str, **options: Any) -> Any:
    """``add(*names, **options)``, ``add`` being a parser's ``add_argument``.

    A default that is a number is also the flag's type. A help text that says nothing of the default
    gets it at its end, where there is one.

    Examples
    --------
    >>> import argparse
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
