"""Where training runs: the processor and how many of its cores."""

from __future__ import annotations

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
            "use --device cpu or install a CUDA build of torch"
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
