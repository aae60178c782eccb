"""Features that join the readout, in units that a network learns from and survives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dgl_gmpool.training.standardizer import Standardizer

#: Standard deviations from the training mean at which a feature is clipped.
LIMIT = 5.0


@dataclass(frozen=True)
class FeatureScaler(Standardizer):
    """Column-wise ``(x - mean) / std`` of the training rows, for numbers that were not chosen.

    What is not known (NaN) is the training mean, 0. What lies further from it than ``limit``
    standard deviations is clipped: a fragment that one training molecule had, or a molecule ten
    times the size, must not outweigh all else. A column that does not vary in the training rows
    (``std`` infinite) is 0 for every molecule: no weight was learnt for it.

    Attributes
    ----------
    limit : float
    """

    limit: float = LIMIT

    @classmethod
    def fit(cls, values: np.ndarray, weight: np.ndarray | None = None) -> FeatureScaler:
        """Constants of ``values`` ``(rows, columns)``, with weights of rows; NaN cells are left
        out.

        Examples
        --------
        >>> nan = float("nan")
        >>> scaler = FeatureScaler.fit(np.array([[1.0, 7.0, nan], [3.0, 7.0, nan]]))
        >>> scaler.transform(np.array([[1.0, 9.0, 4.0], [nan, 7.0, 0.0], [1e9, 7.0, nan]])).tolist()
        [[-1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [5.0, 0.0, 0.0]]
        """
        values = np.asarray(values, dtype=np.float64)
        # Nothing known is as good as a column that does not vary.
        values = np.where(np.isnan(values).all(axis=0), 0.0, values)
        found = Standardizer.fit(values, weight)
        varies = np.nanmax(values, axis=0) > np.nanmin(values, axis=0)
        return cls(found.mean, np.where(varies, found.std, np.inf))

    def transform(self, values: np.ndarray) -> np.ndarray:
        """``(rows, columns)`` float32, finite, between ``-limit`` and ``limit``."""
        scaled = (np.asarray(values, np.float64) - self.mean) / self.std
        clipped: np.ndarray = np.nan_to_num(np.clip(scaled, -self.limit, self.limit), nan=0.0)
        return clipped.astype(np.float32)
