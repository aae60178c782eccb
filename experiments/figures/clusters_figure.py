"""Figure 3a of the paper: test score over a forced number of clusters."""

from __future__ import annotations

from typing import Any

import numpy as np

from dgl_gmpool.training.metrics import METRICS
from dgl_gmpool.training.run import RunResult
from experiments.figures.forced_clusters import ForcedRuns
from experiments.figures.spread import mean_and_std, models_text, score_label
from experiments.figures.style import ACCENT, MAIN, MUTED, OTHER, axes_at, new_figure, style


def clusters_figure(runs: ForcedRuns, *, adaptive_counts: np.ndarray | None = None) -> Any:
    """Every model's score as a small point; mean and standard deviation beside them.

    Parameters
    ----------
    runs : ForcedRuns
        From :func:`~experiments.figures.forced_clusters.find_forced_runs`.
    adaptive_counts : numpy.ndarray, optional
        Number of clusters that the adaptive model finds, molecule by molecule, for the label.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        No run has a forced number of clusters.
    """
    if not runs.forced:
        raise ValueError("no run with num_clusters among them; train them first (--train)")
    first = runs.runs[0]
    metric = METRICS[first.metrics["metric"]]
    counts = sorted(runs.forced)
    # Even steps: the numbers are crowded at the small end, where the score changes.
    places = [float(place) for place in range(len(counts))]
    with style():
        figure = new_figure(4.6, 3.15)
        axes = axes_at(figure, 0.62, 0.15, 3.85, 2.15)
        axes.grid(axis="y")
        means = [
            _points(axes, place, runs.forced[count], MAIN) for place, count in zip(places, counts)
        ]
        axes.plot(places, means, color=MAIN, linewidth=0.8, zorder=1)
        names = [str(count) for count in counts]
        if runs.adaptive:
            axes.axvline(places[-1] + 0.7, color=MUTED, linewidth=0.6)
            places.append(places[-1] + 1.4)
            names.append("adaptive")
            mean = _points(axes, places[-1], runs.adaptive, ACCENT, marker="D")
            axes.axhline(mean, color=ACCENT, linewidth=0.8, linestyle=(0, (4, 2)), zorder=1)
        axes.set_xticks(places, labels=names)
        axes.set_xlim(places[0] - 0.6, places[-1] + 0.7)
        axes.set_xlabel("number of clusters forced on every molecule")
        axes.set_ylabel(score_label(metric, first.metrics["units"]))
        note = _note(runs)
        if runs.adaptive and adaptive_counts is not None:
            low, middle, high = np.percentile(adaptive_counts, [0, 50, 100])
            note += (
                f"\nAdaptive: {middle:.0f} clusters a molecule in the median, from {low:.0f} to "
                f"{high:.0f}."
            )
        figure.text(0.1, 0.1, note, fontsize=6.5, color=OTHER, transform=figure.dpi_scale_trans)
    return figure


def _points(
    axes: Any, place: float, runs: list[RunResult], colour: str, marker: str = "o"
) -> float:
    values = [score for run in runs for score in run.fold_scores()]
    mean, std = mean_and_std(values)
    left = place - 0.2
    axes.plot(
        [left] * len(values), values, "o", color=MUTED, markersize=2.5, markeredgewidth=0, zorder=2
    )
    axes.errorbar(
        [place],
        [mean],
        yerr=None if np.isnan(std) else [std],
        fmt=marker,
        color=colour,
        markersize=5,
        elinewidth=1.2,
        capsize=2.5,
        zorder=3,
    )
    return mean


def _note(runs: ForcedRuns) -> str:
    """How many models a mean stands for; the range where the numbers of clusters differ in it."""
    found = set()
    for group in (*runs.forced.values(), runs.adaptive):
        if group:
            found.add((len(group), sum(len(run.fold_scores()) for run in group)))
    models = " to ".join(models_text(*pair) for pair in sorted({min(found), max(found)}))
    return f"Dots: mean, bars: standard deviation of {models}. Grey: each model."
