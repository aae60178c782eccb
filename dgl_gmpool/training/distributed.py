"""The processes that train one model together, as ``torchrun`` starts them; else one alone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from dgl_gmpool.training.device import choose_device

T = TypeVar("T")

# Process 0 may featurise a large table or write to a slow disk while the others wait. A process
# that ends closes its connections, which the others notice at once, whatever this limit is.
PATIENCE = timedelta(hours=12)
_LOST = re.compile("gloo|nccl|connection|broken pipe|timed? ?out", re.IGNORECASE)


class TrainingError(RuntimeError):
    """Training cannot go on; the message says where it stopped and what to try."""


class ElsewhereError(TrainingError):
    """The cause is in another process, which has its own message."""


@dataclass(frozen=True)
class World:
    """One process among those that train a model together.

    ``World()`` is a process alone: every method does its work without communication. All
    processes must call the methods marked *collective* in the same order.

    Attributes
    ----------
    rank, size : int
        Number of this process, counted from 0, and how many there are.
    local_rank : int
        Its number on its machine, which is also the number of its GPU.
    store : torch.distributed.Store or None
        Where the processes find each other.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    store: Any = field(default=None, compare=False, repr=False)

    @property
    def is_main(self) -> bool:
        """True for the process that writes files and talks to the user."""
        return self.rank == 0

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's contiguous part of ``rows``; the parts differ by one row at most.

        Examples
        --------
        >>> [World(rank, 3).share(torch.arange(5)).tolist() for rank in range(3)]
        [[0, 1], [2, 3], [4]]
        """
        return rows.tensor_split(self.size)[self.rank]

    def weight(self, part: int, whole: int) -> float:
        """Factor on a mean over ``part`` that makes the mean over the processes one over ``whole``.

        The gradients of the processes are averaged, which is right for equal parts only.

        Examples
        --------
        >>> means, counts = [4.0, 1.0], [1, 3]
        >>> sum(mean * World(0, 2).weight(n, 4) for mean, n in zip(means, counts)) / 2
        1.75
        """
        return self.size * part / max(whole, 1)

    def device(self, name: str) -> torch.device:
        """:func:`choose_device`, with a GPU of its own for every process. Collective.

        Raises
        ------
        ValueError
            There are fewer GPUs than processes, or some processes have one and others do not.
        """
        chosen = choose_device(name)
        if self.size == 1:
            return chosen
        if chosen.type == "cuda":
            if chosen.index is not None:
                raise ValueError(
                    f"device {name!r}: each of the {self.size} processes takes the GPU of its own "
                    "number; use --device cuda"
                )
            found = torch.cuda.device_count()
            if self.local_rank >= found:
                raise ValueError(
                    f"process {self.local_rank} of this machine has no GPU of its own ({found} "
                    f"found); use --nproc_per_node={found}, or --device cpu"
                )
            chosen = torch.device("cuda", self.local_rank)
            torch.cuda.set_device(chosen)
        kinds = self.gather(chosen.type)
        if len(set(kinds)) > 1:
            raise ValueError(
                f"device {name!r} is {', '.join(kinds)} on processes 0 to {self.size - 1}; use "
                "--device cpu, or machines that all have GPUs"
            )
        return chosen

    def barrier(self) -> None:
        """Wait for all processes. Collective."""
        if self.size > 1:
            with self.answering():
                dist.barrier()

    def totals(self, *values: float) -> list[float]:
        """Sums over the processes, in float64. Collective."""
        if self.size == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64)
        with self.answering():
            dist.all_reduce(sums)
        return sums.tolist()

    def gather(self, value: T) -> list[T]:
        """The processes' values, in their order. Collective."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        with self.answering():
            dist.all_gather_object(found, value)
        return found

    def join_rows(self, part: np.ndarray) -> np.ndarray:
        """The rows of all processes, in their order. Collective."""
        return part if self.size == 1 else np.concatenate(self.gather(part))

    def on_main(self, call: Callable[[], T]) -> T:
        """Result of ``call()`` in process 0, for all; an error is raised in all. Collective.

        Raises
        ------
        ElsewhereError
            In the other processes, with the message of the error in process 0.
        """
        if self.size == 1:
            return call()
        if not self.is_main:
            done, value = self._from_main(None)
            if not done:
                raise ElsewhereError(f"process 0: {value}")
            return value
        try:
            result = call()
        except Exception as error:
            self._from_main((False, str(error)))
            raise
        self._from_main((True, result))
        return result

    @contextmanager
    def first_here(self, wanted: bool = True) -> Iterator[None]:
        """Run the block in the first process of every machine, then in the others. Collective.

        For what leaves files that the others then find: a download, a cache of features.
        """
        if self.size == 1 or not wanted:
            yield
            return
        if self.local_rank > 0:
            self.barrier()
        yield
        if self.local_rank == 0:
            self.barrier()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Name the cause where another process has gone away in the middle of an exchange."""
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or not _LOST.search(f"{type(error).__name__} {error}"):
                raise
            first = (str(error).splitlines() or [""])[0]
            raise ElsewhereError(
                f"process {self.rank} of {self.size}: another process of this run has ended or "
                f"does not answer ({first}); the report of torchrun names it, and the finished "
                "epochs are kept for --resume"
            ) from error

    def _from_main(self, value: Any) -> Any:
        values = [value]
        with self.answering():
            dist.broadcast_object_list(values, src=0)
        return values[0]


_current = World()


def current_world() -> World:
    """The processes that :func:`join_world` brought together, else this one alone."""
    return _current


def join_world() -> World:
    """Join the other processes of the command, if ``torchrun`` started more than one.

    Called by ``run_script``. Control messages and the sums of the readout's normalisation go over
    gloo, gradients over NCCL if they are on a GPU.

    Raises
    ------
    ValueError
        The variables that tell the process its number and where the others are are incomplete.
    """
    global _current
    rank, size = os.environ.get("RANK"), os.environ.get("WORLD_SIZE", "1")
    if _current.size > 1 or rank is None or size == "1":
        return _current
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing or not rank.isdigit() or not size.isdigit():
        raise ValueError(
            f"the environment says RANK={rank} and WORLD_SIZE={size}"
            + (f" but not {' and '.join(missing)}" if missing else "")
            + "; start several processes with torchrun --nproc_per_node=N, or unset RANK"
        )
    from torch.distributed.rendezvous import rendezvous

    store = next(iter(rendezvous("env://")))[0]
    dist.init_process_group(
        "gloo", store=store, rank=int(rank), world_size=int(size), timeout=PATIENCE
    )
    _current = World(int(rank), int(size), int(os.environ.get("LOCAL_RANK", rank)), store)
    return _current


def leave_world() -> None:
    """Wait for the others and part; this process is then one alone."""
    global _current
    if _current.size > 1:
        _current.barrier()
        dist.destroy_process_group()
        _current = World()


def main_first(wanted: bool = True) -> Any:
    """``with main_first():`` runs its block in one process per machine before the others.

    Parameters
    ----------
    wanted : bool
        False: in all of them at once.
    """
    return current_world().first_here(wanted)
