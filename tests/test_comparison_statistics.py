"""The results file and its statistics against formulas, enumeration and simulation."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from experiments.table2.scores import COLUMNS, FoldScore, read_scores, write_scores
from experiments.table2.statistics import (
    PROTOCOL_RATIO,
    average_ranks,
    bootstrap_means,
    cluster_bootstrap,
    compare,
    corrected_t_test,
    holm,
    intraclass_correlation,
    is_loser,
    is_winner,
    summarize,
)

NAN = float("nan")


def score(method="mean", seed=0, fold=0, test=0.5, *, dataset="tox21", metric="roc_auc", **more):
    more = {"valid": None, "test_rows": 252, **more}
    return FoldScore(dataset, method, seed, fold, metric, test=test, **more)


def grid(method, values, **more):
    """Rows of a ``(seeds, folds)`` array."""
    return [
        score(method, s, f, x, **more)
        for s, row in enumerate(np.asarray(values))
        for f, x in enumerate(row)
    ]


# The file. ------------------------------------------------------------------------------------


def some_rows():
    rng = np.random.default_rng(0)
    rows = [
        score(
            method,
            seed,
            fold,
            rng.normal() * 10.0 ** rng.integers(-300, 300),
            valid=rng.normal(),
            best_epoch=3,
            epochs=30,
            parameters=152_601,
            seconds=rng.random() * 100,
            settings='{"lr": 0.001, "name": "a, \\"b\\""}',
            commit="abc+changes",
        )
        for method in ("mean", "gmpool")
        for seed in (10, 9)
        for fold in (1, 0)
    ]
    return [*rows, score("forest", valid=None), score("forest", dataset="plqy", metric="rmse")]


def test_a_round_trip_keeps_every_bit_and_sorts(tmp_path):
    rows = some_rows()
    path = tmp_path / "new" / "scores.csv"
    write_scores(path, rows)
    found = read_scores(path)
    assert found == sorted(rows, key=lambda row: (row.dataset, row.method, row.seed, row.fold))
    text = path.read_text()
    write_scores(path, reversed(found))
    assert path.read_text() == text
    assert text.startswith(",".join(COLUMNS) + "\n")
    assert len(text.splitlines()) == len(rows) + 1
    assert [file.name for file in path.parent.iterdir()] == ["scores.csv"]


def test_a_model_without_a_score_is_nan_and_numpy_numbers_become_plain(tmp_path):
    row = score(test=np.float32("nan"), seed=np.int64(3), seconds=np.float64(0.1))
    write_scores(tmp_path / "s.csv", [row])
    (found,) = read_scores(tmp_path / "s.csv")
    assert found.failed
    assert not score().failed
    assert (found.seed, found.seconds) == (3, 0.1)
    assert ",nan,252," in (tmp_path / "s.csv").read_text()
    assert [type(getattr(row, name)) for name in ("seed", "seconds", "test")] == [int, float, float]


def test_a_missing_file_is_empty_only_where_asked(tmp_path):
    assert read_scores(tmp_path / "none.csv", missing_ok=True) == []
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_scores(tmp_path / "none.csv")


def test_an_empty_list_is_a_header(tmp_path):
    write_scores(tmp_path / "s.csv", [])
    assert read_scores(tmp_path / "s.csv") == []


def test_repeated_keys_are_named_and_nothing_is_written(tmp_path):
    path = tmp_path / "s.csv"
    rows = [score(seed=7, fold=2), score(seed=7, fold=2, test=0.6), score(seed=7, fold=3)]
    with pytest.raises(ValueError, match="tox21, mean, seed 7, fold 2;"):
        write_scores(path, rows)
    assert not path.exists()
    write_scores(path, [rows[0], rows[2]])
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(ValueError, match=r"line 4: tox21, mean, seed 7, fold 2 .* line 2"):
        read_scores(path)


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("seed", "1.5", "invalid literal"),
        ("seed", "", "invalid literal"),
        ("fold", "-1", "integer >= 0"),
        ("metric", "roc_acu", "Did you mean 'roc_auc'"),
        ("test", "", "leave out the row of an unfinished fold"),
        ("test", "inf", "finite"),
        ("test", "0,5", "cells where the header has"),
        ("test_rows", "0", "at least one row"),
        ("seconds", "-3", ">= 0"),
        ("settings", "{lr: 1}", "not JSON"),
        ("method", " mean", "without spaces"),
        ("method", "", "without spaces"),
    ],
)
def test_a_bad_cell_is_named_by_line_and_column(tmp_path, column, cell, message):
    path = tmp_path / "s.csv"
    write_scores(path, [score(fold=0), score(fold=1)])
    lines = path.read_text().splitlines()
    cells = lines[2].split(",")
    cells[COLUMNS.index(column)] = cell
    path.write_text("\n".join([*lines[:2], ",".join(cells)]) + "\n\n")
    with pytest.raises(ValueError, match=r"s\.csv, line 3") as caught:
        read_scores(path)
    assert message in str(caught.value)
    assert ("column " + column in str(caught.value)) or "," in cell
    assert "train this fold again" in str(caught.value)


def test_missing_and_unknown_columns_are_named(tmp_path):
    path = tmp_path / "s.csv"
    write_scores(path, [score()])
    text = path.read_text()
    path.write_text(text.replace("best_epoch", "bestepoch"))
    with pytest.raises(ValueError, match=r"no column 'best_epoch'.*'bestepoch'"):
        read_scores(path)
    path.write_text(
        "\n".join(line + ",1" for line in text.splitlines()).replace("commit,1", "commit,x")
    )
    with pytest.raises(ValueError, match="a results file has not: x"):
        read_scores(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": True}, "seed is True"),
        ({"fold": 0.0}, "fold is 0.0"),
        ({"test": None}, "test is None"),
        ({"test": float("inf")}, "test is inf"),
        ({"metric": "auc"}, "metric 'auc'"),
        ({"settings": "{"}, "settings is not JSON"),
        ({"settings": "{\n}"}, "one line"),
        ({"method": "a\nb"}, "method"),
        ({"parameters": -1}, "parameters is -1"),
        ({"seconds": NAN}, "seconds is nan"),
    ],
)
def test_a_bad_row_cannot_be_made(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        replace(score(), **change)


# Mean and spread. -----------------------------------------------------------------------------


def test_summary_by_hand():
    values = [[0.70, 0.72, 0.74], [0.80, 0.80, 0.86]]
    found = summarize([*grid("mean", values), score(seed=2, test=NAN)])
    flat = [x for row in values for x in row]
    assert found.mean == pytest.approx(sum(flat) / 6)
    assert found.std == pytest.approx(math.sqrt(sum((x - found.mean) ** 2 for x in flat) / 5))
    # Variances within the seeds: 0.0004 and 0.0012.
    assert found.fold_std == pytest.approx(math.sqrt(0.0008))
    assert (found.models, found.failed, found.seeds) == (6, 1, 2)


def test_summary_of_little():
    one = summarize([score(test=0.7)])
    assert (one.mean, one.models) == (0.7, 1)
    assert math.isnan(one.std)
    assert math.isnan(one.fold_std)
    none = summarize([score(test=NAN)])
    assert math.isnan(none.mean)
    assert (none.models, none.failed) == (0, 1)


def test_rows_of_two_methods_or_a_repeated_cell_are_refused():
    with pytest.raises(ValueError, match="gmpool"):
        summarize([score("mean"), score("gmpool", fold=1)])
    with pytest.raises(ValueError, match="only 1 different cells"):
        summarize([score(), score(test=0.6)])


# Corrected t-test. ----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 5, 25])
def test_corrected_t_against_the_formula(count):
    d = np.random.default_rng(count).normal(0.01, 0.02, count)
    mean = sum(d) / count
    variance = sum((x - mean) ** 2 for x in d) / (count - 1)
    test_rows, train_rows = 252, 1808
    error = math.sqrt((1 / count + test_rows / train_rows) * variance)
    found = corrected_t_test(d, ratio=test_rows / train_rows, confidence=0.9)
    factor = stats.t.ppf(0.95, count - 1)
    assert found.interval == pytest.approx((mean - factor * error, mean + factor * error))
    assert found.p_value == pytest.approx(2 * stats.t.cdf(-abs(mean) / error, count - 1))
    assert (found.difference, found.count) == (pytest.approx(mean), count)


def test_without_correction_it_is_the_paired_t_test():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 12))
    found = corrected_t_test(a - b, ratio=0)
    expected = stats.ttest_rel(a, b)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_more_splits_do_not_shrink_the_interval_to_nothing():
    rng = np.random.default_rng(2)
    widths = []
    for count in (10, 1000, 100_000):
        low, high = corrected_t_test(rng.normal(size=count)).interval
        widths.append(high - low)
    assert widths[2] == pytest.approx(2 * 1.96 * math.sqrt(PROTOCOL_RATIO), rel=0.02)
    assert widths[0] > widths[1] > widths[2]


def test_t_test_of_little():
    for values in ([], [0.3]):
        found = corrected_t_test(np.array(values))
        assert all(map(math.isnan, (*found.interval, found.p_value)))
    same = corrected_t_test(np.zeros(4))
    assert (same.interval, same.p_value) == ((0.0, 0.0), 1.0)
    assert corrected_t_test(np.full(4, 0.5)).p_value == 0.0


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([0.0, NAN], {}, "1 of them not finite"),
        ([[0.0, 1.0]], {}, "shape"),
        ([0.0, 1.0], {"ratio": -0.1}, "ratio"),
        ([0.0, 1.0], {"confidence": 95}, "confidence is 95"),
    ],
)
def test_t_test_refuses(values, options, message):
    with pytest.raises(ValueError, match=message):
        corrected_t_test(np.array(values), **options)


# Bootstrap. -----------------------------------------------------------------------------------


def every_resample(groups):
    """All equally likely outcomes of drawing groups and then their members, with their weight."""
    outcomes = {}
    for chosen in itertools.product(groups, repeat=len(groups)):
        ways = math.prod(len(group) ** len(group) for group in chosen)
        for members in itertools.product(
            *(itertools.product(group, repeat=len(group)) for group in chosen)
        ):
            values = [x for member in members for x in member]
            mean = round(sum(values) / len(values), 9)
            weight = 1 / (len(groups) ** len(groups) * ways)
            outcomes[mean] = outcomes.get(mean, 0.0) + weight
    return outcomes


@pytest.mark.parametrize(
    "groups",
    [[[0.0, 1.0], [5.0, 7.0]], [[0.0, 1.0, 4.0], [2.0], [9.0, 3.0]], [[1.0, 2.0, 4.0]]],
)
def test_bootstrap_against_enumeration(groups):
    exact = every_resample(groups)
    assert sum(exact.values()) == pytest.approx(1)
    values = np.array([x for group in groups for x in group])
    clusters = np.array([7 * i for i, group in enumerate(groups) for _ in group])
    order = np.random.default_rng(0).permutation(len(values))  # the order must not matter
    draws = 40_000
    means = bootstrap_means(
        values[order], clusters[order], resamples=draws, rng=np.random.default_rng(1)
    )
    found, counts = np.unique(means.round(9), return_counts=True)
    assert set(found.tolist()) <= set(exact)
    for mean, weight in exact.items():
        share = counts[found == mean].sum() / draws
        assert abs(share - weight) < 5 * math.sqrt(weight / draws)
    low, high = cluster_bootstrap(values, clusters, confidence=0.8)
    below = sum(w for mean, w in exact.items() if mean < low - 1e-6)
    above = sum(w for mean, w in exact.items() if mean > high + 1e-6)
    assert below <= 0.1 + 0.01
    assert above <= 0.1 + 0.01
    assert sum(w for mean, w in exact.items() if mean <= low + 1e-6) >= 0.1 - 0.01
    assert sum(w for mean, w in exact.items() if mean >= high - 1e-6) >= 0.1 - 0.01


def test_bootstrap_repeats_itself_and_refuses():
    values, seeds = np.arange(6.0), np.repeat([0, 1], 3)
    assert cluster_bootstrap(values, seeds) == cluster_bootstrap(values, seeds)
    assert cluster_bootstrap(values, seeds, seed=1, resamples=50) != cluster_bootstrap(
        values, seeds, seed=2, resamples=50
    )
    assert all(map(math.isnan, cluster_bootstrap(values[:1], seeds[:1])))
    with pytest.raises(ValueError, match="one cluster per difference"):
        cluster_bootstrap(values, seeds[:3])
    with pytest.raises(ValueError, match="resamples"):
        cluster_bootstrap(values, seeds, resamples=0)


# Pairs. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "sign"), [("roc_auc", 1), ("rmse", -1), ("mae", -1), ("r2", 1)])
def test_positive_is_better_whatever_the_metric(metric, sign):
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.7, 0.1, (2, 5, 5))
    found = compare(grid("gmpool", a, metric=metric), grid("mean", b, metric=metric))
    difference = sign * (a - b)
    assert found.difference == pytest.approx(difference.mean())
    assert found.std == pytest.approx(difference.std(ddof=1))
    expected = corrected_t_test(difference.ravel())
    assert found.by_model.interval == pytest.approx(expected.interval)
    expected = corrected_t_test(difference.mean(1))
    assert found.by_seed.interval == pytest.approx(expected.interval)
    assert found.bootstrap == pytest.approx(
        cluster_bootstrap(difference.ravel(), np.repeat(np.arange(5), 5))
    )
    swapped = compare(grid("mean", b, metric=metric), grid("gmpool", a, metric=metric))
    assert swapped.difference == pytest.approx(-found.difference)


@pytest.mark.parametrize(("metric", "wins"), [("roc_auc", True), ("rmse", False)])
def test_a_clear_difference_is_marked_in_the_right_direction(metric, wins):
    noise = np.random.default_rng(4).normal(0, 0.01, (2, 5, 5))
    high = grid("gmpool", 0.9 + noise[0], metric=metric)
    low = grid("mean", 0.7 + noise[1], metric=metric)
    assert is_winner(compare(high, low)) is wins
    assert is_loser(compare(high, low)) is not wins
    assert is_winner(compare(low, high)) is not wins


def test_each_interval_can_withhold_the_mark():
    rng = np.random.default_rng(4)
    found = compare(
        grid("a", 0.9 + rng.normal(0, 0.01, (5, 5))), grid("b", rng.normal(0.7, 0.01, (5, 5)))
    )
    assert is_winner(found)
    wide = (-0.1, 0.3)
    assert not is_winner(replace(found, bootstrap=wide))
    assert not is_winner(replace(found, by_model=replace(found.by_model, interval=wide)))
    assert not is_winner(replace(found, by_seed=replace(found.by_seed, interval=wide)))
    assert not is_winner(replace(found, bootstrap=(NAN, NAN)))


def test_one_seed_marks_nothing_however_clear():
    noise = np.random.default_rng(5).normal(0, 0.01, (2, 1, 5))
    found = compare(grid("gmpool", 0.9 + noise[0]), grid("mean", 0.5 + noise[1]))
    assert found.by_model.interval[0] > 0
    assert found.bootstrap[0] > 0
    assert math.isnan(found.by_seed.p_value)
    assert not is_winner(found)


def test_only_common_cells_are_compared_and_the_rest_is_counted():
    a = np.random.default_rng(6).normal(size=(3, 4))
    method = [row for row in grid("gmpool", a + 1) if (row.seed, row.fold) != (2, 3)]
    method[0] = replace(method[0], test=NAN)
    baseline = [row for row in grid("mean", a) if row.seed != 1 or row.fold == 0]
    found = compare(method, baseline)
    assert (found.pairs, found.seeds, found.unpaired, found.failed) == (7, 3, 4, 1)
    assert found.difference == pytest.approx(1)
    assert not is_winner(found)  # a model failed
    assert is_winner(compare(method[1:], baseline))
    nothing = compare(method, [])
    assert (nothing.pairs, nothing.unpaired) == (0, 11)
    assert math.isnan(nothing.difference)
    assert not is_winner(nothing)


def test_what_cannot_be_paired_is_refused():
    with pytest.raises(ValueError, match="gmpool was tested on 251 rows and mean on 252"):
        compare([score("gmpool", test_rows=251)], [score("mean")])
    with pytest.raises(ValueError, match="rmse"):
        compare([score("gmpool", metric="rmse")], [score("mean")])
    with pytest.raises(ValueError, match="plqy"):
        compare([score("gmpool", dataset="plqy")], [score("mean")])


def test_a_method_beside_itself_is_no_winner():
    rows = grid("mean", np.random.default_rng(7).normal(size=(3, 5)))
    found = compare(rows, rows)
    assert found.by_model.interval == found.bootstrap == (0.0, 0.0)
    assert not is_winner(found)
    assert not is_loser(found)


def test_correlation_within_seeds_is_recovered():
    rng = np.random.default_rng(8)
    seeds = np.repeat(np.arange(4000), 5)
    values = rng.normal(size=4000)[seeds] * math.sqrt(0.3) + rng.normal(size=20_000) * math.sqrt(
        0.7
    )
    assert intraclass_correlation(values, seeds) == pytest.approx(0.3, abs=0.02)
    kept = rng.random(20_000) < 0.6  # seeds of unequal size
    assert intraclass_correlation(values[kept], seeds[kept]) == pytest.approx(0.3, abs=0.03)
    assert math.isnan(intraclass_correlation(values[:5], seeds[:5]))
    assert math.isnan(intraclass_correlation(values[::5], seeds[::5]))


# Simulation: two models that are equal by construction. ----------------------------------------


def equal_models(datasets: int, seeds: int, *, rows=300, width=10, folds=5) -> np.ndarray:
    """RMSE differences ``(datasets, seeds, folds)`` of ridge models on two halves of the features.

    The halves have the same distribution and weights, so neither model is better; everything
    else is this package's protocol: test rows drawn by seed, the rest cut into folds.
    """
    rng = np.random.default_rng(0)
    out = np.empty((datasets, seeds, folds))
    for i in range(datasets):
        x = rng.normal(size=(rows, 2 * width))
        y = x.sum(1) / math.sqrt(width) + 2 * rng.normal(size=rows)
        for seed in range(seeds):
            order = rng.permutation(rows)
            test, parts = order[: rows // 10], np.array_split(order[rows // 10 :], folds)
            rmse = []
            for half in (slice(0, width), slice(width, None)):
                inner = np.stack([x[part, half].T @ x[part, half] for part in parts])
                right = np.stack([x[part, half].T @ y[part] for part in parts])
                gram = inner.sum(0) - inner + np.eye(width)
                weights = np.linalg.solve(gram, (right.sum(0) - right)[..., None])
                errors = y[test] - (x[test, half] @ weights)[..., 0]
                rmse.append(np.sqrt((errors**2).mean(1)))
            out[i, seed] = rmse[0] - rmse[1]
    return out


def excludes_zero(interval) -> bool:
    return not interval[0] <= 0 <= interval[1]


@pytest.fixture(scope="module")
def null():
    return equal_models(200, 10)


def test_false_winners_of_random_splits_are_those_the_correction_promises(null):
    # One model per seed: the case of Nadeau and Bengio.
    naive = np.mean([corrected_t_test(d, ratio=0).p_value < 0.05 for d in null[:, :, 0]])
    corrected = np.mean([corrected_t_test(d).p_value < 0.05 for d in null[:, :, 0]])
    assert naive > 0.12
    assert corrected < 0.07


@pytest.mark.parametrize("seeds", [3, 5])
def test_false_winners_of_the_protocol_need_the_means_of_seeds(null, seeds):
    found = [
        compare(grid("a", d, metric="r2"), grid("b", np.zeros_like(d), metric="r2"), resamples=1000)
        for d in null[:, :seeds]
    ]
    naive = np.mean([corrected_t_test(d.ravel(), ratio=0).p_value < 0.05 for d in null[:, :seeds]])
    by_model = np.mean([excludes_zero(c.by_model.interval) for c in found])
    by_seed = np.mean([excludes_zero(c.by_seed.interval) for c in found])
    bootstrap = np.mean([excludes_zero(c.bootstrap) for c in found])
    marked = np.mean([is_winner(c) or is_loser(c) for c in found])
    assert naive > 0.35
    # Folds of a seed share their test set: these two are too eager here, ...
    assert 0.12 < by_model < naive
    assert 0.12 < bootstrap < naive
    # ... and the mark, which needs the means of the seeds, is not.
    assert by_seed < 0.07
    assert marked < 0.07
    # They can be told apart when one is better.
    shifted = [
        compare(
            grid("a", d + 1.5, metric="r2"), grid("b", np.zeros_like(d), metric="r2"), resamples=200
        )
        for d in null[:20, :seeds]
    ]
    assert sum(map(is_winner, shifted)) > 10


# Ranks and several tests. ---------------------------------------------------------------------


def test_average_ranks_against_scipy():
    means = np.random.default_rng(9).integers(0, 4, (6, 7)).astype(float)
    expected = stats.rankdata(-means, axis=1).mean(0)
    np.testing.assert_allclose(average_ranks(means), expected)
    gap = means.copy()
    gap[2, 3] = NAN
    expected = stats.rankdata(-np.delete(means, 3, axis=1), axis=1).mean(0)
    found = average_ranks(gap)
    assert math.isnan(found[3])
    np.testing.assert_allclose(np.delete(found, 3), expected)
    assert np.isnan(average_ranks(np.full((2, 3), NAN))).all()
    with pytest.raises(ValueError, match="data sets, methods"):
        average_ranks(means[0])


def test_holm_rejects_as_the_stepwise_procedure_does():
    rng = np.random.default_rng(10)
    for _ in range(50):
        p = rng.random(8) ** 4
        rejected = np.zeros(8, bool)
        for place, i in enumerate(np.argsort(p)):
            if p[i] >= 0.05 / (8 - place):
                break
            rejected[i] = True
        assert (np.array(holm(p)) < 0.05).tolist() == rejected.tolist()
        with_gap = holm([*p, NAN])
        assert with_gap[:8] == holm(p)
        assert math.isnan(with_gap[8])
