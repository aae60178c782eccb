"""``dgl-gmpool run``: an unmodified DGL-LifeSci script with another readout."""

from __future__ import annotations

import argparse

from dgl_gmpool._options import parse_options
from dgl_gmpool.lifesci.launcher import run_with_readout
from dgl_gmpool.lifesci.loader import LOADER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``dgl-gmpool run``."""
    parser.add_argument(
        "--readout",
        metavar="NAME",
        help="a name from dgl_gmpool.list_readouts(); default: the one recorded with the model",
    )
    parser.add_argument(
        "--option",
        "--readout-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of that readout; repeat for more",
    )
    parser.add_argument(
        "--loader",
        default=LOADER,
        metavar="MODULE.NAME",
        help="what makes the script's models: a function, a class of models or a method of any "
        f"module, or __main__.NAME for one of the script itself (default: {LOADER})",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed the generators; the scripts themselves do not"
    )
    parser.add_argument("script", metavar="SCRIPT", help="path of the script")
    parser.add_argument(
        "arguments", metavar="ARGS", nargs=argparse.REMAINDER, help="its own arguments"
    )


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool run``."""
    run_with_readout(
        args.script,
        args.arguments,
        readout=args.readout,
        options=parse_options(args.option, flag="--option"),
        loader=args.loader,
        seed=args.seed,
    )
    return 0
