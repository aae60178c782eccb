"""Seconds per training epoch of whole models: ours and chemprop 2's, on the same molecules.

    OMP_WAIT_POLICY=passive python benchmarks/epochs.py --data tox21.csv.gz

Molecules of 20 to 40 heavy atoms: Tox21 as in the paper (2,512), or by default those of the
sodium-channel set that RDKit carries. Hidden width 200, batches of 80, Adam, a head of one hidden
layer of 200, one thread. Features are made and kept before the clock starts, for both. An epoch is
everything from the shuffling to the last step: batching, forward, loss, backward, Adam.

Ours run in the package's own training loop (``FoldTrainer``), as a recipe does. Chemprop's MPNN
with mean aggregation runs in two: in its Lightning ``Trainer``, as its users run it, without
checkpoints, loggers, bars and validation; and in a plain torch loop over chemprop's own data loader
and model, which leaves out what Lightning adds. Chemprop counts depth from 1: its depth 4 makes as
many edge updates as our ``num_steps=3``; its default depth 3 makes one less and has a row as well.

The models take turns, an epoch each; the first round warms up and is not counted. Ratios are taken
round by round. Without chemprop 2 only ours are timed. Stores benchmarks/results/epochs.json and
.md; with ``--limit`` nothing.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from paired import paired_ratio, spread
from setting import command_line, load_average, setting, store
from text_table import text_table
from threads import use_threads

from dgl_gmpool.data import MoleculeDataset, featurize, load_sodium_channel, load_tox21
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.fold_data import FoldData
from dgl_gmpool.training.fold_trainer import FoldTrainer
from dgl_gmpool.training.model import build_model, count_parameters

RESULTS = Path(__file__).parent / "results" / "epochs.json"
HIDDEN = 200
BATCH = 80
DROPOUT = 0.15

#: Edge updates of our models; chemprop's depth is one more.
NUM_STEPS = 3

#: Ours: label and readout.
OURS = {"DMPNN, mean": "mean", "DMPNN, NGMPool": "ngmpool", "DMPNN, GMPool": "gmpool"}

#: Ours over chemprop, for the bare backbone.
GOAL = 0.5

LIGHTNING = "chemprop, Lightning"
PLAIN = "chemprop, plain loop"
SHALLOW = "chemprop, plain loop, depth 3"


def our_epochs(dataset: MoleculeDataset) -> tuple[dict[str, Callable[[], None]], dict[str, int]]:
    """What trains each of our models for one more epoch, and how many parameters each has."""
    cpu, rows = torch.device("cpu"), range(len(dataset))
    epochs: dict[str, Callable[[], None]] = {}
    parameters = {}
    for label, readout in OURS.items():
        config = TrainingConfig(
            readout=readout,
            hidden_feats=HIDDEN,
            num_steps=NUM_STEPS,
            dropout=DROPOUT,
            batch_size=BATCH,
        )
        model = build_model(
            config,
            node_in_feats=dataset.node_in_feats,
            edge_in_feats=dataset.edge_in_feats,
            n_tasks=len(dataset.table.task_names),
        )
        data = FoldData.prepare(dataset, rows, config, device=cpu)
        epochs[label] = _epoch_of(model, dataset, data, config)
        parameters[label] = count_parameters(model)
    return epochs, parameters


def _epoch_of(
    model: Any, dataset: MoleculeDataset, data: FoldData, config: TrainingConfig
) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    trainer = FoldTrainer(dataset, range(len(dataset)), (), config, data, model, optimizer)
    trained = 0

    def epoch() -> None:
        nonlocal trained
        trained += 1
        trainer.epoch(trained)

    return epoch


def why_no_chemprop() -> str:
    """Empty where chemprop 2 and its Lightning can be imported."""
    try:
        import lightning  # noqa: F401
        from chemprop.models import MPNN  # noqa: F401
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _atoms(smiles: str) -> int:
    mol, why = read_molecule(smiles)
    if mol is None:
        raise ValueError(f"{smiles!r} is refused by RDKit: {why}")
    return mol.GetNumAtoms()


def chemprop_dataset(dataset: MoleculeDataset) -> Any:
    """The same molecules as chemprop's data set, features made and kept."""
    from chemprop.data import MoleculeDatapoint
    from chemprop.data import MoleculeDataset as ChempropDataset

    table = dataset.table
    points = []
    for smiles, target in zip(table.smiles, table.targets):
        points.append(MoleculeDatapoint(mol=read_molecule(smiles)[0], y=target))
    out = ChempropDataset(points)
    if table.kind == "regression":
        out.normalize_targets()
    out.cache = True
    return out


def chemprop_model(dataset: MoleculeDataset, depth: int) -> Any:
    """MPNN with mean aggregation, of our width."""
    from chemprop import nn
    from chemprop.models import MPNN

    classify = dataset.table.kind == "classification"
    head = nn.BinaryClassificationFFN if classify else nn.RegressionFFN
    torch.manual_seed(0)
    return MPNN(
        nn.BondMessagePassing(d_h=HIDDEN, depth=depth, dropout=DROPOUT),
        nn.MeanAggregation(),
        head(
            n_tasks=len(dataset.table.task_names),
            input_dim=HIDDEN,
            hidden_dim=HIDDEN,
            n_layers=1,
            dropout=DROPOUT,
        ),
        warmup_epochs=1,
    )


def chemprop_loader(rival: Any) -> Any:
    from chemprop.data import build_dataloader

    return build_dataloader(rival, batch_size=BATCH, shuffle=True)


def chemprop_epoch(model: Any, loader: Any) -> Callable[[], None]:
    """One epoch of chemprop's model without Lightning; the loss as in ``MPNN.training_step``."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def epoch() -> None:
        model.train()
        for graph, atom_feats, extra_feats, targets, weights, below, above in loader:
            outputs = model.predictor.train_step(model.fingerprint(graph, atom_feats, extra_feats))
            loss = model.criterion(
                outputs,
                targets.nan_to_num(nan=0.0),
                targets.isfinite(),
                weights,
                below,
                above,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        model.criterion.reset()

    return epoch


def lightning_in_turns(
    model: Any, loader: Any, others: Callable[[], None], rounds: int
) -> list[float]:
    """Let Lightning train for ``rounds`` epochs and call ``others`` after each of them.

    One ``fit`` for all epochs, as users have it, so that its start is not in any of them; what
    Lightning does between two epochs is.

    Returns
    -------
    list of float
        Seconds of each epoch, without those of ``others``.
    """
    from lightning.pytorch import Callback, Trainer

    class Turns(Callback):
        def __init__(self) -> None:
            self.seconds: list[float] = []

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.started = time.perf_counter()

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            self.seconds.append(time.perf_counter() - self.started)
            with torch.enable_grad():
                others()
            self.started = time.perf_counter()

    turns = Turns()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about loader workers and the missing validation set
        Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=rounds,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[turns],
        ).fit(model, loader)
    return turns.seconds


def take_turns(epochs: dict[str, Callable[[], None]], times: dict[str, list[float]]) -> None:
    """An epoch of each; its seconds join ``times``."""
    for label, epoch in epochs.items():
        started = time.perf_counter()
        epoch()
        times.setdefault(label, []).append(time.perf_counter() - started)


def compare(times: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Each of ours over each row of chemprop, round by round.

    Parameters
    ----------
    times : dict of str to list of float
        Seconds of each round, by label.
    """
    return [
        {
            "model": label,
            "rival": rival,
            "goal": GOAL if label == next(iter(OURS)) else None,
            **paired_ratio(times[label], times[rival]),
        }
        for rival in (LIGHTNING, PLAIN, SHALLOW)
        if rival in times
        for label in OURS
    ]


def report(record: dict[str, Any]) -> str:
    """The tables of a record, in Markdown."""
    rows = []
    for row in record["rows"]:
        low, high = row["quartiles"]
        rows.append(
            [
                row["model"],
                f"{row['parameters']:,}",
                f"{row['median']:.2f}",
                f"{low:.2f}-{high:.2f}",
            ]
        )
    parts = [
        f"{record['molecules']} molecules ({record['data']}), {record['mean_atoms']:.1f} atoms on "
        f"average, hidden {HIDDEN}, batches of {BATCH}, {record['threads']['torch']} thread(s), "
        f"{record['rounds']} rounds.",
        text_table(["model", "parameters", "seconds per epoch", "quartiles"], rows),
    ]
    if record["ratios"]:
        parts.append(
            text_table(
                ["model", "over", "ratio", "quartiles", "held to"],
                [
                    [
                        row["model"],
                        row["rival"],
                        f"{row['median']:.2f}",
                        "{:.2f}-{:.2f}".format(*row["quartiles"]),
                        "" if row["goal"] is None else f"<= {row['goal']}",
                    ]
                    for row in record["ratios"]
                ],
            )
        )
    if record["note"]:
        parts.append(record["note"])
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="tox21.csv or tox21.csv.gz; default: RDKit's own set")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--limit", type=int, help="the first molecules only; stores nothing")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: give a whole number of at least 1")
    missing = why_no_chemprop()
    threads = use_threads(args.threads)
    load = load_average()

    table = load_tox21(args.data) if args.data else load_sodium_channel()
    sized = [i for i, smiles in enumerate(table.smiles) if 20 <= _atoms(smiles) <= 40]
    dataset = featurize(table.take(sized[: args.limit]), progress=False)
    if len(dataset) % BATCH == 1:
        parser.error(
            f"{len(dataset)} molecules leave a batch of one, which chemprop's loader drops; give "
            f"another --limit than {len(dataset)}"
        )
    epochs, parameters = our_epochs(dataset)
    times: dict[str, list[float]] = {}
    if missing:
        for _ in range(args.rounds + 1):
            take_turns(epochs, times)
    else:
        rival = chemprop_dataset(dataset)
        for label, depth in ((PLAIN, NUM_STEPS + 1), (SHALLOW, 3)):
            model = chemprop_model(dataset, depth)
            parameters[label] = count_parameters(model)
            epochs[label] = chemprop_epoch(model, chemprop_loader(rival))
        model = chemprop_model(dataset, NUM_STEPS + 1)
        parameters[LIGHTNING] = count_parameters(model)
        times[LIGHTNING] = lightning_in_turns(
            model,
            chemprop_loader(rival),
            lambda: take_turns(epochs, times),
            args.rounds + 1,
        )
    times = {label: found[1:] for label, found in times.items()}  # the first round warms up
    record = {
        **setting(command_line(), "chemprop", "lightning"),
        "threads": threads,
        "load_average_at_start": load,
        "data": table.name,
        "molecules": len(dataset),
        "mean_atoms": float(dataset.graphs.node_counts.mean()),
        "rounds": args.rounds,
        "rows": [
            {"model": label, "parameters": parameters[label], **spread(found), "seconds": found}
            for label, found in times.items()
        ],
        "ratios": compare(times),
        "note": f"Without chemprop 2, which cannot be imported here ({missing})."
        if missing
        else "",
    }
    text = report(record)
    print(text)
    if args.limit is None:
        store(record, text, RESULTS)


if __name__ == "__main__":
    main()
