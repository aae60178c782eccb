"""The number of threads of a benchmark, set in every library that has a number of its own."""

from __future__ import annotations

import os
from typing import Any

import torch
from dgl.utils import get_num_threads, set_num_threads
from threadpoolctl import threadpool_info, threadpool_limits


def use_threads(number: int) -> dict[str, Any]:
    """Let torch, DGL, every OpenMP and every BLAS use ``number`` threads; say what they now have.

    torch has the MKL inside it follow. The others are libraries that are loaded by now, so import
    what will be timed first. ``OMP_WAIT_POLICY`` cannot be set here: OpenMP reads it once.

    Parameters
    ----------
    number : int

    Returns
    -------
    dict
        Threads of ``torch``, ``dgl`` and each loaded library by name, and the wait policy.

    Raises
    ------
    ValueError
        ``number`` is below 1.
    RuntimeError
        A library did not take it.
    """
    if number < 1:
        raise ValueError(f"--threads {number}: give a whole number of at least 1")
    torch.set_num_threads(number)
    threadpool_limits(limits=number)
    set_num_threads(number)
    found = {"torch": torch.get_num_threads(), "dgl": get_num_threads()}
    for library in threadpool_info():
        found[os.path.basename(library["filepath"])] = library["num_threads"]
    other = {name: threads for name, threads in found.items() if threads != number}
    if other:
        raise RuntimeError(
            f"{number} threads were asked for, but these use others: {other}; start again with "
            f"OMP_NUM_THREADS={number} and OPENBLAS_NUM_THREADS={number} set"
        )
    return {**found, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set")}
