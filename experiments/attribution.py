"""Does ``explain`` find what a model was taught? Targets that follow from known substructures.

    python -m experiments.attribution --output experiments/results/attribution.json

Molecules are put together from ring systems, chains and substituents, some of which share atoms
with the substructure (esters, amides, ketones, alcohols beside the acid; amines and nitriles beside
nitro). The target is the number of substructures, or the product of two such numbers, which only
both together make. After training, test molecules are explained; the AUC says how well an atom's
contribution tells atoms of the substructure from the others, beside that of the weight that the
readout itself states.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem

from dgl_gmpool._io import atomic_write_json
from dgl_gmpool.data import featurize, load_csv, make_splits
from dgl_gmpool.explain import explain_molecule
from dgl_gmpool.training import TrainingConfig, load_models, train_run
from dgl_gmpool.training.provenance import library_versions, processor, source_commit

_NITRO, _CARBOXYL = "[N+](=O)[O-]", "C(=O)[OX2H1,OX1-]"

#: The target is the product of the counts of these.
TARGETS = {"nitro": [_NITRO], "carboxyl": [_CARBOXYL], "nitro and carboxyl": [_NITRO, _CARBOXYL]}

_SCAFFOLDS = (
    *("c1ccccc1{}", "c1cc{}ccc1{}", "c1cc{}ncc1{}", "C1CCCCC1{}", "c1ccc2cc{}ccc2c1{}"),
    *("CCC{}CC{}", "C1CCN(C{})CC1{}", "c1csc{}c1{}", "CC(C{})CO{}", "c1ccc(cc1{})Oc1ccc{}cc1{}"),
    *("O=C(Nc1ccc{}cc1)C{}", "CCOC(C{})CC{}C{}"),
)
_OTHERS = (
    *("", "(C)", "(O)", "(N)", "(F)", "(Cl)", "(C#N)", "(C(N)=O)", "(OC)", "(C(C)=O)"),
    *("(S(C)(=O)=O)", "(C(F)(F)F)", "(C(=O)OC)", "(N(C)C)"),
)
_COUNTED = ("([N+](=O)[O-])", "(C(=O)O)")
#: A substituent is a counted one this often.
_SHARE = 0.5


def molecules(count: int, *, seed: int = 0) -> list[str]:
    """Distinct canonical SMILES.

    Examples
    --------
    >>> len(set(molecules(50)))
    50
    """
    draw, found = random.Random(seed), dict[str, None]()
    while len(found) < count:
        text = draw.choice(_SCAFFOLDS)
        while "{}" in text:
            part = draw.choice(_COUNTED if draw.random() < _SHARE else _OTHERS)
            text = text.replace("{}", part, 1)
        found.setdefault(Chem.CanonSmiles(text))
    return list(found)


def truth_of(smiles: str, patterns: list[str]) -> tuple[int, np.ndarray]:
    """The target, and the atoms that make it: none where one of the substructures is missing.

    Examples
    --------
    >>> count, inside = truth_of("NCC(=O)O", TARGETS["carboxyl"])
    >>> count, inside.tolist()
    (1, [False, False, True, True, True])
    """
    mol = Chem.MolFromSmiles(smiles)
    found = [mol.GetSubstructMatches(Chem.MolFromSmarts(pattern)) for pattern in patterns]
    inside = np.zeros(mol.GetNumAtoms(), bool)
    count = math.prod(map(len, found))
    if count:
        inside[[atom for each in found for match in each for atom in match]] = True
    return count, inside


def measure(
    patterns: list[str], config: TrainingConfig, smiles: list[str], folder: Path
) -> dict[str, Any]:
    """Train on the target, explain the test rows, compare with the truth."""
    from sklearn.metrics import roc_auc_score

    counts = [truth_of(s, patterns)[0] for s in smiles]
    folder.mkdir(parents=True)
    table_file = folder / "table.csv"
    lines = ["smiles,count", *(f"{s},{count}" for s, count in zip(smiles, counts))]
    table_file.write_text("\n".join(lines) + "\n")
    table = load_csv(table_file, smiles_column="smiles", target_columns="count", kind="regression")
    splits = make_splits(table, folds=2, test_fraction=0.2, seed=0)
    run = train_run(
        featurize(table, progress=False), splits, config, folder / "run", progress=False
    )
    models = load_models(run.folder)
    inside, shares, weights = [], [], []
    per_molecule, per_unit, groups = [], [], []
    started = time.process_time()
    for row in splits.test:
        each = explain_molecule(models, table.smiles[row])
        count, truth = truth_of(table.smiles[row], patterns)
        groups.append(each.num_groups)
        inside.append(truth)
        shares.append(each.contributions)
        weights.append(np.zeros(len(truth)) if each.weights is None else each.weights)
        if truth.any() and not truth.all():
            per_molecule.append(roc_auc_score(truth, each.contributions))
            per_unit.append(each.contributions[truth].sum() / count)
    truth, values = np.concatenate(inside), np.concatenate(shares)
    return {
        "auc of atoms": float(roc_auc_score(truth, values)),
        "auc within molecules": float(np.mean(per_molecule)),
        "auc of the readout's weights": float(roc_auc_score(truth, np.concatenate(weights))),
        "molecules with the substructure": len(per_molecule),
        "contribution of the substructure to a target of 1": float(np.mean(per_unit)),
        "contribution of an atom elsewhere": float(values[~truth].mean()),
        "test r2": float(run.metrics["ensemble_test"]["r2"]),
        "groups per molecule": float(np.mean(groups)),
        "CPU seconds per molecule": (time.process_time() - started) / len(inside),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure every substructure with every readout and write one JSON file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    parser.add_argument("--readouts", nargs="+", default=["gmpool", "ngmpool", "mean"])
    parser.add_argument("--molecules", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=25)
    args = parser.parse_args(argv)
    setting = {
        "command": "python -m experiments.attribution --output FILE",
        "molecules": args.molecules,
        "epochs": args.epochs,
        "commit": source_commit(),
        "versions": library_versions(),
        "processor": processor(),
    }
    smiles = molecules(args.molecules)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for readout in args.readouts:
            for name, patterns in TARGETS.items():
                config = TrainingConfig(
                    readout=readout, hidden_feats=64, epochs=args.epochs, batch_size=32, lr=2e-3
                )
                found = measure(patterns, config, smiles, Path(folder) / f"{readout}-{name}")
                rows.append({"target": name, "readout": readout, **found})
                print(f"{readout} {name}: AUC {found['auc of atoms']:.3f}", flush=True)
    atomic_write_json(args.output, {**setting, "rows": rows})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
