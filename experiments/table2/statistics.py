"""Is one row ahead of another, or were the test sets kind to it? Paired statistics over seeds.

A seed draws test, validation and training rows anew and starts the weights; all rows of the table
see the same ones, so the relative change of the loss (RMSE, or 1 - ROC-AUC) between two of them is
taken seed by seed, and what makes one test set harder than another cancels.

References
----------
C. Nadeau and Y. Bengio, "Inference for the Generalization Error", Machine Learning 52 (2003).
D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach",
J. Pharmacokinet. Biopharm. 15 (1987).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap, rankdata
from scipy.stats import t as student_t

from dgl_gmpool.training.metrics import METRICS
from experiments.table2.scores import FoldScore

#: Test rows by training rows of one model: 10 % are tested, 4 of 5 folds of the rest trained on.
PROTOCOL_RATIO = 0.1 / (0.9 * 0.8)

#: Within so many percent two rows are called equivalent.
MARGIN = 1.0

CONFIDENCE = 0.95

#: Loss, or change in percent, by set and seed.
BySet = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes
    ----------
    mean, low, high : float
        With its 95 % interval by Student's t over seeds; NaN with fewer than two of them.
    p_value : float
        Two-sided, that it is 0.
    wide_low, wide_high : float
        The interval with Nadeau and Bengio's correction, which allows for the rows that the splits
        of all seeds are drawn from: what other *molecules* of the kind would give, where the plain
        interval speaks of other splits of these.
    boot_low, boot_high : float
        The percentile interval of a bootstrap of seeds.
    seeds : int
    """

    mean: float
    low: float
    high: float
    p_value: float
    wide_low: float
    wide_high: float
    boot_low: float
    boot_high: float
    seeds: int

    @property
    def equivalent(self) -> bool:
        """Whether the interval lies within the margin: two one-sided tests, 2.5 % each."""
        return self.low > -MARGIN and self.high < MARGIN


def losses(scores: Iterable[FoldScore], method: str) -> BySet:
    """RMSE, or 1 - ROC-AUC, of one row by set and seed, the mean over folds; failures left out."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in scores:
        if row.method == method and not row.failed:
            loss = 1 - row.test if METRICS[row.metric].higher_is_better else row.test
            found.setdefault(row.dataset, {}).setdefault(row.seed, []).append(loss)
    return {
        name: {seed: float(np.mean(each)) for seed, each in by_seed.items()}
        for name, by_seed in found.items()
    }


def relative_changes(mine: BySet, other: BySet) -> BySet:
    """By how many percent of the other's loss mine is smaller, where both have one; + is better.

    Examples
    --------
    >>> relative_changes({"d": {1: 0.9, 2: 1.0}}, {"d": {1: 1.0}})
    {'d': {1: 10.0}}
    """
    return {
        name: {
            seed: round(100 * (other[name][seed] - loss) / other[name][seed], 10)
            for seed, loss in by_seed.items()
            if other.get(name, {}).get(seed)
        }
        for name, by_seed in mine.items()
    }


def over_sets(changes: BySet, sets: Sequence[str]) -> dict[int, float]:
    """The mean over all these sets, for the seeds that have all of them.

    Examples
    --------
    >>> over_sets({"a": {1: 2.0, 2: 5.0}, "b": {1: 4.0}}, ["a", "b"])
    {1: 3.0}
    """
    if not sets or any(name not in changes for name in sets):
        return {}
    whole = sorted(set.intersection(*(set(changes[name]) for name in sets)))
    return {seed: float(np.mean([changes[name][seed] for name in sets])) for seed in whole}


def mean_over_seeds(values: Iterable[float]) -> Mean | None:
    """The mean of one value a seed, with its intervals; None of nothing.

    Examples
    --------
    >>> found = mean_over_seeds([1.0, 2.0, 3.0])
    >>> found.mean, round(found.low, 2), round(found.p_value, 3)
    (2.0, -0.48, 0.074)
    """
    numbers = np.array(list(values), dtype=np.float64)
    if not len(numbers):
        return None
    mean, count = float(numbers.mean()), len(numbers)
    if count < 2:
        return Mean(mean, *([math.nan] * 7), count)  # type: ignore[arg-type]
    variance = float(numbers.var(ddof=1))
    factor = float(student_t.ppf(0.5 + CONFIDENCE / 2, count - 1))
    plain = math.sqrt(variance / count)
    wide = factor * math.sqrt(variance * (1 / count + PROTOCOL_RATIO))
    p_value = 1.0 if mean == 0 else 0.0
    boot = (mean, mean)
    if plain > 0:
        p_value = float(2 * student_t.sf(abs(mean) / plain, count - 1))
        found = bootstrap((numbers,), np.mean, method="percentile", rng=np.random.default_rng(0))
        boot = (float(found.confidence_interval.low), float(found.confidence_interval.high))
    half = factor * plain
    return Mean(
        mean, mean - half, mean + half, p_value, mean - wide, mean + wide, *boot, seeds=count
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: below 0.05, the chance of any false claim is at most 5 %.

    NaN (a test that could not be made) stays NaN and is not counted.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    order = [i for i in np.argsort(values, kind="stable") if not np.isnan(values[i])]
    largest = 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, float(values[i]) * (len(order) - place)))
        adjusted[i] = largest
    return adjusted.tolist()


def verdict(found: Mean, adjusted: float) -> str:
    """``ahead``, ``behind``, ``equivalent`` (or two of them), ``open``, or ``one seed``.

    Ahead and behind need Holm's p-value below 5 %; equivalent needs the interval within the margin,
    and can go with either: a difference that is sure and small.
    """
    if found.seeds < 2:
        return "one seed"
    said = []
    if adjusted < 1 - CONFIDENCE:
        said.append("ahead" if found.mean > 0 else "behind")
    if found.equivalent:
        said.append("equivalent")
    return ", ".join(said) or "open"


def average_ranks(table: Mapping[str, BySet], sets: Sequence[str]) -> dict[str, Mean]:
    """The rank of each row by its loss, 1 is best, ties shared: by set and seed, averaged over
    sets, then over seeds. Only seeds in which all rows have all sets count.

    Examples
    --------
    >>> ranks = average_ranks({"a": {"d": {0: 0.1}}, "b": {"d": {0: 0.3}}}, ["d"])
    >>> {name: rank.mean for name, rank in ranks.items()}
    {'a': 1.0, 'b': 2.0}
    """
    if not table or not sets:
        return {}
    seeds = set.intersection(
        *(set(by_set.get(name, {})) for by_set in table.values() for name in sets)
    )
    if not seeds:
        return {}
    cube = np.array(
        [
            [[by_set[name][seed] for seed in sorted(seeds)] for name in sets]
            for by_set in table.values()
        ]
    )
    ranks = rankdata(cube, axis=0).mean(1)
    found = {name: mean_over_seeds(row) for name, row in zip(table, ranks)}
    return {name: mean for name, mean in found.items() if mean is not None}


def practical_size(
    mine: np.ndarray, other: np.ndarray, targets: np.ndarray, noise: float
) -> dict[str, float]:
    """In percent of the molecules: whose prediction moves by more than ``noise``, and whose error
    shrinks, or grows, by more than that.

    Parameters
    ----------
    mine, other, targets : numpy.ndarray
        Predictions and measured values, in the unit of the target. NaN is not measured.

    Examples
    --------
    >>> practical_size(np.array([1.0, 2.0]), np.array([1.5, 2.1]), np.array([1.0, 2.0]), 0.3)
    {'moved': 50.0, 'better': 50.0, 'worse': 0.0}
    """
    known = ~np.isnan(targets)
    mine, other, targets = mine[known], other[known], targets[known]
    gain = np.abs(other - targets) - np.abs(mine - targets)
    return {
        "moved": float(100 * np.mean(np.abs(mine - other) > noise)),
        "better": float(100 * np.mean(gain > noise)),
        "worse": float(100 * np.mean(gain < -noise)),
    }
