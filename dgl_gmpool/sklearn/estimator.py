"""What both estimators share: parameters, training, the model as bytes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from inspect import signature
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from dgl_gmpool._options import check_choice
from dgl_gmpool.data import MoleculeTable, SelectionReport, featurize, with_descriptors
from dgl_gmpool.data.featurize import with_fragments
from dgl_gmpool.data.featurizers import CODES, STEREO
from dgl_gmpool.data.molecule import split_smiles
from dgl_gmpool.data.standardize import split_recipe, standardized_table
from dgl_gmpool.sklearn.columns import first_wrong, read_molecules, smiles_of, weights_of
from dgl_gmpool.training import TrainedModel, TrainingConfig, load_model, save_model
from dgl_gmpool.training.device import choose_device
from dgl_gmpool.training.fold import fit_fold
from dgl_gmpool.training.predict import predict_smiles
from dgl_gmpool.training.transfer import check_start, features_of, network_of

#: Parameters that a configuration has too.
OF_CONFIG = (
    *("readout", "levels", "backbone", "hidden_feats", "num_steps", "dropout", "descriptors"),
    *("start_from", "freeze", "epochs", "batch_size", "lr", "weight_decay"),
)
#: What to do about a row that is no molecule.
INVALID = ("error", "skip")


@dataclass(kw_only=True, eq=False, repr=False)
class GMPoolEstimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators share; the fields are scikit-learn's parameters."""

    readout: str = "gmpool"
    readout_options: Mapping[str, Any] | None = None
    levels: int = 1
    backbone: str = "dmpnn"
    hidden_feats: int = 64
    num_steps: int = 3
    dropout: float = 0.0
    descriptors: Sequence[str] = ()
    start_from: str | None = None
    freeze: str | None = None
    epochs: int = 20
    batch_size: int = 40
    lr: float = 2e-3
    weight_decay: float = 0.0
    validation_fraction: float = 0.1
    invalid: Literal["error", "skip"] = "error"
    random_state: int | np.random.RandomState | None = 0
    device: str = "auto"

    def _rows(self, smiles: list[str]) -> tuple[list[int], list[str]]:
        """The rows to learn from, and the canonical SMILES of all."""
        check_choice("way to treat invalid molecules", self.invalid, INVALID)
        canonical, wrong = read_molecules(smiles)
        if wrong and self.invalid == "error":
            raise ValueError(
                f"{first_wrong(wrong)}; correct or leave out such rows, or fit with invalid='skip' "
                "(not for cross_val_score and other scorers: they need molecules in all rows)"
            )
        rows = [row for row in range(len(smiles)) if row not in wrong]
        if not rows:
            raise ValueError(f"none of {len(smiles)} rows is a molecule: {first_wrong(wrong)}")
        if wrong:
            said = f"{len(wrong)} of {len(smiles)} rows are left out: {first_wrong(wrong)}"
            warnings.warn(said, UserWarning, stacklevel=3)
        return rows, canonical

    def _fit(
        self,
        smiles: list[str],
        rows: list[int],
        canonical: list[str],
        targets: np.ndarray,
        sample_weight: ArrayLike | None,
        *,
        kind: str,
        classes: tuple[str, ...] = (),
    ) -> None:
        """Train on ``targets`` ``(all rows, tasks)``; validation rows hold all classes, if any."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        # What the estimator has no parameter for is as in the run to start from.
        network = {} if self.start_from is None else network_of(self.start_from)
        config = TrainingConfig(
            **{
                **network,
                **{name: getattr(self, name) for name in OF_CONFIG},
                "readout_options": self.readout_options or {},
            },
            patience=self.epochs,
            # Of a few rows the ROC-AUC is soon 1, of three classes before anything is learnt.
            metric="log_loss" if kind == "multiclass" else None,
            seed=seed,
        )
        weights = None if sample_weight is None else weights_of(sample_weight, len(smiles))[rows]
        learnt = targets[rows] if weights is None else targets[rows][weights > 0]
        if not len(learnt):
            raise ValueError(
                "every sample weight is zero, of the rows that are molecules: give those to learn "
                "from one above 0"
            )
        blank = np.flatnonzero(np.isnan(learnt).all(axis=0))
        if len(blank):
            raise ValueError(
                f"column {blank[0]} of y is NaN in all {len(learnt)} rows to learn from (molecules "
                "with a weight above 0): leave that column out of y, or give more rows"
            )
        groups = tuple(canonical[row] for row in rows)
        table = MoleculeTable(
            name="smiles",
            kind=kind,
            task_names=tuple(f"y{task}" for task in range(targets.shape[1])),
            ids=tuple(str(row) for row in rows),
            smiles=tuple(split_smiles(smiles[row])[0] for row in rows),
            canonical=groups,
            groups=groups,
            targets=targets[rows],
            global_feats=None,
            report=SelectionReport("SMILES to fit", (("molecules", len(rows)),)),
            classes=(classes,) if classes else (),
            weights=weights,
        )
        recipe = CODES if config.backbone == "gin" else STEREO
        if config.start_from is not None:
            recipe = features_of(config.start_from)
        featurizer, steps = split_recipe(recipe)
        table = standardized_table(table, steps)
        dataset = featurize(table, featurizer=featurizer, progress=False)
        dataset = replace(dataset, featurizer=recipe)
        check_start(dataset, config)
        if config.readout_options.get("fragment_weight"):
            dataset = with_fragments(dataset)
        dataset = with_descriptors(dataset, config.descriptors, progress=False)
        train, valid = self._split(dataset.table, seed)
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

    def _split(self, table: MoleculeTable, seed: int) -> tuple[list[int], list[int]]:
        """Training and validation rows; both are all rows where there are too few to part."""
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction={self.validation_fraction!r}: expected a number between 0 "
                "and 1"
            )
        # The smaller part decides: neither may be rounded to nothing.
        least = min(self.validation_fraction, 1 - self.validation_fraction)
        share = Fraction(least).limit_denominator(max(10, round(1 / least)))
        parts, held = share.denominator, share.numerator
        if self.validation_fraction > 0.5:
            held = parts - held
        everything = list(range(len(table)))
        molecules = len(set(table.groups))
        numbers = table.kind == "regression"
        strata = np.zeros(len(table)) if numbers else table.targets[:, 0]
        classes, counts = np.unique(strata, return_counts=True)
        if molecules < 2 * parts or (not numbers and counts.min() < parts):
            return everything, everything
        # Numbers are one class: GroupKFold itself does not shuffle before scikit-learn 1.6.
        splitter = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
        chosen = islice(splitter.split(everything, strata, table.groups), held)
        valid = sorted(row for _, part in chosen for row in part.tolist())
        train = sorted(set(everything) - set(valid))
        known = ~np.isnan(table.targets)
        learnt = known if table.weights is None else known & (table.weights > 0)[:, None]
        if set(strata[valid]) != set(classes) or not known[valid].any():
            return everything, everything
        return (train, valid) if learnt[train].any(axis=0).all() else (everything, everything)

    def _outputs(self, X: ArrayLike) -> np.ndarray:
        """``(rows, tasks)``; NaN in rows that are no molecules, where that is allowed."""
        check_is_fitted(self)
        found = predict_smiles([self.trained_model_], self._smiles(X), device=self.device)
        wrong = {row: why for row, why in enumerate(found.reasons) if why}
        if wrong and self.invalid == "error":
            raise ValueError(
                f"{first_wrong(wrong)}; correct such rows, or invalid='skip' gives NaN (which no "
                "scorer takes)"
            )
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
        return self._trained

    def _smiles(self, X: ArrayLike, *, reset: bool = False) -> list[str]:
        """The texts of a list, array, series, or table of one column."""
        return smiles_of(X)

    def __getstate__(self) -> dict[str, Any]:
        # The network itself is made again from model_bytes_, by torch's loader of weights.
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_trained"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A pickle of an earlier version lacks the parameters that came later.
        later = {key: each.default for key, each in signature(type(self)).parameters.items()}
        super().__setstate__({**later, **state})

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_bytes_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.target_tags.required = True
        return tags
