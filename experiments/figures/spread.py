"""Mean and spread of test scores, drawn the same way in every figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dgl_gmpool.training.metrics import Metric


def mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (dividing by n - 1) of the values that are not NaN.

    NaN where they are not defined.

    Examples
    --------
    >>> mean_and_std([1.0, 3.0, float("nan")])
    (2.0, 1.4142135623730951)
    """
    kept = np.asarray([value for value in values if not math.isnan(value)], np.float64)
    mean = float(kept.mean()) if len(kept) else math.nan
    return mean, float(kept.std(ddof=1)) if len(kept) > 1 else math.nan


def score_label(metric: Metric, units: str = "") -> str:
    """Axis label of a score, with its units and which way is better.

    Examples
    --------
    >>> from dgl_gmpool.training.metrics import METRICS
    >>> score_label(METRICS["rmse"], "pIC50")
    'test RMSE (pIC50; lower is better)'
    """
    better = "higher is better" if metric.higher_is_better else "lower is better"
    unit = f"{units}; " if units and metric.in_units else ""
    return f"test {metric.label} ({unit}{better})"


def models_text(seeds: int, models: int) -> str:
    """How many models a mean stands for.

    Examples
    --------
    >>> models_text(2, 10), models_text(1, 3)
    ('10 models (2 seeds)', '3 models (1 seed)')
    """
    return f"{models} models ({seeds} seed{'' if seeds == 1 else 's'})"
