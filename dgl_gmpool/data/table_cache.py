"""A table as its loader made it, on disk: a million SMILES are read in minutes, this in seconds."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

import dgl_gmpool.data
from dgl_gmpool._io import atomic_torch_save
from dgl_gmpool.data.auxiliary import AuxiliaryTargets
from dgl_gmpool.data.features import Features
from dgl_gmpool.data.graph_cache import versions
from dgl_gmpool.data.plain_tensors import from_plain, to_plain
from dgl_gmpool.data.report import SelectionReport
from dgl_gmpool.data.table import MoleculeTable

FORMAT = 1
_RECORDS = {
    each.__name__: each for each in (MoleculeTable, SelectionReport, AuxiliaryTargets, Features)
}
_LOG = logging.getLogger("dgl_gmpool.data")


def cached_table(
    load: Callable[[], MoleculeTable],
    folder: str | os.PathLike[str],
    options: Mapping[str, Any],
) -> MoleculeTable:
    """``load()``, or what it gave before for the same options, files and code.

    Parameters
    ----------
    load : callable
        Must depend on nothing but ``options`` and the files that these name.
    folder : path
        Made if needed.
    options : mapping of str to JSON-able values
        A text that is the path of a file stands for the content of that file.

    Raises
    ------
    ValueError
        By ``load``.
    """
    file = _file(folder, options)
    try:
        if file.exists():
            found = torch.load(file, weights_only=True, map_location="cpu", mmap=True)
            table = from_plain(found["table"], _RECORDS)
            if isinstance(table, MoleculeTable) and table.fingerprint() == found["fingerprint"]:
                return table
            raise ValueError("it holds another table")
    except Exception as error:
        # torch.load alone raises six types on a torn file; each means "read the table again".
        _LOG.warning(
            "cached table %s cannot be used (%s: %s); reading the table again",
            file,
            type(error).__name__,
            error,
        )
    table = load()
    try:
        atomic_torch_save(file, {"table": to_plain(table), "fingerprint": table.fingerprint()})
    except TypeError as error:  # a loader of someone's own, with fields of its own
        _LOG.warning("the table is not cached (%s)", error)
    return table


def _file(folder: str | os.PathLike[str], options: Mapping[str, Any]) -> Path:
    key = {
        "format": FORMAT,
        "options": dict(options),
        "files": {path: _content_hash(path) for path in sorted(_paths(options))},
        "code": _code_hash(),
        "versions": versions(),
    }
    text = json.dumps(key, sort_keys=True, default=str)
    return Path(folder).expanduser() / f"table-{hashlib.sha256(text.encode()).hexdigest()[:16]}.pt"


def _paths(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return {path for each in value for path in _paths(each)}
    if isinstance(value, (str, os.PathLike)) and os.path.isfile(value):
        return {os.fspath(value)}
    return set()


def _content_hash(path: str | os.PathLike[str]) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


@cache
def _code_hash() -> str:
    """Of the modules that read tables: a changed loader must not meet an old table."""
    folder = Path(dgl_gmpool.data.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
