"""Files of tensors on disk, graphs above all: found by what they depend on, checked before use."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

from dgl_gmpool._io import atomic_torch_save
from dgl_gmpool.data.flat_graphs import FlatGraphs

T = TypeVar("T")

_LOG = logging.getLogger("dgl_gmpool.data")


class CacheFile:
    """One file for each of the things that its content may depend on.

    Parameters
    ----------
    folder : path
        Made if needed.
    name : str
        First part of the file's name, for people.
    depends_on : str
        All that decides the content.
    """

    #: What it holds, and what is done where it cannot be used.
    what: ClassVar[str] = "numbers"
    again: ClassVar[str] = "calculating them again"

    def __init__(self, folder: str | os.PathLike[str], name: str, depends_on: str) -> None:
        self.key = hashlib.sha256(depends_on.encode()).hexdigest()
        plain = re.sub(r"[^\w.-]", "_", name)
        self.path = Path(folder).expanduser() / f"{plain}-{self.key[:16]}.pt"

    def write(self, content: Mapping[str, Any]) -> None:
        """Tensors and plain values, atomically: a reader sees the whole file or none."""
        atomic_torch_save(self.path, {"key": self.key, **content})

    def read(self, found: Callable[[dict[str, Any]], T]) -> T | None:
        """``found(content)``, or None: no file, or one that cannot be trusted (logged)."""
        if not self.path.exists():
            return None
        try:
            # Mapped into memory: processes of one machine share it.
            content = torch.load(self.path, weights_only=True, map_location="cpu", mmap=True)
            if content["key"] != self.key:
                raise ValueError("it belongs to other molecules, options or versions")
            return found(content)
        except Exception as error:
            # torch.load alone raises six types on a torn file; each means "do it again".
            _LOG.warning(
                "cached %s %s cannot be used (%s: %s); %s",
                self.what,
                self.path,
                type(error).__name__,
                error,
                self.again,
            )
            return None


def versions() -> dict[str, str]:
    """Versions on which features depend."""
    from importlib.metadata import version

    import rdkit

    return {"rdkit": rdkit.__version__, "dgllife": version("dgllife"), "numpy": np.__version__}


#: Of the file, and of the way features are computed: raise it when either changes.
FORMAT = 3


class GraphCache(CacheFile):
    """One file per list of SMILES, featurizer, its options and the versions that matter.

    Parameters
    ----------
    folder, name
        As of :class:`~dgl_gmpool.data.graph_cache.CacheFile`.
    key : dict
        JSON-able; everything the graphs depend on.
    """

    what, again = "graphs", "featurising again"

    def __init__(self, folder: str | os.PathLike[str], name: str, key: dict[str, Any]) -> None:
        super().__init__(folder, name, json.dumps({"format": FORMAT, **key}, sort_keys=True))

    def part(self, number: int) -> GraphCache:
        """Where a part of the graphs is kept until all of them are there."""
        part = copy.copy(self)
        part.key = hashlib.sha256(f"{self.key} part {number}".encode()).hexdigest()
        part.path = self._parts / f"{number}.pt"
        return part

    @property
    def _parts(self) -> Path:
        return self.path.with_suffix(".parts")

    def save(self, graphs: FlatGraphs, failed: Sequence[tuple[int, str]]) -> None:
        """Write graphs, and the places and reasons of molecules without one. Its parts go."""
        refused = [[index, reason] for index, reason in failed]
        checksum = _checksum(graphs, failed)
        self.write({"checksum": checksum, "failed": refused, **graphs.tensors()})
        shutil.rmtree(self._parts, ignore_errors=True)

    def load(self) -> tuple[FlatGraphs, list[tuple[int, str]]] | None:
        """What :meth:`save` wrote, or None."""
        return self.read(_found)


def _found(content: dict[str, Any]) -> tuple[FlatGraphs, list[tuple[int, str]]]:
    names = [name for name in FlatGraphs.__dataclass_fields__ if name != "fragments"]
    graphs = FlatGraphs(**{name: content[name].numpy() for name in names})
    failed = [(int(index), str(reason)) for index, reason in content["failed"]]
    if content["checksum"] != _checksum(graphs, failed):
        raise ValueError("its checksum is wrong")
    return graphs, failed


def _checksum(graphs: FlatGraphs, failed: Sequence[tuple[int, str]]) -> str:
    rest = json.dumps([[index, reason] for index, reason in failed])
    return hashlib.sha256(f"{graphs.checksum()} {rest}".encode()).hexdigest()
