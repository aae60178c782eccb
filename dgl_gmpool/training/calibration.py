"""Probabilities that mean what they say: of rows given 0.8, four of five are active.

For several classes: :mod:`~dgl_gmpool.training.class_calibration`.

Each fold's model has its own curve, from its probabilities of its validation rows to the classes
measured: models of one run can lie far apart (the epoch is chosen by the order of the rows, which
says nothing of the level). The curves are Platt's logistic ones or isotonic ones (scikit-learn), or
none are used where neither has the smaller Brier score on rows that took no part in the fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from dgl_gmpool._options import check_choice
from dgl_gmpool.training.task import probabilities

#: Validation rows of either class, in each fold, below which nothing is fitted.
FEWEST = 10
#: Parts of a model's validation rows, each of which is left out once.
PARTS = 5


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

    METHODS: ClassVar[tuple[str, ...]] = ("none", "platt", "isotonic")

    method: str = "none"
    curve: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def possible(cls, predicted: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> list[str]:
        """The methods for which every model has enough validation rows; none for too few."""
        few = any(min(y.sum(), len(y) - y.sum()) < FEWEST for y in labels)
        return [] if few else list(cls.METHODS)

    @classmethod
    def fit(cls, method: str, predicted: np.ndarray, labels: np.ndarray) -> Calibrator:
        """From probabilities ``(rows,)`` and classes 0 and 1 of validation rows."""
        check_choice("calibration", method, cls.METHODS)
        x = _logits(predicted)
        if method == "platt":
            from sklearn.linear_model import LogisticRegression

            with warnings.catch_warnings():
                # Perfectly parted classes: the curve is then as steep as its penalty lets it be.
                warnings.simplefilter("ignore")
                model = LogisticRegression(C=1e3, max_iter=1000).fit(x[:, None], labels)
            slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
            if slope < 0:  # no better than chance: the share of actives, but never upside down
                slope, intercept = 0.0, float(np.log(labels.mean() / (1 - labels.mean())))
            return cls(method, {"slope": slope, "intercept": intercept})
        if method == "isotonic":
            from sklearn.isotonic import IsotonicRegression

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
        return np.interp(x, self.curve["x"], self.curve["y"])


def choose_calibrators(
    kind: type[Calibrator], predicted: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> tuple[list[Calibrator], dict[str, float | None]]:
    """A curve for each model, all by the method with the smallest Brier score, and all scores.

    Scores are of rows left out of the fit, a fifth of a model's rows at a time; None of a method
    for which there are too few rows.

    Parameters
    ----------
    kind : type
        :class:`Calibrator`, or for several classes ``ClassCalibrator``.
    predicted, labels : sequence of numpy.ndarray
        Per model its probabilities of its validation rows, ``(rows,)`` or ``(rows, classes)``, and
        their classes ``(rows,)``.
    """
    found: dict[str, float | None] = dict.fromkeys(kind.METHODS)
    possible = kind.possible(predicted, labels)
    if not possible:
        return [kind() for _ in labels], found
    truth = np.concatenate(labels)
    for method in possible:
        left_out = [_left_out(kind, method, *pair) for pair in zip(predicted, labels)]
        found[method] = brier(np.concatenate(left_out), truth)
    best = min(possible, key=lambda method: found[method] or 0.0)
    return [kind.fit(best, *pair) for pair in zip(predicted, labels)], found


def _left_out(
    kind: type[Calibrator], method: str, predicted: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    from sklearn.model_selection import StratifiedKFold

    found = np.full(predicted.shape, np.nan)
    if np.unique(labels, return_counts=True)[1].max() < PARTS:
        strata = np.zeros(len(labels))  # no class has a row for each part
    else:
        strata = labels
    with warnings.catch_warnings():
        # A rare class may have fewer rows than there are parts.
        warnings.filterwarnings("ignore", message="The least populated class in y")
        splitter = StratifiedKFold(PARTS, shuffle=True, random_state=0)
        parts = list(splitter.split(predicted, strata))
    for fit, out in parts:
        found[out] = kind.fit(method, predicted[fit], labels[fit])(predicted[out])
    return found


def brier(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared difference of probability and class.

    Of several classes, probabilities ``(rows, classes)``: summed over the classes (Brier, 1950), so
    that two of them have twice what the probability of one of them has.

    Examples
    --------
    >>> brier(np.array([0.8, 0.4]), np.array([1, 0]))
    0.1
    >>> brier(np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([1, 0]))
    0.2
    """
    if predicted.ndim == 1:
        return float(np.mean((predicted - labels) ** 2))
    measured = np.eye(predicted.shape[1])[labels.astype(np.int64)]
    return float(np.mean(((predicted - measured) ** 2).sum(axis=1)))


def most_probable(predicted: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of several classes the highest probability of each row, and 1 where that class is right, else
    0: what calibration curves and errors are of."""
    return predicted.max(axis=1), (predicted.argmax(axis=1) == labels).astype(float)


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
    return np.log(inside) - np.log1p(-inside)
