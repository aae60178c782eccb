"""``--standardize`` and ``--replicates``: the same in training and prediction, and all counted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from test_data_splits import table_of
from test_recipes import SMALL

from dgl_gmpool import cli, load_predictor
from dgl_gmpool.data.replicates import merged_replicates
from dgl_gmpool.data.standardize import STEPS, standardized_smiles, standardized_table


@pytest.mark.parametrize(
    ("drawn", "steps", "expected"),
    [
        ("CC(=O)[O-].[Na+]", ["fragment"], "CC(=O)[O-]"),
        ("CC(=O)[O-].[Na+]", ["fragment", "charge"], "CC(=O)O"),
        ("C[NH3+].[Cl-]", STEPS, "CN"),
        ("C[N+](C)(C)C.[Cl-]", STEPS, "C[N+](C)(C)C"),
        ("Oc1ccccn1", ["tautomer"], "O=c1cccc[nH]1"),
        ("Oc1ccccn1", ["fragment", "charge"], "Oc1ccccn1"),
        ("C[C@H](N)C(=O)[O-].[K+]", STEPS, "C[C@H](N)C(=O)O"),
        ("OCC", STEPS, "OCC"),
        ("[Na+].[Cl-]", [], "[Na+].[Cl-]"),
    ],
)
def test_one_form(drawn, steps, expected):
    found, why = standardized_smiles(drawn, steps)
    assert (found, why) == (expected, "")
    assert standardized_smiles(found, steps) == (found, "")
    assert standardized_smiles(" ", STEPS) == ("", "blank SMILES")


def test_a_table_is_standardised_and_counted():
    table = table_of(["CCN", "CC[NH3+].[Cl-]", "CCO"])
    found = standardized_table(table, ["fragment", "charge"])
    assert found.canonical == found.groups == found.smiles == ("CCN", "CCN", "CCO")
    assert found.report.notes == (
        "1 rows changed by standardisation (fragment, charge), such as CC[NH3+].[Cl-] to CCN",
        "3 molecules became 2 by standardisation",
    )
    assert standardized_table(table, []) is table
    grouped = replace(table, groups=("group a",) * 3)
    assert standardized_table(grouped, STEPS).groups == ("group a",) * 3


def test_replicates_of_numbers():
    table = replace(
        table_of(["a", "a", "a", "b", "c", "c"]),
        targets=np.array([[1.0], [2], [6], [7], [np.nan], [4]]),
    )
    median, mean = (merged_replicates(table, how) for how in ("median", "mean"))
    assert median.targets[:, 0].tolist() == [2, 7, 4]
    assert mean.targets[:, 0].tolist() == [3, 7, 4]
    assert median.report.counts[-2:] == (
        ("merged: more measurements of one molecule (median)", 3),
        ("molecules", 3),
    )
    assert "2.5 in the median and 5 at most (row 0, a)" in median.report.notes[-1]
    assert merged_replicates(table, "keep") is table
    assert merged_replicates(median, "median") is median
    with pytest.raises(ValueError, match="way to treat replicates"):
        merged_replicates(table, "max")


def test_rows_of_weight_0_say_nothing_of_a_molecule_that_has_others():
    nan = np.nan
    weighted = replace(
        table_of(["a", "a", "a", "b", "b", "c", "c"]),
        targets=np.array([[95.0], [1], [4], [nan], [nan], [7], [9]]),
        lower=np.array([[nan], [nan], [nan], [5], [6], [nan], [nan]]),
        upper=np.full((7, 1), nan),
        weights=np.array([0, 2.0, 1, 1, 0, 0, 0]),
    )
    mean, median = (merged_replicates(weighted, how) for how in ("mean", "median"))
    # The mean is weighted; a molecule with nothing but zeros keeps all, which count for nothing.
    assert mean.targets[[0, 2], 0].tolist() == [2, 8]
    assert median.targets[[0, 2], 0].tolist() == [2.5, 8]
    assert median.weights.tolist() == [1.5, 1, 0]
    assert median.lower[1, 0] == 5
    assert median.ids == ("1", "3", "5")
    assert median.merged_ids == (("0", "1", "2"), ("3", "4"), ("5", "6"))
    classes = replace(
        table_of(["a", "a"]),
        kind="classification",
        kinds=("classification",),
        targets=np.array([[0.0], [1]]),
        weights=np.array([0.0, 1]),
    )
    assert merged_replicates(classes, "median").targets.tolist() == [[1]]


def test_groups_that_share_a_merged_molecule_are_one():
    table = table_of(["a", "a", "b", "c"], groups=["group 0", "group x", "group x", "group 2"])
    found = merged_replicates(replace(table, targets=np.ones((4, 1))), "median")
    assert found.groups == ("group 0", "group 0", "group 2")


def test_replicates_of_classes_that_disagree_are_named():
    table = replace(
        table_of(["a", "a", "b", "b", "c"]),
        kind="classification",
        kinds=("classification",),
        targets=np.array([[1.0], [0], [1], [1], [0]]),
    )
    found = merged_replicates(table, "median")
    assert found.canonical == ("b", "c")
    assert found.targets[:, 0].tolist() == [1, 0]
    assert found.report.cells == (("row 0", "a", "'y' is 1.0, 0.0 on rows 0, 1"),)
    assert found.report.left_out["replicates disagree on the class"] == 1


def test_bounds_count_only_where_nothing_was_measured():
    nan = np.nan
    table = replace(
        table_of(["a", "a", "b", "b", "c", "c", "d", "d"]),
        targets=np.array([[5.0], [nan], [nan], [nan], [nan], [nan], [nan], [nan]]),
        lower=np.array([[nan], [6], [6], [7], [6], [nan], [9], [nan]]),
        upper=np.array([[nan], [nan], [nan], [nan], [nan], [8], [nan], [8]]),
    )
    found = merged_replicates(table, "median")
    assert found.canonical == ("a", "b", "c")
    assert found.targets[0, 0] == 5
    assert np.isnan(found.lower[0, 0])
    assert found.lower[1, 0] == 7
    # Two sides are an interval; those that exclude each other are named as what they are.
    assert (found.lower[2, 0], found.upper[2, 0]) == (6, 8)
    assert found.report.left_out["bounds that exclude each other"] == 1
    assert "replicates disagree on the class" not in found.report.left_out
    assert "is >9.0, <8.0 on rows" in found.report.cells[0][2]


@pytest.mark.slow
def test_prediction_and_explanation_do_what_training_did(tmp_path, capsys):
    drawn = [f"{'C' * n}C(=O)[O-].[Na+]" for n in range(1, 16)]
    acids = [f"{'C' * n}C(=O)O" for n in range(1, 16)]
    lines = [f"{s},{i % 15 + i // 15 / 10}" for i, s in enumerate(drawn + acids)]
    (tmp_path / "t.csv").write_text("\n".join(["smiles,y", *lines, ""]))
    start = ["train", "csv", "--csv", str(tmp_path / "t.csv"), "--target", "y", *SMALL]
    start += ["--standardize", "charge", "fragment", "--replicates", "mean", "--no-report"]
    assert cli.main([*start, "--readout", "mean", "--output", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "15 rows changed by standardisation (charge, fragment)" in said
    assert "merged: more measurements of one molecule (mean)" in said
    run = tmp_path / "run" / "mean-seed0"
    config = json.loads((run / "config.json").read_text())
    assert (config["data"]["featurizer"], config["data"]["rows"]) == ("stereo+fragment+charge", 15)
    predictor = load_predictor(run)
    found = predictor.predict([drawn[3], acids[3], "C1CC"])
    assert found.mean[0, 0] == found.mean[1, 0]
    assert found.reasons[2]
    assert f"standardised from {drawn[3]} to {acids[3]}" in found.notes[0]
    assert not found.notes[1]
    vectors = predictor.embed([drawn[3], acids[3]])
    np.testing.assert_array_equal(vectors[0], vectors[1])
    explained = predictor.explain(drawn[3])
    assert explained.smiles == acids[3]
    alone = {t: predictor.predict([t]).mean[0, 0] for t in (drawn[3], acids[3])}
    assert len(set(alone.values())) == 1
    assert explained.prediction == pytest.approx(found.mean[0, 0], rel=1e-4)
    again = ["train", "csv", "--config", str(run), "--no-report", "--output", str(tmp_path / "b")]
    assert cli.main(again) == 0
    other = json.loads((tmp_path / "b" / "mean-seed0" / "config.json").read_text())
    assert other["data"] == config["data"]
