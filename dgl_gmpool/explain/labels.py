"""Where the labels of a picture go: beside their atoms, and over nothing that is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Widths of the letters of labels, in heights of the font; others are as wide as a digit.
_WIDTHS = {":": 0.34, ".": 0.32, " ": 0.32, "+": 0.84, "-": 0.36}
_DIGIT = 0.64
#: Directions that are tried around each atom.
_DIRECTIONS = 16
#: Points of a bond that a label keeps away from.
_ALONG = np.linspace(0, 1, 7)[1:-1]


def width_of(text: str, font: float) -> float:
    """How wide a label is, in the units of its font's height.

    >>> width_of("1: +0.5", 10) > width_of("0.5", 10)
    True
    """
    return font * sum(_WIDTHS.get(letter, _DIGIT) for letter in text)


def place_labels(
    points: np.ndarray,
    bonds: Sequence[tuple[int, int]],
    labels: Sequence[tuple[Sequence[int], str]],
    *,
    font: float,
    radii: np.ndarray,
) -> np.ndarray:
    """The middle of each label, ``(labels, 2)``.

    Every label stands beside one of its atoms, in the direction where it covers the least of atoms,
    bonds and the labels before it.

    Parameters
    ----------
    points : numpy.ndarray
        ``(atoms, 2)`` places of all atoms in pixels.
    bonds : sequence of (int, int)
    labels : sequence of (sequence of int, str)
        Atoms of which one is labelled, and the text.
    font : float
        Height of a letter in pixels.
    radii : numpy.ndarray
        ``(atoms,)`` room around each atom in pixels; bonds need as much as the smallest.

    Examples
    --------
    >>> line = np.array([[0.0, 0.0], [30.0, 0.0]])
    >>> (place,) = place_labels(line, [(0, 1)], [([0], "0.5")], font=10, radii=np.full(2, 8))
    >>> bool(place[0] < 0 or abs(place[1]) > 10)  # not on the bond
    True
    """
    ends = np.asarray(bonds, dtype=np.int64).reshape(-1, 2)
    start, step = points[ends[:, 0]], points[ends[:, 1]] - points[ends[:, 0]]
    drawn = np.vstack([points, *(start + share * step for share in _ALONG)])
    room = np.concatenate([radii, np.full(len(drawn) - len(points), radii.min())])
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    placed: list[np.ndarray] = []
    halves: list[np.ndarray] = []
    for atoms, text in labels:
        half = np.array([width_of(text, font) / 2, font / 2])
        own = list(atoms)
        # Sideways the label's end is next to the atom, above and below its middle.
        away = radii[own][:, None, None] * ways + half * np.clip(1.5 * ways, -1, 1)
        middles = (points[own][:, None] + away).reshape(-1, 2)
        # How much the label intrudes on the room of what is drawn.
        gap = np.maximum(np.abs(drawn[None] - middles[:, None]) - half, 0)
        cost = np.clip(0.9 * room - np.hypot(*np.moveaxis(gap, -1, 0)), 0, None).sum(1)
        for other, other_half in zip(placed, halves):
            over = np.clip(half + other_half - np.abs(middles - other), 0, None)
            cost += over.prod(1)
        placed.append(middles[int(cost.round(6).argmin())])
        halves.append(half)
    return np.array(placed).reshape(-1, 2)
