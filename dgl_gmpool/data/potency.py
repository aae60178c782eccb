"""What several measurements and bounds of one molecule say together."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

CONTRADICTION = "bounds that exclude each other"


@dataclass(frozen=True)
class Potency:
    """One molecule's potency: a value, or bounds on it.

    Attributes
    ----------
    value : float
        NaN where nothing was measured.
    lower, upper : float
        NaN where there is no such bound, or a value beside it.
    unneeded : int
        Bounds beside a value, which count for nothing.
    """

    value: float
    lower: float = math.nan
    upper: float = math.nan
    unneeded: int = 0

    @property
    def impossible(self) -> bool:
        """Its bounds exclude each other."""
        return self.lower > self.upper


def combined(measured: Sequence[tuple[str, float]]) -> Potency:
    """The median of the values, else the narrowest of the bounds.

    Parameters
    ----------
    measured : sequence of (str, float)
        ``">"`` or ``"<"`` and a bound, or an empty text and a value.

    Examples
    --------
    >>> combined([("", 6.0), ("<", 5.0), ("", 7.0)])
    Potency(value=6.5, lower=nan, upper=nan, unneeded=1)
    >>> combined([("<", 5.0), ("<", 4.5), (">", 3.0)])
    Potency(value=nan, lower=3.0, upper=4.5, unneeded=0)
    """
    values = [number for side, number in measured if not side]
    if values:
        return Potency(statistics.median(values), unneeded=len(measured) - len(values))
    return Potency(
        math.nan,
        max((number for side, number in measured if side == ">"), default=math.nan),
        min((number for side, number in measured if side == "<"), default=math.nan),
    )


def bound_notes(held: Sequence[Potency], *, as_measured: int, approximate: int) -> list[str]:
    """How bounds and approximate values were used."""
    notes = []
    if as_measured:
        notes.append(f"{as_measured} rows are bounds used as if they had been measured")
    bounded = sum(math.isnan(each.value) for each in held)
    if bounded:
        notes.append(
            f"{bounded} molecules have bounds alone: training learns that the value lies beyond; "
            "scores are over measured values, and 'bounds respected' is the share of the bounds "
            "that predictions keep to"
        )
    unneeded = sum(each.unneeded for each in held)
    if unneeded:
        notes.append(f"{unneeded} rows are bounds of molecules that have a measured value")
    if approximate:
        notes.append(f"{approximate} approximate values ('~') are used as measured ones")
    return notes
