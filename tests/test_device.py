"""What training asks of the processor."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from dgl_gmpool.training.device import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_what_a_step_frees_is_there_for_the_next():
    def faults() -> int:
        """Pages that the system had to give while 64 MiB were made and freed."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(1 << 24)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    # Until the heap is large enough, each is in another place.
    assert sum([faults() for _ in range(40)][-5:]) < 100


def test_nothing_happens_without_such_a_library(monkeypatch):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", None)
    keep_freed_memory()
