"""Groups as pieces of a molecule: their SMILES, what is left without them, pairs that differ."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

from rdkit import Chem, rdBase

#: What stands for a group that is not there, only a hydrogen.
HYDROGEN = "*[H]"


def fragment_smiles(mol: Chem.Mol, atoms: Iterable[int]) -> str:
    """Canonical SMILES of some atoms, ``*`` where a bond to the others is cut.

    Stereochemistry is left out, so that a fragment is one and the same wherever it stands; pieces
    that are not joined are separated by a dot.

    Examples
    --------
    >>> fragment_smiles(Chem.MolFromSmiles("OC(=O)c1ccccc1"), [0, 1, 2])
    '*C(=O)O'
    """
    return _cut(mol, set(atoms))[0]


def context_smiles(mol: Chem.Mol, atoms: Iterable[int]) -> str:
    """Canonical SMILES of all atoms but these, ``*`` where a bond to these is cut.

    Examples
    --------
    >>> context_smiles(Chem.MolFromSmiles("OC(=O)c1ccccc1"), [0, 1, 2])
    '*c1ccccc1'
    """
    return _cut(mol, set(atoms))[1]


def flat_smiles(mol: Chem.Mol) -> str:
    """Canonical SMILES of a molecule without stereochemistry and atom maps."""
    return Chem.MolToSmiles(_flat(mol))


def _flat(mol: Chem.Mol) -> Chem.Mol:
    copy = Chem.Mol(mol)
    Chem.RemoveStereochemistry(copy)
    for atom in copy.GetAtoms():
        atom.SetAtomMapNum(0)
    return copy


def _cut(mol: Chem.Mol, atoms: set[int]) -> tuple[str, str]:
    """SMILES of the atoms and of the others."""
    copy = _flat(mol)
    ends = (
        (bond.GetIdx(), bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in mol.GetBonds()
    )
    cuts = [bond for bond, u, v in ends if (u in atoms) != (v in atoms)]
    if cuts:
        copy = Chem.FragmentOnBonds(copy, cuts, dummyLabels=[(0, 0)] * len(cuts))
    sides: tuple[list[str], list[str]] = ([], [])
    with rdBase.BlockLogs():
        for piece in Chem.GetMolFrags(copy):
            inside = any(atom in atoms for atom in piece)
            text = Chem.MolFragmentToSmiles(copy, atomsToUse=list(piece))
            sides[0 if inside else 1].append(text)
    return ".".join(sorted(sides[0])), ".".join(sorted(sides[1]))


@dataclass(frozen=True)
class FragmentRow:
    """A fragment over a whole table.

    Attributes
    ----------
    fragment, target : str
    count, molecules : int
        How many groups, and in how many molecules.
    mean, spread : float
        Mean of their contributions, and the standard deviation (0 for one).
    """

    fragment: str
    target: str
    count: int
    molecules: int
    mean: float
    spread: float

    @property
    def weight(self) -> float:
        """How much the fragment moves predictions over the whole table."""
        return self.count * abs(self.mean)


def fragment_rows(groups: Iterable[tuple[int, str, str, float]]) -> list[FragmentRow]:
    """Fragments from ``(row, target, fragment, contribution)`` of all groups, those that matter
    most first. Contributions to different targets are not averaged; those beside different solvents
    or features are.

    Examples
    --------
    >>> fragment_rows([(2, "y", "*O", 1.0), (3, "y", "*O", 2.0), (3, "y", "*C", 0.1)])[0]
    FragmentRow(fragment='*O', target='y', count=2, molecules=2, mean=1.5, spread=0.5)
    """
    import numpy as np

    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for row, target, fragment, contribution in groups:
        found.setdefault((fragment, target), []).append((row, contribution))
    rows = []
    for (fragment, target), each in found.items():
        values = np.array([contribution for _, contribution in each])
        rows.append(
            FragmentRow(
                fragment,
                target,
                len(each),
                len({row for row, _ in each}),
                float(values.mean()),
                float(values.std()) if len(values) > 1 else float("nan"),
            )
        )
    return sorted(rows, key=lambda row: (-row.weight, row.fragment, row.target))


class Setting(NamedTuple):
    """What two predictions must have in common to be compared: the target, and what stands beside
    the molecule."""

    target: str
    beside: str = ""


@dataclass(frozen=True)
class Cut:
    """One molecule without one of its groups.

    Attributes
    ----------
    row : int
    setting : Setting
    canonical : str
        :func:`flat_smiles` of the molecule.
    fragment, context : str
        See :func:`fragment_smiles` and :func:`context_smiles`.
    prediction, contribution : float
        Of the molecule and of the group.
    """

    row: int
    setting: Setting
    canonical: str
    fragment: str
    context: str
    prediction: float
    contribution: float


@dataclass(frozen=True)
class Pair:
    """Two molecules that differ in one group: ``context`` with ``first`` or ``second`` on it, in
    one setting."""

    context: str
    first: Cut
    second: Cut

    @property
    def difference(self) -> float:
        """Prediction of the second molecule less that of the first."""
        return self.second.prediction - self.first.prediction


def matched_pairs(cuts: Sequence[Cut], *, most: int) -> tuple[list[Pair], int]:
    """Pairs of rows with one setting, one context and two fragments, the largest differences first.

    A molecule that is the context itself, with a hydrogen where the group was, is a partner too.

    Parameters
    ----------
    cuts : sequence of Cut
        One for each group of each molecule.
    most : int
        How many pairs to return.

    Returns
    -------
    list of Pair
    int
        How many there are.
    """
    bare: dict[tuple[Setting, str], Cut] = {}
    for cut in cuts:
        bare.setdefault((cut.setting, cut.canonical), cut)
    by_context: dict[tuple[Setting, str], dict[tuple[str, str], Cut]] = {}
    for cut in cuts:
        if cut.context.strip("*."):
            members = by_context.setdefault((cut.setting, cut.context), {})
            members.setdefault((cut.fragment, cut.canonical), cut)
    for (setting, context), members in by_context.items():
        other = bare.get((setting, _with_hydrogen(context)))
        if other is not None:
            members[HYDROGEN, other.canonical] = replace(
                other, fragment=HYDROGEN, context=context, contribution=0.0
            )
    count = 0

    def pairs() -> Iterator[Pair]:
        nonlocal count
        for (_, context), members in by_context.items():
            for first, second in combinations(sorted(members.values(), key=_place), 2):
                if first.fragment != second.fragment and first.canonical != second.canonical:
                    count += 1
                    yield Pair(context, first, second)

    chosen = heapq.nsmallest(most, pairs(), key=_pair_key)
    return chosen, count


def _place(cut: Cut) -> tuple[int, str]:
    return cut.row, cut.fragment


def _pair_key(pair: Pair) -> tuple[float, int, int, str]:
    return -abs(pair.difference), pair.first.row, pair.second.row, pair.context


def _with_hydrogen(context: str) -> str:
    """Canonical SMILES of a context with one cut, closed with a hydrogen; "" for more cuts."""
    if context.count("*") != 1:
        return ""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(context.replace("*", "[H]"))
    return "" if mol is None else Chem.MolToSmiles(mol)
