"""Train one fold: Adam on the training rows, the best epoch by the score on the validation rows."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dgl_gmpool import MoleculePredictor
from dgl_gmpool._io import atomic_torch_save
from dgl_gmpool.data import MoleculeDataset
from dgl_gmpool.data.features import FeatureNames
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.data_parallel import release_model
from dgl_gmpool.training.distributed import TrainingError, World, current_world
from dgl_gmpool.training.early_stopping import EarlyStopping
from dgl_gmpool.training.fold_data import check_fold
from dgl_gmpool.training.fold_trainer import FoldTrainer
from dgl_gmpool.training.history import EpochListener
from dgl_gmpool.training.model import detached_state
from dgl_gmpool.training.model_file import TrainedModel
from dgl_gmpool.training.provenance import featurizer_name
from dgl_gmpool.training.task import Standardizer
from dgl_gmpool.training.words import score_text


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

    def trained(self, dataset: MoleculeDataset, config: TrainingConfig) -> TrainedModel:
        """The model with all that is needed to use it on new molecules.

        Parameters
        ----------
        dataset, config
            What the fold was fitted with.
        """
        table = dataset.table
        return TrainedModel(
            self.model,
            table.kind,
            table.task_names,
            table.units,
            self.target_scaler,
            self.global_scaler,
            featurizer_name(dataset),
            config.loss,
            self.features,
            table.kinds,
            table.classes,
        )


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
    device = torch.device("cpu") if device is None else device
    world = current_world() if world is None else world
    trainer = FoldTrainer.start(
        dataset, train, valid, config, fold=fold, device=device, world=world
    )
    metric = trainer.metric
    stopping = EarlyStopping(metric.higher_is_better, config.patience)
    best: dict[str, torch.Tensor] = {}
    history: list[dict[str, Any]] = []
    saved = world.on_main(partial(_read_checkpoint, checkpoint))
    if saved is not None:
        trainer.load_state_dict(saved)
        stopping = EarlyStopping(**saved["stopping"])
        best, history = saved["best"], saved["history"]
    if log is not None:
        world.on_main(partial(log.begin, fold, history))

    bar = _bar(trainer, len(history), last, shown=progress)
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus), bar:
        while len(history) < last and not stopping.stopped:
            started, epoch = time.perf_counter(), len(history) + 1
            loss = trainer.epoch(epoch, bar)
            if epochs is None:
                score = trainer.validate(epoch)
                is_best = stopping.update(epoch, score)
            else:
                score, is_best = math.nan, epoch == last
                stopping.best_epoch, stopping.best_score = epoch, score
            if is_best:
                best = detached_state(trainer.model)
            bar.set_postfix_str(f"epoch {epoch}, valid {metric.label} {score_text(score)}")
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
                progressed = {"stopping": stopping.state_dict(), "best": best, "history": history}
                atomic_torch_save(checkpoint, {**trainer.state_dict(), **progressed})
            if log is not None and world.is_main:
                log.epoch(history)
    if stopping.best_epoch is None or stopping.best_score is None:
        raise TrainingError(
            f"{config.label}, fold_{fold}: the validation {metric.label} was not a number in any "
            f"of {len(history)} epochs, so there is no best model; try a smaller lr (--lr) and "
            "look for extreme targets"
        )
    model, data = trainer.model, trainer.data
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


def _bar(trainer: FoldTrainer, done: int, last: int, *, shown: bool) -> tqdm:
    """A bar over the batches of all epochs, of which ``done`` are over."""
    return tqdm(
        total=last * trainer.steps,
        initial=done * trainer.steps,
        desc=f"{trainer.config.label}, fold {trainer.fold + 1}",
        unit="batch",
        leave=False,
        # None: a bar only on a terminal
        disable=None if shown and trainer.world.is_main else True,
    )


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
