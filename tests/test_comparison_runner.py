"""The comparison: nothing chosen by test scores, stopped, continued, repeated, merged."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from comparison_cases import (
    BOTH,
    DATA,
    FOREST,
    FROZEN,
    MEAN,
    PHI,
    SUM,
    plan,
    scores_of,
    small_table,
)

import experiments.table2.runner as runner
from dgl_gmpool.training import TrainingError
from experiments.table2 import choose_datasets, choose_rows, read_scores
from experiments.table2.__main__ import main
from experiments.table2.plan import PHASES, phases
from experiments.table2.report import write_report
from experiments.table2.results_folder import ResultsFolder
from experiments.table2.rows import ENSEMBLE, WIDE
from experiments.table2.runner import Comparison
from experiments.table2.training import BUDGET, ensemble_outputs, settings, train


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole small run, and what it wrote."""
    output = tmp_path_factory.mktemp("table2") / "out"
    rows = (MEAN, BOTH, PHI, FROZEN, FOREST, SUM, replace(SUM, name="gcn"))
    done = plan(output, rows, seeds=(100, 101), phases=PHASES)
    assert Comparison(done).run() == []
    return done


def test_every_training_is_there_and_its_predictions(finished):
    rows = {row.key: row for row in read_scores(finished.output / "scores.csv")}
    expected = {t.key for _, trainings in phases(finished) for t in trainings}
    single = {key for key in rows if not key[1].endswith(ENSEMBLE)}
    assert single == expected
    results = ResultsFolder(finished.output)
    for key, row in rows.items():
        outputs, targets = results.load_outputs(key)
        assert outputs.shape == targets.shape == (6, 1)
        assert row.test == pytest.approx(np.sqrt(np.mean((outputs - targets) ** 2)))
        assert row.test_rows == 6
        assert row.seconds >= 0


def test_the_average_of_five_folds_is_scored_once_they_are_there(finished):
    results = ResultsFolder(finished.output)
    folds = [results.load_outputs(("small", "mean", 100, fold))[0] for fold in range(5)]
    outputs, targets = results.load_outputs(("small", "mean" + ENSEMBLE, 100, 0))
    np.testing.assert_allclose(outputs, np.mean(folds, axis=0))
    row = results.scores["small", "mean" + ENSEMBLE, 100, 0]
    assert row.test == pytest.approx(np.sqrt(np.mean((outputs - targets) ** 2)))
    # Of other rows the first seed alone has all folds.
    assert ("small", "sum" + ENSEMBLE, 100, 0) in results.scores
    assert ("small", "sum" + ENSEMBLE, 101, 0) not in results.scores


def test_a_kill_between_the_last_fold_and_the_average_loses_no_average(finished, tmp_path):
    shutil.copytree(finished.output, tmp_path / "out")
    results = ResultsFolder(tmp_path / "out")
    key = ("small", "mean" + ENSEMBLE, 100, 0)
    before = results.scores.pop(key)
    results.outputs(key).unlink()
    results.add([])
    assert Comparison(replace(finished, output=tmp_path / "out")).run() == []
    found = ResultsFolder(tmp_path / "out")
    assert found.scores[key].test == before.test
    assert found.load_outputs(key) is not None


def test_logits_are_averaged_as_probabilities():
    logits = [np.array([[-800.0], [0.0]]), np.array([[0.0], [0.0]])]
    assert ensemble_outputs("classification", logits, True).tolist() == [[0.25], [0.5]]
    shares = [np.array([[0.2]]), np.array([[0.4]])]
    assert ensemble_outputs("classification", shares, False)[0, 0] == pytest.approx(0.3)


def test_the_search_knows_no_test_score_and_the_choice_is_what_was_trained(finished):
    entries = json.loads((finished.output / "search.json").read_text())["scores"]
    assert {entry["seed"] for entry in entries} == {90}
    assert not any("test" in entry for entry in entries)
    choices = json.loads((finished.output / "choices.json").read_text())["choices"]
    assert set(choices) == {row.name for row in finished.rows}
    results = ResultsFolder(finished.output)
    for row in finished.rows:
        text = settings(row, choices[row.name]["configuration"], DATA, budget=finished.budget)
        assert results.scores["small", row.name, 101, 0].settings == text
        tried = choices[row.name]["tried"]
        assert len(tried) == len(row.own) + 1 + 2
        best = min(tried[-2:], key=lambda each: each["loss"])["configuration"]
        assert choices[row.name]["configuration"] == best


def test_rows_of_one_configuration_are_one_training(finished, monkeypatch):
    results = ResultsFolder(finished.output)
    one, two = (results.scores["small", name, 100, 0] for name in ("sum", "gcn"))
    assert replace(one, method="gcn") == two  # the seconds too: it was not trained again


def test_a_repeated_run_gives_the_same_bits(finished, tmp_path):
    again = plan(tmp_path / "again", (MEAN, FOREST, FROZEN), phases=("key",))
    Comparison(again).run()
    mine, theirs = scores_of(again.output), scores_of(finished.output)
    assert mine == {key: theirs[key] for key in mine}
    for key in mine:
        a = ResultsFolder(again.output).load_outputs(key)
        b = ResultsFolder(finished.output).load_outputs(key)
        assert all(np.array_equal(x, y) for x, y in zip(a, b))


def test_one_set_again_from_stored_choices_searches_nothing(finished, tmp_path, monkeypatch):
    stored = finished.output / "choices.json"
    again = plan(tmp_path / "again", (MEAN,), choices=stored)
    monkeypatch.setattr(runner, "choose", None)
    Comparison(again).run()
    key = ("small", "mean", 100, 0)
    assert scores_of(again.output)[key] == scores_of(finished.output)[key]
    assert not (again.output / "search.json").exists()
    topk = plan(tmp_path / "topk", choose_rows(["topk"]), choices=stored, phases=("others",))
    with pytest.raises(ValueError, match="no configuration of topk"):
        Comparison(topk).run()


def test_a_stopped_run_goes_on_and_ends_with_the_same_numbers(finished, tmp_path, monkeypatch):
    stopped = plan(tmp_path / "out", (MEAN, FOREST), seeds=(100, 101))
    calls = []

    def until(text, *args, **kwargs):
        calls.append(text)
        if len(calls) in (2, 5):
            raise KeyboardInterrupt
        return train(text, *args, **kwargs)

    monkeypatch.setattr(runner, "train", until)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            Comparison(stopped).run()
    Comparison(stopped).run()
    theirs = scores_of(finished.output)
    mine = scores_of(stopped.output)
    assert len(mine) == 4
    assert mine == {key: theirs[key] for key in mine}
    trained = len(calls)
    Comparison(stopped).run()
    assert len(calls) == trained  # nothing is trained twice


def test_folders_of_several_machines_become_one(finished, tmp_path, monkeypatch):
    for seed in (100, 101):
        part = plan(tmp_path / str(seed), (MEAN, FOREST), seeds=(seed,))
        Comparison(part).run()
    whole = tmp_path / "whole"
    folders = [str(tmp_path / name) for name in ("100", "101")]
    assert main(["--output", str(whole), "--merge", *folders]) == 0
    theirs = scores_of(finished.output)
    mine = scores_of(whole)
    assert mine == {key: theirs[key] for key in mine}
    assert len(mine) == 4
    assert ResultsFolder(whole).load_outputs(("small", "mean", 101, 0)) is not None
    # It is a folder like any other, and goes on without training anything again.
    monkeypatch.setattr(runner, "train", None)
    assert Comparison(plan(whole, (MEAN, FOREST), seeds=(100, 101))).run() == []


def test_a_search_that_was_split_becomes_one(finished, tmp_path, capsys):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        for file in ("protocol.json", "search.json", "choices.json"):
            (tmp_path / name / file).write_bytes((finished.output / file).read_bytes())
    folders = [str(tmp_path / name) for name in ("first", "second")]
    assert main(["--output", folders[0], "--merge", folders[1]]) == 0
    assert "no scores yet" in capsys.readouterr().out
    merged = ResultsFolder(tmp_path / "first")
    assert merged.search == ResultsFolder(finished.output).search
    assert merged.search


def test_what_does_not_belong_together_is_not_merged(finished, tmp_path):
    with pytest.raises(ValueError, match="holds no results"):
        ResultsFolder(tmp_path / "whole").merge([tmp_path / "nothing"])
    other = plan(tmp_path / "other", (MEAN,), budget={**BUDGET, "hidden_feats": 4})
    Comparison(other).run()
    whole = ResultsFolder(tmp_path / "whole")
    whole.merge([finished.output])
    with pytest.raises(ValueError, match="budget differ"):
        whole.merge([other.output])
    twin = ResultsFolder(tmp_path / "twin")
    twin.merge([finished.output])
    row = twin.scores["small", "mean", 100, 0]
    twin.add([replace(row, test=2 * row.test)])
    with pytest.raises(ValueError, match="has another score"):
        whole.merge([twin.path])
    twin.save_choices({"mean": {"configuration": {"lr": 1}, "tried": []}})
    with pytest.raises(ValueError, match="chose another configuration of mean"):
        whole.merge([twin.path])


def test_one_row_has_one_configuration_in_a_folder(finished, tmp_path):
    stored = json.loads((finished.output / "choices.json").read_text())
    stored["choices"]["mean"]["configuration"]["lr"] = 0.02
    (tmp_path / "choices.json").write_text(json.dumps(stored))
    changed = replace(finished, seeds=(102,), choices=tmp_path / "choices.json")
    with pytest.raises(ValueError, match="holds mean on small with other settings, seed 10"):
        Comparison(changed).run()


def test_another_protocol_in_the_same_folder_is_refused(finished, tmp_path):
    other = replace(finished, budget={**BUDGET, "hidden_feats": 4})
    with pytest.raises(ValueError, match="another protocol: budget was"):
        Comparison(other).run()
    fewer = replace(DATA, load=lambda path: small_table(path, 50))
    started = plan(tmp_path / "out", (MEAN,))
    Comparison(started).run()
    changed = replace(started, datasets=(fewer,), search_sets=(fewer,), seeds=(101,))
    with pytest.raises(ValueError, match="the rows of small are others than before"):
        Comparison(changed).run()
    assert len(scores_of(started.output)) == 1


def test_the_commit_is_that_which_the_process_has_loaded(tmp_path, monkeypatch, capsys):
    commits = iter(["first", "second", "third"])
    module = "experiments.setting.source_commit"
    monkeypatch.setattr(module, lambda: next(commits))
    run = Comparison(plan(tmp_path / "out", (MEAN,)))
    run.run()
    assert {row.commit for row in read_scores(tmp_path / "out" / "scores.csv")} == {"first"}
    assert "note:" not in capsys.readouterr().out
    Comparison(plan(tmp_path / "out", (MEAN,), seeds=(101,))).run()
    assert "was started with commit first; what is trained now is of second" in (
        capsys.readouterr().out
    )


def test_a_missing_file_stops_the_run_and_is_no_failed_training(tmp_path):
    films = tuple(choose_datasets(["emission_film"]))
    with pytest.raises(ValueError, match="--chromophores FILE"):
        Comparison(plan(tmp_path / "out", (MEAN,), datasets=films, search_sets=films)).run()
    assert not (tmp_path / "out" / "scores.csv").exists()
    assert not (tmp_path / "out" / "search.json").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [(TrainingError("it diverged"), "it diverged"), (KeyError("x"), "KeyError: 'x'")],
)
def test_a_training_that_fails_is_reported_and_the_others_go_on(
    tmp_path, monkeypatch, error, said, finished
):
    failing = plan(tmp_path / "out", (MEAN, FOREST), choices=finished.output / "choices.json")

    def broken(text, *args, **kwargs):
        if '"kind": "network"' in text:
            raise error
        return train(text, *args, **kwargs)

    monkeypatch.setattr(runner, "train", broken)
    failures = Comparison(failing).run()
    assert failures == [f"mean, small, seed 100, fold 0: {said}"]
    rows = {row.method: row for row in read_scores(failing.output / "scores.csv")}
    assert rows["mean"].failed
    assert not rows["forest"].failed
    assert "1 trainings failed: mean on small, seed 100" in write_report(failing.output)
    # It is kept as a failure, and tried again where that is asked for.
    monkeypatch.setattr(runner, "train", train)
    assert Comparison(failing).run() == []
    assert read_scores(failing.output / "scores.csv")[1].failed
    assert Comparison(replace(failing, retry=True)).run() == []
    assert not any(row.failed for row in read_scores(failing.output / "scores.csv"))


def test_two_processes_do_not_write_in_one_folder(finished):
    from dgl_gmpool.training.run_folder import RunFolder

    with RunFolder(finished.output).locked(), pytest.raises(ValueError, match="another process"):
        Comparison(finished).run()


def test_the_report_says_what_the_scores_say(finished, tmp_path):
    text = write_report(finished.output)
    assert (finished.output / "table.md").read_text() == text
    record = json.loads((finished.output / "table.json").read_text())
    rows = scores_of(finished.output)
    changes = [
        100 * (1 - rows["small", "mean", s, 0][1] / rows["small", "mean_and_max", s, 0][1])
        for s in (100, 101)
    ]
    entry = record["against"]["mean_and_max"]["mean"]
    assert entry["all"]["mean"] == pytest.approx(np.mean(changes))
    assert entry["all"]["seeds"] == 2
    assert "The run is not complete" in text
    assert "Seeds 100 to 101, 2 in all, of the 25" in text
    assert "the claim needs GMPool, phi and the frozen M" in text  # there is no row "default"
    assert record["wide"] == {"mean_and_max@200": {}, "forest": record["wide"]["forest"]}
    assert set(record["averaging"]) == {
        name + ENSEMBLE
        for name in ("mean", "mean_and_max", "phi", "frozen", "forest", "sum", "gcn")
    } | {"mean_and_max" + WIDE + ENSEMBLE}
    assert record["cost"]["mean"]["parameters"] > 0
    assert record["cost"]["forest"]["parameters"] is None
    single = [key for key in rows if not key[1].endswith(ENSEMBLE)]
    assert record["hours"]["trainings"] == len(single)
    assert 0 < record["hours"]["of_trainings"] * 3600 < 60 * len(single)
    assert set(record["beside"]) == {"step", "explanation", "planted"}
    for line in text.splitlines():
        assert "nan" not in line.lower().split("|")[-2:], line
