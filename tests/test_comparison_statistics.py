"""The results file and its statistics against formulas, enumeration and simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from experiments.table2.scores import COLUMNS, FoldScore, read_scores, write_scores
from experiments.table2.statistics import (
    PROTOCOL_RATIO,
    average_ranks,
    holm,
    losses,
    mean_over_seeds,
    over_sets,
    practical_size,
    relative_changes,
    verdict,
)

NAN = float("nan")


def score(method="mean", seed=0, fold=0, test=0.5, *, dataset="tox21", metric="roc_auc", **more):
    more = {"valid": None, "test_rows": 252, **more}
    return FoldScore(dataset, method, seed, fold, metric, test=test, **more)


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


# Paired changes. ------------------------------------------------------------------------------


def test_losses_are_errors_whatever_the_metric_and_failures_are_left_out():
    rows = [
        score("a", 0, 0, 0.8),
        score("a", 0, 1, 0.6),
        score("a", 1, 0, NAN),
        score("a", 0, 0, 2.0, dataset="plqy", metric="rmse"),
        score("b", 0, 0, 0.1),
    ]
    assert losses(rows, "a") == {"tox21": {0: pytest.approx(0.3)}, "plqy": {0: 2.0}}


def test_changes_are_paired_by_set_and_seed():
    mine = {"a": {0: 0.5, 1: 1.0, 2: 3.0}, "b": {0: 2.0}, "c": {0: 1.0}}
    other = {"a": {0: 1.0, 1: 0.5, 3: 1.0}, "b": {0: 2.0, 1: 1.0}}
    changes = relative_changes(mine, other)
    assert changes == {"a": {0: 50.0, 1: -100.0}, "b": {0: 0.0}, "c": {}}
    # The mean over sets is of seeds that have all of them.
    assert over_sets(changes, ["a", "b"]) == {0: 25.0}
    assert over_sets(changes, ["a", "c"]) == {}
    assert over_sets(changes, ["a", "unknown"]) == {}
    assert over_sets(changes, []) == {}


def test_a_loss_of_zero_to_compare_with_makes_no_change():
    assert relative_changes({"a": {0: 0.5}}, {"a": {0: 0.0}}) == {"a": {}}


@pytest.mark.parametrize("count", [2, 5, 25])
def test_the_interval_is_that_of_the_paired_t_test(count):
    values = np.random.default_rng(count).normal(0.3, 1, count)
    found = mean_over_seeds(values)
    expected = stats.ttest_1samp(values, 0)
    low, high = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((low, high))
    # Nadeau and Bengio: the variance of the mean is larger by n_test / n_train.
    larger = math.sqrt(1 + count * PROTOCOL_RATIO)
    assert found.wide_high - found.mean == pytest.approx(larger * (high - found.mean))
    # Two one-sided tests at 2.5 % each are the interval within the margin.
    below = stats.ttest_1samp(values, 1, alternative="less").pvalue < 0.025
    above = stats.ttest_1samp(values, -1, alternative="greater").pvalue < 0.025
    assert found.equivalent == (below and above)


def test_little_to_average():
    assert mean_over_seeds([]) is None
    one = mean_over_seeds([2.0])
    assert one.mean == 2.0
    assert math.isnan(one.low)
    assert math.isnan(one.p_value)
    assert not one.equivalent
    assert verdict(one, NAN) == "one seed"
    same = mean_over_seeds([0.0, 0.0, 0.0])
    assert (same.low, same.high, same.p_value) == (0, 0, 1)
    assert verdict(same, 1.0) == "equivalent"
    sure = mean_over_seeds([3.0, 3.0])
    assert (sure.p_value, sure.boot_low) == (0, 3)


def test_verdicts():
    rng = np.random.default_rng(0)
    for mean, spread, said in (
        (5.0, 1.0, "ahead"),
        (-5.0, 1.0, "behind"),
        (0.5, 0.2, "ahead, equivalent"),
        (0.0, 0.2, "equivalent"),
        (1.0, 9.0, "open"),
    ):
        values = rng.normal(size=25)
        found = mean_over_seeds(mean + spread * (values - values.mean()) / values.std())
        assert verdict(found, found.p_value) == said
    # What Holm does not leave is not ahead.
    found = mean_over_seeds(2 + rng.normal(size=25))
    assert verdict(found, 0.2) == "open"


# Simulation: two models that are equal by construction. ----------------------------------------


def equal_models(repeats: int, seeds: int, *, rows=300, width=10) -> np.ndarray:
    """RMSE differences ``(repeats, seeds)`` of ridge models on two halves of the features.

    The halves have the same distribution and weights, so neither model is better; everything
    else is the protocol: a seed draws test, validation and training rows.
    """
    rng = np.random.default_rng(0)
    out = np.empty((repeats, seeds))
    for i, seed in np.ndindex(out.shape):
        if seed == 0:
            x = rng.normal(size=(rows, 2 * width))
            y = x.sum(1) / math.sqrt(width) + 2 * rng.normal(size=rows)
        order = rng.permutation(rows)
        test, train = order[: rows // 10], order[rows // 10 :][: int(0.72 * rows)]
        rmse = []
        for half in (slice(0, width), slice(width, None)):
            a, b = x[train, half], y[train]
            weights = np.linalg.solve(a.T @ a + np.eye(width), a.T @ b)
            rmse.append(math.sqrt(((y[test] - x[test, half] @ weights) ** 2).mean()))
        out[i, seed] = rmse[0] - rmse[1]
    return out


def test_the_corrected_interval_allows_for_the_rows_that_all_seeds_share():
    found = [mean_over_seeds(each) for each in equal_models(200, 10)]
    plain = np.mean([not each.low <= 0 <= each.high for each in found])
    wide = np.mean([not each.wide_low <= 0 <= each.wide_high for each in found])
    boot = np.mean([not each.boot_low <= 0 <= each.boot_high for each in found])
    # One set of rows favours one of two equal models: more splits of it do not take that away.
    assert plain > 0.12
    assert boot > 0.12
    assert wide < 0.07


# Ranks, several tests, practical size. ----------------------------------------------------------


def test_average_ranks_against_scipy():
    rng = np.random.default_rng(9)
    values = rng.integers(0, 4, (7, 2, 6)).astype(float)  # rows, sets, seeds
    table = {
        str(i): {f"set {j}": dict(enumerate(seeds)) for j, seeds in enumerate(sets)}
        for i, sets in enumerate(values)
    }
    found = average_ranks(table, ["set 0", "set 1"])
    expected = stats.rankdata(values, axis=0).mean(1)
    for name, ranks in zip(table, expected):
        assert found[name].mean == pytest.approx(ranks.mean())
        assert found[name].low == pytest.approx(mean_over_seeds(ranks).low)
    del table["3"]["set 1"][4]
    assert average_ranks(table, ["set 0", "set 1"])["0"].seeds == 5  # only where all have all
    del table["3"]["set 1"]
    assert average_ranks(table, ["set 0", "set 1"]) == {}
    assert average_ranks({}, ["set 0"]) == {}


def test_practical_size_counts_measured_molecules_only():
    mine = np.array([[1.0], [1.0], [3.0], [9.0]])
    other = np.array([[1.5], [1.1], [2.0], [0.0]])
    targets = np.array([[1.0], [1.0], [2.0], [NAN]])
    found = practical_size(mine, other, targets, 0.3)
    assert {key: round(value, 1) for key, value in found.items()} == {
        "moved": 66.7,
        "better": 33.3,
        "worse": 33.3,
    }


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
