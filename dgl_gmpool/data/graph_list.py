"""Graphs that are made when they are asked for, or cut as one batch from flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import dgl
import numpy as np

from dgl_gmpool.data.flat_graphs import FlatGraphs


class GraphList(Sequence[dgl.DGLGraph]):
    """Graphs of a :class:`FlatGraphs`, by row; a row takes 8 bytes until it is looked at.

    ``graphs[i]`` makes a DGLGraph that owns its memory: changing it changes nothing here. A slice
    or an array of row numbers gives a shorter list, and :meth:`batch` what ``dgl.batch`` would.

    Parameters
    ----------
    flat : FlatGraphs
    which : sequence of int, optional
        The graph of each row, repeats allowed. Default: all, in order.

    Examples
    --------
    >>> from dgl_gmpool.data.smiles_to_graphs import featurize_smiles
    >>> graphs = GraphList(featurize_smiles(["CCO", "C", "C#N"], "canonical")[0])
    >>> len(graphs), graphs[2].num_nodes(), [graph.num_nodes() for graph in graphs[1:]]
    (3, 2, [1, 2])
    >>> graphs[np.array([2, 0])].batch().batch_num_nodes().tolist()
    [2, 3]
    """

    def __init__(self, flat: FlatGraphs, which: Sequence[int] | np.ndarray | None = None) -> None:
        self.flat = flat
        self.which = np.arange(len(flat)) if which is None else np.asarray(which, np.int64)

    def __len__(self) -> int:
        return len(self.which)

    @overload
    def __getitem__(self, key: int | np.integer) -> dgl.DGLGraph: ...

    @overload
    def __getitem__(self, key: slice | np.ndarray | list[int]) -> GraphList: ...

    def __getitem__(
        self, key: int | np.integer | slice | np.ndarray | list[int]
    ) -> dgl.DGLGraph | GraphList:
        if isinstance(key, (slice, np.ndarray, list)):
            return GraphList(self.flat, self.which[key])
        return self.flat.graphs([self.which[key]])[0]

    def batch(self) -> dgl.DGLGraph:
        """All of them as one batched graph, equal to ``dgl.batch(list(graphs))``."""
        return self.flat.batch(self.which)

    @property
    def node_counts(self) -> np.ndarray:
        """``(len(self),)`` int64."""
        return self.flat.node_counts[self.which].astype(np.int64)
