"""Ragged to dense and back: graphs of like size share one dense block.

A batch of graphs with n_1, ..., n_B nodes needs sum n_b^2 cells for its grouping matrices.
Padding all of them to the largest costs B n_max^2 instead, 10 to 18 times more on real
molecules. Here the graphs are sorted by size and cut into a few *buckets*, each padded to its own
largest graph. The cuts are optimal for the cost "cells + a fixed charge per bucket".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

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
    full : bool
        Whether all of them are that large, so that no slot is empty.
    nodes : Tensor
        The rows of the batch's node features that belong here. Shape ``(m,)``, int64.
    slots : Tensor
        Where each of them stands in the block flattened to b * w rows. Shape ``(m,)``, int64.
    """

    graphs: Tensor
    sizes: Tensor
    width: int
    full: bool
    nodes: Tensor
    slots: Tensor

    def __len__(self) -> int:
        return self.graphs.shape[0]

    @cached_property
    def mask(self) -> Tensor:
        """True where a slot holds a node. Shape ``(b, w)``, bool."""
        return torch.arange(self.width, device=self.sizes.device) < self.sizes[:, None]


@dataclass(frozen=True)
class RaggedLayout:
    """How a batch of graphs is laid out in buckets.

    Attributes
    ----------
    counts : numpy.ndarray
        Number of nodes of each graph. Shape ``(B,)``, int64.
    groups : tuple of numpy.ndarray
        The graphs of each bucket, as ``Bucket.graphs``, in the memory of the host.
    buckets : tuple of Bucket
        Every graph with at least one node is in exactly one of them.
    host_position : numpy.ndarray
        ``position`` in the memory of the host.
    position : Tensor
        Where each node stands when the blocks are flattened and laid end to end. Shape ``(N,)``,
        int64.
    owner : Tensor
        The graph that each node belongs to. Shape ``(N,)``, int64.
    """

    counts: np.ndarray
    groups: tuple[np.ndarray, ...]
    buckets: tuple[Bucket, ...]
    host_position: np.ndarray
    position: Tensor
    owner: Tensor

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
        # Writing rows into zeros, rather than gathering and masking, keeps a NaN in one graph out
        # of the others; and one write for all buckets has a single gather for its gradient.
        slots = sum(len(bucket) * bucket.width for bucket in self.buckets)
        flat = feat.new_zeros((slots, *feat.shape[1:]))
        return self.split(flat.index_copy(0, self.position, feat))

    def split(self, flat: Tensor) -> list[Tensor]:
        """Rows of all blocks as one view ``(b, w, ...)`` for each bucket."""
        views, start = [], 0
        for bucket in self.buckets:
            stop = start + len(bucket) * bucket.width
            views.append(flat[start:stop].view(len(bucket), bucket.width, *flat.shape[1:]))
            start = stop
        return views

    def rows(self, blocks: list[Tensor]) -> Tensor:
        """Blocks ``(b, w, ...)``, one for each bucket, back as rows of the batch ``(N, ...)``."""
        return torch.cat([block.flatten(0, 1) for block in blocks]).index_select(0, self.position)

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
        order = order[np.count_nonzero(sizes == 0) :]
        ascending = sizes[order]
        cuts = _cut(ascending)
        groups = [order[start:stop] for start, stop in zip([0, *cuts], cuts)]
        widths = [int(ascending[stop - 1]) for stop in cuts]
        return RaggedLayout.of_groups(sizes, groups, widths, device)

    @staticmethod
    def of_groups(
        counts: np.ndarray,
        groups: Sequence[np.ndarray],
        widths: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> RaggedLayout:
        """Lay out graphs with these node counts in buckets of these graphs.

        Parameters
        ----------
        counts : numpy.ndarray
            Number of nodes of each graph. Shape ``(B,)``, int64.
        groups : sequence of numpy.ndarray
            The graphs of each bucket; every graph with nodes in one of them.
        widths : sequence of int
            Slots for each graph of a bucket, as many as its largest has nodes, or more.
        device : torch.device
            Where the index tensors go.
        """

        order = np.concatenate(groups) if len(groups) else np.empty(0, dtype=np.int64)
        sizes = counts[order]
        room = np.array(widths, dtype=np.int64).repeat([len(group) for group in groups])
        # Where each graph starts: among the rows of the batch, of the buckets, and their slots.
        starts, stops, ends = (counts.cumsum() - counts)[order], sizes.cumsum(), room.cumsum()
        before = stops - sizes
        within = np.arange(before[-1] + sizes[-1] if len(sizes) else 0)
        nodes = within + (starts - before).repeat(sizes)
        slots = within + (ends - room - before).repeat(sizes)
        position = np.empty_like(nodes)
        position[nodes] = slots
        owner = np.arange(len(counts)).repeat(counts)
        parts: list[np.ndarray] = [position, owner]
        bounds = []
        first = row = slot = 0
        for group, width in zip(groups, widths):
            last = first + len(group)
            stop = int(stops[last - 1])
            parts += [group, sizes[first:last], nodes[row:stop], slots[row:stop] - slot]
            bounds.append((width, stop - row == len(group) * width))
            first, row, slot = last, stop, slot + len(group) * width
        there = on_device(parts, device)
        # Graphs, sizes, nodes and slots of each bucket, behind the two of the whole batch.
        own = [there[start : start + 4] for start in range(2, len(there), 4)]
        buckets = tuple(
            Bucket(graphs, sizes_of, width, full, nodes_of, slots_of)
            for (graphs, sizes_of, nodes_of, slots_of), (width, full) in zip(own, bounds)
        )
        return RaggedLayout(counts, tuple(groups), buckets, position, there[0], there[1])


def on_device(arrays: Sequence[np.ndarray], device: torch.device | str) -> list[Tensor]:
    """int64 arrays of the host as tensors on a device, in one copy that a GPU need not wait for."""
    flat = torch.from_numpy(np.concatenate([np.asarray(each, np.int64) for each in arrays]))
    if torch.device(device).type == "cuda":
        flat = flat.pin_memory()
    flat = flat.to(device, non_blocking=True)
    return list(flat.split([len(each) for each in arrays]))


def _cut(sizes: np.ndarray) -> list[int]:
    """Where to cut ascending ``sizes`` so that cells + charge per bucket is least: end indices.

    Dynamic programming over the distinct sizes; a cut inside a run of equal sizes never helps. The
    last bucket of a longer list never starts earlier (its cost has the Monge property), so the
    search for its start goes on from that of the list before.
    """
    if len(sizes) == 0:
        return []
    widths, ends = (found.tolist() for found in _distinct(sizes))
    starts, best, came_from, first = [0, *ends], [0], [], 0
    for last, (width, end) in enumerate(zip(widths, ends)):
        cells = width * width
        costs = [
            before + (end - start) * cells
            for before, start in zip(best[first:], starts[first : last + 1])
        ]
        least = min(costs)
        first += costs.index(least)
        came_from.append(first)
        best.append(least + BUCKET_CHARGE)
    cuts = []
    last = len(widths) - 1
    while last >= 0:
        cuts.append(ends[last])
        last = came_from[last] - 1
    return cuts[::-1]


def _distinct(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct ascending widths and the end index of each one's run."""
    last_of_run = np.flatnonzero(np.append(sizes[1:] != sizes[:-1], True))
    if len(last_of_run) > MAX_DISTINCT_SIZES:
        last_of_run = last_of_run[
            np.linspace(0, len(last_of_run) - 1, MAX_DISTINCT_SIZES + 1).astype(np.int64)[1:]
        ]
    return sizes[last_of_run], last_of_run + 1
