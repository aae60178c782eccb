"""Is one method better than another, or were the test sets kind to it? Paired statistics.

The protocol: a seed draws a test set of 10 % of the rows and cuts the rest into 5 folds; each
fold is the validation set of one model, which is trained on 72 % of the rows and scored on the
seed's test set. All methods see the same splits, so the difference between two methods is taken
cell by cell (seed, fold), and what makes one test set harder than another cancels.

The differences are not independent, for two reasons. Models of one seed share their test set and
most of their training rows. Models of different seeds are drawn from the same rows: test sets
overlap by a tenth, training sets by far more. A test that takes 25 differences for 25
experiments finds winners where there are none. Every interval here states what it assumes:

- :func:`corrected_t_test` over all differences (Nadeau and Bengio 2003) allows for rows that
  all splits share, not for the test set that the models of one seed share;
- the same test over the means of the seeds allows for both. Each seed is then one random
  split, which is the case Nadeau and Bengio wrote about; the price is seeds - 1 degrees of
  freedom;
- :func:`cluster_bootstrap` allows for the shared test set, not for shared rows.

References
----------
C. Nadeau and Y. Bengio, "Inference for the Generalization Error", Machine Learning 52 (2003).
R. R. Bouckaert and E. Frank, "Evaluating the Replicability of Significance Tests for Comparing
Learning Algorithms", PAKDD 2004.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from dgl_gmpool._options import positive_int
from dgl_gmpool.training.metrics import METRICS
from experiments.table2.scores import FoldScore

#: Test rows by training rows of one model: 10 % are tested, 4 of 5 folds of the rest trained on.
PROTOCOL_RATIO = 0.1 / (0.9 * 0.8)

Interval = tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """What the table prints of one method on one data set.

    Attributes
    ----------
    mean : float
        Over the test scores of all folds of all seeds.
    std : float
        Over the same scores, dividing by their number - 1. It mixes the difference between test
        sets with the difference between models.
    fold_std : float
        The spread of the paper's Table 2, which has one test set: the standard deviation over
        the folds of a seed (dividing by folds - 1), as root mean square over the seeds,
        weighted by their folds - 1.
    models, failed : int
        Scores averaged; models without a score (NaN), which are in no average.
    seeds : int
        Seeds with at least one score.

    All are NaN where they are not defined: the mean of nothing, the spread of one value.
    """

    mean: float
    std: float
    fold_std: float
    models: int
    failed: int
    seeds: int


@dataclass(frozen=True)
class TTest:
    """A two-sided t-test that a mean difference is zero.

    Attributes
    ----------
    difference : float
        The mean of the differences it was given.
    interval : (float, float)
        Its confidence interval; NaN with fewer than two differences.
    p_value : float
    count : int
        Number of differences; degrees of freedom are one less.
    """

    difference: float
    interval: Interval
    p_value: float
    count: int


@dataclass(frozen=True)
class PairedComparison:
    """One method beside the baseline on one data set; positive differences favour the method.

    Attributes
    ----------
    pairs : int
        Cells (seed, fold) in which both have a score. Nothing else is compared.
    seeds : int
        Seeds among them.
    unpaired : int
        Cells that only one of the two has trained.
    failed : int
        Cells in which at least one of the two has NaN.
    difference, std : float
        Mean and standard deviation (dividing by pairs - 1) of the differences.
    ratio : float
        Test rows by training rows of one model.
    correlation : float
        :func:`intraclass_correlation` of differences of the same seed.
    by_model : TTest
        Corrected t-test over all differences.
    by_seed : TTest
        Corrected t-test over the mean differences of the seeds.
    bootstrap : (float, float)
        Percentile interval of :func:`cluster_bootstrap`.
    """

    pairs: int
    seeds: int
    unpaired: int
    failed: int
    difference: float
    std: float
    ratio: float
    correlation: float
    by_model: TTest
    by_seed: TTest
    bootstrap: Interval


def summarize(scores: Sequence[FoldScore]) -> Summary:
    """Mean and spread of the test scores of one method on one data set.

    Examples
    --------
    >>> rows = [FoldScore("d", "m", s, f, "rmse", None, x, 10)
    ...         for s, f, x in [(0, 0, 1.0), (0, 1, 3.0), (1, 0, 4.0), (1, 1, 4.0)]]
    >>> summary = summarize(rows)
    >>> summary.mean, round(summary.std, 4), summary.fold_std
    (3.0, 1.4142, 1.0)
    """
    found = [row for row in _cells(scores).values() if not row.failed]
    values = np.array([row.test for row in found])
    groups = [
        np.array([row.test for row in found if row.seed == seed])
        for seed in sorted({row.seed for row in found})
    ]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return Summary(
        mean=float(values.mean()) if len(values) else math.nan,
        std=float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        fold_std=math.sqrt(squares / freedom) if freedom else math.nan,
        models=len(values),
        failed=len(scores) - len(values),
        seeds=len(groups),
    )


def corrected_t_test(
    differences: np.ndarray, *, ratio: float = PROTOCOL_RATIO, confidence: float = 0.95
) -> TTest:
    r"""The corrected resampled t-test of Nadeau and Bengio (2003).

    The variance of the mean of :math:`J` differences with sample variance :math:`s^2` is taken
    to be :math:`s^2 (1/J + n_{test}/n_{train})`, and the mean divided by its root to follow
    Student's t with :math:`J - 1` degrees of freedom.

    It assumes that any two differences have the same correlation, and that this is
    ``n_test / (n_test + n_train)``: a rule of thumb for random splits of the same rows.
    However many splits are drawn, the interval does not shrink below what the rows allow.
    Given every model of a seed, the assumption is broken: they share one test set, their
    correlation is higher, and the interval too narrow, the more so the fewer seeds there are.
    With one seed it says nothing about other test sets. Given one mean per seed, each is one
    random split; with three seeds Student's factor is 4.3.

    Parameters
    ----------
    differences : numpy.ndarray
        ``(J,)``, finite.
    ratio : float
        ``n_test / n_train`` in rows of one model. 0 gives the ordinary paired t-test.
    confidence : float
        Of the interval, in (0, 1).

    Raises
    ------
    ValueError
        A difference is not finite, or ``ratio`` or ``confidence`` out of range.

    Examples
    --------
    >>> naive = corrected_t_test(np.array([0.01, 0.03, 0.02, 0.02, 0.04]), ratio=0)
    >>> round(naive.difference, 4), round(naive.p_value, 4)
    (0.024, 0.0093)
    >>> round(corrected_t_test(np.array([0.01, 0.03, 0.02, 0.02, 0.04])).p_value, 4)
    0.0224
    """
    values = _finite(differences)
    if not (math.isfinite(ratio) and ratio >= 0):
        raise ValueError(f"ratio is {ratio!r}; give test rows / training rows, a number >= 0")
    _confidence(confidence)
    count = len(values)
    mean = float(values.mean()) if count else math.nan
    if count < 2:
        return TTest(mean, (math.nan, math.nan), math.nan, count)
    error = math.sqrt(float(values.var(ddof=1)) * (1 / count + ratio))
    half = error * float(student_t.ppf(0.5 + confidence / 2, count - 1))
    if error > 0:
        p_value = float(2 * student_t.sf(abs(mean) / error, count - 1))
    else:
        p_value = 1.0 if mean == 0 else 0.0
    return TTest(mean, (mean - half, mean + half), p_value, count)


def bootstrap_means(
    differences: np.ndarray, clusters: np.ndarray, *, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Means of resampled differences: clusters with replacement, then members within each.

    Parameters
    ----------
    differences, clusters : numpy.ndarray
        ``(J,)``: the differences and the cluster (seed) each belongs to.
    resamples : int
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        ``(resamples,)``. A resample has as many clusters as there are, each with as many
        members as it has; its mean is over all of them.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(cluster)
    ordered = differences[np.argsort(cluster, kind="stable")]
    starts = np.cumsum(sizes) - sizes
    drawn = rng.integers(0, len(sizes), (resamples, len(sizes)))
    size = sizes[drawn][:, :, None]
    uniform = rng.random((resamples, len(sizes), int(sizes.max())))
    # float64 below 1 times a small integer stays below it, so no index runs over.
    member = (uniform * size).astype(np.int64)
    used = np.arange(int(sizes.max())) < size
    # An unused place may not point outside; what it points at is left out of the sum.
    values = ordered[np.where(used, starts[drawn][:, :, None] + member, 0)]
    return np.where(used, values, 0.0).sum((1, 2)) / used.sum((1, 2))


def cluster_bootstrap(
    differences: np.ndarray,
    clusters: np.ndarray,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean difference, resampling seeds and then folds within a seed.

    It assumes that seeds are independent draws and nothing about the shape of the distribution.
    Models of a seed may be as alike as they are: seeds are drawn whole. That seeds share rows is
    not allowed for, so it speaks about other seeds on these rows, not about other rows. With few
    seeds it is too narrow: it knows no wider spread than those few seeds show (their variance
    comes out smaller by (seeds - 1) / seeds, and there is no Student's factor). With one seed
    it only resamples folds and says nothing about other test sets.

    Parameters
    ----------
    differences, clusters : numpy.ndarray
        ``(J,)``: finite differences, and the seed each belongs to.
    confidence : float
        In (0, 1); 0.95 gives the 2.5 and 97.5 % points.
    resamples : int
    seed : int
        Of the random numbers; the same gives the same interval.

    Returns
    -------
    (float, float)
        NaN with fewer than two differences.

    Raises
    ------
    ValueError
        The lengths differ, a difference is not finite, or an option is out of range.

    Examples
    --------
    >>> low, high = cluster_bootstrap(np.array([1.0, 2.0, 5.0, 6.0]), np.array([0, 0, 1, 1]))
    >>> low, high
    (1.25, 5.75)
    """
    values, groups = _finite(differences), np.asarray(clusters)
    if groups.shape != values.shape:
        raise ValueError(
            f"{len(values)} differences with clusters of shape {groups.shape}; give one cluster "
            "per difference"
        )
    _confidence(confidence)
    positive_int("resamples", resamples)
    if len(values) < 2:
        return (math.nan, math.nan)
    means = bootstrap_means(values, groups, resamples=resamples, rng=np.random.default_rng(seed))
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return (float(low), float(high))


def intraclass_correlation(differences: np.ndarray, clusters: np.ndarray) -> float:
    """Estimated correlation of two differences of the same cluster (seed).

    One-way analysis of variance: the variance between clusters by that between and within. A
    corrected t-test over all differences rests on a value near ``ratio / (1 + ratio)``, 0.12
    in this protocol; where this is much higher, its interval is too narrow.

    Returns
    -------
    float
        At most 1; below 0 (then chance) where the means of clusters are closer than their
        members' spread explains. NaN with fewer than two clusters, without a cluster of two, or
        where all differences are equal.

    Examples
    --------
    >>> intraclass_correlation(np.array([1.0, 1.0, 5.0, 5.0]), np.array([0, 0, 1, 1]))
    1.0
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(cluster)
    if len(sizes) < 2 or sizes.max() < 2:
        return math.nan
    means = np.bincount(cluster, weights=differences) / sizes
    within = float(((differences - means[cluster]) ** 2).sum()) / (len(differences) - len(sizes))
    spread = float((sizes * (means - differences.mean()) ** 2).sum()) / (len(sizes) - 1)
    # The size that makes the estimate unbiased where clusters are not equally large.
    size = (len(differences) - float((sizes**2).sum()) / len(differences)) / (len(sizes) - 1)
    between = (spread - within) / size
    total = between + within
    return between / total if total > 0 else math.nan


def compare(
    scores: Sequence[FoldScore],
    baseline: Sequence[FoldScore],
    *,
    ratio: float = PROTOCOL_RATIO,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedComparison:
    """Compare a method with the baseline in the cells (seed, fold) that both have.

    Differences are signed so that positive is better than the baseline, whether the metric is
    to be high (ROC-AUC) or low (RMSE).

    Parameters
    ----------
    scores, baseline : sequence of FoldScore
        Rows of one method each, on the same data set and metric.
    ratio : float
        Test rows by training rows of one model, see :func:`corrected_t_test`.
    confidence, resamples, seed
        See :func:`cluster_bootstrap`.

    Raises
    ------
    ValueError
        Rows of several methods, data sets or metrics; a cell twice; or a cell in which the two
        were tested on different numbers of rows, so that they cannot be paired.
    """
    left, right = _cells(scores), _cells(baseline)
    kinds = {(row.dataset, row.metric) for row in (*scores, *baseline)}
    if len(kinds) > 1:
        raise ValueError(f"rows of one data set and metric can be compared, not of {sorted(kinds)}")
    common = sorted(set(left) & set(right))
    for cell in common:
        if left[cell].test_rows != right[cell].test_rows:
            a, b = left[cell], right[cell]
            raise ValueError(
                f"{a.dataset}, seed {a.seed}, fold {a.fold}: {a.method} was tested on "
                f"{a.test_rows} rows and {b.method} on {b.test_rows}, so they cannot be paired; "
                "train both on the same splits and rows"
            )
    paired = [cell for cell in common if not (left[cell].failed or right[cell].failed)]
    sign = 1.0 if not kinds or METRICS[next(iter(kinds))[1]].higher_is_better else -1.0
    differences = sign * np.array([left[cell].test - right[cell].test for cell in paired])
    groups = np.array([cell[0] for cell in paired], dtype=np.int64)
    means = np.array([differences[groups == group].mean() for group in np.unique(groups)])
    return PairedComparison(
        pairs=len(paired),
        seeds=len(means),
        unpaired=len(set(left) ^ set(right)),
        failed=sum(left[cell].failed or right[cell].failed for cell in common),
        difference=float(differences.mean()) if paired else math.nan,
        std=float(differences.std(ddof=1)) if len(paired) > 1 else math.nan,
        ratio=ratio,
        correlation=intraclass_correlation(differences, groups),
        by_model=corrected_t_test(differences, ratio=ratio, confidence=confidence),
        by_seed=corrected_t_test(means, ratio=ratio, confidence=confidence),
        bootstrap=cluster_bootstrap(
            differences, groups, confidence=confidence, resamples=resamples, seed=seed
        ),
    )


def is_winner(comparison: PairedComparison) -> bool:
    """True where the method is better than the baseline and chance is no good explanation.

    That is: the bootstrap interval and both corrected t intervals (over all models, and over the
    means of the seeds) lie above zero, and no model of the two failed in a cell (failures are
    not missing at random). It needs two seeds at least.

    Why the means of the seeds: with two ridge models that are equal by construction, this
    protocol, 5 seeds x 5 folds and 600 data sets, so many were given a winner or loser at 95 %,
    by the correlation of the differences of a seed (lower with more chance in the training):

    ============================================  =====  =====  =====  =====
    correlation within a seed                      0.78   0.64   0.48   0.28
    ============================================  =====  =====  =====  =====
    ordinary paired t-test over the 25 models      46 %   40 %   36 %   25 %
    bootstrap                                      23 %   21 %   19 %   12 %
    corrected t-test over the 25 models            15 %   11 %    6 %    3 %
    corrected t-test over the means of 5 seeds      4 %    3 %    3 %    3 %
    all but the first agree: the rule here          3 %    3 %    2 %    1 %
    ============================================  =====  =====  =====  =====

    (3 seeds, in the same order: 48 to 23, 26 to 14, 24 to 6, 3 to 5, 1 to 4 %.) In the first
    column larger data sets do worse: with 2,500 rows the corrected test over models is at 24 %.
    :attr:`PairedComparison.correlation` says where a comparison stands.
    ``tests/test_comparison_statistics.py`` repeats this on a smaller scale.
    """
    return _decided(comparison) and all(low > 0 for low, _ in _intervals(comparison))


def is_loser(comparison: PairedComparison) -> bool:
    """True where the method is worse than the baseline, by the rule of :func:`is_winner`."""
    return _decided(comparison) and all(high < 0 for _, high in _intervals(comparison))


def average_ranks(means: np.ndarray) -> np.ndarray:
    """Ranks of the methods, averaged over data sets; 1 is the best.

    Parameters
    ----------
    means : numpy.ndarray
        ``(data sets, methods)``, high is good (negate an RMSE); NaN where a method has no
        complete result.

    Returns
    -------
    numpy.ndarray
        ``(methods,)``. Ties share the mean of their ranks. A method with a NaN gets NaN and
        takes no rank from the others.

    Examples
    --------
    >>> average_ranks(np.array([[0.7, 0.8, 0.8, 0.9], [0.6, 0.5, 0.4, np.nan]])).tolist()
    [2.0, 1.75, 2.25, nan]
    """
    values = np.asarray(means, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"means have shape {values.shape}; give (data sets, methods)")
    ranks = np.full(values.shape[1], np.nan)
    complete = ~np.isnan(values).any(0)
    if len(values) == 0 or not complete.any():
        return ranks
    kept = values[:, complete]
    above = (kept[:, None, :] > kept[:, :, None]).sum(-1)
    equal = (kept[:, None, :] == kept[:, :, None]).sum(-1)
    ranks[complete] = (above + (equal + 1) / 2).mean(0)
    return ranks


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: below 0.05, the chance of any false winner is at most 5 %.

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


def _decided(comparison: PairedComparison) -> bool:
    # One seed is one test set: its models can agree on what is only true of these rows.
    return comparison.seeds >= 2 and comparison.failed == 0


def _intervals(comparison: PairedComparison) -> tuple[Interval, Interval, Interval]:
    return (comparison.bootstrap, comparison.by_model.interval, comparison.by_seed.interval)


def _cells(scores: Sequence[FoldScore]) -> dict[tuple[int, int], FoldScore]:
    kinds = {(row.dataset, row.method, row.metric) for row in scores}
    if len(kinds) > 1:
        raise ValueError(
            f"expected rows of one data set, method and metric, found {sorted(kinds)}; "
            "select them first"
        )
    found = {(row.seed, row.fold): row for row in scores}
    if len(found) < len(scores):
        raise ValueError(
            f"{len(scores)} rows of {scores[0].method} on {scores[0].dataset} have only "
            f"{len(found)} different cells (seed, fold); remove the repeated ones"
        )
    return found


def _finite(values: np.ndarray) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError(
            f"differences of shape {found.shape}, {int((~np.isfinite(found)).sum())} of them not "
            "finite; give a vector of finite numbers and leave out models without a score"
        )
    return found


def _confidence(value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"confidence is {value!r}; give a number in (0, 1), such as 0.95")
