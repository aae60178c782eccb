"""What one fold trains on: standardised targets, features and the checks that they suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dgl_gmpool.data import AuxiliaryTargets, MoleculeDataset
from dgl_gmpool.data.features import FeatureNames, joined_features
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.feature_scaler import FeatureScaler
from dgl_gmpool.training.metrics import metrics_of
from dgl_gmpool.training.task import Standardizer, Task, get_task


@dataclass(frozen=True)
class AuxiliaryPart:
    """Auxiliary targets as the fold's model sees them.

    Attributes
    ----------
    task : Task
        How they are learnt.
    weight : float
        Of their mean loss, beside that of the targets.
    targets : torch.Tensor
        ``(rows, columns)`` on the training device, standardised; NaN where not known.
    measured : numpy.ndarray
        ``(rows,)`` int, known cells per row.
    """

    task: Task
    weight: float
    targets: torch.Tensor
    measured: np.ndarray


@dataclass(frozen=True)
class FoldData:
    """All rows of the data set, in the units the fold's model sees.

    Attributes
    ----------
    task : Task
        How the targets are learnt and scored.
    targets : torch.Tensor
        ``(rows, tasks)`` on the training device, NaN where nothing was measured.
    measured : numpy.ndarray
        ``(rows,)`` int, measured cells per row.
    global_feats : torch.Tensor or None
        ``(rows, g)`` on the CPU, standardised.
    positive_weight : torch.Tensor or None
        ``(tasks,)`` on the training device.
    target_scaler, global_scaler : Standardizer
        Constants of the training rows.
    auxiliary : tuple of AuxiliaryPart
        In the order of the model's outputs behind the targets.
    features : tuple of FeatureNames
        What the columns of ``global_feats`` are.
    """

    task: Task
    targets: torch.Tensor
    measured: np.ndarray
    global_feats: torch.Tensor | None
    positive_weight: torch.Tensor | None
    target_scaler: Standardizer
    global_scaler: Standardizer | None
    auxiliary: tuple[AuxiliaryPart, ...] = ()
    features: tuple[FeatureNames, ...] = ()

    @property
    def widths(self) -> list[int]:
        """How many of a model's outputs are for the targets, and for each auxiliary part."""
        return [self.targets.shape[1], *(part.targets.shape[1] for part in self.auxiliary)]

    @classmethod
    def prepare(
        cls,
        dataset: MoleculeDataset,
        train: Sequence[int],
        config: TrainingConfig,
        *,
        device: torch.device,
    ) -> FoldData:
        """Standardise on the rows ``train``.

        Raises
        ------
        ValueError
            The table lacks auxiliary targets or descriptors that the configuration names.
        """
        table, rows = dataset.table, np.asarray(train)
        global_scaler, global_feats = None, None
        values, features = joined_features(table, config.descriptors)
        if values is not None:
            global_scaler = FeatureScaler.fit(values[rows])
            global_feats = torch.as_tensor(global_scaler.transform(values))
        task = get_task(table.kind, config.loss)
        scaler = task.scaler(table.targets[rows])
        weight = task.positive_weight(config.positive_weight, table.targets[rows])
        return cls(
            task,
            torch.as_tensor(scaler.transform(table.targets)).to(device),
            (~np.isnan(table.targets)).sum(axis=1),
            global_feats,
            None if weight is None else weight.to(device),
            scaler,
            global_scaler,
            tuple(
                _auxiliary_part(table.auxiliary_targets(name), factor, rows, device)
                # By name: the order in which they were asked for must not matter.
                for name, factor in sorted(config.auxiliary.items())
            ),
            features,
        )


def _auxiliary_part(
    found: AuxiliaryTargets, weight: float, train: np.ndarray, device: torch.device
) -> AuxiliaryPart:
    task = get_task(found.kind)
    # A column that no training row has teaches nothing.
    values = found.values[:, ~np.isnan(found.values[train]).all(axis=0)]
    values = task.scaler(values[train]).transform(values)
    known = (~np.isnan(values)).sum(axis=1)
    return AuxiliaryPart(task, weight, torch.as_tensor(values).to(device), known)


def check_fold(
    dataset: MoleculeDataset, train: Sequence[int], valid: Sequence[int], *, fold: int
) -> None:
    """Refuse a fold that cannot be trained or validated, before any time is spent on it.

    Raises
    ------
    ValueError
        A task has no measured training row, or no task can be scored on the validation rows.
    """
    table = dataset.table
    if len(train) == 0 or len(valid) == 0:
        raise ValueError(
            f"fold {fold} has {len(train)} training and {len(valid)} validation rows; "
            "use fewer folds or more data"
        )
    unmeasured = np.isnan(table.targets[np.asarray(train)]).all(axis=0)
    if unmeasured.any():
        names = ", ".join(name for name, bad in zip(table.task_names, unmeasured) if bad)
        raise ValueError(
            f"fold {fold}: none of its {len(train)} training rows has a measured {names}; "
            "leave that target out or use fewer folds"
        )
    targets = table.targets[np.asarray(valid)]
    task = get_task(table.kind)
    if task.scores(targets, np.zeros_like(targets))["tasks"] == 0:
        labels = np.unique(table.targets[~np.isnan(table.targets)])
        if metrics_of(task.kind)[0].two_values and len(labels) == 1:
            raise ValueError(
                f"every label of {', '.join(table.task_names)} is {labels[0]:g}: there is nothing "
                "to tell apart; a classification needs rows of both classes, 0 and 1"
            )
        raise ValueError(
            f"fold {fold}: its {len(valid)} validation rows do not hold {task.scorable}, so they "
            "cannot choose the best epoch; use fewer folds, another kind of split or more data"
        )
