"""RDKit's drawing of a molecule, as vector shapes on matplotlib axes."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from rdkit import Chem
from rdkit.Chem import rdDepictor
from rdkit.Chem.Draw import rdMolDraw2D

from experiments.figures._matplotlib import import_matplotlib
from experiments.figures.style import INK, SINGLE

#: Pixels of RDKit's canvas per point on paper: RDKit rounds coordinates to a tenth of a pixel.
SCALE = 10
#: Sizes on paper, in points.
SYMBOL_SIZE = 7
NUMBER_SIZE = 5.5
BOND_WIDTH = 0.9
MAX_BOND = 26.0
#: Radius of an atom's disc by the length of a bond, and width of a band by a disc's diameter.
DISC = 0.27
BAND = 0.75

_NUMBER = re.compile(r"[MLQCZ]|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_POINTS = {"M": 1, "L": 1, "Q": 2, "C": 3, "Z": 0}


def draw_molecule(axes: Any, smiles: str, colours: Sequence[str]) -> None:
    """Draw a molecule with every atom on a disc of its colour and with its number.

    The numbers are those of the SMILES, from 0. Bonds between atoms of one colour (other than
    white) lie on a band of it, so that joined atoms of a group are seen as one piece.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Filled by the drawing; ticks and frame are removed.
    smiles : str
    colours : sequence of str
        One per atom, as ``#RRGGBB``.

    Raises
    ------
    ValueError
        RDKit refuses the SMILES, or the number of colours is not the number of atoms.
    """
    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise ValueError(f"{smiles!r} is refused by RDKit and cannot be drawn")
    if len(colours) != mol.GetNumAtoms():
        raise ValueError(f"{len(colours)} colours for {mol.GetNumAtoms()} atoms; give one per atom")
    width, height = _size_in_points(axes)
    svg, places = _rdkit_svg(mol, width * SCALE, height * SCALE)
    axes.set_xlim(0, width * SCALE)
    axes.set_ylim(height * SCALE, 0)
    axes.set_axis_off()
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()]
    lengths = [math.dist(places[i], places[j]) for i, j in bonds]
    disc = 2 * DISC * statistics.median(lengths or [MAX_BOND * SCALE]) / SCALE
    for i, j in bonds:
        if colours[i] == colours[j] != SINGLE:
            band = {"linewidth": BAND * disc, "solid_capstyle": "round", "zorder": 0.5}
            axes.plot(*zip(places[i], places[j]), color=colours[i], **band)
    for atom, (place, colour) in enumerate(zip(places, colours)):
        # The id says in the SVG which atom a disc belongs to.
        look = {"markersize": disc, "markeredgewidth": 0, "zorder": 0.6, "gid": f"atom-{atom}"}
        axes.plot(*place, "o", color=colour, **look)
    for shape in _shapes(svg):
        axes.add_patch(shape)


def _rdkit_svg(mol: Chem.Mol, width: float, height: float) -> tuple[str, list[tuple[float, float]]]:
    """RDKit's drawing as SVG, ``width`` by ``height`` pixels, and the place of each atom in it."""
    rdDepictor.Compute2DCoords(mol, canonOrient=True)
    rdDepictor.StraightenDepiction(mol)
    canvas = rdMolDraw2D.MolDraw2DSVG(round(width), round(height))
    options = canvas.drawOptions()
    options.useBWAtomPalette()  # colour says the group, and nothing else
    settings = {
        "clearBackground": False,
        "addAtomIndices": True,
        "bondLineWidth": BOND_WIDTH * SCALE,
        "scaleBondWidth": False,
        "fixedFontSize": SYMBOL_SIZE * SCALE,
        "annotationFontScale": NUMBER_SIZE / SYMBOL_SIZE,
        "fixedBondLength": MAX_BOND * SCALE,
        "padding": 0.06,
    }
    for name, value in settings.items():
        setattr(options, name, value)
    rdMolDraw2D.PrepareAndDrawMolecule(canvas, mol)
    canvas.FinishDrawing()
    points = [canvas.GetDrawCoords(atom) for atom in range(mol.GetNumAtoms())]
    return canvas.GetDrawingText(), [(point.x, point.y) for point in points]


def _shapes(svg: str) -> list[Any]:
    """Matplotlib patches for the paths and ellipses that RDKit writes, in drawing order."""
    patches, paths = import_matplotlib("patches"), import_matplotlib("path")
    found: list[Any] = []
    for element in ElementTree.fromstring(svg).iter():
        tag = element.tag.rsplit("}", 1)[-1]
        if tag not in ("path", "ellipse"):
            continue
        look = dict(
            part.split(":", 1) for part in element.get("style", "").split(";") if ":" in part
        )
        fill = element.get("fill", look.get("fill", "none"))
        stroke = look.get("stroke", "none")
        pixels = float(look.get("stroke-width", "0").replace("px", ""))
        style = {
            "facecolor": _ink(fill),
            "edgecolor": _ink(stroke),
            "linewidth": 0 if stroke == "none" else pixels / SCALE,
            "capstyle": "round",
            "joinstyle": "round",
        }
        if tag == "ellipse":
            x, y, rx, ry = (float(element.get(key, "0")) for key in ("cx", "cy", "rx", "ry"))
            found.append(patches.Ellipse((x, y), 2 * rx, 2 * ry, **style))
            continue
        vertices, codes = _outline(element.get("d", ""), paths.Path)
        found.append(patches.PathPatch(paths.Path(vertices, codes), **style))
    return found


def _outline(text: str, path: Any) -> tuple[list[tuple[float, float]], list[int]]:
    """Vertices and codes of an SVG path with absolute M, L, Q, C and Z, which is all RDKit uses."""
    code_of = {"M": path.MOVETO, "L": path.LINETO, "Q": path.CURVE3, "C": path.CURVE4}
    tokens = _NUMBER.findall(text)
    vertices: list[tuple[float, float]] = []
    codes: list[int] = []
    command, at = "M", 0
    while at < len(tokens):
        if tokens[at] in _POINTS:
            command, at = tokens[at], at + 1
            if command == "Z":
                vertices.append(vertices[-1])
                codes.append(path.CLOSEPOLY)
            continue
        for _ in range(_POINTS[command]):
            vertices.append((float(tokens[at]), float(tokens[at + 1])))
            codes.append(code_of[command])
            at += 2
        if command == "M":  # more points after a move are lines
            command = "L"
    return vertices, codes


def _size_in_points(axes: Any) -> tuple[float, float]:
    figure_width, figure_height = axes.figure.get_size_inches()
    place = axes.get_position()
    return 72 * place.width * figure_width, 72 * place.height * figure_height


def _ink(colour: str) -> str:
    return INK if colour.upper() == "#000000" else colour
