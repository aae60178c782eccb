"""Training of molecule models: folds, run folders, tables, predictions."""

from __future__ import annotations

import dgl_gmpool._dgl  # noqa: F401  (DGL, without its side effects)
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.device import choose_device
from dgl_gmpool.training.distributed import (
    TrainingError,
    World,
    current_world,
    join_world,
    main_first,
)
from dgl_gmpool.training.fold import FittedFold, fit_fold
from dgl_gmpool.training.model import build_model
from dgl_gmpool.training.model_file import TrainedModel, load_model, load_models, save_model
from dgl_gmpool.training.predict import predict_smiles
from dgl_gmpool.training.predictions import Predictions
from dgl_gmpool.training.run import RunResult, train_run
from dgl_gmpool.training.table import comparison_rows, write_table
from dgl_gmpool.training.table_text import markdown_table

__all__ = [
    "FittedFold",
    "Predictions",
    "RunResult",
    "TrainedModel",
    "TrainingConfig",
    "TrainingError",
    "World",
    "build_model",
    "choose_device",
    "comparison_rows",
    "current_world",
    "fit_fold",
    "join_world",
    "load_model",
    "load_models",
    "main_first",
    "markdown_table",
    "predict_smiles",
    "save_model",
    "train_run",
    "write_table",
]
