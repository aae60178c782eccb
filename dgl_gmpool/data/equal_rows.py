"""Rows of equal values: which they are, and work that is done once for them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np


def first_rows(column: Sequence[Hashable]) -> np.ndarray:
    """``(rows,)`` int64: for each row, the first one that has an equal value.

    Examples
    --------
    >>> first_rows(["b", "a", "b", "c", "a"]).tolist()
    [0, 1, 0, 3, 1]
    """
    rows = len(column)
    # Backwards, so that of equal values the first is what stays.
    first = dict(zip(reversed(column), range(rows - 1, -1, -1)))
    return np.fromiter(map(first.__getitem__, column), np.int64, rows)


def first_rows_of_each(columns: Sequence[Sequence[Hashable]]) -> list[np.ndarray]:
    """:func:`first_rows` of every column, of one that is there twice (the groups of a table that
    has none of its own) once."""
    return [first_rows(column) for column in {id(column): column for column in columns}.values()]


Value = TypeVar("Value", bound=Hashable)
Found = TypeVar("Found")


def rows_of(values: Iterable[Value]) -> dict[Value, list[int]]:
    """The rows of each value, in the order in which the values come.

    >>> rows_of("aba")
    {'a': [0, 2], 'b': [1]}
    """
    found: dict[Value, list[int]] = {}
    for row, value in enumerate(values):
        found.setdefault(value, []).append(row)
    return found


def once_each(call: Callable[[Value], Found], values: Sequence[Value]) -> list[Found]:
    """``call(value)`` of each row, called once for equal ones.

    >>> once_each(len, ["CC", "C", "CC"])
    [2, 1, 2]
    """
    known = {value: call(value) for value in dict.fromkeys(values)}
    return [known[value] for value in values]
