"""Calibrated probabilities of several classes: fitted on validation rows, checked, predicted."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import softmax
from training_data import rows_of

from dgl_gmpool import cli, load_predictor
from dgl_gmpool.training.calibration import (
    Calibrator,
    brier,
    calibration_error,
    choose_calibrators,
    most_probable,
)
from dgl_gmpool.training.class_calibration import ClassCalibrator
from dgl_gmpool.training.uncertainty import RunUncertainty
from dgl_gmpool.training.uncertainty_check import check_calibrators, uncertainty_lines

CLASSES = ("acid", "alkane", "amine")


def drawn(rows, *, classes=3, sharper=1.0, shift=0.0, seed=0):
    """Probabilities from which classes are drawn, and what a model says that is surer of them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=1.5, size=(rows, classes))
    labels = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    said = sharper * logits + shift * (np.arange(classes) == 0)
    return softmax(said, axis=1), labels.astype(float)


def test_models_that_are_too_sure_get_the_temperature_that_made_them_so():
    pairs = [drawn(1500, sharper=sharper, seed=n) for n, sharper in enumerate((3.0, 1.5))]
    curves, scores = choose_calibrators(ClassCalibrator, *zip(*pairs))
    assert {curve.method for curve in curves} == {"temperature"}
    found = [curve.curve["temperature"] for curve in curves]
    assert found == pytest.approx([3.0, 1.5], rel=0.1)
    assert scores["temperature"] < scores["none"]
    fresh = [drawn(5000, sharper=sharper, seed=9) for sharper in (3.0, 1.5)]
    both, labels = np.stack([p for p, _ in fresh]), fresh[0][1]
    test = check_calibrators(curves, labels, both)
    assert test["calibration_error_before"] > 0.05
    assert test["calibration_error_after"] < 0.02
    assert test["brier_after"] < test["brier_before"]
    assert sum(each["rows"] for each in test["curve_after"]) == test["rows"] == 5000


def test_what_no_temperature_mends_gets_isotonic_curves():
    """One class is always given too much."""
    curves, scores = choose_calibrators(ClassCalibrator, *zip(drawn(2000, shift=2.5)))
    assert curves[0].method == "isotonic"
    assert scores["isotonic"] < min(scores["none"], scores["temperature"])
    predicted, labels = drawn(5000, shift=2.5, seed=9)
    after = curves[0](predicted)
    assert after.sum(axis=1) == pytest.approx(1)
    assert brier(after, labels) < 0.9 * brier(predicted, labels)
    before = calibration_error(*most_probable(predicted, labels))
    assert calibration_error(*most_probable(after, labels)) < 0.5 * before


def test_probabilities_that_are_right_are_left_alone_or_nearly():
    predicted, labels = drawn(3000)
    (curve,), _ = choose_calibrators(ClassCalibrator, [predicted], [labels])
    assert np.abs(curve(predicted) - predicted).mean() < 0.02


@pytest.mark.parametrize("method", ClassCalibrator.METHODS)
def test_rows_add_up_to_one_nan_stays_and_a_file_gives_the_same(method):
    predicted, labels = drawn(200)
    curve = ClassCalibrator.fit(method, predicted, labels)
    odd = np.array([[1.0, 0, 0], [1 / 3] * 3, [1e-300, 1 - 1e-16, 0], [np.nan] * 3])
    found = curve(np.stack([odd, odd]))
    assert found.shape == (2, 4, 3)
    assert found[0, :3].sum(axis=1) == pytest.approx(1)
    assert (found[0, :3] >= 0).all()
    assert np.isnan(found[:, 3]).all()
    again = ClassCalibrator(method, json.loads(json.dumps(curve.curve)))
    np.testing.assert_array_equal(again(odd), found[0])


def test_a_row_of_which_all_isotonic_curves_are_zero_keeps_what_the_model_says():
    zero = {"x": [-40.0, 40.0], "y": [0.0, 0.0]}
    curve = ClassCalibrator("isotonic", {"classes": [zero, zero]})
    assert curve(np.array([[0.25, 0.75]])).tolist() == [[0.25, 0.75]]


def test_a_temperature_keeps_the_order_of_the_classes_and_is_bounded():
    predicted, labels = drawn(300)
    for truth in (labels, predicted.argmax(axis=1), predicted.argmin(axis=1)):
        curve = ClassCalibrator.fit("temperature", predicted, truth.astype(float))
        assert np.exp(-3.01) < curve.curve["temperature"] < np.exp(3.01)
        assert (curve(predicted).argmax(axis=1) == predicted.argmax(axis=1)).all()


@pytest.mark.parametrize(
    ("counts", "methods"),
    [
        ((30, 9, 0), []),  # 9 rows that are not of the most common class
        ((30, 10, 0), ["none", "temperature"]),  # no row at all of one class
        ((7, 7, 6), ["none", "temperature"]),
        ((7, 6, 6), []),
        ((30, 30, 9), ["none", "temperature"]),
        ((10, 10, 10), ["none", "temperature", "isotonic"]),
    ],
)
def test_few_rows_of_a_class_rule_methods_out(counts, methods):
    labels = np.repeat([0.0, 1.0, 2.0], counts)
    predicted, _ = drawn(len(labels))
    more = drawn(100, seed=1)
    pairs = zip((predicted, labels), more)
    curves, scores = choose_calibrators(ClassCalibrator, *pairs)
    assert [name for name, score in scores.items() if score is not None] == methods
    assert len(curves) == 2
    assert methods or curves == [ClassCalibrator()] * 2


def test_many_classes_of_few_rows_each_get_a_temperature():
    """With no class of five rows a split by classes is none, and a finished training ended so."""
    predicted, _ = drawn(72, classes=18, sharper=3.0)
    labels = np.arange(72.0) % 18
    curves, scores = choose_calibrators(ClassCalibrator, [predicted], [labels])
    assert curves[0].method == "temperature"
    assert scores["temperature"] < scores["none"] == pytest.approx(brier(predicted, labels))
    assert scores["isotonic"] is None


def test_two_classes_have_twice_the_score_of_one():
    predicted, labels = drawn(50, classes=2)
    assert brier(predicted, labels) == pytest.approx(2 * brier(predicted[:, 1], labels))
    assert ClassCalibrator() != Calibrator()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two targets, one of three classes, some labels of which are wrong."""
    folder = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(0)
    lines = ["smiles,family,size"]
    for n in range(1, 46):
        for name, smiles in zip(CLASSES, (f"{'C' * n}(=O)O", "C" * (n + 2), f"{'C' * n}N")):
            told = CLASSES[rng.integers(3)] if rng.random() < 0.3 else name
            lines.append(f"{smiles},{told},{n}")
    (folder / "table.csv").write_text("\n".join([*lines, ""]))
    flags = ["--csv", str(folder / "table.csv"), "--target", "family", "size", "--folds", "2"]
    flags += ["--epochs", "8", "--hidden", "16", "--lr", "0.02", "--batch-size", "16"]
    flags += ["--test-fraction", "0.2", "--baselines", "none", "--readout", "mean"]
    assert cli.main(["train", "csv", *flags, "--output", str(folder / "out")]) == 0
    return folder / "out" / "mean-seed0"


@pytest.mark.slow
def test_a_run_calibrates_checks_predicts_and_draws_classes(run, capsys):
    saved = json.loads((run / "uncertainty.json").read_text())
    family = saved["tasks"][0]
    assert set(family["brier"]) == set(ClassCalibrator.METHODS)
    assert family["brier"][family["method"]] == min(family["brier"].values())
    assert family["method"] != "none"
    assert family["test"]["rows"] == 27
    assert len(family["curves"]) == 2
    assert (
        f"test rows {family['test']['calibration_error_after']:.3f} with"
        in (uncertainty_lines(saved)[0])
    )
    page = (run / "report.html").read_text()
    assert "share of rows that are right against highest probability of family" in page

    model = load_predictor(run)
    found = model.predict(["CCCC(=O)O", "C1CC", "CCCCN"])
    classes = found.calibrated[:, :3]
    assert np.isnan(classes[1]).all()
    assert classes[[0, 2]].sum(axis=1) == pytest.approx(1)
    assert np.isnan(found.calibrated[:, 3]).all()
    curves = [ClassCalibrator(family["method"], each) for each in family["curves"]]
    expected = np.mean([each(found.per_model[n, :, :3]) for n, each in enumerate(curves)], axis=0)
    np.testing.assert_array_equal(classes, expected)
    # One fold's model has its own curve.
    one = load_predictor(run / "fold_1" / "model.pt").predict(["CCCCN"])
    expected = curves[1](found.per_model[1, 2, :3])
    np.testing.assert_allclose(one.calibrated[0, :3], expected, rtol=1e-5)

    table = run.parent / "new.csv"
    table.write_text("smiles\nCCCC(=O)O\nC1CC\nCCCCN\n")
    output = run.parent / "predicted.csv"
    command = ["predict", "--model", str(run), "--csv", str(table), "--output", str(output)]
    assert cli.main([*command, "--overwrite"]) == 0
    rows = rows_of(output.read_text())
    for number, name in enumerate(CLASSES):
        assert float(rows[0][f"family calibrated probability of {name}"]) == pytest.approx(
            classes[0, number]
        )
        assert rows[1][f"family calibrated probability of {name}"] == ""


@pytest.mark.slow
def test_files_of_before_classes_were_calibrated_are_read(run, tmp_path):
    for name in ("uncertainty.json", "training_molecules.csv"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    saved = json.loads((tmp_path / "uncertainty.json").read_text())
    saved["tasks"][0] = {"name": "family", "kind": "multiclass", "test": None}
    (tmp_path / "uncertainty.json").write_text(json.dumps(saved))
    assert RunUncertainty.load(tmp_path).tasks[0] is None
    assert len(uncertainty_lines(saved)) == 1
