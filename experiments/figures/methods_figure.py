"""Figure 3b of the paper: scores across methods, from the tidy results file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dgl_gmpool.training.metrics import METRICS
from experiments.figures.spread import mean_and_std, score_label
from experiments.figures.style import (
    ACCENT,
    MAIN,
    MUTED,
    OTHER,
    PAGE_WIDTH,
    axes_at,
    new_figure,
    style,
)
from experiments.table2.scores import FoldScore
from experiments.table2.statistics import losses, mean_over_seeds, relative_changes

#: Inches.
LINE = 0.175
LEFT = 1.6
HEAD = 0.36
FOOT = 0.85


def methods_figure(
    scores: Sequence[FoldScore],
    *,
    baseline: str = "mean",
    highlight: Sequence[str] = ("gmpool", "ngmpool"),
    labels: Mapping[str, str] | None = None,
    title: str = "",
    units: str = "",
) -> Any:
    """Methods on one data set: their scores, and the paired differences to a baseline.

    Left: mean (dot) and standard deviation (line) of the test scores of all seeds and folds; the
    best mean is on top. Right: by how many percent the loss (RMSE, or 1 - ROC-AUC) is smaller than
    the baseline's, seed by seed, with its 95 % interval over seeds
    (:func:`~experiments.table2.statistics.mean_over_seeds`); a filled dot's interval is on one side
    of zero. Test sets differ in difficulty, which widens the intervals on the left and cancels on
    the right.

    Parameters
    ----------
    scores : sequence of FoldScore
        Rows of one data set, from :func:`~experiments.table2.scores.read_scores`.
    baseline : str
        Method to subtract; where it has no score, the right panel is left out.
    highlight : sequence of str
        Methods to be shown in colour: names, or how they begin.
    labels : mapping of str to str, optional
        What to call a method; default: its name.
    title : str
        Default: the name of the data set.
    units : str
        Of the target.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There are no scores, or they are of several data sets or metrics.
    """
    methods = _best_first(scores)
    shown = labels or {}
    names = list(methods)
    metric = METRICS[scores[0].metric]
    paired = baseline in methods
    height = LINE * len(names)
    with style():
        figure = new_figure(PAGE_WIDTH if paired else 4.6, HEAD + height + FOOT)
        left = axes_at(figure, LEFT, HEAD, 2.6, height)
        left.set_title(title or scores[0].dataset, loc="left", weight="bold", pad=6)
        left.set_xlabel(score_label(metric, units))
        for line, name in enumerate(names):
            mean, std = mean_and_std([row.test for row in methods[name]])
            _dot(left, line, mean, (mean - std, mean + std), _colour(name, highlight), filled=True)
        left.set_yticks(range(len(names)), labels=[_label(methods[name], shown) for name in names])
        for label, name in zip(left.get_yticklabels(), names):
            label.set_color(_colour(name, highlight))
        _frame(left, len(names))
        note = "Left: mean ± standard deviation over seeds and folds."
        if paired:
            right = axes_at(figure, LEFT + 2.85, HEAD, PAGE_WIDTH - LEFT - 3.0, height)
            _differences(right, methods, baseline, highlight)
            right.set_xlabel(f"better than {shown.get(baseline, baseline)} by, %")
            note += (
                " Right: 95 % intervals of the paired change over seeds;\n"
                "filled: on one side of zero."
            )
        figure.text(0.1, 0.09, note, fontsize=6.5, color=OTHER, transform=figure.dpi_scale_trans)
    return figure


def _best_first(scores: Sequence[FoldScore]) -> dict[str, list[FoldScore]]:
    """Rows by method, the best mean first; methods without any score last."""
    if not scores:
        raise ValueError("no scores; give the rows of one data set of a results file")
    kinds = sorted({(row.dataset, row.metric) for row in scores})
    if len(kinds) > 1:
        raise ValueError(f"rows of one data set and metric make a figure, not of {kinds}")
    found: dict[str, list[FoldScore]] = {}
    for row in scores:
        found.setdefault(row.method, []).append(row)
    sign = -1 if METRICS[kinds[0][1]].higher_is_better else 1

    def place(method: str) -> tuple[float, str]:
        mean, _ = mean_and_std([row.test for row in found[method]])
        return (math.inf if math.isnan(mean) else sign * mean, method)

    return {method: found[method] for method in sorted(found, key=place)}


def _label(rows: Sequence[FoldScore], labels: Mapping[str, str]) -> str:
    failed = sum(row.failed for row in rows)
    name = rows[0].method
    return labels.get(name, name) + (f" ({failed} of {len(rows)} failed)" if failed else "")


def _differences(
    axes: Any, methods: dict[str, list[FoldScore]], baseline: str, highlight: Sequence[str]
) -> None:
    axes.axvline(0, color=MUTED, linewidth=0.8, zorder=1)
    base = losses(methods[baseline], baseline)
    for line, name in enumerate(methods):
        if name == baseline:
            axes.annotate(
                "baseline",
                (0, line),
                xytext=(4, 0),
                textcoords="offset points",
                fontsize=6.5,
                color=OTHER,
                va="center_baseline",
            )
            continue
        changes = relative_changes(losses(methods[name], name), base)
        found = mean_over_seeds(value for by_seed in changes.values() for value in by_seed.values())
        if found is not None:
            decided = found.low > 0 or found.high < 0
            interval = (found.low, found.high)
            _dot(axes, line, found.mean, interval, _colour(name, highlight), filled=decided)
    axes.set_yticks(range(len(methods)), labels=[""] * len(methods))
    _frame(axes, len(methods))


def _dot(
    axes: Any, line: float, mean: float, interval: tuple[float, float], colour: str, *, filled: bool
) -> None:
    if math.isnan(mean):
        return
    if not math.isnan(interval[0]):
        axes.plot(interval, [line, line], color=colour, linewidth=1.2, solid_capstyle="butt")
    axes.plot(
        [mean],
        [line],
        "o",
        color=colour,
        markersize=4.5,
        markerfacecolor=colour if filled else "white",
        markeredgewidth=1.1,
        zorder=3,
    )


def _frame(axes: Any, lines: int) -> None:
    axes.set_ylim(lines - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.locator_params(axis="x", nbins=5)
    axes.spines["left"].set_visible(False)


def _colour(name: str, highlight: Sequence[str]) -> str:
    for place, start in enumerate(highlight):
        if name.lower().startswith(start.lower()):
            return (MAIN, ACCENT)[place % 2]
    return OTHER
