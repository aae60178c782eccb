"""One row of a user's table: what is taken from it, or why it stays out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from dgl_gmpool.data.delimited_text import BLANK_ROW, WRONG_LENGTH, DelimitedText, Row
from dgl_gmpool.data.feature_columns import FeatureColumns
from dgl_gmpool.data.molecule import (
    BLANK_SMILES,
    NOT_A_SMILES,
    REFUSED,
    canonical_smiles,
    count_atoms,
    is_missing,
    refusal,
)
from dgl_gmpool.data.number import Cell, read_weight, with_decimal_point
from dgl_gmpool.data.report import Refusal
from dgl_gmpool.data.size_rule import SEVERAL_FRAGMENTS, SizeRule
from dgl_gmpool.data.target_column import TargetColumn

BLANK_TARGET = "blank target"
NOT_A_NUMBER = "a target that is not a number"
NO_FEATURE = "a feature that is not a number"
BLANK_WEIGHT = "blank weight"

#: In the order of a report.
REASONS = (
    *(BLANK_ROW, WRONG_LENGTH, BLANK_SMILES, BLANK_TARGET, NOT_A_NUMBER),
    *(NOT_A_SMILES, REFUSED, SEVERAL_FRAGMENTS),
)


@dataclass(frozen=True)
class UsableRow:
    """What is taken from a row.

    Attributes
    ----------
    id : str
    smiles, canonical : str
        As written, and RDKit's.
    group : str
        Empty where the row has none.
    cells : list of Cell
        Of each target.
    features : list of float
    weight : float
    split : str
    faults : list of str
        Targets whose cell cannot be used, and why.
    """

    id: str
    smiles: str
    canonical: str
    group: str
    cells: list[Cell]
    features: list[float]
    weight: float
    split: str
    faults: list[str]


@dataclass(frozen=True)
class RefusedRow(Refusal):
    """Why a row stays out, and what its targets hold."""

    cells: Sequence[Cell] = ()


@dataclass(frozen=True)
class RowReader:
    """Where in a table's rows what stands, and which rows are wanted.

    Attributes
    ----------
    text : DelimitedText
    smiles : int
        The position of a column, as ``group``, ``id``, ``weight`` and ``split``, which may be None.
    targets : sequence of TargetColumn
    features : FeatureColumns
    size : SizeRule
    strict : bool
        Refuse rows of which some targets can be used and others cannot.
    commas : set of int
        Those of ``weight`` and ``split`` that are read with a decimal comma.
    """

    text: DelimitedText
    smiles: int
    targets: Sequence[TargetColumn]
    features: FeatureColumns
    size: SizeRule
    group: int | None = None
    id: int | None = None
    weight: int | None = None
    split: int | None = None
    strict: bool = False
    commas: frozenset[int] = frozenset()

    def read(self, row: Row) -> UsableRow | RefusedRow:
        """What a row holds.

        Raises
        ------
        ValueError
            Its weight is no number of 0 or more.
        """
        if row.blank:
            return RefusedRow(BLANK_ROW)
        wrong = self.text.wrong_length(row)
        if wrong:
            return RefusedRow(WRONG_LENGTH, detail=wrong)
        smiles = self._cell(row, self.smiles)
        if is_missing(smiles):
            unreadable = self.text.refused(row)
            reason = REFUSED if unreadable else BLANK_SMILES
            return RefusedRow(reason, row.cells[self.smiles], unreadable or reason)
        cells = [column.read(row.cells[column.at]) for column in self.targets]
        refused = partial(RefusedRow, smiles=smiles, cells=cells)
        faults = [
            f"target {column.name!r} {cell.why}"
            for column, cell in zip(self.targets, cells)
            if cell.why
        ]
        nothing = all(math.isnan(cell.value) for cell in cells)
        if nothing and not faults:
            return refused(BLANK_TARGET, detail=f"{self._all_targets} blank")
        if faults and (nothing or self.strict):
            return refused(NOT_A_NUMBER, detail="; ".join(faults))
        features, unreadable = self.features.read(row.cells)
        if unreadable:
            return refused(NO_FEATURE, detail=unreadable)
        canonical, why = canonical_smiles(smiles)
        if not canonical:
            return refused(refusal(why), detail=why)
        atoms = None if self.size.takes_all else count_atoms(smiles)
        outside = "" if atoms is None else self.size.reason_against(atoms)
        if outside:
            return refused(outside)
        group, weight = self._cell(row, self.group), 1.0
        if self.weight is not None:
            name = self.text.header[self.weight]
            cell = self._cell(row, self.weight)
            if is_missing(cell):
                return refused(BLANK_WEIGHT, detail=f"{name!r} is blank")
            where = f"{self.text.path}, row {row.number}, {name!r}"
            weight = read_weight(cell, where=where)
        return UsableRow(
            str(row.number) if self.id is None else self._cell(row, self.id),
            smiles,
            canonical,
            "" if is_missing(group) else group,
            cells,
            features,
            weight,
            self._cell(row, self.split),
            faults,
        )

    def _cell(self, row: Row, at: int | None) -> str:
        if at is None:
            return ""
        cell = row.cells[at].strip()
        return with_decimal_point(cell) if at in self.commas else cell

    @property
    def _all_targets(self) -> str:
        names = [column.name for column in self.targets]
        return f"target {names[0]!r} is" if len(names) == 1 else f"all {len(names)} targets are"
