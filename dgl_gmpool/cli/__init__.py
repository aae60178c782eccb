"""The command ``dgl-gmpool``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from dgl_gmpool._version import __version__
from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.cli.flags import FlagParser


class Command(NamedTuple):
    """A command as the list of commands shows it."""

    module: str  # with add_arguments(parser) and main(args); imported only when it is used
    summary: str
    resume: str | None = None  # the flag that continues what Ctrl-C stopped; "": none is needed


COMMANDS = {
    "quickstart": Command(
        "dgl_gmpool.cli.quickstart",
        "train three readouts on 1,017 measured potencies that come with RDKit (2 to 3 minutes)",
        resume="",
    ),
    "train": Command(
        "dgl_gmpool.cli.train",
        "train on a table of your own, or on Tox21, BindingDB or chromophores",
        resume="--resume",
    ),
    "tune": Command(
        "dgl_gmpool.cli.tune",
        "search for the settings that do best on the validation rows of a data set",
        resume="--resume",
    ),
    "predict": Command(
        "dgl_gmpool.cli.predict", "predict the molecules of a table", resume="--resume"
    ),
    "explain": Command(
        "dgl_gmpool.cli.explain",
        "show what a model sees in molecules: groups, contributions, pictures, a page",
    ),
    "report": Command(
        "dgl_gmpool.cli.report", "write the page of a finished run again, as train does in the end"
    ),
    "embed": Command(
        "dgl_gmpool.cli.embed",
        "write a model's vector of each molecule of a table",
        resume="--resume",
    ),
    "run": Command(
        "dgl_gmpool.cli.run", "run an unmodified DGL-LifeSci script with another readout"
    ),
}


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser, with the flags of the chosen command only."""
    parser = FlagParser(
        prog="dgl-gmpool", description="Graph pooling that finds the number of groups by itself."
    )
    parser.add_argument("--version", action="version", version=f"dgl-gmpool {__version__}")
    shows = "show the traceback of an error"
    parser.add_argument("--debug", action="store_true", help=shows)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, text, _) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        # Behind the command, too: that is where it is added to one that failed.
        command.add_argument("--debug", action="store_true", help=shows)
        if name == chosen:
            importlib.import_module(module).add_arguments(command)
    return parser


def _command(arguments: Sequence[str]) -> str | None:
    """The first word that is not a flag: the flags before it take no value."""
    return next((text for text in arguments if not text.startswith("-")), None)


def _run(arguments: list[str]) -> int:
    args = _parser(_command(arguments)).parse_args(arguments)
    module = importlib.import_module(COMMANDS[args.command].module)
    return int(module.main(args) or 0)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code (0, 2 for an error in the input, 130 after Ctrl-C)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = COMMANDS.get(_command(arguments) or "")
    resume = None if command is None else command.resume
    return run_script(_run, arguments, program="dgl-gmpool", resume=resume)


if __name__ == "__main__":
    raise SystemExit(main())
