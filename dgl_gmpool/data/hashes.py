"""Hashes of columns of text and of files, without a copy of them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Sequence

_PIECE = 10_000


def text_hash(columns: Sequence[Sequence[str]]) -> str:
    """SHA-256 of ``json.dumps(columns)`` (hexadecimal), in pieces.

    >>> text_hash([["a", "b"], []]) == hashlib.sha256(b'[["a", "b"], []]').hexdigest()
    True
    """
    digest = hashlib.sha256(b"[")
    for number, column in enumerate(columns):
        digest.update(b", [" if number else b"[")
        for start in range(0, len(column), _PIECE):
            text = json.dumps(column[start : start + _PIECE])[1:-1]
            digest.update(f"{', ' if start else ''}{text}".encode())
        digest.update(b"]")
    digest.update(b"]")
    return digest.hexdigest()


def file_hash(paths: Iterable[str | os.PathLike[str]]) -> str:
    """SHA-256 of the content of files, one behind the other (hexadecimal)."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()
