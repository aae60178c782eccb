"""The scikit-learn estimators, in scikit-learn's own tools."""

from __future__ import annotations

import pickle
import pickletools

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data
from training_data import SMILES

from dgl_gmpool.sklearn import GMPoolClassifier, GMPoolRegressor, smiles_of

SMALL = {"epochs": 2, "hidden_feats": 8, "num_steps": 1, "batch_size": 16}
Y = np.array([len(smiles) for smiles in SMILES], float)
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
    assert named == {"dgl_gmpool.sklearn"}
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


def test_three_classes():
    labels = np.array([5, 7, 9])[np.arange(len(SMILES)) % 3]
    model = GMPoolClassifier(**SMALL).fit(SMILES, labels)
    found = model.predict_proba(SMILES)
    assert found.shape == (len(SMILES), 3)
    assert found.sum(axis=1) == pytest.approx(1)
    assert model.predict(SMILES).tolist() == model.classes_[found.argmax(axis=1)].tolist()
    assert model.classes_.tolist() == [5, 7, 9]


def test_several_targets_and_missing_cells():
    both = np.stack([Y, -Y], axis=1)
    both[3, 1] = np.nan
    model = GMPoolRegressor(**SMALL, descriptors=["rdkit"]).fit(SMILES, both)
    assert model.predict(["CCO", "C"]).shape == (2, 2)
    with pytest.raises(ValueError, match="NaN or infinity"):
        GMPoolRegressor(**SMALL).fit(SMILES, both[:, 1])


def test_rows_that_are_no_molecules(regressor, classifier):
    rows, y = [*SMILES, "C1CC", None], [*Y, 1.0, 2.0]
    with pytest.raises(ValueError, match=r"row 36 is no molecule \(and 1 more\): 'C1CC': not a"):
        GMPoolRegressor(**SMALL).fit(rows, y)
    skip = GMPoolRegressor(**SMALL, invalid="skip")
    with pytest.warns(UserWarning, match="2 of 38 rows are left out: row 36 is no molecule"):
        skip.fit(rows, y)
    assert np.array_equal(skip.predict(SMILES), regressor.predict(SMILES))
    assert np.isnan(skip.predict(rows)).tolist() == [False] * 36 + [True] * 2
    with pytest.raises(ValueError, match="row 0 is no molecule: not a SMILES"):
        regressor.predict(["C1CC"])
    lenient = clone(classifier).set_params(invalid="skip").fit(SMILES, LABELS)
    assert np.isnan(lenient.predict_proba(["C1CC", "CC"])).all(axis=1).tolist() == [True, False]
    with pytest.raises(ValueError, match="row 0 is no molecule and so has no class"):
        lenient.predict(["C1CC", "CC"])
    with pytest.raises(ValueError, match="none of 1 rows is a molecule"):
        GMPoolRegressor(**SMALL, invalid="skip").fit(["C1CC"], [1.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"invalid": "drop"}, "unknown way to treat invalid molecules 'drop'"),
        ({"validation_fraction": 0}, "validation_fraction=0: expected"),
        ({"hidden_feats": 0}, "hidden_feats=0: expected"),
        ({"readout": "gmpol"}, "Did you mean 'gmpool'"),
        ({"descriptors": ["rdkti"]}, "Did you mean 'rdkit'"),
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
