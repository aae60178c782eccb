"""The random forest of the package as a rival."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from dgl_gmpool.data import MoleculeDataset
from dgl_gmpool.training.forest import forest_predictions
from experiments.table2.rival_fold import RivalFold, check_rows


def fit_forest(
    dataset: MoleculeDataset,
    train: Sequence[int],
    valid: Sequence[int],
    test: Sequence[int],
    *,
    seed: int,
    **options: Any,
) -> RivalFold:
    """One forest per task, on the task's measured training rows.

    Parameters
    ----------
    dataset : MoleculeDataset
    train, valid, test : sequence of int
        Rows of ``dataset.table``. The validation rows are only predicted.
    seed : int
        0 or more.
    **options
        Of :func:`~dgl_gmpool.training.forest.forest_predictions`.

    Returns
    -------
    RivalFold
        ``best_epoch``, ``epochs`` and ``parameters`` are None.

    Raises
    ------
    ValueError
        The rows are not usable (see :func:`check_rows`), or scikit-learn refuses an option.

    Examples
    --------
    >>> from dgl_gmpool.data import featurize, load_sodium_channel
    >>> data = featurize(load_sodium_channel().take(range(40)), progress=False)
    >>> fold = fit_forest(data, range(30), range(30, 35), range(35, 40), seed=0, trees=5)
    >>> fold.valid.shape, fold.test.shape
    ((5, 1), (5, 1))
    """
    train_rows, valid_rows, test_rows = check_rows(dataset.table, train, valid, test)
    started = time.perf_counter()
    asked = np.concatenate([valid_rows, test_rows])
    predictions = forest_predictions(dataset.table, train_rows, asked, seed=seed, **options)
    return RivalFold(
        valid=predictions[: len(valid_rows)],
        test=predictions[len(valid_rows) :],
        best_epoch=None,
        epochs=None,
        parameters=None,
        seconds=time.perf_counter() - started,
    )
