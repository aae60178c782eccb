"""One score of one target's measured cells, as a function of targets and predictions.

Targets are ``(cells,)``; so are predictions, but for the probabilities of several classes, which
are ``(cells, classes)``. Two values or classes are there where a score needs them.

scikit-learn and ``scipy.stats`` take a second to load: they are, with the first score.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def rmse(targets: np.ndarray, predictions: np.ndarray) -> float:
    return float(np.sqrt(np.mean((targets - predictions) ** 2)))


def mae(targets: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(targets, predictions))


def r2(targets: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(targets, predictions))


def pearson(targets: np.ndarray, predictions: np.ndarray) -> float:
    if np.ptp(predictions) == 0:
        return float("nan")
    return float(np.corrcoef(targets, predictions)[0, 1])


def spearman(targets: np.ndarray, predictions: np.ndarray) -> float:
    from scipy.stats import rankdata

    return pearson(rankdata(targets), rankdata(predictions))


def roc_auc(targets: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(targets, predictions))


def average_precision(targets: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(targets, predictions))


def one_against_rest(
    function: Callable[[np.ndarray, np.ndarray], float],
) -> Callable[[np.ndarray, np.ndarray], float]:
    """A score of two classes, for several: the mean over the classes that are there."""

    def score(targets: np.ndarray, predictions: np.ndarray) -> float:
        if predictions.ndim == 1:
            return float(function(targets, predictions))
        there = np.unique(targets).astype(int)
        return float(np.mean([function(targets == c, predictions[:, c]) for c in there]))

    return score


def predicted_classes(predictions: np.ndarray) -> np.ndarray:
    found: np.ndarray = (
        predictions.argmax(axis=1) if predictions.ndim == 2 else (predictions > 0.5).astype(int)
    )
    return found


def accuracy(targets: np.ndarray, predictions: np.ndarray) -> float:
    return float(np.mean(targets == predicted_classes(predictions)))


def balanced_accuracy(targets: np.ndarray, predictions: np.ndarray) -> float:
    right = targets == predicted_classes(predictions)
    return float(np.mean([right[targets == c].mean() for c in np.unique(targets)]))


def f1(targets: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    average = "macro" if predictions.ndim == 2 else "binary"
    return float(
        f1_score(targets, predicted_classes(predictions), average=average, zero_division=0)
    )


def mcc(targets: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(targets, predicted_classes(predictions)))


def log_loss(targets: np.ndarray, predictions: np.ndarray) -> float:
    if predictions.ndim == 1:
        predictions = np.stack([1 - predictions, predictions], axis=1)
    held = predictions[np.arange(len(targets)), targets.astype(int)]
    # A certain mistake costs 36, not infinity, as in scikit-learn.
    return float(-np.log(np.maximum(held, np.finfo(np.float64).eps)).mean())


def explained_by_classes(targets: np.ndarray, predictions: np.ndarray) -> float:
    shares = np.unique(targets, return_counts=True)[1] / len(targets)
    return 1.0 - log_loss(targets, predictions) / float(-(shares * np.log(shares)).sum())
