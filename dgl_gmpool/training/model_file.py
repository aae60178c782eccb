"""A trained model in one file, and predictions from it."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import dgl
import numpy as np
import torch

import dgl_gmpool
from dgl_gmpool import MoleculePredictor
from dgl_gmpool._io import atomic_torch_save
from dgl_gmpool._options import as_typed
from dgl_gmpool.data.features import FeatureNames
from dgl_gmpool.training.config import BEFORE
from dgl_gmpool.training.model import raw_outputs
from dgl_gmpool.training.run_folder import CONTINUE, RunFolder, read_json, run_of
from dgl_gmpool.training.standardizer import FeatureScaler, Standardizer
from dgl_gmpool.training.table_task import TableTask

_FORMAT = 1
_PARTS = (
    *("config", "state_dict", "kind", "task_names", "units", "featurizer"),
    *("target_scaler", "global_scaler"),
)


@dataclass
class TrainedModel:
    """A model and all that is needed to use it on new molecules.

    Attributes
    ----------
    model : MoleculePredictor
        In evaluation mode.
    kind : str
        ``"classification"``, ``"multiclass"``, ``"regression"`` or ``"mixed"``.
    task_names : tuple of str
        The targets.
    units : str
        Of the targets.
    target_scaler : Standardizer
        Of the training targets (changes nothing for a classification).
    global_scaler : Standardizer or None
        Of the training rows' global features.
    featurizer : str
        Name to pass to ``featurize``, and what is done to molecules before
        (:func:`~dgl_gmpool.data.standardize.feature_recipe`).
    loss : str or None
        It was trained with; None is the default of its kind.
    features : tuple of FeatureNames
        What the global features are; empty in models of before 0.3.0, whose are a solvent's.
    kinds : tuple of str
        Of each target; by default all are of ``kind``.
    classes : tuple of tuple of str
        Of each target; empty where it is not multiclass.
    """

    model: MoleculePredictor
    kind: str
    task_names: tuple[str, ...]
    units: str
    target_scaler: Standardizer
    global_scaler: Standardizer | None
    featurizer: str = "canonical"
    loss: str | None = None
    features: tuple[FeatureNames, ...] = ()
    kinds: tuple[str, ...] = ()
    classes: tuple[tuple[str, ...], ...] = ()

    @property
    def task(self) -> TableTask:
        """How the outputs become predictions."""
        kinds = self.kinds or [self.kind] * len(self.task_names)
        return TableTask.of(self.task_names, kinds, self.classes, self.loss)

    def outputs(
        self,
        graphs: Sequence[dgl.DGLGraph],
        *,
        global_feats: np.ndarray | None = None,
        batch_size: int = 80,
        device: torch.device | None = None,
    ) -> np.ndarray:
        """Logits of classes, or predictions in the target's units, ``(rows, columns)`` float64.

        Raises
        ------
        ValueError
            ``global_feats`` is missing, superfluous, or has another width than in training.
        """
        wanted = 0 if self.global_scaler is None else len(self.global_scaler.mean)
        given = 0 if global_feats is None else int(np.asarray(global_feats).shape[1])
        if wanted != given:
            raise ValueError(
                f"the model was trained with {wanted} global features per row and got {given}; "
                "give global_feats with the columns of the training table"
            )
        if self.global_scaler is not None and global_feats is not None:
            global_feats = self.global_scaler.transform(global_feats)
        raw = raw_outputs(
            self.model, graphs, global_feats=global_feats, batch_size=batch_size, device=device
        )
        return self.target_scaler.inverse(raw)

    def predict(
        self,
        graphs: Sequence[dgl.DGLGraph],
        *,
        global_feats: np.ndarray | None = None,
        batch_size: int = 80,
        device: torch.device | None = None,
    ) -> np.ndarray:
        """Probabilities or predictions in the target's units, ``(rows, columns)`` float64: one
        column a target, but for a multiclass target one for each of its classes."""
        outputs = self.outputs(
            graphs, global_feats=global_feats, batch_size=batch_size, device=device
        )
        return self.task.link(outputs)


def save_model(path: str | os.PathLike[str], trained: TrainedModel) -> None:
    """Write tensors, numbers and strings only: ``torch.load(path, weights_only=True)`` reads it."""
    facts = {each.name: getattr(trained, each.name) for each in fields(trained)}
    model = facts.pop("model")
    atomic_torch_save(
        path,
        {
            "format": _FORMAT,
            "dgl_gmpool": dgl_gmpool.__version__,
            "config": dict(model.config),
            "state_dict": {key: value.detach().cpu() for key, value in model.state_dict().items()},
            **{name: _plain(value) for name, value in facts.items()},
        },
    )


def load_model(path: str | os.PathLike[str]) -> TrainedModel:
    """Read one fold's ``model.pt``.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged, holds something else, or was written by a version whose models this
        one cannot build.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model file {path}; a finished run has fold_0/model.pt")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a damaged file
        if _is_packed(path):
            raise ValueError(
                f"{path} is an archive of files: unpack it and give the folder of the run"
            ) from error
        # Not torch's text: it suggests weights_only=False, which runs whatever the file says.
        raise ValueError(
            f"{path} is not a readable model file ({type(error).__name__}): it is damaged or was "
            "not written by dgl_gmpool; expected a fold's model.pt"
        ) from error
    if not isinstance(saved, dict) or "format" not in saved:
        raise ValueError(
            f"{path} holds something else than a model of dgl_gmpool; expected a fold's model.pt"
        )
    written, here = saved.get("dgl_gmpool", "?"), dgl_gmpool.__version__
    said = f"{path} was written by dgl_gmpool {written} and cannot be read by this one, {here}"
    # Without that version's name there is nothing to install.
    remedy = f"install that version (pip install dgl_gmpool=={written}) or train again"
    if written in ("?", here):
        remedy = "it was changed or damaged: copy it again or train again"
    if saved["format"] != _FORMAT:
        what = f"it has the format {saved['format']!r}, expected {_FORMAT}"
        raise ValueError(f"{said}: {what}; {remedy}")
    missing = [name for name in _PARTS if name not in saved]
    if missing:
        raise ValueError(f"{said}: it lacks {', '.join(missing)}; {remedy}")
    try:
        model = MoleculePredictor(**{**BEFORE, **saved["config"]})
        model.load_state_dict(saved["state_dict"])
        extra = saved["global_scaler"]
        trained = TrainedModel(
            model.eval(),
            str(saved["kind"]),
            tuple(saved["task_names"]),
            saved["units"],
            _scaler_from_dict(saved["target_scaler"]),
            None if extra is None else _scaler_from_dict(extra),
            saved["featurizer"],
            saved.get("loss"),
            tuple(FeatureNames(each, tuple(names)) for each, names in saved.get("features", ())),
            # Not in models of 0.2.0, whose targets are of one kind.
            tuple(saved.get("kinds", ())),
            tuple(tuple(held) for held in saved.get("classes", ())),
        )
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        # Options, layers or shapes of another version; torch's list of keys is many lines long.
        raise ValueError(f"{said}: {_first_lines(error)}; {remedy}") from error
    return trained


def _is_packed(path: Path) -> bool:
    """Whether it is an archive of other files than those that make up a model's."""
    if not zipfile.is_zipfile(path):
        return tarfile.is_tarfile(path)
    with zipfile.ZipFile(path) as archive:
        return not any(name.endswith("/data.pkl") for name in archive.namelist())


def _first_lines(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."


def load_models(path: str | os.PathLike[str]) -> list[TrainedModel]:
    """The models of every fold of a finished run's folder, or the one of a ``model.pt``.

    A folder that holds a single run stands for it.

    Where a run has final models (trained on all rows, ``--final``), these instead of the folds'.

    Raises
    ------
    FileNotFoundError
        Nothing of the kind is there, or not all of the run's models are.
    ValueError
        The run is not finished: its models so far are not what the run was to give.
    """
    path = Path(path)
    if path.is_file():
        return [load_model(path)]
    if not path.is_dir():
        raise FileNotFoundError(f"no run folder {path}")
    path, _ = run_of(path)
    files = sorted(path.glob("fold_*/model.pt"), key=lambda file: int(file.parent.name[5:]))
    if not files:
        raise FileNotFoundError(
            f"{path} holds no fold_*/model.pt; give the folder of a run, or a fold's model.pt"
        )
    if not RunFolder(path).finished:
        raise ValueError(
            f"the run in {path} is not finished ({len(files)} of its folds are trained): "
            f"{CONTINUE}; or use one fold's model alone: {as_typed(files[0])}"
        )
    run, metrics = RunFolder(path), read_json(RunFolder(path).metrics, "folds")
    finals = [run.final(number).model for number in range(len(metrics.get("final", ())))]
    folds = [run.fold(number).model for number in range(len(metrics["folds"]))]
    wanted = finals or folds
    missing = next((file for file in wanted if not file.exists()), None)
    if missing is not None:
        raise FileNotFoundError(
            f"{missing} is not there, one of the {len(wanted)} models that the run predicts with: "
            f"copy the whole run, or use one model alone: {as_typed(files[0])}"
        )
    return [load_model(file) for file in wanted]


def _plain(value: Any) -> Any:
    """Tuples as lists, and scalers as dicts of tensors and numbers."""
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Standardizer):
        held = {each.name: getattr(value, each.name) for each in fields(value)}
        return {k: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for k, v in held.items()}
    return value


def _scaler_from_dict(saved: dict[str, Any]) -> Standardizer:
    mean, std = saved["mean"].numpy(), saved["std"].numpy()
    return FeatureScaler(mean, std, saved["limit"]) if "limit" in saved else Standardizer(mean, std)
