"""Numbers from SMILES, as a scikit-learn regressor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils import check_consistent_length

from dgl_gmpool.sklearn.columns import numbers_of
from dgl_gmpool.sklearn.estimator import GMPoolEstimator


@dataclass(kw_only=True, eq=False, repr=False)
class GMPoolRegressor(RegressorMixin, GMPoolEstimator):  # type: ignore[misc]
    """Numbers from SMILES.

    Parameters
    ----------
    readout, readout_options, levels, backbone, hidden_feats, num_steps, dropout, descriptors
        As in :class:`~dgl_gmpool.training.TrainingConfig`. ``hidden_feats`` is 64 (200 there).
    start_from, freeze : str, optional
        As there: weights to start from, whose ``backbone``, ``hidden_feats`` and so on must be
        given, too. Molecules are standardised and featurised as for those weights.
    epochs, batch_size, lr, weight_decay
        As there, but 20, 40 and 2e-3.
    validation_fraction : float
        Share of the molecules on which the best epoch is chosen, above 0 and below 1: as 1 / n, or
        the nearest fraction whose denominator is at most 10. With too few molecules to part, the
        last word is that of the training rows. Default 0.1.
    invalid : str
        A row that is no molecule: ``"error"`` (default) names it; ``"skip"`` leaves it out of
        ``fit``, with a warning, and predicts NaN for it. A scorer, as in ``cross_val_score``,
        takes no NaN: there, all rows must be molecules.
    random_state : int, RandomState or None
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Attributes
    ----------
    model_bytes_ : bytes
        The model, as in a ``model.pt``; a pickle holds nothing else of it.
    validation_score_ : float
        RMSE of the best epoch.
    n_iter_ : int
        Epochs.

    Examples
    --------
    >>> import numpy as np
    >>> smiles = ["C" * n for n in range(1, 13)]
    >>> model = GMPoolRegressor(epochs=2, hidden_feats=8).fit(smiles, np.arange(12.0))
    >>> model.predict(["CCO", "OCC"]).shape
    (2,)
    """

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> GMPoolRegressor:
        """Train.

        Parameters
        ----------
        X : list, array, Series or table of one column
            SMILES.
        y : array
            ``(rows,)`` or ``(rows, targets)`` numbers; in the latter NaN is not measured.
        sample_weight : array, optional
            ``(rows,)`` factors on the loss, 0 or more: how much each row counts in training.

        Raises
        ------
        ValueError
            A row is no molecule, a target no number, or a weight no number of 0 or more.
        """
        smiles = self._smiles(X, reset=True)
        targets = numbers_of(y)
        check_consistent_length(smiles, targets)
        self._one_column = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        self._fit(smiles, *self._rows(smiles), targets, sample_weight, kind="regression")
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """``(rows,)``, or ``(rows, targets)`` where ``y`` had columns."""
        found = self._outputs(X)
        return found[:, 0] if self._one_column else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
