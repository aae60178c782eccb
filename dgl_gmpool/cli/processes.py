"""One command in several processes: process 0 talks to the user, and one of them tells an error."""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from datetime import timedelta

from dgl_gmpool.training.distributed import ElsewhereError, World, leave_world

_FAILED, _SAID = "dgl_gmpool/failed", "dgl_gmpool/said"
_A_MOMENT = timedelta(seconds=10)

Explain = Callable[[BaseException], tuple[int, str] | None]


def speak_as_one(call: Callable[[], int | None], world: World, explain: Explain) -> int:
    """Exit code of ``call()``; what is printed and what went wrong is shown once.

    Where all processes meet the same error, one message is enough. Where one fails, the others
    lose its connection, and ``torchrun`` ends them: neither must hide or bury the cause. So the
    first to fail prints its message before it ends, and the others wait for that, silent.

    Parameters
    ----------
    call : callable
        The command; returns an exit code or None.
    world : World
        More than one process.
    explain : callable
        Exit code and message for an error, or None where the traceback is needed.
    """
    heard = io.StringIO()
    try:
        if world.is_main:
            # torchrun ends the others of a failed process at once: nothing must wait in a buffer.
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(line_buffering=True)
            code = call() or 0
        else:
            with redirect_stdout(io.StringIO()), redirect_stderr(heard):
                code = call() or 0
        if code == 0:
            leave_world()
            return 0
        said, cause = heard.getvalue(), True
    except SystemExit as end:  # argparse: it has printed all it has to say, in every process
        if end.code in (0, None):
            leave_world()
            return 0
        code = end.code if isinstance(end.code, int) else 1
        said = heard.getvalue() if isinstance(end.code, int) else f"{heard.getvalue()}{end.code}\n"
        cause = world.is_main
    except BaseException as error:
        explained = explain(error)
        code, message = (1, traceback.format_exc()) if explained is None else explained
        said, cause = message.rstrip("\n") + "\n", not isinstance(error, ElsewhereError)
    _say_once(said, world, cause=cause)
    return code


def _say_once(text: str, world: World, *, cause: bool) -> None:
    """Print ``text`` unless another process has told, or is about to tell, what happened."""
    store = world.store
    try:
        told = not cause and _told(world)
        if told or store.add(_FAILED, 1) > 1:
            _told(world)
            return
    except RuntimeError:  # the store has gone with its process: say it twice rather than never
        pass
    sys.stderr.write(text)
    sys.stderr.flush()
    with suppress(RuntimeError):
        store.set(_SAID, "1")


def _told(world: World) -> bool:
    """Wait a moment for the message of the process that met the cause."""
    try:
        world.store.wait([_SAID], _A_MOMENT)
    except RuntimeError:
        return False
    return True
