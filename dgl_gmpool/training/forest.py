"""Random forest on Morgan fingerprints: what any learnt representation has to beat.

Forests on circular fingerprints: Svetnik et al., J. Chem. Inf. Comput. Sci. 2003 (defaults of the
forest); Rogers and Hahn, J. Chem. Inf. Model. 2010 (fingerprints).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dgl_gmpool.data import MoleculeTable
from dgl_gmpool.data.features import joined_features
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.similarity import morgan
from dgl_gmpool.training.batches import derived_seed

if TYPE_CHECKING:
    from sklearn.ensemble import RandomForestClassifier


def forest_predictions(
    table: MoleculeTable,
    train: np.ndarray,
    asked: np.ndarray,
    *,
    seed: int,
    trees: int = 500,
    radius: int = 2,
    bits: int = 2048,
    counts: bool = False,
    max_features: str | float | None = None,
    min_samples_leaf: int = 1,
    class_weight: str | None = None,
) -> np.ndarray:
    """One forest per target, on the target's measured training rows.

    The features are the Morgan fingerprint of the SMILES, then what stands beside the molecule
    (``table.global_feats``, feature columns) as it is: a tree does not mind scales. What is not
    known is the mean of the training rows, as it is for a network. Bounds teach it nothing; weights
    of rows count. One thread; a repeated call gives the same bits.

    Parameters
    ----------
    table : MoleculeTable
    train, asked : numpy.ndarray
        Rows to learn from, and to predict.
    seed : int
        0 or more. Target t draws from ``(seed, t)``.
    trees : int
        Trees per forest.
    radius, bits : int
        Of the fingerprint: 2 and 2048 are ECFP4.
    counts : bool
        How often an environment occurs in place of whether it occurs.
    max_features : str, float or None
        Features tried per split: ``"sqrt"``, ``"log2"`` or a share in (0, 1]. None takes the
        classic ones, ``"sqrt"`` for classes and a third for numbers.
    min_samples_leaf : int
        Training rows that a leaf needs.
    class_weight : str, optional
        ``"balanced"`` or ``"balanced_subsample"``, for classes.

    Returns
    -------
    numpy.ndarray
        ``(asked, columns)`` float64: values, probabilities of class 1, or of each class of a
        multiclass target.

    Examples
    --------
    >>> from dgl_gmpool.data import load_sodium_channel
    >>> table = load_sodium_channel().take(range(40))
    >>> forest_predictions(table, np.arange(30), np.arange(30, 40), seed=0, trees=5).shape
    (10, 1)
    """
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    prints = morgan_fingerprints(table.smiles, radius=radius, bits=bits, counts=counts)
    beside, _ = joined_features(table)
    if beside is not None:
        beside = _filled(beside, train, table.weights)
    seen, new = _features(prints, beside, train), _features(prints, beside, asked)
    columns = []
    for task, (kind, classes) in enumerate(zip(table.kinds, table.classes)):
        targets = table.targets[train, task]
        measured = ~np.isnan(targets)
        options: dict[str, Any] = {
            "n_estimators": trees,
            "max_features": max_features,
            "min_samples_leaf": min_samples_leaf,
            "n_jobs": 1,
            # scikit-learn takes 32 bits.
            "random_state": derived_seed(seed, task) % 2**32,
        }
        rows = seen if measured.all() else seen[measured]
        weight = None if table.weights is None else table.weights[train][measured]
        if kind == "regression":
            options["max_features"] = 1 / 3 if max_features is None else max_features
            forest = RandomForestRegressor(**options)
            forest.fit(rows, targets[measured].astype(np.float64), weight)
            columns.append(forest.predict(new)[:, None])
        else:
            options["max_features"] = "sqrt" if max_features is None else max_features
            forest = RandomForestClassifier(class_weight=class_weight, **options)
            with warnings.catch_warnings():
                # scikit-learn's, of classes that nearly every row has for itself.
                warnings.filterwarnings("ignore", "The number of unique classes")
                forest.fit(rows, targets[measured].astype(np.int64), weight)
            wanted = list(range(len(classes))) or [1]
            columns.append(_probabilities(forest, new, wanted))
    return np.hstack(columns).astype(np.float64)


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
    generator = morgan(radius, bits)
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


def _filled(values: np.ndarray, train: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """NaN as the mean of the training rows, by their weights, or 0 where none of them is known."""
    share = ~np.isnan(values[train])
    if weights is not None:
        share = share * weights[train][:, None]
    total = share.sum(axis=0)
    mean = (np.nan_to_num(values[train]) * share).sum(axis=0) / np.where(total > 0, total, 1)
    return np.where(np.isnan(values), mean.astype(values.dtype), values)


def _features(prints: np.ndarray, beside: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
    """``(rows, bits + g)`` float32, the type scikit-learn's trees would copy them into."""
    columns = [prints[rows]] if beside is None else [prints[rows], beside[rows]]
    return np.hstack(columns, dtype=np.float32, casting="same_kind")


def _probabilities(
    forest: RandomForestClassifier, features: np.ndarray, wanted: Sequence[int]
) -> np.ndarray:
    """``(rows, wanted)``: the share of each class, also of one that training did not see."""
    known = list(forest.classes_)
    shares = forest.predict_proba(features)
    nothing = np.zeros(len(features))
    columns = [shares[:, known.index(each)] if each in known else nothing for each in wanted]
    return np.stack(columns, axis=1)
