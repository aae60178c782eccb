"""One epoch of one fold: a pass over its training rows, and the score on its validation rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from tqdm import tqdm

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.data import MoleculeDataset
from dgl_gmpool.training.batches import (
    Batch,
    collate,
    count_batches,
    derived_seed,
    row_batches,
    sent,
    shuffled,
)
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.data_parallel import average_buffers, share_model
from dgl_gmpool.training.distributed import TrainingError, World
from dgl_gmpool.training.fold_data import FoldData
from dgl_gmpool.training.metrics import Metric, choose_metric
from dgl_gmpool.training.model import build_model, detached_state, raw_outputs
from dgl_gmpool.training.transfer import start_from


@dataclass
class FoldTrainer:
    """A fold's model with all that an epoch needs; what it has reached is ``fit_fold``'s matter.

    Parameters
    ----------
    dataset : MoleculeDataset
        Featurised molecules with targets.
    train, valid : sequence of int
        Rows of ``dataset``.
    config : TrainingConfig
    data : FoldData
        Of ``train``.
    model : MoleculePredictor
        On ``device``.
    optimizer : torch.optim.Optimizer
        Over the model's parameters.
    scheduler : LRScheduler, optional
        Takes a step after each batch.
    fold : int
        Number of the fold; part of the seed.
    device : torch.device
    world : World
        The processes, each of which takes its share of every batch.
    """

    dataset: MoleculeDataset
    train: Sequence[int]
    valid: Sequence[int]
    config: TrainingConfig
    data: FoldData
    model: MoleculePredictor
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler | None = None
    fold: int = 0
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))
    world: World = field(default_factory=World)
    network: nn.Module = field(init=False)

    def __post_init__(self) -> None:
        self.network = share_model(self.model, self.world, self.device)

    @classmethod
    def start(
        cls,
        dataset: MoleculeDataset,
        train: Sequence[int],
        valid: Sequence[int],
        config: TrainingConfig,
        *,
        fold: int,
        device: torch.device,
        world: World,
    ) -> FoldTrainer:
        """A new model, or the one that ``config.start_from`` names, before its first epoch."""
        table = dataset.table
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
            head = data.task, table.units, data.features
            start_from(model, config.start_from, fold=fold, head=head)
        if config.freeze is not None:
            model.freeze_backbone()
        optimizer = torch.optim.Adam(
            model.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        scheduler = None
        if config.schedule != "constant":
            # Adam's momentum stays as it is: only the learning rate is part of the configuration.
            scheduler = OneCycleLR(
                optimizer,
                config.lr,
                total_steps=config.epochs * count_batches(len(train), config.batch_size),
                cycle_momentum=False,
            )
        return cls(
            dataset, train, valid, config, data, model, optimizer, scheduler, fold, device, world
        )

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return count_batches(len(self.train), self.config.batch_size)

    @property
    def metric(self) -> Metric:
        """The score that chooses the epoch."""
        return choose_metric(self.dataset.table.kinds, self.config.metric)

    def epoch(self, number: int, bar: tqdm | None = None) -> float:
        """One pass over the training rows; the mean loss over measured cells, without auxiliary
        ones.

        Order and dropout follow from ``(config.seed, fold, number)``, dropout from the process's
        number as well; the global random state is set. ``number`` counts from 1.

        Raises
        ------
        TrainingError
            The loss is not finite.
        """
        # Epochs count from 1: the weights use (seed, fold), which NumPy reads as (seed, fold, 0).
        seed = derived_seed(self.config.seed, self.fold, number)
        rank = self.world.rank
        torch.manual_seed(derived_seed(self.config.seed, self.fold, number, rank) if rank else seed)
        self.network.train()
        loss_sum, cells = 0.0, 0.0
        for rows in row_batches(shuffled(self.train, seed), self.config.batch_size):
            loss, measured = self._step(rows, number)
            loss_sum, cells = loss_sum + loss * measured, cells + measured
            if bar is not None:
                bar.update()
        loss_sum, cells = self.world.totals(loss_sum, cells)
        average_buffers(self.model, self.world)
        return loss_sum / max(cells, 1.0)

    def validate(self, number: int) -> float:
        """The score on the validation rows, the same in all processes.

        Raises
        ------
        TrainingError
            The model cannot predict them.
        """
        rows, graphs, feats = self._validation_share
        config, data = self.config, self.data
        try:
            outputs = raw_outputs(
                self.model,
                graphs,
                global_feats=feats,
                batch_size=config.batch_size,
                device=self.device,
            )
        except ValueError as error:  # poolings refuse features that are not finite
            raise TrainingError(
                f"{config.label}: after fold_{self.fold}, epoch {number} (lr {config.lr:g}) the "
                f"model cannot predict its validation rows ({error}); try a smaller lr (--lr)"
            ) from error
        own = self.world.join_rows(outputs[:, : data.widths[0]])
        # Decided in one place: a last digit that differs must not stop one process only.
        scored = partial(
            data.task.scores,
            self.dataset.table.targets[rows],
            data.target_scaler.inverse(own),
            only=[self.metric.name],
        )
        return self.world.on_main(scored)[self.metric.name]

    def state_dict(self) -> dict[str, Any]:
        """What another trainer of the same fold needs to go on."""
        return {
            "model": detached_state(self.model),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])

    def _step(self, whole: Tensor, number: int) -> tuple[float, int]:
        """One batch; the mean loss of this process's measured cells, and how many they are."""
        world, data = self.world, self.data
        rows = world.share(whole)
        members = rows.tolist()
        try:
            with world.answering():
                outputs, pooling_losses = self.network(self._batch(rows))
        except ValueError as error:  # poolings refuse features that are not finite
            said = f"the model refused a batch ({error})"
            raise TrainingError(self._blame(said, members, number)) from error

        def share(measured: np.ndarray) -> float:
            """What makes means over this process's cells parts of those over the whole batch."""
            return world.weight(int(measured[members].sum()), int(measured[whole.numpy()].sum()))

        own, *others = outputs.split(data.widths, dim=1)
        there = sent(rows, self.device)
        own_loss = data.task.loss(own, data.labels.take(there))
        loss = own_loss * share(data.measured)
        for part, found in zip(data.auxiliary, others):
            beside = part.task.loss(found, part.labels.take(there))
            loss = loss + part.weight * share(part.measured) * beside
        for term in pooling_losses.values():
            loss = loss + term * world.weight(len(rows), len(whole))
        # The one look at values of a step: a GPU is waited for here and nowhere else.
        value, whole_loss = torch.stack([own_loss, loss]).tolist()
        if not math.isfinite(whole_loss):
            said = f"the loss became {whole_loss}"
            raise TrainingError(self._blame(said, members, number))
        self.optimizer.zero_grad(set_to_none=True)
        with world.answering():
            loss.backward()
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return value, int(data.measured[members].sum())

    def _batch(self, rows: Tensor) -> Batch | None:
        if not len(rows):
            return None
        feats = self.data.global_feats
        return collate(
            self.dataset.graphs[rows.numpy()],
            edge_in_feats=self.dataset.edge_in_feats,
            device=self.device,
            global_feats=None if feats is None else feats[rows],
        )

    @cached_property
    def _validation_share(self) -> tuple[np.ndarray, Any, np.ndarray | None]:
        """All validation rows; graphs and descriptors of those that this process predicts."""
        rows = np.asarray(self.valid, dtype=np.int64)
        mine = self.world.share(torch.as_tensor(rows))
        feats = self.data.global_feats
        return (
            rows,
            self.dataset.graphs[mine.numpy()],
            None if feats is None else feats[mine].numpy(),
        )

    def _blame(self, what: str, rows: list[int], number: int) -> str:
        config, table = self.config, self.dataset.table
        named = [f"{table.ids[i]} {table.smiles[i]}" for i in rows]
        return (
            f"{config.label}: {what} in fold_{self.fold}, epoch {number} (lr {config.lr:g}). Try a "
            f"smaller lr (--lr), and look for extreme targets, auxiliary ones too, or features in "
            f"this batch of {len(rows)} rows (id SMILES): {'; '.join(named)}"
        )
