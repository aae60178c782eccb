"""From a SMILES to what a selection needs: fragments, heavy atoms, canonical SMILES, or why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from rdkit import Chem, rdBase

#: What spreadsheets and data frames write for "no value".
MISSING_WORDS = frozenset({"", "nan", "na", "n/a", "null", "none", "<na>"})

REFUSED = "refused by RDKit"
BLANK_SMILES = "blank SMILES"
NOT_A_SMILES = "not a SMILES"
SEVERAL_FRAGMENTS = "more than one fragment"


def is_missing(text: Optional[str]) -> bool:
    """Whether a cell holds no value.

    >>> is_missing(" NaN "), is_missing("0")
    (True, False)
    """
    return text is None or text.strip().lower() in MISSING_WORDS


@dataclass(frozen=True)
class AtomCount:
    """What a SMILES says before any chemistry is checked."""

    fragments: int
    heavy_atoms: int


def count_atoms(smiles: str) -> Optional[AtomCount]:
    """Fragments and heavy atoms of a SMILES, without sanitising it; None if it is no SMILES.

    Not sanitising lets a selection by size see molecules that RDKit refuses later (an unusual
    valence), so that they can be counted and named instead of vanishing.

    >>> count_atoms("CCO.[Na+]")
    AtomCount(fragments=2, heavy_atoms=4)
    >>> count_atoms("C1CC") is None
    True
    """
    options = Chem.SmilesParserParams()
    options.sanitize = False
    options.removeHs = False
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles, options)
    if mol is None or mol.GetNumAtoms() == 0:
        return None
    return AtomCount(len(Chem.GetMolFrags(mol)), mol.GetNumHeavyAtoms())


def read_molecule(smiles: str) -> tuple[Optional[Chem.Mol], str]:
    """``(molecule, "")``, or ``(None, why RDKit refuses it)``.

    >>> mol, _ = read_molecule("OCC")
    >>> mol.GetNumAtoms()
    3
    >>> read_molecule("c1cccc1")[1]
    "Can't kekulize mol.  Unkekulized atoms: 0 1 2 3 4"
    """
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is not None and mol.GetNumAtoms() > 0:
            return mol, ""
        if mol is not None:
            return None, "it has no atoms"
        options = Chem.SmilesParserParams()
        options.sanitize = False
        raw = Chem.MolFromSmiles(smiles, options)
        if raw is None:
            return None, NOT_A_SMILES
        try:
            Chem.SanitizeMol(raw)
        except Exception as error:
            # RDKit's exceptions share no public base class narrower than ValueError.
            return None, str(error).strip()
    return None, "RDKit gives no molecule and no reason"


def canonical_smiles(smiles: str) -> tuple[str, str]:
    """``(canonical SMILES, "")``, or ``("", why not)``. Stereochemistry is kept.

    >>> canonical_smiles("OCC")
    ('CCO', '')
    """
    mol, why = read_molecule(smiles)
    return (Chem.MolToSmiles(mol), "") if mol is not None else ("", why)


def size_reason(
    atoms: AtomCount, *, min_atoms: Optional[int], max_atoms: Optional[int], one_fragment: bool
) -> str:
    """Why a molecule is outside a selection by size, or ``""`` when it is inside.

    >>> size_reason(AtomCount(1, 12), min_atoms=20, max_atoms=40, one_fragment=True)
    'fewer than 20 heavy atoms'
    """
    if one_fragment and atoms.fragments > 1:
        return SEVERAL_FRAGMENTS
    if min_atoms is not None and atoms.heavy_atoms < min_atoms:
        return f"fewer than {min_atoms} heavy atoms"
    if max_atoms is not None and atoms.heavy_atoms > max_atoms:
        return f"more than {max_atoms} heavy atoms"
    return ""


def check_atom_limits(min_atoms: Optional[int], max_atoms: Optional[int]) -> None:
    """Raise a ValueError unless ``0 <= min_atoms <= max_atoms`` (None means no limit)."""
    for name, value in (("min_atoms", min_atoms), ("max_atoms", max_atoms)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise TypeError(f"{name} must be an int or None, got {value!r}")
        if value is not None and value < 0:
            raise ValueError(f"{name} must not be negative, got {value}; use None for no limit")
    if min_atoms is not None and max_atoms is not None and min_atoms > max_atoms:
        raise ValueError(f"min_atoms={min_atoms} is above max_atoms={max_atoms}; swap them")


def selection_label(
    *, min_atoms: Optional[int], max_atoms: Optional[int], one_fragment: bool
) -> str:
    """The rule of :func:`size_reason` in words, for a report.

    >>> selection_label(min_atoms=20, max_atoms=40, one_fragment=True)
    'selected: one fragment, 20 to 40 heavy atoms'
    """
    parts = ["one fragment"] if one_fragment else []
    if min_atoms is not None and max_atoms is not None:
        parts.append(f"{min_atoms} to {max_atoms} heavy atoms")
    elif min_atoms is not None:
        parts.append(f"at least {min_atoms} heavy atoms")
    elif max_atoms is not None:
        parts.append(f"at most {max_atoms} heavy atoms")
    return "selected: " + (", ".join(parts) if parts else "any size")
