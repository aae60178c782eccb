"""New molecules in, the same rows with predictions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dgl_gmpool._options import positive_int
from dgl_gmpool.data import MoleculeTable, SelectionReport, featurize
from dgl_gmpool.data.molecule import canonical_smiles, is_missing, split_smiles
from dgl_gmpool.training.device import choose_device
from dgl_gmpool.training.model_features import Beside, RowFeatures
from dgl_gmpool.training.model_file import TrainedModel


@dataclass(frozen=True)
class Predictions:
    """Predictions row by row.

    Attributes
    ----------
    task_names : tuple of str
        Columns.
    per_model : numpy.ndarray
        ``(models, rows, tasks)`` float64: probabilities, or values in the target's units. NaN in
        rows that could not be predicted.
    reasons : tuple of str
        Per row, why there is no prediction; empty where there is one.
    notes : tuple of str
        Per row, what to know about a prediction; empty where there is nothing.
    """

    task_names: tuple[str, ...]
    per_model: np.ndarray
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def mean(self) -> np.ndarray:
        """``(rows, tasks)``, averaged over the models."""
        mean: np.ndarray = self.per_model.mean(axis=0)
        return mean

    @property
    def std(self) -> np.ndarray:
        """``(rows, tasks)``, sample standard deviation over the models; NaN for one model."""
        if len(self.per_model) < 2:
            return np.full(self.per_model.shape[1:], np.nan)
        std: np.ndarray = self.per_model.std(axis=0, ddof=1)
        return std


def predict_smiles(
    models: Sequence[TrainedModel],
    smiles: Sequence[str],
    *,
    solvents: Sequence[str] | None = None,
    features: Mapping[str, Sequence[object]] | None = None,
    batch_size: int = 80,
    device: str = "auto",
    progress: bool = False,
) -> Predictions:
    """Predict molecules given as SMILES; a row that cannot be predicted keeps its place.

    Rows of one molecule, however it is written, get the same numbers: each is predicted once.

    Parameters
    ----------
    models : sequence of TrainedModel
        Of one run, from :func:`load_models`.
    smiles : sequence of str
        Molecules.
    solvents : sequence of str, optional
        SMILES of each row's solvent, for models trained with solvents.
    features : mapping of str to sequence, optional
        For models trained with feature columns: name -> a value for each row (see
        :class:`~dgl_gmpool.training.model_features.RowFeatures`).
    batch_size : int
        Molecules per forward pass.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    progress : bool
        Show a progress bar while featurising.

    Raises
    ------
    ValueError
        The models do not belong together, solvents or features are missing or superfluous, or
        ``batch_size`` is no integer >= 1.
    """
    first = _checked(models)
    positive_int("batch_size", batch_size)
    torch_device = choose_device(device)
    beside = RowFeatures(first, len(smiles), solvents=solvents, features=features)
    reasons, notes = [""] * len(smiles), [""] * len(smiles)
    # By molecule and what stands beside it: a batch's other molecules change the last digits of a
    # prediction on some processors, and rows of one molecule must not differ.
    rows_of: dict[tuple[str, Beside], list[int]] = {}
    for row, text in enumerate(smiles):
        if is_missing(text):
            reasons[row] = "blank SMILES"
            continue
        canonical, reasons[row] = canonical_smiles(text)
        if reasons[row]:
            continue
        known, reasons[row], notes[row] = beside.row(row)
        if reasons[row]:
            continue
        rows_of.setdefault((canonical, known), []).append(row)
        if split_smiles(text)[1]:
            _add_note(notes, row, "the extension behind the SMILES is ignored")
    values = np.full((len(models), len(smiles), len(first.task_names)), np.nan)
    if rows_of:
        distinct = list(rows_of)
        table = MoleculeTable(
            name="to_predict",
            kind="regression",
            task_names=first.task_names,
            ids=tuple(str(number) for number in range(len(distinct))),
            smiles=tuple(split_smiles(smiles[rows[0]])[0] for rows in rows_of.values()),
            canonical=tuple(canonical for canonical, _ in distinct),
            groups=tuple(canonical for canonical, _ in distinct),
            targets=np.full((len(distinct), len(first.task_names)), np.nan),
            global_feats=None,
            report=SelectionReport("SMILES to predict", (("molecules", len(distinct)),)),
        )
        dataset = featurize(table, featurizer=first.featurizer, progress=progress)
        for name, _, reason in dataset.table.report.refused:
            for row in rows_of[distinct[int(name)]]:
                reasons[row] = reason
        kept = [distinct[int(name)] for name in dataset.table.ids]
        feats, about = beside.matrix([molecule for molecule, _ in kept], [of for _, of in kept])
        for written, key, note in zip(dataset.table.smiles, kept, about):
            strange = dataset.unknown_atoms.get(written)
            for row in rows_of[key]:
                _add_note(notes, row, note, _unknown(strange) if strange else "")
        # From a distinct molecule to its rows, and back.
        rows = [row for key in kept for row in rows_of[key]]
        places = [place for place, key in enumerate(kept) for _ in rows_of[key]]
        for number, trained in enumerate(models):
            trained.model.to(torch_device)
            found = trained.predict(
                dataset.graphs, global_feats=feats, batch_size=batch_size, device=torch_device
            )
            values[number, rows] = found[places]
    return Predictions(first.task_names, values, tuple(reasons), tuple(notes))


def _add_note(notes: list[str], row: int, *more: str) -> None:
    notes[row] = "; ".join(filter(None, [notes[row], *more]))


def _unknown(symbols: Sequence[str]) -> str:
    return f"atoms of kinds that the features do not tell apart: {', '.join(symbols)}"


#: What models of one run have in common.
_SHARED = ("task_names", "featurizer", "features")


def _checked(models: Sequence[TrainedModel]) -> TrainedModel:
    if not models:
        raise ValueError("no model given; load some with load_models(RUN_FOLDER)")
    first = models[0]
    for other in models[1:]:
        if any(getattr(other, part) != getattr(first, part) for part in _SHARED):
            raise ValueError(
                f"the models predict different things: {first.task_names} and {other.task_names}; "
                "give the folds of one run"
            )
    return first
