"""The rows of a data set before they become graphs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dgl_gmpool.data.auxiliary import KINDS as KINDS
from dgl_gmpool.data.auxiliary import AuxiliaryTargets
from dgl_gmpool.data.features import Features
from dgl_gmpool.data.report import SelectionReport


@dataclass(frozen=True)
class MoleculeTable:
    """Molecules and their targets, row by row.

    Attributes
    ----------
    name : str
        The data set ("tox21", "bindingdb", ...).
    kind : str
        ``"classification"`` (targets 0, 1 or NaN) or ``"regression"``.
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

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {KINDS}, got {self.kind!r}")
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
        if self.kind == "classification":
            odd = ~(np.isnan(self.targets) | (self.targets == 0) | (self.targets == 1))
            if odd.any():
                row, task = np.argwhere(odd)[0]
                raise ValueError(
                    f"classification targets are 0, 1 or NaN; id {self.ids[row]!r} has "
                    f"{self.targets[row, task]:g} for {self.task_names[task]!r}. "
                    f"Write 0 and 1 for the classes, or use kind='regression' (--kind regression) "
                    f"for measured values"
                )
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
        return replace(
            self,
            ids=tuple(self.ids[i] for i in index),
            smiles=tuple(self.smiles[i] for i in index),
            canonical=tuple(self.canonical[i] for i in index),
            groups=tuple(self.groups[i] for i in index),
            targets=self.targets[index],
            global_feats=None if self.global_feats is None else self.global_feats[index],
            report=self.report if report is None else report,
            auxiliary=tuple(each.take(index) for each in self.auxiliary),
            features=tuple(each.take(index) for each in self.features),
        )

    def fingerprint(self) -> str:
        """SHA-256 over ids, canonical SMILES and groups, in row order (hexadecimal).

        Equal fingerprints mean that row numbers, as in a saved split, name the same molecules.
        """
        rows = [self.ids, self.canonical, self.groups]
        return hashlib.sha256(json.dumps(rows).encode("utf-8")).hexdigest()
