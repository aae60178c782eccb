"""How a command ends: with one line for a user's error, and with a way to go on after Ctrl-C."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import dgl_gmpool
from dgl_gmpool._io import NO_SPACE
from dgl_gmpool._options import as_typed

# Nothing here may import torch before run_script is inside its try: Ctrl-C in the seconds that
# takes is to be answered as well.
if TYPE_CHECKING:
    from dgl_gmpool.training.distributed import World

_MAY_BE_THE_USERS = (ValueError, TypeError, OSError, ImportError)
#: Of a process that ends because nobody reads its output, as a shell reports it.
_NOBODY_READS = 128 + 13


def run_script(
    main: Callable[[list[str]], int | None],
    argv: Sequence[str] | None = None,
    *,
    program: str | None = None,
    resume: str | None = "--resume",
) -> int:
    """Call ``main(arguments)`` and turn what it raises into an exit code.

    Started by ``torchrun``, the processes join first; process 0 alone prints, and an error in any
    of them is shown once and ends them all.

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
        arguments shows the traceback instead); 130 after Ctrl-C; 141, without a word, where the
        reader of the output has gone (``| head -1``).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    started = program = _program() if program is None else program

    def explain(error: BaseException) -> tuple[int, str] | None:
        if isinstance(error, KeyboardInterrupt):
            return 130, f"\nStopped. {_how_to_continue(started, arguments, resume)}"
        if "--debug" in arguments or not _is_the_users(error):
            return None
        said = f"error: {error}"
        if isinstance(error, OSError) and error.errno in NO_SPACE and resume is not None:
            said += f". {_how_to_continue(started, arguments, resume)}"
        return 2, said

    _make_printable()
    try:
        try:
            if "RANK" not in os.environ:  # one process: torch is imported only when it is used
                return main(arguments) or 0
            from dgl_gmpool.cli.processes import speak_as_one
            from dgl_gmpool.training.distributed import join_world

            world = join_world()
            if world.size == 1:
                return main(arguments) or 0
            started = _launched(program, world)
            return speak_as_one(lambda: main(arguments), world, explain)
        finally:
            if sys.stdout is not None:  # closed, as by >&-
                sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return _NOBODY_READS
    except BaseException as error:
        explained = explain(error)
        if explained is None:
            raise
        print(explained[1], file=sys.stderr)
        return explained[0]


def _program() -> str:
    """How the user started this process: a script, ``python -m MODULE``, or a command."""
    first = sys.argv[0]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and spec.origin == first:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return as_typed("python", first) if first.endswith(".py") else as_typed(Path(first).name)


def _make_printable() -> None:
    """Replace characters that the terminal lacks (Greek letters on latin-1) instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _silence_stdout() -> None:
    """Python writes what is left in the buffer when it ends, which would fail once more."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _launched(program: str, world: World) -> str:
    """How several processes of ``program`` were started, as far as one of them can tell."""
    name = program[len("python ") :] if program.startswith("python ") else f"--no-python {program}"
    here = os.environ.get("LOCAL_WORLD_SIZE", str(world.size))
    return f"torchrun {'' if here == str(world.size) else '... '}--nproc_per_node={here} {name}"


def _how_to_continue(program: str, arguments: list[str], resume: str | None) -> str:
    if resume is None:
        return ""
    more = [resume] if resume and resume not in arguments else []
    command = f"{program} {as_typed(*arguments, *more)}"
    return f"What is finished is kept; continue with: {command}"


def _is_the_users(error: BaseException) -> bool:
    """True for a message written for the user: raised by this package's own code.

    An error from inside another library, or from a script that this package runs, needs its
    traceback. The standard library's frames do not count: a missing file is an error of the one
    who opened it.
    """
    if isinstance(error, RuntimeError):
        from dgl_gmpool.training.distributed import TrainingError

        return isinstance(error, TrainingError)
    if not isinstance(error, _MAY_BE_THE_USERS):
        return False
    package = Path(dgl_gmpool.__file__).resolve().parent
    standard = Path(os.__file__).resolve().parent
    trace: TracebackType | None = error.__traceback__
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
