"""What scikit-learn's users give as SMILES, targets, labels and weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np

from dgl_gmpool.data.molecule import canonical_smiles, is_missing
from dgl_gmpool.data.number import check_weights
from dgl_gmpool.data.smiles_values import is_blank, smiles_of_value


def smiles_of(X: Any) -> list[str]:
    """SMILES of a list, array, series, or table of one column; RDKit's molecules are written.

    Raises
    ------
    TypeError
        It is a single text, or a set or mapping.
    ValueError
        It holds something else than texts, has several columns, or no row.

    Examples
    --------
    >>> smiles_of(np.array([["CCO"], ["C"]]))
    ['CCO', 'C']
    """
    if isinstance(X, (str, bytes)):
        raise TypeError(f"X is the single text {X!r}; give a list of SMILES: [{X!r}]")
    if isinstance(X, (Mapping, Set)):
        raise TypeError(
            f"X is a {type(X).__name__}, whose order says nothing; give SMILES as a list, in the "
            "order of y"
        )
    values = np.asarray(list(X) if _is_plain(X) else X, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"X has the shape {values.shape}; give SMILES as a list, or as a table of one column"
        )
    if len(values) == 0:
        raise ValueError("X has no row; give at least one SMILES")
    found: list[str] = []
    for row, value in enumerate(values):
        text = smiles_of_value(value)
        if text is None:
            raise ValueError(
                f"row {row} of X is {value!r}; expected a SMILES, such as 'CCO', or a molecule of "
                "RDKit"
            )
        found.append(text)
    return found


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
        raise ValueError(f"sample_weight: {error}; expected a number of 0 or more each") from error
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
