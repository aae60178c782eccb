"""Times that were taken in turns, and their ratios round by round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles.

    Parameters
    ----------
    values : sequence of float
        At least one.

    Examples
    --------
    >>> spread([1.0, 2.0, 3.0, 4.0, 50.0])
    {'median': 3.0, 'quartiles': [2.0, 4.0]}
    """
    if len(values) == 1:
        return {"median": values[0], "quartiles": [values[0], values[0]]}
    # "inclusive": the default method goes beyond the smallest and largest of few values.
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": middle, "quartiles": [low, high]}


def paired_ratio(times: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """Spread of ``times / reference``, each with the reference of its own round.

    What slows the machine down for a round slows both. Rounds that only one of them has are left
    out.

    Examples
    --------
    >>> paired_ratio([1.0, 20.0, 1.0], [2.0, 40.0])
    {'median': 0.5, 'quartiles': [0.5, 0.5], 'rounds': 2}
    """
    ratios = [a / b for a, b in zip(times, reference)]
    return {**spread(ratios), "rounds": len(ratios)}
