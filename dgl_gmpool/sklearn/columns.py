"""What scikit-learn's users give as SMILES, targets, labels and weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dgl_gmpool.data.molecule import canonical_smiles
from dgl_gmpool.data.number import check_weights
from dgl_gmpool.data.smiles_values import is_blank, one_column, smiles_of_value


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
    values = one_column("X", X)
    if not values:
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


def read_molecules(smiles: Sequence[str]) -> tuple[list[str], dict[int, str]]:
    """Canonical SMILES, and row -> what is wrong with it."""
    canonical, wrong = [], {}
    for row, text in enumerate(smiles):
        found, why = canonical_smiles(text)
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
    # NumPy makes texts of what stands among texts, of NaN too.
    given = y if isinstance(y, (list, tuple)) else labels
    texts = labels.dtype.kind in "US"
    missing = [
        row for row, value in enumerate(given) if is_blank(value) or (texts and value == "nan")
    ]
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
    if values.dtype == object:
        values = np.where(np.vectorize(is_blank, otypes=[bool])(values), np.nan, values)
    values = values.astype(np.float64)
    if np.isinf(values).any() or (values.ndim == 1 and np.isnan(values).any()):
        raise ValueError("y contains NaN or infinity; leave out rows without a measured value")
    return values
