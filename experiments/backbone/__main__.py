"""Which network before the pooling? Paired trials on validation rows.

  python -m experiments.backbone --output FOLDER --tsv TSV --tox21 CSV

Plain DMPNN (the paper's), DMPNN with normalisation and residual connections, DGL-LifeSci's GCN, and
GCN with edge features, each before three readouts. Width 32, three steps, 12 epochs (Tox21: 5),
one-cycle learning rate with its peak at 0.005, batches of 40, the last epoch counts; 20 % of all
rows are drawn anew for each seed and scored, nothing is tuned. Written down before the run: the
default changes only if a network is ahead of plain DMPNN, with its 95 % interval over seeds above 0
over all sets, behind each of the three readouts.

A row of scores.csv is one training; what is there is not trained again. Writes scores.csv,
table.json and table.md: the relative change of RMSE or of 1 - ROC-AUC in %, + is better.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from dgl_gmpool import MoleculePredictor
from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.data import MoleculeDataset
from experiments.exchange.__main__ import (
    STEPS,
    WIDTH,
    Scores,
    changes,
    interval,
    loaders,
    read_scores,
    shown,
    train,
    write_scores,
)
from experiments.setting import setting

EPOCHS = {"tox21": 5}
FIRST_SEED = 200

#: Name -> backbone and its options.
NETWORKS: dict[str, tuple[str, dict[str, object]]] = {
    "dmpnn": ("dmpnn", {}),
    "dmpnn norm residual": ("dmpnn", {"norm": "batch", "residual": True}),
    "gcn": ("gcn", {}),
    "gcn edges": ("gcn", {"edges": True}),
}
READOUTS = ("mean", "mean_and_max", "gmpool")
PLAIN = "dmpnn"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.backbone",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--tsv", type=Path, metavar="TSV", help="BindingDB's table: pIC50")
    parser.add_argument("--tox21", type=Path, metavar="CSV", help="Tox21")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="(default: 5)")
    args = parser.parse_args(arguments)
    args.chromophores = None
    torch.set_num_threads(1)
    args.output.mkdir(parents=True, exist_ok=True)
    scores = read_scores(args.output)
    sets = {name: load() for name, load in loaders(args).items()}
    arms = [f"{network}, {readout}" for network in NETWORKS for readout in READOUTS]
    for seed in range(FIRST_SEED, FIRST_SEED + args.seeds):
        for name, dataset in sets.items():
            missing = [arm for arm in arms if (name, str(seed), arm) not in scores]
            for arm, loss, seconds in train(dataset, seed, missing, EPOCHS.get(name, 12), build):
                scores[name, str(seed), arm] = (loss, seconds)
                print(f"{name} {seed} {arm}: {loss:.4f} ({seconds:.0f} s)", flush=True)
            write(args.output, scores)


def build(arm: str, dataset: MoleculeDataset, seed: int) -> MoleculePredictor:
    """One arm's network, started from the seed."""
    network, readout = arm.split(", ")
    backbone, options = NETWORKS[network]
    torch.manual_seed(seed)
    return MoleculePredictor(
        dataset.node_in_feats,
        dataset.edge_in_feats,
        backbone=backbone,
        backbone_options=options,
        readout=readout,
        hidden_feats=WIDTH,
        num_steps=STEPS,
        dropout=0.0,
        head_feats=WIDTH,
        readout_norm="batch",
        conductance_start=dataset.conductance_start if readout == "gmpool" else None,
    )


def write(folder: Path, scores: Scores) -> None:
    """scores.csv, table.json and table.md."""
    write_scores(folder, scores)
    names = sorted({name for name, _, _ in scores})
    rows: list[dict[str, object]] = []
    for readout in READOUTS:
        for network in NETWORKS:
            if network == PLAIN:
                continue
            by_set = changes(scores, f"{network}, {readout}", f"{PLAIN}, {readout}")
            if not by_set:
                continue
            whole = set.intersection(*(set(each) for each in by_set.values()))
            means = [sum(e[seed] for e in by_set.values()) / len(by_set) for seed in sorted(whole)]
            row: dict[str, object] = {"network": network, "readout": readout}
            row |= {name: interval(list(each.values())) for name, each in by_set.items()}
            rows.append(row | {"all": interval(means) if means else None})
    record = {**setting(), "changes": rows}
    atomic_write_json(folder / "table.json", record)
    text = ["| readout | network, against plain DMPNN | " + " | ".join([*names, "all"]) + " |"]
    text.append("|:--|:--|" + "--:|" * (len(names) + 1))
    for row in rows:
        cells = [shown(row.get(name)) for name in [*names, "all"]]
        text.append(f"| {row['readout']} | {row['network']} | " + " | ".join(cells) + " |")
    atomic_write_text(folder / "table.md", "\n".join(text) + "\n")


if __name__ == "__main__":
    raise SystemExit(run_script(main, resume=""))
