"""The tables of the comparison say what the scores say."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.table2 import FoldScore, read_scores
from experiments.table2.plan import SEEDS
from experiments.table2.report import write_report
from experiments.table2.results_folder import ResultsFolder

BASE = FoldScore("d", "phi", 100, 0, "rmse", None, 1.0, 6)


def test_grouping_helps_only_if_it_is_ahead_of_both_controls(tmp_path):
    for frozen, claimed in ((1.05, "Grouping helps is claimed"), (0.9, "is **not** claimed")):
        folder = ResultsFolder(tmp_path / str(frozen))
        folder.path.mkdir()
        rng = np.random.default_rng(0)
        made = []
        for seed in SEEDS:
            noise = 1 + 0.1 * rng.normal()
            for name, loss in (
                ("mean_and_max", 1.1),
                ("phi", 1.05),
                ("frozen", frozen),
                ("default", 1.0),
            ):
                test = noise * (loss + 0.005 * rng.normal())
                made.append(replace(BASE, method=name, seed=seed, test=test))
        folder.add(made)
        text = write_report(folder.path)
        assert claimed in text
        assert "The run is not complete" not in text
        record = json.loads((folder.path / "table.json").read_text())
        assert record["against"]["mean_and_max"]["default"]["all"]["verdict"] == "ahead"
        assert record["ranks"]["default"]["mean"] == pytest.approx(1 if frozen > 1 else 2, abs=0.2)


def test_a_set_with_known_noise_says_how_many_molecules_change(tmp_path):
    results = ResultsFolder(tmp_path)
    rows = []
    for name, shift in (("mean_and_max", 0.5), ("default", 0.0)):
        row = replace(BASE, dataset="pic50", method=name, seed=100, fold=0, test=0.5 + shift)
        targets = np.arange(4.0)[:, None]
        results.save_outputs(row.key, targets + shift, targets)
        rows.append(row)
    results.add(rows)
    line = "| pIC50, by 0.3 | GMPool | mean and max | 100.0 % | 100.0 % | 0.0 % | 1 |"
    assert line in write_report(tmp_path)
    # Scores alone are stored: what was seen of the predictions stays in the table.
    shutil.rmtree(tmp_path / "outputs")
    assert line in write_report(tmp_path)


def test_nothing_scored_is_said(tmp_path):
    with pytest.raises(ValueError, match="has no scores yet"):
        write_report(tmp_path)


def test_the_scores_of_0_1_0_can_still_be_read():
    folder = Path(__file__).parents[1] / "docs" / "results" / "0.1.0"
    rows = read_scores(folder / "table2" / "scores.csv")
    assert len(rows) == 2375
    assert {row.method for row in rows} >= {"gcn_mean_and_max", "gmpool", "forest"}
    for name in ("ablation", "auxiliary_tox21", "auxiliary_properties"):
        assert read_scores(folder / name / "scores.csv")
