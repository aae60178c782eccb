"""What is said of molecules, row by row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Predictions:
    """Predictions row by row.

    Attributes
    ----------
    task_names : tuple of str
        The targets.
    columns : tuple of str
        What the columns of numbers are: one for each target, but one for each class of a target of
        several.
    per_model : numpy.ndarray
        ``(models, rows, columns)`` float64: probabilities, or values in the target's units. NaN in
        rows that could not be predicted.
    reasons : tuple of str
        Per row, why there is no prediction; empty where there is one.
    notes : tuple of str
        Per row, what to know about a prediction, such as that the molecule is outside of the domain
        of the models; empty where there is nothing.
    lower, upper : numpy.ndarray
        ``(rows, columns)``: the interval that holds the measured value with the coverage asked for.
        NaN for classes, and where nothing is known of the run's errors.
    calibrated : numpy.ndarray
        ``(rows, columns)``: probabilities that mean what they say; NaN for numbers, and where the
        run has no calibration.
    similarity : numpy.ndarray
        ``(rows,)``, Tanimoto similarity to the nearest training molecule.
    nearest : tuple of str
        Its SMILES.
    nearest_measured : numpy.ndarray
        ``(rows, targets)``, what was measured of it; NaN for targets of several classes.
    labels : dict of str to tuple of str
        Target of several classes -> the most probable one of each row, empty where there is none.
    coverage : float or None
        Of the intervals; None where there are none.
    """

    task_names: tuple[str, ...]
    columns: tuple[str, ...]
    per_model: np.ndarray
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    calibrated: np.ndarray
    similarity: np.ndarray
    nearest: tuple[str, ...]
    nearest_measured: np.ndarray
    labels: Mapping[str, tuple[str, ...]]
    coverage: float | None = None

    @property
    def mean(self) -> np.ndarray:
        """``(rows, columns)``, averaged over the models."""
        mean: np.ndarray = self.per_model.mean(axis=0)
        return mean

    @property
    def std(self) -> np.ndarray:
        """``(rows, columns)``, sample standard deviation over the models; NaN for one model."""
        if len(self.per_model) < 2:
            return np.full(self.per_model.shape[1:], np.nan)
        std: np.ndarray = self.per_model.std(axis=0, ddof=1)
        return std

    @classmethod
    def join(cls, parts: Sequence[Predictions]) -> Predictions:
        """The rows of all parts."""
        if len(parts) == 1:
            return parts[0]

        def joined(name: str) -> Any:
            values = [getattr(part, name) for part in parts]
            if isinstance(values[0], np.ndarray):
                return np.concatenate(values, axis=1 if name == "per_model" else 0)
            if name in ("reasons", "notes", "nearest"):
                return tuple(chain.from_iterable(values))
            if name == "labels":
                every = {target: [each[target] for each in values] for target in values[0]}
                return {target: tuple(chain(*each)) for target, each in every.items()}
            return values[0]

        return cls(**{field.name: joined(field.name) for field in fields(cls)})
