"""What a search may vary: settings by name, their choices or ranges, and how a text gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from dgl_gmpool._options import unknown_name
from dgl_gmpool.models.levels import check_levels
from dgl_gmpool.training.config import TrainingConfig


class Suggest(Protocol):
    """The part of an Optuna trial that is used here."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...

    def suggest_int(self, name: str, low: int, high: int) -> int: ...

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[Any, ...]

    def suggest(self, trial: Suggest, name: str) -> Any:
        return trial.suggest_categorical(name, self.values)

    def tried(self) -> tuple[Any, ...]:
        """The values, or the ends of the range."""
        return self.values

    def holds(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return ",".join(map(str, self.values))


@dataclass(frozen=True)
class Range:
    """Any number between two, whole numbers if both are; ``log``: each decade counts the same."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Suggest, name: str) -> Any:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    def tried(self) -> tuple[Any, ...]:
        """The values, or the ends of the range."""
        return self.low, self.high

    def holds(self, value: Any) -> bool:
        return bool(self.low <= value <= self.high)

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"


#: What is searched: name of a setting -> its values.
Space: TypeAlias = dict[str, Choices | Range]

#: Name of a setting in a search -> field of the TrainingConfig, and what is tried by default.
SETTINGS: dict[str, tuple[str, Choices | Range]] = {
    "readout": ("readout", Choices(("gmpool", "ngmpool", "mean_and_max"))),
    "levels": ("levels", Choices((1, 2))),
    "width": ("hidden_feats", Choices((64, 128, 200, 300))),
    "depth": ("num_steps", Range(2, 5)),
    "dropout": ("dropout", Range(0.0, 0.4)),
    "lr": ("lr", Range(3e-4, 5e-3, log=True)),
    "batch": ("batch_size", Choices((40, 80, 160))),
    "descriptors": ("descriptors", Choices(("none", "rdkit", "morgan", "morgan+rdkit"))),
}
#: Searched where nothing is said; two levels and other batches cost time and rarely pay.
DEFAULT_SPACE = ("readout", "width", "depth", "dropout", "lr", "descriptors")


def parse_space(texts: Sequence[str]) -> Space:
    """``NAME``, ``NAME=A,B,C`` or ``NAME=LOW:HIGH``.

    Raises
    ------
    ValueError
        A name is not known or given twice, or its values make no sense.

    Examples
    --------
    >>> [str(values) for values in parse_space(["lr=1e-4:1e-2", "width=64,128"]).values()]
    ['0.0001:0.01', '64,128']
    """
    space: Space = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if name not in SETTINGS:
            raise unknown_name("setting of --space", name, SETTINGS)
        if name in space:
            raise ValueError(f"--space {name} is given twice")
        space[name] = _values(text, name, values) if equals else SETTINGS[name][1]
        _check(text, name, space[name])
    return space


def _values(text: str, name: str, values: str) -> Choices | Range:
    default = SETTINGS[name][1]
    numbers = isinstance(default, Range) or isinstance(default.values[0], int)

    def read(word: str) -> Any:
        if not numbers:
            return "+".join(sorted(set(word.split("+")))) if name == "descriptors" else word
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(
                f"--space {text}: {word!r} is no number; expected {name}=A,B,C or {name}=LOW:HIGH, "
                f"such as {name}={default}"
            )
        whole = name not in ("dropout", "lr")
        if whole and value != int(value):
            raise ValueError(f"--space {text}: {word} is not whole; {name} counts something")
        return int(value) if whole else value

    if not values:
        raise ValueError(
            f"--space {text}: expected {name}=A,B,C or {name}=LOW:HIGH, or {name} alone"
        )
    low, colon, high = values.partition(":")
    if colon and numbers:
        ends = read(low), read(high)
        if not ends[0] < ends[1]:
            raise ValueError(f"--space {text}: expected LOW:HIGH, the lower number first")
        return Range(*ends, log=name == "lr")
    found = tuple(read(word) for word in values.split(","))
    if len(set(found)) < len(found):
        raise ValueError(f"--space {text}: a value is given twice")
    return Choices(found)


def _check(text: str, name: str, values: Choices | Range) -> None:
    """Every value, by the checks that a configuration has."""
    for value in values.tried():
        try:
            replace(TrainingConfig(), **_fields({name: value}))
        except ValueError as error:
            raise ValueError(f"--space {text}: {error}") from error


def _fields(settings: Mapping[str, Any]) -> dict[str, Any]:
    found = {SETTINGS[name][0]: value for name, value in settings.items()}
    if "descriptors" in found:
        words = found["descriptors"]
        found["descriptors"] = () if words == "none" else tuple(words.split("+"))
    return found


def suggest_config(
    trial: Suggest,
    base: TrainingConfig,
    space: Mapping[str, Choices | Range],
    options: Mapping[str, Mapping[str, Any]],
) -> TrainingConfig:
    """The configuration of a trial.

    Parameters
    ----------
    trial : Suggest
    base : TrainingConfig
        Has all that is not searched.
    space : mapping
        From :func:`parse_space`.
    options : mapping
        Readout -> its options, where they are not the defaults.
    """
    chosen: dict[str, Any] = {}
    for name, values in space.items():
        if name != "levels":
            chosen[name] = values.suggest(trial, name)
    readout = chosen.get("readout", base.readout)
    if "levels" in space:
        values = space["levels"]
        # A readout that cannot do two levels is tried with one.
        if all(can_do_levels(level, readout, base.backbone) for level in values.tried()):
            chosen["levels"] = values.suggest(trial, "levels")
        else:
            chosen["levels"] = 1
    fields = _fields(chosen)
    fields["lift"] = base.lift and fields.get("levels", base.levels) > 1
    if "readout" in chosen:
        fields["readout_options"] = options.get(readout, {})
    return replace(base, **fields)


def can_do_levels(levels: int, readout: str, backbone: str) -> bool:
    """Whether the readout can read a network of so many levels out."""
    try:
        check_levels(levels, readout, backbone)
    except ValueError:
        return False
    return True
