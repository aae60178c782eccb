"""What a rival method hands back for one fold, and the checks before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dgl_gmpool.data import MoleculeTable


@dataclass(frozen=True)
class RivalFold:
    """Predictions of one fold.

    Attributes
    ----------
    valid, test : numpy.ndarray
        ``(rows, tasks)`` float64, in the order of the rows asked for: probabilities of the
        positive class, or values in the target's unit. Always finite.
    best_epoch, epochs : int or None
        The epoch the predictions come from (counted from 1) and the epochs trained; None for a
        method without epochs.
    parameters : int or None
        Trained weights; None for a method without weights.
    seconds : float
        Training and prediction, without featurising.
    """

    valid: np.ndarray
    test: np.ndarray
    best_epoch: int | None
    epochs: int | None
    parameters: int | None
    seconds: float


def check_rows(
    table: MoleculeTable, train: Sequence[int], valid: Sequence[int], test: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three sides as int64 arrays, after refusing what cannot be a fold.

    Raises
    ------
    TypeError
        Row numbers are not integers.
    ValueError
        A side is empty, a row does not exist or is named twice, or a task has no measured
        training row.

    Examples
    --------
    >>> from dgl_gmpool.data import load_sodium_channel
    >>> check_rows(load_sodium_channel(), [0, 1], [2], [5, 4])[2]
    array([5, 4])
    """
    sides = {"train": train, "valid": valid, "test": test}
    found: dict[str, np.ndarray] = {}
    for name, rows in sides.items():
        index = np.asarray(rows)
        if index.ndim != 1 or len(index) == 0:
            raise ValueError(
                f"{name} has the shape {index.shape}, expected a list of at least one row number"
            )
        if not np.issubdtype(index.dtype, np.integer):
            raise TypeError(
                f"{name} holds {index.dtype} values, expected integer row numbers as in Splits"
            )
        outside = index[(index < 0) | (index >= len(table))]
        if len(outside):
            raise ValueError(
                f"{name} names row {int(outside[0])}, but {table.name!r} has the rows 0 to "
                f"{len(table) - 1}; use splits made for this table"
            )
        found[name] = index.astype(np.int64)
    named, times = np.unique(np.concatenate(list(found.values())), return_counts=True)
    if (times > 1).any():
        raise ValueError(
            f"row {int(named[times > 1][0])} is named more than once in train, valid and test; "
            "every row belongs to one side, once"
        )
    unmeasured = np.isnan(table.targets[found["train"]]).all(axis=0)
    if unmeasured.any():
        names = ", ".join(name for name, bad in zip(table.task_names, unmeasured) if bad)
        raise ValueError(
            f"none of the {len(found['train'])} training rows has a measured {names}; leave that "
            "target out or use fewer folds"
        )
    return found["train"], found["valid"], found["test"]
