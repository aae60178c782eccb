"""The scikit-learn estimators, in scikit-learn's own tools."""

from __future__ import annotations

import pickle
import pickletools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data
from training_data import SMILES, small_dataset

from dgl_gmpool.data import featurize, make_splits
from dgl_gmpool.data.standardize import split_recipe
from dgl_gmpool.sklearn import GMPoolClassifier, GMPoolRegressor, smiles_of
from dgl_gmpool.sklearn.columns import labels_of, numbers_of
from dgl_gmpool.training import TrainingConfig, train_run
from dgl_gmpool.training.predict import predict_smiles

SMALL = {"epochs": 2, "hidden_feats": 8, "num_steps": 1, "batch_size": 16}
Y = np.array([len(smiles) for smiles in SMILES], float)
THIRDS = np.arange(len(SMILES)) % 3
LABELS = np.where(np.median(Y) < Y, "long", "short")


@pytest.fixture(scope="module")
def regressor():
    return GMPoolRegressor(**SMALL).fit(SMILES, Y)


@pytest.fixture(scope="module")
def classifier():
    return GMPoolClassifier(**SMALL).fit(SMILES, LABELS)


def test_it_learns():
    """Longer training than the other tests: the number of characters is no secret of a molecule."""
    model = GMPoolRegressor(epochs=40, hidden_feats=16, lr=5e-3).fit(SMILES, Y)
    assert model.score(SMILES, Y) > 0.7
    model = GMPoolClassifier(epochs=40, hidden_feats=16, lr=5e-3).fit(SMILES, LABELS)
    assert model.score(SMILES, LABELS) > 0.8


@pytest.mark.parametrize(
    "form",
    [list, tuple, np.array, pd.Series, lambda s: np.array(s, object)[:, None],
     lambda s: pd.DataFrame({"smiles": s}), lambda s: pd.Series(s, index=range(5, 5 + len(s)))],
)  # fmt: skip
def test_every_form_of_a_column_is_the_same(form, regressor):
    expected = regressor.predict(list(SMILES))
    assert np.array_equal(regressor.predict(form(list(SMILES))), expected)
    again = GMPoolRegressor(**SMALL).fit(form(list(SMILES)), pd.Series(Y))
    assert np.array_equal(again.predict(list(SMILES)), expected)


def test_what_is_no_column_of_smiles_is_refused():
    for wrong, message in (
        (np.zeros((4, 2)), "has the shape"),
        (np.array([["C", "N"]]), "has the shape"),
        ([1.0, 2.0], "row 0 of X is 1.0; expected a SMILES"),
        ([], "no row"),
    ):
        with pytest.raises(ValueError, match=message):
            smiles_of(wrong)
    with pytest.raises(TypeError, match="single text"):
        smiles_of("CCO")
    for unordered in ({"CCO", "C"}, {"smiles": ["CCO"]}):
        with pytest.raises(TypeError, match="whose order says nothing"):
            smiles_of(unordered)


def test_molecules_of_rdkit_are_smiles(regressor):
    """Alone and within a table, with a missing one; hydrogens that are written out are no atoms."""
    molecules = [Chem.MolFromSmiles(text) for text in SMILES]
    expected = regressor.predict(SMILES)
    hydrogens = [Chem.AddHs(each) for each in molecules]
    for given in (molecules, pd.DataFrame({"mol": molecules}), hydrogens):
        # Another order of the atoms, so other last digits.
        np.testing.assert_allclose(regressor.predict(given), expected, rtol=1e-5)
    assert smiles_of([molecules[0], None]) == [Chem.MolToSmiles(molecules[0]), ""]


def test_parameters_of_numpy_are_pythons(regressor):
    """As grids over arrays and samplers of scipy give them."""
    given = {name: np.array([value])[0] for name, value in SMALL.items()}
    assert {type(value).__module__ for value in given.values()} == {"numpy"}
    options = {"readout_options": {"num_clusters": np.int64(2)}, "dropout": np.float32(0)}
    model = GMPoolRegressor(**{**given, "readout": np.str_("gmpool"), **options}).fit(SMILES, Y)
    config = model.trained_model_.model.config
    assert type(config["hidden_feats"]) is int
    assert type(config["readout"]) is str
    assert config["readout_options"] == {"num_clusters": 2}
    assert type(config["readout_options"]["num_clusters"]) is int
    grid = GridSearchCV(GMPoolRegressor(**SMALL), {"hidden_feats": np.array([4, 8])}, cv=2)
    assert grid.fit(SMILES, Y).best_params_["hidden_feats"] in (4, 8)
    with pytest.raises(ValueError, match="hidden_feats=0: expected"):
        GMPoolRegressor(**{**SMALL, "hidden_feats": np.int64(0)}).fit(SMILES, Y)


def test_a_weight_that_is_no_number_is_named():
    with pytest.raises(ValueError, match="sample_weight: could not convert string to float: 'a'"):
        GMPoolRegressor(**SMALL).fit(SMILES, Y, ["a"] * len(SMILES))


def test_parameters_and_clones(regressor):
    parameters = regressor.get_params()
    assert parameters["hidden_feats"] == 8
    other = clone(regressor)
    assert not hasattr(other, "model_bytes_")
    assert other.get_params() == parameters
    assert other.set_params(epochs=5).epochs == 5
    again = clone(regressor).fit(SMILES, Y)
    assert np.array_equal(again.predict(SMILES), regressor.predict(SMILES))
    differs = clone(regressor).set_params(random_state=1).fit(SMILES, Y)
    assert not np.array_equal(differs.predict(SMILES), regressor.predict(SMILES))


def test_a_pickle_holds_bytes_and_plain_values(classifier):
    """Nothing in it names a class of torch, DGL or this package but the estimator's own."""
    classifier.predict(SMILES[:2])  # the network is there now
    text = pickle.dumps(classifier)
    words = (argument for code, argument, _ in pickletools.genops(text) if "UNICODE" in code.name)
    named = {word for word in words if word.startswith(("torch", "dgl"))}
    assert named == {"dgl_gmpool.sklearn.classifier"}
    other = pickle.loads(text)
    assert np.array_equal(other.predict_proba(SMILES), classifier.predict_proba(SMILES))


def test_cross_validation_grids_pipelines():
    scores = cross_val_score(GMPoolRegressor(**SMALL), SMILES, Y, cv=2, error_score="raise")
    assert np.isfinite(scores).all()
    grid = GridSearchCV(
        GMPoolClassifier(**SMALL), {"readout": ["mean", "gmpool"]}, cv=2, error_score="raise"
    ).fit(np.array(SMILES), LABELS)
    assert grid.best_params_["readout"] in ("mean", "gmpool")
    assert grid.predict_proba(SMILES[:3]).shape == (3, 2)
    stripped = FunctionTransformer(lambda texts: [text.strip() for text in texts])
    pipe = make_pipeline(stripped, GMPoolRegressor(**SMALL)).fit([f" {s} " for s in SMILES], Y)
    assert np.isfinite(pipe.predict(["  CCO"])).all()
    assert pipe.set_params(gmpoolregressor__epochs=1).fit(SMILES, Y) is pipe


def test_calibration():
    model = CalibratedClassifierCV(GMPoolClassifier(**SMALL), cv=2).fit(np.array(SMILES), LABELS)
    found = model.predict_proba(np.array(SMILES))
    assert found.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize(
    "labels",
    [
        np.array([5, 7, 9])[THIRDS],
        np.array([-1.0, 0.0, 2.0])[THIRDS],
        np.array(["blue", "green", "red"])[THIRDS],
        np.array(["blue", "green", "red"], object)[THIRDS].tolist(),
        pd.Series(pd.Categorical.from_codes(THIRDS, ["blue", "green", "red"])),
        pd.Series([3, 1, 2], dtype="Int64")[THIRDS],
        np.array([False, True])[THIRDS % 2],
        pd.Series([False, True], dtype="boolean")[THIRDS % 2],
    ],
    ids=lambda labels: f"{type(labels).__name__} {getattr(labels, 'dtype', '')}",
)
def test_labels_of_any_kind_come_back(labels):
    model = GMPoolClassifier(**SMALL, class_weight="balanced").fit(SMILES, labels)
    given = np.asarray(labels)
    assert model.classes_.tolist() == sorted(set(given.tolist()))
    found = model.predict_proba(SMILES)
    assert found.shape == (len(SMILES), len(model.classes_))
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-12)
    predicted = model.predict(SMILES)
    assert predicted.tolist() == model.classes_[found.argmax(axis=1)].tolist()
    assert 0 <= model.score(SMILES, labels) <= 1
    trained = model.trained_model_
    several = len(model.classes_) > 2
    assert trained.task_names == ("y0",)
    assert trained.kind == ("multiclass" if several else "classification")
    assert trained.task.width == (3 if several else 1)
    assert trained.classes == ((tuple(map(str, model.classes_)),) if several else ((),))
    assert model.n_iter_ == 2
    assert model.validation_score_ >= 0


def test_three_classes_are_learnt():
    size = np.digitize(Y, np.quantile(Y, [1 / 3, 2 / 3]))
    model = GMPoolClassifier(epochs=40, hidden_feats=16, lr=5e-3).fit(SMILES, size)
    assert model.score(SMILES, size) > 0.7


def test_three_classes_in_scikit_learns_tools():
    labels, smiles = np.array(["a", "b", "c"])[THIRDS], np.array(SMILES)
    model = GMPoolClassifier(**SMALL)
    scores = cross_val_score(
        model, smiles, labels, cv=2, scoring="neg_log_loss", error_score="raise"
    )
    assert np.isfinite(scores).all()
    grid = GridSearchCV(
        make_pipeline(FunctionTransformer(), model),
        {"gmpoolclassifier__class_weight": [None, "balanced", {"a": 2.0}]},
        cv=2,
        error_score="raise",
    ).fit(smiles, labels)
    assert grid.predict(smiles).shape == (len(SMILES),)
    calibrated = CalibratedClassifierCV(model, cv=2).fit(
        smiles, labels, sample_weight=np.linspace(0, 1, len(smiles))
    )
    assert calibrated.predict_proba(smiles).sum(axis=1) == pytest.approx(1)
    other = pickle.loads(pickle.dumps(model.fit(smiles, labels)))
    assert np.array_equal(other.predict_proba(smiles), model.predict_proba(smiles))
    assert clone(other).get_params() == model.get_params()
    assert not hasattr(model, "decision_function")


def test_a_class_of_one_molecule_is_a_class():
    labels = ["rare", *np.array(["a", "b"])[np.arange(len(SMILES) - 1) % 2]]
    model = GMPoolClassifier(**SMALL, class_weight="balanced").fit(SMILES, labels)
    assert model.classes_.tolist() == ["a", "b", "rare"]
    assert np.isfinite(model.predict_proba(SMILES)).all()


def test_weights():
    rng = np.random.default_rng(0)
    weights, labels = rng.random(len(SMILES)), np.array([0, 0, 1, 2])[np.arange(len(SMILES)) % 4]

    def chances(sample_weight=None, **options):
        model = GMPoolClassifier(**SMALL, **options).fit(SMILES, labels, sample_weight)
        return model.predict_proba(SMILES)

    assert not np.allclose(chances(weights), chances(), atol=1e-4)
    assert np.allclose(chances(2.0), chances(), atol=1e-6)
    balanced = compute_sample_weight("balanced", labels)
    assert np.array_equal(chances(class_weight="balanced"), chances(balanced))
    assert np.array_equal(chances(weights, class_weight="balanced"), chances(weights * balanced))
    # Rows of no weight teach nothing.
    wrong = np.where(np.arange(len(SMILES)) % 2 == 0, Y, 1e6)
    kept = (wrong == Y).astype(float)
    model = GMPoolRegressor(**SMALL).fit(SMILES, wrong, sample_weight=kept)
    assert np.abs(model.predict(SMILES)).max() < 1000
    for bad in (-kept, kept[1:], np.full(len(SMILES), np.nan), "balanced"):
        with pytest.raises(ValueError, match="weight"):
            GMPoolRegressor(**SMALL).fit(SMILES, Y, sample_weight=bad)
    with pytest.raises(ValueError, match="every sample weight is zero"):
        GMPoolRegressor(**SMALL).fit(SMILES, Y, sample_weight=0 * kept)


def test_a_pickle_of_0_3_0_with_three_classes_still_predicts():
    """There each class was told from the others by an output of its own."""
    model = GMPoolClassifier(**SMALL)
    model.classes_ = np.array(["a", "b", "c"])
    model._fit(
        list(SMILES), *model._rows(list(SMILES)), np.eye(3)[THIRDS], None, kind="classification"
    )
    state = model.__getstate__()
    del state["class_weight"]
    old = GMPoolClassifier.__new__(GMPoolClassifier)
    old.__setstate__(state)
    found = old.predict_proba(SMILES)
    assert found.sum(axis=1) == pytest.approx(1)
    each = predict_smiles([model.trained_model_], list(SMILES)).mean
    assert found == pytest.approx(each / each.sum(axis=1, keepdims=True))
    assert clone(old).class_weight is None


def test_several_targets_and_missing_cells():
    both = np.stack([Y, -Y], axis=1)
    both[3, 1] = np.nan
    model = GMPoolRegressor(**SMALL, descriptors=["rdkit"]).fit(SMILES, both)
    assert model.predict(["CCO", "C"]).shape == (2, 2)
    with pytest.raises(ValueError, match="NaN or infinity"):
        GMPoolRegressor(**SMALL).fit(SMILES, both[:, 1])


def test_what_no_row_to_learn_from_measures_is_named_before_training():
    """In the estimator's words: it has no folds."""
    both = np.stack([Y, np.full(len(Y), np.nan)], axis=1)
    model = GMPoolRegressor(**SMALL, invalid="skip")
    with pytest.raises(ValueError, match="column 1 of y is NaN in all 36 rows to learn from"):
        model.fit(SMILES, both)
    both[:3, 1] = 1.0
    with pytest.raises(ValueError, match="column 1 of y is NaN in all 33 rows to learn from"):
        model.fit(SMILES, both, sample_weight=np.isnan(both[:, 1]).astype(float))
    with (
        pytest.warns(UserWarning, match="1 of 37 rows are left out"),
        pytest.raises(ValueError, match="every sample weight is zero, of the rows that are"),
    ):
        model.fit([*SMILES, "C1CC"], [*Y, 1.0], sample_weight=[0.0] * len(SMILES) + [1.0])


@pytest.mark.parametrize("measured", range(0, len(SMILES), 6))
def test_a_target_of_one_row_is_trained_on(measured):
    """Not refused where that row happens to be one of those that choose the epoch."""
    both = np.stack([Y, np.where(np.arange(len(Y)) == measured, 1.0, np.nan)], axis=1)
    model = GMPoolRegressor(**{**SMALL, "epochs": 1}, validation_fraction=0.5).fit(SMILES, both)
    assert np.isfinite(model.predict(SMILES[:2])).all()


@pytest.mark.parametrize(
    ("asked", "rows"), [(0.1, 4), (1 / 7, 5), (0.25, 9), (0.4, 14), (0.5, 18), (0.7, 25), (0.9, 32)]
)
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_the_share_of_validation_rows_is_the_one_asked_for(asked, rows, kind):
    table = small_dataset(kind).table
    model = GMPoolRegressor(validation_fraction=asked)
    train, valid = model._split(table, 0)
    assert abs(len(valid) - rows) <= 2
    assert sorted(train + valid) == list(range(len(table)))


def test_rows_that_are_no_molecules(regressor, classifier):
    rows, y = [*SMILES, "C1CC", pd.NA], [*Y, 1.0, 2.0]
    with pytest.raises(
        ValueError, match=r"row 36 is no molecule \(and 1 more\): 'C1CC': not a .*not for cross_val"
    ):
        GMPoolRegressor(**SMALL).fit(rows, y)
    skip = GMPoolRegressor(**SMALL, invalid="skip")
    with pytest.warns(UserWarning, match="2 of 38 rows are left out: row 36 is no molecule"):
        skip.fit(rows, y)
    assert np.array_equal(skip.predict(SMILES), regressor.predict(SMILES))
    assert np.isnan(skip.predict(rows)).tolist() == [False] * 36 + [True] * 2
    with pytest.raises(ValueError, match=r"row 0 is no molecule: .*which no scorer takes"):
        regressor.predict(["C1CC"])
    for labels in (LABELS, THIRDS):
        lenient = clone(classifier).set_params(invalid="skip").fit(SMILES, labels)
        assert np.isnan(lenient.predict_proba(["C1CC", "CC"])).all(axis=1).tolist() == [True, False]
        with pytest.raises(ValueError, match="row 0 is no molecule and so has no class"):
            lenient.predict(["C1CC", "CC"])
    with pytest.raises(ValueError, match="none of 1 rows is a molecule"):
        GMPoolRegressor(**SMALL, invalid="skip").fit(["C1CC"], [1.0])


@pytest.mark.filterwarnings("ignore:1 of .* rows are left out")
@pytest.mark.parametrize("weight", [None, "balanced"])
def test_a_class_that_no_molecule_has_is_no_class(classifier, weight):
    """It had a probability, and its rows a share in the balance of the others."""
    expected = clone(classifier).set_params(class_weight=weight).fit(SMILES, LABELS)
    found = clone(expected).set_params(invalid="skip").fit([*SMILES, "C1CC"], [*LABELS, "other"])
    assert found.classes_.tolist() == expected.classes_.tolist()
    np.testing.assert_array_equal(found.predict_proba(SMILES), expected.predict_proba(SMILES))
    with pytest.raises(ValueError, match="y holds one class only, 'a'"):
        clone(found).fit([*SMILES, "C1CC"], ["a"] * len(SMILES) + ["b"])


def test_another_width_than_that_of_the_run_to_start_from_is_named(regressor, tmp_path):
    file = tmp_path / "model.pt"
    file.write_bytes(regressor.model_bytes_)
    other = clone(regressor).set_params(start_from=str(file), hidden_feats=24)
    with pytest.raises(ValueError, match=r"hidden_feats=24: expected .* give that"):
        other.fit(SMILES, Y)


def test_groups_are_drawn_to_fragments(regressor):
    """It was offered among the options, and failed for want of the fragments."""
    drawn = clone(regressor).set_params(readout_options={"fragment_weight": 50.0}).fit(SMILES, Y)
    assert not np.array_equal(drawn.predict(SMILES), regressor.predict(SMILES))


@pytest.mark.parametrize("recipe", ["canonical", "stereo+fragment+charge"])
def test_features_are_those_of_the_run_to_start_from(regressor, tmp_path, recipe):
    """It was refused, with advice for the command line."""
    splits = make_splits(small_dataset().table, seed=0, folds=2)
    dataset = featurize(small_dataset().table, featurizer=split_recipe(recipe)[0], progress=False)
    network = {**SMALL, "batch_size": 8}
    config = TrainingConfig(**network)
    train_run(replace(dataset, featurizer=recipe), splits, config, tmp_path / "run", progress=False)
    model = clone(regressor).set_params(start_from=str(tmp_path / "run"))
    found = model.fit(["C[N+](C)(C)CC(=O)[O-].[Na+]", *SMILES], [1.0, *Y])
    assert found.trained_model_.featurizer == recipe
    once, salted = found.predict(["CC(=O)O", "CC(=O)[O-].[Na+]"])
    assert (once == salted) == ("charge" in recipe)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"invalid": "drop"}, "unknown way to treat invalid molecules 'drop'"),
        ({"validation_fraction": 0}, "validation_fraction=0: expected"),
        ({"hidden_feats": 0}, "hidden_feats=0: expected"),
        ({"readout": "gmpol"}, "Did you mean 'gmpool'"),
        ({"descriptors": ["rdkti"]}, "Did you mean 'rdkit'"),
        ({"levels": 2, "backbone": "gcn"}, "levels=2, use backbone 'dmpnn', 'mpnn' or"),
    ],
)
def test_wrong_parameters_are_named_when_fitting(change, message):
    with pytest.raises(ValueError, match=message):
        GMPoolRegressor(**{**SMALL, **change}).fit(SMILES, Y)


def test_wrong_targets():
    with pytest.raises(ValueError, match="one class only, 'a'"):
        GMPoolClassifier(**SMALL).fit(SMILES, ["a"] * len(SMILES))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        GMPoolRegressor(**SMALL).fit(SMILES, Y[:-1])
    with pytest.raises(ValueError, match="y is missing in row 0"):
        GMPoolClassifier(**SMALL).fit(SMILES, [None, *LABELS[1:]])
    with pytest.raises(ValueError, match="y is missing in row 1"):
        GMPoolClassifier(**SMALL).fit(SMILES, pd.Series([LABELS[0], pd.NA, *LABELS[2:]]))
    with pytest.raises(ValueError, match="Unknown label type"):
        GMPoolClassifier(**SMALL).fit(SMILES, Y + 0.5)


class _Numbers:
    """Scikit-learn's checks give tables of random numbers: here each row is a molecule, an ether
    with chains as long as its first numbers say, so that the checks can run at all."""

    def _smiles(self, X, *, reset=False):
        X = validate_data(self, X, reset=reset)
        lengths = np.clip(np.round(2 * X[:, :3]) + 5, 1, 12).astype(int)
        return ["O".join("C" * length for length in row) for row in lengths]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.string = True, False
        tags.input_tags.one_d_array = False
        return tags


class Regressor(_Numbers, GMPoolRegressor):
    pass


class Classifier(_Numbers, GMPoolClassifier):
    pass


QUICK = {"epochs": 1, "hidden_feats": 4, "num_steps": 1, "readout": "mean"}
EXPECTED = {
    "check_regressors_train": "one epoch is too few to learn (test_it_learns has 40)",
    "check_classifiers_train": "one epoch is too few to learn (test_it_learns has 40)",
    "check_array_api_input": "graphs are no arrays",
    "check_sample_weight_equivalence_on_dense_data": "rows of no weight fill batches, too",
}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [Regressor(**QUICK), Classifier(**QUICK)], expected_failed_checks=lambda estimator: EXPECTED
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_a_text_for_descriptors_is_no_list_of_letters():
    with pytest.raises(ValueError, match="descriptors='rdkit': expected a list of names"):
        GMPoolRegressor(epochs=1, hidden_feats=8, descriptors="rdkit").fit(
            SMILES, range(len(SMILES))
        )


@pytest.mark.parametrize(
    "labels",
    [list("ab") * 5 + [float("nan")], np.array(list("ab") * 5 + [float("nan")]),
     pd.Series(list("ab") * 5 + [None]), pd.array(list("ab") * 5 + [pd.NA], dtype="string")],
    ids=["list", "array", "series", "string"],
)  # fmt: skip
def test_a_missing_label_is_no_class(labels):
    with pytest.raises(ValueError, match="y is missing in row 10"):
        labels_of(labels)


def test_missing_values_of_several_targets():
    frame = pd.DataFrame({"a": [1.0, None], "b": [None, 2.0]}, dtype="Float64")
    np.testing.assert_array_equal(numbers_of(frame), [[1, np.nan], [np.nan, 2]])
    with pytest.raises(ValueError, match="y contains NaN"):
        numbers_of(frame["a"])
