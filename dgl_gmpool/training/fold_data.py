"""What one fold trains on: standardised targets, features and the checks that they suffice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dgl_gmpool.data import AuxiliaryTargets, MoleculeDataset, MoleculeTable, Splits
from dgl_gmpool.data.features import COLUMN, FeatureNames, joined_features
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.standardizer import FeatureScaler
from dgl_gmpool.training.table_task import TableTask
from dgl_gmpool.training.task import Labels, Standardizer, Task, get_task


@dataclass(frozen=True)
class AuxiliaryPart:
    """Auxiliary targets as the fold's model sees them.

    Attributes
    ----------
    task : Task
        How they are learnt.
    weight : float
        Of their mean loss, beside that of the targets.
    labels : Labels
        ``(rows, columns)`` on the training device, standardised, with the weights of rows.
    measured : numpy.ndarray
        ``(rows,)`` int, known cells per row.
    """

    task: Task
    weight: float
    labels: Labels
    measured: np.ndarray


@dataclass(frozen=True)
class FoldData:
    """All rows of the data set, in the units the fold's model sees.

    Attributes
    ----------
    task : TableTask
        How the targets are learnt and scored.
    labels : Labels
        ``(rows, tasks)`` on the training device; the weights of the training rows' cells have the
        mean 1 before those of classes.
    measured : numpy.ndarray
        ``(rows,)`` int, known cells per row.
    global_feats : torch.Tensor or None
        ``(rows, g)`` on the CPU, standardised.
    target_scaler, global_scaler : Standardizer
        Constants of the training rows; the first for each of the model's outputs.
    auxiliary : tuple of AuxiliaryPart
        In the order of the model's outputs behind the targets.
    features : tuple of FeatureNames
        What the columns of ``global_feats`` are.
    """

    task: TableTask
    labels: Labels
    measured: np.ndarray
    global_feats: torch.Tensor | None
    target_scaler: Standardizer
    global_scaler: Standardizer | None
    auxiliary: tuple[AuxiliaryPart, ...] = ()
    features: tuple[FeatureNames, ...] = ()

    @property
    def widths(self) -> list[int]:
        """How many of a model's outputs are for the targets, and for each auxiliary part."""
        return [self.task.width, *(part.labels.targets.shape[1] for part in self.auxiliary)]

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
        weight = None if table.weights is None else table.weights[rows]
        global_scaler, global_feats = None, None
        values, features = joined_features(table, config.descriptors)
        if values is not None:
            calculated = [each.source != COLUMN for each in features for _ in each.names]
            global_scaler = FeatureScaler.fit(values[rows], weight, calculated=np.array(calculated))
            global_feats = torch.as_tensor(global_scaler.transform(values))
        task = table_task(table, config)
        scaler = task.scaler(table.targets[rows], weight)
        return cls(
            task,
            Labels.of(
                table.targets,
                table.lower,
                table.upper,
                _cell_weights(table, task, config, rows),
                task.target_scaler(scaler),
                device,
            ),
            table.known.sum(axis=1),
            global_feats,
            scaler,
            global_scaler,
            tuple(
                _auxiliary_part(table.auxiliary_targets(name), factor, rows, table.weights, device)
                # By name: the order in which they were asked for must not matter.
                for name, factor in sorted(config.auxiliary.items())
            ),
            features,
        )


def _auxiliary_part(
    found: AuxiliaryTargets,
    factor: float,
    train: np.ndarray,
    weights: np.ndarray | None,
    device: torch.device,
) -> AuxiliaryPart:
    task = get_task(found.kind)
    weight = None if weights is None else weights[train]
    learnt = train if weight is None else train[weight > 0]
    # A column that no training row has teaches nothing.
    values = found.values[:, ~np.isnan(found.values[learnt]).all(axis=0)]
    known = ~np.isnan(values)
    cells = None
    if weights is not None:
        cells = np.tile(weights[:, None], values.shape[1])
        cells /= cells[train][known[train]].mean() if values.shape[1] else 1
    labels = Labels.of(values, None, None, cells, task.scaler(values[train], weight), device)
    return AuxiliaryPart(task, factor, labels, known.sum(axis=1))


def table_task(table: MoleculeTable, config: TrainingConfig | None = None) -> TableTask:
    """How a configuration learns the targets of a table; without one, by the default losses."""
    loss = None if config is None else config.loss
    return TableTask.of(table.task_names, table.kinds, table.classes, loss)


def _cell_weights(
    table: MoleculeTable, task: TableTask, config: TrainingConfig, train: np.ndarray
) -> np.ndarray | None:
    """``(rows, tasks)``: of row and target, with the mean 1 over known training cells, so that
    weights of one size change nothing; times that of the class."""
    weight = None if table.weights is None else table.weights[train]
    by_class = task.cell_weights(config.positive_weight, table.targets, train, weight)
    by_task = task.weights_of(config.task_weights)
    if table.weights is None and by_task is None:
        return by_class
    found = np.ones(table.targets.shape)
    if table.weights is not None:
        found *= table.weights[:, None]
    if by_task is not None:
        found *= by_task
    mean = found[train][table.known[train]].mean()
    if not mean:
        raise ValueError(
            f"every known cell of the {len(train)} training rows has the weight 0: nothing would "
            "be learnt; use fewer folds, or give more rows or targets a weight"
        )
    found /= mean
    return found if by_class is None else found * by_class


def check_folds(dataset: MoleculeDataset, splits: Splits, config: TrainingConfig) -> None:
    """:func:`check_fold` of all folds, before baselines or trials are paid for."""
    for number, (train, valid) in enumerate(splits.folds):
        check_fold(dataset, train, valid, fold=number, config=config)


def check_fold(
    dataset: MoleculeDataset,
    train: Sequence[int],
    valid: Sequence[int],
    *,
    fold: int,
    config: TrainingConfig | None = None,
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
            f"fold_{fold} has {len(train)} training and {len(valid)} validation rows; "
            "use fewer folds or more data"
        )
    weighted = np.asarray(train)
    if table.weights is not None:
        weighted = weighted[table.weights[weighted] > 0]
    unmeasured = np.isnan(table.targets[weighted]).all(axis=0)
    if unmeasured.any():
        names = ", ".join(name for name, bad in zip(table.task_names, unmeasured) if bad)
        which = "" if table.weights is None else " with a weight above 0"
        raise ValueError(
            f"fold_{fold}: none of its {len(weighted)} training rows{which} has a measured "
            f"{names}; leave that target out or use fewer folds"
        )
    task = table_task(table, config)
    metric = choose_metric(table.kinds, None if config is None else config.metric)
    held = table.targets[np.asarray(valid)].T
    if not any(metric.defined(kind, column) for kind, column in zip(table.kinds, held)):
        labels = np.unique(table.targets[~np.isnan(table.targets)])
        if "regression" not in table.kinds and len(labels) == 1:
            only = table.classes[0][int(labels[0])] if table.classes[0] else f"{labels[0]:g}"
            raise ValueError(
                f"every label of {', '.join(table.task_names)} is {only}: there is nothing "
                "to tell apart; a classification needs rows of both classes, 0 and 1"
            )
        wanted = next(each.task.scorable for each in task.targets if each.task.kind in metric.kinds)
        if "regression" in table.kinds and metric.two_values:
            wanted = "two different values of any target"
        raise ValueError(
            f"fold_{fold}: its {len(valid)} validation rows do not hold {wanted}, so they "
            "cannot choose the best epoch; use fewer folds, another kind of split or more data"
        )
