"""Intervals around a prediction that hold a wanted share of the measured values.

Split-conformal prediction (Vovk et al. 2005; Lei et al. 2018). Each validation row was predicted by
a model that has not trained on it; the half width at a coverage is the order statistic of their
absolute errors at that level, with the ``n + 1`` that makes it hold for finite ``n``. Errors may
first be divided by the error to expect at the molecule's similarity to the training molecules,
``constant + slope (1 - similarity)``: intervals are then wider for stranger molecules. Whether that
is done is chosen by the interval score (Gneiting and Raftery 2007) of rows left out of the fit.

The spread over the models of the folds says nothing here: of a validation row, all models but one
have trained on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Errors that are kept; of more, as many order statistics evenly apart.
MOST_SCORES = 2000
#: The coverage at which constant and varying widths are compared.
COMPARED_AT = 0.9
#: How much better varying widths must be.
_WORTH = 0.99


@dataclass(frozen=True)
class Intervals:
    """Half widths of the intervals of one target.

    Attributes
    ----------
    scores : numpy.ndarray
        Ascending: absolute errors of validation rows, divided by the expected ones.
    rows : int
        Validation rows they come from.
    constant, slope : float
        The expected error at similarity s is ``constant + slope (1 - s)``, in units of the target.
    closest : float
        The largest similarity among those rows. Nothing is known of the errors beyond it, where
        the line would go towards 0: intervals stay as wide as there.
    """

    scores: np.ndarray
    rows: int
    constant: float = 1.0
    slope: float = 0.0
    closest: float = 1.0

    @classmethod
    def fit(cls, errors: np.ndarray, similarity: np.ndarray, *, vary: bool) -> Intervals:
        """From absolute errors ``(rows,)`` and similarities to the training rows.

        Examples
        --------
        >>> errors = np.arange(1, 20.0)
        >>> Intervals.fit(errors, np.ones(19), vary=False).half_width(np.ones(2), 0.9).tolist()
        [18.0, 18.0]
        """
        constant, slope = 1.0, 0.0
        if vary and errors.max() > 0:
            from scipy.optimize import nnls

            (constant, slope), _ = nnls(np.stack([np.ones_like(errors), 1 - similarity], 1), errors)
            # A molecule of the training set has an error too.
            constant = max(constant, 0.1 * errors.mean())
        scores = np.sort(errors / (constant + slope * (1 - similarity)))
        return cls(
            scores[_kept(len(scores)) - 1],
            len(scores),
            float(constant),
            float(slope),
            float(similarity.max()),
        )

    @property
    def largest_coverage(self) -> float:
        """Above it the rows are too few to say anything."""
        return self.rows / (self.rows + 1)

    def half_width(self, similarity: np.ndarray, coverage: float) -> np.ndarray:
        """``(rows,)``, in units of the target, infinite above :attr:`largest_coverage`."""
        # Rounding must not make rank 18 of 0.9 * 20 a rank 19.
        rank = int(np.ceil(round((self.rows + 1) * coverage, 9)))
        at = int(np.searchsorted(_kept(self.rows), rank))
        score = self.scores[at] if at < len(self.scores) else np.inf
        similarity = np.minimum(np.asarray(similarity, np.float64), self.closest)
        expected = np.full(similarity.shape, self.constant)
        if self.slope:  # else similarities need not be known
            expected += self.slope * (1 - similarity)
        return expected * score

    def to_dict(self) -> dict[str, Any]:
        return {
            "validation_rows": self.rows,
            "constant": self.constant,
            "slope": self.slope,
            "closest": self.closest,
            "scores": self.scores.tolist(),
        }

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Intervals:
        return cls(
            np.asarray(saved["scores"], np.float64),
            int(saved["validation_rows"]),
            float(saved["constant"]),
            float(saved["slope"]),
            float(saved.get("closest", 1.0)),  # not in files of before
        )


def choose_intervals(
    errors: np.ndarray, similarity: np.ndarray, parts: np.ndarray
) -> tuple[Intervals, dict[str, float | None]]:
    """Intervals of constant or of varying width, and the interval score of both.

    Parameters
    ----------
    errors : numpy.ndarray
        ``(rows,)``, absolute errors of validation rows.
    similarity : numpy.ndarray
        ``(rows,)``, to the nearest molecule of their fold's training rows.
    parts : numpy.ndarray
        ``(rows,)`` int: rows of one part are left out together.
    """
    found: dict[str, float | None] = {}
    for name, vary in (("constant", False), ("similarity", True)):
        total, count = 0.0, 0
        for part in np.unique(parts):
            out = parts == part
            if out.all():
                continue
            fitted = Intervals.fit(errors[~out], similarity[~out], vary=vary)
            if fitted.largest_coverage < COMPARED_AT:
                continue
            half = fitted.half_width(similarity[out], COMPARED_AT)
            total += interval_score(errors[out], half, COMPARED_AT) * out.sum()
            count += out.sum()
        found[name] = total / count if count else None
    constant, varying = found["constant"], found["similarity"]
    vary = constant is not None and varying is not None and varying < _WORTH * constant
    return Intervals.fit(errors, similarity, vary=vary), found


def interval_score(errors: np.ndarray, half: np.ndarray, coverage: float) -> float:
    """Mean width, and what lies outside, weighed so that the right width is the best; smaller is
    better.

    Examples
    --------
    >>> round(interval_score(np.array([0.5, 1.5]), np.array([1.0, 1.0]), 0.9), 6)
    7.0
    """
    outside = np.maximum(errors - half, 0.0)
    return float(np.mean(2 * half + 2 / (1 - coverage) * outside))


def leave_out_parts(folds: Sequence[int] | np.ndarray) -> np.ndarray:
    """Which rows are left out together: those of a fold; with one fold, five parts by chance.

    Examples
    --------
    >>> leave_out_parts([3, 3, 4]).tolist()
    [3, 3, 4]
    >>> sorted(leave_out_parts([0] * 5).tolist())
    [0, 1, 2, 3, 4]
    """
    parts = np.asarray(folds)
    if len(np.unique(parts)) > 1:
        return parts
    return np.random.default_rng(0).permutation(len(parts)) % 5


def _kept(rows: int) -> np.ndarray:
    """Ranks, from 1, of the order statistics that are kept of ``rows``."""
    return np.unique(np.ceil(np.linspace(1, rows, min(rows, MOST_SCORES)))).astype(np.int64)
