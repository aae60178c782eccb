"""Sodium-channel inhibitors with measured pIC50, from RDKit's own package: works offline."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.data.molecule import canonical_smiles, refusal
from dgl_gmpool.data.report import SelectionTally
from dgl_gmpool.data.table import MoleculeTable

DOCUMENT = "CHEMBL2321810"


def load_sodium_channel() -> MoleculeTable:
    """ChEMBL document CHEMBL2321810: 1,017 sulfonamide inhibitors of a sodium channel, pIC50.

    The files are part of RDKit (``Contrib/FreeWilson/data``), so nothing is downloaded.

    Returns
    -------
    MoleculeTable
        ``kind="regression"``, one task "pIC50"; ids are ChEMBL compound numbers. Compounds that
        differ only in how they are written share a group.

    Raises
    ------
    FileNotFoundError
        If this RDKit comes without the folder.

    Examples
    --------
    >>> table = load_sodium_channel()
    >>> len(table), table.units
    (1017, 'pIC50')
    """
    folder = _contrib_folder() / "FreeWilson" / "data"
    smiles_file, activity_file = folder / f"{DOCUMENT}.smi", folder / f"{DOCUMENT}_act.csv"
    for file in (smiles_file, activity_file):
        if not file.is_file():
            raise FileNotFoundError(
                f"this RDKit comes without {file.name} (looked in {folder}). Use molecules of your "
                f"own instead: dgl-gmpool train csv --csv YOUR.csv "
                f"--smiles-column SMILES --target YOUR_TARGET"
            )
    text = DelimitedText(activity_file)
    name_column, activity_column = text.column("Name"), text.column("Act")
    activity = {row.cells[name_column]: float(row.cells[activity_column]) for row in text}

    tally = SelectionTally(smiles_file.name)
    rows: list[tuple[str, str, str]] = []
    for line in smiles_file.read_text(encoding="utf-8").splitlines():
        tally.rows += 1
        smiles, _, name = line.strip().partition(" ")
        if name not in activity:
            tally.refuse(name, smiles, "no activity", reason="no measured pIC50")
            continue
        canonical, why = canonical_smiles(smiles)
        if not canonical:
            tally.refuse(name, smiles, why, reason=refusal(why))
            continue
        rows.append((name, smiles, canonical))
    targets = np.array([[activity[name]] for name, _, _ in rows], dtype=np.float64)
    return MoleculeTable(
        name="sodium_channel",
        kind="regression",
        task_names=("pIC50",),
        ids=tuple(name for name, _, _ in rows),
        smiles=tuple(smiles for _, smiles, _ in rows),
        canonical=tuple(canonical for _, _, canonical in rows),
        groups=tuple(canonical for _, _, canonical in rows),
        targets=targets.reshape(len(rows), 1),
        global_feats=None,
        report=tally.finish("molecules with a measured pIC50", len(rows)),
        units="pIC50",
    )


def _contrib_folder() -> Path:
    from rdkit import RDConfig

    return Path(os.path.normpath(RDConfig.RDContribDir))
