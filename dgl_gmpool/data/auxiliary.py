"""Auxiliary targets: what a model learns beside its own targets, and never predicts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

KINDS = ("classification", "regression")


@dataclass(frozen=True)
class AuxiliaryTargets:
    """Further facts about a table's molecules, for a model to learn beside the table's targets.

    They shape the states that the pooling sees, and are neither scored nor predicted.

    Attributes
    ----------
    name : str
        By which a configuration asks for them ("assays", "properties").
    kind : str
        ``"classification"`` (values 0, 1 or NaN) or ``"regression"``.
    task_names : tuple of str
        One per column of ``values``.
    values : numpy.ndarray
        ``(rows, columns)`` float32; NaN is not known.

    Raises
    ------
    ValueError
        If the shape, the dtype or a value does not fit.

    Examples
    --------
    >>> values = np.array([[0.0, 1.0], [1.0, np.nan]], dtype=np.float32)
    >>> AuxiliaryTargets("assays", "classification", ("NR-AR", "SR-p53"), values)
    AuxiliaryTargets('assays', classification, rows=2, columns=2)
    """

    name: str
    kind: str
    task_names: tuple[str, ...]
    values: np.ndarray

    def __post_init__(self) -> None:
        where = f"auxiliary targets {self.name!r}"
        if self.kind not in KINDS:
            raise ValueError(f"{where}: kind must be one of {KINDS}, got {self.kind!r}")
        if not self.task_names:
            raise ValueError(f"{where} have no column")
        if self.values.ndim != 2 or self.values.shape[1] != len(self.task_names):
            raise ValueError(
                f"{where} have the shape {self.values.shape}, expected (rows, "
                f"{len(self.task_names)}): a column for each of the task names"
            )
        if self.values.dtype != np.float32:
            raise ValueError(f"{where} must be float32, got {self.values.dtype}")
        known = self.values[~np.isnan(self.values)]
        if np.isinf(known).any():
            raise ValueError(f"{where} hold infinite values; use NaN for what is not known")
        if self.kind == "classification" and not np.isin(known, (0, 1)).all():
            raise ValueError(f"{where}: a classification has 0, 1 or NaN; use kind='regression'")

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return (
            f"AuxiliaryTargets({self.name!r}, {self.kind}, rows={len(self)}, "
            f"columns={len(self.task_names)})"
        )

    def take(self, rows: np.ndarray) -> AuxiliaryTargets:
        """The given rows, in the given order."""
        return replace(self, values=self.values[rows])

    def fingerprint(self) -> str:
        """SHA-256 over names and values (hexadecimal)."""
        digest = hashlib.sha256(repr((self.name, self.kind, self.task_names)).encode())
        digest.update(np.ascontiguousarray(self.values).tobytes())
        return digest.hexdigest()
