"""Numbers as people read them."""

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
