"""What scikit-learn's users give as SMILES, targets, labels and weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dgl_gmpool.data.molecule import canonical_smiles, is_missing
from dgl_gmpool.data.number import check_weights


def smiles_of(X: Any) -> list[str]:
    """The texts of a list, array, series, or table of one column.

    Raises
    ------
    TypeError
        It is a single text.
    ValueError
        It holds something else than texts, has several columns, or no row.

    Examples
    --------
    >>> smiles_of(np.array([["CCO"], ["C"]]))
    ['CCO', 'C']
    """
    if isinstance(X, (str, bytes)):
        raise TypeError(f"X is the single text {X!r}; give a list of SMILES: [{X!r}]")
    values = np.asarray(list(X) if _is_plain(X) else X, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"X has the shape {values.shape}; give SMILES as a list, or as a table of one column"
        )
    if len(values) == 0:
        raise ValueError("X has no row; give at least one SMILES")
    for row, value in enumerate(values):
        if not isinstance(value, str) and not is_blank(value):
            raise ValueError(f"row {row} of X is {value!r}; expected a SMILES, such as 'CCO'")
    # A missing value of a data frame (NaN, None) is a blank row.
    return [value if isinstance(value, str) else "" for value in values]


def is_blank(value: Any) -> bool:
    """None, NaN, or pandas' NA, which cannot be compared."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def _is_plain(values: Any) -> bool:
    return isinstance(values, Iterable) and not hasattr(values, "__array__")


def read_molecules(smiles: Sequence[str]) -> tuple[list[str], dict[int, str]]:
    """Canonical SMILES, and row -> what is wrong with it."""
    canonical, wrong = [], {}
    for row, text in enumerate(smiles):
        found, why = ("", "blank SMILES") if is_missing(text) else canonical_smiles(text)
        canonical.append(found)
        if why:
            wrong[row] = f"{text!r}: {why}"
    return canonical, wrong


def first_wrong(wrong: Mapping[int, str]) -> str:
    row, why = next(iter(wrong.items()))
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"row {row} is no molecule{more}: {why}"


def labels_of(y: Any) -> np.ndarray:
    """Labels ``(rows,)``."""
    from sklearn.utils import column_or_1d

    labels: np.ndarray = column_or_1d(y, warn=True)
    missing = [row for row, value in enumerate(labels) if is_blank(value)]
    if missing:
        raise ValueError(f"y is missing in row {missing[0]}; leave out rows without a label")
    return labels


def weights_of(values: Any, rows: int) -> np.ndarray:
    """Weights ``(rows,)`` float64."""
    try:
        weights = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"sample_weight is {values!r}: expected a number of 0 or more for each row"
        ) from error
    if weights.ndim == 0:
        weights = np.full(rows, float(weights))
    check_weights(weights, rows)
    if not weights.any():
        raise ValueError("every sample weight is zero: give the rows to learn from one above 0")
    return weights


def numbers_of(y: Any) -> np.ndarray:
    """Targets ``(rows,)`` or ``(rows, targets)`` float64."""
    if y is None:
        raise ValueError(
            "a regressor requires y to be passed, but the target y is None; give a number for each "
            "row"
        )
    values = np.asarray(y)
    if values.ndim not in (1, 2) or (values.dtype.kind not in "fiub" and values.dtype != object):
        raise ValueError(f"y is {values.dtype} of shape {values.shape}; expected numbers, a column")
    values = values.astype(np.float64)
    if np.isinf(values).any() or (values.ndim == 1 and np.isnan(values).any()):
        raise ValueError("y contains NaN or infinity; leave out rows without a measured value")
    return values
