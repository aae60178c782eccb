"""Several classes, targets of several kinds in one table: read, trained, scored, predicted."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_recipes import SMALL, own_table
from training_data import rows_of, small_dataset, small_options

from dgl_gmpool import cli
from dgl_gmpool.data import featurize, load_csv, make_splits
from dgl_gmpool.explain import explain_molecule
from dgl_gmpool.explain.target import ExplainedTarget
from dgl_gmpool.training import TrainingConfig, load_models, train_run
from dgl_gmpool.training.model_file import load_model, save_model
from dgl_gmpool.training.scores import scores
from dgl_gmpool.training.table_task import TableTask
from dgl_gmpool.training.task import ClassCrossEntropy, CrossEntropy, Labels, SquaredError

NAN = float("nan")
COLOURS = ("blue", "green", "red")


def table_file(folder, more=()):
    """Molecules with a number, a class of two and a class of three, in three columns."""
    lines = own_table(folder).read_text().splitlines()
    found = [lines[0] + ",toxic,colour,weight"]
    for i, line in enumerate(lines[1:]):
        found.append(f"{line},{i % 2},{COLOURS[i % 3]},{1 + i % 2}")
    path = folder / "kinds.csv"
    path.write_text("\n".join([*found, *more, ""]))
    return path


def load(path, targets, **options):
    return load_csv(path, smiles_column="smiles", target_columns=targets, **options)


def write(folder, *lines):
    path = folder / "m.csv"
    path.write_text("\n".join(["smiles,y", *lines, ""]))
    return path


def test_a_few_words_are_classes_and_said_to_be(tmp_path):
    rows = [f"{'C' * (i + 1)},{COLOURS[i % 3]}" for i in range(9)]
    table = load(write(tmp_path, *rows, "CCO,"), "y")
    assert (table.kind, table.classes) == ("multiclass", (COLOURS,))
    assert table.targets[:4, 0].tolist() == [0, 1, 2, 0]
    assert any("is a multiclass target, as it holds a few words" in n for n in table.report.notes)
    assert any("blue (3), green (3), red (3)" in note for note in table.report.notes)
    # With a number among them, they are no classes.
    assert load(write(tmp_path, *rows, "CCO,4"), "y").kind == "regression"
    with pytest.raises(ValueError, match="no usable row"):
        load(write(tmp_path, *rows[:3]), "y")  # nor each of them once


def test_whole_numbers_are_classes_where_that_is_said(tmp_path):
    path = write(tmp_path, "C,3", "CC,10", "CCC,3.0", "CCCC,1.5", "CO,", "CC1C,7")
    table = load(path, "y", kind="multiclass")
    # 7 stands on an unusable row alone; 1.5 is a measurement.
    assert table.classes == (("3", "10"),)
    assert table.targets[:, 0].tolist() == [0, 1, 0]
    assert "which is none of the classes" in str(table.report)
    with pytest.raises(ValueError, match="every label of 'y' is 3"):
        load(write(tmp_path, "C,3", "CC,3"), "y", kind="multiclass")
    with pytest.raises(ValueError, match="holds decimals alone"):
        load(write(tmp_path, "C,0.5", "CC,1.5"), "y", kind="multiclass")
    two = tmp_path / "two.csv"
    two.write_text("smiles,y,z\nC,1,\nCC,2,\nC1C,,a\n")
    with pytest.raises(ValueError, match="no usable row has a label of 'z'"):
        load(two, ["y", "z"], kind={"z": "multiclass"})
    many = [f"C,{i}" for i in range(101)]
    with pytest.raises(ValueError, match="101 different values in 101 rows: too many"):
        load(write(tmp_path, *many), "y", kind="multiclass")


@pytest.mark.parametrize("words", ["low mid high low", "blocker opener opener blocker"])
def test_words_that_do_not_say_which_class_is_1_are_for_multiclass(tmp_path, words):
    first, second, third, fourth = words.split()
    rows = (f"C,{first}", f"CC,{second}", f"CCC,{third}", "CCO,", f"CCCC,{fourth}")
    path = write(tmp_path, *rows)
    with pytest.raises(ValueError, match=f"'y' holds .*'{first}'.*--kind multiclass"):
        load(path, "y", kind="classification")
    assert set(load(path, "y", kind="multiclass").classes[0]) == set(words.split())


@pytest.mark.parametrize("targets", [["y"], ["y", "c"]])
def test_decimals_and_blanks_are_no_classes(tmp_path, targets):
    file = tmp_path / "t.csv"
    file.write_text("smiles,y,c,z\nC,1.5,a,\nCC,2.5,b,\nCCC,,a,\n")
    said = r"'y' holds decimals alone, such as '1\.5', .*--kind y=regression \(kind=\{'y': 'reg"
    with pytest.raises(ValueError, match=said):
        load_csv(file, smiles_column="smiles", target_columns=targets, kind="multiclass")
    with pytest.raises(ValueError, match="no usable row has a label of 'z': there is nothing to"):
        load_csv(file, smiles_column="smiles", target_columns=["c", "z"], kind="multiclass")


def test_kinds_by_target(tmp_path):
    path = table_file(tmp_path)
    table = load(path, ["logS", "toxic", "colour"])
    assert table.kinds == ("regression", "classification", "multiclass")
    assert table.kind == "mixed"
    assert load(path, ["logS", "toxic"], kind={"toxic": "multiclass"}).classes == ((), ("0", "1"))
    for wrong, message in (
        ({"toxi": "regression"}, "Did you mean 'toxic'"),
        ({"toxic": "binary"}, "unknown kind 'binary'"),
    ):
        with pytest.raises(ValueError, match=message):
            load(path, ["logS", "toxic"], kind=wrong)


@pytest.mark.parametrize("weights", [None, [[1.0, 2.0, 0.5]]])
def test_the_loss_of_a_mixed_table_is_a_loop_over_its_cells(weights):
    task = TableTask.of(
        ["c", "n", "b"], ["multiclass", "regression", "classification"], [COLOURS, (), ()]
    )
    rng = np.random.default_rng(0)
    outputs = torch.tensor(rng.normal(size=(6, 5)), requires_grad=True)
    targets = np.stack([rng.integers(0, 3, 6), rng.normal(size=6), rng.integers(0, 2, 6)], 1)
    targets = targets.astype(float)
    targets[0, 0] = targets[1, 1] = targets[2] = NAN
    total, count = 0.0, 0
    factors = np.ones(3) if weights is None else np.array(weights[0])
    for row, y in zip(outputs.detach().numpy(), targets):
        if not np.isnan(y[0]):
            total += factors[0] * (np.log(np.exp(row[:3]).sum()) - row[int(y[0])])
        if not np.isnan(y[1]):
            total += factors[1] * (row[3] - y[1]) ** 2
        if not np.isnan(y[2]):
            total += factors[2] * (np.log1p(np.exp(row[4])) - row[4] * y[2])
        count += int((~np.isnan(y)).sum())
    factor = None if weights is None else torch.tensor(weights, dtype=torch.float64).expand(6, 3)
    loss = task.loss(outputs, Labels(torch.tensor(targets), weight=factor))
    assert loss.item() == pytest.approx(total / count, rel=1e-12)
    loss.backward()
    assert (outputs.grad[2] == 0).all()
    assert (outputs.grad[0, :3] == 0).all()
    assert outputs.grad[1, 3] == 0


def test_one_kind_is_what_it_was():
    """The same bits as a loss over the whole table."""
    outputs, targets = torch.randn(7, 3), torch.randn(7, 3)
    targets[2, 1] = NAN
    task = TableTask.of("abc", ["regression"] * 3)
    assert torch.equal(task.loss(outputs, Labels(targets)), SquaredError().loss(outputs, targets))


def test_probabilities_and_ranks_of_classes():
    logits = np.array([[1.0, 2.0, -1.0], [800.0, 700.0, 0.0], [900.0, 0.0, 0.0]])
    task = ClassCrossEntropy()
    expected = torch.softmax(torch.tensor(logits), 1).numpy()
    np.testing.assert_allclose(task.link(logits), expected, rtol=1e-12)
    odds = task.ranks(logits)
    np.testing.assert_allclose(odds[0], np.log(expected[0] / (1 - expected[0])))
    assert odds[2, 0] > odds[1, 0]  # both probabilities are 1


@pytest.mark.parametrize(
    ("text", "shown", "column"),
    [("a=x=1", "a=x=1", 1), ("a=b=c", "a=b=c", 3), ("a=b=x=1", "a=b=x=1", 2), ("a=b", "a=b", None)],
)
def test_a_class_is_named_also_where_it_holds_an_equals_sign(text, shown, column):
    """Its own name in molecules.csv was refused as an unknown target."""
    task = TableTask.of(["a", "a=b"], ["multiclass"] * 2, [("0", "x=1"), ("x=1", "c")])
    found = ExplainedTarget.of(SimpleNamespace(task=task, task_names=("a", "a=b")), text)
    assert (found.name, found.column) == (shown, column)


def test_balanced_classes_count_alike():
    targets = np.array([[0.0], [0], [0], [1], [2], [NAN]])
    weights = ClassCrossEntropy().class_weights("balanced", targets, 4)
    # Three rows of class 0, one of 1 and of 2, none of 3; the sum over rows stays their number.
    np.testing.assert_allclose(weights, [[5 / 9, 5 / 3, 5 / 3, 1]])
    with pytest.raises(ValueError, match="expected 'balanced'"):
        ClassCrossEntropy().class_weights(2.0, targets, 4)
    mixed = TableTask.of("ab", ["regression", "classification"])
    values = np.array([[5.0, 1.0], [7.0, 0.0], [9.0, 0.0]])
    factors = mixed.cell_weights("balanced", values, np.arange(3))
    assert factors.tolist() == [[1, 2], [1, 1], [1, 1]]


@pytest.mark.slow
def test_a_mixed_table_from_the_command_to_the_predictions(tmp_path, capsys):
    path = table_file(tmp_path)
    targets = ["logS", "toxic", "colour"]
    flags = ["--csv", str(path), "--target", *targets, *SMALL, "--id-column", "name"]
    flags += ["--readout", "mean", "--output", str(tmp_path / "run"), "--task-weights", "logS=2"]
    assert cli.main(["train", "csv", *flags]) == 0
    said = capsys.readouterr().out
    assert "share explained" in said
    (run,) = [file.parent for file in (tmp_path / "run").glob("*/config.json")]
    record = json.loads((run / "config.json").read_text())
    assert record["data"]["kinds"] == ["regression", "classification", "multiclass"]
    assert record["data"]["classes"][2] == list(COLOURS)
    assert record["training"]["task_weights"] == {"logS": 2.0}
    found = rows_of((run / "test_predictions.csv").read_text())
    for row in found:
        chances = [float(row[f"colour probability of {name}"]) for name in COLOURS]
        assert sum(chances) == pytest.approx(1)
        assert row["colour predicted"] == COLOURS[int(np.argmax(chances))]
        assert 0 <= float(row["toxic predicted"]) <= 1
        assert row["colour"] in COLOURS
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["metric"] == "explained"
    logs, toxic, colour = metrics["ensemble_test"]["per_task"]
    assert "rmse" in logs
    assert "mcc" in toxic
    assert "rmse" not in toxic
    right = np.mean([row["colour predicted"] == row["colour"] for row in found])
    assert colour["accuracy"] == pytest.approx(right)
    # The page has a part for each kind.
    assert cli.main(["report", "--run", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "test: measured</th><th class='n'>predicted blue</th>" in page
    assert "could not be made" not in page
    # The same command again, from the run's own file.
    again = ["train", "csv", "--config", str(run), "--output", str(tmp_path / "again")]
    assert cli.main([*again, "--no-report"]) == 0
    assert (tmp_path / "again" / run.name / "test_predictions.csv").read_text() == (
        run / "test_predictions.csv"
    ).read_text()
    # The stored models give the same numbers.
    models = load_models(run)
    assert models[0].task.kind == "mixed"
    assert models[0].task.width == 5
    # A class is explained by its probability, the most probable one where none is named.
    for target, shown in (("colour=red", "colour=red"), ("colour", "colour=")):
        explained = explain_molecule(models, "CCCO", target=target)
        assert explained.target.startswith(shown)
        assert explained.kind == "classification"
        own = dict(zip(COLOURS, range(2, 5)))[explained.target.partition("=")[2]]
        table = load_csv(write(tmp_path, "CCCO,1"), smiles_column="smiles", target_columns="y")
        found = np.mean([m.predict(featurize(table, progress=False).graphs) for m in models], 0)
        assert explained.prediction == pytest.approx(found[0, own], rel=1e-5)
    with pytest.raises(ValueError, match=r"class of 'colour': 'rde'.*Did you mean 'red'"):
        explain_molecule(models, "CCCO", target="colour=rde")
    with pytest.raises(ValueError, match="Did you mean 'colour'"):
        explain_molecule(models, "CCCO", target="color")
    number = models[0].task_names[0]
    with pytest.raises(ValueError, match=f"{number!r} has no classes to choose from"):
        explain_molecule(models, "CCCO", target=f"{number}=1")
    # A resumed run is the same run.
    capsys.readouterr()
    assert cli.main(["train", "csv", *flags, "--resume"]) == 0
    assert "finished before" in capsys.readouterr().out


def test_a_model_file_of_one_kind_says_nothing_of_kinds_and_is_read(tmp_path):
    """As 0.2.0 wrote it."""
    dataset = small_dataset()
    splits = make_splits(dataset.table, folds=2, test_fraction=0.25)
    train_run(dataset, splits, TrainingConfig(**small_options()), tmp_path / "run", progress=False)
    file = tmp_path / "run" / "fold_0" / "model.pt"
    saved = torch.load(file, weights_only=True)
    del saved["kinds"], saved["classes"]
    torch.save(saved, file)
    old = load_model(file)
    assert old.task.kinds == ["regression"] * len(old.task_names)
    assert old.task.columns(old.task_names[0]) == [f"{old.task_names[0]} predicted"]
    save_model(tmp_path / "again.pt", old)
    assert load_model(tmp_path / "again.pt").task == old.task


def test_scores_of_several_classes_against_their_definitions():
    y = np.array([[0.0], [1], [2], [2], [NAN]])
    p = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.1, 0.2, 0.7], [1, 0, 0]])
    found = scores("multiclass", y, p, widths=[3])
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert found["log_loss"] == pytest.approx(-np.log([0.5, 0.5, 0.3, 0.7]).mean())
    entropy = -(0.25 * np.log(0.25) * 2 + 0.5 * np.log(0.5))
    assert found["explained"] == pytest.approx(1 - found["log_loss"] / entropy)
    # Class by class: 0 above all others; 1: 0.5 under 0.6, above 0.3 and 0.2; 2: 0.3, 0.7 against
    # 0.2, 0.3.
    assert found["roc_auc"] == pytest.approx((1 + 2 / 3 + 3.5 / 4) / 3)
    assert found["cells"] == 4


def test_classes_of_two_by_both_roads_agree():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, (40, 1)).astype(float)
    p = rng.random((40, 1))
    two = scores("classification", y, p)
    several = scores("multiclass", y, np.hstack([1 - p, p]), widths=[2])
    for name in ("roc_auc", "accuracy", "balanced_accuracy", "mcc", "log_loss", "explained"):
        assert several[name] == pytest.approx(two[name]), name
    logits = torch.randn(40, 1)
    pair = torch.cat([torch.zeros(40, 1), logits], 1)[:, None]
    labels = torch.tensor(y, dtype=torch.float32)
    assert ClassCrossEntropy().loss(pair, labels).item() == pytest.approx(
        CrossEntropy().loss(logits, labels).item(), rel=1e-5
    )


def test_words_for_no_value_are_told_in_a_column_of_words(tmp_path):
    words = ["none", "weak", "strong", "NA"] * 4
    path = write(tmp_path, *(f"{'C' * (i + 1)},{word}" for i, word in enumerate(words)))
    guessed = load(path, "y")
    assert guessed.classes == (("strong", "weak"),)
    notes = " ".join(guessed.report.notes)
    assert "'none', in 4 cells, is taken for no value" in notes
    assert "--kind y=multiclass keeps it" in notes
    assert "'NA', in 4 cells, is taken for no value; where it is a class, write it" in notes
    asked = load(path, "y", kind="multiclass")
    assert asked.classes == (("none", "strong", "weak"),)
    assert len(asked) == 12
    numbers = write(tmp_path, "C,1.5", "CC,none", "CCC,2.5")
    assert "none" not in " ".join(load(numbers, "y").report.notes)


def test_a_remedy_can_be_pasted(tmp_path):
    file = tmp_path / "odd.csv"
    file.write_text("smiles,an assay\n" + "".join(f"{'C' * (i + 1)},{i % 3}\n" for i in range(9)))
    assert "--kind 'an assay=multiclass' makes" in " ".join(load(file, "an assay").report.notes)
