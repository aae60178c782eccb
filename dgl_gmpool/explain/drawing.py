"""A molecule's structure with its groups in colour and what each adds to the prediction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D
from rdkit.Geometry import Point2D

from dgl_gmpool.explain.labels import place_labels, width_of

if TYPE_CHECKING:
    from dgl_gmpool.explain.explanation import Explanation

#: Colours of groups, light enough for black bonds and letters on them, and chosen so that any two
#: differ (in CIELAB by 19 at least) for normal, red-, green- and blue-blind eyes. Where colours
#: repeat, the number in the label tells groups apart.
GROUP_COLOURS = ("#7DB5EC", "#ECDA6B", "#DA9046", "#46FFB5", "#A27DFF", "#C7DAEC", "#A2906B")

#: Of atoms without groups: more, less and no contribution. Blue and orange differ for all kinds of
#: colour vision, and the sign is in the label.
MORE, LESS, NEUTRAL = "#3E8FC4", "#E07B39", "#FFFFFF"

#: Length of a bond in pixels; of the PNG, twice that; less where the picture would be too large.
BOND = 32
#: Longest side of a molecule in a picture (Cairo makes none of more than 32,767 with its labels),
#: and its largest area, in pixels.
LONGEST, LARGEST = 20_000, 60_000_000
#: Of the coloured circle of an atom, and the height of a label, in bonds.
RADIUS, LABEL = 0.36, 0.36
#: Colour of labels.
_LETTERS = (0.1, 0.1, 0.1)
#: Width of the smallest picture, in bonds.
LEAST_WIDTH = 12
#: The smallest contribution of a group that is labelled, as a share of the largest.
LEAST_LABELLED = 0.05
#: Largest number of atoms that are labelled one by one where there are no groups.
LABELLED_ATOMS = 6


class NoPictureError(ValueError):
    """A molecule that cannot be drawn."""


def draw_svg(explanation: Explanation, *, line: bool = True) -> str:
    """SVG of :meth:`Explanation.svg`; without the :func:`summary` below it where a page has it.

    Raises
    ------
    NoPictureError
        RDKit cannot draw it.
    """
    return _svg(_drawn(explanation, rdMolDraw2D.MolDraw2DSVG, BOND, line=line))


def draw_fragment(smiles: str, *, width: int = 120, height: int = 60, bond: int = 18) -> str:
    """A small SVG of a fragment or a molecule, of this size in pixels and bonds of at most this
    length; "" where RDKit cannot draw it."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        whole = mol is not None
        if not whole:  # a piece of an aromatic ring
            mol = Chem.MolFromSmiles(smiles, sanitize=False)
    if mol is None:
        return ""
    mol.UpdatePropertyCache(strict=False)
    canvas: Any = rdMolDraw2D.MolDraw2DSVG(width, height)
    canvas.drawOptions().useBWAtomPalette()
    canvas.drawOptions().fixedBondLength = bond
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, mol, kekulize=whole)
    canvas.FinishDrawing()
    return _svg(canvas.GetDrawingText())


def draw_png(explanation: Explanation) -> bytes:
    """PNG of :meth:`Explanation.png`; errors as :func:`draw_svg`."""
    return _drawn(explanation, rdMolDraw2D.MolDraw2DCairo, 2 * BOND)


def _svg(text: str) -> str:
    return text[text.index("<svg") :]  # without the XML declaration, so that pages can hold it


def group_colours(explanation: Explanation) -> list[str]:
    """``#RRGGBB`` of each group: no two that are bonded are alike, and each is used about as often
    as the others."""
    groups = explanation.groups
    if groups is None:
        return []
    touching: list[set[int]] = [set() for _ in range(explanation.num_groups)]
    for bond in explanation.mol.GetBonds():
        u, v = int(groups[bond.GetBeginAtomIdx()]), int(groups[bond.GetEndAtomIdx()])
        touching[u].add(v)
        touching[v].add(u)
    chosen: list[int] = []
    for group, others in enumerate(touching):
        near = {chosen[other] for other in others if other < group}
        free = [c for c in range(len(GROUP_COLOURS)) if c not in near] or range(len(GROUP_COLOURS))
        chosen.append(min(free, key=lambda c: (chosen.count(c), c)))
    return [GROUP_COLOURS[number] for number in chosen]


def decimals(values: np.ndarray) -> int:
    """How many digits behind the point tell contributions apart: two of the largest, at most.

    Examples
    --------
    >>> [decimals(np.array([v])) for v in (350.0, 12.0, 1.5, -0.3, 0.004, 0.0)]
    [0, 1, 2, 2, 4, 2]
    """
    most = float(np.abs(values).max(initial=0.0))
    if most >= 100:
        return 0
    if most >= 10:
        return 1
    return 2 if most >= 0.1 or most == 0 else min(12, 1 - math.floor(math.log10(most)))


def digits_of(explanation: Explanation) -> int:
    """:func:`decimals` for what is shown of a molecule: its groups, or its atoms."""
    grouped = explanation.groups is not None
    return decimals(explanation.group_contributions if grouped else explanation.contributions)


def signed(value: float, digits: int) -> str:
    """A contribution with its sign; no sign where it rounds to nothing.

    Examples
    --------
    >>> signed(0.3142, 2), signed(-0.3142, 2), signed(-0.001, 2)
    ('+0.31', '-0.31', '0.00')
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def added(value: float, digits: int) -> str:
    """What is added in a sum: a sign even where it rounds to nothing.

    >>> added(-0.3142, 2), added(-0.001, 2)
    ('-0.31', '+0.00')
    """
    text = signed(value, digits)
    return text if text[0] in "+-" else f"+{text}"


def units_of(explanation: Explanation) -> str:
    """`` units``, or nothing where there are none or the target's name says them."""
    units = explanation.units
    return f" {units}" if units and units not in explanation.target else ""


def summary(explanation: Explanation) -> str:
    """Prediction, baseline and what is between them, in a line."""
    digits = digits_of(explanation)
    units = units_of(explanation)
    sums = explanation.prediction - explanation.baseline
    return (
        f"{explanation.target} {explanation.prediction:.{digits}f}{units} = "
        f"carbon skeleton {explanation.baseline:.{digits}f} {added(sums, digits)}"
    )


def _drawn(explanation: Explanation, make: Any, bond: float, *, line: bool = True) -> Any:
    """The text of an SVG or the bytes of a PNG."""
    try:
        return _canvas(explanation, make, bond, line=line).GetDrawingText()
    except (RuntimeError, ValueError, MemoryError) as error:  # RDKit's have no base of their own
        raise NoPictureError(f"no picture can be drawn: {error}") from error


def _canvas(explanation: Explanation, make: Any, bond: float, *, line: bool) -> Any:
    mol = explanation.mol
    rdDepictor.Compute2DCoords(mol, canonOrient=True)
    rdDepictor.StraightenDepiction(mol)
    by = _by_atom if explanation.groups is None else _by_group
    colours, labels = by(explanation)
    mol = rdMolDraw2D.PrepareMolForDrawing(mol, kekulize=True, addChiralHs=False)
    bonds = {}
    for each in mol.GetBonds():
        ends = [colours.get(each.GetBeginAtomIdx()), colours.get(each.GetEndAtomIdx())]
        if explanation.groups is not None and ends[0] is not None and ends[0] == ends[1]:
            u, v = each.GetBeginAtomIdx(), each.GetEndAtomIdx()
            if explanation.groups[u] == explanation.groups[v]:
                bonds[each.GetIdx()] = ends[0]
    # As large as the molecule at this length of a bond with its labels, and as the line below it.
    width, height = _prepared(make(-1, -1), bond).GetMolSize(mol)
    shrunk = min(LONGEST / max(width, height), math.sqrt(LARGEST / (width * height)))
    if shrunk < 1:
        bond *= shrunk
        width, height = _prepared(make(-1, -1), bond).GetMolSize(mol)
    bare = _prepared(make(width, height), bond)
    bare.DrawMolecule(mol)
    font = LABEL * bond
    pairs = [(each.GetBeginAtomIdx(), each.GetEndAtomIdx()) for each in mol.GetBonds()]
    radii = bond * np.array([_radius(atom) for atom in mol.GetAtoms()])

    def placed(on: Any) -> np.ndarray:
        places = [on.GetDrawCoords(atom) for atom in range(mol.GetNumAtoms())]
        points = np.array([[place.x, place.y] for place in places])
        return place_labels(points, pairs, labels, font=font, radii=radii)

    middles = placed(bare)
    halves = np.array([[width_of(text, font) / 2, font] for _, text in labels]).reshape(-1, 2)
    room = np.maximum(halves - middles, middles + halves - (width, height)).max(0, initial=0)
    width, height = (width, height) + 2 * room
    height = math.ceil(max(height, 3 * bond) + bond * line)
    canvas = make(math.ceil(max(width, LEAST_WIDTH * bond)), height)
    _prepared(canvas, bond).drawOptions().legendFraction = bond * line / height
    canvas.DrawMolecule(
        mol,
        legend=summary(explanation) if line else "",
        highlightAtoms=list(colours),
        highlightAtomColors={atom: _rgb(colour) for atom, colour in colours.items()},
        highlightBonds=list(bonds),
        highlightBondColors={each: _rgb(colour) for each, colour in bonds.items()},
    )
    canvas.SetColour(_LETTERS)
    canvas.SetFontSize(font)
    for (_, text), (x, y) in zip(labels, placed(canvas)):
        canvas.DrawString(text, Point2D(float(x), float(y)), 0, True)
    canvas.FinishDrawing()
    return canvas


def _radius(atom: Chem.Atom) -> float:
    """Of the circle of an atom, in bonds; more for a symbol of several letters (NH2, Na+)."""
    if atom.GetAtomicNum() == 6 and atom.GetDegree() and not atom.GetFormalCharge():
        return RADIUS
    more = (
        len(atom.GetSymbol()) - 1 + (atom.GetTotalNumHs() > 0) + min(2, abs(atom.GetFormalCharge()))
    )
    return RADIUS + 0.18 * more


def _prepared(canvas: Any, bond: float) -> Any:
    options = canvas.drawOptions()
    options.useBWAtomPalette()  # colour says the group, and nothing else
    options.scalingFactor = bond
    options.fixedBondLength = bond
    options.padding = 0.08
    options.highlightRadius = RADIUS
    options.highlightBondWidthMultiplier = 14
    options.legendFontSize = round(0.45 * bond)
    return canvas


#: Atoms of which one is labelled, and the label.
_Label = tuple[Sequence[int], str]


def _by_group(explanation: Explanation) -> tuple[dict[int, str], list[_Label]]:
    """Colours of atoms, and labels of groups."""
    assert explanation.groups is not None
    of_groups = group_colours(explanation)
    colours = {atom: of_groups[group] for atom, group in enumerate(explanation.groups.tolist())}
    labels: list[_Label] = []
    digits = digits_of(explanation)
    most = float(np.abs(explanation.group_contributions).max())
    for group, share in enumerate(explanation.group_contributions.tolist()):
        text = signed(share, digits)
        if float(text) and abs(share) >= LEAST_LABELLED * most:  # others need no room
            labels.append((explanation.atoms_of(group), f"{group}: {text}"))
    return colours, labels


def _by_atom(explanation: Explanation) -> tuple[dict[int, str], list[_Label]]:
    values = explanation.contributions
    most = float(np.abs(values).max(initial=0.0)) or 1.0
    colours: dict[int, str] = {}
    labels: list[_Label] = []
    for atom, value in enumerate(values):
        colours[atom] = _mix(NEUTRAL, MORE if value > 0 else LESS, abs(float(value)) / most)
    for atom in np.argsort(-np.abs(values), kind="stable")[:LABELLED_ATOMS].tolist():
        text = signed(float(values[atom]), digits_of(explanation))
        if float(text):
            labels.append(([atom], text))
    return colours, labels


def _mix(low: str, high: str, share: float) -> str:
    parts = [(1 - share) * a + share * b for a, b in zip(_rgb(low), _rgb(high))]
    return "#" + "".join(f"{round(255 * part):02X}" for part in parts)


def _rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]
