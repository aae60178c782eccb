"""Do groups pay? Paired trials on validation rows; the protocol is in PROTOCOL.md.

  python -m experiments.exchange --output FOLDER                      the data that RDKit carries
  python -m experiments.exchange --output FOLDER --tsv TSV --chromophores CSV --tox21 CSV
  python -m experiments.exchange --output OTHER --variants ...        other places and reaches

A row of scores.csv is one training; what is there is not trained again, so the command can be
stopped and started at will, with more --seeds too. Writes scores.csv, table.json and table.md.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import Tensor

from dgl_gmpool import MoleculePredictor
from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.data import (
    MoleculeDataset,
    featurize,
    load_bindingdb,
    load_chromophores,
    load_sodium_channel,
    load_tox21,
)
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.training.batches import Batch, collate
from experiments.exchange.variants import VARIANTS
from experiments.setting import setting

WIDTH, STEPS, BATCH, PEAK = 32, 3, 40, 0.005
EPOCHS = {"tox21": 7}
FIRST_SEED = 100
FIELDS = ("dataset", "seed", "arm", "loss", "seconds")

ARMS: dict[str, dict[str, object]] = {
    "mean_and_max": {"readout": "mean_and_max"},
    "phi": {"readout": "gmpool", "exchange": False},
    "groups": {"readout": "gmpool", "exchange": False},
    "exchange": {"readout": "mean_and_max", "exchange": True},
    "default": {},
    # As in all versions before 0.7.
    "exchange_after_layers": {
        "readout": "mean_and_max",
        "exchange": True,
        "exchange_after": "layer",
    },
    "after_layers": {"exchange_after": "layer"},
}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--tsv", type=Path, metavar="TSV", help="BindingDB's table: pIC50")
    parser.add_argument("--chromophores", type=Path, metavar="CSV", help="emission in films")
    parser.add_argument("--tox21", type=Path, metavar="CSV", help="Tox21")
    parser.add_argument("--seeds", type=int, default=25, metavar="N", help="(default: 25)")
    parser.add_argument(
        "--first-seed",
        type=int,
        default=FIRST_SEED,
        metavar="N",
        help="so that several processes share the seeds, each with a folder of its own; --merge "
        f"puts them together (default: {FIRST_SEED})",
    )
    parser.add_argument(
        "--merge", nargs="+", type=Path, default=[], metavar="FOLDER", help="train nothing"
    )
    parser.add_argument(
        "--variants",
        nargs="*",
        choices=VARIANTS,
        metavar="NAME",
        help=f"other ways to exchange than after each layer: all, or of {', '.join(VARIANTS)}",
    )
    parser.add_argument(
        "--arms", nargs="+", choices=ARMS, metavar="NAME", help=f"of {', '.join(ARMS)}"
    )
    parser.add_argument(
        "--backbone", choices=("gcn", "dmpnn"), default="gcn", help="(default: gcn)"
    )
    args = parser.parse_args(arguments)
    arms = args.arms or list(ARMS)
    if args.variants is not None:
        arms = ["after_layers", *(args.variants or VARIANTS)]
    torch.set_num_threads(1)
    args.output.mkdir(parents=True, exist_ok=True)
    scores = read_scores(args.output)
    if args.merge:
        for folder in args.merge:
            scores |= read_scores(folder)
        write(args.output, scores)
        return
    sets = {name: load() for name, load in loaders(args).items()}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for name, dataset in sets.items():
            missing = [arm for arm in arms if (name, str(seed), arm) not in scores]
            epochs = EPOCHS.get(name, 20)
            made = partial(build, backbone=args.backbone)
            for arm, loss, seconds in train(dataset, seed, missing, epochs, made):
                scores[name, str(seed), arm] = (loss, seconds)
                print(f"{name} {seed} {arm}: {loss:.4f} ({seconds:.0f} s)", flush=True)
            write(args.output, scores)


def loaders(args: argparse.Namespace) -> dict[str, Callable[[], MoleculeDataset]]:
    """The data sets that there are files for, and the one that needs none."""
    found: dict[str, Callable[[], MoleculeDataset]] = {
        "sodium": lambda: featurize(load_sodium_channel())
    }
    if args.tsv:
        found["pic50"] = lambda: featurize(load_bindingdb(args.tsv))
    if args.tox21:
        found["tox21"] = lambda: featurize(load_tox21(args.tox21))
    if args.chromophores:
        found["film"] = lambda: featurize(
            load_chromophores(args.chromophores, target="emission_film")
        )
    return found


def build(
    arm: str, dataset: MoleculeDataset, seed: int, backbone: str = "gcn"
) -> MoleculePredictor:
    """One arm's network, started from the seed."""
    torch.manual_seed(seed)
    options = dict(ARMS.get(arm, ARMS["after_layers"]))
    if options.get("readout") != "mean_and_max" or options.get("exchange"):
        options["conductance_start"] = dataset.conductance_start
    model = MoleculePredictor(
        dataset.node_in_feats,
        dataset.edge_in_feats,
        backbone=backbone,
        hidden_feats=WIDTH,
        num_steps=STEPS,
        dropout=0.0,
        head_feats=WIDTH,
        readout_norm="batch",
        **options,  # type: ignore[arg-type]
    )
    if arm in VARIANTS:
        VARIANTS[arm](model)
    if arm == "phi":
        model.poolings[0].matrices = identities  # type: ignore[assignment]
    return model


def identities(batch: GraphBatch) -> list[Tensor]:
    """M = I: every node its own group."""
    return [torch.diag_embed(bucket.mask.to(torch.float64)) for bucket in batch.layout.buckets]


Build = Callable[[str, MoleculeDataset, int], MoleculePredictor]


def train(
    dataset: MoleculeDataset, seed: int, arms: Sequence[str], epochs: int, build: Build = build
) -> list[tuple[str, float, float]]:
    """Every arm on the same rows in the same order: validation loss and processor seconds."""
    if not arms:
        return []
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(dataset.graphs))
    cut = len(order) // 5
    valid, rows = order[:cut], order[cut:]
    target = torch.as_tensor(dataset.table.targets[:, 0], dtype=torch.float64)
    binary = dataset.table.kind == "classification"
    mean, std = (0.0, 1.0) if binary else (target[rows].mean(), target[rows].std())
    wanted = ((target - mean) / std).float()
    loss_of = torch.nn.BCEWithLogitsLoss() if binary else torch.nn.MSELoss()
    models = {arm: build(arm, dataset, seed) for arm in arms}
    steps = epochs * (len(rows) // BATCH)
    optimizers, schedules = {}, {}
    for arm, model in models.items():
        optimizers[arm] = torch.optim.Adam(model.parameters(), lr=PEAK)
        schedules[arm] = torch.optim.lr_scheduler.OneCycleLR(optimizers[arm], PEAK, steps)
    seconds = dict.fromkeys(arms, 0.0)
    for _ in range(epochs):
        shuffled = rng.permutation(rows)
        for start in range(0, BATCH * (len(rows) // BATCH), BATCH):
            chosen = shuffled[start : start + BATCH]
            batch = batch_of(dataset, chosen)
            for arm, model in models.items():
                seconds[arm] += step(
                    model, optimizers[arm], schedules[arm], loss_of, batch, wanted[chosen]
                )
    found = []
    for arm, model in models.items():
        model.eval()
        with torch.no_grad():
            parts = [model(*batch_of(dataset, part)) for part in np.array_split(valid, 4)]
        out, true = torch.cat(parts)[:, 0].double(), wanted[valid].double()
        if binary:
            loss = 1 - float(roc_auc_score(true.numpy(), out.numpy()))
        else:
            loss = float((out - true).square().mean().sqrt() * std)
        found.append((arm, loss, seconds[arm]))
    return found


def step(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    loss_of: torch.nn.Module,
    batch: Batch,
    wanted: Tensor,
) -> float:
    """One training step; its processor seconds."""
    started = time.process_time()
    optimizer.zero_grad()
    loss_of(model(*batch)[:, 0], wanted).backward()
    optimizer.step()
    schedule.step()
    return time.process_time() - started


def batch_of(dataset: MoleculeDataset, rows: np.ndarray) -> Batch:
    """These molecules as a batch."""
    graphs = dataset.graphs[rows]
    return collate(graphs, edge_in_feats=dataset.edge_in_feats, device=torch.device("cpu"))


Scores = dict[tuple[str, str, str], tuple[float, float]]


def read_scores(folder: Path) -> Scores:
    """What is there already."""
    path = folder / "scores.csv"
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            (row["dataset"], row["seed"], row["arm"]): (float(row["loss"]), float(row["seconds"]))
            for row in csv.DictReader(file)
        }


def changes(scores: Scores, arm: str, against: str) -> dict[str, dict[str, float]]:
    """Relative change in %, + is better: by set, then by seed."""
    found: dict[str, dict[str, float]] = {}
    for (name, seed, which), (loss, _) in scores.items():
        other = scores.get((name, seed, against))
        if which == arm and other is not None:
            found.setdefault(name, {})[seed] = 100 * (other[0] - loss) / other[0]
    return found


def interval(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, half of the 95 % interval by Student's t, and how many."""
    number = len(values)
    half = None
    if number > 1:
        spread = float(np.std(values, ddof=1)) / number**0.5
        half = float(stats.t.ppf(0.975, number - 1)) * spread
    return {"mean": float(np.mean(values)), "half": half, "seeds": number}


def summary(scores: Scores) -> list[dict[str, object]]:
    """Every arm against mean and maximum, and against phi, and variants against an exchange after
    every layer: by set, and over all sets."""
    rows: list[dict[str, object]] = []
    families = (
        ("mean_and_max", (*ARMS, *VARIANTS)),
        ("phi", (*ARMS, *VARIANTS)),
        ("after_layers", ("default", *VARIANTS)),
    )
    for against, arms in families:
        for arm in arms:
            if arm == against:
                continue
            by_set = changes(scores, arm, against)
            if not by_set:
                continue
            whole = set.intersection(*(set(each) for each in by_set.values()))
            over_all = [
                float(np.mean([each[seed] for each in by_set.values()])) for seed in sorted(whole)
            ]
            row: dict[str, object] = {"arm": arm, "against": against}
            row |= {name: interval(list(each.values())) for name, each in by_set.items()}
            row["all"] = interval(over_all) if over_all else None
            rows.append(row)
    return rows


def write_scores(folder: Path, scores: Scores) -> None:
    """scores.csv."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(FIELDS)
    rows.writerows(
        [*key, repr(loss), f"{seconds:.1f}"] for key, (loss, seconds) in sorted(scores.items())
    )
    atomic_write_text(folder / "scores.csv", text.getvalue())


def write(folder: Path, scores: Scores) -> None:
    """scores.csv, table.json and table.md."""
    write_scores(folder, scores)
    rows = summary(scores)
    spent: dict[str, list[float]] = {}
    for (_, _, arm), (_, seconds) in scores.items():
        spent.setdefault(arm, []).append(seconds)
    cost = {arm: float(np.mean(each)) for arm, each in spent.items()}
    record = {**setting(), "changes": rows, "seconds": cost}
    atomic_write_json(folder / "table.json", record)
    names = sorted({name for name, _, _ in scores})
    text = ["| arm | against | " + " | ".join([*names, "all"]) + " |"]
    text.append("|:--|:--|" + "--:|" * (len(names) + 1))
    for row in rows:
        cells = [shown(row.get(name)) for name in [*names, "all"]]
        text.append(f"| {row['arm']} | {row['against']} | " + " | ".join(cells) + " |")
    atomic_write_text(folder / "table.md", "\n".join(text) + "\n")


def shown(found: object) -> str:
    """``+1.2 ± 0.4 (25)``: mean, half of the interval, seeds."""
    if not isinstance(found, dict):
        return ""
    half = "" if found["half"] is None else f" ± {found['half']:.1f}"
    return f"{found['mean']:+.1f}{half} ({found['seeds']})"


if __name__ == "__main__":
    raise SystemExit(run_script(main, resume=""))
