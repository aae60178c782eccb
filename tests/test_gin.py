"""Backbone ``gin`` and its codes: equal to dgllife's, and to its pretrained weights from a file."""

from __future__ import annotations

import json
import random

import dgl
import numpy as np
import pytest
import torch
from dgllife.model import GIN as DgllifeGIN
from dgllife.utils import PretrainAtomFeaturizer, PretrainBondFeaturizer, smiles_to_bigraph
from rdkit import Chem
from training_data import SMILES, rows_of, small_dataset, small_options

from dgl_gmpool import MoleculePredictor, cli, load_predictor
from dgl_gmpool.data import featurize, make_splits
from dgl_gmpool.data.parsed_rows import parse_rows
from dgl_gmpool.data.smiles_to_graphs import featurize_smiles
from dgl_gmpool.models.gin import GIN
from dgl_gmpool.nn.norm import RowNorm
from dgl_gmpool.sklearn import GMPoolClassifier, GMPoolRegressor
from dgl_gmpool.training import TrainingConfig, load_models, train_run
from dgl_gmpool.training.pretrained_gin import PRETRAINED, load_pretrained, pretrained_file

CODES = "pretrained-gin"
STEREO = (
    "C[C@H](N)C(=O)O", "C/C=C/C(=O)N[C@@H](C)c1ccccc1", "F/C=C\\Cl", "O[C@H]1CC[C@@H](N)C1",
    "C[C@]12CC[C@H]3[C@H]([C@@H]1CC[C@@H]2O)CCC4=CC(=O)CC[C@]34C", "[2H]C([2H])O", "CC#N",
)  # fmt: skip
MOLECULES = [Chem.CanonSmiles(smiles) for smiles in (*SMILES, *STEREO)]


def theirs(width=16, layers=2, seed=0):
    """dgllife's network, as if it had been trained."""
    torch.manual_seed(seed)
    model = DgllifeGIN([120, 3], [6, 3], num_layers=layers, emb_dim=width, JK="last", dropout=0.5)
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm1d):
            for values in (part.weight.data, part.bias.data, part.running_mean):
                values.normal_()
            part.running_var.uniform_(0.5, 2.0)
    return model.eval()


def their_graphs(smiles):
    graphs = [
        smiles_to_bigraph(
            each,
            add_self_loop=True,
            node_featurizer=PretrainAtomFeaturizer(),
            edge_featurizer=PretrainBondFeaturizer(),
        )
        for each in smiles
    ]
    return dgl.batch(graphs)


def their_states(model, graph):
    atoms = [graph.ndata[name] for name in ("atomic_number", "chirality_type")]
    return model(graph, atoms, [graph.edata[n] for n in ("bond_type", "bond_direction_type")])


def ours_of(smiles):
    flat, failed = featurize_smiles(smiles, CODES)
    assert not failed
    return flat.batch(range(len(smiles)))


def weights_file(folder, name="weights.pth", **options):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(theirs(**options).state_dict(), folder / name)
    return folder / name


def table_file(folder):
    lines = [f"{smiles},{len(smiles)}" for smiles in SMILES]
    (folder / "t.csv").write_text("\n".join(["smiles,y", *lines, ""]))
    return folder / "t.csv"


# --- codes and states -------------------------------------------------------------------------


def test_codes_are_those_of_dgllife_on_canonical_smiles():
    graph, expected = ours_of(MOLECULES), their_graphs(MOLECULES)
    assert expected.ndata["chirality_type"].unique().tolist() == [0, 1, 2]
    assert expected.edata["bond_direction_type"].unique().tolist() == [0, 1, 2]
    atoms = [expected.ndata[name] for name in ("atomic_number", "chirality_type")]
    assert torch.equal(graph.ndata["h"].long(), torch.stack(atoms, dim=1))
    loops = expected.edata["bond_type"] == 4
    bonds = [expected.edata[name][~loops] for name in ("bond_type", "bond_direction_type")]
    assert torch.equal(graph.edata["e"][:, -2:].long(), torch.stack(bonds, dim=1))
    for ours, other in zip(graph.edges(), expected.edges()):
        assert torch.equal(ours, other[~loops])


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_states_are_those_of_dgllife_with_the_same_weights(dtype, within):
    """Five layers, 300 wide, as the pretrained ones; relative to the largest state."""
    other, ours = theirs(300, 5), GIN()
    assert ours.load_state_dict(other.state_dict()) is not None
    other, ours, graph = other.to(dtype), ours.to(dtype).eval(), ours_of(MOLECULES)
    with torch.no_grad():
        expected = their_states(other, their_graphs(MOLECULES))
        found = ours(graph, graph.ndata["h"], graph.edata["e"])
    assert found.dtype == dtype
    assert (found - expected).abs().max() <= within * expected.abs().max()


@pytest.mark.parametrize("smiles", STEREO)
def test_a_molecule_has_one_graph_however_it_is_written(smiles):
    random.seed(0)
    mol, model = Chem.MolFromSmiles(smiles), GIN(hidden_feats=16).double().eval()
    written = {Chem.MolToSmiles(mol, doRandom=True) for _ in range(8)}
    found = []
    for text in (smiles, *sorted(written)):
        graph = ours_of([text])
        found.append(model(graph, graph.ndata["h"], graph.edata["e"]).sum(dim=0))
        # Nodes are in the order that the package promises.
        order = list(Chem.CanonicalRankAtoms(Chem.MolFromSmiles(text)))
        atoms = [Chem.MolFromSmiles(text).GetAtomWithIdx(atom).GetAtomicNum() for atom in order]
        assert graph.ndata["h"][:, 0].tolist() == [number - 1 for number in atoms]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0])


def test_mirror_images_and_double_bonds_are_told_apart():
    model = GIN(hidden_feats=16).eval()
    for pair in (("C[C@H](N)O", "C[C@@H](N)O"), ("F/C=C/F", "F/C=C\\F")):
        one, other = (
            model(graph, graph.ndata["h"], graph.edata["e"]).sum(dim=0)
            for graph in (ours_of([smiles]) for smiles in pair)
        )
        assert not torch.allclose(one, other)


def test_what_dgllife_refuses_is_masked_and_noted():
    rows = parse_rows(["*CCO", "[NH3]->[Cu]", "CCO", "F[Pt@SP1](F)(Cl)Cl"], CODES)
    assert [bool(note) for note in rows.notes] == [True, False, False, False]
    assert rows.notes[0].endswith("do not tell apart: *")
    first, second, _, fourth = (rows.flat.graphs([place])[0] for place in rows.place)
    assert 119 in first.ndata["h"][:, 0]
    assert second.edata["e"][:, -2].tolist() == [5, 5]
    assert fourth.ndata["h"][:, 1].tolist() == [0] * 5
    model = GIN(hidden_feats=8).eval()
    for graph in (first, second, fourth):
        assert torch.isfinite(model(graph, graph.ndata["h"], graph.edata["e"])).all()


# --- in a model -------------------------------------------------------------------------------


def predictor(**options):
    torch.manual_seed(0)
    small = {"hidden_feats": 12, "num_steps": 2, "head_feats": 8, "dropout": 0.0}
    return MoleculePredictor(2, 8, **{"backbone": "gin", **small, **options})


def run(model, graph):
    return model(graph, graph.ndata["h"], graph.edata["e"])


@pytest.mark.parametrize(("place", "steps"), [("network", 1), ("layer", 2)])
def test_groups_exchange_and_nothing_has_changed_at_first(place, steps):
    model, graph = predictor(readout="gmpool", exchange_after=place), ours_of(MOLECULES)
    assert len(model.exchange_steps) == steps
    plain = model.backbones[0].gnn.eval()
    states = []
    model.backbones[0].register_forward_hook(lambda module, given, out: states.append(out[0]))
    run(model.eval(), graph)
    assert torch.equal(states[0], plain(graph, graph.ndata["h"], graph.edata["e"]))
    with torch.no_grad():
        for step in model.exchange_steps:
            for norm in (each for each in step.modules() if isinstance(each, RowNorm)):
                norm.weight.fill_(0.5)
    model.train()
    run(model, graph)
    assert not torch.allclose(states[1], states[0])
    found = model.row_norms()
    assert {id(norm) for norm in found} == {
        id(norm) for norm in model.modules() if isinstance(norm, RowNorm)
    }


@pytest.mark.parametrize("readout", ["mean", "gmpool", "ngmpool"])
def test_it_trains_comes_back_and_company_does_not_matter(readout):
    model, graph = predictor(readout=readout), ours_of(MOLECULES)
    run(model, graph).square().sum().backward()
    assert all(p.grad is not None for p in model.backbones[0].parameters())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    other = MoleculePredictor(**json.loads(json.dumps(model.config)))
    other.load_state_dict(model.state_dict())
    together = run(other.eval(), graph)
    assert torch.equal(together, run(model.eval(), graph))
    assert torch.equal(together, run(model, graph.formats("csr")))
    for row in (0, 2, len(SMILES), len(MOLECULES) - 1):
        alone = run(model, ours_of([MOLECULES[row]]))[0]
        torch.testing.assert_close(alone, together[row], rtol=1e-5, atol=1e-5)
    model.reset_parameters()
    assert torch.isfinite(run(model, graph)).all()


def test_features_that_are_no_codes_are_refused():
    with pytest.raises(ValueError, match=r"78 per atom and 12 per bond.*--featurizer pre"):
        MoleculePredictor(78, 12, backbone="gin")
    with pytest.raises(ValueError, match="groups between two levels have none; use levels=1"):
        predictor(levels=2)
    graph = ours_of(["CCO"])
    for part, place, value in (("h", (0, 0), 120), ("h", (1, 1), 0.5), ("e", (0, -2), -1)):
        changed = graph.clone()
        of = changed.ndata if part == "h" else changed.edata
        of[part] = of[part].clone()
        of[part][place] = value
        with pytest.raises(ValueError, match="other values than codes below"):
            run(predictor(readout="mean"), changed)


def test_codes_and_the_network_that_reads_them_come_together(tmp_path, capsys):
    table = small_dataset(rows=12).table
    for codes, backbone in ((CODES, "dmpnn"), ("stereo", "gin")):
        dataset = featurize(table, featurizer=codes, progress=False)
        config = TrainingConfig(**small_options(backbone=backbone))
        splits = make_splits(dataset.table, folds=2)
        with pytest.raises(ValueError, match=r"--featurizer pretrained-gin.*featurizer='pre"):
            train_run(dataset, splits, config, tmp_path / "run", progress=False)
        flags = ["train", "csv", "--csv", str(table_file(tmp_path)), "--target", "y"]
        flags += ["--featurizer", codes, "--backbone", backbone, "--output", str(tmp_path / "o")]
        assert cli.main(flags) == 2
        assert "--featurizer pretrained-gin" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


# --- weights from a file ----------------------------------------------------------------------


def test_a_name_is_that_of_a_file_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = PRETRAINED[0]
    with pytest.raises(FileNotFoundError, match=f"curl -O https://data.dgl.ai/.*/{name}.pth"):
        pretrained_file(name)
    with pytest.raises(FileNotFoundError, match="did you mean gin_supervised_infomax"):
        pretrained_file("gin_supervised_infomacs")
    file = weights_file(tmp_path, f"{name}_pre_trained.pth")
    assert pretrained_file(name).resolve() == file
    nearer = weights_file(tmp_path, f"{name}.pth", seed=1)
    assert pretrained_file(tmp_path / name) == nearer
    # As dgllife's own loader: the weights may lie one level deeper.
    torch.save({"model_state_dict": theirs().state_dict()}, file)
    found, expected = load_pretrained(file), theirs().state_dict()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert pretrained_file(tmp_path / "no-such-run") is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {"weight": torch.ones(2)}, "node_embeddings.0.weight is missing"),
        (lambda state: [1, 2], "node_embeddings.0.weight is missing"),
        (
            lambda state: {k: v for k, v in state.items() if k != "gnn_layers.1.bn.running_mean"},
            r"2 layers, 16 wide: gnn_layers.1.bn.running_mean is None instead of \(16,\); expected",
        ),
        (
            lambda state: {**state, "node_embeddings.1.weight": torch.ones(4, 16), "more": 1},
            r"node_embeddings.1.weight is \(4, 16\) instead of \(3, 16\)",
        ),
        (lambda state: {**state, "gate.weight": torch.ones(1)}, "gate.weight is .* of None"),
        (lambda state: {**state, "code": print}, "not a readable file of weights"),
    ],
)
def test_files_that_hold_something_else_are_named(change, message, tmp_path):
    torch.save(change(theirs().state_dict()), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message):
        load_pretrained(tmp_path / "w.pth")
    config = TrainingConfig(
        **small_options(backbone="gin", num_steps=2, hidden_feats=16),
        start_from=str(tmp_path / "w.pth"),
    )
    dataset = small_dataset(featurizer=CODES)
    with pytest.raises(ValueError, match=message):
        train_run(dataset, make_splits(dataset.table), config, tmp_path / "run", progress=False)


def test_settings_that_the_weights_do_not_have_are_named(tmp_path):
    dataset = small_dataset(featurizer=CODES)
    splits, start = make_splits(dataset.table, folds=2), str(weights_file(tmp_path))
    for changes, message in (
        ({"hidden_feats": 8, "num_steps": 2}, "hidden_feats=8: expected 16, as in the weights to"),
        ({"hidden_feats": 16, "num_steps": 3}, "num_steps=3: expected 2"),
    ):
        config = TrainingConfig(
            **small_options(backbone="gin", start_from=start, **changes),
        )
        with pytest.raises(ValueError, match=message):
            train_run(dataset, splits, config, tmp_path / "run", progress=False)


@pytest.mark.slow
def test_from_the_command_to_predictions_and_pictures(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = PRETRAINED[3]
    state = torch.load(weights_file(tmp_path, f"{name}.pth"), weights_only=True)
    flags = ["train", "csv", "--csv", str(table_file(tmp_path)), "--target", "y", "--folds", "2"]
    flags += ["--epochs", "2", "--batch-size", "8", "--no-report", "--baselines", "none"]
    start = [*flags, "--start-from", name, "--freeze", "backbone", "--output", "out"]
    assert cli.main(start) == 0
    folder = tmp_path / "out" / "gin-gmpool-seed0"
    record = json.loads((folder / "config.json").read_text())
    assert record["data"]["featurizer"] == CODES
    assert record["training"]["backbone"] == "gin"
    assert (record["training"]["hidden_feats"], record["training"]["num_steps"]) == (16, 2)
    for model in load_models(folder):
        found = model.model.backbones[0].gnn.state_dict()
        assert all(torch.equal(found[key], value) for key, value in state.items())
    capsys.readouterr()
    assert cli.main([*start, "--resume"]) == 0
    assert "finished before" in capsys.readouterr().out
    again = ["train", "csv", "--config", str(folder), "--output", "again"]
    assert cli.main([*again, "--no-report", "--baselines", "none"]) == 0
    same = tmp_path / "again" / "gin-gmpool-seed0" / "test_predictions.csv"
    assert same.read_text() == (folder / "test_predictions.csv").read_text()

    command = ["--model", "out", "--csv", "t.csv", "--output"]
    assert cli.main(["predict", *command, "p.csv"]) == 0
    rows = rows_of((tmp_path / "p.csv").read_text())
    assert len(rows) == len(SMILES)
    assert not any(row["reason"] for row in rows)
    model = load_predictor("out")
    found = model.predict(["C[C@H](N)C(=O)O", "C[C@@H](C(=O)O)N", "OC(=O)[C@H](C)N"]).mean
    assert found[0] == pytest.approx(found[2])
    explained = model.explain("C[C@H](N)C(=O)O")
    assert explained.prediction == pytest.approx(found[0, 0], rel=1e-4)
    assert cli.main(["explain", "--model", "out", "--smiles", "OC(=O)CO", "--output", "e"]) == 0
    assert (tmp_path / "e" / "index.html").exists()
    assert np.isfinite(model.embed(["CCO"])).all()
    # What stands in the way is said before any work.
    for more, message in (
        (["--hidden", "32"], "--hidden 32: expected 16, as in the weights to start from"),
        (["--backbone", "dmpnn"], "backbone"),
        (["--featurizer", "stereo"], "add --featurizer pretrained-gin"),
        (["--levels", "2"], "use levels=1"),
    ):
        refused = [*start[:-1], "other", *more]
        assert cli.main(refused) == 2, more
        assert message in capsys.readouterr().err
    assert cli.main([*flags, "--start-from", PRETRAINED[1], "--output", "other"]) == 2
    assert "curl -O https://data.dgl.ai" in capsys.readouterr().err


@pytest.mark.slow
def test_a_search_and_scikit_learn_start_from_it_too(tmp_path, capsys):
    file, table = weights_file(tmp_path), table_file(tmp_path)
    flags = ["tune", "csv", "--csv", str(table), "--target", "y", "--folds", "2", "--trials", "2"]
    flags += ["--epochs", "1", "--start-from", str(file), "--output", str(tmp_path / "study")]
    assert cli.main(flags) == 0
    assert "note: width, depth are as in" in capsys.readouterr().out
    options = {"backbone": "gin", "hidden_feats": 16, "num_steps": 2, "epochs": 2}
    model = GMPoolRegressor(**options, start_from=str(file), freeze="backbone")
    model.fit(SMILES, [len(smiles) for smiles in SMILES])
    assert np.isfinite(model.predict(SMILES)).all()
    kept = model.trained_model_.model.backbones[0].gnn.state_dict()
    assert all(torch.equal(kept[key], value) for key, value in theirs().state_dict().items())
    scratch = GMPoolClassifier(**options).fit(SMILES, [len(smiles) % 3 for smiles in SMILES])
    assert scratch.predict_proba(["CCO"]).sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="hidden_feats=64: expected 16"):
        GMPoolRegressor(**{**options, "hidden_feats": 64}, start_from=str(file)).fit(
            SMILES, range(len(SMILES))
        )
