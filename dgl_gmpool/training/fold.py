"""Train one fold: Adam on the training rows, the best epoch by the score on the validation rows."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from tqdm import tqdm

from dgl_gmpool import MoleculePredictor
from dgl_gmpool._io import atomic_torch_save
from dgl_gmpool.data import MoleculeDataset
from dgl_gmpool.data.features import FeatureNames
from dgl_gmpool.training.batches import collate, count_batches, derived_seed, row_batches, shuffled
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.data_parallel import average_buffers, release_model, share_model
from dgl_gmpool.training.distributed import TrainingError, World, current_world
from dgl_gmpool.training.fold_data import FoldData, check_fold
from dgl_gmpool.training.history import EpochListener
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.model import build_model, detached_state, raw_outputs
from dgl_gmpool.training.model_file import TrainedModel
from dgl_gmpool.training.task import Standardizer
from dgl_gmpool.training.transfer import start_from


@dataclass
class EarlyStopping:
    """Best score so far; NaN is worse than every number, so it is never kept, not even first.

    Parameters
    ----------
    higher_is_better : bool
        Direction of the score.
    patience : int
        Stop after this many epochs in a row without a new best.

    Examples
    --------
    >>> stop = EarlyStopping(higher_is_better=True, patience=2)
    >>> [stop.update(epoch, score) for epoch, score in enumerate([float("nan"), 0.6, 0.5, 0.6])]
    [False, True, False, False]
    >>> stop.best_epoch, stop.stopped
    (1, True)
    """

    higher_is_better: bool
    patience: int
    best_score: float | None = None
    best_epoch: int | None = None
    epochs_since_best: int = 0

    def update(self, epoch: int, score: float) -> bool:
        """Take in one epoch's score; True if it is the new best (ties keep the earlier)."""
        if not math.isnan(score) and (
            self.best_score is None
            or (score > self.best_score if self.higher_is_better else score < self.best_score)
        ):
            self.best_score, self.best_epoch, self.epochs_since_best = score, epoch, 0
            return True
        self.epochs_since_best += 1
        return False

    @property
    def stopped(self) -> bool:
        """True once ``patience`` epochs in a row brought no new best."""
        return self.epochs_since_best >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, for a checkpoint."""
        return asdict(self)


@dataclass
class FittedFold:
    """A trained fold: the best epoch's weights and how it got there. Epochs count from 1."""

    model: MoleculePredictor
    target_scaler: Standardizer
    global_scaler: Standardizer | None
    best_epoch: int
    best_score: float
    history: list[dict[str, Any]] = field(default_factory=list)
    features: tuple[FeatureNames, ...] = ()

    @property
    def seconds(self) -> float:
        """Training and validation time, over all the times the fold was started."""
        return float(sum(row["seconds"] for row in self.history))


def train_epoch(
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    dataset: MoleculeDataset,
    data: FoldData,
    train: Sequence[int],
    config: TrainingConfig,
    *,
    scheduler: LRScheduler | None = None,
    fold: int,
    epoch: int,
    device: torch.device,
    bar: tqdm | None = None,
    world: World | None = None,
) -> float:
    """One pass over the training rows; the mean loss over measured cells, without auxiliary ones.

    ``network`` is a model after ``share_model``. Every process of ``world`` takes its share of each
    batch. Order and dropout follow from ``(config.seed, fold, epoch)``, dropout from the process's
    number as well; the global random state is set.

    Raises
    ------
    TrainingError
        The loss is not finite.
    """
    # Epochs count from 1: the weights use (seed, fold), which NumPy reads as (seed, fold, 0).
    seed = derived_seed(config.seed, fold, epoch)
    world = World() if world is None else world
    torch.manual_seed(derived_seed(config.seed, fold, epoch, world.rank) if world.rank else seed)
    network.train()
    loss_sum, cells = 0.0, 0.0
    for whole in row_batches(shuffled(train, seed), config.batch_size):
        rows = world.share(whole)
        members = rows.tolist()
        batch = None
        if members:
            batch = collate(
                dataset.graphs[rows.numpy()],
                edge_in_feats=dataset.edge_in_feats,
                device=device,
                global_feats=None if data.global_feats is None else data.global_feats[rows],
            )
        labels = data.labels.take(rows.to(device))
        try:
            with world.answering():
                outputs, pooling_losses = network(batch)
        except ValueError as error:  # poolings refuse features that are not finite
            said = f"the model refused a batch ({error})"
            raise TrainingError(_blame(said, dataset, members, config, fold, epoch)) from error
        own, *others = outputs.split(data.widths, dim=1)
        loss = data.task.loss(own, labels)
        value = loss.item()
        # Means over this process's cells and rows become parts of those over the whole batch.
        measured = int(data.measured[members].sum())
        loss = loss * world.weight(measured, int(data.measured[whole.numpy()].sum()))
        for part, found in zip(data.auxiliary, others):
            beside = part.task.loss(found, part.targets[rows.to(device)])
            share = world.weight(
                int(part.measured[members].sum()), int(part.measured[whole.numpy()].sum())
            )
            loss = loss + part.weight * share * beside
        for term in pooling_losses.values():
            loss = loss + term * world.weight(len(rows), len(whole))
        if not math.isfinite(loss.item()):
            said = f"the loss became {loss.item()}"
            raise TrainingError(_blame(said, dataset, members, config, fold, epoch))
        optimizer.zero_grad(set_to_none=True)
        with world.answering():
            loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        loss_sum, cells = loss_sum + value * measured, cells + measured
        if bar is not None:
            bar.update()
    loss_sum, cells = world.totals(loss_sum, cells)
    return loss_sum / max(cells, 1.0)


def fit_fold(
    dataset: MoleculeDataset,
    train: Sequence[int],
    valid: Sequence[int],
    config: TrainingConfig,
    *,
    fold: int = 0,
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    progress: bool = False,
    world: World | None = None,
    log: EpochListener | None = None,
    epochs: int | None = None,
) -> FittedFold:
    """Train on ``train``, choose the epoch on ``valid``, return the best epoch's model.

    On the CPU a repeated call gives the same bits (with the same number of threads). The
    caller's random state is left as it was.

    Parameters
    ----------
    dataset : MoleculeDataset
        Featurised molecules with targets.
    train, valid : sequence of int
        Rows of ``dataset``.
    config : TrainingConfig
        Model and training options.
    fold : int
        Number of the fold; part of the seed.
    device : torch.device, optional
        Default: CPU.
    checkpoint : path, optional
        Written after every epoch. If it exists, training goes on from it and ends with the same
        numbers as if it had never stopped.
    progress : bool
        Show a progress bar (only on a terminal).
    world : World, optional
        The processes that share every batch; process 0 reads and writes the checkpoint. Default:
        those of this command, usually one.
    log : EpochListener, optional
        Told of every epoch, by process 0. Default: nobody is told.
    epochs : int, optional
        Stop after so many epochs and return the last one's model; ``valid`` is then not looked at.

    Returns
    -------
    FittedFold
        The same in all processes.

    Raises
    ------
    ValueError
        The rows cannot be trained on or scored (see ``check_fold``), or the checkpoint cannot
        be read.
    TrainingError
        The loss, or every validation score, is not finite.
    """
    if epochs is None:
        check_fold(dataset, train, valid, fold=fold, config=config)
    last = config.epochs if epochs is None else epochs
    table = dataset.table
    device = torch.device("cpu") if device is None else device
    world = current_world() if world is None else world
    metric = choose_metric(table.kinds, config.metric)
    data = FoldData.prepare(dataset, train, config, device=device)
    model = build_model(
        config,
        node_in_feats=dataset.node_in_feats,
        edge_in_feats=dataset.edge_in_feats,
        n_tasks=sum(data.widths),
        global_feats=0 if data.global_feats is None else data.global_feats.shape[1],
        fold=fold,
    ).to(device)
    if config.start_from is not None:
        start_from(
            model,
            config.start_from,
            fold=fold,
            like=TrainedModel(
                model,
                table.kind,
                table.task_names,
                table.units,
                data.target_scaler,
                data.global_scaler,
                loss=config.loss,
                features=data.features,
                kinds=table.kinds,
                classes=table.classes,
            ),
        )
    if config.freeze is not None:
        model.freeze_backbone()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    steps = count_batches(len(train), config.batch_size)
    scheduler = _make_scheduler(optimizer, config, steps)
    stopping = EarlyStopping(metric.higher_is_better, config.patience)
    best: dict[str, torch.Tensor] = {}
    history: list[dict[str, Any]] = []
    saved = world.on_main(partial(_read_checkpoint, checkpoint))
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        if scheduler is not None:
            scheduler.load_state_dict(saved["scheduler"])
        stopping = EarlyStopping(**saved["stopping"])
        best, history = saved["best"], saved["history"]
    if log is not None:
        world.on_main(partial(log.begin, fold, history))

    network = share_model(model, world, device)
    valid_rows = np.asarray(valid, dtype=np.int64)
    mine = world.share(torch.as_tensor(valid_rows))
    valid_graphs = dataset.graphs[mine.numpy()]
    valid_feats = None if data.global_feats is None else data.global_feats[mine].numpy()
    with ExitStack() as stack:
        stack.enter_context(
            torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        )
        bar = stack.enter_context(
            tqdm(
                total=last * steps,
                initial=len(history) * steps,
                desc=f"{config.label}, fold {fold}",
                unit="batch",
                leave=False,
                # None: a bar only on a terminal
                disable=None if progress and world.is_main else True,
            )
        )
        while len(history) < last and not stopping.stopped:
            started, epoch = time.perf_counter(), len(history) + 1
            loss = train_epoch(
                network,
                optimizer,
                dataset,
                data,
                train,
                config,
                scheduler=scheduler,
                fold=fold,
                epoch=epoch,
                device=device,
                bar=bar,
                world=world,
            )
            average_buffers(model, world)
            if epochs is None:
                try:
                    outputs = raw_outputs(
                        model,
                        valid_graphs,
                        global_feats=valid_feats,
                        batch_size=config.batch_size,
                        device=device,
                    )
                except ValueError as error:  # poolings refuse features that are not finite
                    raise TrainingError(
                        f"{config.label}: after fold {fold}, epoch {epoch} (lr {config.lr:g}) the "
                        f"model cannot predict its validation rows ({error}); try a smaller --lr"
                    ) from error
                outputs = data.target_scaler.inverse(world.join_rows(outputs[:, : data.widths[0]]))
                targets = table.targets[valid_rows]
                # Decided in one place: a last digit that differs must not stop one process only.
                scored = partial(data.task.scores, targets, outputs, only=[metric.name])
                score = world.on_main(scored)[metric.name]
                is_best = stopping.update(epoch, score)
            else:
                score, is_best = math.nan, epoch == last
                stopping.best_epoch, stopping.best_score = epoch, score
            if is_best:
                best = detached_state(model)
            bar.set_postfix_str(f"epoch {epoch}, valid {metric.label} {score:.3f}")
            history.append(
                {
                    "epoch": epoch,
                    "train_loss": loss,
                    "valid_score": score,
                    "is_best": is_best,
                    "seconds": time.perf_counter() - started,
                }
            )
            if checkpoint is not None and world.is_main:
                atomic_torch_save(
                    checkpoint,
                    {
                        "model": detached_state(model),
                        "optimizer": optimizer.state_dict(),
                        "scheduler": None if scheduler is None else scheduler.state_dict(),
                        "stopping": stopping.state_dict(),
                        "best": best,
                        "history": history,
                    },
                )
            if log is not None and world.is_main:
                log.epoch(history)
    if stopping.best_epoch is None or stopping.best_score is None:
        raise TrainingError(
            f"{config.label}, fold {fold}: the validation {metric.label} was not a number in any "
            f"of {len(history)} epochs, so there is no best model; try a smaller --lr and look "
            "for extreme targets"
        )
    release_model(model)
    model.load_state_dict(best)
    model.keep_tasks(data.widths[0])
    model.eval()
    return FittedFold(
        model,
        data.target_scaler,
        data.global_scaler,
        stopping.best_epoch,
        stopping.best_score,
        history,
        data.features,
    )


def _make_scheduler(
    optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int
) -> LRScheduler | None:
    if config.schedule == "constant":
        return None
    # Adam's momentum stays as it is: only the learning rate is part of the configuration.
    return OneCycleLR(optimizer, config.lr, total_steps=config.epochs * steps, cycle_momentum=False)


def _read_checkpoint(path: Path | None) -> dict[str, Any] | None:
    if path is None or not path.exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        parts = ("model", "optimizer", "scheduler", "stopping", "best", "history")
        return {key: saved[key] for key in parts}
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}); delete it to train this fold from "
            "its start"
        ) from error


def _blame(
    what: str,
    dataset: MoleculeDataset,
    rows: list[int],
    config: TrainingConfig,
    fold: int,
    epoch: int,
) -> str:
    table = dataset.table
    named = [f"{table.ids[i]} {table.smiles[i]}" for i in rows]
    return (
        f"{config.label}: {what} in fold {fold}, epoch {epoch} (lr {config.lr:g}). Try a smaller "
        f"--lr, and look for extreme targets, auxiliary ones too, or features in this batch of "
        f"{len(rows)} rows (id SMILES): {'; '.join(named)}"
    )
