"""Records of text and numbers as tensors and plain values, which torch saves without pickled code.

A column of a million texts is two tensors here: its characters end to end, and their lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

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
