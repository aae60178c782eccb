"""Each different row of features once: a molecule's atoms are of a few hundred kinds."""

from __future__ import annotations

import numpy as np


class DistinctRows:
    """Feature rows met so far, in the order in which they came.

    Rows are told apart by their bytes, so a row that is looked up is equal to the bit, NaN and
    -0 included.

    Parameters
    ----------
    width : int
        Of a row.

    Examples
    --------
    >>> rows = DistinctRows(2)
    >>> rows.add(np.array([[0, 1], [1, 0], [0, 1]], np.float32)).tolist()
    [0, 1, 0]
    >>> rows.table()
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._number: dict[bytes, int] = {}

    def add(self, rows: np.ndarray) -> np.ndarray:
        """The numbers of ``rows`` ``(n, width)`` float32: int64 ``(n,)``, new ones at the end."""
        rows = np.ascontiguousarray(rows, np.float32)
        number = self._number
        found = (number.setdefault(row.tobytes(), len(number)) for row in rows)
        return np.fromiter(found, np.int64, len(rows))

    def table(self) -> np.ndarray:
        """All rows by their numbers, ``(rows, width)`` float32."""
        found: np.ndarray = np.frombuffer(b"".join(self._number), np.float32).copy()
        return found.reshape(len(self._number), self.width)


def smallest(values: np.ndarray) -> np.ndarray:
    """Whole numbers of 0 or more in the smallest dtype that holds them and that torch knows.

    >>> smallest(np.array([0, 255])).dtype, smallest(np.array([256])).dtype
    (dtype('uint8'), dtype('int16'))
    """
    most = int(values.max()) if values.size else 0
    dtypes = (np.uint8, np.int16, np.int32, np.int64)
    dtype = next(each for each in dtypes if most <= np.iinfo(each).max)
    return np.asarray(values, dtype)
