"""Every model of a run, one after the other, and what each leaves in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dgl_gmpool._io import atomic_write
from dgl_gmpool.data import MoleculeDataset, Splits
from dgl_gmpool.data.features import joined_features
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.distributed import World
from dgl_gmpool.training.fold import FittedFold, fit_fold
from dgl_gmpool.training.history import EpochLog
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.model import count_parameters
from dgl_gmpool.training.model_file import TrainedModel, save_model
from dgl_gmpool.training.provenance import changed_since, config_record
from dgl_gmpool.training.run_folder import FoldFiles, RunFolder, read_json, write_json
from dgl_gmpool.training.summary import write_summary
from dgl_gmpool.training.uncertainty_check import uncertainty_lines
from dgl_gmpool.training.words import score_text

#: What is read of a fold's ``result.json``.
_OF_A_FOLD = ("fold", "best_epoch", "epochs", "seconds", "parameters", "history", "valid", "test")


@dataclass
class RunTrainer:
    """The models of one run. Process 0 alone reads and writes its folder.

    Attributes
    ----------
    dataset, splits, config
        As of :func:`~dgl_gmpool.training.train_run`.
    files : RunFolder
    device : torch.device
    world : World
    log : EpochLog
    progress : bool
        Print a line per fold; show a bar or a line per epoch.
    results, finals : list of dict
        ``result.json`` of each fold, and of each final model, that is finished.
    """

    dataset: MoleculeDataset
    splits: Splits
    config: TrainingConfig
    files: RunFolder
    device: torch.device
    world: World
    log: EpochLog
    progress: bool
    results: list[dict[str, Any]] = field(default_factory=list)
    finals: list[dict[str, Any]] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A line for the user."""
        if self.progress:
            tqdm.write(text)

    def enter(self, record: dict[str, Any], source: Mapping[str, Any] | None) -> list[bool]:
        """Which folds are finished; nothing if the whole run is.

        Raises
        ------
        ValueError
            The folder holds a run with another ``record``.
        """
        files = self.files
        files.remove_torn_files()
        if files.config.exists():
            files.check_same(record)
            if files.finished:
                self.say(f"{self.config.label}: finished before, in {files.path}")
                return []
            stored = read_json(files.config)
            for text in changed_since(stored, processes=self.world.size):
                self.say(f"note: {files.path} {text}")
        else:
            content = config_record(
                record, self.dataset, self.device, source=source, processes=self.world.size
            )
            write_json(files.config, content)
        if not files.splits.exists():
            self.splits.save(files.splits)
        return [files.fold(number).finished for number in range(len(self.splits.folds))]

    def train(self, finished: Sequence[bool]) -> None:
        """Every fold that is not finished, then the final models where they are asked for."""
        for number, done in enumerate(finished):
            if not done:
                self._train_fold(number)
            self.world.on_main(partial(self._close_fold, number))
        if self.config.final and finished:
            epochs = self.world.on_main(self._chosen_epochs)
            for number in range(len(finished)):
                files = self.files.final(number)
                if not self.world.on_main(partial(getattr, files, "finished_without_outputs")):
                    self._train_final(number, epochs)
                self.world.on_main(partial(self._close_final, number, epochs))

    def _fit(
        self,
        files: FoldFiles,
        train: Sequence[int],
        valid: Sequence[int],
        *,
        fold: int,
        log: EpochLog | None = None,
        epochs: int | None = None,
    ) -> tuple[FittedFold, TrainedModel]:
        """Train a model and save it."""
        self.world.on_main(partial(files.path.mkdir, parents=True, exist_ok=True))
        fitted = fit_fold(
            self.dataset,
            train,
            valid,
            self.config,
            fold=fold,
            device=self.device,
            checkpoint=files.checkpoint,
            progress=self.progress,
            world=self.world,
            log=log,
            epochs=epochs,
        )
        trained = fitted.trained(self.dataset, self.config)
        self.world.on_main(partial(save_model, files.model, trained))
        return fitted, trained

    def _train_fold(self, number: int) -> None:
        files, (train, valid) = self.files.fold(number), self.splits.folds[number]
        table, test = self.dataset.table, self.splits.test
        fitted, trained = self._fit(files, train, valid, fold=number, log=self.log)
        features, _ = joined_features(table, self.config.descriptors)
        outputs: dict[str, Any] = {}
        scores: dict[str, Any] = {}
        for name, part in (("valid", valid), ("test", test)):
            rows = np.asarray(part, dtype=np.int64)
            found = self._outputs(trained, rows, features)
            outputs |= {f"{name}_rows": rows, f"{name}_outputs": found}
            scores[name] = trained.task.scores(table.targets[rows], found, **table.bounds(rows))
        if not self.world.is_main:
            return
        atomic_write(files.outputs, lambda file: np.savez(file, **outputs))
        write_json(
            files.result,
            {
                "fold": number,
                "train_rows": len(train),
                "valid_rows": len(valid),
                "test_rows": len(test),
                "best_epoch": fitted.best_epoch,
                "epochs": len(fitted.history),
                "seconds": fitted.seconds,
                "parameters": count_parameters(fitted.model),
                # Unlike atoms have the larger M: its groups mean the opposite of groups.
                "inverted": any(getattr(pool, "inverted", False) for pool in fitted.model.poolings),
                **scores,
                "history": fitted.history,
            },
        )

    def _outputs(
        self, trained: TrainedModel, rows: np.ndarray, features: np.ndarray | None
    ) -> np.ndarray:
        """The model's outputs for these rows, of which each process calculates a share."""
        mine = self.world.share(torch.as_tensor(rows)).numpy()
        found = trained.outputs(
            self.dataset.graphs[mine],
            global_feats=None if features is None else features[mine],
            batch_size=self.config.batch_size,
            device=self.device,
        )
        return self.world.join_rows(found)

    def _close_fold(self, number: int) -> None:
        files = self.files.fold(number)
        # Here and not in _train_fold, so that a kill just before it leaves nothing behind.
        files.checkpoint.unlink(missing_ok=True)
        self.results.append(read_json(files.result, *_OF_A_FOLD))
        self.log.end(number, self.results[-1]["history"])
        self.say(f"  {self._fold_line(self.results[-1])}")
        write_summary(self.files, self.dataset, self.splits, self.config, self.results)
        if len(self.results) == len(self.splits.folds):
            for line in uncertainty_lines(read_json(self.files.uncertainty)):
                self.say(f"  {line}")

    def _chosen_epochs(self) -> int:
        """The mean of the folds' best epochs."""
        return max(1, round(float(np.mean([result["best_epoch"] for result in self.results]))))

    def _train_final(self, number: int, epochs: int) -> None:
        """The model on all rows that goes with fold ``number``: its seed, the folds' mean of
        epochs."""
        files, rows = self.files.final(number), range(len(self.dataset))
        fitted, _ = self._fit(files, rows, (), fold=number, epochs=epochs)
        if self.world.is_main:
            write_json(
                files.result,
                {
                    "fold": number,
                    "rows": len(rows),
                    "epochs": epochs,
                    "seconds": fitted.seconds,
                    "train_loss": fitted.history[-1]["train_loss"],
                },
            )

    def _close_final(self, number: int, epochs: int) -> None:
        files, folds = self.files.final(number), len(self.splits.folds)
        files.checkpoint.unlink(missing_ok=True)
        self.finals.append(read_json(files.result, "seconds"))
        self.say(
            f"  {self.config.label}, final model {number + 1} of {folds}: all "
            f"{len(self.dataset)} rows, {epochs} epochs, {self.finals[-1]['seconds']:.0f} s"
        )
        if len(self.finals) == folds:
            # All else was written when the last fold was.
            summary = read_json(self.files.metrics)
            write_json(self.files.metrics, {**summary, "complete": True, "final": self.finals})

    def _fold_line(self, result: dict[str, Any]) -> str:
        metric = choose_metric(self.dataset.table.kinds, self.config.metric)

        def shown(part: str) -> str:
            value = result[part].get(metric.name)
            return "not defined" if value is None else score_text(value)

        return (
            f"{self.config.label}, fold {result['fold'] + 1} of {len(self.splits.folds)}: best "
            f"epoch {result['best_epoch']} of {result['epochs']}, {metric.label} valid "
            f"{shown('valid')}, test {shown('test')}, {result['seconds']:.0f} s"
            # Not in runs of before 0.2.
            + (", groups inverted: unlike atoms share one" if result.get("inverted") else "")
        )
