"""Masks and shares: what a model is asked about parts of a molecule, and who gets how much."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from explain_data import (
    ACID,
    ODD,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from dgl_gmpool.data import atom_order
from dgl_gmpool.data.smiles_to_graphs import featurize_smiles
from dgl_gmpool.explain.masking import MaskedMolecule
from dgl_gmpool.explain.shapley import MOST_PLAYERS, first_and_last, shapley_values


def by_atom(smiles):
    """Features of atoms, and of bonds by their ends, in the SMILES' order."""
    flat, failed = featurize_smiles([smiles], "canonical")
    assert not failed
    (graph,) = flat.graphs([0])
    order = np.array(atom_order(smiles))
    atoms = torch.empty_like(graph.ndata["h"])
    atoms[order] = graph.ndata["h"]
    ends = order[torch.stack(graph.edges()).numpy()].T.tolist()
    return atoms, {(u, v): row.tolist() for (u, v), row in zip(ends, graph.edata["e"])}


@pytest.mark.parametrize(
    ("smiles", "skeleton"),
    [
        (ACID, "CC(C)CC1CCC(C(C)C)CC1"),
        ("CC(=O)Oc1ccccc1C(=O)O", "CC(C)CC1CCCCC1C(C)C"),
        ("[Na+].[Cl-]", "C.C"),
    ],
)
def test_what_is_left_of_a_molecule_is_the_alkane_of_its_shape(smiles, skeleton):
    masked = MaskedMolecule(smiles, "canonical")
    assert Chem.CanonSmiles(masked.skeleton) == Chem.CanonSmiles(skeleton)
    # The alkane, written with its atoms in the molecule's order.
    mol = Chem.RWMol(Chem.MolFromSmiles(smiles))
    Chem.Kekulize(mol, clearAromaticFlags=True)
    for atom in mol.GetAtoms():
        atom.SetAtomicNum(6)
        atom.SetFormalCharge(0)
        atom.SetNoImplicit(False)
        atom.SetNumExplicitHs(0)
    for bond in mol.GetBonds():
        bond.SetBondType(Chem.BondType.SINGLE)
    Chem.SanitizeMol(mol)
    numbered = Chem.Mol(mol)
    written = Chem.MolToSmiles(numbered, canonical=False)
    order = list(numbered.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
    atoms, bonds = by_atom(written)
    count = masked.num_atoms
    none, all_ = masked.graphs(np.array([[False] * count, [True] * count]))
    nodes = np.argsort(masked.order)
    assert torch.equal(none.ndata["h"][nodes][order], atoms)
    ends = masked.order[torch.stack(none.edges()).numpy()].T.tolist()
    at = {atom: place for place, atom in enumerate(order)}
    for (u, v), row in zip(ends, none.edata["e"]):
        assert row.tolist() == bonds[at[u], at[v]]
    assert torch.equal(all_.ndata["h"], masked.graph.ndata["h"])
    assert torch.equal(all_.edata["e"], masked.graph.edata["e"])


@pytest.mark.parametrize("smiles", ODD)
def test_masks_of_odd_molecules(smiles):
    masked = MaskedMolecule(smiles, "canonical")
    count = masked.num_atoms
    (none,) = masked.graphs(np.zeros((1, count), bool))
    assert none.num_nodes() == count
    assert bool((none.ndata["h"][:, 0] == 1).all())  # carbon, the first kind
    assert bool((none.edata["e"][:, 0] == 1).all())  # single, the first kind


def test_a_mask_changes_its_own_atom_and_bonds_alone():
    masked = MaskedMolecule("CC(=O)N", "canonical")
    present = np.array([[True, True, False, True]])
    (graph,) = masked.graphs(present)
    changed = (graph.ndata["h"] != masked.graph.ndata["h"]).any(1).numpy()
    assert masked.order[changed].tolist() == [2]
    bonds = (graph.edata["e"] != masked.graph.edata["e"]).any(1).numpy()
    ends = masked.order[torch.stack(graph.edges()).numpy()][:, bonds]
    assert sorted(map(tuple, ends.T.tolist())) == [(1, 2), (2, 1)]
    assert masked.inert.tolist() == [True, False, False, False]


def test_an_alkane_has_nothing_to_mask():
    assert MaskedMolecule("CC(C)CC1CCCC1", "canonical").inert.all()


# ---------------------------------------------------------------- shares


def by_orders(value, players):
    """Shapley values by their definition: over all orders."""
    found = np.zeros(players)
    orders = list(permutations(range(players)))
    for order in orders:
        there = np.zeros(players, bool)
        before = value(there[None])[0, 0]
        for player in order:
            there[player] = True
            after = value(there[None])[0, 0]
            found[player] += after - before
            before = after
    return found / len(orders)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_shares_are_those_of_all_orders(players, seed):
    table = np.random.default_rng(seed).normal(size=2**players)

    def value(coalitions):
        return table[coalitions @ (1 << np.arange(players))][None]

    shares = shapley_values(value, players)
    np.testing.assert_allclose(shares[0], by_orders(value, players), atol=1e-12)
    assert shares.sum() == pytest.approx(table[-1] - table[0])


def test_the_glove_game():
    """Two left gloves and a right one: a pair is worth 1 (Shapley's own example)."""

    def pairs(coalitions):
        return np.minimum(coalitions[:, :2].sum(1), coalitions[:, 2])[None].astype(float)

    np.testing.assert_allclose(shapley_values(pairs, 3), [[1 / 6, 1 / 6, 2 / 3]])


def test_many_players_without_interactions_of_three_are_exact():
    players = MOST_PLAYERS + 4
    rng = np.random.default_rng(0)
    alone, together = rng.normal(size=players), rng.normal(size=(players, players))
    together = np.triu(together, 1)

    def value(coalitions):
        there = coalitions.astype(float)
        return (there @ alone + ((there @ together) * there).sum(1))[None]

    expected = alone + (together.sum(0) + together.sum(1)) / 2
    np.testing.assert_allclose(shapley_values(value, players)[0], expected, atol=1e-12)
    np.testing.assert_allclose(first_and_last(value, players)[0][0], expected, atol=1e-12)


def test_many_players_share_all_there_is_and_idle_ones_get_nothing():
    players = MOST_PLAYERS + 1

    def value(coalitions):  # three act together, the others do nothing
        return coalitions[:, :3].all(1)[None] * 6.0

    shares = shapley_values(value, players)[0]
    np.testing.assert_allclose(shares, [2, 2, 2] + [0] * (players - 3))


# ---------------------------------------------------------------- planted truth


def test_stored_attribution_finds_what_was_taught():
    file = Path(__file__).parent.parent / "experiments" / "results" / "attribution.json"
    rows = json.loads(file.read_text())["rows"]
    assert {row["target"] for row in rows} == {"nitro", "carboxyl", "nitro and carboxyl"}
    learnt = [row for row in rows if row["test r2"] > 0.5]
    counted = [row for row in rows if row["target"] in ("nitro", "carboxyl")]
    assert all(row in learnt for row in counted)
    for row in learnt:
        assert row["auc of atoms"] >= 0.9, row
        assert row["auc within molecules"] >= 0.9, row
        assert row["auc of atoms"] - row["auc of the readout's weights"] > 0.3, row


def test_the_attribution_experiment_runs(tmp_path):
    from experiments.attribution import TARGETS, truth_of
    from experiments.attribution import main as attribution

    count, atoms = truth_of(ACID, TARGETS["nitro"])
    assert (count, atoms.nonzero()[0].tolist()) == (1, [8, 9, 10])
    count, atoms = truth_of(ACID, TARGETS["nitro and carboxyl"])
    assert (count, atoms.nonzero()[0].tolist()) == (1, [0, 1, 2, 8, 9, 10])
    count, atoms = truth_of("CC(=O)O", TARGETS["nitro and carboxyl"])
    assert (count, atoms.any()) == (0, False)
    output = tmp_path / "out.json"
    options = ["--molecules", "40", "--epochs", "1", "--readouts", "mean"]
    assert attribution(["--output", str(output), *options]) == 0
    assert len(json.loads(output.read_text())["rows"]) == 3
