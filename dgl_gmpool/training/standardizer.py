"""Columns brought to mean 0 and spread 1, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: A spread that is rounding, of values around 1.
_FLAT = 1e-12


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
    def fit(cls, values: np.ndarray, weight: np.ndarray | None = None) -> Standardizer:
        """Constants of ``values`` ``(rows, columns)``; NaN cells are left out.

        Parameters
        ----------
        values : numpy.ndarray
        weight : numpy.ndarray, optional
            ``(rows,)``: a row of weight 2 counts as two rows, one of weight 0 as none.

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
        if weight is not None:
            values = values[weight > 0]
        empty = np.flatnonzero(np.isnan(values).all(axis=0))
        if len(empty):
            raise ValueError(
                f"column {int(empty[0])} has no value in the {len(values)} rows to standardise on; "
                "leave the column out or use fewer folds"
            )
        if weight is None:
            mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
        else:
            shares = np.where(np.isnan(values), 0.0, weight[weight > 0][:, None])
            shares /= shares.sum(axis=0)
            mean = (np.nan_to_num(values) * shares).sum(axis=0)
            std = np.sqrt((np.nan_to_num(values - mean) ** 2 * shares).sum(axis=0))
        # Rounding leaves a constant column a spread of about 1e-16: compare with its size.
        flat = std <= _FLAT * np.abs(mean)
        return cls(mean, np.where(flat, 1.0, std))

    @classmethod
    def identity(cls, columns: int) -> Standardizer:
        """Constants that change nothing (classification targets)."""
        return cls(np.zeros(columns), np.ones(columns))

    def take(self, columns: Sequence[int]) -> Standardizer:
        """The constants of some of the columns."""
        chosen = list(columns)
        return Standardizer(self.mean[chosen], self.std[chosen])

    def transform(self, values: np.ndarray) -> np.ndarray:
        """``(rows, columns)`` in units of the training spread: calculated in float64, so that
        small differences of large values survive, and then float32."""
        scaled: np.ndarray = (np.asarray(values, np.float64) - self.mean) / self.std
        return scaled.astype(np.float32)

    def inverse(self, values: np.ndarray) -> np.ndarray:
        """Back in the original units, float64."""
        return np.asarray(values, np.float64) * self.std + self.mean


#: Standard deviations from the training mean at which a feature is clipped.
LIMIT = 5.0


@dataclass(frozen=True)
class FeatureScaler(Standardizer):
    """Column-wise ``(x - mean) / std`` of the training rows, for numbers that were not chosen.

    What is not known (NaN) is the training mean, 0. What lies further from it than ``limit``
    standard deviations is clipped: a fragment that one training molecule had, or a molecule ten
    times the size, must not outweigh all else. A column that does not vary in the training rows
    (``std`` infinite), or that is known in none of them (``mean`` NaN too), is 0 for every
    molecule: no weight was learnt for it.

    Attributes
    ----------
    limit : float
    """

    limit: float = LIMIT

    @classmethod
    def fit(
        cls,
        values: np.ndarray,
        weight: np.ndarray | None = None,
        *,
        calculated: np.ndarray | bool = True,
    ) -> FeatureScaler:
        """Constants of ``values`` ``(rows, columns)``, with weights of rows; NaN cells are left
        out.

        Parameters
        ----------
        values : numpy.ndarray
        weight : numpy.ndarray, optional
            As for :class:`Standardizer`.
        calculated : numpy.ndarray or bool
            ``(columns,)`` or of all: a spread below 1e-12 is rounding, and not the unit of numbers
            that somebody measured.

        Examples
        --------
        >>> nan = float("nan")
        >>> scaler = FeatureScaler.fit(np.array([[1.0, 7.0, nan], [3.0, 7.0, nan]]))
        >>> scaler.transform(np.array([[1.0, 9.0, 4.0], [nan, 7.0, 0.0], [1e9, 7.0, nan]])).tolist()
        [[-1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [5.0, 0.0, 0.0]]
        """
        values = np.asarray(values, dtype=np.float64)
        if weight is not None:
            values, weight = values[weight > 0], weight[weight > 0]
        # Nothing known is as good as a column that does not vary.
        unknown = np.isnan(values).all(axis=0)
        values = np.where(unknown, 0.0, values)
        found = Standardizer.fit(values, weight)
        varies = np.nanmax(values, axis=0) > np.nanmin(values, axis=0)
        # Rounding around 0, as of sums of charges, is no feature.
        std = np.where((found.std <= _FLAT) & calculated, 1.0, found.std)
        return cls(np.where(unknown, np.nan, found.mean), np.where(varies, std, np.inf))

    def transform(self, values: np.ndarray) -> np.ndarray:
        """``(rows, columns)`` float32, finite, between ``-limit`` and ``limit``."""
        scaled = (np.asarray(values, np.float64) - self.mean) / self.std
        clipped: np.ndarray = np.nan_to_num(np.clip(scaled, -self.limit, self.limit), nan=0.0)
        return clipped.astype(np.float32)
