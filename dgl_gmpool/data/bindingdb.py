"""Measured potencies from BindingDB, selected by UniProt accession."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.bindingdb_tsv import BindingDBRows
from dgl_gmpool.data.molecule import (
    BLANK_SMILES,
    NOT_A_SMILES,
    canonical_smiles,
    count_atoms,
    ignored_extensions,
    is_missing,
    refusal,
    split_smiles,
)
from dgl_gmpool.data.number import APPROXIMATE, BOUND, BOUNDS, Cell, parse_value
from dgl_gmpool.data.replicates import merged_replicates
from dgl_gmpool.data.report import Refusal, SelectionTally
from dgl_gmpool.data.size_rule import SEVERAL_FRAGMENTS, SizeRule
from dgl_gmpool.data.table import MoleculeTable
from dgl_gmpool.data.target_notes import used_notes

#: Human P2X1 to P2X7, P2Y1 and P2Y2, which UniProt also names "ATP receptor".
HUMAN_ATP_RECEPTORS = (
    "P51575",
    "Q9UBL9",
    "P56373",
    "Q99571",
    "Q93086",
    "O15547",
    "Q99572",
    "P47900",
    "P41231",
)
MEASURES = ("IC50", "Ki", "Kd", "EC50")

ROW_ID = "BindingDB Reactant_set_id"
BLANK_ROW = "blank row"
OTHER_TARGET = "another target"
NOT_A_NUMBER = "a value that is not a number"
NOT_POSITIVE = "a value of zero or below"

_ACCESSION = re.compile(r"[OPQ][0-9][A-Z0-9]{3}[0-9]|[A-NR-Z][0-9](?:[A-Z][A-Z0-9]{2}[0-9]){1,2}")


def load_bindingdb(
    path: str | os.PathLike[str],
    *,
    accessions: Collection[str] = HUMAN_ATP_RECEPTORS,
    measure: str = "IC50",
    min_atoms: int | None = 20,
    max_atoms: int | None = 40,
    bounds: str = "drop",
    split_column: str | None = None,
    split: str = "",
    member: str | None = None,
    progress: bool = True,
) -> MoleculeTable:
    """Potencies p = 9 - log10(value in nM) of the molecules measured on some targets.

    The file is streamed: memory holds a few megabytes of it and the rows of the targets, so the
    whole dump (8.8 GB) works on a laptop.

    Parameters
    ----------
    path : path
        BindingDB's tab-separated file, plain, ``.gz`` or ``.zip``; all generations of its header.
    accessions : collection of str
        UniProt accessions. A row belongs to a target if the accession is the primary ID
        (SwissProt or TrEMBL) of any of its chains. Default: the human "ATP receptors" of
        :data:`HUMAN_ATP_RECEPTORS`; orthologues of other species have accessions of their own.
    measure : str
        "IC50" (default), "Ki", "Kd" or "EC50".
    min_atoms, max_atoms : int or None
        Limits on the heavy atoms, both included; None for no limit. Only molecules of one fragment
        are kept.
    bounds : str
        ``"drop"`` (default): bounds such as ``>10000`` are left out and counted. ``"use"``: a
        molecule without a measured value has the bounds of its potency (``>10000`` nM is a pIC50
        below 5), the narrowest where there are several; beside a measured value they count for
        nothing. Approximate values (``~100``) are taken as measured. ``"as_measured"``: the number
        is taken for the value, which biases the targets. The report says how many.
    split_column : str, optional
        What a split is made by, as for :func:`~dgl_gmpool.data.load_csv`.
    split : str
        The kind of split that it is for. Where rows become one, the earliest of their dates counts
        (``"time"``), groups that share a molecule become one (``"group"``), parts must agree.
    member : str, optional
        Which file of a zip with several tables.
    progress : bool
        Show a progress bar (bytes of the file) on standard error, if that is a terminal.

    Returns
    -------
    MoleculeTable
        ``kind="regression"``, one row per canonical SMILES with the median of its potencies;
        the id is the ``BindingDB Reactant_set_id`` of its first row.

    Raises
    ------
    ValueError
        For a file that is no BindingDB table or damaged, an accession that is none, or when no
        row is left; the message holds the report.

    Notes
    -----
    Source: BindingDB (Gilson et al. 2016), CC BY 3.0.
    """
    check_choice("measure", measure, MEASURES)
    check_choice("way to treat bounds", bounds, BOUNDS)
    rule = SizeRule(min_atoms, max_atoms, one_fragment=True)
    targets = _checked(accessions)

    source = BindingDBRows(Path(path), targets, member=member, progress=progress)
    rows = _Rows(source, measure, rule, bounds, split_column)
    chosen = list(rows)
    tally = SelectionTally(source.path.name, rows=source.rows)
    tally.leave_out(BLANK_ROW, source.blank)
    tally.leave_out(OTHER_TARGET, source.rows - source.blank - len(chosen))
    tally.total(f"rows of {_short(targets)}", len(chosen))

    tally.expect(rows.blank, NOT_A_NUMBER, APPROXIMATE, rows.bound, NOT_POSITIVE)
    tally.expect(BLANK_SMILES, NOT_A_SMILES, SEVERAL_FRAGMENTS)
    kept: list[_Potency] = []
    for line, raw in chosen:
        ident, *cells = (cell.decode("utf-8", errors="replace") for cell in raw)
        ident = ident or f"line {line}"
        found = rows.read(ident, *cells)
        if isinstance(found, _Potency):
            kept.append(found)
        else:
            tally.stays_out(ident, found)

    tally.notes += used_notes([row.cell for row in kept])
    tally.notes += ignored_extensions(row.smiles for row in kept)
    report = tally.finish(f"rows with a usable {measure}, {rule}", len(kept))
    if not kept:
        raise ValueError(
            f"no molecule is left; check the accessions ({', '.join(targets)}; accessions=, "
            f"--accession), the measure ({measure}; measure=, --measure) and the limits:\n{report}"
        )

    def values(relation: str) -> np.ndarray:
        """``(rows, 1)``; NaN for other cells."""
        held = [row.cell.value if row.cell.relation == relation else math.nan for row in kept]
        return np.array(held)[:, None]

    bounded = any(row.cell.relation for row in kept)
    canonicals = tuple(row.canonical for row in kept)
    table = MoleculeTable(
        name="bindingdb",
        kind="regression",
        task_names=(f"p{measure}",),
        ids=tuple(row.id for row in kept),
        smiles=tuple(split_smiles(row.smiles)[0] for row in kept),
        canonical=canonicals,
        groups=canonicals,
        targets=values(""),
        global_feats=None,
        report=report,
        units=f"p{measure}",
        lower=values(">") if bounded else None,
        upper=values("<") if bounded else None,
        split_values=tuple(row.part for row in kept) if split_column else (),
    )
    table = merged_replicates(table, "median", split=split)
    bounded = bool(np.isnan(table.targets).any())
    return table if bounded else replace(table, lower=None, upper=None)


class _Potency(NamedTuple):
    """What is taken from a row."""

    id: str
    smiles: str
    canonical: str
    cell: Cell
    part: str


class _Rows:
    """The rows of the targets: which cells are kept, and what they say."""

    def __init__(
        self, source: BindingDBRows, measure: str, rule: SizeRule, bounds: str, split: str | None
    ) -> None:
        self._source, self._measure, self._rule, self._bounds = source, measure, rule, bounds
        self.blank = f"no {measure}"
        self.bound = f"a bound ('>' or '<') on the {measure}"
        layout, names = source.layout, source.layout.names
        self._at = [
            names.index(ROW_ID) if ROW_ID in names else None,
            layout.column("Ligand SMILES", source.path),
            layout.column(f"{measure} (nM)", source.path),
            layout.column(split, source.path) if split else None,
        ]
        self._described: dict[str, tuple[str, Refusal | None]] = {}

    def __iter__(self) -> Iterator[tuple[int, list[bytes]]]:
        """Line and cells (name, SMILES, value, part): of several kilobytes, only these are kept."""
        for line, cells in self._source:
            kept = [b"" if at is None or at >= len(cells) else cells[at].strip() for at in self._at]
            yield line, kept

    def read(self, ident: str, smiles: str, value: str, part: str) -> _Potency | Refusal:
        """The potency in a row, or why it stays out."""
        if is_missing(value):
            return Refusal(self.blank)
        parsed = parse_value(value)
        if parsed is None:
            return Refusal(NOT_A_NUMBER, smiles, f"{self._measure} is {value!r}")
        relation, nanomolar = parsed
        if relation == "~" and self._bounds != "use":
            return Refusal(APPROXIMATE)
        if relation in (">", "<") and self._bounds == "drop":
            return Refusal(self.bound)
        if nanomolar <= 0:
            return Refusal(NOT_POSITIVE)
        if is_missing(smiles):
            return Refusal(BLANK_SMILES)
        if smiles not in self._described:
            self._described[smiles] = self._describe(smiles)
        canonical, why = self._described[smiles]
        if why is not None:
            return why
        # The logarithm's sign turns the bound: above 10,000 nM is below a potency of 5.
        side = {">": "<", "<": ">"}.get(relation, "") if self._bounds == "use" else ""
        sort = {"": "", "~": APPROXIMATE}.get(relation, BOUND)
        cell = Cell(9.0 - math.log10(nanomolar), sort=sort, relation=side)
        return _Potency(ident, smiles, canonical, cell, part)

    def _describe(self, smiles: str) -> tuple[str, Refusal | None]:
        """Canonical SMILES, or why the molecule stays out."""
        atoms = count_atoms(smiles)
        outside = "" if atoms is None else self._rule.reason_against(atoms)
        if outside:
            return "", Refusal(outside)
        canonical, why = canonical_smiles(smiles)
        return canonical, Refusal(refusal(why), smiles, why) if why else None


def _checked(accessions: Collection[str]) -> tuple[str, ...]:
    if isinstance(accessions, (str, bytes)):
        raise TypeError(f"accessions must be a list of UniProt accessions, got {accessions!r}")
    targets = tuple(dict.fromkeys(accessions))
    if not targets:
        raise ValueError("accessions is empty; give at least one UniProt accession")
    for accession in targets:
        if not isinstance(accession, str) or not _ACCESSION.fullmatch(accession):
            raise ValueError(
                f"{accession!r} is not a UniProt accession such as 'Q99572'; entry names "
                f"(P2RX7_HUMAN), isoforms (-2) and gene names are not primary IDs"
            )
    return targets


def _short(accessions: tuple[str, ...]) -> str:
    shown = ", ".join(accessions[:4])
    return shown if len(accessions) <= 4 else f"{shown} and {len(accessions) - 4} more accessions"
