"""The protocol: one test set, the rest in folds that are the validation set in turn."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dgl_gmpool._io import atomic_write_json
from dgl_gmpool._options import check_choice
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.stereo import without_stereo
from dgl_gmpool.data.table import MoleculeTable

SPLIT_KINDS = ("random", "scaffold", "group")
FORMAT = 1


@dataclass(frozen=True)
class Splits:
    """Row numbers of the test set and of every fold's training and validation rows.

    Attributes
    ----------
    seed : int
    kind : str
        "random", "scaffold" or "group".
    test : list of int
        Sorted row numbers. No fold touches them.
    folds : list of (list of int, list of int)
        ``(train, valid)`` per fold, sorted; together they are all rows but the test rows.
    rows : int
        Rows of the table the splits were made for.
    fingerprint : str
        Its :meth:`MoleculeTable.fingerprint`.
    """

    seed: int
    kind: str
    test: list[int]
    folds: list[tuple[list[int], list[int]]]
    rows: int
    fingerprint: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the splits as JSON, atomically."""
        atomic_write_json(
            path,
            {
                "format": FORMAT,
                "kind": self.kind,
                "seed": self.seed,
                "rows": self.rows,
                "fingerprint": self.fingerprint,
                "test": self.test,
                "folds": [{"train": train, "valid": valid} for train, valid in self.folds],
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Splits:
        """Read what :meth:`save` wrote; a file that is something else raises a ValueError."""
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
            if value["format"] != FORMAT:
                raise ValueError(f"format {value['format']!r}, this version reads {FORMAT}")
            splits = cls(
                seed=int(value["seed"]),
                kind=check_choice("kind of split", value["kind"], SPLIT_KINDS),
                test=_row_numbers(value["test"]),
                folds=[
                    (_row_numbers(fold["train"]), _row_numbers(fold["valid"]))
                    for fold in value["folds"]
                ],
                rows=int(value["rows"]),
                fingerprint=str(value["fingerprint"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a file of splits ({type(error).__name__}: {error}); "
                f"make new ones with make_splits(table).save(path)"
            ) from error
        splits._check_rows()
        return splits

    def check(self, table: MoleculeTable) -> None:
        """Raise a ValueError unless the splits were made for ``table`` and leak nothing.

        Leaking nothing means that no canonical SMILES and no group is both in the test set and
        outside it, or both in the training and the validation rows of a fold.
        """
        if self.rows != len(table) or self.fingerprint != table.fingerprint():
            raise ValueError(
                f"these splits were made for {self.rows} rows (fingerprint "
                f"{self.fingerprint[:12]}), the table {table.name!r} has {len(table)} (fingerprint "
                f"{table.fingerprint()[:12]}): the data, its selection or the RDKit version "
                f"changed. Make new splits, or load the data the old way"
            )
        self._check_rows()
        for fold, (train, valid) in enumerate(self.folds):
            sides = (("test", self.test), ("train", train), ("valid", valid))
            for column in (table.canonical, table.groups):
                seen: dict[str, str] = {}
                for side, rows in sides:
                    for row in rows:
                        other = seen.setdefault(column[row], side)
                        if other != side:
                            raise ValueError(
                                f"fold {fold}: {column[row]!r} is both in {other} and {side}; "
                                f"make new splits with make_splits(table)"
                            )

    def _check_rows(self) -> None:
        everything = list(range(self.rows))
        for fold, (train, valid) in enumerate(self.folds):
            if sorted([*self.test, *train, *valid]) != everything:
                raise ValueError(
                    f"fold {fold}: test, train and valid do not hold each of the {self.rows} rows "
                    f"once; make new splits with make_splits(table)"
                )


def make_splits(
    table: MoleculeTable,
    *,
    kind: str = "random",
    seed: int = 0,
    folds: int = 5,
    test_fraction: float = 0.1,
    stereo: bool = True,
) -> Splits:
    """One test set of about ``test_fraction`` of the rows; the rest in ``folds`` equal parts.

    Rows that share a canonical SMILES or a group always stay together, whatever the kind, so no
    molecule is ever on both sides.

    Parameters
    ----------
    table : MoleculeTable
    kind : str
        ``"random"`` (molecules), ``"group"`` (the same rule under the name that says it:
        ``table.groups`` stay together) or ``"scaffold"`` (molecules with one Bemis-Murcko
        scaffold stay together; a molecule without rings has no scaffold and stands for itself,
        since acyclic molecules have nothing in common). Scaffolds larger than half of a fold never
        go to the test set.
    seed : int
        The same seed gives the same splits on every platform and version: the order comes from
        SHA-256 of seed and row number, not from a random number generator.
    folds : int
        At least 2.
    test_fraction : float
        Between 0 and 1, both excluded.
    stereo : bool
        False: molecules that differ in stereochemistry alone stay together, for features that do
        not tell them apart.

    Returns
    -------
    Splits

    Raises
    ------
    ValueError
        If there are too few molecules (groups, scaffolds) for a test set and every fold.

    Examples
    --------
    >>> from dgl_gmpool.data import load_sodium_channel
    >>> splits = make_splits(load_sodium_channel(), seed=1)
    >>> len(splits.test), [len(valid) for _, valid in splits.folds]
    (102, [183, 183, 183, 183, 183])
    """
    check_choice("kind of split", kind, SPLIT_KINDS)
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed must be an int of 0 or more, got {seed!r}")
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise ValueError(f"folds must be an int of 2 or more, got {folds!r}")
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction!r}")

    columns: list[Sequence[Hashable]] = [table.canonical, table.groups]
    if not stereo:
        columns.append([without_stereo(smiles) for smiles in table.canonical])
    if kind == "scaffold":
        columns.append(scaffolds(table.canonical))
    units = _shuffled(_units(len(table), columns), seed)
    unit_name = {"scaffold": "scaffolds", "group": "groups", "random": "molecules"}[kind]
    if len(units) < folds + 1:
        raise ValueError(
            f"{len(units)} distinct {unit_name} ({len(table)} rows) cannot fill a test set and "
            f"{folds} folds; give more data or fewer folds"
        )

    wanted = max(1, math.ceil(len(table) * test_fraction - 1e-9))
    fold_rows = (len(table) - wanted) / folds
    test: list[int] = []
    rest: list[list[int]] = []
    for position, unit in enumerate(units):
        left = len(units) - position - 1
        fits = len(test) + len(unit) <= wanted and len(unit) <= max(1.0, fold_rows / 2)
        if fits and len(rest) + left >= folds:
            test.extend(unit)
        else:
            rest.append(unit)
    if not test:
        smallest = min(rest, key=len)
        rest.remove(smallest)
        test = list(smallest)

    parts: list[list[int]] = [[] for _ in range(folds)]
    # Largest first, each to the emptiest fold: the folds come out equal, and sorting is stable, so
    # units of one size keep their shuffled order.
    for unit in sorted(rest, key=len, reverse=True):
        min(parts, key=len).extend(unit)
    splits = Splits(
        seed=seed,
        kind=kind,
        test=sorted(test),
        folds=[
            (
                sorted(row for other in parts if other is not part for row in other),
                sorted(part),
            )
            for part in parts
        ],
        rows=len(table),
        fingerprint=table.fingerprint(),
    )
    splits.check(table)
    return splits


def scaffolds(canonical: Iterable[str]) -> list[str]:
    """The Bemis-Murcko scaffold of each molecule, or the molecule itself where it has no ring.

    >>> scaffolds(["CCc1ccccc1", "CCO", "OCCc1ccccc1"])
    ['c1ccccc1', 'acyclic CCO', 'c1ccccc1']
    """
    from rdkit import Chem
    from rdkit.Chem.Scaffolds.MurckoScaffold import GetScaffoldForMol

    known: dict[str, str] = {}
    found = []
    for smiles in canonical:
        if smiles not in known:
            mol, _ = read_molecule(smiles)
            scaffold = (
                ""
                if mol is None
                else Chem.MolToSmiles(GetScaffoldForMol(mol), isomericSmiles=False)
            )
            known[smiles] = scaffold or f"acyclic {smiles}"
        found.append(known[smiles])
    return found


def _units(rows: int, columns: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """Sets of rows that are tied, directly or in a chain, by an equal value in any column."""
    parent = list(range(rows))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for column in columns:
        first: dict[Hashable, int] = {}
        for row, value in enumerate(column):
            a, b = root(first.setdefault(value, row)), root(row)
            parent[max(a, b)] = min(a, b)
    members: dict[int, list[int]] = {}
    for row in range(rows):
        members.setdefault(root(row), []).append(row)
    return list(members.values())


def _shuffled(units: list[list[int]], seed: int) -> list[list[int]]:
    def key(unit: list[int]) -> bytes:
        return hashlib.sha256(f"dgl_gmpool splits {seed} {unit[0]}".encode()).digest()

    return sorted(units, key=key)


def _row_numbers(values: object) -> list[int]:
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise TypeError("row numbers must be a list of integers")
    return values
