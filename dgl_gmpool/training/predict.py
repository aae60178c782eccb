"""New molecules in, the same rows with predictions out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from dgl_gmpool._options import positive_int
from dgl_gmpool.data.graph_list import GraphList
from dgl_gmpool.data.parsed_rows import ParsedRows, parse_rows
from dgl_gmpool.models.shared_states import sharing_states
from dgl_gmpool.training.device import choose_device
from dgl_gmpool.training.model_features import Beside, RowFeatures
from dgl_gmpool.training.model_file import TrainedModel
from dgl_gmpool.training.predictions import Predictions
from dgl_gmpool.training.row_bounds import COVERAGE, RowBounds
from dgl_gmpool.training.uncertainty import RunUncertainty

#: Rows in memory at a time.
CHUNK = 2000
#: Molecules whose predictions are kept, so that later rows of them get the same numbers.
_REMEMBERED = 100_000

#: What a molecule's prediction depends on: its canonical SMILES and what stands beside it.
Key = tuple[str, Beside]


def predict_smiles(
    models: Sequence[TrainedModel],
    smiles: Sequence[str],
    *,
    solvents: Sequence[str] | None = None,
    features: Mapping[str, Sequence[object]] | None = None,
    uncertainty: RunUncertainty | None = None,
    coverage: float = COVERAGE,
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
    uncertainty : RunUncertainty, optional
        What the run knows of its errors, for intervals, calibration and nearest molecules.
    coverage : float
        Share of measured values that the intervals are to hold. Default 0.9.
    batch_size : int
        Molecules per forward pass.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    progress : bool
        Show a progress bar.

    Raises
    ------
    ValueError
        The models do not belong together, solvents or features are missing or superfluous,
        ``batch_size`` is no integer >= 1, or ``coverage`` is more than the run can tell.
    """
    predictor = RowPredictor(
        models, uncertainty=uncertainty, coverage=coverage, batch_size=batch_size, device=device
    )
    beside = RowFeatures(models, len(smiles), solvents=solvents, features=features)
    parts = []
    starts = range(0, max(len(smiles), 1), CHUNK)
    for start in tqdm(starts, desc="predict", disable=None if progress else True, leave=False):
        rows = range(start, min(start + CHUNK, len(smiles)))
        parsed = parse_rows([smiles[row] for row in rows], models[0].featurizer)
        parts.append(predictor.predict(parsed, [beside.row(row) for row in rows], beside))
    return Predictions.join(parts)


class RowPredictor:
    """Models that predict one part of many rows after the other.

    Parameters
    ----------
    models, uncertainty, coverage, batch_size, device
        As for :func:`predict_smiles`.

    Raises
    ------
    ValueError
        As there.
    """

    def __init__(
        self,
        models: Sequence[TrainedModel],
        *,
        uncertainty: RunUncertainty | None = None,
        coverage: float = COVERAGE,
        batch_size: int = 80,
        device: str = "auto",
    ) -> None:
        self.first = _checked(models)
        self.task = self.first.task
        self.models = tuple(models)
        self.batch_size = positive_int("batch_size", batch_size)
        self.device = choose_device(device)
        self.bounds = RowBounds(self.first, len(models), uncertainty, coverage)
        for trained in models:
            trained.model.to(self.device)
        self._known: dict[Key, np.ndarray] = {}

    def predict(
        self, parsed: ParsedRows, known: Sequence[tuple[Beside, str, str]], features: RowFeatures
    ) -> Predictions:
        """Predictions of some rows.

        Parameters
        ----------
        parsed : ParsedRows
        known : sequence of (Beside, str, str)
            What ``features.row`` says of each.
        features : RowFeatures
        """
        reasons, notes = list(parsed.reasons), list(parsed.notes)
        # By molecule and what stands beside it: a batch's other molecules change the last digits of
        # a prediction on some processors, and rows of one molecule must not differ.
        rows_of: dict[Key, list[int]] = {}
        for row, ((beside, why, note), at) in enumerate(zip(known, parsed.place.tolist())):
            reasons[row] = reasons[row] or why
            if not reasons[row]:
                rows_of.setdefault((parsed.canonical[at], beside), []).append(row)
                _add_note(notes, row, note)
        values = np.full((len(self.models), len(parsed), self.task.width), np.nan)
        about = self._fill(parsed, rows_of, features)
        for key, rows in rows_of.items():
            values[:, rows] = self._known[key][:, None]
            for row in rows:
                _add_note(notes, row, about.get(key, ""))
        self._forget()
        notes = ["" if reason else note for reason, note in zip(reasons, notes)]
        return self.bounds.add(values, reasons, notes, parsed)

    def _fill(
        self, parsed: ParsedRows, rows_of: Mapping[Key, list[int]], features: RowFeatures
    ) -> dict[Key, str]:
        """Predict what is not known yet; what to know of the molecules' features."""
        keys = list(rows_of)
        if not keys:
            return {}
        feats, about = features.matrix([each for each, _ in keys], [beside for _, beside in keys])
        new = [at for at, key in enumerate(keys) if key not in self._known]
        places = parsed.place[[rows_of[keys[at]][0] for at in new]]
        graphs = GraphList(parsed.flat, places)
        found = []
        for trained in self.models:
            with sharing_states(trained.model):
                found.append(
                    trained.predict(
                        graphs,
                        global_feats=None if feats is None else feats[new],
                        batch_size=self.batch_size,
                        device=self.device,
                    )
                )
        self._known.update(zip([keys[at] for at in new], np.stack(found, axis=1)))
        return dict(zip(keys, about))

    def _forget(self) -> None:
        for key in list(self._known)[: max(len(self._known) - _REMEMBERED, 0)]:
            del self._known[key]


def _add_note(notes: list[str], row: int, *more: str) -> None:
    notes[row] = "; ".join(filter(None, [notes[row], *more]))


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
