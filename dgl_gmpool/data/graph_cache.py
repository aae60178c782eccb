"""Featurised graphs on disk: found by what they depend on, checked before they are used."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dgl_gmpool._io import atomic_torch_save
from dgl_gmpool.data.flat_graphs import FlatGraphs
from dgl_gmpool.data.text_hash import text_hash

#: Of the file, and of the way features are computed: raise it when either changes.
FORMAT = 2

_LOG = logging.getLogger("dgl_gmpool.data")


class GraphCache:
    """One file per list of SMILES, featurizer, its options and the versions that matter.

    Parameters
    ----------
    folder : path
        Made if needed.
    name : str
        First part of the file's name, for people.
    key : dict
        JSON-able; everything the graphs depend on.
    """

    def __init__(self, folder: str | os.PathLike[str], name: str, key: dict[str, Any]) -> None:
        full = {"format": FORMAT, **key}
        plain = re.sub(r"[^\w.-]", "_", name)
        self.key = hashlib.sha256(json.dumps(full, sort_keys=True).encode("utf-8")).hexdigest()
        self.path = Path(folder).expanduser() / f"{plain}-{self.key[:16]}.pt"

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
        """Write atomically: a reader sees the whole file or none. Its parts go."""
        atomic_torch_save(
            self.path,
            {
                "format": FORMAT,
                "key": self.key,
                "checksum": _checksum(graphs, failed),
                "failed": [[index, reason] for index, reason in failed],
                **graphs.tensors(),
            },
        )
        shutil.rmtree(self._parts, ignore_errors=True)

    def load(self) -> tuple[FlatGraphs, list[tuple[int, str]]] | None:
        """What :meth:`save` wrote, or None: no file, or one that cannot be trusted (logged)."""
        if not self.path.exists():
            return None
        try:
            return self._read()
        except Exception as error:
            # torch.load alone raises six types on a torn file; each means "build it again".
            _LOG.warning(
                "cached graphs %s cannot be used (%s: %s); featurising again",
                self.path,
                type(error).__name__,
                error,
            )
            return None

    def _read(self) -> tuple[FlatGraphs, list[tuple[int, str]]]:
        # Mapped into memory: processes of one machine share it.
        content = torch.load(self.path, weights_only=True, map_location="cpu", mmap=True)
        if content["format"] != FORMAT or content["key"] != self.key:
            raise ValueError("it belongs to other molecules, options or versions")
        names = [name for name in FlatGraphs.__dataclass_fields__ if name != "fragments"]
        graphs = FlatGraphs(**{name: content[name].numpy() for name in names})
        failed = [(int(index), str(reason)) for index, reason in content["failed"]]
        if content["checksum"] != _checksum(graphs, failed):
            raise ValueError("its checksum is wrong")
        return graphs, failed


def _checksum(graphs: FlatGraphs, failed: Sequence[tuple[int, str]]) -> str:
    rest = json.dumps([[index, reason] for index, reason in failed])
    return hashlib.sha256(f"{graphs.checksum()} {rest}".encode()).hexdigest()


def smiles_hash(smiles: Sequence[str]) -> str:
    """SHA-256 over a list of SMILES, in order."""
    return text_hash([smiles])


def versions() -> dict[str, str]:
    """Versions on which features depend."""
    from importlib.metadata import version

    import rdkit

    return {"rdkit": rdkit.__version__, "dgllife": version("dgllife"), "numpy": np.__version__}
