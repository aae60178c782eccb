"""Do RDKit's descriptors beside the readout help? Validation scores with and without.

    python -m experiments.descriptors --output experiments/results/descriptors

RDKit carries one set of measured values (a ChEMBL document of sodium-channel inhibitors, pIC50);
``--csv FILE --target NAME`` takes another. Every seed is a split and a network of its own; all
variants of a seed share both, so differences are paired. A variant's score is that of its best
epoch on the validation rows; the test rows are not looked at.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool.data import featurize, load_csv, load_sodium_channel, make_splits, with_descriptors
from dgl_gmpool.training import TrainingConfig
from dgl_gmpool.training.fold import fit_fold
from dgl_gmpool.training.provenance import library_versions, processor, source_commit

VARIANTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "rdkit": ("rdkit",),
    "morgan": ("morgan",),
    "rdkit and morgan": ("morgan", "rdkit"),
}
_CONFIG = TrainingConfig(hidden_feats=32, epochs=15, patience=15, batch_size=40, lr=2e-3)


def main() -> None:
    """Train what the output lacks, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="FILE.json and FILE.md")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--csv", metavar="FILE", help="other measurements (a regression)")
    parser.add_argument("--target", help="the column of --csv to learn")
    parser.add_argument("--smiles-column", default="smiles")
    args = parser.parse_args()
    if args.csv is None:
        table = load_sodium_channel()
    else:
        table = load_csv(args.csv, smiles_column=args.smiles_column, target_columns=args.target)
    dataset = with_descriptors(featurize(table), ["rdkit", "morgan"])
    file = args.output.with_suffix(".json")
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"] if file.exists() else []
    known = {(row["variant"], row["seed"]) for row in rows}
    for seed, (name, sets) in product(range(args.seeds), VARIANTS.items()):
        if (name, seed) in known:
            continue
        train, valid = make_splits(dataset.table, seed=seed, folds=5).folds[0]
        fitted = fit_fold(dataset, train, valid, replace(_CONFIG, descriptors=sets, seed=seed))
        rows.append({"variant": name, "seed": seed, "rmse": fitted.best_score})
        print(rows[-1], flush=True)
        atomic_write_json(
            file,
            {
                "command": "python -m experiments.descriptors"
                + ("" if args.csv is None else f" --csv FILE --target {args.target}"),
                "data": f"{table.name}, {len(dataset)} molecules, {table.units}",
                "training": _CONFIG.to_dict(),
                "commit": source_commit(),
                "versions": library_versions(),
                "processor": processor(),
                "rows": rows,
            },
        )
        atomic_write_text(args.output.with_suffix(".md"), markdown(rows, table.name))


def markdown(rows: list[dict[str, Any]], data: str) -> str:
    """Mean score of each variant, and its change against none, seed by seed."""
    score = {(row["variant"], row["seed"]): row["rmse"] for row in rows}
    lines = [
        f"Validation RMSE on {data}, `python -m experiments.descriptors`.",
        "",
        "| descriptors | RMSE | change against none, mean +- standard error | seeds |",
        "|:--|--:|--:|--:|",
    ]
    for name in VARIANTS:
        seeds = [s for v, s in score if v == name and ("none", s) in score]
        if not seeds:
            continue
        found = np.array([score[name, seed] for seed in seeds])
        change = 100 * (found / np.array([score["none", seed] for seed in seeds]) - 1)
        error = change.std(ddof=1) / len(seeds) ** 0.5 if len(seeds) > 1 else float("nan")
        said = "" if name == "none" else f"{change.mean():+.1f} +- {error:.1f} %"
        lines.append(f"| {name} | {found.mean():.3f} | {said} | {len(seeds)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
