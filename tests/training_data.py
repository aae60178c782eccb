"""Small molecules with made-up targets, for the tests of training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from rdkit import Chem

from dgl_gmpool.cli import main
from dgl_gmpool.data import (
    AuxiliaryTargets,
    MoleculeDataset,
    MoleculeTable,
    SelectionReport,
    featurize,
)

# Single atoms and a salt are among them: graphs without bonds must not be special.
SMILES = (
    "C", "O", "[Na+].[Cl-]", "CC", "CCO", "CCN", "CCC", "CCCC", "CC(C)C", "CC(C)O", "CCCO",
    "c1ccccc1", "Cc1ccccc1", "Oc1ccccc1", "Nc1ccccc1", "CC(=O)O", "CC(=O)N", "CCOC", "CCOCC",
    "C1CC1", "C1CCC1", "C1CCCC1", "C1CCCCC1", "CC#N", "C=C", "C#C", "CS", "CSC", "CCl", "CCBr",
    "c1ccncc1", "c1ccoc1", "c1ccsc1", "OCCO", "NCCN", "CC=O",
)  # fmt: skip


def small_dataset(
    kind: str = "regression",
    *,
    tasks: int = 1,
    rows: int = 36,
    global_feats: bool = False,
    featurizer: str = "stereo",
) -> MoleculeDataset:
    """Targets that depend on the molecule; a few missing cells where there are several tasks."""
    smiles = SMILES[:rows]
    atoms = np.array([Chem.MolFromSmiles(s).GetNumAtoms() for s in smiles], float)
    rng = np.random.default_rng(0)
    targets = atoms[:, None] + rng.normal(size=(len(smiles), tasks))
    if kind == "classification":
        targets = (targets > np.median(targets, axis=0)).astype(float)
    if tasks > 1:
        targets[rng.random(targets.shape) < 0.2] = np.nan
    canonical = tuple(Chem.CanonSmiles(s) for s in smiles)
    table = MoleculeTable(
        name="small",
        kind=kind,
        task_names=tuple(f"task{t}" for t in range(tasks)),
        ids=tuple(f"m{i}" for i in range(len(smiles))),
        smiles=tuple(smiles),
        canonical=canonical,
        groups=canonical,
        targets=targets.astype(np.float32),
        global_feats=rng.normal(5, 3, (len(smiles), 2)).astype(np.float32)
        if global_feats
        else None,
        report=SelectionReport("small", (("rows", len(smiles)),)),
        units="" if kind == "classification" else "log units",
    )
    return featurize(table, featurizer=featurizer, progress=False)


def with_small_auxiliary(dataset: MoleculeDataset) -> MoleculeDataset:
    """Two auxiliary targets: ``flags``, two of three cells known, and ``sizes``."""
    rng = np.random.default_rng(1)
    flags = rng.integers(0, 2, (len(dataset), 3)).astype(np.float32)
    flags[rng.random(flags.shape) < 1 / 3] = np.nan
    atoms = np.array([[graph.num_nodes()] for graph in dataset.graphs], np.float32)
    auxiliary = (
        AuxiliaryTargets("flags", "classification", ("a", "b", "c"), flags),
        AuxiliaryTargets("sizes", "regression", ("atoms", "half"), np.hstack([atoms, atoms / 2])),
    )
    return replace(dataset, table=replace(dataset.table, auxiliary=auxiliary))


def with_targets(dataset: MoleculeDataset, targets: np.ndarray) -> MoleculeDataset:
    """The same molecules with other targets."""
    table = replace(dataset.table, targets=np.asarray(targets, np.float64))
    return replace(dataset, table=table)


def without_seconds(value: Any) -> Any:
    """A JSON value without its timings, the only thing two equal runs differ in."""
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if k != "seconds"}
    if isinstance(value, list):
        return [without_seconds(item) for item in value]
    return value


def small_options(**changes: Any) -> dict[str, Any]:
    """Options of a TrainingConfig that trains in a fraction of a second."""
    options: dict[str, Any] = {
        "readout": "gmpool",
        "hidden_feats": 8,
        "num_steps": 1,
        "epochs": 2,
        "batch_size": 8,
        "lr": 0.01,
    }
    return {**options, **changes}


def rows_of(text: str, delimiter: str | None = None) -> list[dict[str, str]]:
    """Rows of a CSV text as dicts."""
    import csv

    return list(csv.DictReader(text.splitlines(), delimiter=delimiter or ","))


def check_refused(command, change, message, run, folder, capsys):
    """A command refuses these options in one line, and leaves nothing of its --output."""
    table = folder / "new.csv"
    table.write_text("structure\nCCO\n")
    options = {
        "--model": str(run),
        "--csv": str(table),
        "--smiles-column": "structure",
        "--output": str(folder / "out"),
        **change,
    }
    assert main([command, *(part for pair in options.items() for part in pair)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (folder / "out").exists()
