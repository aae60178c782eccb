"""A fold's model: built from the configuration, copied, and run on a list of molecules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dgl
import numpy as np
import torch

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.data.featurizers import conductance_start
from dgl_gmpool.training.batches import collate, derived_seed, pick, row_batches
from dgl_gmpool.training.config import NETWORK, TrainingConfig


def build_model(
    config: TrainingConfig,
    *,
    node_in_feats: int,
    edge_in_feats: int,
    n_tasks: int = 1,
    global_feats: int = 0,
    fold: int = 0,
) -> MoleculePredictor:
    """A ``MoleculePredictor`` whose initial weights follow from ``(config.seed, fold)``.

    The caller's random state is left as it was. The backbone is initialised first, so it starts
    from the same weights whatever readout follows it.
    """
    with torch.random.fork_rng(devices=[]):
        # Of the CPU, where weights are drawn: torch.manual_seed would seed every GPU as well.
        torch.default_generator.manual_seed(derived_seed(config.seed, fold))
        return MoleculePredictor(
            node_in_feats,
            edge_in_feats,
            n_tasks,
            **{name: getattr(config, name) for name in NETWORK},
            dropout=config.dropout,
            head_feats=config.hidden_feats if config.head_feats is None else config.head_feats,
            global_feats=global_feats,
            conductance_start=conductance_start(edge_in_feats) if edge_in_feats >= 6 else None,
        )


def count_parameters(model: torch.nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def detached_state(module: torch.nn.Module) -> dict[str, Any]:
    """A copy of the weights on the CPU, safe from later training steps."""
    return {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}


@contextmanager
def evaluating(*models: torch.nn.Module) -> Iterator[None]:
    """Inside the block models are in evaluation mode; afterwards each of their parts is in the mode
    in which it was."""
    before = [(part, part.training) for model in models for part in model.modules()]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for part, mode in before:
            part.training = mode


def raw_outputs(
    model: MoleculePredictor,
    graphs: Sequence[dgl.DGLGraph],
    *,
    global_feats: np.ndarray | None = None,
    batch_size: int = 80,
    device: torch.device | None = None,
) -> np.ndarray:
    """Logits or standardised predictions in evaluation mode.

    Parameters
    ----------
    model : MoleculePredictor
        Already on ``device``; its training mode is restored afterwards.
    graphs : sequence of DGLGraph
        With ``ndata["h"]`` and ``edata["e"]``.
    global_feats : numpy.ndarray, optional
        ``(len(graphs), g)``, standardised.
    batch_size : int
        Molecules per forward pass.
    device : torch.device, optional
        Default: CPU.

    Returns
    -------
    numpy.ndarray
        ``(len(graphs), n_tasks)`` float32.
    """
    device = torch.device("cpu") if device is None else device
    extra = None if global_feats is None else torch.as_tensor(global_feats, dtype=torch.float32)
    parts = [torch.zeros(0, model.config["n_tasks"])]
    with torch.no_grad(), evaluating(model):
        for rows in row_batches(torch.arange(len(graphs)), batch_size):
            batch = collate(
                pick(graphs, rows),
                edge_in_feats=model.config["edge_in_feats"],
                device=device,
                global_feats=None if extra is None else extra[rows],
            )
            parts.append(model(*batch).float().cpu())
    return torch.cat(parts).numpy()
