"""Scores of a table of targets: over measured cells, target by target and averaged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from dgl_gmpool.training.metrics import Metric, metrics_of


def scores(
    kind: str | Sequence[str],
    targets: np.ndarray,
    predictions: np.ndarray,
    *,
    ranks: np.ndarray | None = None,
    widths: Sequence[int] | None = None,
    lower: np.ndarray | None = None,
    upper: np.ndarray | None = None,
    only: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Every score of the kind, averaged over the targets where it is defined.

    Parameters
    ----------
    kind : str or sequence of str
        Of all targets, or of each.
    targets : numpy.ndarray
        ``(rows, targets)``, NaN where nothing was measured; classes by number.
    predictions : numpy.ndarray
        ``(rows, columns)``: values in the target's units, probabilities of class 1, or of every
        class of a multiclass target.
    ranks : numpy.ndarray, optional
        As ``predictions``, for scores that ask for the order alone: logits keep apart what
        rounds to one probability. By default the predictions.
    widths : sequence of int, optional
        Columns of each target (default: one).
    lower, upper : numpy.ndarray, optional
        ``(rows, targets)``, bounds on targets that were not measured (NaN where there are none).
        They count in ``bounds`` and ``bounds_respected`` alone, the share of the predictions that
        lie where they must.
    only : sequence of str, optional
        Calculate these scores alone.

    Returns
    -------
    dict
        One float per score (NaN where no target defines it), ``tasks`` (targets averaged over),
        ``tasks_total``, ``cells`` (measured cells), and ``per_task``: a list of dicts. A target
        of classes counts when two of them are present; a regression when anything was measured,
        for correlations when two values differ.

    Raises
    ------
    ValueError
        The shapes differ.

    Examples
    --------
    >>> y = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, np.nan]])
    >>> result = scores("classification", y, np.array([[0.2, 0.9], [0.6, 0.7], [0.99, 0.5]]))
    >>> result["roc_auc"], result["tasks"], result["tasks_total"]
    (1.0, 1, 2)
    """
    kinds = [kind] * targets.shape[1] if isinstance(kind, str) else list(kind)
    widths = [1] * len(kinds) if widths is None else list(widths)
    if targets.shape != (len(predictions), len(kinds)) or predictions.shape[1:] != (sum(widths),):
        raise ValueError(
            f"targets have shape {targets.shape} and outputs {predictions.shape}; both must be "
            "(rows, tasks), with a column of outputs for each class of a multiclass task"
        )
    chosen = metrics_of(kinds)
    if only is not None:
        chosen = [metric for metric in chosen if metric.name in only]
    targets, predictions = targets.astype(np.float64), predictions.astype(np.float64)
    ranks = predictions if ranks is None else ranks.astype(np.float64)
    ends = np.cumsum(widths)
    per_task = []
    for task, (kind, end) in enumerate(zip(kinds, ends)):
        measured = ~np.isnan(targets[:, task])
        columns = end - 1 if kind != "multiclass" else slice(end - widths[task], end)
        y, p, order = (
            targets[measured, task],
            predictions[measured, columns],
            ranks[measured, columns],
        )
        row: dict[str, Any] = {"cells": int(measured.sum())}
        # scikit-learn refuses NaN and infinities; such a model simply has no score.
        finite = bool(np.isfinite(p).all() and np.isfinite(order).all())
        for metric in chosen:
            if kind in metric.kinds:
                defined = finite and metric.defined(kind, y)
                given = order if metric.ranks else p
                row[metric.name] = metric(kind, y, given) if defined else float("nan")
        if lower is not None and upper is not None and kind == "regression":
            row |= _bounds(lower[:, task], upper[:, task], predictions[:, end - 1])
        per_task.append(row)
    return _averaged(chosen, kinds, per_task)


def mean_and_std(values: Iterable[float | None]) -> tuple[float, float]:
    """Mean and sample standard deviation (dividing by their number - 1) of the scores that are
    defined; NaN where there are too few.

    Examples
    --------
    >>> mean_and_std([1.0, None, 3.0]), mean_and_std([2.0])
    ((2.0, 1.4142135623730951), (2.0, nan))
    """
    found = np.array([value for value in values if value is not None], np.float64)
    found = found[~np.isnan(found)]
    mean = float(found.mean()) if len(found) else float("nan")
    return mean, float(found.std(ddof=1)) if len(found) > 1 else float("nan")


def _bounds(lower: np.ndarray, upper: np.ndarray, predictions: np.ndarray) -> dict[str, Any]:
    known = ~(np.isnan(lower) & np.isnan(upper))
    # A comparison with NaN is false: no bound, nothing violated.
    kept = ~((predictions < lower) | (predictions > upper))[known] & np.isfinite(predictions[known])
    return {
        "bounds": int(known.sum()),
        "bounds_respected": float(kept.mean()) if known.any() else float("nan"),
    }


def _averaged(
    chosen: Sequence[Metric], kinds: Sequence[str], per_task: list[dict[str, Any]]
) -> dict[str, Any]:
    result: dict[str, Any] = {}
    names = [metric.name for metric in chosen]
    if any("bounds" in row for row in per_task):
        names.append("bounds_respected")
        result["bounds"] = sum(row.get("bounds", 0) for row in per_task)
    for name in names:
        values = [row[name] for row in per_task if not np.isnan(row.get(name, np.nan))]
        result[name] = float(np.mean(values)) if values else float("nan")
    firsts = [next((m.name for m in chosen if kind in m.kinds), "") for kind in kinds]
    defined = [not np.isnan(row.get(name, np.nan)) for name, row in zip(firsts, per_task)]
    result["tasks"], result["tasks_total"] = sum(defined), len(per_task)
    result["cells"] = sum(row["cells"] for row in per_task)
    result["per_task"] = per_task
    return result
