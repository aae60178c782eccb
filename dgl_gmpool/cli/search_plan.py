"""What a search varies, and what its flags say of the rest."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from dgl_gmpool.cli.config_file import FLAGS
from dgl_gmpool.registry import readout_entry
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.search_space import (
    DEFAULT_SPACE,
    SETTINGS,
    Choices,
    Space,
    can_do_levels,
    parse_space,
)
from dgl_gmpool.training.transfer import network_of


def plan_search(args: argparse.Namespace) -> tuple[argparse.Namespace, Space]:
    """The flags of a search, with every readout that it tries, and its space.

    Parameters
    ----------
    args : argparse.Namespace
        What the user gave.

    Raises
    ------
    ValueError
        Two flags contradict each other, or a readout cannot do what is asked for.
    """
    given = vars(args)
    space = parse_space(args.space or DEFAULT_SPACE)
    args = args.flags.resolve(args, name=args.data_set)
    if len(args.seed) > 1 or len(args.levels) > 1:
        raise ValueError(
            "--seed and --levels take one value in a search; --space levels tries several levels"
        )
    if args.start_from is not None:
        space = _without_network(space, args.start_from, chosen=args.space is not None)
    if args.space is None:
        space = _without_given(space, given)
    space = _with_listed_readouts(args, space)
    for name, values in space.items():
        value = getattr(args, FLAGS[SETTINGS[name][0]])
        value = value[0] if name in ("readout", "levels") else _as_choice(value)
        if not values.holds(value) and (FLAGS[SETTINGS[name][0]] in given or args.config):
            print(f"note: {name} {value} is not tried: --space has {name}={values}")
    space = _with_readouts(args, space)
    if "levels" in space:
        # That of the flags first: a search begins there.
        args.levels = list(dict.fromkeys([*args.levels, 1]))
    return args, space


def first_settings(base: TrainingConfig, space: Space) -> dict[str, Any]:
    """The settings of the flags, where the search may try them."""
    found: dict[str, Any] = {}
    for name, values in space.items():
        value = _as_choice(getattr(base, SETTINGS[name][0]))
        if values.holds(value):
            found[name] = value
    return found


def _as_choice(value: Any) -> Any:
    """Descriptors, a list in the flags, as --space writes them."""
    return "+".join(sorted(value)) or "none" if isinstance(value, (list, tuple)) else value


def _without_network(space: Space, start: str, *, chosen: bool) -> Space:
    """What can be searched where the network is that of what is to start from."""
    fixed = [name for name in space if SETTINGS[name][0] in network_of(start)]
    if fixed and chosen:
        raise ValueError(
            f"--space {' '.join(fixed)}: these are as in the run or weights to start from "
            f"({start}); leave them out of --space, or search without --start-from"
        )
    if fixed:
        print(f"note: {', '.join(fixed)} are as in {start}, and not searched")
    return {name: values for name, values in space.items() if name not in fixed}


def _without_given(space: Space, given: Mapping[str, Any]) -> Space:
    """Who gives a flag and no --space wants its value; only several readouts are choices."""
    fixed = {
        name: f"--{flag.replace('_', '-')}"
        for name in space
        if (flag := FLAGS[SETTINGS[name][0]]) in given
        and not (name == "readout" and len(given[flag]) > 1)
    }
    left = {name: values for name, values in space.items() if name not in fixed}
    if not left:
        raise ValueError(
            f"{', '.join(fixed.values())} leave nothing to search; say with --space what is"
        )
    if fixed:
        said = ", ".join(f"{name} ({flag})" for name, flag in fixed.items())
        print(f"note: given by a flag, so not searched: {said}; --space NAME searches it")
    return left


def _lists_readouts(args: argparse.Namespace) -> bool:
    return any(text.startswith("readout=") for text in args.space or ())


def _with_listed_readouts(args: argparse.Namespace, space: Space) -> Space:
    """Several readouts of ``--readout`` are the choices."""
    if len(args.readout) < 2:
        return space
    if _lists_readouts(args) and set(space["readout"].tried()) != set(args.readout):
        raise ValueError(
            f"--readout {' '.join(args.readout)} and --space readout={space['readout']} both list "
            "readouts; give one of them"
        )
    return {**space, "readout": Choices(tuple(args.readout))}


def _with_readouts(args: argparse.Namespace, space: Space) -> Space:
    """The readouts of the space in ``args.readout`` too, so that what plans runs plans them."""
    if "readout" not in space:
        return space
    flags = list(args.readout)
    # Those of the flags first: a search begins there.
    names = sorted(space["readout"].tried(), key=lambda name: name not in flags)
    for name in names:
        readout_entry(name)
    (level,) = args.levels
    unable = [name for name in names if not can_do_levels(level, name, args.backbone)]
    if unable and "levels" not in space:
        if _lists_readouts(args) or len(flags) > 1 or unable == names:
            raise ValueError(
                f"{unable[0]} cannot do --levels {level}; leave it out of the search, or let the "
                "search try the levels that each can do, with --space levels beside the rest"
            )
        print(f"note: {', '.join(unable)} cannot do {level} levels; not searched")
        names = [name for name in names if name not in unable]
    args.readout = names
    return {**space, "readout": Choices(tuple(names))}
