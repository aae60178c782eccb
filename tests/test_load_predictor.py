"""A finished run behind one object, and the command that writes vectors."""

from __future__ import annotations

import copy
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from rdkit import Chem
from training_data import rows_of, small_dataset, small_options

from dgl_gmpool.cli import main
from dgl_gmpool.data import make_splits
from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.data.smiles_to_graphs import featurize_smiles
from dgl_gmpool.load import Predictor, load_predictor
from dgl_gmpool.training import TrainingConfig, load_models, predict_smiles, train_run
from dgl_gmpool.training.embed import embed_smiles

ROWS = ["CCO", "C1CC", "", "c1ccccc1", "C(C)(C)(C)(C)C", "[Na+].[Cl-]", "OCC"]
REFUSED = [False, True, True, False, True, False, False]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    dataset = small_dataset(tasks=2)
    splits = make_splits(dataset.table, folds=2, test_fraction=0.25)
    folder = tmp_path_factory.mktemp("predictor") / "run"
    config = TrainingConfig(**small_options())
    return train_run(dataset, splits, config, folder, progress=False).folder


@pytest.fixture(scope="module")
def predictor(run):
    return load_predictor(run)


def test_predictions_are_those_of_the_models(run, predictor):
    found, expected = predictor.predict(ROWS), predict_smiles(load_models(run), ROWS)
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.std, expected.std)
    assert found.mean.shape == (7, 2)
    assert [bool(reason) for reason in found.reasons] == REFUSED
    assert np.isnan(found.mean[:, 0]).tolist() == REFUSED
    assert predictor.predict([]).mean.shape == (0, 2)


def test_a_device_that_is_none_is_told_at_once(run):
    with pytest.raises(ValueError, match="unknown device 'gpu': expected auto, cpu or cuda"):
        load_predictor(run, device="gpu")


def test_what_it_says_of_itself(run, predictor):
    assert repr(predictor) == (
        f"Predictor({str(run)!r}, regression of task0, task1, models=2, readout='gmpool')"
    )
    assert predictor.num_models == 2
    assert predictor.task_names == ("task0", "task1")
    assert predictor.units == "log units"
    one = load_predictor(run / "fold_1" / "model.pt")
    assert one.num_models == 1
    assert one.predict(["C"]).mean[0, 0] == pytest.approx(
        predictor.predict(["C"]).per_model[1, 0, 0], abs=1e-6
    )
    with pytest.raises(FileNotFoundError, match="no run folder"):
        load_predictor("nowhere")
    with pytest.raises(ValueError, match="no model given"):
        Predictor([])


def test_cells_of_a_data_frame_that_hold_nothing_are_blank_rows(predictor):
    found = predictor.predict(["CCO", None, float("nan")])
    assert found.reasons == ("", "blank SMILES", "blank SMILES")
    assert np.isnan(predictor.embed([None, "C"])[:, 0]).tolist() == [True, False]
    assert predictor.embed(np.array(["CCO", "C"])).shape[0] == 2


def test_molecules_of_rdkit_and_what_is_none(predictor):
    """Both were blank rows."""
    expected = predictor.predict(["CCO", "c1ccccc1"]).mean
    molecules = [Chem.AddHs(Chem.MolFromSmiles("CCO")), Chem.MolFromSmiles("c1ccccc1")]
    found = predictor.predict([*molecules, 3.5, b"CCO"])
    np.testing.assert_allclose(found.mean[:2], expected, rtol=1e-5)
    assert not any(found.reasons[:2])
    assert all(found.reasons[2:])
    assert not any("blank" in why for why in found.reasons)
    vectors = predictor.embed(["CCO", "c1ccccc1"])
    np.testing.assert_allclose(predictor.embed(molecules), vectors, atol=1e-5)


def test_one_text_is_not_a_list_of_its_letters(predictor):
    for call in (predictor.predict, predictor.embed):
        with pytest.raises(TypeError, match=r"give a list of them: \['CCO'\]"):
            call("CCO")
    with pytest.raises(TypeError, match="give one SMILES as a text"):
        predictor.explain(["CCO"])


@pytest.mark.parametrize("value", [Chem.MolFromSmiles("CCO"), None, 3, b"CCO"])
def test_one_value_is_no_list(predictor, value):
    for call in (predictor.predict, predictor.embed):
        with pytest.raises(TypeError, match=r"smiles is .*; give a list with a value for each row"):
            call(value)


def test_features_have_names(predictor):
    for call in (
        lambda: predictor.predict(["C"], features=[7]),
        lambda: predictor.explain("C", features=[7]),
    ):
        with pytest.raises(TypeError, match=r"features is \[7\]; give a dict"):
            call()


def test_a_target_is_named_by_text(predictor):
    with pytest.raises(ValueError, match=r"unknown target 1\. .*Known: task0, task1"):
        predictor.explain("CCO", target=1)


def test_another_thread_may_ask_the_same_model_meanwhile(predictor, monkeypatch):
    expected = predictor.explain("CCO")
    network = predictor.models[0].model
    embed = network.embed
    with ThreadPoolExecutor(1) as other:

        def ask_meanwhile(*arguments):
            monkeypatch.setattr(network, "embed", embed)
            other.submit(predictor.embed, ["c1ccccc1"]).result()
            return embed(*arguments)

        monkeypatch.setattr(network, "embed", ask_meanwhile)
        found = predictor.explain("CCO")
    np.testing.assert_array_equal(found.memberships, expected.memberships)
    np.testing.assert_array_equal(found.weights, expected.weights)


@pytest.mark.parametrize(
    "answer",
    [
        lambda predictor: predictor.predict(["CCO", "c1ccccc1O"]).mean,
        lambda predictor: predictor.embed(["CCO", "c1ccccc1O"]),
        lambda predictor: predictor.explain("c1ccccc1O").memberships,
        lambda predictor: predictor.explain("c1ccccc1O").weights,
    ],
    ids=["predict", "embed", "memberships", "weights"],
)
def test_a_model_that_is_being_trained_further_answers_as_one_that_is_not(run, answer):
    expected, found = load_predictor(run), load_predictor(run)
    for trained in found.models:
        trained.model.train()
        trained.model.head.eval()  # somebody's own choice, which stays
    states = [copy.deepcopy(trained.model.state_dict()) for trained in found.models]
    np.testing.assert_array_equal(answer(found), answer(expected))
    for trained, state in zip(found.models, states):
        assert trained.model.training
        assert not trained.model.head.training
        for name, value in trained.model.state_dict().items():
            torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def test_a_table_of_one_column_is_a_list_and_several_are_refused(predictor):
    expected = predictor.predict(ROWS).mean
    for table in (np.array(ROWS, object)[:, None], [[text] for text in ROWS]):
        np.testing.assert_array_equal(predictor.predict(table).mean, expected)
    with pytest.raises(ValueError, match=r"smiles has the shape \(2, 2\); give a list, or one"):
        predictor.embed(np.array([["C", "1"], ["CC", "2"]]))


def test_explanations(predictor):
    each = predictor.explain("OCC", target="task1")
    assert each.symbols == ("O", "C", "C")
    assert each.target == "task1"
    expected = predictor.predict(["OCC"]).mean[0, 1]
    assert each.prediction == pytest.approx(expected, abs=1e-5)
    assert each.contributions.sum() == pytest.approx(each.prediction - each.baseline, abs=1e-9)
    assert repr(each).startswith("Explanation('OCC', task1: ")


def test_vectors_are_what_the_heads_see(run, predictor):
    found = predictor.embed(ROWS)
    assert found.dtype == np.float32
    assert found.shape == (7, predictor.embedding_width)
    assert np.isnan(found).all(axis=1).tolist() == REFUSED
    assert np.isfinite(found[~np.array(REFUSED)]).all()
    np.testing.assert_array_equal(found[0], found[6])  # one molecule, written twice
    flat, _ = featurize_smiles(["c1ccccc1"], predictor.models[0].featurizer)
    (graph,) = flat.graphs([0])
    expected = []
    for trained in load_models(run):
        with torch.no_grad():
            vector = trained.model.embed(graph, graph.ndata["h"], graph.edata["e"])
        expected.append(vector[0].numpy())
    np.testing.assert_allclose(found[3], np.concatenate(expected), atol=1e-5)
    small = predictor.embed(ROWS, batch_size=1)
    np.testing.assert_allclose(small, found, atol=1e-5)
    assert predictor.embed([]).shape == (0, predictor.embedding_width)
    with pytest.raises(ValueError, match="no model given"):
        embed_smiles([], ["C"])


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "in.csv"
    lines = ["name,structure", *(f"m{i},{smiles}" for i, smiles in enumerate(ROWS)), "short"]
    file.write_text("\n".join(lines) + "\n")
    return file


def embed(run, table, output, *more):
    arguments = ["embed", "--model", str(run), "--csv", str(table), "--output", str(output)]
    return main([*arguments, "--smiles-column", "structure", *more])


@pytest.mark.parametrize("chunk", [3, 2000])
def test_the_command_writes_every_row(run, predictor, table, tmp_path, capsys, monkeypatch, chunk):
    monkeypatch.setattr("dgl_gmpool.cli.streamed.CHUNK", chunk)
    assert embed(run, table, tmp_path / "out.csv") == 0
    assert f"8 rows of {predictor.embedding_width} numbers" in capsys.readouterr().out
    rows = rows_of((tmp_path / "out.csv").read_text())
    assert [row["row"] for row in rows] == [str(n) for n in range(2, 10)]
    assert [row["smiles"] for row in rows] == [*ROWS, ""]
    assert [bool(row["reason"]) for row in rows] == [*REFUSED, True]
    assert rows[-1]["reason"] == "1 cells where the header has 2"
    columns = [f"e{i}" for i in range(predictor.embedding_width)]
    found = [[float(row[name] or "nan") for name in columns] for row in rows]
    expected = predictor.embed([*ROWS, ""])
    np.testing.assert_allclose(np.array(found, np.float32), expected, atol=1e-5)

    assert embed(run, table, tmp_path / "OUT.NPY") == 0
    array = np.load(tmp_path / "OUT.NPY")
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, expected, atol=1e-5)
    assert embed(run, table, tmp_path / "out.tsv") == 0
    assert len(rows_of((tmp_path / "out.tsv").read_text(), "\t")) == 8


def test_errors_of_the_command_are_one_line(run, table, tmp_path, capsys):
    output = tmp_path / "out.csv"
    for change, message in (
        (["--smiles-column", "Structure"], "Did you mean 'structure'?"),
        (["--device", "gpu"], "unknown device"),
        (["--model", "nowhere"], "no run folder"),
        (["--output", str(tmp_path)], "is a folder"),
    ):
        assert embed(run, table, output, *change) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert message in error
        assert not output.exists()
    with pytest.raises(SystemExit):
        embed(run, table, output, "--batch-size", "0")
    assert "--batch-size" in capsys.readouterr().err
    output.write_text("mine")
    assert embed(run, table, output) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert embed(run, table, output, "--overwrite") == 0


def test_vectors_to_standard_output_from_a_list_of_smiles(run, tmp_path, capfdbinary):
    file = tmp_path / "in.smi"
    file.write_text("CCO ethanol\nC1CC broken\n")
    arguments = ["embed", "--model", str(run), "--csv", str(file), "--output", "-"]
    assert main(arguments) == 0
    said = capfdbinary.readouterr()
    rows = rows_of(said.out.decode())
    assert [row["smiles"] for row in rows] == ["CCO", "C1CC"]
    assert [bool(row["reason"]) for row in rows] == [False, True]
    assert b"2 rows of" in said.err


def test_it_is_found_in_the_package():
    import dgl_gmpool

    assert dgl_gmpool.load_predictor is load_predictor
    assert "load_predictor" in dgl_gmpool.__all__


def test_a_run_that_does_not_know_its_errors_says_so_once(run, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(run, folder)
    for name in ("uncertainty.json", "training_molecules.csv"):  # as 0.2.0 left it
        (folder / name).unlink()
    old = load_predictor(folder)
    with pytest.warns(UserWarning, match="lacks what tells its errors") as said:
        found = old.predict(["CCO"])
    assert len(said) == 1
    assert f"dgl-gmpool predict --model {folder} " in str(said[0].message)
    assert np.isnan(found.lower).all()
    assert np.isfinite(found.mean).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        old.predict(["CCO"])
        load_predictor(run).predict(["CCO"])
    # A file alone has no run to keep them in: the command would not work them out.
    shutil.copy(run / "fold_0" / "model.pt", tmp_path / "mine.pt")
    with pytest.warns(UserWarning, match="mine.pt is a model without its run, so intervals"):
        load_predictor(tmp_path / "mine.pt").predict(["CCO"])


def test_scores_of_several_targets_come_from_one_reading_of_the_output(
    run, predictor, tmp_path, capsys, monkeypatch
):
    read = []

    def counted(path, **options):
        read.append(path)
        return DelimitedText(path, **options)

    monkeypatch.setattr("dgl_gmpool.cli.prediction_scores.DelimitedText", counted)
    (tmp_path / "t.csv").write_text("smiles,task0,task1\nCCO,1.5,\nCC,2,3\nCCC,,4\nC1CC,5,5\n")
    output = tmp_path / "out.csv"
    command = ["predict", "--model", str(run), "--csv", str(tmp_path / "t.csv")]
    assert main([*command, "--output", str(output)]) == 0
    assert read == [output]
    said = capsys.readouterr().out
    first, second = predictor.predict(["CCO", "CC", "CCC"]).mean.T
    for name, off in (("task0", first[:2] - [1.5, 2]), ("task1", second[1:] - [3, 4])):
        assert f"{name}, 2 measured rows: RMSE {np.sqrt(np.mean(off**2)):.3f}" in said
