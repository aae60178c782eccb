"""How all figures look: sizes for print, and colours that survive a greyscale copy.

Nothing here touches matplotlib's global state: figures are made without pyplot, and settings hold
inside :func:`style` only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from experiments.figures._matplotlib import import_matplotlib

#: Width of a figure over both columns of a page, in inches.
PAGE_WIDTH = 7.2

#: Colours of groups of atoms: Okabe and Ito's colour-blind safe set, mixed with 30 % white so that
#: black labels on them can be read. Neighbours in the list differ in lightness (L* 61, 92, 67,
#: 79, 72, 86, 69), so that the first few groups can be told apart in greyscale.
GROUP_COLOURS = ("#4C9CC9", "#F4EC7B", "#E28E4C", "#89CAF0", "#DBA1C1", "#EED38F", "#4CBB9D")
#: A group of one atom.
SINGLE = "#FFFFFF"
#: Further groups of several atoms, once :data:`GROUP_COLOURS` is used up.
FURTHER = "#C4C4C4"

#: Lines and points: one dark colour for what a figure is about, greys for the rest.
MAIN = "#0B5A8F"
ACCENT = "#D55E00"
MUTED = "#9AA5AD"
PALE = "#CFDCE6"
INK = "#222222"
#: Text beside the main thing: notes, methods that are not ours.
OTHER = "#444444"

#: Colour map of the grouping matrix: white to dark blue, lightness falls all the way.
MATRIX_COLOURS = "Blues"

_SETTINGS = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.color": "#E3E6E8",
    "grid.linewidth": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "svg.fonttype": "path",  # text as outlines: no font is needed where the file is shown
    "svg.hashsalt": "dgl_gmpool",  # ids in the SVG follow from its content, not from chance
    "savefig.dpi": 300,
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib settings of the figures, inside the block only."""
    with import_matplotlib().rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Any:
    """An empty ``matplotlib.figure.Figure`` of ``width`` by ``height`` inches, without pyplot."""
    return import_matplotlib("figure").Figure(figsize=(width, height), facecolor="white")


def axes_at(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """New axes, all in inches, ``top`` measured from the upper edge.

    Fixed places instead of an automatic layout: type and cells then have the size they were chosen
    to have, whatever the labels are.
    """
    page_width, page_height = figure.get_size_inches()
    return figure.add_axes(
        (
            left / page_width,
            1 - (top + height) / page_height,
            width / page_width,
            height / page_height,
        )
    )


def group_colours(sizes: list[int]) -> list[str]:
    """A colour for each group of atoms, given the groups' sizes.

    Groups of one atom are white: colour is spent on what was grouped.

    Examples
    --------
    >>> group_colours([5, 1, 3])
    ['#4C9CC9', '#FFFFFF', '#F4EC7B']
    """
    left = iter(GROUP_COLOURS)
    return [SINGLE if size == 1 else next(left, FURTHER) for size in sizes]


def group_name(index: int) -> str:
    """A, B, ..., Z, AA, AB, ...

    Examples
    --------
    >>> [group_name(i) for i in (0, 25, 26, 52)]
    ['A', 'Z', 'AA', 'BA']
    """
    head, tail = divmod(index, 26)
    return (group_name(head - 1) if head else "") + chr(ord("A") + tail)
