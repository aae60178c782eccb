"""Figure 2 of the paper: grouping matrices, each beside its molecule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.figures._matplotlib import import_matplotlib
from experiments.figures.grouped_molecule import GroupedMolecule
from experiments.figures.rdkit_drawing import draw_molecule
from experiments.figures.style import (
    INK,
    MATRIX_COLOURS,
    OTHER,
    PAGE_WIDTH,
    axes_at,
    group_colours,
    group_name,
    new_figure,
    style,
)

#: Inches.
MATRIX = 2.5
STRIP = 0.09
ROW = 3.35
DRAWING_LEFT = 3.62
HEAD = 0.4


def grouping_figure(panels: Sequence[tuple[str, GroupedMolecule]]) -> Any:
    """One row per panel: the grouping matrix, and the molecule with its atoms coloured by group.

    Rows and columns of the matrix are atoms, labelled with element and number as in the drawing,
    sorted by group and then by position in the SMILES. A strip beside the matrix has the colours of
    the groups and a letter for each; a group of one atom is white, without a letter.

    Parameters
    ----------
    panels : sequence of (str, GroupedMolecule)
        What the row shows ("before training"), and the molecule.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        There is no panel.
    """
    if not panels:
        raise ValueError("no panels; give at least one title and molecule")
    with style():
        figure = new_figure(PAGE_WIDTH, 0.1 + ROW * len(panels))
        for row, (title, molecule) in enumerate(panels):
            _row(figure, 0.1 + ROW * row, f"({chr(ord('a') + row)}) {title}", molecule)
    return figure


def _row(figure: Any, top: float, title: str, molecule: GroupedMolecule) -> None:
    names = [group_name(group) for group in range(len(molecule.sizes))]
    colours = group_colours(molecule.sizes)
    page_width, page_height = figure.get_size_inches()
    figure.text(0.1 / page_width, 1 - (top + 0.14) / page_height, title, weight="bold")
    figure.text(
        DRAWING_LEFT / page_width, 1 - (top + 0.14) / page_height, _facts(molecule), color=OTHER
    )
    _matrix(figure, top + HEAD, molecule, colours, names)
    drawing = axes_at(figure, DRAWING_LEFT, top + 0.3, PAGE_WIDTH - DRAWING_LEFT - 0.05, ROW - 0.5)
    draw_molecule(drawing, molecule.smiles, [colours[group] for group in molecule.groups])


def _facts(molecule: GroupedMolecule) -> str:
    atoms = "atom" if molecule.num_atoms == 1 else "atoms"
    groups = "group" if molecule.num_clusters == 1 else "groups"
    text = (
        f"{molecule.num_atoms} {atoms}, K = {molecule.num_clusters} {groups}, effective rank "
        f"{molecule.effective_rank:.2f}"
    )
    if molecule.negative_share >= 0.005:
        text += f", {molecule.negative_share:.0%} negative"
    return text


def _matrix(
    figure: Any, top: float, molecule: GroupedMolecule, colours: list[str], names: list[str]
) -> None:
    order, n = molecule.order, molecule.num_atoms
    left = 0.55
    axes = axes_at(figure, left, top, MATRIX, MATRIX)
    image = axes.imshow(
        molecule.matrix[np.ix_(order, order)],
        vmin=0,
        vmax=1,
        cmap=MATRIX_COLOURS,
        interpolation="nearest",
        aspect="auto",
    )
    labels = [molecule.labels[atom] for atom in order]
    # 0.9 of a cell, but never larger than the text around it.
    size = min(6.0, 0.9 * 72 * MATRIX / n)
    axes.set_xticks(range(n), labels=labels, rotation=90, fontsize=size)
    axes.set_yticks(range(n), labels=labels, fontsize=size)
    axes.tick_params(length=0, pad=1.5)
    axes.tick_params(axis="y", pad=1.5 + 72 * (STRIP + 0.02))
    axes.tick_params(axis="x", pad=1.5 + 72 * (STRIP + 0.02))
    for side in axes.spines.values():
        side.set_visible(True)
    _strips(figure, axes, left, top, molecule, colours, names)

    bar = figure.colorbar(image, cax=axes_at(figure, left + MATRIX + 0.08, top, 0.08, MATRIX))
    bar.set_ticks([0, 0.5, 1])
    bar.outline.set_linewidth(0.6)
    bar.ax.tick_params(labelsize=6)
    bar.ax.set_title("M", fontsize=7, pad=3)


def _strips(
    figure: Any,
    axes: Any,
    left: float,
    top: float,
    molecule: GroupedMolecule,
    colours: list[str],
    names: list[str],
) -> None:
    """Colour and letter of each group beside its rows and below its columns."""
    rectangle = import_matplotlib("patches").Rectangle
    n = molecule.num_atoms
    beside = axes_at(figure, left - STRIP - 0.02, top, STRIP, MATRIX)
    below = axes_at(figure, left, top + MATRIX + 0.02, MATRIX, STRIP)
    beside.set_ylim(n, 0)
    below.set_xlim(0, n)
    start = 0
    for size, colour, name in zip(molecule.sizes, colours, names):
        look = {"facecolor": colour, "edgecolor": INK, "linewidth": 0.4}
        beside.add_patch(rectangle((0, start), 1, size, **look))
        below.add_patch(rectangle((start, 0), size, 1, **look))
        middle, fits = start + size / 2, min(6.0, 0.9 * 72 * MATRIX / n)
        text = {"ha": "center", "va": "center_baseline", "fontsize": min(5.5, fits)}
        if size > 1:  # the atom's own label names a group of one
            beside.text(0.5, middle, name, **text)
            below.text(middle, 0.5, name, **text)
        start += size
        if start < n:
            # Dark on white: to be seen on light and on dark cells.
            for colour_of_line, width in (("white", 1.1), (INK, 0.4)):
                axes.axhline(start - 0.5, color=colour_of_line, linewidth=width)
                axes.axvline(start - 0.5, color=colour_of_line, linewidth=width)
    for strip in (beside, below):
        strip.set_xticks([])
        strip.set_yticks([])
        for side in strip.spines.values():
            side.set_visible(False)
