"""How a command ends: with one line for a user's error, and with a way to go on after Ctrl-C."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Optional

import dgl_gmpool
from dgl_gmpool.training.errors import TrainingError


def run_script(
    main: Callable[[list[str]], Optional[int]],
    argv: Optional[Sequence[str]] = None,
    *,
    program: Optional[str] = None,
    resume: Optional[str] = "--resume",
) -> int:
    """Call ``main(arguments)`` and turn what it raises into an exit code.

    Parameters
    ----------
    main : callable
        Takes the list of arguments; returns an exit code or None.
    argv : sequence of str, optional
        Default: those of the process.
    program : str, optional
        How the user started it, for the message after Ctrl-C.
    resume : str or None
        The flag that continues what Ctrl-C stopped; ``""`` if the same command does, None if
        nothing is kept.

    Returns
    -------
    int
        0; 2 after an error in what the user gave, shown as one line (``--debug`` among the
        arguments shows the traceback instead); 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if program is None:
        program = f"python {sys.argv[0]}" if sys.argv[0].endswith(".py") else Path(sys.argv[0]).name
    try:
        return main(arguments) or 0
    except KeyboardInterrupt:
        print(f"\nStopped. {_how_to_continue(program, arguments, resume)}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError, TrainingError) as error:
        if "--debug" in arguments or not _is_ours(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2


def _how_to_continue(program: str, arguments: list[str], resume: Optional[str]) -> str:
    if resume is None:
        return ""
    more = [resume] if resume and resume not in arguments else []
    command = f"{program} {shlex.join([*arguments, *more])}"
    return f"Finished epochs are kept; continue with: {command}"


def _is_ours(error: BaseException) -> bool:
    """True for a message written for the user: raised by this package's own code.

    An error from inside another library, or from a script that this package runs, needs its
    traceback. The standard library's frames do not count: a missing file is an error of the one
    who opened it.
    """
    if isinstance(error, TrainingError):
        return True
    package = Path(dgl_gmpool.__file__).resolve().parent
    standard = Path(os.__file__).resolve().parent
    trace: Optional[TracebackType] = error.__traceback__
    ours = False
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
        from_library = str(file).startswith("<") or (
            standard in file.parents and "site-packages" not in file.parts
        )
        if not from_library:
            ours = package in file.resolve().parents
    return ours
