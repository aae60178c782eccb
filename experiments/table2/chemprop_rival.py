"""Chemprop 2 on the rows of ours: its features, model, loss, optimiser and schedule.

Heid et al., J. Chem. Inf. Model. 2024 (chemprop). Only the loop is written here: chemprop's own
runs inside Lightning, which logs and saves, and its data loader leaves out the last row of a set
whose size is one more than a multiple of the batch size, also where rows are predicted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from dgl_gmpool.data import MoleculeDataset, MoleculeTable
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.training.batches import count_batches, derived_seed, row_batches, shuffled
from dgl_gmpool.training.distributed import TrainingError
from dgl_gmpool.training.early_stopping import EarlyStopping
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.scores import scores
from dgl_gmpool.training.task import Standardizer, get_task
from experiments.table2.rival_fold import RivalFold, check_rows


def fit_chemprop(
    dataset: MoleculeDataset,
    train: Sequence[int],
    valid: Sequence[int],
    test: Sequence[int],
    *,
    seed: int,
    epochs: int,
    batch_size: int = 80,
    hidden: int = 128,
    depth: int = 3,
    dropout: float = 0.15,
    ffn_hidden: int = 128,
    ffn_layers: int = 1,
    aggregation: str = "mean",
    batch_norm: bool = False,
    warmup_epochs: int = 2,
    init_lr: float = 1e-4,
    max_lr: float = 1e-3,
    final_lr: float = 1e-4,
    patience: int | None = None,
) -> RivalFold:
    """Train chemprop's MPNN on ``train``, choose the epoch on ``valid``, predict both others.

    The molecules are read from the SMILES that our graphs were made from and get chemprop's own
    atom and bond features. ``table.global_feats`` enter as ``x_d`` (beside the pooled atoms),
    standardised on the training rows, as are regression targets. Batches are cut and the best
    epoch is chosen (ROC-AUC or RMSE; ties keep the earlier) as for our models. CPU; a repeated
    call gives the same bits with the same number of threads. The caller's random state is left
    as it was.

    Parameters
    ----------
    dataset : MoleculeDataset
    train, valid, test : sequence of int
        Rows of ``dataset.table``.
    seed : int
        0 or more; weights, batches and dropout follow from it.
    epochs : int
        Length of the learning-rate schedule and, without ``patience``, of the training.
    batch_size : int
    hidden, depth, dropout : int, int, float
        Of the bond message passing; ``dropout`` also in the feed-forward network.
    ffn_hidden, ffn_layers : int
        Width and number of the hidden layers of the feed-forward network.
    aggregation : str
        ``"mean"``, ``"sum"`` or ``"norm"`` (sum / 100, the default of chemprop's command line).
    batch_norm : bool
        Batch normalisation after the aggregation.
    warmup_epochs, init_lr, max_lr, final_lr : int, float, float, float
        Linear rise from ``init_lr`` to ``max_lr``, then exponential fall to ``final_lr``.
    patience : int, optional
        Stop after this many epochs without a new best.

    Returns
    -------
    RivalFold

    Raises
    ------
    ImportError
        Chemprop 2 is not installed.
    ValueError
        The rows are not usable (see ``check_rows``), or no task can be scored on
        the validation rows.
    TrainingError
        The loss, or every validation score, is not finite.
    """
    table = dataset.table
    train_rows, valid_rows, test_rows = check_rows(table, train, valid, test)
    asked = np.concatenate([valid_rows, test_rows])
    metric = choose_metric(table.kind)
    valid_targets = table.targets[valid_rows]
    if scores(table.kind, valid_targets, np.zeros_like(valid_targets))["tasks"] == 0:
        raise ValueError(
            f"no task can be scored on the {len(valid_rows)} validation rows (ROC-AUC needs both "
            "classes); use fewer folds or other splits"
        )
    chemprop = _import_chemprop()
    _molgraphs(tuple(table.smiles))  # once per data set, so outside the fold's seconds
    started = time.perf_counter()
    inputs = _Inputs(table, train_rows, chemprop)
    stopping = EarlyStopping(metric.higher_is_better, epochs if patience is None else patience)
    best: dict[str, torch.Tensor] = {}
    trained = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed))
        model = _build(
            chemprop, inputs, hidden=hidden, depth=depth, dropout=dropout, ffn_hidden=ffn_hidden,
            ffn_layers=ffn_layers, aggregation=aggregation, batch_norm=batch_norm,
        )  # fmt: skip
        # As in MPNN.configure_optimizers, which only works inside a Lightning trainer.
        steps = count_batches(len(train_rows), batch_size)
        optimizer = torch.optim.Adam(model.parameters(), init_lr)
        schedule = chemprop.build_NoamLike_LRSched(
            optimizer,
            warmup_epochs * steps,
            (epochs - warmup_epochs) * steps,
            init_lr,
            max_lr,
            final_lr,
        )
        while trained < epochs and not stopping.stopped:
            trained += 1
            # Epochs count from 1: the weights use (seed,), which NumPy reads as (seed, 0).
            epoch_seed = derived_seed(seed, trained)
            torch.manual_seed(epoch_seed)
            model.train()
            for rows in row_batches(shuffled(train_rows.tolist(), epoch_seed), batch_size):
                loss = _loss(model, inputs, rows)
                if not math.isfinite(loss.item()):
                    raise TrainingError(
                        f"chemprop's loss became {loss.item()} in epoch {trained} of {epochs}; "
                        f"try a smaller max_lr than {max_lr:g} and look for extreme targets"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
            model.criterion.reset()
            outputs = inputs.scaler.inverse(_raw_outputs(model, inputs, valid_rows, batch_size))
            score = scores(table.kind, valid_targets, outputs)[metric.name]
            if stopping.update(trained, score):
                best = {name: value.clone() for name, value in model.state_dict().items()}
        if stopping.best_epoch is None:
            raise TrainingError(
                f"chemprop's validation {metric.label} was not a number in any of {trained} "
                f"epochs; try a smaller max_lr than {max_lr:g} and look for extreme targets"
            )
        model.load_state_dict(best)
        found = inputs.predictions(_raw_outputs(model, inputs, asked, batch_size))
    if not np.isfinite(found).all():
        row = int(asked[~np.isfinite(found).all(axis=1)][0])
        raise TrainingError(
            f"chemprop predicts a value that is not finite for row {row} ({table.smiles[row]}); "
            f"try a smaller max_lr than {max_lr:g}"
        )
    return RivalFold(
        valid=found[: len(valid_rows)],
        test=found[len(valid_rows) :],
        best_epoch=stopping.best_epoch,
        epochs=trained,
        parameters=sum(weight.numel() for weight in model.parameters()),
        seconds=time.perf_counter() - started,
    )


class _Inputs:
    """The rows as chemprop takes them, in the units the fold's model sees."""

    def __init__(self, table: MoleculeTable, train: np.ndarray, chemprop: SimpleNamespace) -> None:
        self.classify = table.kind == "classification"
        self.graphs = _molgraphs(tuple(table.smiles))
        self.batch_graph = chemprop.BatchMolGraph
        self.scaler = get_task(table.kind).scaler(table.targets[train])
        self.targets = torch.as_tensor(self.scaler.transform(table.targets))
        self.descriptors: torch.Tensor | None = None
        if table.global_feats is not None:
            scaler = Standardizer.fit(table.global_feats[train])
            self.descriptors = torch.as_tensor(scaler.transform(table.global_feats))

    @property
    def descriptor_width(self) -> int:
        return 0 if self.descriptors is None else self.descriptors.shape[1]

    def batch(self, rows: torch.Tensor) -> tuple[Any, torch.Tensor | None]:
        """The batched graph and ``x_d``."""
        graph = self.batch_graph([self.graphs[row] for row in rows.tolist()])
        return graph, None if self.descriptors is None else self.descriptors[rows]

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Probabilities, or values in the target's unit; float64."""
        if not self.classify:
            return self.scaler.inverse(outputs)
        # In float64: a float32 sigmoid turns all large logits into ties.
        return 1 / (1 + np.exp(-np.clip(outputs.astype(np.float64), -700, 700)))


def _build(
    chemprop: SimpleNamespace,
    inputs: _Inputs,
    *,
    hidden: int,
    depth: int,
    dropout: float,
    ffn_hidden: int,
    ffn_layers: int,
    aggregation: str,
    batch_norm: bool,
) -> Any:
    nn = chemprop.nn
    head = nn.BinaryClassificationFFN if inputs.classify else nn.RegressionFFN
    pooling = {"mean": nn.MeanAggregation, "sum": nn.SumAggregation, "norm": nn.NormAggregation}
    return chemprop.MPNN(
        nn.BondMessagePassing(d_h=hidden, depth=depth, dropout=dropout),
        pooling[aggregation](),
        head(
            n_tasks=inputs.targets.shape[1],
            input_dim=hidden + inputs.descriptor_width,
            hidden_dim=ffn_hidden,
            n_layers=ffn_layers,
            dropout=dropout,
        ),
        batch_norm=batch_norm,
    )


def _loss(model: Any, inputs: _Inputs, rows: torch.Tensor) -> torch.Tensor:
    """What MPNN.training_step computes, without its logging (which needs a Lightning trainer)."""
    graph, descriptors = inputs.batch(rows)
    targets = inputs.targets[rows]
    outputs = model.predictor.train_step(model.fingerprint(graph, None, descriptors))
    mask = targets.isfinite()
    weights = torch.ones(len(rows), 1)
    return model.criterion(outputs, targets.nan_to_num(nan=0.0), mask, weights)


def _raw_outputs(model: Any, inputs: _Inputs, rows: np.ndarray, batch_size: int) -> np.ndarray:
    """``(rows, tasks)`` float32: logits, or standardised values, in the order of ``rows``."""
    model.eval()
    parts = []
    with torch.inference_mode():
        for members in row_batches(torch.as_tensor(rows), batch_size):
            graph, descriptors = inputs.batch(members)
            outputs = model.predictor.train_step(model.fingerprint(graph, None, descriptors))
            parts.append(outputs.numpy())
    return np.concatenate(parts)


@lru_cache(maxsize=4)
def _molgraphs(smiles: tuple[str, ...]) -> list[Any]:
    """One MolGraph per SMILES; equal SMILES share theirs. Kept for the next fold."""
    chemprop = _import_chemprop()
    featurizer = chemprop.SimpleMoleculeMolGraphFeaturizer()
    known: dict[str, Any] = {}
    for text in smiles:
        if text in known:
            continue
        mol, why = read_molecule(text)
        if mol is None:
            raise ValueError(f"{text!r} is refused by RDKit: {why}; leave the row out")
        graph = featurizer(mol)
        # BatchMolGraph makes float32 of them anyway; kept as float64 they take twice the memory.
        known[text] = graph._replace(V=graph.V.astype(np.float32), E=graph.E.astype(np.float32))
    return [known[text] for text in smiles]


def _import_chemprop() -> SimpleNamespace:
    """The parts of chemprop 2 that are used here."""
    try:
        from chemprop import nn
        from chemprop.data import BatchMolGraph
        from chemprop.featurizers import SimpleMoleculeMolGraphFeaturizer
        from chemprop.models import MPNN
        from chemprop.schedulers import build_NoamLike_LRSched
    except ImportError as error:
        raise ImportError(
            f"chemprop 2 cannot be imported here ({type(error).__name__}: {error}). Install it "
            "with `pip install chemprop` (2.0 or later, Python 3.11 or later), or leave the row "
            "chemprop out of the comparison; the other rows do not need it"
        ) from error
    return SimpleNamespace(
        nn=nn,
        BatchMolGraph=BatchMolGraph,
        SimpleMoleculeMolGraphFeaturizer=SimpleMoleculeMolGraphFeaturizer,
        MPNN=MPNN,
        build_NoamLike_LRSched=build_NoamLike_LRSched,
    )
