"""The page's plots: each a small picture inside the page, drawn by matplotlib without a display."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import numpy as np

from dgl_gmpool.explain.drawing import LESS, MORE
from dgl_gmpool.training.calibration import brier, calibration_curve

#: Of the test and the validation rows.
COLOURS = {"test": MORE, "validation": LESS}
#: Of what is compared with the test rows.
BEFORE = "#999999"
#: Above this many points, they are an image in the picture instead of a shape each.
MOST_POINTS = 1500
#: Fewest rows of a bin in a plot of calibration.
BIN_ROWS = 10
#: Letters of a name that find room beside an axis or in a legend.
MOST_LETTERS = 48

#: Width and height of a picture, in inches.
_SIZE = 4.0, 3.2
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "axes.titlesize": 10,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "dgl_gmpool",  # the same picture twice is the same text
}


class Picture:
    """Filled by :func:`picture`: ``html`` is an ``<img>`` that needs no file beside the page."""

    html = ""


@contextmanager
def picture(alt: str) -> Iterator[tuple[Any, Picture]]:
    """Axes to draw on, and where the picture is found afterwards.

    Parameters
    ----------
    alt : str
        What is to be seen, in words.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    found = Picture()
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        yield figure.add_subplot(), found
        for each in figure.findobj(Text):
            if len(each.get_text()) > MOST_LETTERS:
                each.set_text(_short(each.get_text()))
        file = io.BytesIO()
        figure.savefig(file, format="svg", dpi=150, transparent=True, metadata={"Date": None})
    data = base64.b64encode(file.getvalue()).decode("ascii")
    found.html = (
        f"<img class='plot' alt='{escape(alt, quote=True)}' width='{96 * _SIZE[0]:.0f}' "
        f"src='data:image/svg+xml;base64,{data}'>"
    )


def learning_curves(history: Sequence[dict[str, float]], column: str, label: str) -> str:
    """A line per fold over the epochs; the epoch that was kept is marked where it is the score."""
    with picture(f"{label} of every fold over the epochs") as (axes, found):
        for fold in sorted({row["fold"] for row in history}):
            rows = [row for row in history if row["fold"] == fold]
            epochs, values = [row["epoch"] for row in rows], [row[column] for row in rows]
            axes.plot(epochs, values, color=MORE, alpha=0.6, linewidth=1.2)
            best = [place for place, row in enumerate(rows) if row["is_best"]]
            if column == "valid_score" and best:
                axes.plot(epochs[best[-1]], values[best[-1]], "o", color=LESS, markersize=5)
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return found.html


def target_histogram(parts: dict[str, np.ndarray], label: str) -> str:
    """How the target is spread in the test set and outside it, each scaled to its rows."""
    with picture(f"distribution of {label} in each part") as (axes, found):
        values = np.concatenate(list(parts.values()))
        edges = np.histogram_bin_edges(values, bins=min(20, max(5, round(len(values) ** 0.5 / 2))))
        for name, own in parts.items():
            axes.hist(
                own,
                edges,
                weights=np.full(len(own), 100 / len(own)),
                color=COLOURS[name],
                alpha=0.5,
                label=f"{name} ({len(own):,})",
            )
        axes.set(xlabel=label, ylabel="% of the rows")
        _legend_above(axes)
    return found.html


def measured_and_predicted(
    name: str,
    measured: np.ndarray,
    predicted: np.ndarray,
    label: str,
) -> str:
    """A point per row, and the diagonal."""
    with picture(f"predicted against measured {label}, {name} rows") as (axes, found):
        both = np.concatenate([measured, predicted])
        low, high = float(both.min()), float(both.max())
        margin = 0.04 * ((high - low) or 1.0)
        ends = (low - margin, high + margin)
        axes.plot(ends, ends, color="#888888", linewidth=1, zorder=1)
        axes.scatter(
            measured,
            predicted,
            s=9,
            alpha=0.5,
            color=COLOURS[name],
            linewidths=0,
            rasterized=len(measured) > MOST_POINTS,
        )
        axes.set(
            xlim=ends, ylim=ends, xlabel=f"measured {label}", ylabel="predicted",
            title=f"{name}, {len(measured):,} rows",
        )  # fmt: skip
        axes.set_aspect("equal")
    return found.html


def roc(parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """ROC curve of each part: classes and probabilities."""
    from sklearn.metrics import roc_auc_score, roc_curve

    with picture("ROC curves") as (axes, found):
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=1)
        for name, (labels, predicted) in parts.items():
            false, true, _ = roc_curve(labels, predicted)
            area = roc_auc_score(labels, predicted)
            axes.plot(false, true, color=COLOURS[name], label=f"{name}, AUC {area:.3f}")
        axes.set(xlabel="share of inactives taken for active", ylabel="share of actives found")
        axes.set_aspect("equal")
        axes.legend(loc="lower right")
    return found.html


def calibration(parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """Share of actives against predicted probability, in bins of as many rows."""
    lines = []
    for name, (labels, predicted) in parts.items():
        bins = max(1, min(10, len(labels) // BIN_ROWS))
        curve = calibration_curve(predicted, labels, bins=bins)
        means = [each["predicted"] for each in curve], [each["measured"] for each in curve]
        text = f"{name}, Brier score {brier(predicted, labels):.3f}"
        lines.append((text, COLOURS[name], *means))
    return shares("predicted probability", "share of actives", lines)


def shares(
    x: str, y: str, lines: Sequence[tuple[str, str, Sequence[float], Sequence[float]]]
) -> str:
    """One share against another; where they agree, points are on the diagonal.

    Parameters
    ----------
    x, y : str
        What they are.
    lines : sequence of (str, str, sequence of float, sequence of float)
        Name, colour, and both shares.
    """
    with picture(f"{y} against {x}") as (axes, found):
        axes.plot([0, 1], [0, 1], color="#888888", linewidth=1)
        for name, colour, across, up in lines:
            # matplotlib leaves names that begin with an underscore out of its legends.
            label = f" {name}" if name.startswith("_") else name
            axes.plot(across, up, "o-", color=colour, markersize=4, linewidth=1, label=label)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)
        axes.set_aspect("equal")
        _legend_above(axes)
    return found.html


def _short(text: str) -> str:
    """Beginning and end of a long text.

    >>> _short("probability of " + "x" * 50)
    'probability of xxxxxxxxxxxxxxxxxx…xxxxxxxxxxxxxx'
    """
    end = MOST_LETTERS * 3 // 10
    return f"{text[: MOST_LETTERS - end - 1]}…{text[-end:]}"


def _legend_above(axes: Any) -> None:
    """Where it covers nothing, wherever the lines and bars are."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
