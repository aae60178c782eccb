"""A command with all the processes it starts: how long, how much memory, and killed on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import psutil

#: Seconds between two looks at the memory: one takes some 50 ms where a process has a gigabyte.
EVERY = 5.0


def watched(command: Sequence[str], kill_when: Callable[[], bool] | None = None) -> dict[str, Any]:
    """Run a command to its end, or until ``kill_when()``: then kill it and what it has started.

    Returns
    -------
    dict
        ``seconds``, and ``together_gb``: the largest sum of the shares (Pss) of all its processes
        seen, memory that they share counted once.

    Raises
    ------
    RuntimeError
        It ended by itself with an error, or before it was to be killed.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=sys.stderr, env=environment, start_new_session=True)
    peak, killed = 0.0, False
    while process.poll() is None:
        peak = max(peak, together_gb(process.pid))
        if kill_when is not None and kill_when():
            os.killpg(process.pid, signal.SIGKILL)
            killed = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(EVERY)
    if killed != (kill_when is not None) or (process.returncode and not killed):
        raise RuntimeError(f"{command} ended by itself, with exit code {process.returncode}")
    return {"seconds": time.perf_counter() - started, "together_gb": peak}


def together_gb(pid: int) -> float:
    """Memory of a process and those below it, what they share counted once."""
    total = 0
    with contextlib.suppress(psutil.Error):
        above = psutil.Process(pid)
        for process in (above, *above.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_full_info().pss
    return total / 1e9
