"""Weights of rows: what a cell may hold, and what a column of them must."""

from __future__ import annotations

import math

import numpy as np


def read_weight(text: str, *, where: str) -> float:
    """The weight in a cell.

    Raises
    ------
    ValueError
        It is no number of 0 or more; ``where`` names file, row and column.

    Examples
    --------
    >>> read_weight(" 0.5", where="row 2")
    0.5
    """
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise ValueError(
            f"{where} is {text.strip()!r}: expected a number of 0 or more (0 leaves the row out of "
            "the training); correct the cell or take another --weight-column"
        )
    return weight


def check_weights(weights: np.ndarray, rows: int) -> None:
    """Raise a ValueError unless there is a finite weight of 0 or more for each row."""
    if weights.shape != (rows,):
        raise ValueError(f"weights have the shape {weights.shape}, expected ({rows},)")
    odd = np.flatnonzero(~((weights >= 0) & np.isfinite(weights)))
    if len(odd):
        raise ValueError(
            f"the weight of row {odd[0]} is {weights[odd[0]]}; expected finite values of 0 or more"
        )
