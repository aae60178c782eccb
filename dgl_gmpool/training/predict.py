"""New molecules in, the same rows with predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dgl_gmpool.data import MoleculeTable, SelectionReport, featurize
from dgl_gmpool.data.chromophores import SOLVENT_DESCRIPTORS, solvent_descriptors
from dgl_gmpool.data.molecule import canonical_smiles, is_missing
from dgl_gmpool.training.device import choose_device
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
    """

    task_names: tuple[str, ...]
    per_model: np.ndarray
    reasons: tuple[str, ...]

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
    batch_size: int = 80,
    device: str = "auto",
    progress: bool = False,
) -> Predictions:
    """Predict molecules given as SMILES; a row that cannot be predicted keeps its place.

    Parameters
    ----------
    models : sequence of TrainedModel
        Of one run, from :func:`load_models`.
    smiles : sequence of str
        Molecules.
    solvents : sequence of str, optional
        SMILES of each row's solvent, for models trained with solvents.
    batch_size : int
        Molecules per forward pass.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    progress : bool
        Show a progress bar while featurising.

    Raises
    ------
    ValueError
        The models do not belong together, or solvents are missing or superfluous.
    """
    first = _checked(models)
    needs_solvent = first.global_scaler is not None
    if needs_solvent != (solvents is not None):
        raise ValueError(
            "the model was trained with solvents: give each row's solvent"
            if needs_solvent
            else "the model was trained without solvents: leave them out"
        )
    if solvents is not None and len(solvents) != len(smiles):
        raise ValueError(f"{len(smiles)} SMILES and {len(solvents)} solvents; give one per row")
    reasons, canonicals = [""] * len(smiles), [""] * len(smiles)
    extra: dict[int, list[float]] = {}
    for row, text in enumerate(smiles):
        if is_missing(text):
            reasons[row] = "blank SMILES"
            continue
        canonicals[row], reasons[row] = canonical_smiles(text)
        if solvents is not None and not reasons[row]:
            _, why = canonical_smiles(solvents[row])
            if why or is_missing(solvents[row]):
                reasons[row] = f"solvent {solvents[row]!r}: {why or 'blank'}"
            else:
                extra[row] = solvent_descriptors(solvents[row])
    good = [row for row in range(len(smiles)) if not reasons[row]]
    values = np.full((len(models), len(smiles), len(first.task_names)), np.nan)
    if good:
        table = MoleculeTable(
            name="to_predict",
            kind="regression",
            task_names=first.task_names,
            ids=tuple(str(row) for row in good),
            smiles=tuple(smiles[row] for row in good),
            canonical=tuple(canonicals[row] for row in good),
            groups=tuple(canonicals[row] for row in good),
            targets=np.full((len(good), len(first.task_names)), np.nan, np.float32),
            global_feats=None,
            report=SelectionReport("SMILES to predict", (("rows", len(good)),)),
        )
        dataset = featurize(table, featurizer=first.featurizer, progress=progress)
        for name, _, reason in dataset.table.report.refused:
            reasons[int(name)] = reason
        rows = [int(name) for name in dataset.table.ids]
        feats = np.array([extra[row] for row in rows], np.float32) if needs_solvent else None
        torch_device = choose_device(device)
        for number, trained in enumerate(models):
            trained.model.to(torch_device)
            values[number, rows] = trained.predict(
                dataset.graphs, global_feats=feats, batch_size=batch_size, device=torch_device
            )
    return Predictions(first.task_names, values, tuple(reasons))


def _checked(models: Sequence[TrainedModel]) -> TrainedModel:
    if not models:
        raise ValueError("no model given; load some with load_models(RUN_FOLDER)")
    first = models[0]
    for other in models[1:]:
        if (other.task_names, other.featurizer) != (first.task_names, first.featurizer):
            raise ValueError(
                f"the models predict different things: {first.task_names} and {other.task_names}; "
                "give the folds of one run"
            )
    if first.global_scaler is not None and len(first.global_scaler.mean) != len(
        SOLVENT_DESCRIPTORS
    ):
        raise ValueError(
            f"the model was trained with {len(first.global_scaler.mean)} global features, which "
            "are not solvent descriptors; use TrainedModel.predict with global_feats"
        )
    return first
