"""The molecules that a run's models know, and what they say of a new one.

``training_molecules.csv`` of a run folder has a row for each molecule that was trained on:
``smiles``, ``rows`` (of the table) and a column for each target with the mean of what was measured
(blank for targets of several classes).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dgl_gmpool._io import atomic_write_csv
from dgl_gmpool.data import MoleculeTable
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.similarity import BITS, fingerprints, nearest


@dataclass(frozen=True)
class Neighbours:
    """The nearest known molecule of each of some rows.

    Attributes
    ----------
    similarity : numpy.ndarray
        ``(rows,)`` float64, Tanimoto of Morgan fingerprints (radius 2, 2048 bits).
    smiles : tuple of str
    targets : numpy.ndarray
        ``(rows, tasks)`` float64: what was measured of it, NaN where nothing was.
    """

    similarity: np.ndarray
    smiles: tuple[str, ...]
    targets: np.ndarray


@dataclass(frozen=True)
class KnownMolecules:
    """Distinct molecules and what was measured of them.

    Attributes
    ----------
    smiles : tuple of str
    rows : tuple of int
        Of the table, per molecule.
    targets : numpy.ndarray
        ``(molecules, tasks)`` float64, NaN where nothing was measured.
    task_names : tuple of str
    """

    smiles: tuple[str, ...]
    rows: tuple[int, ...]
    targets: np.ndarray
    task_names: tuple[str, ...]

    @classmethod
    def of(cls, table: MoleculeTable, rows: Sequence[int]) -> KnownMolecules:
        """Those of some rows of a table, in their order."""
        index = np.asarray(rows, dtype=np.int64)
        first: dict[str, int] = {}
        place = np.array(
            [first.setdefault(table.canonical[row], len(first)) for row in index], np.int64
        )
        targets = table.targets[index]
        measured = ~np.isnan(targets)
        sums, counts = np.zeros((len(first), targets.shape[1])), np.zeros((len(first), 1), int)
        cells = np.zeros_like(sums)
        np.add.at(sums, place, np.where(measured, targets, 0.0))
        np.add.at(cells, place, measured)
        np.add.at(counts, place, 1)
        # Numbers of classes have no mean.
        cells[:, np.array(table.kinds) == "multiclass"] = 0
        means = np.divide(sums, cells, out=np.full_like(sums, np.nan), where=cells > 0)
        return cls(tuple(first), tuple(counts[:, 0].tolist()), means, table.task_names)

    def write(self, path: str | os.PathLike[str]) -> None:
        """As CSV; every number round-trips."""
        rows: list[list[Any]] = [["smiles", "rows", *self.task_names]]
        for smiles, count, values in zip(self.smiles, self.rows, self.targets.tolist()):
            rows.append([smiles, count, *("" if value != value else value for value in values)])
        atomic_write_csv(path, rows)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> KnownMolecules:
        """What :meth:`write` wrote.

        Raises
        ------
        ValueError
            The file holds something else.
        """
        try:
            with open(path, encoding="utf-8", newline="") as file:
                header, *lines = csv.reader(file)
            if header[:2] != ["smiles", "rows"]:
                raise ValueError(f"its columns are {', '.join(header[:4])}")
            values = [[float(cell or "nan") for cell in line[2:]] for line in lines]
            return cls(
                tuple(line[0] for line in lines),
                tuple(int(line[1]) for line in lines),
                np.array(values, np.float64).reshape(len(lines), len(header) - 2),
                tuple(header[2:]),
            )
        except (ValueError, IndexError, csv.Error) as error:
            raise ValueError(
                f"{path} is not readable as a run's training molecules ({error}); was it edited? "
                "Delete it to predict without similarities and what hangs on them, or copy the run "
                "again"
            ) from error

    @cached_property
    def fingerprints(self) -> np.ndarray:
        """``(molecules, 256)`` uint8."""
        return fingerprints_of(self.smiles)

    @cached_property
    def place(self) -> dict[str, int]:
        """SMILES -> its number."""
        return {smiles: at for at, smiles in enumerate(self.smiles)}

    def nearest(self, query: np.ndarray, canonical: Sequence[str] = ()) -> Neighbours:
        """To fingerprints ``(rows, 256)``; a known molecule, by its canonical SMILES, is its own
        nearest, whatever else has the same fingerprint."""
        similarity, place = nearest(query, self.fingerprints)
        for row, smiles in enumerate(canonical):
            place[row] = self.place.get(smiles, place[row])
        return Neighbours(similarity, tuple(self.smiles[i] for i in place), self.targets[place])


def fingerprints_of(smiles: Sequence[str]) -> np.ndarray:
    """``(molecules, 256)`` uint8; zeros for a SMILES that this RDKit refuses."""
    found = np.zeros((len(smiles), BITS // 8), np.uint8)
    for row, text in enumerate(smiles):
        mol, _ = read_molecule(text)
        if mol is not None:
            found[row] = fingerprints([mol])[0]
    return found


@dataclass(frozen=True)
class Domain:
    """Where the models were tried: on the validation rows.

    Attributes
    ----------
    similarity : float
        99 of 100 validation rows were at least as similar to their nearest training molecule.
    heavy_atoms : int
        No validation row had more.
    """

    similarity: float
    heavy_atoms: int

    #: Share of the validation rows that may be less similar than the limit.
    SHARE = 0.01

    def notes(self, similarity: np.ndarray, heavy_atoms: np.ndarray) -> list[str]:
        """Per row why it is outside; empty where it is not. Few different texts."""
        far = (
            "outside the domain: less similar to every training molecule than 99 % of the "
            f"validation rows (below {self.similarity:.2f})"
        )
        large = (
            "outside the domain: larger than every validation row (more than "
            f"{self.heavy_atoms} heavy atoms)"
        )
        return [
            "; ".join(
                text
                for text, out in ((large, atoms > self.heavy_atoms), (far, near < self.similarity))
                if out
            )
            for near, atoms in zip(similarity, heavy_atoms)
        ]

    def to_dict(self) -> dict[str, Any]:
        return {"similarity": self.similarity, "heavy_atoms": self.heavy_atoms}
