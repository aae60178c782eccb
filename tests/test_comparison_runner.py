"""The comparison: the same tuning for all, nothing chosen by test scores, stopped and continued."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import experiments.table2.runner as runner
from dgl_gmpool.data import load_sodium_channel
from dgl_gmpool.registry import readout_entry
from dgl_gmpool.training import TrainingConfig, TrainingError, build_model
from experiments.table2 import (
    METHODS,
    Budget,
    ComparisonData,
    FoldScore,
    Plan,
    choose_datasets,
    choose_methods,
    read_scores,
    run_comparison,
    with_auxiliary_twins,
    write_report,
    write_scores,
)
from experiments.table2.datasets import sample_rows
from experiments.table2.jobs import job_settings
from experiments.table2.methods import TRIALS, controls
from experiments.table2.runner import ResultsFolder, choose_trials
from experiments.table2.variants import VARIANTS, write_variant_report


def small_table(path, rows=60):
    return sample_rows(load_sodium_channel(), rows)


DATA = ComparisonData("small", "small", "none", small_table, epochs=2)
BUDGET = Budget(hidden_feats=8, num_steps=1)


def plan(tmp_path, methods=("mean", "gmpool"), **changes):
    made = Plan(
        datasets=(DATA,),
        methods=tuple(choose_methods(methods)),
        seeds={"small": 1},
        folds=2,
        budget=BUDGET,
        paths={},
        output=tmp_path / "out",
    )
    return replace(made, **changes)


def test_every_method_has_as_many_configurations_and_the_default_first():
    for method in METHODS:
        assert len(method.trials) == TRIALS
        assert method.trials[0] == {}
        assert len({json.dumps(trial, sort_keys=True) for trial in method.trials}) == TRIALS


def test_every_pooling_has_mean_and_max_among_its_configurations():
    poolings = [
        m for m in METHODS if "readout" in m.base and readout_entry(m.base["readout"]).coarsens
    ]
    assert len(poolings) == 12
    for method in poolings:
        taken = [trial.get("readout_options", {}).get("aggregate") for trial in method.trials]
        assert "mean_and_max" in taken


@pytest.mark.parametrize(
    "method", [method for method in METHODS if method.kind == "network"], ids=lambda m: m.name
)
def test_every_configuration_builds_a_model(method):
    for trial in range(TRIALS):
        config = TrainingConfig(hidden_feats=8, **method.options(trial))
        build_model(config, node_in_feats=4, edge_in_feats=3)
        options = config.readout_options
        taken = readout_entry(config.readout).options
        assert set(options) <= set(taken)
        # The paper's pooling size, for all that take a number (one control has another).
        if "num_clusters" in taken and method.name not in ("gmpool", "random"):
            assert options.get("num_clusters", 10) == 10


def test_unknown_names_are_corrected():
    with pytest.raises(ValueError, match="ngmpool"):
        choose_methods(["ngmpol"])
    with pytest.raises(ValueError, match="tox21"):
        choose_datasets(["tox"])


@pytest.mark.slow
def test_a_whole_comparison_and_its_table(tmp_path):
    done = plan(tmp_path, methods=("mean", "gmpool", "forest"))
    done = replace(
        done,
        methods=tuple(
            replace(m, base={"trees": 5}) if m.name == "forest" else m for m in done.methods
        ),
    )
    assert run_comparison(done, processes=1) == []
    rows = read_scores(done.output / "scores.csv")
    assert [(r.method, r.fold) for r in rows] == [
        (name, fold) for name in ("forest", "gmpool", "mean") for fold in (0, 1)
    ]
    assert all(np.isfinite(row.test) and row.test_rows == 6 for row in rows)
    tuned = json.loads((done.output / "tuning.json").read_text())["scores"]
    assert {(e["method"], e["trial"]) for e in tuned} == {
        (m.name, trial) for m in done.methods for trial in range(TRIALS)
    }
    assert not any("test" in e for e in tuned)
    chosen = choose_trials(done, ResultsFolder(done.output))
    for row in rows:
        method = next(m for m in done.methods if m.name == row.method)
        assert row.settings == job_settings(method, chosen[row.method], DATA, BUDGET)
        outputs = np.load(
            done.output / "test_outputs" / f"small-{row.method}-seed0-fold{row.fold}.npz"
        )
        assert outputs["test_outputs"].shape == (6, 1)
    table = write_report(done.output)
    assert "GMPool" in table
    assert (done.output / "table.md").read_text() == table
    json.loads((done.output / "table.json").read_text())


@pytest.mark.slow
def test_auxiliary_targets_are_held_against_the_same_network_without(tmp_path):
    methods = with_auxiliary_twins(choose_methods(["gmpool", "forest"]))
    assert [m.name for m in methods] == ["gmpool", "gmpool+auxiliary", "forest"]
    done = plan(tmp_path, methods=(), tune=False)
    done = replace(done, methods=tuple(methods[:2]))
    assert run_comparison(done, processes=1) == []
    alone, beside = (
        [row for row in read_scores(done.output / "scores.csv") if row.method == name]
        for name in ("gmpool", "gmpool+auxiliary")
    )
    assert json.loads(beside[0].settings)["auxiliary"] == {"properties": 1.0}
    assert "auxiliary" not in json.loads(alone[0].settings)
    assert [row.test for row in alone] != [row.test for row in beside]
    assert [row.parameters for row in alone] == [row.parameters for row in beside]
    table = write_report(done.output)
    assert "GMPool, auxiliary targets" in table
    record = json.loads((done.output / "table.json").read_text())
    assert "against" not in record  # the baseline is gmpool: its twin is in the first table
    # Other values of the auxiliary targets are another protocol.
    protocol = done.output / "protocol.json"
    stored = json.loads(protocol.read_text())
    stored["data"]["small, properties"] = "other"
    protocol.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="small, properties differs from before"):
        run_comparison(done, processes=1)


def test_a_twin_has_the_configuration_of_its_original_and_is_held_against_it(tmp_path):
    methods = with_auxiliary_twins(choose_methods(["mean", "mean_and_max", "gmpool"]))
    here = plan(tmp_path, methods=("mean",))
    here = replace(here, methods=tuple(methods))
    entries = [
        {
            "dataset": "small",
            "method": "gmpool",
            "metric": "rmse",
            "error": "",
            "valid": value,
            "settings": job_settings(methods[4], trial, DATA, BUDGET, tuning=True),
        }
        for trial, value in enumerate([0.5, 0.4, 0.1, 0.3])
    ]
    here.output.mkdir()
    ResultsFolder(here.output).tuning.write_text(json.dumps({"scores": entries}))
    chosen = choose_trials(here, ResultsFolder(here.output))
    assert chosen["gmpool"] == chosen["gmpool+auxiliary"] == 2
    assert controls([method.name for method in methods], besides="mean") == {
        "mean_and_max": ["gmpool", "mean_and_max+auxiliary"],
        "mean_and_max+auxiliary": ["gmpool+auxiliary"],
        "gmpool": ["gmpool+auxiliary"],
    }


@pytest.mark.slow
def test_a_stopped_comparison_goes_on_and_ends_with_the_same_numbers(tmp_path, monkeypatch):
    whole = plan(tmp_path, output=tmp_path / "whole")
    run_comparison(whole, processes=1)
    stopped = plan(tmp_path, output=tmp_path / "stopped")
    original, calls = runner.run_job, []

    def stop_after(number, job, *rest):
        if len(calls) == number:
            raise KeyboardInterrupt
        calls.append(job)
        return original(job, *rest)

    for number in (3, 9):
        with monkeypatch.context() as patch:
            patch.setattr(runner, "run_job", partial(stop_after, number))
            with pytest.raises(KeyboardInterrupt):
                run_comparison(stopped, processes=1)
    monkeypatch.setattr(runner, "run_job", partial(stop_after, 10**6))
    run_comparison(stopped, processes=1)
    assert len(calls) == len(set(calls)) == 2 * TRIALS + 4

    def timeless(folder):
        return [replace(row, seconds=None) for row in read_scores(folder / "scores.csv")]

    assert timeless(stopped.output) == timeless(whole.output)
    # More seeds join what is there.
    run_comparison(replace(stopped, seeds={"small": 2}), processes=1)
    assert timeless(stopped.output)[:2] == timeless(whole.output)[:2]
    assert len(read_scores(stopped.output / "scores.csv")) == 8


def test_configurations_are_ranked_by_validation_scores_and_ties_go_to_the_default(tmp_path):
    here = plan(tmp_path, methods=("mean",))
    folder = ResultsFolder(here.output)
    method = here.methods[0]

    def write(valid):
        entries = [
            {
                "dataset": "small",
                "method": "mean",
                "trial": trial,
                "metric": "rmse",
                "error": "",
                "valid": value,
                "settings": job_settings(method, trial, DATA, BUDGET, tuning=True),
            }
            for trial, value in enumerate(valid)
        ]
        folder.path.mkdir(exist_ok=True)
        folder.tuning.write_text(json.dumps({"scores": entries}))
        return choose_trials(here, folder)["mean"]

    assert write([0.9, 0.8, 0.5, 0.7]) == 2  # RMSE: lower is better
    assert write([0.5, 0.8, 0.5, 0.7]) == 0
    assert write([None, 0.8, 0.9, 0.9]) == 1  # a failed training is never chosen
    assert write([0.9, 0.8, 0.5]) == 0  # not all are scored: the default


def test_a_run_of_one_data_set_takes_the_configurations_of_the_whole_table(tmp_path):
    """Validation scores of the other data sets in the folder count as well."""
    tox21 = choose_datasets(["tox21"])[0]
    here = plan(tmp_path, methods=("mean",))
    method, folder = here.methods[0], ResultsFolder(here.output)
    entries = [
        {
            "dataset": data.name,
            "method": "mean",
            "metric": metric,
            "error": "",
            "valid": value,
            "settings": job_settings(method, trial, data, BUDGET, tuning=True),
        }
        for data, metric, values in (
            (DATA, "rmse", [0.5, 0.6, 0.7, 0.8]),
            (tox21, "roc_auc", [0.6, 0.9, 0.5, 0.5]),
        )
        for trial, value in enumerate(values)
    ]
    folder.path.mkdir()
    folder.tuning.write_text(json.dumps({"scores": entries[:4]}))
    assert choose_trials(here, folder)["mean"] == 0
    folder.tuning.write_text(json.dumps({"scores": entries}))
    assert choose_trials(here, folder)["mean"] == 0  # a tie of ranks: the default
    entries[4]["valid"] = 0.1
    folder.tuning.write_text(json.dumps({"scores": entries}))
    assert choose_trials(here, folder)["mean"] == 1


@pytest.mark.slow
def test_another_protocol_in_the_same_folder_is_refused(tmp_path):
    first = plan(tmp_path, methods=("mean",), tune=False)
    run_comparison(first, processes=1)
    with pytest.raises(ValueError, match=r"another protocol: budget was .*another --output"):
        run_comparison(replace(first, budget=Budget(hidden_feats=9)), processes=1)
    other = ComparisonData("small", "small", "none", partial(small_table, rows=50), epochs=2)
    with pytest.raises(ValueError, match="small differs from before"):
        run_comparison(replace(first, datasets=(other,)), processes=1)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TrainingError("the loss became nan"), "the loss became nan"),
        (torch.linalg.LinAlgError("no convergence\nmore"), "LinAlgError: no convergence"),
    ],
)
@pytest.mark.slow
def test_a_training_that_fails_is_reported_and_the_others_go_on(tmp_path, monkeypatch, error, said):
    original = runner.run_job

    def fail(job, *rest):
        if job.method == "gmpool" and job.fold == 1:
            raise error
        return original(job, *rest)

    monkeypatch.setattr(runner, "run_job", fail)
    done = plan(tmp_path, tune=False)
    failures = run_comparison(done, processes=1)
    assert len(failures) == 1
    assert failures[0].startswith("small, gmpool, seed 0, fold 1: ")
    assert failures[0].endswith(said)
    failed = [row.failed for row in read_scores(done.output / "scores.csv")]
    assert failed == [False, True, False, False]
    assert "1 of 2" in write_report(done.output)


@pytest.mark.slow
def test_only_the_first_folds_are_trained_where_asked_for(tmp_path):
    done = plan(tmp_path, methods=("mean",), tune=False, folds=3, first_folds=1)
    run_comparison(done, processes=1)
    assert [row.fold for row in read_scores(done.output / "scores.csv")] == [0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"folds": 3, "first_folds": 4}, "first 4 folds .* give at most 3"),
        ({"first_folds": 0}, "first_folds is 0; give an integer >= 1"),
        ({"folds": 0}, "folds is 0"),
        ({"seeds": {"small": 0}}, "seeds of small is 0"),
    ],
)
def test_folds_and_seeds_that_do_not_exist_are_refused(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        plan(tmp_path, **changes)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_every_variant_builds_a_model(variant):
    config = TrainingConfig(hidden_feats=8, **variant.options(0))
    build_model(config, node_in_feats=4, edge_in_feats=3)


def test_changes_are_shares_of_the_error_and_come_from_validation_scores(tmp_path):
    first, second = VARIANTS[:2]
    rows = [
        FoldScore(d, v.name, 0, 0, metric=m, valid=value, test=float("nan"), test_rows=9)
        for v, d, m, value in (
            (first, "a", "rmse", 2.0),
            (second, "a", "rmse", 1.5),
            (first, "b", "roc_auc", 0.8),
            (second, "b", "roc_auc", 0.7),
        )
    ]
    write_scores(tmp_path / "scores.csv", rows)
    text = write_variant_report(tmp_path)
    changes = json.loads((tmp_path / "variants.json").read_text())["rows"][1]
    assert changes["change"] == pytest.approx({"a": 0.25, "b": -0.5})
    assert changes["mean_change"] == pytest.approx(-0.125)
    assert "| similarity cauchy | 1.5 (+25.0 %) | 0.7 (-50.0 %) | -12.5 % |" in text


def test_a_variant_that_failed_is_in_the_report(tmp_path):
    rows = [
        FoldScore("a", v.name, 0, 0, "rmse", valid=value, test=float("nan"), test_rows=9)
        for v, value in zip(VARIANTS, (2.0, None))
    ]
    write_scores(tmp_path / "scores.csv", rows)
    assert "| nan (+nan %) | +nan % |" in write_variant_report(tmp_path)
    failed = json.loads((tmp_path / "variants.json").read_text())["rows"][1]
    assert (failed["valid"], failed["change"], failed["mean_change"]) == ({"a": None},) * 2 + (
        None,
    )


@pytest.mark.slow
def test_a_failed_job_is_tried_again_when_the_comparison_goes_on(tmp_path, monkeypatch):
    original = runner.run_job

    def fail(job, *rest):
        raise MemoryError("no memory")

    done = plan(tmp_path, methods=("mean",), tune=False)
    with monkeypatch.context() as patch:
        patch.setattr(runner, "run_job", fail)
        assert len(run_comparison(done, processes=1)) == 2
    monkeypatch.setattr(runner, "run_job", original)
    assert run_comparison(done, processes=1) == []
    assert not any(row.failed for row in read_scores(done.output / "scores.csv"))


def test_a_table_of_a_stopped_comparison_compares_the_same_models(tmp_path):
    rows = [
        FoldScore("small", m, 0, f, metric="rmse", valid=1.0, test=1.0 + f, test_rows=9)
        for m, folds in (("mean", (0, 1)), ("gmpool", (0,)))
        for f in folds
    ]
    write_scores(tmp_path / "scores.csv", rows)
    table = write_report(tmp_path)
    assert "(1 × 1)" in table
    assert len(read_scores(tmp_path / "scores.csv")) == 3


def test_groupings_are_held_against_the_same_readout_without_groups(tmp_path):
    scores = {"mean": 1.0, "mean_and_max": 0.8, "gmpool": 0.7, "gcn_gmpool": 0.6}
    write_scores(
        tmp_path / "scores.csv",
        [
            FoldScore("small", m, s, 0, metric="rmse", valid=1.0, test=score + s, test_rows=9)
            for m, score in scores.items()
            for s in range(3)
        ],
    )
    table = write_report(tmp_path)
    assert "better than DMPNN, mean and max by" in table
    # Without its control a method is compared with the mean alone.
    assert "better than GCN" not in table
    against = json.loads((tmp_path / "table.json").read_text())["against"]
    assert list(against) == ["mean_and_max"]
    methods = against["mean_and_max"]["datasets"]["small"]["methods"]
    assert methods["gmpool"]["paired"]["difference"] == pytest.approx(0.1)


@pytest.mark.slow
def test_two_workers_give_what_one_process_gives(tmp_path):
    one, two = (plan(tmp_path, methods=("mean",), tune=False, output=tmp_path / n) for n in "ab")
    run_comparison(one, processes=1)
    run_comparison(two, processes=2)
    assert [r.test for r in read_scores(one.output / "scores.csv")] == [
        r.test for r in read_scores(two.output / "scores.csv")
    ]


def test_a_sample_of_rows_is_the_same_every_time_and_says_so():
    table = load_sodium_channel()
    sample = sample_rows(table, 100, seed=3)
    assert sample.ids == sample_rows(table, 100, seed=3).ids
    assert sample.ids != sample_rows(table, 100, seed=4).ids
    assert "drawn at random (seed 3)" in str(sample.report)
    assert sample_rows(table, 10**6) is table
