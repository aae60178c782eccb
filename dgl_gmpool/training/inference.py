"""Raw outputs of a model for a list of molecules, in order."""

from __future__ import annotations

from collections.abc import Sequence

import dgl
import numpy as np
import torch

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.training.batches import collate, row_batches


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
    was_training = model.training
    model.eval()
    parts = [torch.zeros(0, model.config["n_tasks"])]
    try:
        with torch.no_grad():
            for rows in row_batches(torch.arange(len(graphs)), batch_size):
                batch = collate(
                    [graphs[i] for i in rows.tolist()],
                    edge_in_feats=model.config["edge_in_feats"],
                    device=device,
                    global_feats=None if extra is None else extra[rows],
                )
                parts.append(model(*batch).float().cpu())
    finally:
        model.train(was_training)
    return torch.cat(parts).numpy()
