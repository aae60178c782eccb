"""How new a row is to the models that predict it: its scaffold, its nearest training molecule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np

from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.similarity import nearest
from dgl_gmpool.data.split_units import scaffolds
from dgl_gmpool.report.run_data import PredictedRows, RunData
from dgl_gmpool.training.known_molecules import KnownMolecules, fingerprints_of

T = TypeVar("T")

#: Rows of a part that are looked at, evenly apart: the page takes seconds.
MOST_ROWS = 1500
#: Training molecules that they are compared with.
MOST_KNOWN = 20_000


@dataclass(frozen=True)
class Novelty:
    """Of some rows of a part.

    Attributes
    ----------
    rows : numpy.ndarray
        Which of its rows.
    similarity : numpy.ndarray
        To the nearest molecule that the model was trained on (Tanimoto, Morgan 2, 2048 bits).
    same_scaffold : numpy.ndarray
        How many molecules the model was trained on have the same Bemis-Murcko scaffold; -1 for a
        molecule without rings, which has none.
    """

    rows: np.ndarray
    similarity: np.ndarray
    same_scaffold: np.ndarray


# Two sections of the page ask for it, of two parts.
@lru_cache(maxsize=2)
def novelty(run: RunData, part: PredictedRows) -> Novelty:
    """Compare the rows of a part with what the models that predict them were trained on.

    Raises
    ------
    ValueError
        The folder does not say what they were trained on.
    """
    known = known_molecules(run)
    known_frames, prints = _described(known.smiles)
    rows = [row for row in _evenly(range(len(part)), MOST_ROWS) if part.canonical(row)]
    own = tuple(part.canonical(row) for row in rows)
    own_prints, own_frames = fingerprints_of(own), scaffolds(own)
    similarity, same = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    folds = part.folds[rows]
    for fold in np.unique(folds):
        mine = np.flatnonzero(folds == fold)
        # The validation rows of a fold are what its model was not trained on. Rows of one molecule
        # are on one side of a split.
        seen = np.flatnonzero((known.folds != fold) | (fold < 0))
        if not len(seen):
            continue
        frames = Counter(known_frames[place] for place in seen)
        similarity[mine], _ = nearest(own_prints[mine], prints[seen])
        for row in mine:
            same[row] = frames.get(own_frames[row], 0) if _has_ring(own[row]) else -1
    return Novelty(np.asarray(rows, np.int64), similarity, same)


class Known(NamedTuple):
    """Distinct molecules outside the test set, and whose validation rows they are; -2: of none."""

    smiles: tuple[str, ...]
    folds: np.ndarray


def known_molecules(run: RunData) -> Known:
    """At most ``MOST_KNOWN`` of them, evenly apart.

    Raises
    ------
    ValueError
        The folder does not say what the models were trained on.
    """
    valid = run.valid
    fold_of: dict[str, int] = {}
    if valid is not None and len(np.unique(valid.folds)) > 1:
        # Every row outside the test set is a validation row of one fold.
        for row in _evenly(range(len(valid)), MOST_KNOWN):
            fold_of.setdefault(valid.canonical(row), int(valid.folds[row]))
        trained = _trained_on(run, len(valid))
        if trained is not None:
            fold_of = {smiles: fold for smiles, fold in fold_of.items() if smiles in trained}
    elif run.files.known_molecules.exists():
        known = KnownMolecules.read(run.files.known_molecules).smiles
        fold_of = dict.fromkeys(_evenly(known, MOST_KNOWN), -2)
        for row in range(0 if valid is None else len(valid)):
            if valid is not None and valid.canonical(row) in fold_of:
                fold_of[valid.canonical(row)] = int(valid.folds[row])
    else:
        raise ValueError(
            "the run folder does not say what the models were trained on (an earlier version wrote "
            "it); train again to see this"
        )
    fold_of.pop("", None)
    return Known(tuple(fold_of), np.array(list(fold_of.values()), np.int64))


def _trained_on(run: RunData, valid_rows: int) -> set[str] | None:
    """The molecules of a run with rows of weight 0; None where it is not known to have such."""
    if not run.files.known_molecules.exists():
        return None
    known = KnownMolecules.read(run.files.known_molecules)
    # Final models learn from the test rows, too.
    rows = valid_rows + (len(run.test or ()) if run.metrics.get("final") else 0)
    return set(known.smiles) if sum(known.rows) < rows else None


@lru_cache(maxsize=1)
def _described(smiles: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    """Scaffolds and fingerprints; those of one run serve several parts of its page."""
    return scaffolds(smiles), fingerprints_of(smiles)


def _evenly(values: Sequence[T], most: int) -> list[T]:
    if len(values) <= most:
        return list(values)
    places = np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))
    return [values[place] for place in places]


def _has_ring(smiles: str) -> bool:
    mol, _ = read_molecule(smiles)
    return mol is not None and mol.GetRingInfo().NumRings() > 0
