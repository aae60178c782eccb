"""Tox21: twelve toxicity assays, as the file that dgllife downloads holds them."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from dgl_gmpool.data.delimited_text import BLANK_ROW, WRONG_LENGTH, DelimitedText
from dgl_gmpool.data.features import AuxiliaryTargets
from dgl_gmpool.data.molecule import (
    BLANK_SMILES,
    NOT_A_SMILES,
    REFUSED,
    canonical_smiles,
    count_atoms,
    ignored_extensions,
    is_missing,
    split_smiles,
)
from dgl_gmpool.data.report import SelectionTally
from dgl_gmpool.data.size_rule import SEVERAL_FRAGMENTS, SizeRule
from dgl_gmpool.data.table import MoleculeTable

#: The assays, in the order of the published file.
TOX21_TASKS = (
    "NR-AR",
    "NR-AR-LBD",
    "NR-AhR",
    "NR-Aromatase",
    "NR-ER",
    "NR-ER-LBD",
    "NR-PPAR-gamma",
    "SR-ARE",
    "SR-ATAD5",
    "SR-HSE",
    "SR-MMP",
    "SR-p53",
)


def load_tox21(
    path: str | os.PathLike[str] | None = None,
    *,
    multitask: bool = False,
    min_atoms: int | None = 20,
    max_atoms: int | None = 40,
    split_column: str | None = None,
) -> MoleculeTable:
    """Tox21 (MoleculeNet layout), selected as in the paper.

    Kept are connected molecules (one fragment) of 20 to 40 heavy atoms: 2,514 of the published
    7,831 rows. RDKit refuses two of them (aluminium with too many bonds); the report names them.

    Parameters
    ----------
    path : path, optional
        A ``.csv`` or ``.csv.gz`` with the twelve assay columns, ``mol_id`` and ``smiles``.
        By default the file that ``dgllife.data.Tox21`` uses, downloaded once into DGL's download
        folder (``~/.dgl``, or the environment variable ``DGL_DOWNLOAD_DIR``).
    multitask : bool
        False: one label, positive if any assay is positive, negative if none is positive and at
        least one was measured. Rows without a single measured assay have no label and are left
        out (and counted). True: the twelve assays, NaN where not measured.
    min_atoms, max_atoms : int or None
        Limits on the heavy atoms, both included; None for no limit.
    split_column : str, optional
        A column that somebody added: what a split is made by, as for
        :func:`~dgl_gmpool.data.load_csv`.

    Returns
    -------
    MoleculeTable
        ``kind="classification"``. With one label, the twelve assays are its auxiliary targets
        ``"assays"``.

    Raises
    ------
    ValueError
        If a column is missing, an assay cell is not 0, 1 or blank, or the file is damaged.
    ConnectionError
        If the file is not there and cannot be downloaded.

    Notes
    -----
    Source: Tox21 Data Challenge 2014, through MoleculeNet (Wu et al. 2018).
    """
    rule = SizeRule(min_atoms, max_atoms, one_fragment=True)
    columns = ("mol_id", "smiles", *TOX21_TASKS, *([split_column] if split_column else []))
    text = DelimitedText(_downloaded() if path is None else path, columns=columns)
    id_column, smiles_column = text.column("mol_id"), text.column("smiles")
    assay_columns = [text.column(task) for task in TOX21_TASKS]
    split_at = text.column(split_column) if split_column else None

    tally = SelectionTally(text.path.name)
    tally.expect(BLANK_ROW, WRONG_LENGTH, BLANK_SMILES, NOT_A_SMILES, SEVERAL_FRAGMENTS)
    selected: list[tuple[str, str, list[float], str]] = []
    for row in text.fitting(tally):
        name, smiles = row.cells[id_column].strip(), row.cells[smiles_column].strip()
        labels = [
            _label(row.cells[column], f"{text.path.name}, row {row.number}, {task}")
            for column, task in zip(assay_columns, TOX21_TASKS)
        ]
        if is_missing(smiles):
            tally.leave_out(BLANK_SMILES)
            continue
        atoms = count_atoms(smiles)
        if atoms is None:
            tally.refuse(name, smiles, canonical_smiles(smiles)[1], reason=NOT_A_SMILES)
            continue
        reason = rule.reason_against(atoms)
        if reason:
            tally.leave_out(reason)
            continue
        part = "" if split_at is None else row.cells[split_at].strip()
        selected.append((name, smiles, labels, part))

    tally.total(str(rule), len(selected))
    kept: list[tuple[str, str, str]] = []
    written: list[str] = []
    assays: list[list[float]] = []
    parts: list[str] = []
    for name, smiles, labels, part in selected:
        if all(math.isnan(label) for label in labels):
            tally.leave_out("no assay was measured")
            continue
        canonical, why = canonical_smiles(smiles)
        if not canonical:
            tally.refuse(name, smiles, why, reason=REFUSED)
            continue
        written.append(smiles)
        kept.append((name, split_smiles(smiles)[0], canonical))
        assays.append(labels)
        parts.append(part)
    tally.notes += ignored_extensions(written)
    if not kept:
        report = tally.finish("molecules with a label that can be featurised", 0)
        raise ValueError(f"{text.path} has no usable row:\n{report}")
    measured = np.array(assays, dtype=np.float32).reshape(len(kept), len(TOX21_TASKS))
    tasks: tuple[str, ...] = TOX21_TASKS
    targets = measured
    auxiliary: tuple[AuxiliaryTargets, ...] = ()
    if not multitask:
        tally.notes.append(
            "label: 1 if any of the 12 assays is positive, 0 if none is and at least one was "
            "measured"
        )
        tasks = ("any of 12 assays",)
        targets = np.fmax.reduce(measured, axis=1, keepdims=True)
        auxiliary = (AuxiliaryTargets("assays", "classification", TOX21_TASKS, measured),)
    return MoleculeTable(
        name="tox21",
        kind="classification",
        task_names=tasks,
        ids=tuple(name for name, _, _ in kept),
        smiles=tuple(smiles for _, smiles, _ in kept),
        canonical=tuple(canonical for _, _, canonical in kept),
        groups=tuple(canonical for _, _, canonical in kept),
        targets=targets,
        global_feats=None,
        report=tally.finish("molecules with a label that can be featurised", len(kept)),
        auxiliary=auxiliary,
        split_values=tuple(parts) if split_column else (),
    )


def _label(cell: str, where: str) -> float:
    """0.0, 1.0 or NaN."""
    if is_missing(cell):
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if value not in (0.0, 1.0):
        raise ValueError(f"{where}: {cell!r} is not 0, 1 or blank; correct the cell")
    return value


def _downloaded() -> Path:
    """The file in DGL's download folder, fetched if it is not there."""
    from dgl.data.utils import _get_dgl_url, download, get_download_dir

    file = Path(get_download_dir()) / "tox21.csv.gz"
    if file.exists():
        return file
    url = _get_dgl_url("dataset/tox21.csv.gz")
    # A download that breaks off must not leave a half file that the next run would trust.
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        download(url, path=str(part), overwrite=True, retries=1, log=False)
        os.replace(part, file)
    except Exception as error:
        # requests, urllib3 and DGL raise a dozen unrelated types here.
        part.unlink(missing_ok=True)
        raise ConnectionError(
            f"Tox21 is not in {file.parent} and {url} cannot be downloaded "
            f"({type(error).__name__}: {error}). Without a network, get tox21.csv.gz elsewhere and "
            f"give its path: load_tox21(PATH), or --data PATH for the recipe."
        ) from error
    return file
