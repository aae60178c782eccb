"""Explanations: contributions and groups, the SMILES' own atom order, what is refused."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from explain_data import (
    ACID,
    ODD,
    run_with_groups,
    run_with_solvents,
    run_without_groups,
    standardising,
    told,
    trained_folder,
)
from rdkit import Chem
from training_data import small_dataset

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.data import atom_order
from dgl_gmpool.data.smiles_to_graphs import featurize_smiles
from dgl_gmpool.explain import explain_molecule
from dgl_gmpool.explain.masking import MaskedMolecule, RefusedError
from dgl_gmpool.explain.molecule_groups import node_weights
from dgl_gmpool.registry import list_readouts
from dgl_gmpool.training import load_models, predict_smiles


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return load_models(run_with_groups(tmp_path_factory.mktemp("explain") / "run"))


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


def test_a_model_without_groups_says_so(tmp_path):
    each = explain_molecule(load_models(run_without_groups(tmp_path / "run")), ACID)
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
    for each in (models, standardising(models)):
        with pytest.raises(RefusedError, match=reason):
            explain_molecule(each, smiles)


def test_no_models_and_models_of_features_that_nobody_can_make():
    with pytest.raises(ValueError, match="no model given"):
        explain_molecule([], "C")
    odd = replace(told(lambda c, n, o: 0), global_scaler=SimpleNamespace(mean=np.zeros(2)))
    with pytest.raises(ValueError, match="2 global features"):
        explain_molecule([odd], "C")


def test_models_trained_with_solvents(tmp_path):
    models = load_models(run_with_solvents(tmp_path / "run"))
    for solvent in ("O", "CCCCCC"):
        each = explain_molecule(models, ACID, solvent=solvent)
        expected = predict_smiles(models, [ACID, each.skeleton], solvents=[solvent] * 2).mean[:, 0]
        np.testing.assert_allclose([each.prediction, each.baseline], expected, atol=1e-4)
    with pytest.raises(RefusedError, match=r"^'OCC' cannot be explained: blank solvent"):
        explain_molecule(models, "OCC", solvent="")
    with pytest.raises(RefusedError, match="gas"):
        explain_molecule(models, ACID, solvent="gas")
    with pytest.raises(RefusedError, match="blank solvent"):
        explain_molecule(models, ACID, solvent="")
    with pytest.raises(ValueError, match="give each row's solvent"):
        explain_molecule(models, ACID)


@pytest.mark.parametrize("name", list_readouts())
def test_every_readout_can_be_explained(name):
    """That of a set transformer states no weights of atoms, and could not be."""
    model = MoleculePredictor(74, 12, hidden_feats=8, num_steps=1, readout=name).eval()
    graph = MaskedMolecule(ACID, "canonical").graph
    weights = node_weights([model], graph, device=torch.device("cpu"))
    if name == "set_transformer":
        assert weights is None
    else:
        assert weights.shape == (graph.num_nodes(),)
        assert np.isfinite(weights).all()
