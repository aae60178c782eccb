"""Intervals and probabilities against the measured values of the test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from dgl_gmpool.training.calibration import (
    FEWEST,
    Calibrator,
    brier,
    calibration_curve,
    calibration_error,
    most_probable,
)
from dgl_gmpool.training.conformal import Intervals

#: Coverages that are checked on the test set.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def check_calibrators(
    calibrators: Sequence[Calibrator], labels: np.ndarray, predicted: np.ndarray
) -> dict[str, Any]:
    """The entry ``test`` of a classification, from labels ``(rows,)`` and probabilities ``(models,
    rows)``, of several classes ``(models, rows, classes)``."""
    found: dict[str, Any] = {"rows": len(labels)}
    both = {"before": predicted.mean(axis=0), "after": calibrated_mean(calibrators, predicted)}
    for when, values in both.items():
        pair = (values, labels) if values.ndim == 1 else most_probable(values, labels)
        found |= {
            f"brier_{when}": brier(values, labels),
            f"calibration_error_{when}": calibration_error(*pair),
            f"curve_{when}": calibration_curve(*pair),
        }
    return found


def calibrated_mean(calibrators: Sequence[Calibrator], predicted: np.ndarray) -> np.ndarray:
    """``(rows,)`` or ``(rows, classes)``: the mean of probabilities ``(models, ...)``, each model's
    by its own curve."""
    curves = zip(calibrators, predicted, strict=True)
    return np.mean([curve(values) for curve, values in curves], axis=0)


def check_intervals(
    intervals: Intervals, targets: np.ndarray, predicted: np.ndarray, near: np.ndarray
) -> dict[str, Any]:
    """The entry ``test`` of a regression: targets ``(rows,)``, predictions ``(models, rows)``, and
    the rows' similarity to the training molecules."""
    errors = np.abs(targets - predicted.mean(axis=0))
    std = predicted.std(axis=0, ddof=1) if len(predicted) > 1 else None
    levels: list[dict[str, Any]] = []
    for coverage in LEVELS:
        if coverage > intervals.largest_coverage:
            continue
        half = intervals.half_width(near, coverage)
        levels.append(
            {
                "coverage": coverage,
                "found": float(np.mean(errors <= half)),
                "mean_width": float(2 * half.mean()),
                "std_over_models": None
                if std is None
                else float(np.mean(errors <= ndtri((1 + coverage) / 2) * std)),
            }
        )

    def distance(key: str) -> float | None:
        apart = [abs(each[key] - each["coverage"]) for each in levels if each[key] is not None]
        return float(np.mean(apart)) if apart else None

    return {
        "rows": len(targets),
        "levels": levels,
        "calibration_error_before": distance("std_over_models"),
        "calibration_error_after": distance("found"),
    }


def uncertainty_lines(summary: dict[str, Any]) -> list[str]:
    """What the test set says of intervals and probabilities, a line for each target.

    Parameters
    ----------
    summary : dict
        What ``uncertainty.json`` holds.
    """
    lines = []
    for each in summary["tasks"]:
        test = each["test"]
        if test is None:
            continue
        if "method" in each:
            after = test["calibration_error_after"]
            how = (
                f"{after:.3f} with {each['method']} curves, {test['calibration_error_before']:.3f} "
            )
            if each["method"] == "none":
                how = f"{after:.3f} ({_why_none(each)})"
            else:
                how += "without"
            lines.append(f"{each['name']}: calibration error of {test['rows']} test rows {how}")
            continue
        level = next((one for one in test["levels"] if one["coverage"] == 0.9), None)
        if level is not None:
            beside = level["std_over_models"]
            spread = "" if beside is None else f"; the spread over the models alone: {beside:.0%}"
            lines.append(
                f"{each['name']}: intervals for 90 % of values, {level['mean_width']:.3g} wide on "
                f"average, hold {level['found']:.0%} of {test['rows']} test values{spread}"
            )
    return lines


def _why_none(task: dict[str, Any]) -> str:
    if task["brier"]["none"] is None:
        fewer = f"{FEWEST} of a class"
        if task["kind"] == "multiclass":
            fewer = f"{2 * FEWEST}, or than {FEWEST} that are not of the most common class,"
        return f"too few validation rows for a curve: fewer than {fewer} in a fold"
    return "no curve is better on left-out validation rows"
