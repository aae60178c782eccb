"""A finished run, ready to be asked: predictions, explanations, vectors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dgl_gmpool._options import as_typed
from dgl_gmpool.data.smiles_values import one_column, smiles_of_value
from dgl_gmpool.training import (
    Predictions,
    TrainedModel,
    choose_device,
    load_models,
    predict_smiles,
)
from dgl_gmpool.training.embed import embed_smiles, embedding_width
from dgl_gmpool.training.row_bounds import COVERAGE
from dgl_gmpool.training.run_folder import CONTINUE, RunFolder, run_of
from dgl_gmpool.training.uncertainty import RunUncertainty

if TYPE_CHECKING:
    from dgl_gmpool.explain import Explanation


class Predictor:
    """The models of a run behind one face. Made by :func:`load_predictor`.

    Parameters
    ----------
    models : sequence of TrainedModel
        Of one run.
    source : str, optional
        Where they come from, for ``repr``.
    device : str, optional
        ``auto`` (default), ``cpu`` or ``cuda``.
    uncertainty : RunUncertainty, optional
        What their run knows of its errors.

    Attributes
    ----------
    models : tuple of TrainedModel
    task_names : tuple of str
        What is predicted.
    units, kind : str
        Of the predictions; ``kind`` is ``"regression"``, ``"classification"``, ``"multiclass"``, or
        ``"mixed"`` where targets differ.
    """

    def __init__(
        self,
        models: Sequence[TrainedModel],
        *,
        source: str = "",
        device: str = "auto",
        uncertainty: RunUncertainty | None = None,
    ) -> None:
        if not models:
            raise ValueError("no model given; load some with load_predictor(RUN_FOLDER)")
        self.models = tuple(models)
        choose_device(device)  # told here, not with the first prediction
        self.device = device
        self.uncertainty = uncertainty
        self._source = source
        self._warned = False
        first = self.models[0]
        self.task_names, self.units, self.kind = first.task_names, first.units, first.kind

    @property
    def num_models(self) -> int:
        """How many models are averaged."""
        return len(self.models)

    def predict(
        self,
        smiles: Sequence[str],
        *,
        solvents: Sequence[str] | None = None,
        features: Mapping[str, Sequence[object]] | None = None,
        coverage: float = COVERAGE,
        batch_size: int = 80,
        progress: bool = False,
    ) -> Predictions:
        """Predictions of molecules: as many rows as are given, in their order.

        Parameters
        ----------
        smiles : sequence of str or rdkit.Chem.Mol
            A missing value (None, NaN) is a row with a reason, as what is no molecule.
        solvents : sequence of str, optional
            SMILES of each row's solvent, for models trained with solvents.
        features : mapping of str to sequence, optional
            For models trained with ``--feature-columns``: ``{"pH": [7.4, 5.0], ...}``, a value for
            each row, None or NaN where it is not known (the mean of the training rows then stands
            in, and ``.notes`` says so).
        coverage : float, optional
            Share of measured values that the intervals are to hold. Default 0.9.
        batch_size : int, optional
            Molecules per forward pass. Default 80.
        progress : bool, optional
            Show a progress bar.

        Returns
        -------
        Predictions
            ``.mean`` and ``.std`` over the models, ``.lower`` and ``.upper`` of the intervals,
            ``.calibrated`` probabilities, ``(rows, tasks)``, NaN where there is none; ``.reasons``
            says why. ``.similarity``, ``.nearest`` and ``.nearest_measured`` are of the nearest
            training molecule; ``.notes`` name rows outside of the domain.

        Raises
        ------
        TypeError
            ``smiles``, or the values of a feature, are a single one, or a set or mapping.
        ValueError
            ``smiles`` has several columns, or solvents or features are missing or superfluous.
        """
        if self.uncertainty is None and self._source and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._source} {_lack(self._source)}",
                UserWarning,
                stacklevel=2,
            )
        return predict_smiles(
            self.models,
            _texts("smiles", smiles),
            solvents=None if solvents is None else _texts("solvents", solvents),
            features=features,
            uncertainty=self.uncertainty,
            coverage=coverage,
            batch_size=batch_size,
            device=self.device,
            progress=progress,
        )

    def explain(
        self,
        smiles: str,
        *,
        solvent: str | None = None,
        features: Mapping[str, object] | None = None,
        target: str | None = None,
    ) -> Explanation:
        """Groups, memberships and contributions of one molecule, in its SMILES' own atom order.

        See :class:`~dgl_gmpool.explain.Explanation`; its ``.svg()`` and ``.png()`` are pictures.

        Parameters
        ----------
        smiles : str
        solvent : str, optional
            SMILES of the solvent, for models trained with solvents.
        features : mapping of str to number, optional
            For models trained with ``--feature-columns``: ``{"pH": 7.4}``.
        target : str, optional
            Which of ``task_names`` to explain. Default: the first.

        Raises
        ------
        TypeError
            ``smiles`` is not one text.
        ValueError
            The molecule is refused, the target is not one of the model's, or the solvent or a
            feature is missing or superfluous.
        """
        from dgl_gmpool.explain import explain_molecule

        if not isinstance(smiles, str):
            raise TypeError(f"smiles is {smiles!r}; give one SMILES as a text, such as 'CCO'")
        return explain_molecule(
            self.models,
            smiles,
            solvent=solvent,
            features=features,
            target=target,
            device=self.device,
        )

    def embed(self, smiles: Sequence[str], *, batch_size: int = 80) -> np.ndarray:
        """What the heads of the models see of each molecule.

        Parameters
        ----------
        smiles : sequence of str
        batch_size : int, optional
            Molecules per forward pass. Default 80.

        Returns
        -------
        numpy.ndarray
            ``(rows, width)`` float32, the models side by side; NaN in rows that are refused.

        Raises
        ------
        TypeError
            ``smiles`` is a single text.
        """
        return embed_smiles(
            self.models, _texts("smiles", smiles), batch_size=batch_size, device=self.device
        ).values

    @property
    def embedding_width(self) -> int:
        """Columns of :meth:`embed`."""
        return embedding_width(self.models)

    def __repr__(self) -> str:
        config = self.models[0].model.config
        names = ", ".join(self.task_names[:3]) + (", ..." if len(self.task_names) > 3 else "")
        return (
            f"Predictor({self._source!r}, {self.kind} of {names}, models={self.num_models}, "
            f"readout={config['readout']!r})"
        )


def load_predictor(path: str | os.PathLike[str], *, device: str = "auto") -> Predictor:
    """The models of a finished run (its folds are averaged), or the one of a ``model.pt``.

    Parameters
    ----------
    path : path
        A run folder, or a fold's ``model.pt``.
    device : str, optional
        ``auto`` (default), ``cpu`` or ``cuda``.

    Raises
    ------
    FileNotFoundError
        Nothing of the kind is there.
    ValueError
        A file is damaged or holds something else, or there is no such device.
    """
    return Predictor(
        load_models(path),
        source=os.fspath(path),
        device=device,
        uncertainty=RunUncertainty.load(path),
    )


def _lack(source: str) -> str:
    """Why there are no intervals of what stands there, and what to do."""
    without = "so intervals, calibrated probabilities and nearest molecules are NaN or blank"
    files = RunFolder(run_of(source)[0])
    if not files.config.exists():
        return f"is a model without its run, {without}; the folder of its run has them"
    if not files.finished:
        return f"is of a run that is not finished, {without}; {CONTINUE}"
    return (
        f"lacks what tells its errors (uncertainty.json, written since 0.3.0), {without}; this "
        "works them out once and keeps them in the run: dgl-gmpool predict "
        f"{as_typed('--model', source)} --csv FILE --output FILE"
    )


def _texts(name: str, values: Sequence[str]) -> list[str]:
    # Rows out are rows in: what is no SMILES is a row with a reason.
    found = ((value, smiles_of_value(value)) for value in one_column(name, values))
    return [repr(value) if text is None else text for value, text in found]
