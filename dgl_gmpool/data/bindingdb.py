"""Measured potencies from BindingDB, selected by UniProt accession."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection
from dataclasses import replace
from functools import cache
from pathlib import Path

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
from dgl_gmpool.data.report import SelectionTally
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
    bound = f"a bound ('>' or '<') on the {measure}"
    blank_value = f"no {measure}"
    tally = SelectionTally(source.path.name)
    chosen: list[tuple[int, list[bytes]]] = []
    smiles_at = source.layout.column("Ligand SMILES", source.path)
    value_at = source.layout.column(f"{measure} (nM)", source.path)
    split_at = source.layout.column(split_column, source.path) if split_column else None
    names = source.layout.names
    name_at = names.index(ROW_ID) if ROW_ID in names else None
    for line, cells in source:
        # Of a row of several kilobytes only a few cells are kept.
        chosen.append(
            (
                line,
                [
                    b"" if at is None or at >= len(cells) else cells[at].strip()
                    for at in (name_at, smiles_at, value_at, split_at)
                ],
            )
        )
    tally.rows = source.rows
    tally.leave_out(BLANK_ROW, source.blank)
    tally.leave_out(OTHER_TARGET, source.rows - source.blank - len(chosen))
    tally.total(f"rows of {_short(targets)}", len(chosen))

    tally.expect(blank_value, NOT_A_NUMBER, APPROXIMATE, bound, NOT_POSITIVE)
    tally.expect(BLANK_SMILES, NOT_A_SMILES, SEVERAL_FRAGMENTS)

    @cache
    def describe(smiles: str) -> tuple[str, str, str]:
        """Canonical SMILES, reason to leave the molecule out, detail if it is to be named."""
        atoms = count_atoms(smiles)
        outside = "" if atoms is None else rule.reason_against(atoms)
        canonical, why = ("", "") if outside else canonical_smiles(smiles)
        return canonical, outside or (refusal(why) if why else ""), why

    ids: list[str] = []
    written: list[str] = []
    keys: list[str] = []
    potencies: list[Cell] = []
    parts: list[str] = []
    for line, raw in chosen:
        ident, smiles, value, part = (cell.decode("utf-8", errors="replace") for cell in raw)
        ident = ident or f"line {line}"
        if is_missing(value):
            tally.leave_out(blank_value)
            continue
        parsed = parse_value(value)
        if parsed is None:
            tally.refuse(ident, smiles, f"{measure} is {value!r}", reason=NOT_A_NUMBER)
            continue
        relation, nanomolar = parsed
        if relation == "~" and bounds != "use":
            tally.leave_out(APPROXIMATE)
            continue
        if relation in (">", "<") and bounds == "drop":
            tally.leave_out(bound)
            continue
        if nanomolar <= 0:
            tally.leave_out(NOT_POSITIVE)
            continue
        if is_missing(smiles):
            tally.leave_out(BLANK_SMILES)
            continue
        canonical, reason, detail = describe(smiles)
        if detail:
            tally.refuse(ident, smiles, detail, reason=reason)
            continue
        if reason:
            tally.leave_out(reason)
            continue
        # The logarithm's sign turns the bound: above 10,000 nM is below a potency of 5.
        side = {">": "<", "<": ">"}.get(relation, "") if bounds == "use" else ""
        sort = {"": "", "~": APPROXIMATE}.get(relation, BOUND)
        potencies.append(Cell(9.0 - math.log10(nanomolar), sort=sort, relation=side))
        ids.append(ident)
        written.append(smiles)
        keys.append(canonical)
        parts.append(part)

    tally.notes += used_notes(potencies)
    tally.notes += ignored_extensions(written)
    report = tally.finish(f"rows with a usable {measure}, {rule}", len(ids))
    if not ids:
        raise ValueError(
            f"no molecule is left; check accessions= ({', '.join(targets)}), measure= and the "
            f"limits:\n{report.text()}"
        )

    def values(relation: str) -> np.ndarray:
        """``(rows, 1)``; NaN for other cells."""
        held = [each.value if each.relation == relation else math.nan for each in potencies]
        return np.array(held)[:, None]

    bounded = any(each.relation for each in potencies)
    table = MoleculeTable(
        name="bindingdb",
        kind="regression",
        task_names=(f"p{measure}",),
        ids=tuple(ids),
        smiles=tuple(split_smiles(each)[0] for each in written),
        canonical=tuple(keys),
        groups=tuple(keys),
        targets=values(""),
        global_feats=None,
        report=report,
        units=f"p{measure}",
        lower=values(">") if bounded else None,
        upper=values("<") if bounded else None,
        split_values=tuple(parts) if split_column else (),
    )
    table = merged_replicates(table, "median", split=split)
    bounded = bool(np.isnan(table.targets).any())
    return table if bounded else replace(table, lower=None, upper=None)


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
