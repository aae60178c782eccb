"""What a caller gives as a molecule: a text, an RDKit molecule, or a missing value."""

from __future__ import annotations

from collections.abc import Mapping, Set
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


def one_column(name: str, values: Any) -> list[Any]:
    """The values of a list, array or series, or of a table of one column, as they are.

    Raises
    ------
    TypeError
        It is a single value, or a set or mapping, whose order says nothing.
    ValueError
        It has several columns.

    Examples
    --------
    >>> one_column("X", np.array([["CCO"], ["C"]]))
    ['CCO', 'C']
    """
    if isinstance(values, str):
        raise TypeError(f"{name} is the single text {values!r}; give a list of them: [{values!r}]")
    if isinstance(values, bytes) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} is {values!r}; give a list with a value for each row")
    if isinstance(values, (Mapping, Set)):
        raise TypeError(
            f"{name} is a {type(values).__name__}, whose order says nothing; give a list, in the "
            "order of the rows"
        )
    shape = getattr(values, "shape", None)
    if shape is None or len(shape) == 1:
        found = list(values)
        rows = all(isinstance(value, (list, tuple)) and len(value) == 1 for value in found)
        return [value for (value,) in found] if rows else found
    if len(shape) != 2 or shape[1] != 1:
        raise ValueError(f"{name} has the shape {tuple(shape)}; give a list, or one column")
    return list(np.asarray(values, dtype=object)[:, 0])


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
