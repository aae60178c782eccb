"""The paper's Table 2 from tidy rows: scores, ranks, and paired differences to a baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dgl_gmpool._io import without_nan
from dgl_gmpool._options import check_choice
from dgl_gmpool.training.metrics import METRICS
from experiments.table2.scores import FoldScore
from experiments.table2.statistics import (
    PROTOCOL_RATIO,
    Interval,
    PairedComparison,
    Summary,
    average_ranks,
    compare,
    holm,
    is_loser,
    is_winner,
    summarize,
)

BETTER, WORSE = "▲", "▼"
_DASH = "–"


@dataclass(frozen=True)
class Report:
    """Everything the tables print. Made by :func:`build_report`.

    Attributes
    ----------
    methods, datasets : dict
        Names shown, by the names in the rows, in the order of the tables.
    baseline : str
    metrics : dict
        Metric per data set that has rows.
    cells : dict
        The (seed, fold) cells of a data set that at least one method of the table has.
    summaries : dict
        :class:`Summary` by (data set, method), where there are rows.
    complete : dict
        By the same keys: True where the method has a score in every cell of the data set.
    comparisons : dict
        :class:`PairedComparison` with the baseline by (data set, method), where both have rows.
    ranks : dict
        Average rank by method; NaN unless it is complete on every data set of the table.
    adjusted : dict
        Holm's p-value (over all comparisons of the report) of the corrected t-test by seeds.
    train_rows : dict
        Training rows of a model per data set; None where the protocol's ratio stands for them.
    left_out : dict
        Number of rows of each (data set, method) that the caller did not ask for.
    confidence : float
    """

    methods: dict[str, str]
    datasets: dict[str, str]
    baseline: str
    metrics: dict[str, str]
    cells: dict[str, list[tuple[int, int]]]
    summaries: dict[tuple[str, str], Summary]
    complete: dict[tuple[str, str], bool]
    comparisons: dict[tuple[str, str], PairedComparison]
    ranks: dict[str, float]
    adjusted: dict[tuple[str, str], float]
    train_rows: dict[str, float | None]
    left_out: dict[tuple[str, str], int]
    confidence: float

    def score_table(self) -> str:
        """Markdown: methods by data sets, mean ± std over all models, and the average rank."""
        header = ["method", *(self._heading(name) for name in self.datasets), "average rank"]
        lines = [header]
        for method, shown in self.methods.items():
            cells = [self._score(dataset, method) for dataset in self.datasets]
            lines.append([shown, *cells, _number(self.ranks[method], 1)])
        return _markdown(lines) + "\n\n" + "\n".join(self._notes())

    def difference_table(self) -> str:
        """Markdown: for each data set and method, the paired difference to the baseline."""
        percent = f"{100 * self.confidence:g} %"
        header = [
            "data set",
            "method",
            "pairs",
            f"better than {self.methods[self.baseline]} by",
            f"{percent} interval, seeds",
            "p",
            f"{percent} interval, models",
            "p",
            f"{percent} interval, bootstrap",
            "",
        ]
        lines = [header]
        for dataset, title in self.datasets.items():
            metric = METRICS[self.metrics[dataset]].label if dataset in self.metrics else ""
            for method, shown in self.methods.items():
                if method == self.baseline:
                    continue
                first = [f"{title}, {metric}" if metric else title, shown]
                found = self.comparisons.get((dataset, method))
                if found is None:
                    lines.append([*first, *([_DASH] * 7), ""])
                    continue
                digits = self._digits(dataset)
                lines.append(
                    [
                        *first,
                        _pairs(found),
                        _signed(found.difference, digits),
                        _interval(found.by_seed.interval, digits),
                        _p_value(found.by_seed.p_value),
                        _interval(found.by_model.interval, digits),
                        _p_value(found.by_model.p_value),
                        _interval(found.bootstrap, digits),
                        self._mark(dataset, method),
                    ]
                )
        notes = [
            "Positive differences favour the method, whatever the metric. Pairs are the "
            "(seed, fold) cells that both have a score in. Intervals: corrected resampled t-test "
            "(Nadeau and Bengio 2003) over the mean differences of the seeds and over those of "
            "all models, and a bootstrap of seeds, then folds. "
            + self._ratio_note()
            + " With one seed only the last two can exist, and neither speaks about other test "
            "sets; with one fold per seed both t-tests are the same.",
            self._holm_note(),
        ]
        return _markdown(lines, left=2) + "\n\n" + "\n\n".join(notes)

    def to_dict(self) -> dict[str, Any]:
        """All numbers of both tables, JSON-able (what is not defined is None)."""
        return {
            "format": 1,
            "baseline": self.baseline,
            "confidence": self.confidence,
            "methods": dict(self.methods),
            "average_ranks": {name: without_nan(rank) for name, rank in self.ranks.items()},
            "datasets": {
                dataset: {
                    "title": title,
                    "metric": self.metrics.get(dataset),
                    "seeds": len({seed for seed, _ in self.cells[dataset]}),
                    "cells": len(self.cells[dataset]),
                    "train_rows": self.train_rows[dataset],
                    "methods": {
                        method: self._entry(dataset, method)
                        for method in self.methods
                        if (dataset, method) in self.summaries
                    },
                }
                for dataset, title in self.datasets.items()
            },
            "left_out": [
                {"dataset": dataset, "method": method, "rows": count}
                for (dataset, method), count in self.left_out.items()
            ],
        }

    def _entry(self, dataset: str, method: str) -> dict[str, Any]:
        entry: dict[str, Any] = {
            **asdict(self.summaries[dataset, method]),
            "complete": self.complete[dataset, method],
        }
        found = self.comparisons.get((dataset, method))
        if found is not None and method != self.baseline:
            entry["paired"] = {
                **asdict(found),
                "holm_p_value": self.adjusted[dataset, method],
                "winner": is_winner(found),
                "loser": is_loser(found),
            }
        return {key: without_nan(value) for key, value in entry.items()}

    def _heading(self, dataset: str) -> str:
        title = self.datasets[dataset]
        if dataset not in self.metrics:
            return title
        metric = METRICS[self.metrics[dataset]]
        arrow = "↑" if metric.higher_is_better else "↓"
        cells = self.cells[dataset]
        seeds, folds = {seed for seed, _ in cells}, {fold for _, fold in cells}
        count = f"{len(seeds)} × {len(folds)}"
        if len(cells) < len(seeds) * len(folds):
            count = f"{len(seeds)} seeds, {len(cells)} models"
        return f"{title}, {metric.label} {arrow} ({count})"

    def _score(self, dataset: str, method: str) -> str:
        summary = self.summaries.get((dataset, method))
        if summary is None:
            return _DASH
        digits = self._digits(dataset)
        text = f"{_number(summary.mean, digits)} ± {_number(summary.std, digits)}"
        mark = self._mark(dataset, method)
        text += f" {mark}" if mark else ""
        if not self.complete[dataset, method]:
            failed = f", {summary.failed} failed" if summary.failed else ""
            text += f" ({summary.models} of {len(self.cells[dataset])}{failed})"
        return text

    def _mark(self, dataset: str, method: str) -> str:
        found = self.comparisons.get((dataset, method))
        if found is None or method == self.baseline:
            return ""
        return BETTER if is_winner(found) else WORSE if is_loser(found) else ""

    def _digits(self, dataset: str) -> int:
        # Four digits as in the paper, except for wavelengths in nm.
        means = [s.mean for (name, _), s in self.summaries.items() if name == dataset]
        finite = [abs(mean) for mean in means if not math.isnan(mean)]
        return 2 if finite and max(finite) >= 10 else 4

    def _notes(self) -> list[str]:
        base = self.methods[self.baseline]
        notes = [
            "Mean ± standard deviation (dividing by n - 1) of the test scores of all models, "
            "seeds × folds as in the heading; a count in brackets marks what is incomplete. "
            f"{BETTER} better, {WORSE} worse than {base}: only where the corrected t intervals "
            f"over seeds and over models and the bootstrap interval ({100 * self.confidence:g} % "
            "each) of the paired difference all exclude zero. Average rank over "
            f"{len(self.datasets)} data sets, 1 is best, for methods complete on all of them."
        ]
        single = [
            self.datasets[name]
            for name, cells in self.cells.items()
            if len({seed for seed, _ in cells}) == 1
        ]
        if single:
            notes.append(
                f"\nOne seed only, so nothing is marked: {', '.join(single)}. Its models share "
                "one test set."
            )
        if self.left_out:
            total = sum(self.left_out.values())
            names = sorted({method for _, method in self.left_out})
            shown = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
            notes.append(f"\nNot in this table: {total} other rows of the results file ({shown}).")
        return notes

    def _ratio_note(self) -> str:
        assumed = [self.datasets[name] for name in self.metrics if self.train_rows[name] is None]
        if not assumed:
            return "Their n_test / n_train are the rows counted."
        if len(assumed) < len(self.metrics):
            names = ", ".join(assumed)
            return (
                f"n_test / n_train are the rows counted; for {names} {PROTOCOL_RATIO:.3f} "
                "(10 % tested, 72 % trained on)."
            )
        return f"n_test / n_train = {PROTOCOL_RATIO:.3f} (10 % tested, 72 % trained on)."

    def _holm_note(self) -> str:
        kept = [
            f"{self.methods[method]} on {self.datasets[dataset]}"
            for (dataset, method), p_value in self.adjusted.items()
            if p_value < 1 - self.confidence and self._mark(dataset, method)
        ]
        count = sum(not math.isnan(p_value) for p_value in self.adjusted.values())
        chance = (1 - self.confidence) * count
        return (
            f"{count} comparisons are tested, each by itself: were all methods equal, each of the "
            f"intervals would exclude zero in about {chance:.1f} of them. Marks that remain after "
            f"Holm's correction for all of them (p of the seeds): {'; '.join(kept) or 'none'}."
        )


def build_report(
    rows: Sequence[FoldScore],
    *,
    methods: Mapping[str, str],
    datasets: Mapping[str, str],
    baseline: str = "mean",
    train_rows: Mapping[str, float] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Report:
    """Put the tidy rows of a results file together.

    A method is complete on a data set when it has a score in every (seed, fold) cell that any
    method of the table has there; what is not is shown with its count and gets no average rank.

    Parameters
    ----------
    rows : sequence of FoldScore
    methods, datasets : mapping of str to str
        Which to show, in order: the name in the rows, and the name in the tables. Those without
        rows get dashes; rows of others are counted in ``left_out``.
    baseline : str
        The method, one of ``methods``, that the others are compared with.
    train_rows : mapping of str to float, optional
        Training rows of one model per data set (their mean, if folds differ), for the corrected
        t-test. For a data set without one, n_test / n_train is that of the protocol.
    confidence, resamples, seed
        See :func:`experiments.table2.statistics.compare`.

    Raises
    ------
    ValueError
        The baseline is not among the methods; a data set has rows of several metrics, two rows
        of one cell, or cells whose test sets differ in size; ``train_rows`` names a data set
        that is not shown, or is not positive.

    Examples
    --------
    >>> rows = [FoldScore("d", m, s, f, "rmse", None, x + 0.1 * s + 0.01 * f, 10)
    ...         for m, x in (("mean", 1.0), ("gmpool", 0.5)) for s in (0, 1) for f in (0, 1)]
    >>> report = build_report(rows, methods={"mean": "mean", "gmpool": "GMPool"},
    ...                       datasets={"d": "pIC50"})
    >>> print(report.score_table().split("\\n\\n")[0])
    | method | pIC50, RMSE ↓ (2 × 2) | average rank |
    | :----- | --------------------: | -----------: |
    | mean   |       1.0550 ± 0.0580 |          2.0 |
    | GMPool |     0.5550 ± 0.0580 ▲ |          1.0 |
    """
    check_choice("baseline", baseline, methods)
    given = dict(train_rows or {})
    for name, count in given.items():
        check_choice("data set of train_rows", name, datasets)
        if not (math.isfinite(count) and count > 0):
            raise ValueError(f"train_rows of {name} is {count!r}; give a number of rows > 0")
    groups: dict[tuple[str, str], list[FoldScore]] = {}
    left_out: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row.dataset, row.method)
        if row.dataset in datasets and row.method in methods:
            groups.setdefault(key, []).append(row)
        else:
            left_out[key] = left_out.get(key, 0) + 1

    metrics: dict[str, str] = {}
    cells: dict[str, list[tuple[int, int]]] = {}
    for dataset in datasets:
        of_dataset = [
            row for (name, _), group in groups.items() if name == dataset for row in group
        ]
        kinds = sorted({row.metric for row in of_dataset})
        if len(kinds) > 1:
            raise ValueError(
                f"rows of {dataset} have different metrics: {', '.join(kinds)}; select one of them"
            )
        if kinds:
            metrics[dataset] = kinds[0]
        cells[dataset] = sorted({(row.seed, row.fold) for row in of_dataset})

    ratios = {dataset: PROTOCOL_RATIO for dataset in datasets}
    for dataset, count in given.items():
        tested = [row.test_rows for (name, _), g in groups.items() if name == dataset for row in g]
        if tested:
            ratios[dataset] = float(np.mean(tested)) / count
    # In the order of the table, so that the file of numbers is read like it.
    keys = [(d, m) for d in datasets for m in methods if (d, m) in groups]
    summaries = {key: summarize(groups[key]) for key in keys}
    complete = {key: summaries[key].models == len(cells[key[0]]) for key in keys}
    comparisons = {
        (dataset, method): compare(
            groups[dataset, method],
            groups[dataset, baseline],
            ratio=ratios[dataset],
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )
        for dataset, method in keys
        if (dataset, baseline) in groups
    }
    others = [key for key in comparisons if key[1] != baseline]
    adjusted = holm([comparisons[key].by_seed.p_value for key in others])
    return Report(
        methods=dict(methods),
        datasets=dict(datasets),
        baseline=baseline,
        metrics=metrics,
        cells=cells,
        summaries=summaries,
        complete=complete,
        comparisons=comparisons,
        ranks=_ranks(methods, datasets, metrics, summaries, complete),
        adjusted=dict(zip(others, adjusted)),
        train_rows={name: given.get(name) for name in datasets},
        left_out=left_out,
        confidence=confidence,
    )


def _ranks(
    methods: Mapping[str, str],
    datasets: Mapping[str, str],
    metrics: Mapping[str, str],
    summaries: Mapping[tuple[str, str], Summary],
    complete: Mapping[tuple[str, str], bool],
) -> dict[str, float]:
    means = np.full((len(datasets), len(methods)), np.nan)
    for i, dataset in enumerate(datasets):
        for j, method in enumerate(methods):
            if complete.get((dataset, method)):
                sign = 1.0 if METRICS[metrics[dataset]].higher_is_better else -1.0
                means[i, j] = sign * summaries[dataset, method].mean
    return dict(zip(methods, average_ranks(means).tolist()))


def _pairs(found: PairedComparison) -> str:
    text = f"{found.pairs} ({found.seeds} seed{'' if found.seeds == 1 else 's'})"
    text += f", {found.failed} failed" if found.failed else ""
    return text + (f", {found.unpaired} unpaired" if found.unpaired else "")


def _number(value: float, digits: int) -> str:
    return _DASH if math.isnan(value) else f"{value:.{digits}f}"


def _signed(value: float, digits: int) -> str:
    return _DASH if math.isnan(value) else f"{value:+.{digits}f}"


def _interval(interval: Interval, digits: int) -> str:
    low, high = interval
    return _DASH if math.isnan(low) else f"{low:+.{digits}f} to {high:+.{digits}f}"


def _p_value(value: float) -> str:
    if math.isnan(value):
        return _DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _markdown(lines: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Aligned for the eye; the first ``left`` columns to the left, the others to the right."""
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(3, *(len(line[i]) for line in escaped)) for i in range(len(escaped[0]))]

    def shown(cells: Sequence[str]) -> str:
        placed = (
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths))
        )
        return "| " + " | ".join(placed) + " |"

    rule = [
        ":" + "-" * (width - 1) if i < left else "-" * (width - 1) + ":"
        for i, width in enumerate(widths)
    ]
    return "\n".join([shown(escaped[0]), shown(rule), *(shown(line) for line in escaped[1:])])
