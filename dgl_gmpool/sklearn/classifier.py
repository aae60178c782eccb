"""Classes from SMILES, as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils import check_consistent_length
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from dgl_gmpool.sklearn.columns import labels_of, weights_of
from dgl_gmpool.sklearn.estimator import GMPoolEstimator


@dataclass(kw_only=True, eq=False, repr=False)
class GMPoolClassifier(ClassifierMixin, GMPoolEstimator):  # type: ignore[misc]
    """Classes from SMILES: two, or several, which one model tells apart (softmax).

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        Label -> factor on the loss of its rows (1 for those not named), or factors that let all
        classes count alike. Default None.
    **others
        As of :class:`GMPoolRegressor`.

    Attributes
    ----------
    classes_ : numpy.ndarray
        Labels, sorted; columns of :meth:`predict_proba`.
    model_bytes_, validation_score_, n_iter_
        As of :class:`GMPoolRegressor`; the score is the ROC-AUC, of several classes the log
        loss.

    Notes
    -----
    There is no ``decision_function``: scikit-learn takes ``predict_proba`` where a tool asks for
    either.

    Examples
    --------
    >>> smiles = ["C" * n for n in range(1, 9)] + ["C" * n + "O" for n in range(1, 9)]
    >>> labels = ["alkane"] * 8 + ["alcohol"] * 8
    >>> model = GMPoolClassifier(epochs=2, hidden_feats=8).fit(smiles, labels)
    >>> model.classes_.tolist(), model.predict_proba(["CCO"]).shape
    (['alcohol', 'alkane'], (1, 2))
    """

    class_weight: Mapping[Any, float] | str | None = None

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> GMPoolClassifier:
        """Train.

        Parameters
        ----------
        X : list, array, Series or table of one column
            SMILES.
        y : array
            ``(rows,)`` labels of at least two classes: texts, whole numbers or bools.
        sample_weight : array, optional
            As of :class:`GMPoolRegressor`; times ``class_weight``.

        Raises
        ------
        ValueError
            A row is no molecule, there is one class only, or a weight is no number of 0 or more.
        """
        smiles = self._smiles(X, reset=True)
        labels = labels_of(y)
        check_consistent_length(smiles, labels)
        check_classification_targets(labels)
        rows, canonical = self._rows(smiles)
        self.classes_, place = np.unique(labels[rows], return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class only, {str(self.classes_[0])!r}: there is nothing to tell "
                "apart; a classifier needs rows of two classes or more"
            )
        if self.class_weight is not None:
            by_class = np.ones(len(smiles))
            by_class[rows] = compute_sample_weight(self.class_weight, labels[rows])
            given = 1.0 if sample_weight is None else weights_of(sample_weight, len(smiles))
            sample_weight = given * by_class
        several = len(self.classes_) > 2
        targets = np.full((len(smiles), 1), np.nan)
        targets[rows, 0] = place
        self._fit(
            smiles,
            rows,
            canonical,
            targets,
            sample_weight,
            kind="multiclass" if several else "classification",
            classes=tuple(map(str, self.classes_)) if several else (),
        )
        return self

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """``(rows, classes)``, rows add up to 1."""
        found = self._outputs(X)
        if len(self.classes_) == 2:
            return np.hstack([1 - found, found])
        # Models of 0.3.0 tell each class from the others; all of them 0: nothing speaks for any.
        total = found.sum(axis=1, keepdims=True)
        return np.where(total == 0, 1 / len(self.classes_), found / np.where(total == 0, 1, total))

    def predict(self, X: ArrayLike) -> np.ndarray:
        """``(rows,)`` labels.

        Raises
        ------
        ValueError
            A row is no molecule: there is no label for that.
        """
        found = self.predict_proba(X)
        missing = np.flatnonzero(np.isnan(found).any(axis=1))
        if len(missing):
            raise ValueError(
                f"row {missing[0]} is no molecule and so has no class; use predict_proba, which "
                "gives NaN, or leave such rows out"
            )
        return self.classes_[found.argmax(axis=1)]
