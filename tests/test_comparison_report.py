"""The tables of a comparison, and the numbers behind them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from experiments.table2.report import BETTER, WORSE, build_report
from experiments.table2.scores import FoldScore
from experiments.table2.statistics import compare, corrected_t_test, summarize

NAN = float("nan")
METHODS = {"mean": "mean", "gmpool": "GMPool", "topk": "Top-K"}
DATASETS = {"tox21": "Tox21", "films": "λmax films"}


def rows_of(dataset, method, values, *, metric, test_rows=100):
    return [
        FoldScore(dataset, method, s, f, metric, None, float(x), test_rows)
        for s, row in enumerate(np.asarray(values))
        for f, x in enumerate(row)
    ]


def results(seeds=5, folds=5):
    """GMPool is better than the mean on both data sets, Top-K worse on Tox21 and equal on films."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.02, (seeds, 1))  # a seed's test set, common to all methods
    noise = rng.normal(0, 0.003, (6, seeds, folds))
    return [
        *rows_of("tox21", "mean", 0.77 + hard + noise[0], metric="roc_auc"),
        *rows_of("tox21", "gmpool", 0.79 + hard + noise[1], metric="roc_auc"),
        *rows_of("tox21", "topk", 0.75 + hard + noise[2], metric="roc_auc"),
        *rows_of("films", "mean", 30 + 100 * (hard + noise[3]), metric="rmse"),
        *rows_of("films", "gmpool", 28 + 100 * (hard + noise[4]), metric="rmse"),
        *rows_of("films", "topk", 30 + 100 * (hard + noise[5]), metric="rmse"),
    ]


def report_of(rows, **options):
    options = {"methods": METHODS, "datasets": DATASETS, "resamples": 500, **options}
    return build_report(rows, **options)


def cells_of(markdown):
    """The cells of a Markdown table, header first."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1  # aligned
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert set("".join(found[1])) == {":", "-"}
    assert len({len(line) for line in found}) == 1
    return [found[0], *found[2:]]


def test_the_score_table_says_what_the_rows_say():
    rows = results()
    report = report_of(rows)
    header, *lines = cells_of(report.score_table())
    assert header == [
        "method",
        "Tox21, ROC-AUC ↑ (5 × 5)",
        "λmax films, RMSE ↓ (5 × 5)",
        "average rank",
    ]
    assert [line[0] for line in lines] == ["mean", "GMPool", "Top-K"]
    for line, method in zip(lines, METHODS):
        for text, dataset, digits in ((line[1], "tox21", 4), (line[2], "films", 2)):
            values = np.array([r.test for r in rows if (r.dataset, r.method) == (dataset, method)])
            expected = f"{values.mean():.{digits}f} ± {values.std(ddof=1):.{digits}f}"
            assert text.removesuffix(BETTER).removesuffix(WORSE).strip() == expected
    marks = [[text[-1] if text[-1] in BETTER + WORSE else "" for text in x[1:3]] for x in lines]
    assert marks == [["", ""], [BETTER, BETTER], [WORSE, ""]]
    assert lines[1][3] == "1.0"
    assert sum(float(line[3]) for line in lines) == 6.0


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_one_fold_per_seed(seeds):
    report = report_of(results(seeds, folds=1))
    assert f"({seeds} × 1)" in report.score_table()
    found = report.comparisons["tox21", "gmpool"]
    assert (found.pairs, found.seeds) == (seeds, seeds)
    assert found.by_model == found.by_seed or seeds == 1  # NaN is not equal to itself
    assert math.isnan(found.correlation)
    assert math.isnan(found.bootstrap[0]) == math.isnan(found.by_seed.p_value) == (seeds == 1)
    line = cells_of(report.difference_table())[1]
    assert line[4:6] == line[6:8]
    assert ("–" in line) == (seeds == 1)
    json.dumps(report.to_dict(), allow_nan=False)
    low, _ = found.by_seed.interval
    assert (line[9] == BETTER) == (seeds > 1 and low > 0)
    assert seeds < 5 or line[9] == BETTER


def test_the_difference_table_says_what_the_comparison_says():
    rows = results()
    report = report_of(rows, train_rows={"tox21": 700, "films": 500})
    text = report.difference_table()
    header, *lines = cells_of(text)
    assert header[3] == "better than mean by"
    assert [line[:2] for line in lines] == [
        ["Tox21, ROC-AUC", "GMPool"],
        ["Tox21, ROC-AUC", "Top-K"],
        ["λmax films, RMSE", "GMPool"],
        ["λmax films, RMSE", "Top-K"],
    ]

    def select(dataset, method):
        return [row for row in rows if (row.dataset, row.method) == (dataset, method)]

    expected = compare(
        select("films", "gmpool"), select("films", "mean"), ratio=100 / 500, resamples=500
    )
    low, high = expected.by_seed.interval
    assert lines[2][2] == "25 (5 seeds)"
    assert lines[2][3] == f"{expected.difference:+.2f}"
    assert lines[2][3].startswith("+2.0")  # a lower RMSE is a positive difference
    assert lines[2][4] == f"{low:+.2f} to {high:+.2f}"
    low, high = expected.by_model.interval
    assert lines[2][6] == f"{low:+.2f} to {high:+.2f}"
    low, high = expected.bootstrap
    assert lines[2][8] == f"{low:+.2f} to {high:+.2f}"
    assert [line[9] for line in lines] == [BETTER, WORSE, BETTER, ""]
    assert "rows counted" in text
    assert "n_test / n_train = 0.139" in report_of(rows).difference_table()
    assert "for λmax films 0.139" in report_of(rows, train_rows={"tox21": 7}).difference_table()
    assert "4 comparisons are tested" in text
    assert "GMPool on Tox21" in text.split("Holm's correction")[1]


def test_the_dict_is_json_and_holds_the_numbers():
    rows = results()
    found = report_of(rows, train_rows={"tox21": 700}).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    entry = found["datasets"]["tox21"]["methods"]["gmpool"]
    values = [row.test for row in rows if (row.dataset, row.method) == ("tox21", "gmpool")]
    base = [row.test for row in rows if (row.dataset, row.method) == ("tox21", "mean")]
    assert entry["mean"] == pytest.approx(np.mean(values))
    assert (entry["models"], entry["seeds"], entry["complete"]) == (25, 5, True)
    expected = corrected_t_test(np.array(values) - np.array(base), ratio=100 / 700)
    assert entry["paired"]["by_model"]["p_value"] == pytest.approx(expected.p_value)
    assert entry["paired"]["ratio"] == 100 / 700
    assert entry["paired"]["winner"] is True
    assert entry["paired"]["holm_p_value"] >= entry["paired"]["by_seed"]["p_value"]
    assert "paired" not in found["datasets"]["tox21"]["methods"]["mean"]
    assert found["datasets"]["films"]["train_rows"] is None
    assert found["average_ranks"]["gmpool"] == 1.0


def test_incomplete_methods_are_counted_paired_and_not_ranked():
    rows = results()
    rows = [
        row
        for row in rows
        if not (row.dataset == "tox21" and row.method == "gmpool" and row.seed == 4)
    ]
    report = report_of(rows)
    lines = {line[0]: line for line in cells_of(report.score_table())[1:]}
    assert lines["GMPool"][1].endswith(f"{BETTER} (20 of 25)")
    assert "(" not in lines["GMPool"][2]
    assert "(" not in lines["mean"][1]
    assert lines["GMPool"][3] == "–"
    assert {lines["mean"][3], lines["Top-K"][3]} in ({"1.0", "2.0"}, {"1.5"})
    pairs = cells_of(report.difference_table())[1][2]
    assert pairs == "20 (4 seeds), 5 unpaired"
    # The mean's other five models have no part in the difference.
    kept = [row for row in rows if row.dataset == "tox21" and row.seed != 4]
    alone = report_of(kept).comparisons["tox21", "gmpool"]
    assert report.comparisons["tox21", "gmpool"].difference == alone.difference


def test_methods_and_data_sets_without_rows_get_dashes():
    rows = [row for row in results() if (row.dataset, row.method) != ("films", "topk")]
    report = report_of(
        rows, methods={**METHODS, "none": "Nothing"}, datasets={**DATASETS, "plqy": "PLQY"}
    )
    header, *lines = cells_of(report.score_table())
    assert header[3] == "PLQY"
    assert lines[2][2:] == ["–", "–", "–"]
    assert lines[3] == ["Nothing", "–", "–", "–", "–"]
    differences = cells_of(report.difference_table())[1:]
    assert len(differences) == 9
    assert differences[5] == ["λmax films, RMSE", "Nothing", *["–"] * 7, ""]
    assert differences[6][0] == "PLQY"
    found = report.to_dict()
    assert found["datasets"]["plqy"]["methods"] == {}
    assert json.dumps(found, allow_nan=False)


def test_a_failed_model_is_counted_and_nothing_is_marked():
    rows = results()
    i = next(i for i, r in enumerate(rows) if (r.dataset, r.method) == ("tox21", "gmpool"))
    rows[i] = FoldScore("tox21", "gmpool", 0, 0, "roc_auc", None, NAN, 100)
    report = report_of(rows)
    cell = cells_of(report.score_table())[2][1]
    assert cell.endswith(" (24 of 25, 1 failed)")
    assert BETTER not in cell
    assert cells_of(report.difference_table())[1][2] == "24 (5 seeds), 1 failed"


def test_one_seed_is_said_to_be_one_test_set():
    report = report_of(results(seeds=1))
    text = report.score_table()
    assert "One seed only, so nothing is marked: Tox21, λmax films" in text
    assert BETTER not in "".join(map("".join, cells_of(text)))
    line = cells_of(report.difference_table())[1]
    assert line[2] == "5 (1 seed)"
    assert line[4:6] == ["–", "–"]
    assert line[6] != "–"
    assert "One seed only" not in report_of(results(seeds=2)).score_table()


def test_ragged_cells_are_counted_in_the_heading():
    rows = [row for row in results() if (row.seed, row.fold) != (4, 4)]
    assert "Tox21, ROC-AUC ↑ (5 seeds, 24 models)" in report_of(rows).score_table()


def test_rows_that_were_not_asked_for_are_mentioned():
    report = report_of(results(), methods={"mean": "mean", "gmpool": "GMPool"})
    assert "50 other rows of the results file (topk)" in report.score_table()
    assert report.to_dict()["left_out"][0] == {"dataset": "tox21", "method": "topk", "rows": 25}
    assert "Not in this table" not in report_of(results()).score_table()


def test_order_and_names_are_the_callers_and_bars_are_escaped():
    report = report_of(results(), methods={"topk": "a|b", "mean": "Mean"}, datasets={"films": "F"})
    lines = report.score_table().splitlines()
    assert lines[2].startswith("| a\\|b ")
    assert lines[3].startswith("| Mean")
    assert "F, RMSE ↓" in lines[0]


def test_equal_scores_share_their_rank():
    rows = results()
    copy = [
        FoldScore(r.dataset, "topk", r.seed, r.fold, r.metric, None, r.test, r.test_rows)
        for r in rows
        if r.method == "mean"
    ]
    report = report_of([row for row in rows if row.method != "topk"] + copy)
    assert report.ranks == {"mean": 2.5, "gmpool": 1.0, "topk": 2.5}


def test_the_same_rows_in_another_order_give_the_same_tables():
    rows = results()
    mixed = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    a, b = report_of(rows), report_of(mixed)
    assert a.score_table() == b.score_table()
    assert a.difference_table() == b.difference_table()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "mena"}, "Did you mean 'mean'"),
        ({"train_rows": {"tox12": 700}}, "Did you mean 'tox21'"),
        ({"train_rows": {"tox21": 0}}, "rows > 0"),
        ({"train_rows": {"tox21": math.inf}}, "rows > 0"),
        ({"confidence": 95}, "confidence"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        report_of(results(seeds=2), **options)


def test_rows_that_do_not_belong_together_are_refused():
    rows = results(seeds=2)
    with pytest.raises(ValueError, match="tox21 have different metrics: average_precision"):
        report_of([*rows, FoldScore("tox21", "mean", 9, 0, "average_precision", None, 0.5, 100)])
    with pytest.raises(ValueError, match="different cells"):
        report_of([*rows, rows[0]])
    with pytest.raises(ValueError, match="tested on 99 rows"):
        report_of(
            rows_of("tox21", "topk", [[0.5]], metric="roc_auc", test_rows=99)
            + [row for row in rows if row.method != "topk"]
        )


def test_no_rows_at_all():
    report = report_of([])
    assert cells_of(report.score_table())[1:] == [
        [name, "–", "–", "–"] for name in METHODS.values()
    ]
    assert "0 comparisons" in report.difference_table()
    assert summarize([]).models == 0
