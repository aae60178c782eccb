"""A fold's model: built from the configuration, with weights that follow from (seed, fold)."""

from __future__ import annotations

from typing import Any

import torch

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.seeds import derived_seed


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
        torch.manual_seed(derived_seed(config.seed, fold))
        return MoleculePredictor(
            node_in_feats,
            edge_in_feats,
            n_tasks,
            backbone=config.backbone,
            readout=config.readout,
            readout_options=dict(config.readout_options),
            levels=config.levels,
            hidden_feats=config.hidden_feats,
            num_steps=config.num_steps,
            dropout=config.dropout,
            head_feats=config.hidden_feats if config.head_feats is None else config.head_feats,
            readout_norm=config.readout_norm,
            global_feats=global_feats,
        )


def count_parameters(model: torch.nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def detached_state(module: torch.nn.Module) -> dict[str, Any]:
    """A copy of the weights on the CPU, safe from later training steps."""
    return {key: value.detach().cpu().clone() for key, value in module.state_dict().items()}
