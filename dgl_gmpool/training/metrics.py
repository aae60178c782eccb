"""Scores by scikit-learn, over measured cells, task by task and averaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, mean_absolute_error, r2_score, roc_auc_score

from dgl_gmpool._options import check_choice


@dataclass(frozen=True)
class Metric:
    """How one score is called, computed and compared."""

    name: str
    label: str
    kind: str
    higher_is_better: bool
    function: Callable[[np.ndarray, np.ndarray], float]
    in_units: bool = False
    two_values: bool = False  # defined only where two targets differ


def _rmse(targets: np.ndarray, outputs: np.ndarray) -> float:
    return float(np.sqrt(np.mean((targets - outputs) ** 2)))


_ALL = (
    Metric("roc_auc", "ROC-AUC", "classification", True, roc_auc_score, two_values=True),
    Metric(
        "average_precision",
        "average precision",
        "classification",
        True,
        average_precision_score,
        two_values=True,
    ),
    Metric("rmse", "RMSE", "regression", False, _rmse, in_units=True),
    Metric("mae", "MAE", "regression", False, mean_absolute_error, in_units=True),
    Metric("r2", "R2", "regression", True, r2_score, two_values=True),
)
METRICS = {metric.name: metric for metric in _ALL}
KINDS = tuple(dict.fromkeys(metric.kind for metric in _ALL))


def metrics_of(kind: str) -> list[Metric]:
    """The scores of a kind of targets, the one that picks the best epoch first.

    Raises
    ------
    ValueError
        The kind is not known.

    Examples
    --------
    >>> [metric.name for metric in metrics_of("classification")]
    ['roc_auc', 'average_precision']
    """
    check_choice("kind of task", kind, KINDS)
    return [metric for metric in _ALL if metric.kind == kind]


def choose_metric(kind: str, name: str | None = None) -> Metric:
    """The score that picks the best epoch: by name, else the first one of the kind.

    Raises
    ------
    ValueError
        ``kind`` is neither ``"classification"`` nor ``"regression"``, or the kind has no score
        of that name.

    Examples
    --------
    >>> choose_metric("regression").name
    'rmse'
    """
    names = [metric.name for metric in metrics_of(kind)]
    return METRICS[names[0] if name is None else check_choice(f"{kind} metric", name, names)]


def scores(kind: str, targets: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    """Every score of the kind, averaged over the tasks where it is defined.

    Parameters
    ----------
    kind : str
        ``"classification"`` or ``"regression"``.
    targets : numpy.ndarray
        ``(rows, tasks)``, NaN where nothing was measured.
    outputs : numpy.ndarray
        ``(rows, tasks)``: logits (classification; ranked in float64 as they are, because a
        float32 sigmoid saturates into ties) or predictions in the target's units.

    Returns
    -------
    dict
        One float per score (NaN where no task defines it), ``tasks`` (tasks averaged over),
        ``tasks_total``, ``cells`` (measured cells), and ``per_task``: a list of dicts. A
        classification task counts when both classes are present; a regression task when
        anything was measured, for ``r2`` when two values differ.

    Raises
    ------
    ValueError
        The shapes differ.

    Examples
    --------
    >>> y = np.array([[0.0, 1.0], [1.0, 1.0], [1.0, np.nan]])
    >>> result = scores("classification", y, np.array([[-2.0, 3.0], [0.5, 1.0], [40.0, 0.0]]))
    >>> result["roc_auc"], result["tasks"], result["tasks_total"]
    (1.0, 1, 2)
    """
    if targets.shape != outputs.shape or targets.ndim != 2:
        raise ValueError(
            f"targets have shape {targets.shape} and outputs {outputs.shape}; "
            "both must be (rows, tasks)"
        )
    chosen = metrics_of(kind)
    targets, outputs = targets.astype(np.float64), outputs.astype(np.float64)
    per_task = []
    for task in range(targets.shape[1]):
        measured = ~np.isnan(targets[:, task])
        y, z = targets[measured, task], outputs[measured, task]
        row: dict[str, Any] = {"cells": int(measured.sum())}
        two_values = len(y) > 0 and bool((y != y[0]).any())
        for metric in chosen:
            defined = two_values if metric.two_values else len(y) > 0
            # scikit-learn refuses NaN and infinities; such a model simply has no score.
            defined = defined and bool(np.isfinite(z).all())
            row[metric.name] = float(metric.function(y, z)) if defined else float("nan")
        per_task.append(row)
    first = chosen[0].name
    result: dict[str, Any] = {}
    for metric in chosen:
        values = [row[metric.name] for row in per_task if not np.isnan(row[metric.name])]
        result[metric.name] = float(np.mean(values)) if values else float("nan")
    result["tasks"] = sum(not np.isnan(row[first]) for row in per_task)
    result["tasks_total"] = len(per_task)
    result["cells"] = sum(row["cells"] for row in per_task)
    result["per_task"] = per_task
    return result
