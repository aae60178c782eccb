"""Random forest on Morgan fingerprints: what any learnt representation has to beat.

Forests on circular fingerprints: Svetnik et al., J. Chem. Inf. Comput. Sci. 2003 (defaults of the
forest); Rogers and Hahn, J. Chem. Inf. Model. 2010 (fingerprints).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from rdkit.Chem import rdFingerprintGenerator
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from dgl_gmpool._options import check_choice, positive_int
from dgl_gmpool.data import MoleculeDataset
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.training.batches import derived_seed
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
    features_tried = _check_max_features(max_features, classify)
    if class_weight is not None:
        check_choice("class_weight", class_weight, CLASS_WEIGHTS)
        if not classify:
            raise ValueError(
                f"class_weight is {class_weight!r}, but {table.name!r} holds regression targets; "
                "leave class_weight at None"
            )
    train_rows, valid_rows, test_rows = check_rows(table, train, valid, test)

    prints = morgan_fingerprints(table.smiles, radius=radius, bits=bits, counts=counts)
    started = time.perf_counter()
    seen = _features(prints, table.global_feats, train_rows)
    asked = _features(prints, table.global_feats, np.concatenate([valid_rows, test_rows]))
    columns = []
    for task in range(len(table.task_names)):
        targets = table.targets[train_rows, task]
        measured = ~np.isnan(targets)
        options = {
            "n_estimators": trees,
            "max_features": features_tried,
            "min_samples_leaf": min_samples_leaf,
            "n_jobs": 1,
            # scikit-learn takes 32 bits.
            "random_state": derived_seed(seed, task) % 2**32,
        }
        rows = seen if measured.all() else seen[measured]
        if classify:
            forest = RandomForestClassifier(class_weight=class_weight, **options)
            forest.fit(rows, targets[measured].astype(np.int64))
            columns.append(_positive_probability(forest, asked))
        else:
            forest = RandomForestRegressor(**options)
            forest.fit(rows, targets[measured].astype(np.float64))
            columns.append(forest.predict(asked))
    predictions = np.stack(columns, axis=1).astype(np.float64)
    return RivalFold(
        valid=predictions[: len(valid_rows)],
        test=predictions[len(valid_rows) :],
        best_epoch=None,
        epochs=None,
        parameters=None,
        seconds=time.perf_counter() - started,
    )


def morgan_fingerprints(
    smiles: Sequence[str], *, radius: int = 2, bits: int = 2048, counts: bool = False
) -> np.ndarray:
    """Morgan fingerprints, folded to ``bits``.

    Parameters
    ----------
    smiles : sequence of str
    radius, bits : int
        Bonds around an atom, and the length.
    counts : bool
        Occurrences (up to 255) in place of 0 and 1.

    Returns
    -------
    numpy.ndarray
        ``(molecules, bits)`` uint8, read-only: the last few sets are kept, for the next fold.

    Raises
    ------
    ValueError
        RDKit refuses a SMILES.

    Examples
    --------
    >>> prints = morgan_fingerprints(["CCO", "OCC", "CCCCCCCC"], bits=1024)
    >>> prints.shape, bool((prints[0] == prints[1]).all()), int(prints[2].max())
    ((3, 1024), True, 1)
    """
    return _fingerprints(tuple(smiles), radius, bits, counts)


@lru_cache(maxsize=4)
def _fingerprints(smiles: tuple[str, ...], radius: int, bits: int, counts: bool) -> np.ndarray:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)
    found = np.empty((len(smiles), bits), dtype=np.uint8)
    for row, text in enumerate(smiles):
        mol, why = read_molecule(text)
        if mol is None:
            raise ValueError(f"{text!r} (row {row}) is refused by RDKit: {why}; leave the row out")
        if counts:
            # Counts above 255 would wrap around; a tree loses nothing by stopping there.
            found[row] = np.minimum(generator.GetCountFingerprintAsNumPy(mol), 255)
        else:
            found[row] = generator.GetFingerprintAsNumPy(mol)
    found.flags.writeable = False
    return found


def _features(prints: np.ndarray, global_feats: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """``(rows, bits + g)`` float32, the type scikit-learn's trees would copy them into."""
    columns = [prints[rows]] if global_feats is None else [prints[rows], global_feats[rows]]
    return np.hstack(columns, dtype=np.float32, casting="same_kind")


def _positive_probability(forest: RandomForestClassifier, features: np.ndarray) -> np.ndarray:
    """``(rows,)``: the share of class 1, also where training saw one class only."""
    classes = list(forest.classes_)
    if 1 not in classes:
        return np.zeros(len(features))
    return forest.predict_proba(features)[:, classes.index(1)]


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


def _check_max_features(value: str | float | None, classify: bool) -> str | float:
    if value is None:
        return "sqrt" if classify else 1 / 3
    if isinstance(value, str):
        return check_choice("max_features", value, FEATURE_RULES)
    # scikit-learn reads an int as a number of features: 1 would be one feature, not all.
    if isinstance(value, float) and 0 < value <= 1:
        return value
    raise ValueError(
        f"max_features is {value!r}; give a share as a float in (0, 1], such as 0.33, or one of "
        f"{', '.join(FEATURE_RULES)}"
    )
