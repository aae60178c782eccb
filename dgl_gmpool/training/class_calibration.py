"""Probabilities of several classes that mean what they say.

As for two classes, each fold's model has its own curve, from its probabilities of its validation
rows to the classes measured: a temperature (Guo et al., "On Calibration of Modern Neural Networks",
2017), or an isotonic curve for each class against the others, whose values are then divided by
their sum (Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability
Estimates", 2002); or none where neither has the smaller Brier score on left-out rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import log_softmax, softmax

from dgl_gmpool._options import check_choice
from dgl_gmpool.training.calibration import FEWEST, Calibrator

#: Logarithms of the temperature that are tried: classes that are perfectly parted have no best one.
_LIMITS = (-3.0, 3.0)


@dataclass(frozen=True)
class ClassCalibrator(Calibrator):
    """A curve from the probabilities of several classes to probabilities.

    Attributes
    ----------
    method : str
        ``"none"``, ``"temperature"`` or ``"isotonic"``.
    curve : dict
        ``temperature``: ``temperature``, by which the logarithms of the probabilities are divided.
        ``isotonic``: ``classes``, the isotonic curve of
        :class:`~dgl_gmpool.training.calibration.Calibrator` for each class.

    Examples
    --------
    >>> model = ClassCalibrator("temperature", {"temperature": 2.0})
    >>> model(np.array([[0.8, 0.2, 0.0], [0.5, 0.5, 0.0]])).round(3).tolist()
    [[0.667, 0.333, 0.0], [0.5, 0.5, 0.0]]
    """

    METHODS: ClassVar[tuple[str, ...]] = ("none", "temperature", "isotonic")

    @classmethod
    def possible(cls, predicted: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> list[str]:
        """The methods for which every model has enough validation rows; none for too few."""
        width = predicted[0].shape[1]
        counts = np.stack([np.bincount(y.astype(np.int64), minlength=width) for y in labels])
        rows = counts.sum(axis=1)
        if (rows < 2 * FEWEST).any() or (rows - counts.max(axis=1) < FEWEST).any():
            return []
        # Without a row of a class, its isotonic curve would rule the class out.
        return [each for each in cls.METHODS if each != "isotonic" or counts.min() >= FEWEST]

    @classmethod
    def fit(cls, method: str, predicted: np.ndarray, labels: np.ndarray) -> ClassCalibrator:
        """From probabilities ``(rows, classes)`` and numbers of classes of validation rows."""
        check_choice("calibration", method, cls.METHODS)
        if method == "temperature":
            from scipy.optimize import minimize_scalar

            logs, rows, measured = _logs(predicted), np.arange(len(labels)), labels.astype(np.int64)

            def loss(log_temperature: float) -> float:
                scaled = log_softmax(logs / np.exp(log_temperature), axis=1)
                return float(-scaled[rows, measured].mean())

            best = minimize_scalar(loss, bounds=_LIMITS, method="bounded")
            return cls(method, {"temperature": float(np.exp(best.x))})
        if method == "isotonic":
            fitted = [
                Calibrator.fit("isotonic", predicted[:, number], (labels == number).astype(float))
                for number in range(predicted.shape[1])
            ]
            return cls(method, {"classes": [each.curve for each in fitted]})
        return cls()

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        """Calibrated probabilities ``(..., classes)``, which add up to 1; NaN stays NaN."""
        predicted = np.asarray(predicted, np.float64)
        if self.method == "none":
            return predicted
        if self.method == "temperature":
            return softmax(_logs(predicted) / self.curve["temperature"], axis=-1)
        curves = [Calibrator("isotonic", curve) for curve in self.curve["classes"]]
        found = np.stack(
            [curve(predicted[..., number]) for number, curve in enumerate(curves)], axis=-1
        )
        total = found.sum(axis=-1, keepdims=True)
        # All of them 0: the curves say nothing of such a row.
        return np.where(total == 0, predicted, found / np.where(total == 0, 1, total))


def _logs(predicted: np.ndarray) -> np.ndarray:
    # A probability of 0 is a rounded one.
    return np.log(np.clip(np.asarray(predicted, np.float64), 1e-15, 1))
