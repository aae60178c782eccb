"""Featurising: equal to dgllife to the bit, nothing dropped in silence, caches never trusted."""

from __future__ import annotations

import logging
from dataclasses import replace

import dgl
import numpy as np
import pytest
import torch
from rdkit import Chem, rdBase

from dgl_gmpool._environment import import_dgllife
from dgl_gmpool.data import atom_order, featurize, load_csv, load_sodium_channel
from dgl_gmpool.data import graph_cache as cache_module
from dgl_gmpool.data import smiles_to_graphs as parts_module
from dgl_gmpool.data.featurizers import CanonicalEncoder, DgllifeEncoder
from dgl_gmpool.data.smiles_to_graphs import featurize_in_parts, featurize_smiles

#: Elements, charges, radicals, isotopes, stereo, dative bonds, odd valences, salts, no bonds.
UNUSUAL = [
    "C",
    "[H][H]",
    "[2H]C",
    "[Na+].[Cl-]",
    "C/C=C/C",
    "F/C=C\\F",
    "C[Pt](Cl)(Cl)N",
    "[O-][Cl+3]([O-])([O-])[O-]",
    "CN->[Fe]",
    "*CC",
    "S(F)(F)(F)(F)(F)F",
    "P(Cl)(Cl)(Cl)(Cl)Cl",
    "[CH3]",
    "[CH2]",
    "C[C@H](N)C(=O)O",
    "[Xe]",
    "CB(O)O",
    "[nH]1cccc1",
    "c1ccc2[nH]ccc2c1",
    "C=C=C",
    "N#N",
    "[U]",
    "CC(C)(C)c1ccc(cc1)Nc2ncnc3c2CCN(CC3)c4nncc5ccccc45",
]


def table_of(tmp_path, smiles, name="molecules"):
    file = tmp_path / f"{name}.csv"
    file.write_text("smiles,y\n" + "".join(f"{s},{i}\n" for i, s in enumerate(smiles)))
    return load_csv(file, smiles_column="smiles", target_columns="y")


def equal(a: dgl.DGLGraph, b: dgl.DGLGraph) -> bool:
    return (
        a.idtype == b.idtype
        and a.num_nodes() == b.num_nodes()
        and all(torch.equal(x, y) for x, y in zip(a.edges(), b.edges()))
        and torch.equal(a.ndata["h"], b.ndata["h"])
        and torch.equal(a.edata["e"], b.edata["e"])
    )


def test_fast_canonical_features_equal_dgllifes_to_the_bit():
    smiles = UNUSUAL + list(load_sodium_channel().smiles[::10])
    fast, reference = CanonicalEncoder(), DgllifeEncoder("canonical")
    for text in smiles:
        fast.add(Chem.MolFromSmiles(text))
        reference.add(Chem.MolFromSmiles(text))
    fast_graphs, reference_graphs = fast.finish(), reference.finish()
    theirs = reference_graphs.tensors()
    for name, mine in fast_graphs.tensors().items():
        assert mine.dtype == theirs[name].dtype, name
        assert torch.equal(mine, theirs[name]), name
    assert fast_graphs.checksum() == reference_graphs.checksum()


@pytest.mark.parametrize(
    ("featurizer", "widths"), [("canonical", (74, 12)), ("attentivefp", (39, 10))]
)
def test_graphs_are_those_of_dgllifes_recipes(tmp_path, featurizer, widths):
    utils = import_dgllife("utils")
    prefix = {"canonical": "Canonical", "attentivefp": "AttentiveFP"}[featurizer]
    to_graph = utils.SMILESToBigraph(
        node_featurizer=getattr(utils, f"{prefix}AtomFeaturizer")("h"),
        edge_featurizer=getattr(utils, f"{prefix}BondFeaturizer")("e"),
    )
    smiles = [s for s in UNUSUAL if Chem.MolFromSmiles(s).GetNumBonds() > 0]
    data = featurize(table_of(tmp_path, smiles), featurizer=featurizer, progress=False)
    assert (data.node_in_feats, data.edge_in_feats) == widths
    with rdBase.BlockLogs():
        assert all(equal(graph, to_graph(s)) for graph, s in zip(data.graphs, smiles))


@pytest.mark.parametrize("featurizer", ["canonical", "attentivefp"])
def test_molecules_without_bonds_have_empty_edge_features(tmp_path, featurizer):
    data = featurize(table_of(tmp_path, ["C", "[Na+].[Cl-]"]), featurizer=featurizer)
    for graph, nodes in zip(data.graphs, (1, 2)):
        assert (graph.num_nodes(), graph.num_edges(), graph.idtype) == (nodes, 0, torch.int32)
        assert graph.edata["e"].shape == (0, data.edge_in_feats)
        assert graph.edata["e"].dtype == graph.ndata["h"].dtype == torch.float32
    batch = dgl.batch(data.graphs)
    assert batch.edata["e"].shape == (0, data.edge_in_feats)


def test_atom_order_says_which_atom_a_node_is(tmp_path):
    smiles = [s for s in UNUSUAL if "." not in s]
    data = featurize(table_of(tmp_path, smiles), progress=False)
    symbols = ["C", "N", "O", "S", "F", "Si", "P", "Cl", "Br"]
    for graph, text in zip(data.graphs, smiles):
        mol, order = Chem.MolFromSmiles(text), atom_order(text)
        assert sorted(order) == list(range(mol.GetNumAtoms()))
        for node, atom in enumerate(order):
            symbol = mol.GetAtomWithIdx(atom).GetSymbol()
            if symbol in symbols:
                assert graph.ndata["h"][node, symbols.index(symbol)] == 1
        bonds = {frozenset((b.GetBeginAtomIdx(), b.GetEndAtomIdx())) for b in mol.GetBonds()}
        src, dst = graph.edges()
        assert {frozenset((order[u], order[v])) for u, v in zip(src, dst)} == bonds
    with pytest.raises(ValueError, match="refused by RDKit"):
        atom_order("C1CC")


def test_equal_smiles_are_separate_graphs(tmp_path):
    data = featurize(table_of(tmp_path, ["CCO", "C", "CCO"]), progress=False)
    data.graphs[0].ndata["h"].zero_()
    data.graphs[0].ndata.pop("h")
    assert data.graphs[2].ndata["h"].sum() > 0


def test_rows_that_cannot_be_featurised_are_named(tmp_path):
    table = table_of(tmp_path, ["CCO", "CCN", "CCC"])
    broken = replace(table, smiles=("CCO", "C1CC", "CCC"))
    data = featurize(broken, progress=False)
    assert data.table.ids == ("2", "4")
    assert len(data) == len(data.graphs) == 2
    assert data.table.report.refused[-1] == ("3", "C1CC", "not a SMILES")
    assert data.table.report.counts[-2:] == (
        ("left out: could not be featurised", 1),
        ("featurised molecules", 2),
    )
    np.testing.assert_array_equal(data.table.targets, [[0], [2]])
    with pytest.raises(ValueError, match="none of the 1 rows"):
        featurize(broken.take([1]), progress=False)


def test_options_are_checked(tmp_path):
    table = table_of(tmp_path, ["C"])
    with pytest.raises(ValueError, match="Did you mean 'canonical'"):
        featurize(table, featurizer="canonic")
    for processes in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="processes"):
            featurize(table, processes=processes)


@pytest.mark.slow
def test_several_processes_give_the_same_graphs_in_order(monkeypatch):
    monkeypatch.setattr(parts_module, "CHUNK", 50)
    smiles = list(load_sodium_channel().smiles[:120])
    smiles[70] = "C1CC"
    one, failed_one = featurize_in_parts(smiles, "canonical", processes=1)
    two, failed_two = featurize_in_parts(smiles, "canonical", processes=2)
    assert one.checksum() == two.checksum()
    assert failed_one == failed_two == [(70, "not a SMILES")]


def test_featurising_leaves_rdkits_log_as_it_was(tmp_path, capfd):
    before = rdBase.LogStatus()
    featurize(table_of(tmp_path, UNUSUAL), featurizer="attentivefp", progress=False)
    assert rdBase.LogStatus() == before
    assert "DEPRECATION" not in capfd.readouterr().err


# --- the cache ----------------------------------------------------------------------------------


@pytest.fixture
def built(monkeypatch):
    """How many times molecules were featurised rather than read."""
    import sys

    module = sys.modules["dgl_gmpool.data.featurize"]
    calls = []
    original = module.featurize_in_parts
    monkeypatch.setattr(
        module, "featurize_in_parts", lambda *a, **b: calls.append(1) or original(*a, **b)
    )
    return calls


def test_the_cache_gives_the_same_graphs_without_work(tmp_path, built, caplog):
    table = table_of(tmp_path, UNUSUAL)
    cold = featurize(table, cache_dir=tmp_path / "cache", progress=False)
    warm = featurize(table, cache_dir=tmp_path / "cache", progress=False)
    assert len(built) == 1
    assert all(equal(a, b) for a, b in zip(cold.graphs, warm.graphs))
    assert len(list((tmp_path / "cache").iterdir())) == 1
    assert not caplog.records


def test_no_cache_by_default(tmp_path, built, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = table_of(tmp_path, ["C"])
    before = sorted(tmp_path.rglob("*"))
    featurize(table)
    featurize(table)
    assert len(built) == 2
    assert sorted(tmp_path.rglob("*")) == before


def test_the_cache_remembers_refusals(tmp_path, built):
    table = replace(table_of(tmp_path, ["CCO", "CCN"]), smiles=("CCO", "C1CC"))
    reports = [featurize(table, cache_dir=tmp_path / "c").table.report for _ in range(2)]
    assert len(built) == 1
    assert reports[0] == reports[1]


def test_other_molecules_featurizers_and_versions_have_other_files(tmp_path, built, monkeypatch):
    folder = tmp_path / "cache"
    featurize(table_of(tmp_path, ["C", "CC"]), cache_dir=folder)
    featurize(table_of(tmp_path, ["CC", "C"]), cache_dir=folder)
    featurize(table_of(tmp_path, ["C", "CC"]), cache_dir=folder, featurizer="attentivefp")
    monkeypatch.setattr(cache_module, "FORMAT", cache_module.FORMAT + 1)
    featurize(table_of(tmp_path, ["C", "CC"]), cache_dir=folder)
    monkeypatch.setattr("rdkit.__version__", "1999.1.1")
    featurize(table_of(tmp_path, ["C", "CC"]), cache_dir=folder)
    assert len(built) == len(list(folder.iterdir())) == 5


def damage_tear(path):
    path.write_bytes(path.read_bytes()[:-200])


def damage_empty(path):
    path.write_bytes(b"")


def damage_text(path):
    path.write_text("not a cache")


def damage_values(path):
    content = torch.load(path, weights_only=True)
    content["node_rows"][0, 0] += 1
    torch.save(content, path)


def damage_counts(path):
    content = torch.load(path, weights_only=True)
    content["node_counts"] = content["node_counts"].flip(0)
    torch.save(content, path)


def damage_refusals(path):
    content = torch.load(path, weights_only=True)
    content["failed"] = [[0, "made up"]]
    torch.save(content, path)


def damage_key(path):
    content = torch.load(path, weights_only=True)
    content["key"] = "0" * 64
    torch.save(content, path)


def damage_entries(path):
    torch.save({"format": 1}, path)


def damage_pickle(path):
    import pickle

    path.write_bytes(pickle.dumps({"format": 1}))


@pytest.mark.parametrize(
    "damage",
    [
        damage_tear,
        damage_empty,
        damage_text,
        damage_values,
        damage_counts,
        damage_refusals,
        damage_key,
        damage_entries,
        damage_pickle,
    ],
)
def test_a_damaged_cache_is_reported_and_built_again(tmp_path, built, caplog, damage):
    table = table_of(tmp_path, ["CCO", "C", "c1ccccc1"])
    # Made before the file that they are mapped from is written over.
    first = list(featurize(table, cache_dir=tmp_path / "c", progress=False).graphs)
    (file,) = (tmp_path / "c").iterdir()
    damage(file)
    with caplog.at_level(logging.WARNING):
        again = featurize(table, cache_dir=tmp_path / "c", progress=False)
    assert len(built) == 2
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "featurising again" in record.getMessage()
    assert all(equal(a, b) for a, b in zip(first, again.graphs))
    featurize(table, cache_dir=tmp_path / "c", progress=False)
    assert len(built) == 2  # the file is whole again


class Killed(BaseException):
    """What ends a process, and no ``except Exception`` stops."""


def test_a_killed_call_goes_on_with_its_finished_parts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(parts_module, "CHUNK", 2)
    monkeypatch.setattr(parts_module, "PART", 4)
    smiles = ["CCO", "C1CC", "CC", "CCC", "C", "CN", "C1CC1", "CCN", "CO", "c1cccc1", "CF"]
    table = replace(table_of(tmp_path, ["C"] * len(smiles)), smiles=tuple(smiles))
    folder = tmp_path / "c"
    wanted = featurize(table, progress=False)
    seen = []
    real = parts_module.featurize_smiles

    def spy(chunk, featurizer):
        seen.append(list(chunk))
        if fatal in chunk:
            raise Killed
        return real(chunk, featurizer)

    monkeypatch.setattr(parts_module, "featurize_smiles", spy)
    # Within the third part; then within the second, which was damaged, and is made again. Chunks:
    # five, one, and the two of the second part with the two of the third.
    for fatal, made in (("CO", 5), ("CN", 1), ("", 4)):
        if fatal == "CN":
            (second,) = folder.rglob("1.pt")
            second.write_bytes(second.read_bytes()[:-300])
        seen.clear()
        if fatal:
            with pytest.raises(Killed):
                featurize(table, cache_dir=folder, progress=False)
        else:
            found = featurize(table, cache_dir=folder)
        assert len(seen) == made
    assert found.table.report == wanted.table.report
    assert [row for row, _, _ in found.table.report.refused] == ["3", "11"]
    assert found.graphs.flat.checksum() == wanted.graphs.flat.checksum()
    assert [path.suffix for path in folder.iterdir()] == [".pt"]
    assert capsys.readouterr().err.splitlines()[-1] == "featurised 11 of 11"


def test_graphs_from_the_cache_are_mapped_not_copied(tmp_path):
    table = table_of(tmp_path, UNUSUAL)
    for _ in range(2):  # as built, and as found
        data = featurize(table, cache_dir=tmp_path / "c", progress=False)
        (file,) = (tmp_path / "c").iterdir()
        with open("/proc/self/maps") as maps:
            assert str(file) in maps.read()
        data.graphs.batch().ndata["h"].zero_()
        del data


def test_another_tables_file_under_this_name_is_not_trusted(tmp_path, built, caplog):
    one, two = table_of(tmp_path, ["CCO", "C"]), table_of(tmp_path, ["CCN", "C"])
    featurize(one, cache_dir=tmp_path / "1")
    featurize(two, cache_dir=tmp_path / "2")
    (file,), (other,) = (tmp_path / "1").iterdir(), (tmp_path / "2").iterdir()
    file.write_bytes(other.read_bytes())
    data = featurize(one, cache_dir=tmp_path / "1")
    assert "other molecules" in caplog.text
    assert data.graphs[0].ndata["h"][:, 2].sum() == 1  # oxygen


def test_no_molecules_at_all():
    flat, failed = featurize_smiles(["C1CC"], "canonical")
    assert (len(flat), flat.node_feats.shape, failed) == (0, (0, 74), [(0, "not a SMILES")])


@pytest.mark.parametrize(
    ("featurizer", "unknown"),
    [("canonical", {"*C": ("*",), "[Og].[He]": ("He", "Og")}),
     ("attentivefp", {"*C": ("*",), "[Og].[He]": ("He", "Og"), "[Na+].[Cl-]": ("Na",)})],
)  # fmt: skip
def test_atoms_without_a_feature_of_their_own_are_named(tmp_path, featurizer, unknown):
    smiles = ["CCO", "*C", "[Og].[He]", "[Na+].[Cl-]", "CCO", "*C"]
    path = tmp_path / "m.csv"
    path.write_text("smiles,y\n" + "".join(f"{s},{i}\n" for i, s in enumerate(smiles)))
    table = load_csv(path, smiles_column="smiles", target_columns="y")
    for _ in range(2):  # built, and from the cache
        data = featurize(table, featurizer=featurizer, cache_dir=tmp_path, progress=False)
        assert data.unknown_atoms == unknown
        rows = sum(s in unknown for s in smiles)
        symbols = ", ".join(sorted({symbol for found in unknown.values() for symbol in found}))
        assert data.table.report.notes[-1].startswith(
            f"{rows} rows have atoms of kinds that the features do not tell apart ({symbols})"
        )
    plain = featurize(table.take([0, 4]), featurizer=featurizer, progress=False)
    assert plain.unknown_atoms == {}
    assert not any("kinds" in note for note in plain.table.report.notes)
