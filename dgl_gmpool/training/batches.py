"""From a list of molecules to batches on the training device, in an order that a seed gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import dgl
import numpy as np
import torch

from dgl_gmpool.data.graph_list import GraphList


class Batch(NamedTuple):
    """One step's input. The graph stays on the CPU: models read only its edges and counts."""

    graph: dgl.DGLGraph
    node_feats: torch.Tensor
    edge_feats: torch.Tensor
    global_feats: torch.Tensor | None


def collate(
    graphs: Sequence[dgl.DGLGraph],
    *,
    edge_in_feats: int,
    device: torch.device,
    global_feats: torch.Tensor | None = None,
) -> Batch:
    """Batch molecules, with features on ``device``.

    Parameters
    ----------
    graphs : sequence of DGLGraph
        With ``ndata["h"]`` and ``edata["e"]``. A ``GraphList`` is cut from its arrays as a whole.
    edge_in_feats : int
        Width of the edge features, needed where no molecule of the batch has a bond.
    device : torch.device
        Where the features go.
    global_feats : torch.Tensor, optional
        ``(len(graphs), g)``.
    """
    graph = graphs.batch() if isinstance(graphs, GraphList) else dgl.batch(list(graphs))
    nodes = graph.ndata["h"]
    edges = graph.edata["e"] if "e" in graph.edata else nodes.new_zeros(0, edge_in_feats)
    return Batch(
        graph,
        sent(nodes, device),
        sent(edges, device),
        None if global_feats is None else sent(global_feats, device),
    )


def sent(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Values of the host on a device, by a copy that a GPU need not be waited for."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def pick(graphs: Sequence[dgl.DGLGraph], rows: torch.Tensor) -> Sequence[dgl.DGLGraph]:
    """The graphs of these rows, int64; of a ``GraphList``, none is made."""
    if isinstance(graphs, GraphList):
        return graphs[rows.numpy()]
    return [graphs[row] for row in rows.tolist()]


def row_batches(rows: torch.Tensor, batch_size: int) -> Iterator[torch.Tensor]:
    """Cut ``rows`` into batches in order; a single leftover row joins the batch before it.

    A batch of one molecule has no variance for a batch normalisation to divide by, and its
    gradient would weigh one molecule as much as a whole batch.

    Examples
    --------
    >>> [len(batch) for batch in row_batches(torch.arange(9), 4)]
    [4, 5]
    >>> [len(batch) for batch in row_batches(torch.arange(10), 4)]
    [4, 4, 2]
    """
    start, total = 0, len(rows)
    while start < total:
        stop = min(start + batch_size, total)
        if total - stop == 1:
            stop = total
        yield rows[start:stop]
        start = stop


def count_batches(rows: int, batch_size: int) -> int:
    """Number of batches that :func:`row_batches` makes."""
    return sum(1 for _ in row_batches(torch.empty(rows, 0), batch_size))


def shuffled(rows: Sequence[int], seed: int) -> torch.Tensor:
    """``rows`` in an order that follows from ``seed`` alone, int64."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    return torch.as_tensor(np.asarray(rows, dtype=np.int64))[order]


def derived_seed(*parts: int) -> int:
    """One 63-bit seed from several non-negative integers.

    Every epoch seeds itself from ``(seed, fold, epoch)``: a run that continues from a checkpoint
    then needs no saved random state, and the folds of one seed are independent of each other.

    Parameters
    ----------
    *parts : int
        Non-negative integers; their order matters.

    Returns
    -------
    int
        In ``[0, 2**63)``, for ``torch.manual_seed``.

    Examples
    --------
    >>> derived_seed(0, 1) == derived_seed(0, 1)
    True
    >>> derived_seed(0, 1) == derived_seed(1, 0)
    False
    """
    state = np.random.SeedSequence(list(parts)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
