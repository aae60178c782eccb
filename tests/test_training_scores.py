"""Losses, scores, standardising and early stopping against oracles written out by hand."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch

from dgl_gmpool.training import TrainingConfig
from dgl_gmpool.training.early_stopping import EarlyStopping
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.scores import scores
from dgl_gmpool.training.standardizer import FeatureScaler
from dgl_gmpool.training.task import (
    AbsoluteError,
    CrossEntropy,
    Labels,
    SquaredError,
    Standardizer,
    get_task,
)

NAN = float("nan")
LOSSES = [CrossEntropy().loss, SquaredError().loss, AbsoluteError().loss]


def cells(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    targets = (rng.random((7, 3)) < 0.4).astype(float)
    targets[rng.random(targets.shape) < 0.4] = NAN
    return torch.tensor(rng.normal(size=(7, 3))), torch.tensor(targets)


@pytest.mark.parametrize("weight", [None, [1.0, 3.0, 0.5]])
def test_cross_entropy_is_the_mean_over_measured_cells(weight):
    logits, targets = cells()
    total, count = 0.0, 0
    for i in range(7):
        for j in range(3):
            y, z = targets[i, j].item(), logits[i, j].item()
            if math.isnan(y):
                continue
            p = 1 / (1 + math.exp(-z))
            w = 1.0 if weight is None else weight[j]
            total -= w * math.log(p) if y == 1 else math.log(1 - p)
            count += 1
    assert 0 < count < 21
    labels = Labels(targets)
    if weight is not None:
        w = torch.tensor(weight, dtype=torch.float64)
        labels = Labels(targets, weight=torch.where(targets == 1, w, 1.0))
    assert CrossEntropy().loss(logits, labels).item() == pytest.approx(total / count, rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_missing_cells_have_no_part_in_value_or_gradient(loss):
    logits, targets = cells(1)
    missing = torch.isnan(targets)
    other = torch.where(missing, torch.full_like(logits, float("inf")), logits)
    gradients = []
    for values in (logits, other):
        leaf = values.clone().requires_grad_()
        value = loss(leaf, targets)
        value.backward()
        gradients.append(leaf.grad)
        assert value.item() == loss(logits, targets).item()
    assert torch.equal(gradients[0], gradients[1])
    assert (gradients[0][missing] == 0).all()
    assert (gradients[0][~missing] != 0).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_batch_without_any_measured_cell_changes_nothing(loss):
    leaf = torch.randn(3, 2, requires_grad=True)
    value = loss(leaf, torch.full((3, 2), NAN))
    value.backward()
    assert value.item() == 0
    assert (leaf.grad == 0).all()


def test_squared_and_absolute_error_are_the_mean_over_measured_cells():
    outputs, targets = cells(2)
    off = outputs.numpy() - targets.numpy()
    for task, expected in ((SquaredError(), off**2), (AbsoluteError(), abs(off))):
        assert task.loss(outputs, targets).item() == pytest.approx(np.nanmean(expected), rel=1e-12)


def auc_by_pairs(y: np.ndarray, z: np.ndarray) -> float:
    wins = [(a > b) + 0.5 * (a == b) for a in z[y == 1] for b in z[y == 0]]
    return float(np.mean(wins))


def test_roc_auc_counts_pairs_task_by_task():
    rng = np.random.default_rng(3)
    y = (rng.random((40, 3)) < 0.5).astype(float)
    y[rng.random(y.shape) < 0.3] = NAN
    z = rng.integers(0, 6, y.shape).astype(float)
    expected = []
    for t in range(3):
        m = ~np.isnan(y[:, t])
        expected.append(auc_by_pairs(y[m, t], z[m, t]))
    result = scores("classification", y, z)
    assert [task["roc_auc"] for task in result["per_task"]] == pytest.approx(expected)
    assert result["roc_auc"] == pytest.approx(np.mean(expected))
    assert result["tasks"] == 3
    assert result["cells"] == int((~np.isnan(y)).sum())


def test_large_logits_keep_their_order():
    # A float32 sigmoid is exactly 1 for all of these, which would give 0.5.
    y = np.array([[0.0], [0.0], [1.0], [1.0]])
    z = np.array([[20.0], [30.0], [40.0], [50.0]], np.float32)
    assert scores("classification", y, z)["roc_auc"] == 1.0


def test_one_class_tasks_are_left_out_of_the_average_and_counted():
    y = np.array([[0.0, 1.0, NAN], [1.0, 1.0, NAN], [1.0, 1.0, NAN]])
    z = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [-1.0, 2.0, 2.0]])
    result = scores("classification", y, z)
    assert result["roc_auc"] == 0.5
    assert (result["tasks"], result["tasks_total"]) == (1, 3)
    nothing = scores("classification", y[:, 1:], z[:, 1:])
    assert math.isnan(nothing["roc_auc"])
    assert nothing["tasks"] == 0


def test_regression_scores_and_units():
    y = np.array([[1.0, NAN], [2.0, 4.0], [3.0, 4.0]])
    z = np.array([[1.0, 9.0], [2.0, 5.0], [5.0, 3.0]])
    result = scores("regression", y, z)
    assert result["per_task"][0]["rmse"] == pytest.approx(math.sqrt(4 / 3))
    assert result["per_task"][0]["mae"] == pytest.approx(2 / 3)
    assert result["per_task"][0]["r2"] == pytest.approx(1 - 4 / 2)
    assert result["per_task"][1]["rmse"] == pytest.approx(1.0)
    assert math.isnan(result["per_task"][1]["r2"])  # a constant target
    assert result["r2"] == pytest.approx(-1.0)
    assert result["tasks"] == 2


@pytest.mark.parametrize("bad", [NAN, float("inf")])
@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_outputs_that_are_not_finite_have_no_score(kind, bad):
    y = np.array([[0.0], [1.0], [1.0]])
    result = scores(kind, y, np.array([[0.0], [bad], [1.0]]))
    assert math.isnan(result[choose_metric(kind).name])


def test_names_of_metrics_and_kinds_are_checked():
    with pytest.raises(ValueError, match="roc_auc"):
        choose_metric("classification", "roc_acu")
    with pytest.raises(ValueError, match="regression"):
        choose_metric("regresion")


@pytest.mark.parametrize("unit", [1e-30, 1e-13, 1.0, 1e30])
@pytest.mark.parametrize("weight", [None, np.ones(3)])
def test_the_unit_of_a_target_does_not_matter(unit, weight):
    """Concentrations below 1e-12 were taken for a column that does not vary."""
    values = np.array([[1.0], [2.0], [6.0]])
    scaled = Standardizer.fit(unit * values, weight).transform(unit * values)
    np.testing.assert_allclose(scaled, Standardizer.fit(values).transform(values), rtol=1e-6)
    flat = Standardizer.fit(np.full((7, 1), 0.1 * unit), None if weight is None else np.ones(7))
    assert flat.std == 1.0


def test_rounding_around_zero_is_no_feature():
    values = np.array([[0.0], [1e-17], [-1e-17]])
    assert abs(FeatureScaler.fit(values).transform(values)).max() < 1e-16


def test_the_unit_of_a_measured_feature_does_not_matter():
    """Concentrations below 1e-12 were taken for rounding, and the column for one without effect."""
    values = np.array([[1.0], [2.0], [6.0]])
    scaler = FeatureScaler.fit(1e-13 * values, calculated=np.array([False]))
    expected = FeatureScaler.fit(values).transform(values)
    np.testing.assert_allclose(scaler.transform(1e-13 * values), expected, rtol=1e-6)


def test_standardizer_ignores_missing_cells_and_undoes_itself():
    values = np.array([[1.0, 5.0], [NAN, 5.0], [3.0, 5.0]])
    scaler = Standardizer.fit(values)
    assert scaler.mean.tolist() == [2.0, 5.0]
    assert scaler.std.tolist() == [1.0, 1.0]  # a constant column keeps its scale
    back = scaler.inverse(scaler.transform(values))
    np.testing.assert_allclose(back, values)
    with pytest.raises(ValueError, match="column 1"):
        Standardizer.fit(np.array([[1.0, NAN]]))


@pytest.mark.parametrize("higher", [True, False])
def test_early_stopping_never_keeps_nan_and_keeps_the_first_of_equals(higher):
    stop = EarlyStopping(higher, patience=3)
    sign = 1 if higher else -1
    sequence = [NAN, NAN, 1 * sign, 2 * sign, NAN, 2 * sign, 1 * sign]
    kept = [stop.update(epoch, score) for epoch, score in enumerate(sequence)]
    assert kept == [False, False, True, True, False, False, False]
    assert (stop.best_epoch, stop.best_score, stop.stopped) == (3, 2 * sign, True)
    again = EarlyStopping(**stop.state_dict())
    assert again == stop


def test_balanced_weights_make_both_classes_count_alike():
    targets = np.array([[1, 0, NAN], [0, 0, 1], [0, NAN, 1], [0, 0, 1]], float)
    weight = get_task("classification").class_weights("balanced", targets)
    assert weight.tolist() == [[1.0, 3.0], [1.0, 1.0], [1.0, 1.0]]
    assert CrossEntropy().class_weights(2.5, targets).tolist() == [[1.0, 2.5]] * 3
    assert CrossEntropy().class_weights(None, targets) is None
    assert SquaredError().class_weights(None, targets) is None
    with pytest.raises(ValueError, match="actives of a classification"):
        SquaredError().class_weights("balanced", targets)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"lr": -1.0}, "lr=-1.0"),
        ({"dropout": 1.0}, "dropout"),
        ({"seed": -1}, "seed"),
        ({"positive_weight": "balance"}, "balanced"),
        ({"positive_weight": 0.0}, "positive_weight"),
        ({"positive_weight": float("nan")}, "positive_weight"),
        ({"lr": "fast"}, "lr='fast'"),
        ({"lr": float("inf")}, "lr=inf"),
        ({"epochs": True}, "epochs=True"),
        ({"readout": 3}, "readout=3"),
        ({"readout_options": 3}, "readout_options=3"),
        ({"auxiliary": {"a": "1"}}, "auxiliary a='1'"),
        ({"metric": "rsme"}, "Did you mean 'rmse'"),
    ],
)
def test_a_configuration_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**changes)


def test_a_configuration_stays_what_it_was():
    options, beside = {"tol": 0.02, "deep": [1]}, {"a": 1.0}
    config = TrainingConfig(readout_options=options, auxiliary=beside)
    options["tol"], beside["a"] = 0.9, 2.0
    options["deep"].append(2)
    record = config.to_dict()
    record["readout_options"]["deep"].append(3)
    assert dict(config.readout_options) == {"tol": 0.02, "deep": [1]}
    assert dict(config.auxiliary) == {"a": 1.0}
    for mapping in (config.readout_options, config.auxiliary):
        with pytest.raises(TypeError):
            mapping["new"] = 1


def test_a_configuration_is_a_key_and_can_be_copied_pickled_and_read_back():
    options = {"tol": 0.02}
    config = TrainingConfig(readout_options=options, auxiliary={"a": 1})
    same = TrainingConfig(readout_options=options, auxiliary={"a": 1.0}, lr=0.001)
    assert {config: 1}[same] == 1
    assert config != TrainingConfig(readout_options={"tol": 0.03}, auxiliary={"a": 1})
    for copied in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert copied == config
        assert dict(copied.readout_options) == options
    record = json.loads(json.dumps(config.to_dict()))
    assert TrainingConfig.from_dict(record) == config
    with pytest.raises(ValueError, match=r"in run: 'hidden_feat'. Did you mean 'hidden_feats'"):
        TrainingConfig.from_dict({"hidden_feat": 3}, "run")
