"""Numbers as people read them, and what they are of."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """Seconds for people.

    Examples
    --------
    >>> [duration(s) for s in (4.2, 75, 7300)]
    ['4 s', '1 min 15 s', '2 h 01 min']
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def averaged_text(final: bool) -> str:
    """Of which models the scores called "averaged" are; ``final``: whether the run has others that
    predict."""
    if not final:
        return "the mean prediction of a run's models, which is what predict returns"
    return (
        "the mean prediction of the folds' models (predict returns that of the final models, which "
        "know the test rows)"
    )


def score_text(value: float | None) -> str:
    """A score for people: three decimals, or three digits where these would show nothing.

    Examples
    --------
    >>> [score_text(s) for s in (0.8314, 12.5, 0.00123, 4.2e-10, 1e31, 0.0, None)]
    ['0.831', '12.500', '0.00123', '4.2e-10', '1e+31', '0.000', '-']
    """
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3f}" if value == 0 or 0.01 <= abs(value) < 1e6 else f"{value:.3g}"
