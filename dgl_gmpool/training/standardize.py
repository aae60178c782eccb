"""Zero mean and unit spread, with the constants taken from the training rows only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Standardizer:
    """Column-wise ``(x - mean) / std``.

    Attributes
    ----------
    mean, std : numpy.ndarray
        ``(columns,)`` float64. A column that does not vary has ``std`` 1.
    """

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray) -> Standardizer:
        """Constants of ``values`` ``(rows, columns)``; NaN cells are left out.

        Raises
        ------
        ValueError
            A column has no finite cell at all.

        Examples
        --------
        >>> scaler = Standardizer.fit(np.array([[1.0], [3.0], [np.nan]]))
        >>> scaler.transform(np.array([[2.0], [3.0], [np.nan]])).ravel().tolist()
        [0.0, 1.0, nan]
        """
        values = np.asarray(values, dtype=np.float64)
        empty = np.flatnonzero(np.isnan(values).all(axis=0))
        if len(empty):
            raise ValueError(
                f"column {int(empty[0])} has no value in the {len(values)} rows to standardise on; "
                "leave the column out or use fewer folds"
            )
        mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        # Rounding leaves a constant column a spread of about 1e-16: compare with its size.
        flat = std <= 1e-12 * np.maximum(np.abs(mean), 1.0)
        return cls(mean, np.where(flat, 1.0, std))

    @classmethod
    def identity(cls, columns: int) -> Standardizer:
        """Constants that change nothing (classification targets)."""
        return cls(np.zeros(columns), np.ones(columns))

    def transform(self, values: np.ndarray) -> np.ndarray:
        """``(rows, columns)`` in units of the training spread, float32."""
        return ((np.asarray(values, np.float64) - self.mean) / self.std).astype(np.float32)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """Back in the original units, float64."""
        return np.asarray(values, np.float64) * self.std + self.mean
