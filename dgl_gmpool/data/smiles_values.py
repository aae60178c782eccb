"""What a caller gives as a molecule: a text, an RDKit molecule, or a missing value."""

from __future__ import annotations

from typing import Any

import numpy as np
from rdkit import Chem


def is_blank(value: Any) -> bool:
    """None, NaN, or pandas' NA, which cannot be compared.

    >>> [is_blank(value) for value in (None, float("nan"), "", np.array(["C", "O"]))]
    [True, True, False, False]
    """
    if value is None or type(value).__name__ == "NAType":
        return True
    differs = value != value
    return isinstance(differs, (bool, np.bool_)) and bool(differs)  # an array's is an array


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
