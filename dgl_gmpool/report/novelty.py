"""How new a row is to the models that predict it: its scaffold, its nearest training molecule."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.similarity import nearest
from dgl_gmpool.data.splits import scaffolds
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
    nearest : tuple of str
        That molecule.
    same_scaffold : numpy.ndarray
        How many molecules the model was trained on have the same Bemis-Murcko scaffold; -1 for a
        molecule without rings, which has none.
    """

    rows: np.ndarray
    similarity: np.ndarray
    nearest: tuple[str, ...]
    same_scaffold: np.ndarray


def novelty(run: RunData, part: PredictedRows) -> Novelty:
    """Compare the rows of a part with what the models that predict them were trained on.

    Raises
    ------
    ValueError
        The folder does not say what they were trained on.
    """
    known = known_molecules(run)
    if not known:
        raise ValueError(
            "the run folder does not say what the models were trained on (an earlier version wrote "
            "it); train again to see this"
        )
    rows = _evenly([row for row, text in enumerate(part.canonical) if text], MOST_ROWS)
    known_frames, prints = _described(tuple(known))
    place_of = {smiles: place for place, smiles in enumerate(known)}
    own_prints = fingerprints_of([part.canonical[row] for row in rows])
    own_frames = scaffolds([part.canonical[row] for row in rows])
    similarity, same = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    found = [""] * len(rows)
    folds = part.folds[rows]
    for fold in np.unique(folds):
        mine = np.flatnonzero(folds == fold)
        # The validation rows of a fold are what its model was not trained on.
        held_out = {part.canonical[row] for row in np.flatnonzero(part.folds == fold)}
        seen = [place_of[text] for text in known if fold < 0 or text not in held_out]
        if not seen:
            continue
        frames = Counter(known_frames[place] for place in seen)
        similarity[mine], places = nearest(own_prints[mine], prints[seen])
        for row, place in zip(mine, places):
            found[row] = known[seen[place]]
            ringed = _has_ring(part.canonical[rows[row]])
            same[row] = frames.get(own_frames[row], 0) if ringed else -1
    return Novelty(np.asarray(rows, np.int64), similarity, tuple(found), same)


def known_molecules(run: RunData) -> list[str]:
    """Distinct canonical SMILES outside the test set, at most ``MOST_KNOWN``; empty where the
    folder does not say."""
    if run.files.known_molecules.exists():
        found = list(KnownMolecules.read(run.files.known_molecules).smiles)
    elif run.valid is not None and len(np.unique(run.valid.folds)) > 1:
        # Every row outside the test set is a validation row of one fold.
        found = [text for text in run.valid.canonical if text]
    else:
        found = []
    return _evenly(list(dict.fromkeys(found)), MOST_KNOWN)


@lru_cache(maxsize=1)
def _described(smiles: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    """Scaffolds and fingerprints; those of one run serve several parts of its page."""
    return scaffolds(smiles), fingerprints_of(smiles)


def _evenly(values: list[T], most: int) -> list[T]:
    places = np.unique(np.linspace(0, len(values) - 1, min(len(values), most)).round().astype(int))
    return [values[place] for place in places] if values else []


def _has_ring(smiles: str) -> bool:
    mol, _ = read_molecule(smiles)
    return mol is not None and mol.GetRingInfo().NumRings() > 0
