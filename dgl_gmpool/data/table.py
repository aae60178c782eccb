"""The rows of a data set before they become graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from dgl_gmpool.data.features import KINDS as KINDS
from dgl_gmpool.data.features import AuxiliaryTargets, Features
from dgl_gmpool.data.hashes import text_hash
from dgl_gmpool.data.number import check_weights
from dgl_gmpool.data.report import SelectionReport

#: Fields of a table that say something of all of it, not of its rows.
OF_THE_TABLE = ("name", "kind", "task_names", "report", "units", "kinds", "classes")
#: Of one target.
TARGET_KINDS = (*KINDS, "multiclass")


def overall_kind(kinds: Sequence[str]) -> str:
    """The one kind of all targets, or ``"mixed"``."""
    return kinds[0] if len(set(kinds)) == 1 else "mixed"


@dataclass(frozen=True)
class MoleculeTable:
    """Molecules and their targets, row by row.

    Attributes
    ----------
    name : str
        The data set ("tox21", "bindingdb", ...).
    kind : str
        ``"classification"`` (targets 0, 1 or NaN), ``"multiclass"`` (numbers of ``classes``) or
        ``"regression"``; ``"mixed"`` where ``kinds`` differ.
    task_names : tuple of str
        One per column of ``targets``.
    ids : tuple of str
        Identity of each row in its source (mol_id, row number, ...).
    smiles : tuple of str
        As written in the source, without an extension (``|...|``) behind it.
    canonical : tuple of str
        RDKit's canonical SMILES, never empty.
    groups : tuple of str
        Rows of one group never straddle a split. By default the canonical SMILES.
    targets : numpy.ndarray
        ``(rows, tasks)`` float64, so that large targets that differ little stay different until
        they are standardised (float32 is converted); NaN is a missing label.
    global_feats : numpy.ndarray or None
        ``(rows, g)`` float32, finite: what is known beside the molecule (a solvent), unscaled.
    report : SelectionReport
        How the source's rows became these.
    units : str
        Of the targets: "", "pIC50", "nm", ...
    auxiliary : tuple of AuxiliaryTargets
        What a configuration may ask to be learnt beside the targets, of as many rows.
    features : tuple of Features
        What may join the readout, of as many rows: columns of the user's table, which always do,
        and descriptors, for which a configuration asks.
    kinds : tuple of str
        Kind of each target; by default all are of ``kind``.
    classes : tuple of tuple of str
        Names of each target's classes, in the order of their numbers; empty for targets that are
        not multiclass.
    lower, upper : numpy.ndarray or None
        ``(rows, tasks)`` float64: bounds on a target of numbers that was not measured itself (its
        cell of ``targets`` is NaN), NaN where there are none.
    weights : numpy.ndarray or None
        ``(rows,)`` float64, of the rows in the loss: 0 or more.
    split_values : tuple of str
        What a split is made by (dates, groups, or train, valid and test); empty where there is
        nothing.
    merged_ids : tuple of tuple of str
        For each row, the ids of the source's rows that became it; empty where none were merged.

    Raises
    ------
    ValueError
        If the columns do not have the same number of rows, a canonical SMILES or a group is
        empty, or a value does not fit ``kind``.
    """

    name: str
    kind: str
    task_names: tuple[str, ...]
    ids: tuple[str, ...]
    smiles: tuple[str, ...]
    canonical: tuple[str, ...]
    groups: tuple[str, ...]
    targets: np.ndarray
    global_feats: np.ndarray | None
    report: SelectionReport
    units: str = ""
    auxiliary: tuple[AuxiliaryTargets, ...] = ()
    features: tuple[Features, ...] = ()
    kinds: tuple[str, ...] = ()
    classes: tuple[tuple[str, ...], ...] = ()
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    weights: np.ndarray | None = None
    split_values: tuple[str, ...] = ()
    merged_ids: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        self._check_kinds()
        rows = len(self.ids)
        for column in ("smiles", "canonical", "groups"):
            values = getattr(self, column)
            if len(values) != rows:
                raise ValueError(f"{column} has {len(values)} rows where ids has {rows}")
        for column in ("canonical", "groups"):
            if "" in getattr(self, column):
                row = getattr(self, column).index("")
                raise ValueError(f"{column} is empty in row {row} (id {self.ids[row]!r})")
        if self.targets.shape != (rows, len(self.task_names)):
            raise ValueError(
                f"targets has the shape {self.targets.shape}, expected (rows, tasks) = "
                f"{(rows, len(self.task_names))}"
            )
        if not np.issubdtype(self.targets.dtype, np.floating):
            raise ValueError(f"targets must be float64, got {self.targets.dtype}")
        object.__setattr__(self, "targets", self.targets.astype(np.float64, copy=False))
        if np.isinf(self.targets).any():
            raise ValueError("targets holds infinite values; leave those rows out")
        for task, kind in enumerate(self.kinds):
            if kind != "regression":
                self._check_classes(task)
        if (self.lower is None) != (self.upper is None):
            raise ValueError("lower and upper bounds belong together; give both or none")
        for bound in (self.lower, self.upper):
            if bound is not None:
                self._check_bound(bound)
        for column in ("split_values", "merged_ids"):
            held = len(getattr(self, column))
            if held not in (0, rows):
                raise ValueError(f"{column} has {held} rows where ids has {rows}")
        if self.weights is not None:
            check_weights(self.weights, rows)
        extra = self.global_feats
        if extra is not None and (extra.ndim != 2 or extra.shape[0] != rows):
            raise ValueError(f"global_feats has the shape {extra.shape}, expected ({rows}, g)")
        if extra is not None and (extra.dtype != np.float32 or not np.isfinite(extra).all()):
            raise ValueError("global_feats must be finite float32 values")
        for each in self.auxiliary:
            if len(each) != rows:
                raise ValueError(f"auxiliary {each.name!r} has {len(each)} rows, not {rows}")
        names = [each.name for each in self.auxiliary]
        if len(set(names)) < len(names):
            raise ValueError(f"auxiliary targets of the same name: {', '.join(names)}")
        for feats in self.features:
            if len(feats) != rows:
                raise ValueError(f"features {feats.source!r} have {len(feats)} rows, not {rows}")
        sources = [feats.source for feats in self.features]
        if len(set(sources)) < len(sources):
            raise ValueError(f"several features of one source: {', '.join(sources)}")

    def _check_kinds(self) -> None:
        kinds = self.kinds or (self.kind,) * len(self.task_names)
        object.__setattr__(self, "kinds", kinds)
        object.__setattr__(self, "classes", self.classes or ((),) * len(kinds))
        for kind in (*kinds, *([self.kind] if self.kind != "mixed" else [])):
            if kind not in TARGET_KINDS:
                raise ValueError(f"kind must be one of {TARGET_KINDS}, got {kind!r}")
        if len(kinds) != len(self.task_names) or len(self.classes) != len(kinds):
            raise ValueError(
                f"{len(kinds)} kinds and {len(self.classes)} lists of classes for "
                f"{len(self.task_names)} tasks; give one of each per task"
            )
        if kinds and self.kind != overall_kind(kinds):
            raise ValueError(f"kind is {self.kind!r}, but the tasks are {', '.join(kinds)}")
        for name, kind, held in zip(self.task_names, kinds, self.classes):
            wanted = len(held) >= 2 if kind == "multiclass" else not held
            if not wanted or len(set(held)) < len(held):
                raise ValueError(
                    f"{name!r} is a {kind} with the classes {held}; expected two or more "
                    "different names for a multiclass target, none for another"
                )

    def _check_classes(self, task: int) -> None:
        values, name = self.targets[:, task], self.task_names[task]
        several = self.kinds[task] == "multiclass"
        known = np.arange(len(self.classes[task]) if several else 2)
        odd = np.flatnonzero(~(np.isnan(values) | np.isin(values, known)))
        if len(odd):
            raise ValueError(
                f"{self.kinds[task]} targets are 0, 1{f' to {known[-1]}' if several else ''} or "
                f"NaN; id {self.ids[odd[0]]!r} has {values[odd[0]]:g} for {name!r}. Write 0 and 1 "
                "for two classes, or use kind='multiclass' (--kind multiclass) for classes by "
                "other names, kind='regression' (--kind regression) for measured values"
            )

    def _check_bound(self, bound: np.ndarray) -> None:
        if bound.shape != self.targets.shape or np.isinf(bound).any():
            raise ValueError(
                f"bounds of the shape {bound.shape}: expected finite values or NaN of the shape "
                f"{self.targets.shape}"
            )
        held = ~np.isnan(bound)
        if (held & ~np.isnan(self.targets)).any():
            raise ValueError("a target is both measured and bounded; leave the bound out")
        for kind, column in zip(self.kinds, held.T):
            if kind != "regression" and column.any():
                raise ValueError(f"a bound on a {kind} target: only numbers have bounds")

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        tasks = ", ".join(self.task_names[:3]) + (", ..." if len(self.task_names) > 3 else "")
        return f"MoleculeTable({self.name!r}, {self.kind}, rows={len(self)}, tasks=[{tasks}])"

    def auxiliary_targets(self, name: str) -> AuxiliaryTargets:
        """The auxiliary targets of this name.

        Raises
        ------
        ValueError
            There are none.
        """
        for each in self.auxiliary:
            if each.name == name:
                return each
        there = ", ".join(each.name for each in self.auxiliary) or "none"
        raise ValueError(
            f"{self.name} has no auxiliary targets {name!r} (it has: {there}); add them with "
            "with_auxiliary(dataset, names), or as AuxiliaryTargets of the table"
        )

    def take(self, rows: Sequence[int], *, report: SelectionReport | None = None) -> MoleculeTable:
        """The given rows, in the given order; ``report`` replaces the old one where given."""
        index = np.asarray(rows, dtype=np.int64)

        def taken(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                return value[index]
            if not value:  # there is none
                return value
            if isinstance(value[0], (Features, AuxiliaryTargets)):
                return tuple(each.take(index) for each in value)
            return tuple(value[i] for i in index)

        names = [each.name for each in fields(self) if each.name not in OF_THE_TABLE]
        found = replace(self, **{name: taken(getattr(self, name)) for name in names})
        return found if report is None else replace(found, report=report)

    def with_notes(self, *notes: str) -> MoleculeTable:
        """The table with more notes in its report."""
        return replace(self, report=replace(self.report, notes=(*self.report.notes, *notes)))

    def bounds(self, rows: Sequence[int] | np.ndarray) -> dict[str, np.ndarray | None]:
        """``lower`` and ``upper`` of some rows."""
        index = np.asarray(rows, dtype=np.int64)
        return {
            name: None if bound is None else bound[index]
            for name, bound in (("lower", self.lower), ("upper", self.upper))
        }

    def measured_text(self, row: int, task: int) -> str:
        """What is known of a target, as a cell: a number that reads back as the same, the name of
        a class, a bound such as ``>10``, or nothing."""
        value = self.targets[row, task]
        if not np.isnan(value):
            return self.classes[task][int(value)] if self.classes[task] else str(value)
        held = [
            f"{sign}{bound[row, task]}"
            for sign, bound in ((">", self.lower), ("<", self.upper))
            if bound is not None and not np.isnan(bound[row, task])
        ]
        return " ".join(held)

    @property
    def known(self) -> np.ndarray:
        """``(rows, tasks)`` bool: a value, or a bound on it, is there."""
        found: np.ndarray = ~np.isnan(self.targets)
        for bound in (self.lower, self.upper):
            if bound is not None:
                found = found | ~np.isnan(bound)
        return found

    def fingerprint(self) -> str:
        """SHA-256 over ids, canonical SMILES and groups, in row order (hexadecimal).

        Equal fingerprints mean that row numbers, as in a saved split, name the same molecules.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return text_hash([self.ids, self.canonical, self.groups])
