"""Where training runs: the processor and how many of its cores."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def choose_device(name: str) -> torch.device:
    """``auto`` takes CUDA where torch can use it, else the CPU.

    Raises
    ------
    ValueError
        Another name, or CUDA was asked for and torch cannot use it.

    Examples
    --------
    >>> choose_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: expected auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"device {name!r}: torch {torch.__version__} sees no CUDA device here; "
            "use --device cpu (device='cpu') or install a CUDA build of torch"
        )
    return device


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch (and DGL, which shares its OpenMP) use ``number`` threads inside the block.

    Measured: on two cores busy with other work, two spinning threads made a training step 6 times
    slower than one thread.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


#: Parameters of glibc's ``mallopt`` and what they become, in bytes: how much may be free at the end
#: of the heap, and from what size memory is asked of the system by itself.
_KEPT = {-1: 2**31 - 1, -3: 2**27}


def keep_freed_memory() -> None:
    """Let Linux's C library keep what a training step frees for the next one, from now on.

    By itself it hands memory back to the system after every step, which has to clear it anew for
    the next: a step of the default takes as long, one with two levels 1.4 times
    (``benchmarks/training_step.py --no-kept-memory``). In return it needs a tenth more memory.
    Does nothing where there is no such library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in _KEPT.items():
            mallopt(parameter, value)
