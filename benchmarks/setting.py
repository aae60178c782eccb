"""What every stored result says about itself: commit, versions and machine."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool.training.provenance import library_versions, processor, source_commit


def setting(command: str, *packages: str) -> dict[str, Any]:
    """Provenance of a measurement.

    Parameters
    ----------
    command : str
        The command that makes the result again, without local paths.
    *packages : str
        Further packages whose versions matter; those not installed are left out.
    """
    versions = library_versions()
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "command": command,
        "commit": source_commit(),
        "versions": versions,
        "machine": {**machine(), "threads": torch.get_num_threads()},
    }


def command_line() -> str:
    """The command that is running, files by their names alone."""
    script, *options = sys.argv
    words = [word if word.startswith("-") else Path(word).name for word in options]
    return " ".join(["python", f"benchmarks/{Path(script).name}", *words])


def load_average() -> float | None:
    """Processes that wanted a core in the last minute: above the number of cores, times of
    today are not to be trusted. None where the system does not say."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def machine() -> dict[str, Any]:
    """Processor, number of cores and system; no names."""
    return {"cpu": processor(), "cores": os.cpu_count(), "system": platform.system()}


def software() -> dict[str, Any]:
    """Versions and commit in one record."""
    return {**library_versions(), "commit": source_commit()}


def store(record: dict[str, Any], text: str, file: Path) -> None:
    """Write a result as JSON, and its tables beside it as Markdown; says where."""
    tables = file.with_suffix(".md")
    atomic_write_json(file, record)
    atomic_write_text(tables, text)
    print(f"stored in {file.name} and {tables.name}")
