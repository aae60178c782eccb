"""A table as its loader made it, on disk: a million SMILES are read in minutes, this in seconds."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
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

_PLAIN = (type(None), bool, int, float, str)


def to_plain(value: Any) -> Any:
    """``value`` as dicts, lists, tensors and plain values, for ``torch.load(weights_only=True)``.

    Takes tuples, arrays of numbers, dataclasses, and what is plain already.

    Raises
    ------
    TypeError
        It holds something else.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"array": torch.from_numpy(np.ascontiguousarray(value))}
    if _is_texts(value):
        lengths = np.fromiter(map(len, value), np.int64, len(value))
        characters = np.frombuffer("".join(value).encode("utf-8", "surrogatepass"), np.uint8)
        return {"texts": torch.from_numpy(characters.copy()), "lengths": torch.from_numpy(lengths)}
    if isinstance(value, tuple):
        widths = {len(each) if isinstance(each, tuple) else 0 for each in value}
        if len(widths) == 1 and widths != {0}:
            return {"rows": [to_plain(column) for column in zip(*value)]}
        return {"tuple": [to_plain(each) for each in value]}
    if is_dataclass(value) and not isinstance(value, type):
        held = {f.name: getattr(value, f.name) for f in fields(value)}
        return {"record": type(value).__name__, "fields": _fields_to_plain(held)}
    raise TypeError(f"a {type(value).__name__} is no plain value")


def from_plain(value: Any, records: Mapping[str, type]) -> Any:
    """What :func:`to_plain` was given; ``records`` are the dataclasses it may hold, by name."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return value["array"].numpy()
    if "texts" in value:
        text = value["texts"].numpy().tobytes().decode("utf-8", "surrogatepass")
        ends = np.cumsum(value["lengths"].numpy()).tolist()
        return tuple(text[start:end] for start, end in zip([0, *ends], ends))
    if "rows" in value:
        return tuple(zip(*(from_plain(column, records) for column in value["rows"])))
    if "tuple" in value:
        return tuple(from_plain(each, records) for each in value["tuple"])
    held: dict[str, Any] = {}
    for name, each in value["fields"].items():
        again = isinstance(each, dict) and "same" in each
        held[name] = held[each["same"]] if again else from_plain(each, records)
    return records[value["record"]](**held)


def _is_texts(value: Any) -> bool:
    return isinstance(value, tuple) and value != () and all(type(each) is str for each in value)


def _fields_to_plain(held: Mapping[str, Any]) -> dict[str, Any]:
    """Texts that repeat an earlier field's, such as the groups of a table that has none of its own,
    are kept once, and are one object afterwards."""
    found: dict[str, Any] = {}
    texts: dict[str, tuple[str, ...]] = {}
    for name, value in held.items():
        if _is_texts(value):
            before = next((other for other, known in texts.items() if known == value), None)
            if before is not None:
                found[name] = {"same": before}
                continue
            texts[name] = value
        found[name] = to_plain(value)
    return found


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
    table = from_plain(content["table"], _RECORDS)
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
