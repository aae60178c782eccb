"""What a model must know of a row beside its molecule: solvent, features, descriptors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dgl_gmpool._options import closest
from dgl_gmpool.data.chromophores import SOLVENT_DESCRIPTORS, solvent_descriptors
from dgl_gmpool.data.descriptors import calculate
from dgl_gmpool.data.feature_columns import read_features
from dgl_gmpool.data.features import COLUMN, DESCRIPTOR_SETS, GIVEN, FeatureNames
from dgl_gmpool.data.molecule import canonical_smiles, is_missing
from dgl_gmpool.data.smiles_values import one_column
from dgl_gmpool.training.model_file import TrainedModel
from dgl_gmpool.training.standardizer import FeatureScaler


class Beside(NamedTuple):
    """What stands beside a molecule: its solvent's canonical SMILES, the values of its features."""

    solvent: str = ""
    values: tuple[float | None, ...] = ()  # None, unlike NaN, is equal to itself


class RowFeatures:
    """The features of rows to predict, checked against what a model was trained with.

    Parameters
    ----------
    models : sequence of TrainedModel
        Of one run.
    rows : int
        How many.
    solvents : sequence of str, optional
        SMILES of each row's solvent, for models trained with solvents.
    features : mapping of str to sequence, optional
        For models trained with feature columns: name -> a number or text for each row, None, NaN
        or a blank where it is not known. A data frame will do.

    Raises
    ------
    TypeError
        A feature's values are a single one, or a set or mapping.
    ValueError
        Something is missing, superfluous, or not of ``rows`` rows.
    """

    def __init__(
        self,
        models: Sequence[TrainedModel],
        rows: int,
        *,
        solvents: Sequence[str] | None = None,
        features: Mapping[str, Sequence[object]] | None = None,
    ) -> None:
        self._trained = trained = models[0]
        scalers = [model.global_scaler for model in models]
        self._scalers = [each for each in scalers if each is not None]
        self._solvents = solvents
        check_solvents(trained, given=solvents is not None)
        if solvents is not None and len(solvents) != rows:
            raise ValueError(f"{rows} SMILES and {len(solvents)} solvents; give one per row")
        self._names = feature_columns(trained)
        features = {} if features is None else features
        given = {str(name): features[name] for name in given_names(features)}
        check_feature_names(trained, list(given))
        self._columns = [one_column(f"feature {name!r}", given[name]) for name in self._names]
        for name, column in zip(self._names, self._columns):
            if len(column) != rows:
                raise ValueError(
                    f"{rows} SMILES and {len(column)} values of {name!r}; give one per row"
                )

    def row(self, row: int) -> tuple[Beside, str, str]:
        """``(what stands beside the molecule, why it cannot be used, what to know of it)``."""
        solvent = ""
        if self._solvents is not None:
            if is_missing(self._solvents[row]):
                return Beside(), "blank solvent", ""
            solvent, why = canonical_smiles(self._solvents[row])
            if why:
                return Beside(), f"solvent {self._solvents[row]!r}: {why}", ""
        values, why = read_features(self._names, [column[row] for column in self._columns])
        if why:
            return Beside(), why, ""
        known = tuple(None if value != value else value for value in values)
        return Beside(solvent, known), "", "; ".join(self._column_notes(values))

    def text(self, known: Beside) -> str:
        """What stands beside a molecule as ``solvent=CCO, pH=7.4``; "" where nothing does."""
        parts = [f"solvent={known.solvent}"] if known.solvent else []
        for name, value in zip(self._names, known.values):
            parts.append(f"{name}={'blank' if value is None else format(value, '.12g')}")
        return ", ".join(parts)

    def _column_notes(self, values: Sequence[float]) -> list[str]:
        found = []
        scaler = self._trained.global_scaler
        start = _start_of(self._trained, COLUMN)
        for number, (name, value) in enumerate(zip(self._names, values), start=start):
            # Of models that saw one value of the feature, or none (NaN), and not this one.
            seen = [
                each.mean[number]
                for each in self._scalers
                if math.isinf(each.std[number])
                and not math.isclose(value, each.mean[number], rel_tol=1e-5, abs_tol=1e-8)
            ]
            if value != value:
                # Where it was blank in training nothing stands in for it.
                if not all(np.isnan(each.mean[number]) for each in self._scalers):
                    found.append(
                        f"{name!r} is blank: the mean of the training rows stands in for it"
                    )
            elif seen:
                held = ("blank" if math.isnan(each) else f"{each:.6g}" for each in seen)
                was = " or ".join(dict.fromkeys(held))
                all_of_them = len(seen) == len(self._scalers)
                of = "" if all_of_them else f" of {len(seen)} of {len(self._scalers)} models"
                found.append(
                    f"{name!r} was {was} in all training rows{of}: {value:g} is taken for that too"
                )
            elif isinstance(scaler, FeatureScaler):
                mean, std = scaler.mean[number], scaler.std[number]
                if abs(value - mean) > scaler.limit * std:
                    taken = mean + np.sign(value - mean) * scaler.limit * std
                    found.append(
                        f"{name!r} is {value:g}, far from the training rows: taken as {taken:.4g}"
                    )
        return found

    def matrix(
        self, canonical: Sequence[str], beside: Sequence[Beside]
    ) -> tuple[np.ndarray | None, list[str]]:
        """``(molecules, g)`` float32, unscaled, NaN where not known (None: the model takes none).

        Parameters
        ----------
        canonical : sequence of str
            Canonical SMILES of molecules that RDKit reads.
        beside : sequence of Beside
            What :meth:`row` found for each.

        Returns
        -------
        numpy.ndarray or None
        list of str
            Per molecule, what to know of it, or ``""``.
        """
        notes = [""] * len(canonical)
        blocks = []
        for names in self._trained.features or _of_old_models(self._trained):
            if names.source in DESCRIPTOR_SETS:
                values = calculate(names, canonical)
                for place, missing in enumerate(np.isnan(values).sum(axis=1)):
                    if missing:
                        notes[place] = (
                            f"{missing} of the {len(names.names)} {names.source} descriptors are "
                            "not defined for such a molecule: the mean of the training rows stands "
                            "in for them"
                        )
            elif names.source == COLUMN:
                values = np.array([each.values for each in beside], np.float32)
                values = values.reshape(len(beside), len(names.names))
            else:
                known = {each.solvent: solvent_descriptors(each.solvent) for each in beside}
                values = np.array([known[each.solvent] for each in beside], np.float32)
            blocks.append(values)
        return (np.concatenate(blocks, axis=1) if blocks else None), notes


def feature_columns(trained: TrainedModel) -> tuple[str, ...]:
    """Columns of a table that the model reads beside the molecule, in its order."""
    return next((each.names for each in trained.features if each.source == COLUMN), ())


def check_solvents(trained: TrainedModel, *, given: bool) -> None:
    """Raise a ValueError where solvents are missing or superfluous, or the model's features cannot
    be found out again."""
    width = _given_width(trained)
    if width not in (0, len(SOLVENT_DESCRIPTORS)):
        raise ValueError(
            f"the model was trained with {width} global features, which are not solvent "
            "descriptors; use TrainedModel.predict with global_feats"
        )
    if bool(width) != given:
        raise ValueError(
            "the model was trained with solvents: give each row's solvent (solvents=[SMILES, ...], "
            "--solvent-column NAME; to explain, also solvent=SMILES, --solvent SMILES)"
            if width
            else "the model was trained without solvents: leave them out"
        )


def takes_solvents(trained: TrainedModel) -> bool:
    """Whether the model reads the descriptors of a solvent beside each molecule."""
    return _given_width(trained) == len(SOLVENT_DESCRIPTORS)


def _given_width(trained: TrainedModel) -> int:
    features = trained.features or _of_old_models(trained)
    return next((len(each.names) for each in features if each.source == GIVEN), 0)


def given_names(features: Any) -> list[Any]:
    """The names in what a caller gives as features: a mapping, or a data frame.

    Raises
    ------
    TypeError
        It is neither.
    """
    if not isinstance(features, Mapping) and not hasattr(features, "columns"):
        raise TypeError(
            f"features is {features!r}; give a dict with the name of each feature and what it is: "
            "{'pH': ...}"
        )
    # A data frame of polars iterates over its columns, not over their names.
    return list(getattr(features, "columns", features))


def check_feature_names(trained: TrainedModel, given: Sequence[str]) -> None:
    """Raise a ValueError where a feature column is missing or superfluous."""
    wanted = feature_columns(trained)
    for name in given:
        if name not in wanted:
            near = closest(name, wanted)
            raise ValueError(
                f"the model was trained without a feature {name!r}"
                + (f"; did you mean {near!r}?" if near else "")
                + (f" It takes: {', '.join(wanted)}" if wanted else "; leave it out")
            )
    missing = [name for name in wanted if name not in given]
    if missing:
        raise ValueError(
            f"the model was trained with {', '.join(wanted)} beside the molecule, and "
            f"{', '.join(missing)} is missing: give each row's value (features={{name: values}}, a "
            "column of that name, or --feature NAME=VALUE for all rows)"
        )


def _start_of(trained: TrainedModel, source: str) -> int:
    """The first column of a source among the model's features."""
    start = 0
    for each in trained.features:
        if each.source == source:
            break
        start += len(each.names)
    return start


def _of_old_models(trained: TrainedModel) -> tuple[FeatureNames, ...]:
    """Models of before 0.3.0 do not say what their features are: a solvent's, or a caller's own."""
    if trained.global_scaler is None:
        return ()
    width = len(trained.global_scaler.mean)
    return (FeatureNames(GIVEN, tuple(f"given {number}" for number in range(width))),)
