"""Number of clusters against the size and the parts of the molecules."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.figures._matplotlib import import_matplotlib
from experiments.figures.functional_groups import MoleculeParts
from experiments.figures.group_counts import GroupCounts
from experiments.figures.style import MAIN, OTHER, PAGE_WIDTH, PALE, axes_at, new_figure, style

#: A value of x with fewer molecules is shown as points only.
ENOUGH = 5

#: Inches.
HIGH = 5.0
WIDTH = 1.95
HEIGHT = 1.65
LEFT = 0.62
STEP = 2.18


def distribution_figure(counts: GroupCounts, parts: MoleculeParts, *, title: str = "") -> Any:
    """Clusters (above) and effective rank (below) over atoms, rings and functional groups.

    A pale point per molecule, and for each value of x the median (dot), the middle half (thick
    line) and the middle 90 % (thin line). Points are moved sideways a little, so that equal
    molecules do not hide each other. The title of a panel has Spearman's rank correlation.

    Parameters
    ----------
    counts : GroupCounts
    parts : MoleculeParts
        Of the same molecules, in the same order.
    title : str
        Which molecules and which model.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        Counts and parts are of different numbers of molecules.
    """
    if len(counts.num_clusters) != len(parts.atoms):
        raise ValueError(
            f"counts of {len(counts.num_clusters)} molecules and parts of {len(parts.atoms)}; give "
            "both for the same molecules"
        )
    columns = (
        ("heavy atoms", parts.atoms),
        ("rings", parts.rings),
        ("functional groups", parts.functional_groups),
    )
    rows = (("clusters K", counts.num_clusters), ("effective rank", counts.effective_rank))
    with style():
        figure = new_figure(PAGE_WIDTH, HIGH)
        figure.text(0.12 / PAGE_WIDTH, 1 - 0.2 / HIGH, title, weight="bold")
        for row, (y_name, y) in enumerate(rows):
            for column, (x_name, x) in enumerate(columns):
                top = 0.55 + row * (HEIGHT + 0.42)
                axes = axes_at(figure, LEFT + column * STEP, top, WIDTH, HEIGHT)
                _panel(axes, x, np.asarray(y, float))
                axes.set_title(_correlation(x, y), fontsize=7, pad=4)
                if row == len(rows) - 1:
                    axes.set_xlabel(x_name)
                else:
                    axes.tick_params(axis="x", labelbottom=False, length=0)
                if column == 0:
                    axes.set_ylabel(y_name)
                    axes.yaxis.set_label_coords(-0.42 / WIDTH, 0.5)
                else:
                    axes.tick_params(axis="y", labelleft=False, length=0)
        figure.text(
            0.12,
            0.1,
            "Pale: molecules. Dot: median; thick line: middle half; thin line: middle 90 %, for "
            f"values with {ENOUGH} molecules or more.",
            fontsize=6.5,
            color=OTHER,
            transform=figure.dpi_scale_trans,
        )
    return figure


def _panel(axes: Any, x: np.ndarray, y: np.ndarray) -> None:
    ticker = import_matplotlib("ticker")
    aside = np.random.default_rng(0).uniform(-0.3, 0.3, (2, len(x)))
    whole = np.issubdtype(y.dtype, np.integer) or bool((y == y.round()).all())
    axes.grid(axis="y")
    # As pixels, also in the SVG: thousands of points would make it slow to open.
    axes.plot(
        x + aside[0],
        y + (0.5 * aside[1] if whole else 0),
        ".",
        color=PALE,
        markersize=2.2,
        markeredgewidth=0,
        rasterized=True,
        zorder=1,
    )
    butt = {"solid_capstyle": "butt", "zorder": 2}  # ends where the value is
    for value in np.unique(x):
        here = y[x == value]
        if len(here) < ENOUGH:
            continue
        low, quarter, middle, three, high = np.percentile(here, [5, 25, 50, 75, 95])
        axes.plot([value, value], [low, high], color=MAIN, **butt, linewidth=0.7)
        axes.plot([value, value], [quarter, three], color=MAIN, **butt, linewidth=2.4)
        axes.plot(
            [value],
            [middle],
            "o",
            color="white",
            markeredgecolor=MAIN,
            markersize=3.2,
            markeredgewidth=0.9,
            zorder=3,
        )
    axes.xaxis.set_major_locator(ticker.MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(nbins=5, integer=whole))
    if whole:
        axes.set_ylim(min(0.4, y.min() - 0.6), y.max() + 0.6)


def _correlation(x: np.ndarray, y: np.ndarray) -> str:
    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return "rank correlation not defined: all equal"
    return f"rank correlation {rank_correlation(x, y):+.2f}".replace("-", "\N{MINUS SIGN}")


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's: the correlation of ranks, ties sharing their mean rank.

    Examples
    --------
    >>> round(rank_correlation(np.array([1, 2, 3, 4]), np.array([1, 4, 9, 16])), 6)
    1.0
    """
    from scipy.stats import spearmanr

    return float(spearmanr(x, y)[0])
