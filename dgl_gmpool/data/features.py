"""Numbers known of each molecule, beside its graph, that join a model's readout."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from dgl_gmpool.data.table import MoleculeTable

#: What ``with_descriptors`` calculates.
DESCRIPTOR_SETS = ("morgan", "rdkit")
#: ``Features.source`` of columns of the user's own table, and of ``MoleculeTable.global_feats``.
COLUMN, GIVEN = "column", "given"


class FeatureNames(NamedTuple):
    """Where features come from, and the name of each: what a model must know to get them again."""

    source: str
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Features:
    """Numbers known of each row.

    Attributes
    ----------
    source : str
        One of :data:`DESCRIPTOR_SETS`, or ``"column"``: columns of the user's table.
    names : tuple of str
        One per column of ``values``.
    values : numpy.ndarray
        ``(rows, columns)`` float32, unscaled; NaN is not known.

    Raises
    ------
    ValueError
        If the shape, the dtype or a value does not fit.

    Examples
    --------
    >>> Features("column", ("pH",), np.array([[7.4], [np.nan]], np.float32))
    Features('column', rows=2, columns=1)
    """

    source: str
    names: tuple[str, ...]
    values: np.ndarray

    def __post_init__(self) -> None:
        where = f"features {self.source!r}"
        if self.source not in (*DESCRIPTOR_SETS, COLUMN):
            raise ValueError(
                f"{where}: the source must be one of {(*DESCRIPTOR_SETS, COLUMN)}; give numbers "
                "from elsewhere as 'column'"
            )
        if self.values.ndim != 2 or self.values.shape[1] != len(self.names):
            raise ValueError(
                f"{where} have the shape {self.values.shape}, expected (rows, {len(self.names)}): "
                "a column for each of the names"
            )
        if self.values.dtype != np.float32 or np.isinf(self.values).any():
            raise ValueError(f"{where} must be float32, finite, or NaN for what is not known")

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Features({self.source!r}, rows={len(self)}, columns={len(self.names)})"

    def take(self, rows: np.ndarray) -> Features:
        """The given rows, in the given order."""
        return replace(self, values=self.values[rows])

    def fingerprint(self) -> str:
        """SHA-256 over names and values (hexadecimal)."""
        digest = hashlib.sha256(repr((self.source, self.names)).encode())
        digest.update(np.ascontiguousarray(self.values).tobytes())
        return digest.hexdigest()


def joined_features(
    table: MoleculeTable, descriptors: Iterable[str] = ()
) -> tuple[np.ndarray | None, tuple[FeatureNames, ...]]:
    """All that joins a model's readout: ``(rows, g)`` float32 (None for nothing), and the names.

    ``global_feats`` and the columns of the user's table always do, of the descriptors those that
    are named.

    Raises
    ------
    ValueError
        Descriptors are named that the table does not have.
    """
    blocks: list[np.ndarray] = []
    names: list[FeatureNames] = []
    if table.global_feats is not None:
        width = table.global_feats.shape[1]
        blocks.append(table.global_feats)
        names.append(FeatureNames(GIVEN, tuple(f"given {number}" for number in range(width))))
    wanted = {COLUMN, *descriptors}
    for each in table.features:
        if each.source in wanted:
            blocks.append(each.values)
            names.append(FeatureNames(each.source, each.names))
    for name in descriptors:
        if name not in {each.source for each in table.features}:
            raise ValueError(
                f"{table.name} has no descriptors {name!r}; calculate them with "
                f"with_descriptors(dataset, [{name!r}])"
            )
    return (np.concatenate(blocks, axis=1) if blocks else None), tuple(names)
