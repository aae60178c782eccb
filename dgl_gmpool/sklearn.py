"""GMPool as scikit-learn estimators: ``fit(smiles, y)``, ``predict(smiles)``.

They work in ``cross_val_score``, ``GridSearchCV``, ``Pipeline`` and ``CalibratedClassifierCV``.
Their defaults are small, so that a thousand molecules take a minute; ``dgl-gmpool train`` has the
larger ones, folds, reports and everything else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted

from dgl_gmpool._options import check_choice
from dgl_gmpool.data import MoleculeTable, SelectionReport, featurize, with_descriptors
from dgl_gmpool.data.molecule import canonical_smiles, is_missing, split_smiles
from dgl_gmpool.training import TrainedModel, TrainingConfig, load_model, save_model
from dgl_gmpool.training.device import choose_device
from dgl_gmpool.training.fold import fit_fold
from dgl_gmpool.training.predict import predict_smiles

#: What to do about a row that is no molecule.
INVALID = ("error", "skip")


class _GMPoolEstimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators share."""

    _kind: str

    def __init__(
        self,
        *,
        readout: str = "gmpool",
        readout_options: Mapping[str, Any] | None = None,
        levels: int = 1,
        backbone: str = "dmpnn",
        hidden_feats: int = 64,
        num_steps: int = 3,
        dropout: float = 0.0,
        descriptors: Sequence[str] = (),
        epochs: int = 20,
        batch_size: int = 40,
        lr: float = 2e-3,
        weight_decay: float = 0.0,
        validation_fraction: float = 0.1,
        invalid: Literal["error", "skip"] = "error",
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
    ) -> None:
        self.readout = readout
        self.readout_options = readout_options
        self.levels = levels
        self.backbone = backbone
        self.hidden_feats = hidden_feats
        self.num_steps = num_steps
        self.dropout = dropout
        self.descriptors = descriptors
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.invalid = invalid
        self.random_state = random_state
        self.device = device

    def _fit(self, smiles: list[str], targets: np.ndarray, strata: np.ndarray) -> None:
        """Train on ``targets`` ``(rows, tasks)``; validation rows hold all ``strata``, if any."""
        check_choice("way to treat invalid molecules", self.invalid, INVALID)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        config = TrainingConfig(
            readout=self.readout,
            readout_options=self.readout_options or {},
            levels=self.levels,
            backbone=self.backbone,
            hidden_feats=self.hidden_feats,
            num_steps=self.num_steps,
            dropout=self.dropout,
            descriptors=self.descriptors,  # type: ignore[arg-type]  # any list of names will do
            epochs=self.epochs,
            patience=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            seed=seed,
        )
        canonical, wrong = _read(smiles)
        if wrong and self.invalid == "error":
            raise ValueError(f"{_first(wrong)}; correct or leave out such rows, or invalid='skip'")
        rows = [row for row in range(len(smiles)) if row not in wrong]
        if not rows:
            raise ValueError(f"none of {len(smiles)} rows is a molecule: {_first(wrong)}")
        if wrong:
            said = f"{len(wrong)} of {len(smiles)} rows are left out: {_first(wrong)}"
            warnings.warn(said, UserWarning, stacklevel=3)
        groups = tuple(canonical[row] for row in rows)
        table = MoleculeTable(
            name="smiles",
            kind=self._kind,
            task_names=tuple(f"y{task}" for task in range(targets.shape[1])),
            ids=tuple(str(row) for row in rows),
            smiles=tuple(split_smiles(smiles[row])[0] for row in rows),
            canonical=groups,
            groups=groups,
            targets=targets[rows],
            global_feats=None,
            report=SelectionReport("SMILES to fit", (("molecules", len(rows)),)),
        )
        dataset = featurize(table, progress=False)
        dataset = with_descriptors(dataset, config.descriptors, progress=False)
        train, valid = self._split(dataset.table, strata[rows], seed)
        device = choose_device(self.device)
        fitted = fit_fold(dataset, train, valid, config, device=device)
        self._trained = fitted.trained(dataset, config)
        with TemporaryDirectory() as folder:
            file = Path(folder) / "model.pt"
            save_model(file, self._trained)
            #: The model as ``dgl_gmpool.training.save_model`` writes it: tensors and plain values.
            self.model_bytes_ = file.read_bytes()
        self.validation_score_ = fitted.best_score
        self.n_iter_ = len(fitted.history)

    def _split(
        self, table: MoleculeTable, strata: np.ndarray, seed: int
    ) -> tuple[list[int], list[int]]:
        """Training and validation rows; both are all rows where there are too few to part."""
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r}: expected a number between 0 "
                "and 1"
            )
        parts = max(2, round(1 / self.validation_fraction))
        everything = list(range(len(table)))
        molecules = len(set(table.groups))
        classes, counts = np.unique(strata, return_counts=True)
        if molecules < 2 * parts or (self._kind == "classification" and counts.min() < parts):
            return everything, everything
        # Numbers are one class: GroupKFold itself does not shuffle before scikit-learn 1.6.
        splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
        train, valid = next(splitter.split(everything, strata, table.groups))
        if self._kind == "classification" and set(strata[valid]) != set(classes):
            return everything, everything
        return train.tolist(), valid.tolist()

    def _outputs(self, X: ArrayLike) -> np.ndarray:
        """``(rows, tasks)``; NaN in rows that are no molecules, where that is allowed."""
        check_is_fitted(self)
        found = predict_smiles([self.trained_model_], self._smiles(X), device=self.device)
        wrong = {row: why for row, why in enumerate(found.reasons) if why}
        if wrong and self.invalid == "error":
            raise ValueError(f"{_first(wrong)}; correct such rows, or invalid='skip' gives NaN")
        return found.mean

    @property
    def trained_model_(self) -> TrainedModel:
        """The model itself, for the rest of the package."""
        check_is_fitted(self)
        if "_trained" not in self.__dict__:
            with TemporaryDirectory() as folder:
                file = Path(folder) / "model.pt"
                file.write_bytes(self.model_bytes_)
                self._trained = load_model(file)
        trained: TrainedModel = self._trained
        return trained

    def _smiles(self, X: ArrayLike, *, reset: bool = False) -> list[str]:
        """The texts of a list, array, series, or table of one column."""
        return smiles_of(X)

    def __getstate__(self) -> dict[str, Any]:
        # The network itself is made again from model_bytes_, by torch's loader of weights.
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_trained"}

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_bytes_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.target_tags.required = True
        return tags


class GMPoolRegressor(RegressorMixin, _GMPoolEstimator):  # type: ignore[misc]
    """Numbers from SMILES.

    Parameters
    ----------
    readout, readout_options, levels, backbone, hidden_feats, num_steps, dropout, descriptors
        As in :class:`~dgl_gmpool.training.TrainingConfig`. ``hidden_feats`` is 64 (200 there).
    epochs, batch_size, lr, weight_decay
        As there, but 20, 40 and 2e-3.
    validation_fraction : float
        Share of the molecules on which the best epoch is chosen. With too few molecules to part,
        the last word is that of the training rows. Default 0.1.
    invalid : str
        A row that is no molecule: ``"error"`` (default) names it; ``"skip"`` leaves it out of
        ``fit``, with a warning, and predicts NaN for it.
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

    _kind = "regression"

    def fit(self, X: ArrayLike, y: ArrayLike) -> GMPoolRegressor:
        """Train.

        Parameters
        ----------
        X : list, array, Series or table of one column
            SMILES.
        y : array
            ``(rows,)`` or ``(rows, targets)`` numbers; in the latter NaN is not measured.

        Raises
        ------
        ValueError
            A row is no molecule, or a target no number.
        """
        smiles = self._smiles(X, reset=True)
        targets = _numbers(y)
        check_consistent_length(smiles, targets)
        self._one_column = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        self._fit(smiles, targets, np.zeros(len(targets)))
        return self

    def predict(self, X: ArrayLike) -> np.ndarray:
        """``(rows,)``, or ``(rows, targets)`` where ``y`` had columns."""
        found = self._outputs(X)
        return found[:, 0] if self._one_column else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


class GMPoolClassifier(ClassifierMixin, _GMPoolEstimator):  # type: ignore[misc]
    """Classes from SMILES: two, or several, each against the others.

    Parameters as of :class:`GMPoolRegressor`.

    Attributes
    ----------
    classes_ : numpy.ndarray
        Labels, sorted; columns of :meth:`predict_proba`.
    model_bytes_, validation_score_, n_iter_
        As of :class:`GMPoolRegressor`; the score is the ROC-AUC.

    Examples
    --------
    >>> smiles = ["C" * n for n in range(1, 9)] + ["C" * n + "O" for n in range(1, 9)]
    >>> labels = ["alkane"] * 8 + ["alcohol"] * 8
    >>> model = GMPoolClassifier(epochs=2, hidden_feats=8).fit(smiles, labels)
    >>> model.classes_.tolist(), model.predict_proba(["CCO"]).shape
    (['alcohol', 'alkane'], (1, 2))
    """

    _kind = "classification"

    def fit(self, X: ArrayLike, y: ArrayLike) -> GMPoolClassifier:
        """Train.

        Parameters
        ----------
        X : list, array, Series or table of one column
            SMILES.
        y : array
            ``(rows,)`` labels of at least two classes.

        Raises
        ------
        ValueError
            A row is no molecule, or there is one class only.
        """
        smiles = self._smiles(X, reset=True)
        labels = _column(y)
        check_consistent_length(smiles, labels)
        check_classification_targets(labels)
        self.classes_ = unique_labels(labels)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class only, {str(self.classes_[0])!r}: there is nothing to tell "
                "apart; a classifier needs rows of two classes or more"
            )
        place = np.searchsorted(self.classes_, labels)
        if len(self.classes_) == 2:
            targets = place[:, None].astype(float)
        else:
            targets = np.eye(len(self.classes_))[place]
        self._fit(smiles, targets, place)
        return self

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """``(rows, classes)``, rows add up to 1."""
        found = self._outputs(X)
        if len(self.classes_) == 2:
            return np.hstack([1 - found, found])
        # All of them 0: nothing speaks for any.
        total = found.sum(axis=1, keepdims=True)
        return np.where(total > 0, found / np.where(total > 0, total, 1), 1 / len(self.classes_))

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
        labels: np.ndarray = self.classes_[found.argmax(axis=1)]
        return labels


def smiles_of(X: Any) -> list[str]:
    """The texts of a list, array, series, or table of one column.

    Raises
    ------
    TypeError
        It is a single text.
    ValueError
        It holds something else than texts, has several columns, or no row.

    Examples
    --------
    >>> smiles_of(np.array([["CCO"], ["C"]]))
    ['CCO', 'C']
    """
    if isinstance(X, (str, bytes)):
        raise TypeError(f"X is the single text {X!r}; give a list of SMILES: [{X!r}]")
    values = np.asarray(list(X) if _is_plain(X) else X, dtype=object)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(
            f"X has the shape {values.shape}; give SMILES as a list, or as a table of one column"
        )
    if len(values) == 0:
        raise ValueError("X has no row; give at least one SMILES")
    for row, value in enumerate(values):
        if not isinstance(value, str) and not (value is None or value != value):
            raise ValueError(f"row {row} of X is {value!r}; expected a SMILES, such as 'CCO'")
    # A missing value of a data frame (NaN, None) is a blank row.
    return [value if isinstance(value, str) else "" for value in values]


def _is_plain(values: Any) -> bool:
    return isinstance(values, Iterable) and not hasattr(values, "__array__")


def _read(smiles: Sequence[str]) -> tuple[list[str], dict[int, str]]:
    """Canonical SMILES, and row -> what is wrong with it."""
    canonical, wrong = [], {}
    for row, text in enumerate(smiles):
        found, why = ("", "blank SMILES") if is_missing(text) else canonical_smiles(text)
        canonical.append(found)
        if why:
            wrong[row] = f"{text!r}: {why}"
    return canonical, wrong


def _first(wrong: Mapping[int, str]) -> str:
    row, why = next(iter(wrong.items()))
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"row {row} is no molecule{more}: {why}"


def _column(y: Any) -> np.ndarray:
    """Labels ``(rows,)``."""
    from sklearn.utils import column_or_1d

    labels: np.ndarray = column_or_1d(y, warn=True)
    missing = [row for row, value in enumerate(labels) if value is None or value != value]
    if missing:
        raise ValueError(f"y is missing in row {missing[0]}; leave out rows without a label")
    return labels


def _numbers(y: Any) -> np.ndarray:
    """Targets ``(rows,)`` or ``(rows, targets)`` float64."""
    if y is None:
        raise ValueError(
            "a regressor requires y to be passed, but the target y is None; give a number for each "
            "row"
        )
    values = np.asarray(y)
    if values.ndim not in (1, 2) or (values.dtype.kind not in "fiub" and values.dtype != object):
        raise ValueError(f"y is {values.dtype} of shape {values.shape}; expected numbers, a column")
    values = values.astype(np.float64)
    if np.isinf(values).any() or (values.ndim == 1 and np.isnan(values).any()):
        raise ValueError("y contains NaN or infinity; leave out rows without a measured value")
    return values
