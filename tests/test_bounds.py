"""Bounds such as >10: read, learnt by a one-sided loss, counted and scored, row by row."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.stats import laplace, norm
from test_data_bindingdb import load as load_potencies
from test_data_bindingdb import row, write
from test_recipes import SMALL, own_table
from training_data import rows_of, small_dataset, small_options

from dgl_gmpool import cli
from dgl_gmpool.data import load_csv
from dgl_gmpool.training import TrainingConfig, fit_fold
from dgl_gmpool.training.fold_data import FoldData, check_fold
from dgl_gmpool.training.one_sided import NOISE, gaussian_bound, laplace_bound
from dgl_gmpool.training.scores import scores
from dgl_gmpool.training.table_task import TableTask
from dgl_gmpool.training.task import AbsoluteError, CrossEntropy, Labels, SquaredError

NAN = float("nan")


@pytest.mark.parametrize(("loss", "law"), [(gaussian_bound, norm), (laplace_bound, laplace)])
def test_the_loss_of_a_bound_is_its_likelihood(loss, law):
    margins = torch.linspace(-3, 3, 41, dtype=torch.float64)
    factor = 2 * NOISE**2 if law is norm else NOISE
    expected = -factor * law.logcdf(margins.numpy() / NOISE)
    np.testing.assert_allclose(loss(margins).numpy(), expected, rtol=1e-9, atol=1e-15)
    leaf = torch.tensor([-2.0, -0.3, 0.01, 0.4, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, leaf)
    assert torch.autograd.gradgradcheck(loss, leaf)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [gaussian_bound, laplace_bound])
def test_it_is_finite_at_extremes_and_falls(loss, dtype):
    margins = torch.tensor([-1e6, -100.0, -30, -1, 0, 1, 30, 1e6], dtype=dtype, requires_grad=True)
    found = loss(margins)
    (slope,) = torch.autograd.grad(found.sum(), margins)
    assert torch.isfinite(found).all()
    assert torch.isfinite(slope).all()
    assert (found[1:] <= found[:-1]).all()
    assert (slope <= 0).all()
    assert (slope[-2:].abs() < 1e-30).all()  # a bound that is kept asks for nothing more
    # Far on the wrong side it is the loss of values.
    far = (margins[1] ** 2, margins[1].abs())[loss is laplace_bound]
    assert found[1].item() == pytest.approx(far.item(), rel=0.01)


@pytest.mark.parametrize("task", [SquaredError(), AbsoluteError()])
def test_values_and_bounds_side_by_side(task):
    outputs = torch.tensor([[1.0], [2.0], [3.0], [9.0]], dtype=torch.float64)
    labels = Labels(
        torch.tensor([[1.5], [NAN], [NAN], [NAN]]),
        torch.tensor([[NAN], [2.5], [NAN], [NAN]]),
        torch.tensor([[NAN], [NAN], [4.0], [NAN]]),
    )
    law, factor = (norm, 2 * NOISE**2) if task.name == "squared_error" else (laplace, NOISE)
    value = 0.25 if law is norm else 0.5
    expected = value - factor * (law.logcdf(-0.5 / NOISE) + law.logcdf(1 / NOISE))
    assert task.loss(outputs, labels).item() == pytest.approx(expected / 3)


def test_a_class_beside_has_no_bounds():
    task = TableTask.of(["a", "b"], ["classification", "regression"])
    outputs, nothing = torch.zeros(2, 2), torch.full((2, 2), NAN)
    bound = torch.tensor([[NAN, 1.0], [NAN, NAN]])
    labels = Labels(torch.tensor([[1.0, NAN], [NAN, 0.0]]), bound, nothing)
    expected = (math.log(2) + gaussian_bound(torch.tensor(-1.0)).item() + 0) / 3
    assert task.loss(outputs, labels).item() == pytest.approx(expected)


def bounded_dataset():
    """Of 36 molecules every third has a bound in place of its value."""
    dataset = small_dataset()
    table = dataset.table
    values = table.targets.copy()
    hidden = np.zeros_like(values, dtype=bool)
    hidden[::3, 0] = True
    lower = np.where(hidden & (values > np.median(values)), values - 0.1, NAN)
    upper = np.where(hidden & np.isnan(lower), values + 0.1, NAN)
    for name, found in (
        ("targets", np.where(hidden, NAN, values)), ("lower", lower), ("upper", upper)
    ):  # fmt: skip
        object.__setattr__(table, name, found)
    return dataset


def test_bounds_reach_the_model_in_its_units():
    dataset = bounded_dataset()
    table = dataset.table
    config = TrainingConfig(**small_options())
    data = FoldData.prepare(dataset, range(24), config, device=torch.device("cpu"))
    scaler = data.target_scaler
    expected = (table.lower - scaler.mean) / scaler.std
    np.testing.assert_allclose(data.labels.lower.numpy(), expected, rtol=1e-5)
    # The scale is of measured values alone, and every known cell counts.
    assert scaler.mean[0] == pytest.approx(np.nanmean(table.targets[:24, 0]))
    assert data.measured.sum() == table.targets.size
    fitted = fit_fold(dataset, range(24), range(24, 36), config)
    assert np.isfinite(fitted.best_score)
    object.__setattr__(table, "targets", np.where(np.arange(36)[:, None] < 24, NAN, table.targets))
    with pytest.raises(ValueError, match="none of its 24 training rows has a measured"):
        check_fold(dataset, range(24), range(24, 36), fold=0)


def test_scores_are_of_values_and_bounds_are_kept_or_not():
    y = np.array([[1.0], [NAN], [NAN], [NAN], [NAN]])
    lower = np.array([[NAN], [2.0], [NAN], [3.0], [NAN]])
    upper = np.array([[NAN], [NAN], [1.0], [4.0], [NAN]])
    found = scores("regression", y, np.array([[2.0], [2.5], [1.5], [3.5], [9]]), lower=lower,
                   upper=upper)  # fmt: skip
    assert found["rmse"] == 1
    assert found["cells"] == 1
    assert (found["bounds"], found["bounds_respected"]) == (3, pytest.approx(2 / 3))
    assert "bounds" not in scores("regression", y[:1], y[:1])


def censored(folder):
    header, *lines = own_table(folder).read_text().splitlines()
    found = [header]
    for i, line in enumerate(lines):
        start, value = line.rsplit(",", 1)
        found.append(f"{start},{['>', '', '', '<', '', '~'][i % 6]}{value}")
    path = folder / "censored.csv"
    path.write_text("\n".join([*found, ""]))
    return path


def test_a_table_with_bounds(tmp_path):
    path = tmp_path / "m.csv"
    cells = ["1", ">2", "<=-3", "~4", ">=1e39", ">>5", "\u22646"]
    lines = [f"{'C' * i},{cell}" for i, cell in enumerate(cells, 1)]
    path.write_text("\n".join(["smiles,y", *lines, ""]))

    def load(**options):
        return load_csv(path, smiles_column="smiles", target_columns="y", **options)

    table = load(bounds="use")
    nan = NAN
    np.testing.assert_array_equal(table.targets[:, 0], [1, nan, nan, 4, nan, nan])
    np.testing.assert_array_equal(table.lower[:, 0], [nan, 2, nan, nan, 5, nan])
    np.testing.assert_array_equal(table.upper[:, 0], [nan, nan, -3, nan, nan, 6])
    assert table.known.all()
    notes = "\n".join(table.report.notes)
    assert "4 values are bounds such as '>100': training learns" in notes
    assert "1 approximate values ('~') are used as measured" in notes
    assert "1 values are bounds such as '>100' and left out" in notes  # too large for float32
    assert load().targets[:, 0].tolist() == [1]
    assert load(bounds="as_measured").targets[:, 0].tolist() == [1, 2, -3, 5, 6]
    taken = table.take([1, 0])
    assert (taken.lower[0, 0], taken.measured_text(0, 0)) == (2, ">2.0")


@pytest.mark.slow
def test_bounds_from_the_command_to_the_table(tmp_path, capsys):
    path = censored(tmp_path)
    flags = ["train", "csv", "--csv", str(path), "--target", "logS", *SMALL, "--readout", "mean"]
    flags += ["--bounds", "use", "--baselines", "mean", "--output", str(tmp_path / "run")]
    assert cli.main(flags) == 0
    said = capsys.readouterr().out
    assert "bounds respected" in said
    run = tmp_path / "run" / "mean-seed0"
    metrics = json.loads((run / "metrics.json").read_text())
    found = rows_of((run / "test_predictions.csv").read_text())
    bounds = [row for row in found if row["logS"][0] in "<>"]
    kept = [
        (float(row["logS predicted"]) - float(row["logS"][1:]) > 0) == (row["logS"][0] == ">")
        for row in bounds
    ]
    assert bounds
    ensemble = metrics["ensemble_test"]
    assert (ensemble["bounds"], ensemble["bounds_respected"]) == (len(bounds), np.mean(kept))
    assert ensemble["cells"] == len(found) - len(bounds)
    # Another way to treat them is another run; a run of 0.2.0 knew them by another name.
    capsys.readouterr()
    assert cli.main([*flags[:-4], "--bounds", "drop", *flags[-4:], "--resume"]) == 2
    assert "other settings" in capsys.readouterr().err
    record = json.loads((run / "config.json").read_text())
    assert record["source"].pop("bounds") == "use"
    record["source"]["censored"] = "exclude"
    (tmp_path / "old.json").write_text(json.dumps(record))
    out = ["--output", str(tmp_path / "old"), "--no-report"]
    assert cli.main(["train", "csv", "--config", str(tmp_path / "old.json"), *out]) == 0
    assert "left out, so what is left" in capsys.readouterr().out


def test_the_sign_of_a_potency_turns(tmp_path):
    path = write(tmp_path / "a.tsv", [
        row("CCO", ">10000"), row("CCN", "10"), row("CCN", ">100"), row("CCC", "<1"),
        row("CC=O", ">1000"), row("CC=O", "<10"), row("CCS", ">100"), row("CCS", "<10000"),
    ])  # fmt: skip
    table = load_potencies(path, bounds="use")
    of = dict(zip(table.canonical, range(len(table))))
    assert table.upper[of["CCO"], 0] == 5
    assert np.isnan(table.lower[of["CCO"], 0])
    assert table.targets[of["CCN"], 0] == 8
    assert np.isnan(table.upper[of["CCN"], 0])
    assert table.lower[of["CCC"], 0] == 9
    assert (table.lower[of["CCS"], 0], table.upper[of["CCS"], 0]) == (5, 7)
    assert "CC=O" not in of  # above 8 and below 6
    notes = "\n".join(table.report.notes)
    assert "7 values are bounds such as '>100': training learns" in notes
    assert "1 bounds count for nothing beside a measured value" in notes
    assert "bounds that exclude each other" in str(table.report)
    kept = len(table) + sum(table.report.left_out.values())
    assert kept == 8


def test_the_narrowest_bound_counts(tmp_path):
    rows = [row("CCO", ">1000"), row("CCO", ">100"), row("CCC", "<1"), row("CCC", "<10")]
    table = load_potencies(write(tmp_path / "a.tsv", rows), bounds="use")
    np.testing.assert_array_equal(table.upper[:, 0], [6, NAN])
    np.testing.assert_array_equal(table.lower[:, 0], [NAN, 9])


def test_a_loss_without_a_form_for_bounds_says_so():
    class Other(SquaredError):
        name = "other"
        takes_bounds = False

    task = TableTask.of(["a"], ["regression"])
    task.check_bounds()
    object.__setattr__(task.targets[0], "task", Other())
    with pytest.raises(ValueError, match=r"use squared_error or absolute_error, .*--bounds drop"):
        task.check_bounds()
    assert not CrossEntropy().takes_bounds


@pytest.mark.slow
def test_predict_scores_a_column_with_bounds(tmp_path, capsys):
    path = censored(tmp_path)
    flags = ["train", "csv", "--csv", str(path), "--target", "logS", *SMALL, "--readout", "mean"]
    assert cli.main([*flags, "--bounds", "use", "--output", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    out = tmp_path / "out.csv"
    run = ["predict", "--model", str(tmp_path / "run/mean-seed0"), "--csv", str(path)]
    assert cli.main([*run, "--output", str(out)]) == 0
    found = [row for row in rows_of(out.read_text()) if row["logS predicted"]]
    bounds = [row for row in found if row["logS"][0] in "<>"]
    kept = [
        (float(row["logS predicted"]) > float(row["logS"][1:])) == (row["logS"][0] == ">")
        for row in bounds
    ]
    said = capsys.readouterr().out
    assert f"{len(found) - len(bounds)} measured rows: RMSE" in said
    assert f"{np.mean(kept):.0%} of {len(bounds)} bounds respected" in said
