"""The random forest of the package as a rival, with options that are tuned and checked."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from dgl_gmpool._options import check_choice, positive_int
from dgl_gmpool.data import MoleculeDataset
from dgl_gmpool.training.forest import forest_predictions
from experiments.table2.rival_fold import RivalFold, check_rows, natural_number

CLASS_WEIGHTS = ("balanced", "balanced_subsample")
FEATURE_RULES = ("sqrt", "log2")


def fit_forest(
    dataset: MoleculeDataset,
    train: Sequence[int],
    valid: Sequence[int],
    test: Sequence[int],
    *,
    seed: int,
    trees: int = 500,
    radius: int = 2,
    bits: int = 2048,
    counts: bool = False,
    max_features: str | float | None = None,
    min_samples_leaf: int = 1,
    class_weight: str | None = None,
) -> RivalFold:
    """One forest per task, on the task's measured training rows.

    The features are the Morgan fingerprint of the SMILES the graphs were made from, then
    ``table.global_feats`` as they are (a tree does not mind scales). One thread; a repeated call
    gives the same bits.

    Parameters
    ----------
    dataset : MoleculeDataset
    train, valid, test : sequence of int
        Rows of ``dataset.table``. The validation rows are only predicted.
    seed : int
        0 or more. Task t draws from ``(seed, t)``.
    trees : int
        Trees per forest.
    radius, bits : int
        Of the fingerprint: 2 and 2048 are ECFP4.
    counts : bool
        How often an environment occurs in place of whether it occurs.
    max_features : str, float or None
        Features tried per split: ``"sqrt"``, ``"log2"`` or a share in (0, 1]. None takes the
        classic ones, ``"sqrt"`` for classification and a third for regression.
    min_samples_leaf : int
        Training rows that a leaf needs.
    class_weight : str, optional
        ``"balanced"`` or ``"balanced_subsample"``; for classification only.

    Returns
    -------
    RivalFold
        ``best_epoch``, ``epochs`` and ``parameters`` are None.

    Raises
    ------
    ValueError
        An option or the rows are not usable (see :func:`check_rows`).

    Examples
    --------
    >>> from dgl_gmpool.data import featurize, load_sodium_channel
    >>> data = featurize(load_sodium_channel().take(range(40)), progress=False)
    >>> fold = fit_forest(data, range(30), range(30, 35), range(35, 40), seed=0, trees=5)
    >>> fold.valid.shape, fold.test.shape
    ((5, 1), (5, 1))
    """
    table = dataset.table
    classify = table.kind == "classification"
    _check_options(seed, trees, radius, bits, counts, min_samples_leaf)
    features_tried = _check_max_features(max_features)
    if class_weight is not None:
        check_choice("class_weight", class_weight, CLASS_WEIGHTS)
        if not classify:
            raise ValueError(
                f"class_weight is {class_weight!r}, but {table.name!r} holds regression targets; "
                "leave class_weight at None"
            )
    train_rows, valid_rows, test_rows = check_rows(table, train, valid, test)

    started = time.perf_counter()
    asked = np.concatenate([valid_rows, test_rows])
    predictions = forest_predictions(
        table,
        train_rows,
        asked,
        seed=seed,
        trees=trees,
        radius=radius,
        bits=bits,
        counts=counts,
        max_features=features_tried,
        min_samples_leaf=min_samples_leaf,
        class_weight=class_weight,
    )
    return RivalFold(
        valid=predictions[: len(valid_rows)],
        test=predictions[len(valid_rows) :],
        best_epoch=None,
        epochs=None,
        parameters=None,
        seconds=time.perf_counter() - started,
    )


def _check_options(
    seed: int, trees: int, radius: int, bits: int, counts: bool, min_samples_leaf: int
) -> None:
    natural_number("seed", seed)
    positive_int("trees", trees)
    natural_number("radius", radius)
    positive_int("bits", bits)
    positive_int("min_samples_leaf", min_samples_leaf)
    if not isinstance(counts, bool):
        raise ValueError(f"counts is {counts!r}; give True or False")


def _check_max_features(value: str | float | None) -> str | float | None:
    if value is None:
        return None
    if isinstance(value, str):
        return check_choice("max_features", value, FEATURE_RULES)
    # scikit-learn reads an int as a number of features: 1 would be one feature, not all.
    if isinstance(value, float) and 0 < value <= 1:
        return value
    raise ValueError(
        f"max_features is {value!r}; give a share as a float in (0, 1], such as 0.33, or one of "
        f"{', '.join(FEATURE_RULES)}"
    )
