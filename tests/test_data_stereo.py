"""Stereochemistry: what differs is told apart, what is written differently is not."""

from __future__ import annotations

import json
import random

import networkx as nx
import numpy as np
import pytest
import torch
from rdkit import Chem
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions
from test_recipes import SMALL
from test_twins import TWINS

from dgl_gmpool import cli
from dgl_gmpool.data import featurize, load_csv
from dgl_gmpool.data import stereo as module
from dgl_gmpool.data.featurize import featurize_smiles
from dgl_gmpool.data.featurizers import CanonicalEncoder
from dgl_gmpool.explain.masking import MaskedMolecule

#: Without marks -> how many stereoisomers there are.
FAMILIES = {
    "CC(N)C(=O)O": 2,
    "OC(C(O)C(=O)O)C(=O)O": 3,  # a meso form
    "CC=CC=CC": 3,
    "CC=CC(O)C=CC": 4,  # r and s between an E and a Z arm
    "CC1CCC(C)CC1": 2,  # cis and trans on a ring, no R or S at all
    "NC1CCC(O)CC1": 2,
    "CC1CC(O)C1": 2,
    "C1CCC2CCCCC2C1": 2,
    "OC1C(O)C(O)C(O)C(O)C1O": 9,  # inositols
    "CS(=O)CC": 2,
    "CC(=NO)CC": 2,
    "OCC1OC(O)C(O)C(O)C1O": 32,
    "C1CC(N)CCC1C1CCC(O)CC1": 4,
    "C1CCCC=CCC1": 2,
    "CC1CCC(C2CCC(C)CC2)CC1": 3,  # takes RDKit's labeller 20,000 steps and more
}


def isomers_of(flat: str) -> list[str]:
    found = EnumerateStereoisomers(
        Chem.MolFromSmiles(flat), options=StereoEnumerationOptions(unique=True)
    )
    return sorted({Chem.MolToSmiles(mol) for mol in found})


def signature(mol: Chem.Mol, *, stereo: bool = True) -> str:
    """Equal for graphs that are equal but for the order of their nodes."""
    encoder = CanonicalEncoder(stereo=stereo)
    encoder.add(mol)
    flat = encoder.finish()
    graph = nx.Graph()
    for node, row in enumerate(flat.node_feats):
        graph.add_node(node, feats=row.astype(np.int8).tobytes().hex())
    for u, v, row in zip(flat.src.tolist(), flat.dst.tolist(), flat.edge_feats):
        graph.add_edge(u, v, feats=row.astype(np.int8).tobytes().hex())
    return nx.weisfeiler_lehman_graph_hash(graph, "feats", "feats", iterations=6)


def writings(smiles: str, count: int) -> list[Chem.Mol]:
    """The molecule with its atoms in other orders, and from other SMILES of it."""
    mol = Chem.MolFromSmiles(smiles)
    rng, found = random.Random(0), [mol]
    for seed in range(count):
        order = list(range(mol.GetNumAtoms()))
        rng.shuffle(order)
        found.append(Chem.RenumberAtoms(mol, order))
        other = Chem.MolToRandomSmilesVect(mol, 1, randomSeed=seed + 1)[0]
        again = Chem.MolFromSmiles(other)
        # RDKit writes some inositols as their mirror image: another molecule.
        if Chem.MolToSmiles(again) == Chem.MolToSmiles(mol):
            found.append(again)
    return found


@pytest.mark.parametrize(("flat", "count"), FAMILIES.items())
def test_stereoisomers_have_features_of_their_own_in_every_writing(flat, count):
    isomers = isomers_of(flat)
    assert len(isomers) == count
    found = [{signature(mol) for mol in writings(smiles, 8)} for smiles in isomers]
    assert [len(signatures) for signatures in found] == [1] * count
    assert len(set.union(*found)) == count
    marks = "C@" in isomers[0] or "S@" in isomers[0]
    plain = {signature(Chem.MolFromSmiles(s), stereo=False) for s in isomers}
    assert len(plain) < count or not marks


def test_labels_are_those_of_the_textbook():
    def columns(smiles):
        flat, _ = featurize_smiles([smiles], "stereo")
        return flat.node_feats[:, 74:].sum(0).tolist()

    assert columns("C[C@H](N)C(=O)O") == [0, 1, 0, 0]  # L-alanine is S
    assert columns("C[C@@H](N)C(=O)O") == [1, 0, 0, 0]
    assert columns("CCO") == [0, 0, 0, 0]
    assert sum(columns("C[C@H]1CC[C@@H](C)CC1")[2:]) == 2  # r and s alone: cis and trans
    flat, _ = featurize_smiles(["F/C=C/Cl", "F/C=C\\Cl"], "stereo")
    stereo = [flat.edge_feats[2 * 3 * k :][: 2 * 3, 6:].sum(0).tolist() for k in (0, 1)]
    assert stereo == [[4, 0, 0, 2, 0, 0], [4, 0, 2, 0, 0, 0]]


def test_everything_before_the_labels_is_dgllifes_canonical_row():
    smiles = ["C[C@H](N)C(=O)O", "F/C=C/Cl", "CN->[Fe]", "C", "[Na+].[Cl-]"]
    stereo, plain = (featurize_smiles(smiles, name)[0] for name in ("stereo", "canonical"))
    np.testing.assert_array_equal(stereo.node_feats[:, :74], plain.node_feats)
    np.testing.assert_array_equal(stereo.edge_feats, plain.edge_feats)
    assert stereo.node_feats.dtype == np.float32


def test_features_do_not_depend_on_which_perception_rdkit_is_told_to_use():
    smiles = [s for flat in list(FAMILIES)[:8] for s in isomers_of(flat)]
    before = Chem.GetUseLegacyStereoPerception()
    found = []
    try:
        for legacy in (True, False):
            Chem.SetUseLegacyStereoPerception(legacy)
            found.append([signature(Chem.MolFromSmiles(s)) for s in smiles])
    finally:
        Chem.SetUseLegacyStereoPerception(before)
    assert found[0] == found[1]


def test_a_cage_without_an_end_gets_the_older_labels(monkeypatch):
    mol = Chem.MolFromSmiles("C[C@H](N)C(=O)O")
    whole = signature(mol)

    def no_end(mol, **options):
        mol.GetAtomWithIdx(1).SetProp("_CIPCode", "R")  # a part of the labels, set before
        raise RuntimeError("Max Iterations Exceeded in CIP label calculation")

    monkeypatch.setattr(module.rdCIPLabeler, "AssignCIPLabels", no_end)
    assert signature(Chem.MolFromSmiles("C[C@H](N)C(=O)O")) == whole


def test_a_mask_takes_the_label_of_a_centre_away():
    masked = MaskedMolecule("CC[C@H](C)CCC", "stereo")
    assert masked.inert.tolist() == [True, True, False, True, True, True, True]
    none, all_ = masked.graphs(np.array([[False] * 7, [True] * 7]))
    assert none.ndata["h"][:, 74:].sum() == 0
    assert all_.ndata["h"][:, 74:].sum() == 1


def test_the_cache_keeps_featurizers_apart(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("smiles,y\n" + "".join(f"{s},{i}\n" for i, s in enumerate(TWINS)))
    table = load_csv(file, smiles_column="smiles", target_columns="y")
    widths = []
    for name in ("stereo", "canonical", "stereo"):
        data = featurize(table, featurizer=name, cache_dir=tmp_path / "c", progress=False)
        widths.append(data.node_in_feats)
    assert widths == [78, 74, 78]
    assert not torch.equal(*(graph.ndata["h"].sum(0) for graph in data.graphs[:2]))


@pytest.mark.slow
def test_train_tells_mirror_images_apart_unless_told_otherwise(tmp_path, capsys):
    rows = [f"{'C' * n}[C@{h}H](N)C(=O)O" for n in range(1, 13) for h in ("", "@")]
    text = "smiles,y\n" + "".join(f"{s},{i % 2 + i / 50}\n" for i, s in enumerate(rows))
    (tmp_path / "t.csv").write_text(text)

    def run(*arguments) -> str:
        assert cli.main(list(map(str, arguments))) == 0
        return capsys.readouterr().out

    data = ("--csv", tmp_path / "t.csv")
    flags = ["--target", "y", *SMALL, "--readout", "mean"]
    for name, width in ((None, 78), ("canonical", 74), ("attentivefp", 39)):
        out = tmp_path / f"run {name}"
        chosen = [] if name is None else ["--featurizer", name]
        said = run("train", "csv", *data, *flags, *chosen, "--output", out)
        assert "24 molecules in 12 sets differ in stereochemistry alone, in 12 of" in said
        folder = out / "mean-seed0"
        config = json.loads((folder / "config.json").read_text())
        assert config["data"]["node_in_feats"] == width
        output = tmp_path / f"{name}.csv"
        run("predict", "--model", folder, *data, "--output", output)
        lines = output.read_text().splitlines()[1:]
        values = sorted(float(line.split(",")[2]) for line in lines)
        distinct = 1 + np.count_nonzero(np.diff(values) > 1e-6)  # not the last digit of a batch
        assert distinct == (12 if name == "canonical" else 24)
        again = ("--config", folder / "config.json", "--resume", "--output", out)
        assert "finished before" in run("train", "csv", *again)
