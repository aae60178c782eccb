"""Explanations: masks, shares, groups, the SMILES' own atom order, the folder that is left."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from training_data import check_refused, rows_of, small_dataset, small_options

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.cli import main
from dgl_gmpool.data import atom_order, make_splits
from dgl_gmpool.data.chromophores import solvent_descriptors
from dgl_gmpool.data.smiles_to_graphs import featurize_smiles
from dgl_gmpool.explain import explain_molecule
from dgl_gmpool.explain.drawing import GROUP_COLOURS, LESS, MORE, group_colours
from dgl_gmpool.explain.fragments import (
    HYDROGEN,
    Cut,
    context_smiles,
    flat_smiles,
    fragment_rows,
    fragment_smiles,
    matched_pairs,
)
from dgl_gmpool.explain.masking import MaskedMolecule, RefusedError
from dgl_gmpool.explain.shapley import MOST_PLAYERS, first_and_last, shapley_values
from dgl_gmpool.training import TrainedModel, TrainingConfig, load_models, predict_smiles, train_run

ACID = "O=C(O)Cc1ccc([N+](=O)[O-])cc1"
#: Shapes that no carbon has, no bonds, several pieces, hydrogens, dummies.
ODD = ("C", "[Na+].[Cl-]", "[H][H]", "FS(F)(F)(F)(F)c1ccccc1", "F[P-](F)(F)(F)(F)F.CC", "*CC", "O")


def trained_folder(dataset, folder, **changes):
    splits = make_splits(dataset.table, folds=2, test_fraction=0.25)
    config = TrainingConfig(**small_options(**changes))
    return train_run(dataset, splits, config, folder, progress=False).folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    # A rate at which the groups' half of the readout, which starts at zero, counts.
    return trained_folder(small_dataset(), tmp_path_factory.mktemp("explain") / "run", lr=0.1)


@pytest.fixture(scope="module")
def models(run):
    return load_models(run)


@pytest.fixture(scope="module")
def without_groups(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain") / "run"
    return trained_folder(small_dataset(), folder, readout="mean_and_max")


@dataclass
class Told(TrainedModel):
    """A model that predicts by a rule of the atoms: element numbers by node, in graph order."""

    rule: object = None

    def predict(self, graphs, **_):
        # C, N, O are the first kinds of atoms among the features.
        kinds = [graph.ndata["h"][:, :3].sum(0).tolist() for graph in graphs]
        return np.array([[float(self.rule(*each))] for each in kinds])


def told(rule, **options):
    torch.manual_seed(0)
    model = MoleculePredictor(74, 12, hidden_feats=8, num_steps=1, **options).eval()
    return Told(model, "regression", ("y",), "", None, None, rule=rule)


# ---------------------------------------------------------------- masks


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


# ---------------------------------------------------------------- explanations


def test_contributions_add_up_to_the_prediction_less_that_of_the_skeleton(models):
    for smiles in (ACID, "Nc1ccccc1", *ODD):
        each = explain_molecule(models, smiles)
        ends = predict_smiles(models, [smiles, each.skeleton]).mean[:, 0]
        assert each.prediction == pytest.approx(ends[0], abs=1e-4)
        if smiles.count("F") < 5:  # otherwise a carbon cannot have all the bonds
            assert each.baseline == pytest.approx(ends[1], abs=1e-4)
        assert each.contributions.sum() == pytest.approx(each.prediction - each.baseline, abs=1e-9)
        for group in range(each.num_groups):
            atoms = each.atoms_of(group)
            assert atoms
            assert each.contributions[atoms].sum() == pytest.approx(
                each.group_contributions[group], abs=1e-9
            )
        np.testing.assert_allclose(each.memberships.sum(1), 1, rtol=1e-6)
        assert each.memberships.shape == (len(each.symbols), each.num_groups)
        assert each.weights.shape == (len(each.symbols),)


def test_a_model_that_counts_nitrogens_is_explained_by_its_nitrogens():
    counts = told(lambda c, n, o: 2 * n)
    each = explain_molecule([counts], "Cc1nc(N)ccc1O")
    assert each.contributions.tolist() == [0, 0, 2, 0, 2, 0, 0, 0, 0]
    assert (each.prediction, each.baseline) == (4, 0)
    assert each.group_contributions.sum() == 4


def test_what_two_atoms_do_together_is_shared():
    both = told(lambda c, n, o: 6 * n * o, readout="mean")
    each = explain_molecule([both], "NCCO")
    assert each.contributions.tolist() == [3, 0, 0, 3]


def test_classifications_are_explained_as_probabilities(tmp_path):
    dataset = small_dataset("classification", tasks=2)
    models = load_models(trained_folder(dataset, tmp_path / "run"))
    for target, column in ((None, 0), ("task0", 0), ("task1", 1)):
        each = explain_molecule(models, ACID, target=target)
        assert each.target == f"task{column}"
        expected = predict_smiles(models, [ACID]).mean[0, column]
        assert each.prediction == pytest.approx(expected, abs=1e-5)
        assert 0 < each.baseline < 1
    with pytest.raises(ValueError, match=r"unknown target 'tsk1'\. Did you mean 'task1'"):
        explain_molecule(models, ACID, target="tsk1")


@pytest.mark.parametrize("smiles", [ACID, "CC(C)Oc1ccc(Cl)nc1S(N)(=O)=O", "C[C@H](N)C(=O)O.Cl"])
def test_atoms_are_those_of_the_smiles_however_it_is_written(models, smiles):
    first = explain_molecule(models, smiles)
    mol = Chem.MolFromSmiles(smiles)
    for seed in range(4):
        shuffled = Chem.Mol(mol)
        text = Chem.MolToRandomSmilesVect(shuffled, 1, randomSeed=seed + 1)[0]
        other = explain_molecule(models, text)
        match = Chem.MolFromSmiles(text).GetSubstructMatch(mol, useChirality=True)
        assert [other.symbols[i] for i in match] == list(first.symbols)
        ranks = list(Chem.CanonicalRankAtoms(mol, breakTies=False))
        alone = [i for i, rank in enumerate(ranks) if ranks.count(rank) == 1]
        np.testing.assert_allclose(
            other.contributions[list(match)][alone], first.contributions[alone], atol=1e-5
        )
        groups, before = other.groups[list(match)], first.groups
        same = (groups[alone][:, None] == groups[alone]) == (
            before[alone][:, None] == before[alone]
        )
        assert same.all()
        assert sorted(other.fragments) == sorted(first.fragments)


def test_groups_of_one_model_are_those_of_its_pooling(models):
    trained = models[0]
    each = explain_molecule([trained], ACID)
    flat, _ = featurize_smiles([ACID], trained.featurizer)
    (graph,) = flat.graphs([0])
    model, seen = trained.model, {}

    def keep(module, arguments, options):
        seen.update(feat=arguments[1], **options)

    handle = model.poolings[0].register_forward_pre_hook(keep, with_kwargs=True)
    with torch.no_grad():
        model(graph, graph.ndata["h"], graph.edata["e"])
    handle.remove()
    pool, order = model.poolings[0], np.argsort(atom_order(ACID))
    feat, options = seen["feat"], {"conductance": seen["conductance"]}
    assert each.groups.tolist() == pool.groups(graph, feat, **options)[order].tolist()
    (shares,) = pool.memberships(graph, feat, **options)
    np.testing.assert_allclose(each.memberships, shares.detach()[order], atol=1e-6)
    _, (weight,) = pool(graph, feat, get_node_weight=True, **options)
    np.testing.assert_allclose(each.weights, weight.detach()[order, 0], atol=1e-6)
    assert each.agreement == 1
    assert np.isnan(each.group_spread).all()


def test_groups_of_several_models_lie_between_theirs(models):
    several = explain_molecule(models, ACID)
    assert -0.5 <= several.agreement <= 1
    assert np.isfinite(several.group_spread).all()
    twice = explain_molecule([models[0], models[0]], ACID)
    one = explain_molecule([models[0]], ACID)
    assert twice.groups.tolist() == one.groups.tolist()
    assert twice.agreement == 1
    np.testing.assert_allclose(twice.contributions, one.contributions, atol=1e-6)
    np.testing.assert_allclose(twice.group_spread, 0, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"readout": "ngmpool"},
        {"readout_options": {"similarity": "linear", "locality": "none", "aggregate": "mean"}},
        {"readout_options": {"decomposition": "sqrtm", "aggregate": "mean_and_max"}},
        {"levels": 2},
        {"backbone": "gcn"},
        {"backbone": "attentivefp", "readout": "attention"},
        {"readout": "set2set"},
        {"readout": "diffpool"},
    ],
)
def test_all_kinds_of_models(tmp_path, changes):
    dataset = small_dataset(rows=24)
    models = load_models(trained_folder(dataset, tmp_path / "run", epochs=1, **changes))
    each = explain_molecule(models, ACID)
    assert each.contributions.sum() == pytest.approx(each.prediction - each.baseline, abs=1e-9)
    grouped = changes.get("readout", "gmpool") in ("gmpool", "ngmpool")
    assert (each.groups is not None) == grouped == (each.note == "")
    assert (each.weights is None) == (changes.get("levels") == 2)
    assert each.svg().startswith("<svg")


def test_a_model_without_groups_says_so(without_groups):
    each = explain_molecule(load_models(without_groups), ACID)
    assert each.groups is None
    assert each.num_groups == 0
    assert each.note == (
        "this model has no groups: its readout 'mean_and_max' names none (gmpool and ngmpool do), "
        "so contributions are per atom"
    )
    assert each.contributions.sum() == pytest.approx(each.prediction - each.baseline, abs=1e-9)


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("", "blank SMILES"),
        ("C1CC", "not a SMILES"),
        ("C(C)(C)(C)(C)C", "valence"),
        ("C" * 401, "401 atoms; an explanation takes at most 400"),
    ],
)
def test_refused_molecules(models, smiles, reason):
    with pytest.raises(RefusedError, match=reason):
        explain_molecule(models, smiles)


def test_no_models_and_models_of_features_that_nobody_can_make():
    with pytest.raises(ValueError, match="no model given"):
        explain_molecule([], "C")
    odd = replace(told(lambda c, n, o: 0), global_scaler=SimpleNamespace(mean=np.zeros(2)))
    with pytest.raises(ValueError, match="2 global features"):
        explain_molecule([odd], "C")


@pytest.fixture(scope="module")
def with_solvents(tmp_path_factory):
    dataset = small_dataset()
    feats = [solvent_descriptors("O" if i % 2 else "CCO") for i in range(len(dataset))]
    table = replace(dataset.table, global_feats=np.array(feats, np.float32))
    folder = tmp_path_factory.mktemp("explain") / "run"
    return trained_folder(replace(dataset, table=table), folder)


def test_models_trained_with_solvents(with_solvents):
    models = load_models(with_solvents)
    for solvent in ("O", "CCCCCC"):
        each = explain_molecule(models, ACID, solvent=solvent)
        expected = predict_smiles(models, [ACID, each.skeleton], solvents=[solvent] * 2).mean[:, 0]
        np.testing.assert_allclose([each.prediction, each.baseline], expected, atol=1e-4)
    with pytest.raises(RefusedError, match="gas"):
        explain_molecule(models, ACID, solvent="gas")
    with pytest.raises(RefusedError, match="blank solvent"):
        explain_molecule(models, ACID, solvent="")
    with pytest.raises(ValueError, match="give each row's solvent"):
        explain_molecule(models, ACID)


# ---------------------------------------------------------------- pictures


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
    labels = re.findall(r"class='note'", svg)
    bare = replace(each, group_contributions=np.zeros(each.num_groups)).svg()
    assert len(labels) >= each.num_groups
    assert "class='note'" not in bare
    assert each.png(tmp_path / "a.png") == (tmp_path / "a.png").read_bytes()
    assert each.png().startswith(b"\x89PNG")


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


# ---------------------------------------------------------------- fragments and pairs


def test_fragments_and_what_is_left():
    mol = Chem.MolFromSmiles("C[C@H](N)C(=O)O")
    assert fragment_smiles(mol, [0, 1]) == "*C(*)C"
    assert context_smiles(mol, [0, 1]) == "*C(=O)O.*N"
    assert flat_smiles(mol) == "CC(N)C(=O)O"
    assert fragment_smiles(mol, range(6)) == "CC(N)C(=O)O"
    assert context_smiles(mol, range(6)) == ""
    salt = Chem.MolFromSmiles("[Na+].CC(=O)[O-]")
    assert fragment_smiles(salt, [0, 4]) == "*[O-].[Na+]"
    # Pieces of an aromatic ring, a numbered atom, a group that its neighbour touches twice.
    assert fragment_smiles(Chem.MolFromSmiles("c1cc[n:7]cc1"), [3]) == "*n*"
    assert fragment_smiles(Chem.MolFromSmiles("C1CC1"), [0]) == "*C*"


def cut(row, smiles, atoms, prediction=0.0):
    mol = Chem.MolFromSmiles(smiles)
    return Cut(
        row,
        flat_smiles(mol),
        fragment_smiles(mol, atoms),
        context_smiles(mol, atoms),
        prediction,
        0.5,
    )


def test_pairs_differ_in_one_group():
    cuts = [
        cut(2, "Nc1ccccc1", [0], 1.0),
        cut(3, "Oc1ccccc1", [0], 4.0),
        cut(4, "c1ccccc1", range(6), 2.0),
        cut(5, "OC1CCCCC1", [0], 9.0),  # another context
        cut(6, "Oc1ccccc1", [0], 4.0),  # row 3 again
    ]
    pairs, count = matched_pairs(cuts, most=10)
    found = [(p.first.row, p.second.row, p.second.fragment, p.difference) for p in pairs]
    assert found == [(2, 3, "*O", 3.0), (3, 4, HYDROGEN, -2.0), (2, 4, HYDROGEN, 1.0)]
    assert count == 3
    assert pairs[0].context == "*c1ccccc1"
    few, count = matched_pairs(cuts, most=1)
    assert (few, count) == (pairs[:1], 3)


def test_fragments_of_a_table():
    rows = fragment_rows([(2, "*O", 1.0), (2, "*O", 2.0), (3, "*O", 3.0), (3, "*N", -9.0)])
    assert [(r.fragment, r.count, r.molecules, r.mean) for r in rows] == [
        ("*N", 1, 1, -9.0),
        ("*O", 3, 2, 2.0),
    ]


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def explained(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    table = folder / "in.csv"
    lines = ["name,structure", "a,CCO", "<b>x,C1CC", "c,", f"d,{ACID}", "e,CCN", "short", "f,CCO"]
    table.write_text("\n".join(lines) + "\n")
    output = folder / "out" / "deep"
    arguments = ["explain", "--model", str(run), "--csv", str(table)]
    arguments += ["--smiles-column", "structure", "--output", str(output)]
    assert main(arguments) == 0
    return output, arguments


def test_the_folder_holds_every_row_with_its_number(explained, models):
    output, _ = explained
    rows = rows_of((output / "molecules.csv").read_text())
    assert [row["row"] for row in rows] == [str(n) for n in range(2, 9)]
    reasons = [row["reason"] for row in rows]
    assert reasons == [
        *("", "not a SMILES", "blank SMILES", "", ""),
        "1 cells where the header has 2",
        "",
    ]
    for row in rows:
        assert bool(row["prediction"]) != bool(row["reason"])
        there = (output / f"molecule_{row['row']}.svg").exists()
        assert there == (output / f"molecule_{row['row']}.png").exists() == (not row["reason"])
    stored = predict_smiles(models, [ACID]).mean[0, 0]
    assert float(rows[3]["prediction"]) == pytest.approx(stored, abs=1e-4)
    assert rows[0]["prediction"] == rows[6]["prediction"]


def test_tables_add_up(explained):
    output, _ = explained
    atoms = rows_of((output / "atoms.csv").read_text())
    assert list(atoms[0]) == [
        *("row", "atom", "element", "group", "membership", "weight", "contribution"),
    ]
    groups = rows_of((output / "groups.csv").read_text())
    for row in rows_of((output / "molecules.csv").read_text()):
        if row["reason"]:
            assert row["row"] not in {atom["row"] for atom in atoms}
            continue
        own = [atom for atom in atoms if atom["row"] == row["row"]]
        mol = Chem.MolFromSmiles(row["smiles"])
        assert [atom["element"] for atom in own] == [atom.GetSymbol() for atom in mol.GetAtoms()]
        assert [int(atom["atom"]) for atom in own] == list(range(mol.GetNumAtoms()))
        total = float(row["prediction"]) - float(row["baseline"])
        assert sum(float(atom["contribution"]) for atom in own) == pytest.approx(total, abs=1e-9)
        of_row = [group for group in groups if group["row"] == row["row"]]
        assert len(of_row) == int(row["groups"])
        for group in of_row:
            inside = [atom["atom"] for atom in own if atom["group"] == group["group"]]
            assert inside == group["atoms"].split()
            share = sum(float(own[int(atom)]["contribution"]) for atom in inside)
            assert share == pytest.approx(float(group["contribution"]), abs=1e-9)


def test_fragments_and_pairs_of_the_table(explained):
    output, _ = explained
    groups = rows_of((output / "groups.csv").read_text())
    fragments = rows_of((output / "fragments.csv").read_text())
    assert sum(int(row["count"]) for row in fragments) == len(groups)
    for row in fragments:
        own = [float(g["contribution"]) for g in groups if g["fragment"] == row["fragment"]]
        assert float(row["mean contribution"]) == pytest.approx(np.mean(own))
    smiles = {row["row"]: row["smiles"] for row in rows_of((output / "molecules.csv").read_text())}
    for pair in csv.DictReader((output / "pairs.csv").read_text().splitlines()):
        assert pair["smiles 1"] == smiles[pair["row 1"]]
        difference = float(pair["prediction 2"]) - float(pair["prediction 1"])
        assert float(pair["difference of predictions"]) == pytest.approx(difference)


def test_the_page_is_one_file_that_needs_no_network(explained):
    output, _ = explained
    page = (output / "index.html").read_text(encoding="utf-8")
    outside = re.findall(r"(?:src|href)\s*=\s*['\"]([^'\"#][^'\"]*)", page)
    assert outside == []
    assert "<script" not in page
    # The namespaces of SVG are names, not addresses that are loaded.
    addresses = set(re.findall(r"https?://[^\s'\"<]+", page))
    assert addresses <= {
        "http://www.w3.org/2000/svg",
        "http://www.rdkit.org/xml",
        "http://www.w3.org/1999/xlink",
    }
    assert page.count("<svg") >= 4
    assert "7 rows, 4 explained" in page
    assert "not a SMILES" in page
    assert page.rstrip().endswith("</html>")


def test_text_of_the_user_cannot_become_markup(run, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    arguments = ["explain", "--model", str(run), "--smiles", evil, "CCO"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<img" not in page
    assert "&lt;img" in page


def test_a_full_folder_is_refused_before_any_work_and_replaced_when_asked(explained, capsys):
    output, arguments = explained
    before = (output / "index.html").read_bytes()
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    (output / "mine.txt").write_text("kept")
    (output / "molecule_99.svg").write_text("of a longer table")
    assert main([*arguments, "--overwrite"]) == 0
    assert (output / "mine.txt").read_text() == "kept"
    assert not (output / "molecule_99.svg").exists()
    assert (output / "index.html").read_bytes() == before
    assert "7 rows, 4 explained by 2 model(s), 3 refused" in capsys.readouterr().out


def test_a_file_in_place_of_the_folder(run, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    arguments = ["explain", "--model", str(run), "--smiles", "C"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 2
    assert "is a file" in capsys.readouterr().err
    assert main([*arguments, "--output", str(tmp_path / "out" / "deeper")]) == 2
    assert "name another --output" in capsys.readouterr().err


def test_smiles_on_the_command_line_of_a_model_without_groups(without_groups, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["explain", "--model", str(without_groups), "--smiles", "CCO", "C1CC", "CCN"]
    assert main([*arguments, "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert said.count("this model has no groups") == 1
    assert "CCN: task0 " in said
    rows = rows_of((output / "molecules.csv").read_text())
    assert [(row["row"], bool(row["prediction"])) for row in rows] == [
        ("1", True),
        ("2", False),
        ("3", True),
    ]
    # What is to be known about all molecules is no reason of one.
    assert [row["reason"] for row in rows] == ["", "not a SMILES", ""]
    atoms = rows_of((output / "atoms.csv").read_text())
    assert {atom["group"] for atom in atoms} == {""}
    for name in ("groups.csv", "fragments.csv", "pairs.csv"):
        assert (output / name).read_text().count("\n") == 1
    assert "his model has no groups" in (output / "index.html").read_text()


def test_only_refused_molecules(run, tmp_path):
    output = tmp_path / "out"
    assert main(["explain", "--model", str(run), "--smiles", "C1CC", "--output", str(output)]) == 0
    assert "1 rows, 0 explained" in (output / "index.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "nowhere"}, "no run folder"),
        ({"--smiles-column": "Structure"}, "Did you mean 'structure'?"),
        ({"--csv": "nowhere.csv"}, "nowhere.csv"),
        ({"--solvent-column": "structure"}, "trained without solvents"),
        ({"--solvent": "O"}, "trained without solvents"),
        ({"--target": "tsk0"}, "Did you mean 'task0'?"),
        ({"--device": "gpu"}, "unknown device"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(run, tmp_path, capsys, change, message):
    check_refused("explain", change, message, run, tmp_path, capsys)


def test_solvents_of_the_command(with_solvents, tmp_path, capsys):
    table = tmp_path / "new.csv"
    table.write_text("smiles,solvent\nCCO,O\nCCO,CCCCCC\nCCO,gas\n")
    common = ["explain", "--model", str(with_solvents), "--csv", str(table)]
    assert main([*common, "--output", str(tmp_path / "none")]) == 2
    assert "give each row's solvent" in capsys.readouterr().err
    own = [*common, "--solvent-column", "solvent", "--output", str(tmp_path / "own")]
    assert main(own) == 0
    rows = rows_of((tmp_path / "own" / "molecules.csv").read_text())
    assert rows[0]["prediction"] != rows[1]["prediction"]
    assert "gas" in rows[2]["reason"]
    assert main([*common, "--solvent", "O", "--output", str(tmp_path / "one")]) == 0
    same = rows_of((tmp_path / "one" / "molecules.csv").read_text())
    assert [row["prediction"] for row in same] == [rows[0]["prediction"]] * 3


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
