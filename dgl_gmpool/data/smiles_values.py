"""What a caller gives as a molecule: a text, an RDKit molecule, or a missing value."""

from __future__ import annotations

from typing import Any

from rdkit import Chem


def is_blank(value: Any) -> bool:
    """None, NaN, or pandas' NA, which cannot be compared."""
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def smiles_of_value(value: Any) -> str | None:
    """The SMILES of a value, blank where it is missing; None if it is nothing of the kind.

    >>> [smiles_of_value(value) for value in ("CCO", None, Chem.MolFromSmiles("OCC"), 3)]
    ['CCO', '', 'CCO', None]
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Chem.Mol):
        return str(Chem.MolToSmiles(value))
    return "" if is_blank(value) else None
