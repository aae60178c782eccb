"""New molecules in, the same rows with a model's vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from dgl_gmpool.data.graph_list import GraphList
from dgl_gmpool.data.parsed_rows import ParsedRows, parse_rows
from dgl_gmpool.models.shared_states import sharing_states
from dgl_gmpool.training import TrainedModel, choose_device
from dgl_gmpool.training.batches import collate, row_batches
from dgl_gmpool.training.model import evaluating

#: Rows in memory at a time.
CHUNK = 2000


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors row by row.

    Attributes
    ----------
    values : numpy.ndarray
        ``(rows, width)`` float32: the readouts that the models' heads see, one model's behind the
        other's. NaN in rows that could not be embedded.
    reasons, notes : tuple of str
        Per row, why there is no vector, empty where there is one, and what to know of it, such as
        that the molecule was standardised.
    """

    values: np.ndarray
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def embedding_width(models: Sequence[TrainedModel]) -> int:
    """Width of the vectors of :func:`embed_smiles`."""
    return sum(cast(int, trained.model.poolings[-1].out_feats) for trained in models)


def embed_smiles(
    models: Sequence[TrainedModel],
    smiles: Sequence[str],
    *,
    batch_size: int = 80,
    device: str = "auto",
) -> Embeddings:
    """The vectors of molecules; a row that has none keeps its place.

    They are what stands between readout and head, before its normalisation, and depend on the
    molecule alone: not on a solvent. Rows of one molecule, however it is written, get the same
    numbers; where more than 2000 rows lie between them, the same to rounding.

    Parameters
    ----------
    models : sequence of TrainedModel
        Of one run, from :func:`~dgl_gmpool.training.load_models`. The vectors of several are put
        side by side: those of different folds have no axis in common.
    smiles : sequence of str
    batch_size : int
        Molecules per forward pass, at least 1.
    device : str
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    ValueError
        No model is given.
    """
    if not models:
        raise ValueError("no model given; load some with load_models(RUN_FOLDER)")
    parts = []
    for start in range(0, max(len(smiles), 1), CHUNK):
        parsed = parse_rows(smiles[start : start + CHUNK], models[0].featurizer)
        parts.append(embed_rows(models, parsed, batch_size=batch_size, device=device))
    return Embeddings(
        np.concatenate([part.values for part in parts]),
        tuple(reason for part in parts for reason in part.reasons),
        tuple(note for part in parts for note in part.notes),
    )


def embed_rows(
    models: Sequence[TrainedModel],
    parsed: ParsedRows,
    *,
    batch_size: int = 80,
    device: str = "auto",
) -> Embeddings:
    """The vectors of parsed rows."""
    graphs = GraphList(parsed.flat)
    vectors = np.zeros((len(graphs), embedding_width(models)), np.float32)
    torch_device = choose_device(device)
    for places in row_batches(torch.arange(len(graphs)), batch_size):
        found = []
        for trained in models:
            model = trained.model.to(torch_device)
            batch = collate(
                graphs[places.numpy()],
                edge_in_feats=model.edge_in_feats,
                device=torch_device,
            )
            with torch.no_grad(), evaluating(model), sharing_states(model):
                found.append(model.embed(batch.graph, batch.node_feats, batch.edge_feats))
        vectors[places.numpy()] = torch.cat(found, 1).float().cpu().numpy()
    values = np.full((len(parsed), vectors.shape[1]), np.nan, np.float32)
    there = parsed.place >= 0
    values[there] = vectors[parsed.place[there]]
    return Embeddings(values, tuple(parsed.reasons), tuple(parsed.notes))
