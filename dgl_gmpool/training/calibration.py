"""Probabilities that mean what they say: of rows given 0.8, four of five are active.

Each fold's model has its own curve, from its probabilities of its validation rows to the classes
measured: models of one run can lie far apart (the epoch is chosen by the order of the rows, which
says nothing of the level). The curves are Platt's logistic ones or isotonic ones (scikit-learn), or
none are used where neither has the smaller Brier score on rows that took no part in the fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from dgl_gmpool._options import check_choice
from dgl_gmpool.training.task import probabilities

METHODS = ("none", "platt", "isotonic")
#: Validation rows of either class, in each fold, below which nothing is fitted.
FEWEST = 10


@dataclass(frozen=True)
class Calibrator:
    """A curve from probabilities to probabilities.

    Attributes
    ----------
    method : str
        ``"none"``, ``"platt"`` or ``"isotonic"``.
    curve : dict of str to list of float
        ``platt``: ``slope`` and ``intercept`` on the logit. ``isotonic``: ``x`` (logits, ascending)
        and ``y`` (probabilities), straight between and constant beyond.
    """

    method: str = "none"
    curve: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def fit(cls, method: str, predicted: np.ndarray, labels: np.ndarray) -> Calibrator:
        """From probabilities ``(rows,)`` and classes 0 and 1 of validation rows."""
        check_choice("calibration", method, METHODS)
        x = _logits(predicted)
        if method == "platt":
            with warnings.catch_warnings():
                # Perfectly parted classes: the curve is then as steep as its penalty lets it be.
                warnings.simplefilter("ignore")
                model = LogisticRegression(C=1e3, max_iter=1000).fit(x[:, None], labels)
            slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
            if slope < 0:  # no better than chance: the share of actives, but never upside down
                slope, intercept = 0.0, float(np.log(labels.mean() / (1 - labels.mean())))
            return cls(method, {"slope": slope, "intercept": intercept})
        if method == "isotonic":
            fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(x, labels)
            return cls(
                method,
                {"x": fitted.X_thresholds_.tolist(), "y": fitted.y_thresholds_.tolist()},
            )
        return cls()

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        """Calibrated probabilities, of any shape; NaN stays NaN."""
        if self.method == "none":
            return np.asarray(predicted, np.float64)
        x = _logits(predicted)
        if self.method == "platt":
            return probabilities(self.curve["slope"] * x + self.curve["intercept"])
        found: np.ndarray = np.interp(x, self.curve["x"], self.curve["y"])
        return found


def choose_calibrators(
    predicted: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> tuple[list[Calibrator], dict[str, float | None]]:
    """A curve for each model, all by the method with the smallest Brier score, and all scores.

    Scores are of rows left out of the fit, a fifth of a model's rows at a time.

    Parameters
    ----------
    predicted, labels : sequence of numpy.ndarray
        Per model ``(rows,)``: its probabilities of its validation rows, and their classes.
    """
    found: dict[str, float | None] = dict.fromkeys(METHODS)
    if any(min(y.sum(), len(y) - y.sum()) < FEWEST for y in labels):
        return [Calibrator() for _ in labels], found
    truth = np.concatenate(labels)
    for method in METHODS:
        left_out = [_left_out(method, *pair) for pair in zip(predicted, labels)]
        found[method] = brier(np.concatenate(left_out), truth)
    best = min(METHODS, key=lambda method: found[method] or 0.0)
    return [Calibrator.fit(best, *pair) for pair in zip(predicted, labels)], found


def _left_out(method: str, predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    found = np.full(len(labels), np.nan)
    for fit, out in StratifiedKFold(5, shuffle=True, random_state=0).split(predicted, labels):
        found[out] = Calibrator.fit(method, predicted[fit], labels[fit])(predicted[out])
    return found


def brier(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared difference of probability and class."""
    return float(np.mean((predicted - labels) ** 2))


def calibration_curve(
    predicted: np.ndarray, labels: np.ndarray, *, bins: int = 10
) -> list[dict[str, float]]:
    """Rows in bins of (about) equal numbers, by their probability.

    Returns
    -------
    list of dict
        Per bin ``predicted`` (mean), ``measured`` (share of actives) and ``rows``.

    Examples
    --------
    >>> calibration_curve(np.array([0.1, 0.3, 0.9, 0.7]), np.array([0, 0, 1, 1]), bins=2)
    [{'predicted': 0.2, 'measured': 0.0, 'rows': 2}, {'predicted': 0.8, 'measured': 1.0, 'rows': 2}]
    """
    order = np.argsort(predicted, kind="stable")
    return [
        {
            "predicted": float(predicted[rows].mean()),
            "measured": float(labels[rows].mean()),
            "rows": len(rows),
        }
        for rows in np.array_split(order, bins)
        if len(rows)
    ]


def calibration_error(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error: the bins' mean distance of predicted and measured, by rows."""
    curve = calibration_curve(predicted, labels)
    total = sum(each["rows"] * abs(each["predicted"] - each["measured"]) for each in curve)
    return total / max(len(labels), 1)


def _logits(predicted: np.ndarray) -> np.ndarray:
    # Probabilities of 0 and 1 are rounded ones.
    inside = np.clip(np.asarray(predicted, np.float64), 1e-15, 1 - 1e-15)
    found: np.ndarray = np.log(inside) - np.log1p(-inside)
    return found
