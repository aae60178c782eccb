"""Clear errors for misspelt names (name the closest, list the rest) and wrong numbers."""

from __future__ import annotations

import argparse
import ast
import difflib
import math
import shlex
from collections.abc import Iterable, Mapping
from typing import Any


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name nearest to ``name``, or None when nothing is near."""
    matches = difflib.get_close_matches(str(name).lower(), sorted(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """A ValueError that names the value seen, the closest known one and the full list."""
    names = sorted(known)
    near = closest(str(name), names)
    hint = f" Did you mean {near!r}?" if near else ""
    return ValueError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(names)}.")


def check_choice(kind: str, name: str, known: Iterable[str]) -> str:
    """Return ``name`` if it is known; otherwise raise :func:`unknown_name`."""
    names = list(known)
    if name not in names:
        raise unknown_name(kind, name, names)
    return name


def plain_value(value: Any) -> Any:
    """NumPy's numbers, texts and arrays, also within lists and mappings, as Python's own.

    >>> import numpy as np
    >>> plain_value([np.int64(3), {"tol": np.float32(0.5)}, np.str_("mean"), "mean"])
    [3, {'tol': 0.5}, 'mean', 'mean']
    """
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain_value(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain_value(each) for each in value)
    return value


def positive_int(name: str, value: object, *, least: int = 1) -> int:
    """Return ``value``, NumPy's too, as Python's if it is an integer >= ``least``."""
    number = plain_value(value)
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise ValueError(f"{name} is {value!r}; give an integer >= {least}")
    return number


def whole_number(text: str, *, least: int = 1) -> int:
    """``type`` of a flag that takes a whole number of at least ``least``."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number of at least {least}")
    return value


def probability(name: str, value: object) -> float:
    """Return ``value`` if it is a number in [0, 1)."""
    if not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(f"{name} is {value!r}; give a number in [0, 1)")
    return value


def finite_number(name: str, value: object, *, above: float = -math.inf) -> float:
    """Return ``value`` if it is a finite number, above this one."""
    if not isinstance(value, (int, float)) or not above < value < math.inf:
        limit = "" if above == -math.inf else f" > {above:g}"
        raise ValueError(f"{name} is {value!r}; give a number{limit}")
    return float(value)


def true_or_false(name: str, value: object) -> bool:
    """Return ``value`` if it is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; give True or False")
    return value


def as_typed(*words: object) -> str:
    """Words of a command as a user types them: what a message tells to type goes through this.

    >>> as_typed("--kind", "some assay=multiclass")
    "--kind 'some assay=multiclass'"
    """
    return shlex.join(map(str, words))


def parse_options(texts: Iterable[str], *, flag: str) -> dict[str, Any]:
    """``KEY=VALUE`` texts of a command line as a dict; numbers, True, False, None and quoted texts
    become Python values.

    Raises
    ------
    ValueError
        A text has no ``=``, or a key comes twice; the message names ``flag``.

    Examples
    --------
    >>> parse_options(["similarity=cauchy", "num_clusters=4", "gmpool.tol=1e-3"], flag="--option")
    {'similarity': 'cauchy', 'num_clusters': 4, 'gmpool.tol': 0.001}
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise ValueError(f"{flag} {text!r}: expected KEY=VALUE, such as similarity=cauchy")
        if key in found:
            raise ValueError(f"{flag} {key} is given twice")
        found[key] = _option_value(value)
    return found


def option_text(key: str, value: Any) -> str:
    """The ``KEY=VALUE`` that :func:`parse_options` reads as ``value``.

    >>> option_text("tol", 0.01), option_text("locality", None), option_text("locality", "none")
    ('tol=0.01', 'locality=None', "locality='none'")
    """
    text = str(value)
    return f"{key}={text if _option_value(text) == value else repr(value)}"


def _option_value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, (int, float, str)) else text
