"""A table as its loader made it, on disk: a million SMILES are read in minutes, this in seconds."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dgl_gmpool.data
from dgl_gmpool.data.features import AuxiliaryTargets, Features
from dgl_gmpool.data.graph_cache import CacheFile, versions
from dgl_gmpool.data.hashes import file_hash
from dgl_gmpool.data.report import SelectionReport
from dgl_gmpool.data.table import MoleculeTable

FORMAT = 2
#: The dataclasses that a table is made of.
_RECORDS = {
    each.__name__: each for each in (MoleculeTable, SelectionReport, AuxiliaryTargets, Features)
}
_LOG = logging.getLogger("dgl_gmpool.data")


def to_plain(value: Any) -> dict[str, Any]:
    """A text (JSON) and the arrays that it names by their numbers, for
    ``torch.load(weights_only=True)``.

    Raises
    ------
    TypeError
        ``value`` holds something else than a table does.
    """
    arrays: list[torch.Tensor] = []

    def plain(value: Any) -> dict[str, Any]:
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            arrays.append(torch.from_numpy(np.ascontiguousarray(value)))
            return {"array": len(arrays) - 1}
        if type(value) in _RECORDS.values():
            held = {each.name: getattr(value, each.name) for each in fields(value)}
            return {"record": type(value).__name__, **held}
        raise TypeError(f"a {type(value).__name__} is no plain value")

    return {"text": json.dumps(value, default=plain), "arrays": arrays}


def from_plain(content: Mapping[str, Any]) -> Any:
    """What :func:`to_plain` was given. Columns that are equal, such as the groups of a table that
    has none of its own, are one object afterwards."""
    known: dict[Any, Any] = {}

    def tuples(value: Any) -> Any:
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    def made(held: dict[str, Any]) -> Any:
        if "array" in held:
            return content["arrays"][held["array"]].numpy()
        record = _RECORDS[held.pop("record")]
        columns = {name: tuples(value) for name, value in held.items()}
        for name, value in columns.items():
            if isinstance(value, tuple):
                columns[name] = known.setdefault(value, value)
        return record(**columns)

    return tuples(json.loads(content["text"], object_hook=made))


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
    key = {
        "format": FORMAT,
        "options": dict(options),
        "files": {path: file_hash([path]) for path in sorted(_paths(options))},
        "code": _code_hash(),
        "versions": versions(),
    }
    cache = _TableCache(folder, "table", json.dumps(key, sort_keys=True, default=str))
    table = cache.read(_found)
    if table is None:
        table = load()
        try:
            cache.write({"table": to_plain(table), "fingerprint": table.fingerprint()})
        except TypeError as error:  # a loader of someone's own, with fields of its own
            _LOG.warning("the table is not cached (%s)", error)
    return table


class _TableCache(CacheFile):
    what, again = "table", "reading the table again"


def _found(content: dict[str, Any]) -> MoleculeTable:
    table = from_plain(content["table"])
    if isinstance(table, MoleculeTable) and table.fingerprint() == content["fingerprint"]:
        return table
    raise ValueError("it holds another table")


def _paths(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return {path for each in value for path in _paths(each)}
    if isinstance(value, (str, os.PathLike)) and os.path.isfile(value):
        return {os.fspath(value)}
    return set()


@cache
def _code_hash() -> str:
    """Of the modules that read tables: a changed loader must not meet an old table."""
    return file_hash(sorted(Path(dgl_gmpool.data.__file__).parent.glob("*.py")))
