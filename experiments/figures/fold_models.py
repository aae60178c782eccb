"""The model of one fold, before and after its training, from a finished run's folder."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.metrics import METRICS
from dgl_gmpool.training.model import build_model
from dgl_gmpool.training.model_file import load_model
from dgl_gmpool.training.run import RunResult
from dgl_gmpool.training.run_folder import RunFolder
from experiments.figures.first_pooling import first_pooling


@dataclass(frozen=True)
class FoldModels:
    """One fold of a run.

    Attributes
    ----------
    folder : Path
        The run's folder.
    config : TrainingConfig
    fold : int
    before : MoleculePredictor
        With the weights this fold started from; they follow from ``(config.seed, fold)``.
    after : MoleculePredictor
        With the weights of ``model.pt``.
    featurizer : str
    test_ids, test_smiles : tuple of str
        The test molecules, which no fold was trained on.
    """

    folder: Path
    config: TrainingConfig
    fold: int
    before: MoleculePredictor
    after: MoleculePredictor
    featurizer: str
    test_ids: tuple[str, ...]
    test_smiles: tuple[str, ...]


def load_fold(folder: str | os.PathLike[str], *, fold: int | None = None) -> FoldModels:
    """Read one fold of a finished run.

    Parameters
    ----------
    folder : path
        Of a run written by :func:`dgl_gmpool.training.train_run`.
    fold : int, optional
        Default: the fold with the best validation score.

    Raises
    ------
    ValueError
        The run is not finished, has no such fold, or its readout makes no grouping matrix.
    """
    result = RunResult.load(folder)
    folds = {int(entry["fold"]): entry for entry in result.metrics["folds"]}
    if fold is None:
        metric = METRICS[result.metrics["metric"]]
        sign = 1 if metric.higher_is_better else -1
        scored = {n: e["valid"][metric.name] for n, e in folds.items()}
        fold = max(folds, key=lambda n: float("-inf") if scored[n] is None else sign * scored[n])
    if fold not in folds:
        raise ValueError(f"{folder} has no fold {fold}; it has {', '.join(map(str, folds))}")
    trained = load_model(RunFolder(folder).fold(fold).model)
    model, config = trained.model, result.config
    first_pooling(model)  # a readout without grouping matrix is refused here
    untrained = build_model(
        config,
        node_in_feats=model.node_in_feats,
        edge_in_feats=model.edge_in_feats,
        n_tasks=model.n_tasks,
        global_feats=model.global_feats,
        fold=fold,
    ).eval()
    with open(RunFolder(folder).predictions, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return FoldModels(
        folder=result.folder,
        config=config,
        fold=fold,
        before=untrained,
        after=model,
        featurizer=trained.featurizer,
        test_ids=tuple(row["id"] for row in rows),
        test_smiles=tuple(row["smiles"] for row in rows),
    )
