"""Numbers known of each row beside its graph: features that join a readout, auxiliary targets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

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


Rows = TypeVar("Rows", bound="_NumbersOfRows")


class _NumbersOfRows:
    """A row of float32 for each one of a table, in columns with names."""

    values: np.ndarray
    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def _about(self) -> tuple[Any, ...]:
        """All but the values; the names of the columns are the last."""
        return tuple(getattr(self, name) for name in self.__dataclass_fields__ if name != "values")

    def _check_shape(self, where: str) -> None:
        names = self._about[-1]
        if self.values.ndim != 2 or self.values.shape[1] != len(names):
            raise ValueError(
                f"{where} have the shape {self.values.shape}, expected (rows, {len(names)}): a "
                "column for each of the names"
            )

    def __len__(self) -> int:
        return len(self.values)

    def take(self: Rows, rows: np.ndarray) -> Rows:
        """The given rows, in the given order."""
        return replace(self, values=self.values[rows])

    def fingerprint(self) -> str:
        """SHA-256 over names and values (hexadecimal)."""
        digest = hashlib.sha256(repr(self._about).encode())
        digest.update(np.ascontiguousarray(self.values).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Features(_NumbersOfRows):
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
        self._check_shape(where)
        if self.values.dtype != np.float32 or np.isinf(self.values).any():
            raise ValueError(f"{where} must be float32, finite, or NaN for what is not known")

    def __repr__(self) -> str:
        return f"Features({self.source!r}, rows={len(self)}, columns={len(self.names)})"


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


KINDS = ("classification", "regression")


@dataclass(frozen=True, eq=False)
class AuxiliaryTargets(_NumbersOfRows):
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
        self._check_shape(where)
        if self.values.dtype != np.float32:
            raise ValueError(f"{where} must be float32, got {self.values.dtype}")
        known = self.values[~np.isnan(self.values)]
        if np.isinf(known).any():
            raise ValueError(f"{where} hold infinite values; use NaN for what is not known")
        if self.kind == "classification" and not np.isin(known, (0, 1)).all():
            raise ValueError(f"{where}: a classification has 0, 1 or NaN; use kind='regression'")

    def __repr__(self) -> str:
        return (
            f"AuxiliaryTargets({self.name!r}, {self.kind}, rows={len(self)}, "
            f"columns={len(self.task_names)})"
        )
