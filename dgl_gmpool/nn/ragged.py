"""Ragged to dense and back: graphs of like size share one dense block.

A batch of graphs with n_1, ..., n_B nodes needs sum n_b^2 cells for its grouping matrices.
Padding all of them to the largest costs B n_max^2 instead, 10 to 18 times more on real
molecules. Here the graphs are sorted by size and cut into a few *buckets*, each padded to its own
largest graph. The cuts are optimal for the cost "cells + a fixed charge per bucket".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: What one more bucket costs, in cells of a grouping matrix: the fixed time of its tensor
#: operations against the time per cell. Only speed depends on it.
BUCKET_CHARGE = 6000

#: Above this many distinct sizes, sizes are first rounded up to a grid, to keep the search short.
MAX_DISTINCT_SIZES = 192


@dataclass(frozen=True)
class Bucket:
    """Graphs of like size, stacked.

    Attributes
    ----------
    graphs : Tensor
        Which graphs of the batch these are. Shape ``(b,)``, int64.
    sizes : Tensor
        Their node counts. Shape ``(b,)``, int64.
    width : int
        The largest of them, w.
    nodes : Tensor
        The rows of the batch's node features that belong here. Shape ``(m,)``, int64.
    slots : Tensor
        Where each of them stands in the block flattened to b * w rows. Shape ``(m,)``, int64.
    """

    graphs: Tensor
    sizes: Tensor
    width: int
    nodes: Tensor
    slots: Tensor

    def __len__(self) -> int:
        return self.graphs.shape[0]

    @property
    def mask(self) -> Tensor:
        """True where a slot holds a node. Shape ``(b, w)``, bool."""
        return torch.arange(self.width, device=self.sizes.device) < self.sizes[:, None]

    def ragged(self, block: Tensor) -> Tensor:
        """The filled slots of a block ``(b, w, ...)``, ``(m, ...)``, in the order of ``nodes``."""
        return block.flatten(0, 1).index_select(0, self.slots)


@dataclass(frozen=True)
class RaggedLayout:
    """How a batch of graphs is laid out in buckets.

    Attributes
    ----------
    counts : numpy.ndarray
        Number of nodes of each graph. Shape ``(B,)``, int64.
    buckets : tuple of Bucket
        Every graph with at least one node is in exactly one of them.
    position : Tensor
        Where each node stands when the blocks are flattened and laid end to end. Shape ``(N,)``,
        int64.
    """

    counts: np.ndarray
    buckets: tuple[Bucket, ...]
    position: Tensor

    @property
    def batch_size(self) -> int:
        return len(self.counts)

    @property
    def num_nodes(self) -> int:
        return int(self.counts.sum())

    @property
    def cells(self) -> int:
        """Cells that the dense blocks hold: the sum of b * w^2 over buckets."""
        return sum(len(bucket) * bucket.width**2 for bucket in self.buckets)

    def blocks(self, feat: Tensor) -> list[Tensor]:
        """All rows of a batch, ``(N, ...)``, as one block ``(b, w, ...)`` for each bucket."""
        return self.split(self.padded(feat))

    def padded(self, feat: Tensor) -> Tensor:
        """The rows of all blocks, end to end: zeros where there is no node. ``(slots, ...)``."""
        slots = sum(len(bucket) * bucket.width for bucket in self.buckets)
        # Writing rows into zeros, rather than gathering and masking, keeps a NaN in one graph out
        # of the others; and one write for all buckets has a single gather for its gradient.
        return feat.new_zeros((slots, *feat.shape[1:])).index_copy(0, self.position, feat)

    def split(self, flat: Tensor) -> list[Tensor]:
        """Rows of all blocks as one view ``(b, w, ...)`` for each bucket."""
        slots = [len(bucket) * bucket.width for bucket in self.buckets]
        return [
            block.unflatten(0, (len(bucket), bucket.width))
            for bucket, block in zip(self.buckets, flat.split(slots))
        ]

    def rows(self, blocks: list[Tensor]) -> Tensor:
        """Blocks ``(b, w, ...)``, one for each bucket, back as rows of the batch ``(N, ...)``."""
        return torch.cat([block.flatten(0, 1) for block in blocks]).index_select(0, self.position)

    def graph_ids(self, device: torch.device) -> Tensor:
        """The graph each node belongs to. Shape ``(N,)``, int64."""
        ids = np.repeat(np.arange(self.batch_size), self.counts)
        return torch.from_numpy(ids).to(device)

    @staticmethod
    def from_counts(counts: Tensor, device: torch.device | str = "cpu") -> RaggedLayout:
        """Lay out graphs with these node counts.

        Parameters
        ----------
        counts : Tensor
            Number of nodes of each graph. Shape ``(B,)``, integer, zeros allowed.
        device : torch.device
            Where the index tensors go.

        Examples
        --------
        >>> layout = RaggedLayout.from_counts(torch.tensor([3, 0, 4, 90]))
        >>> [(bucket.graphs.tolist(), bucket.width) for bucket in layout.buckets]
        [([0, 2], 4), ([3], 90)]
        >>> x = torch.arange(97.)[:, None]
        >>> layout.blocks(x)[0][0].flatten().tolist()
        [0.0, 1.0, 2.0, 0.0]
        """
        sizes = counts.detach().cpu().numpy().astype(np.int64)
        order = np.argsort(sizes, kind="stable")
        order = order[sizes[order] > 0]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        buckets: list[Bucket] = []
        position = np.empty(int(sizes.sum()), dtype=np.int64)
        start = filled = 0
        for stop in _cut(sizes[order]):
            graphs = order[start:stop]
            members = sizes[graphs]
            width = int(members[-1])
            within = np.arange(members.sum()) - np.repeat(np.cumsum(members) - members, members)
            nodes = np.repeat(offsets[graphs], members) + within
            slots = np.repeat(np.arange(len(graphs)) * width, members) + within
            buckets.append(
                Bucket(
                    graphs=torch.from_numpy(graphs).to(device),
                    sizes=torch.from_numpy(members).to(device),
                    width=width,
                    nodes=torch.from_numpy(nodes).to(device),
                    slots=torch.from_numpy(slots).to(device),
                )
            )
            position[nodes] = filled + slots
            start, filled = stop, filled + len(graphs) * width
        return RaggedLayout(sizes, tuple(buckets), torch.from_numpy(position).to(device))


def _cut(sizes: np.ndarray) -> list[int]:
    """Where to cut ascending ``sizes`` so that cells + charge per bucket is least: end indices.

    Dynamic programming over the distinct sizes; a cut inside a run of equal sizes never helps.
    """
    if len(sizes) == 0:
        return []
    widths, ends = _distinct(sizes)
    best = np.empty(len(widths) + 1)
    best[0] = 0.0
    came_from = np.empty(len(widths), dtype=np.int64)
    starts = np.concatenate([[0], ends[:-1]])
    for last, width in enumerate(widths):
        cost = best[: last + 1] + (ends[last] - starts[: last + 1]) * float(width) ** 2
        came_from[last] = int(np.argmin(cost))
        best[last + 1] = cost[came_from[last]] + BUCKET_CHARGE
    cuts: list[int] = []
    last = len(widths) - 1
    while last >= 0:
        cuts.append(int(ends[last]))
        last = int(came_from[last]) - 1
    return cuts[::-1]


def _distinct(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct ascending widths and the end index of each one's run."""
    last_of_run = np.flatnonzero(np.append(sizes[1:] != sizes[:-1], True))
    if len(last_of_run) > MAX_DISTINCT_SIZES:
        last_of_run = last_of_run[
            np.linspace(0, len(last_of_run) - 1, MAX_DISTINCT_SIZES + 1).astype(np.int64)[1:]
        ]
    return sizes[last_of_run], last_of_run + 1
