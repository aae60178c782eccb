"""Intervals, calibrated probabilities and the domain: fitted on validation rows, and honest."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from training_data import SMILES, small_dataset, small_options

from dgl_gmpool.cli import main
from dgl_gmpool.data import make_splits
from dgl_gmpool.data.similarity import fingerprints, nearest
from dgl_gmpool.load import load_predictor
from dgl_gmpool.report.novelty import known_molecules
from dgl_gmpool.report.run_data import RunData
from dgl_gmpool.training import TrainingConfig, train_run
from dgl_gmpool.training.calibration import Calibrator, calibration_error, choose_calibrators
from dgl_gmpool.training.conformal import MOST_SCORES, Intervals, choose_intervals, interval_score
from dgl_gmpool.training.known_molecules import Domain, KnownMolecules
from dgl_gmpool.training.uncertainty import RunUncertainty
from dgl_gmpool.training.uncertainty_check import calibrated_mean, uncertainty_lines


@pytest.fixture(scope="module", params=["regression", "classification"])
def run(request, tmp_path_factory):
    dataset = small_dataset(request.param, tasks=2)
    splits = make_splits(dataset.table, folds=2, test_fraction=0.25)
    config = TrainingConfig(**small_options(readout="mean"))
    folder = tmp_path_factory.mktemp("uncertainty") / "run"
    return train_run(dataset, splits, config, folder, progress=False), dataset, splits


# --- similarity -------------------------------------------------------------------------------


def test_nearest_is_what_rdkit_finds():
    mols = [Chem.MolFromSmiles(smiles) for smiles in SMILES]
    found, place = nearest(fingerprints(mols), fingerprints(mols[::3]))
    make = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    among = [make.GetFingerprint(mol) for mol in mols[::3]]
    for row, mol in enumerate(mols):
        expected = DataStructs.BulkTanimotoSimilarity(make.GetFingerprint(mol), among)
        assert found[row] == pytest.approx(max(expected), abs=1e-6)
        assert expected[place[row]] == max(expected)


@pytest.mark.parametrize("density", [0.001, 0.03, 0.5, 0.95])
def test_nearest_of_any_bits_is_the_first_of_the_largest_quotients(density):
    random = np.random.default_rng(0)
    bits = random.random((130, 2048)) < density * random.random((130, 1))
    bits[0], bits[1] = False, True
    bits[70:90] = bits[:20]  # ties
    query, among = bits[:100], bits[30:]
    found, place = nearest(np.packbits(query, axis=1), np.packbits(among, axis=1))
    for row, mine in enumerate(query):
        shared, either = (mine & among).sum(1), (mine | among).sum(1)
        quotients = [Fraction(int(a), int(b)) if b else Fraction(0) for a, b in zip(shared, either)]
        assert place[row] == quotients.index(max(quotients))
        assert found[row] == float(max(quotients))


def test_nearest_over_blocks_is_nearest_at_once(monkeypatch):
    bits = fingerprints([Chem.MolFromSmiles(smiles) for smiles in SMILES])
    once = nearest(bits, bits[::-1])
    monkeypatch.setattr("dgl_gmpool.data.similarity._BLOCK", 7)
    parts = nearest(bits, bits[::-1])
    np.testing.assert_array_equal(once[0], parts[0])
    np.testing.assert_array_equal(once[1], parts[1])
    with pytest.raises(ValueError, match="at least one"):
        nearest(bits, bits[:0])
    assert nearest(bits[:0], bits)[0].shape == (0,)


# --- intervals --------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [19, 400, 5 * MOST_SCORES])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_intervals_hold_what_they_promise(rows, coverage):
    """Exchangeable errors: the mean share inside is between c and c + 1 / (n + 1)."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(300 if rows < 1000 else 20):
        fitted = Intervals.fit(np.abs(rng.normal(size=rows)), np.ones(rows), vary=False)
        half = fitted.half_width(np.ones(1), coverage)[0]
        shares.append(np.mean(np.abs(rng.normal(size=2000)) <= half))
    slack = 4 * np.std(shares) / np.sqrt(len(shares))
    assert (
        coverage - slack <= np.mean(shares) <= coverage + 1 / (rows + 1) + 1 / MOST_SCORES + slack
    )


def test_too_few_rows_give_no_finite_interval():
    fitted = Intervals.fit(np.arange(8.0), np.ones(8), vary=False)
    assert fitted.largest_coverage == pytest.approx(8 / 9)
    assert np.isinf(fitted.half_width(np.ones(1), 0.9)).all()
    assert fitted.half_width(np.ones(1), 8 / 9)[0] == 7


def test_widths_vary_only_where_that_pays():
    rng = np.random.default_rng(1)
    near, parts = rng.uniform(0.2, 1, 3000), np.arange(3000) % 5
    errors = np.abs(rng.normal(size=3000))
    same, scores = choose_intervals(errors, near, parts)
    assert same.slope == 0
    assert scores["constant"] is not None
    # Three times the error for a strange molecule.
    wider, scores = choose_intervals(errors * (1 + 2.5 * (1 - near)), near, parts)
    assert scores["similarity"] < scores["constant"]
    assert wider.slope / wider.constant == pytest.approx(2.5, rel=0.25)
    for chosen in (near < 0.4, near > 0.8):
        inside = errors[chosen] * (1 + 2.5 * (1 - near[chosen])) <= wider.half_width(
            near[chosen], 0.9
        )
        assert inside.mean() == pytest.approx(0.9, abs=0.03)


def test_no_interval_is_narrower_than_what_validation_rows_were_close_to():
    generator = np.random.default_rng(0)
    similarity = generator.uniform(0.2, 0.6, 400)
    errors = (0.7 - similarity) * np.abs(generator.normal(size=400))
    fitted = Intervals.fit(errors, similarity, vary=True)
    assert fitted.slope > 0
    again = Intervals.from_dict(json.loads(json.dumps(fitted.to_dict())))
    for intervals in (fitted, again):
        far, near, same = intervals.half_width(np.array([0.2, similarity.max(), 1.0]), 0.9)
        assert far > near == same
    older = {name: value for name, value in fitted.to_dict().items() if name != "closest"}
    assert Intervals.from_dict(older).half_width(np.array([1.0]), 0.9) < same


def test_the_interval_score_is_smallest_at_the_right_width():
    errors = np.abs(np.random.default_rng(2).normal(size=20_000))
    scores = {w: interval_score(errors, np.full(20_000, w), 0.9) for w in (1.0, 1.645, 2.3)}
    assert min(scores, key=scores.get) == 1.645


def test_perfect_predictions_have_intervals_of_no_width():
    fitted, _ = choose_intervals(np.zeros(40), np.linspace(0, 1, 40), np.arange(40) % 2)
    assert fitted.half_width(np.array([0.1, 1.0]), 0.9).tolist() == [0, 0]


# --- probabilities ----------------------------------------------------------------------------


def overconfident(rows, *, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    logit = rng.normal(scale=1.5, size=rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(float)
    return 1 / (1 + np.exp(-(3 * logit + shift))), labels


def test_models_that_lie_apart_are_each_set_right():
    pairs = [overconfident(400, shift=s, seed=n) for n, s in enumerate((2.0, -2.0))]
    curves, scores = choose_calibrators(Calibrator, *zip(*pairs))
    assert {curve.method for curve in curves} == {"platt"}
    assert scores["platt"] < scores["none"]
    fresh = [overconfident(4000, shift=s, seed=9) for s in (2.0, -2.0)]
    both, labels = np.stack([p for p, _ in fresh]), fresh[0][1]
    assert calibration_error(both.mean(axis=0), labels) > 0.05
    assert calibration_error(calibrated_mean(curves, both), labels) < 0.03


def test_probabilities_that_are_right_are_left_alone_or_nearly():
    rng = np.random.default_rng(3)
    predicted = rng.random(2000)
    labels = (rng.random(2000) < predicted).astype(float)
    (curve,), _ = choose_calibrators(Calibrator, [predicted], [labels])
    grid = np.linspace(0.05, 0.95, 10)
    assert np.abs(curve(grid) - grid).max() < 0.08


def test_a_curve_never_turns_an_order_round_and_keeps_nan():
    predicted, labels = overconfident(200)
    for method in ("platt", "isotonic"):
        for truth in (labels, 1 - labels):
            curve = Calibrator.fit(method, predicted, truth)
            found = curve(np.array([0.0, 1e-300, 0.2, 0.5, 1.0, np.nan]))
            assert (np.diff(found[:5]) >= 0).all()
            assert ((found[:5] >= 0) & (found[:5] <= 1)).all()
            assert np.isnan(found[5])


@pytest.mark.parametrize("positive", [0, 9, 31])
def test_too_few_of_a_class_and_nothing_is_fitted(positive):
    labels = (np.arange(40) < positive).astype(float)
    curves, scores = choose_calibrators(Calibrator, [np.linspace(0, 1, 40)], [labels])
    assert curves == [Calibrator()]
    assert scores == {"none": None, "platt": None, "isotonic": None}


# --- in a run ---------------------------------------------------------------------------------


def test_a_run_keeps_what_it_knows_of_its_errors(run):
    result, dataset, splits = run
    saved = json.loads((result.folder / "uncertainty.json").read_text())
    assert result.uncertainty == saved
    assert saved["validation_rows"] == len(dataset) - len(splits.test)
    assert [each["name"] for each in saved["tasks"]] == ["task0", "task1"]
    assert len(uncertainty_lines(saved)) == 2
    read = RunUncertainty.load(result.folder)
    assert read.task_names == ("task0", "task1")
    assert RunUncertainty.load(result.folder / "fold_0" / "model.pt").domain == read.domain
    targets = dataset.table.targets
    for column, each in enumerate(saved["tasks"]):
        test_rows = int(np.isfinite(targets[splits.test, column]).sum())
        assert each["test"]["rows"] == test_rows
        if dataset.table.kind == "classification":
            assert each["method"] == "none"  # fewer than 10 of a class in a fold
            assert len(each["curves"]) == 2
        else:
            errors = []
            for fold in range(2):
                with np.load(result.folder / f"fold_{fold}" / "outputs.npz") as outputs:
                    rows = outputs["valid_rows"]
                    errors += list(np.abs(targets[rows] - outputs["valid_outputs"])[:, column])
            errors = sorted(error for error in errors if error == error)
            half = read.tasks[column].half_width(np.ones(1), 0.9)[0]
            assert read.tasks[column].rows == len(errors)
            if each["widths"] == "constant":
                assert half == pytest.approx(errors[int(np.ceil(0.9 * (len(errors) + 1))) - 1])


def test_known_molecules_are_those_outside_the_test_set(run):
    result, dataset, splits = run
    table = dataset.table
    with open(result.folder / "training_molecules.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["smiles", "rows", "task0", "task1"]
    others = [i for i in range(len(table)) if i not in splits.test]
    assert [row[0] for row in rows] == [table.canonical[i] for i in others]
    read = KnownMolecules.read(result.folder / "training_molecules.csv")
    np.testing.assert_array_equal(read.targets, table.targets[others])
    found = read.nearest(fingerprints([Chem.MolFromSmiles("CCO")]))
    if "CCO" in read.smiles:
        assert found.smiles == ("CCO",)
        assert found.similarity[0] == 1


def test_a_known_molecule_is_its_own_nearest_among_those_that_look_like_it():
    smiles = ("CCCCCCCCO", "CCCCCCCCCO", "CCCCCCCCCCO")
    known = KnownMolecules(smiles, (1, 1, 1), np.array([[1.0], [2.0], [3.0]]), ("y",))
    bits = fingerprints([Chem.MolFromSmiles(each) for each in smiles])
    assert (bits[0] == bits[1]).all()
    assert known.nearest(bits).smiles == smiles[:1] * 3
    assert known.nearest(bits, smiles).smiles == smiles
    assert known.nearest(bits, ["C", *smiles[1:]]).targets[:, 0].tolist() == [1, 2, 3]


def test_repeated_molecules_are_one_with_the_mean_of_their_values():
    table = small_dataset(tasks=1, rows=4).table
    values = np.array([[1.0], [3.0], [np.nan], [8.0]])
    table = replace(table, canonical=("C", "C", "C", "O"), targets=values)
    known = KnownMolecules.of(table, [0, 1, 2, 3])
    assert (known.smiles, known.rows) == (("C", "O"), (3, 1))
    assert known.targets.tolist() == [[2.0], [8.0]]


def test_the_domain_names_what_is_too_far_or_too_large():
    notes = Domain(0.3, 40).notes(np.array([0.9, 0.2, 0.9, 0.1]), np.array([10, 10, 41, 3000]))
    assert [bool(note) for note in notes] == [False, True, True, True]
    assert "less similar" in notes[1]
    assert "larger" in notes[2]
    assert "larger" in notes[3]
    assert "less similar" in notes[3]


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_final_models_know_all_molecules_and_have_no_curves(kind, tmp_path):
    dataset = small_dataset(kind)
    splits = make_splits(dataset.table, folds=2, test_fraction=0.25)
    config = TrainingConfig(**small_options(readout="mean", final=True))
    folder = train_run(dataset, splits, config, tmp_path / "run", progress=False).folder
    saved = json.loads((folder / "uncertainty.json").read_text())
    saved["tasks"][0] |= {"brier": {"none": 0.2}} if kind == "classification" else {}
    (folder / "uncertainty.json").write_text(json.dumps(saved))
    all_of_it, one = (RunUncertainty.load(folder / part) for part in ("", "final_1/model.pt"))
    assert set(all_of_it.known.smiles) == set(dataset.table.canonical)
    fold = RunUncertainty.load(folder / "fold_1" / "model.pt")
    for found in (all_of_it, one):
        if kind == "regression":
            assert found.tasks[0].rows == fold.tasks[0].rows
        else:
            assert found.tasks == (None,)
            assert len(fold.tasks[0]) == 1
    assert load_predictor(folder).predict(["CCO"]).similarity[0] == 1
    assert load_predictor(folder / "final_1" / "model.pt").num_models == 1


@pytest.mark.parametrize("final", [False, True])
def test_rows_of_weight_0_are_no_training_molecules(final, tmp_path):
    """Their similarity to training was 1, and their values those of the nearest molecule."""
    dataset = small_dataset()
    table = replace(dataset.table, weights=np.arange(36) % 2.0)
    splits = make_splits(table, folds=2, test_fraction=0.2)
    config = TrainingConfig(**small_options(readout="mean", final=final))
    run = train_run(replace(dataset, table=table), splits, config, tmp_path / "run", progress=False)
    known = RunUncertainty.load(run.folder).known.smiles
    rows = [row for row in range(1, 36, 2) if final or row not in splits.test]
    assert set(known) == {table.canonical[row] for row in rows}
    found = load_predictor(run.folder).predict(table.smiles)
    assert all(found.nearest[row] in known for row in range(36))
    of_page = known_molecules(RunData.load(run.folder)).smiles
    assert set(of_page) == {table.canonical[row] for row in rows if row not in splits.test}


def test_a_target_with_few_values_takes_no_intervals_from_the_others(tmp_path, capsys):
    """20 validation rows give intervals that hold 90 %, eight do not."""
    dataset = small_dataset(rows=24, tasks=2)
    targets = np.repeat(small_dataset(rows=24).table.targets, 2, axis=1)
    splits = make_splits(dataset.table, folds=2, test_fraction=0.15)
    held = [row for _, valid in splits.folds for row in sorted(valid)[4:]]
    targets[held, 1] = np.nan
    table = replace(dataset.table, targets=targets, task_names=("dense", "sparse"))
    dataset = replace(dataset, table=table)
    splits = replace(splits, fingerprint=table.fingerprint())
    config = TrainingConfig(**small_options(readout="mean"))
    folder = train_run(dataset, splits, config, tmp_path / "run", progress=False).folder
    model = load_predictor(folder)
    found = model.predict(["CCO"])
    half = model.uncertainty.tasks[0].half_width(found.similarity, 0.9)
    assert found.upper[:, 0] - found.mean[:, 0] == pytest.approx(half)
    assert np.isnan(found.lower[:, 1]).all()
    both = model.predict(["CCO"], coverage=0.88)
    assert np.isfinite(both.lower).all()
    with pytest.raises(ValueError, match=r"too few validation rows to tell more than 0\.95"):
        model.predict(["CCO"], coverage=0.99)

    (tmp_path / "in.csv").write_text("smiles\nCCO\n")
    command = ["predict", "--model", str(folder), "--csv", str(tmp_path / "in.csv")]
    assert main([*command, "--output", str(tmp_path / "out.csv")]) == 0
    header = (tmp_path / "out.csv").read_text().splitlines()[0].split(",")
    assert "dense lower" in header
    assert "sparse lower" not in header
    said = capsys.readouterr().out
    assert "intervals: made to hold 90 %" in said
    assert "no intervals of sparse, because its validation rows are too few for 0.9" in said
    assert "--coverage 0.88 gives some" in said


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_without_the_known_molecules_there_is_what_needs_none(run, tmp_path, slope):
    shutil.copytree(run[0].folder, tmp_path / "run")
    file = tmp_path / "run" / "uncertainty.json"
    saved = json.loads(file.read_text())
    numbers = run[1].table.kind == "regression"
    for task in saved["tasks"] if numbers else ():
        task["slope"] = slope
    file.write_text(json.dumps(saved))
    asked = ["CCO", "c1ccncc1", "C" * 30]
    whole = load_predictor(tmp_path / "run").predict(asked)
    (tmp_path / "run" / "training_molecules.csv").unlink()
    found = load_predictor(tmp_path / "run").predict(asked)
    np.testing.assert_array_equal(found.mean, whole.mean)
    np.testing.assert_array_equal(found.calibrated, whole.calibrated)
    if slope:
        assert np.isnan(found.lower).all()
    else:
        np.testing.assert_array_equal(found.lower, whole.lower)
        assert np.isfinite(found.lower).any() == numbers
    assert np.isnan(found.similarity).all()
    assert found.nearest == ("",) * 3
    assert found.notes[2].startswith("outside the domain: larger than")


def test_damaged_files_say_what_to_do(run, tmp_path):
    folder = run[0].folder
    copy = tmp_path / "run"
    copy.mkdir()
    assert RunUncertainty.load(copy) is None
    for name in ("uncertainty.json", "training_molecules.csv"):
        (copy / name).write_bytes((folder / name).read_bytes())
    assert RunUncertainty.load(copy) is not None
    (copy / "training_molecules.csv").write_text("something\nelse\n")
    with pytest.raises(ValueError, match=r"training_molecules.csv is not readable.*Delete it"):
        RunUncertainty.load(copy)
    (copy / "uncertainty.json").write_text('{"tasks": [{}]}')
    with pytest.raises(ValueError, match=r"uncertainty.json is not readable.*Delete it"):
        RunUncertainty.load(copy)
    # Fewer curves than folds.
    task = {"name": "y", "method": "platt", "curves": [], "brier": {"none": 0.2}}
    (copy / "uncertainty.json").write_text(json.dumps({"tasks": [task], "domain": None}))
    with pytest.raises(ValueError, match=r"uncertainty.json is not readable.*Delete it"):
        RunUncertainty.load(copy / "fold_0" / "model.pt")
