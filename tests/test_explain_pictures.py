"""Pictures of explanations: every atom coloured, every group labelled, colours for all eyes."""

from __future__ import annotations

import re
import struct
from dataclasses import replace

import numpy as np
import pytest
from explain_data import (
    ACID,
    ODD,
    run_with_groups,
)

from dgl_gmpool.explain import Explanation, explain_molecule
from dgl_gmpool.explain.drawing import GROUP_COLOURS, LESS, LONGEST, MORE, group_colours
from dgl_gmpool.explain.fragments import fragment_rows
from dgl_gmpool.explain.labels import place_labels, width_of
from dgl_gmpool.explain.page import _fragments, molecule_part
from dgl_gmpool.training import load_models

#: Of the letters of labels; those of atoms are black.
LETTERS = "#191919"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return load_models(run_with_groups(tmp_path_factory.mktemp("explain") / "run"))


def test_pictures_colour_every_atom_and_label_every_group(models, tmp_path):
    each = explain_molecule(models, ACID)
    svg = each.svg()
    colours = group_colours(each)
    assert len(colours) == each.num_groups
    for colour in colours:
        assert colour in svg
    for bond in each.mol.GetBonds():
        u, v = each.groups[bond.GetBeginAtomIdx()], each.groups[bond.GetEndAtomIdx()]
        assert u == v or colours[u] != colours[v]
    # Every letter is a path: those of the labels "0: +0.12".
    bare = replace(each, group_contributions=np.zeros(each.num_groups)).svg()
    assert svg.count("<path") - bare.count("<path") >= 7 * each.num_groups
    assert each.png(tmp_path / "a.png") == (tmp_path / "a.png").read_bytes()
    assert each.png().startswith(b"\x89PNG")


def test_atoms_that_add_nothing_have_no_label(models):
    """An atom by atom picture, of a model without groups."""
    each = replace(explain_molecule(models, "CCO"), groups=None)

    def letters(*contributions):
        svg = replace(each, contributions=np.array(contributions)).svg()
        return svg.count(f"fill='{LETTERS}'")

    assert letters(0.0, 0.0, 0.0) == 0
    assert letters(0.0, 1e-6, -0.5) == len("-0.50")
    assert letters(0.25, 1e-6, -0.5) == 2 * len("-0.50")


def test_labels_cover_neither_atoms_nor_bonds_nor_each_other():
    """A zigzag chain of thirty atoms, every third one labelled, and a ring with one label each."""
    chain = np.array([[28.0 * k, 16.0 * (k % 2)] for k in range(30)])
    turn = 2 * np.pi * np.arange(6) / 6
    ring = 32 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for points, closed in ((chain, []), (ring, [(5, 0)])):
        bonds = [*((k, k + 1) for k in range(len(points) - 1)), *closed]
        labels = [([k], "1: +0.25") for k in range(0, len(points), 3)]
        middles = place_labels(points, bonds, labels, font=11, radii=np.full(len(points), 11))
        half = np.array([width_of("1: +0.25", 11), 11]) / 2
        along = np.linspace(0, 1, 20)[:, None, None]
        drawn = [points, *(points[[a for a, _ in bonds]] * (1 - along)
                           + points[[b for _, b in bonds]] * along)]  # fmt: skip
        gap = np.abs(np.vstack(drawn)[None] - middles[:, None]) - half
        assert (gap.max(-1) > 0).all()
        apart = np.abs(middles[None] - middles[:, None]) - 2 * half
        assert (apart.max(-1)[~np.eye(len(middles), dtype=bool)] > -1e-9).all()
        # Each is beside its own atom.
        own = points[[atoms[0] for atoms, _ in labels]]
        assert (np.abs(middles - own) <= half + 11 + 1e-9).all()


def test_a_sum_has_a_sign_and_one_group_no_s(models):
    each = explain_molecule(models, "C")
    assert each.num_groups == 1
    assert "</code> +0.00; 1 group, " in "".join(molecule_part("methane", each, 1.0))


def test_the_spread_of_a_single_group_is_blank():
    once, twice = fragment_rows([(1, "y", "*N", 0.1), (2, "y", "*O", 1.0), (3, "y", "*O", 2.0)])[
        ::-1
    ]
    assert np.isnan(once.spread)
    assert twice.spread == 0.5
    page = "".join(_fragments([once, twice], False))
    assert "nan" not in page
    assert "<td class='n'></td>" in page


def test_a_long_chain_is_drawn_smaller_with_all_its_atoms():
    long = "C" * 360
    each = Explanation(
        *(long, "y", "", "regression", 1.0, 0.0, long, tuple(long), np.linspace(-1, 1, 360)),
    )
    width, height = struct.unpack(">II", each.png()[16:24])
    assert (width, height) == (LONGEST, pytest.approx(150, abs=50))
    assert len(re.findall(r"<ellipse|<path class='atom-\d+'", each.svg())) >= 360


@pytest.mark.parametrize("smiles", ODD)
def test_odd_molecules_are_drawn(models, smiles):
    assert explain_molecule(models, smiles).svg().endswith("</svg>\n")


#: How linear RGB looks to red-, green- and blue-blind eyes (Machado, Oliveira and Fernandes, 2009).
EYES = (
    np.eye(3),
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.0]],
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.96888]],
    [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.1476], [0.004733, 0.691367, 0.3039]],
)


def cielab(colour, eyes):
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.asarray(eyes) @ np.where(
        rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4
    )
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ linear.clip(0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("eyes", EYES)
def test_colours_are_told_apart_by_all_eyes_and_bear_black_letters(eyes):
    for colours in (GROUP_COLOURS, (MORE, LESS)):
        seen = [cielab(colour, eyes) for colour in colours]
        apart = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
        assert min(apart) > 15
        assert min(each[0] for each in seen) > 50
