"""Many featurised molecules as a few arrays: cheap to hold, store, check and share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property

import dgl
import numpy as np
import torch
from dgl.convert import create_from_edges

from dgl_gmpool._names import FRAGMENT
from dgl_gmpool.data.distinct_rows import DistinctRows, smallest


@dataclass(frozen=True)
class FlatGraphs:
    """G graphs end to end. Node numbers in ``src`` and ``dst`` start at 0 in every graph.

    Features are kept as the number of a row among the different ones: two bytes for an atom whose
    74 features take 296. Whole numbers have the smallest dtype that holds all of them.

    Attributes
    ----------
    node_counts, edge_counts : numpy.ndarray
        ``(G,)``.
    src, dst : numpy.ndarray
        ``(edges,)``.
    node_kinds, edge_kinds : numpy.ndarray
        ``(nodes,)`` and ``(edges,)``, row numbers in the next two.
    node_rows, edge_rows : numpy.ndarray
        The different rows of features, float32: ``(kinds of nodes, node_in_feats)`` and
        ``(kinds of edges, edge_in_feats)``.
    fragments : numpy.ndarray or None
        ``(nodes,)``, each node's fragment, where that is wanted.
    """

    node_counts: np.ndarray
    edge_counts: np.ndarray
    src: np.ndarray
    dst: np.ndarray
    node_kinds: np.ndarray
    edge_kinds: np.ndarray
    node_rows: np.ndarray
    edge_rows: np.ndarray
    fragments: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.node_counts)

    @classmethod
    def from_dgl(
        cls, graphs: Sequence[dgl.DGLGraph], node_in_feats: int, edge_in_feats: int
    ) -> FlatGraphs:
        """Of graphs with ``ndata["h"]`` and, where they have edges, ``edata["e"]``, float32."""
        nodes, edges = DistinctRows(node_in_feats), DistinctRows(edge_in_feats)
        none = [np.zeros(0, np.int64)]
        ends = [[end.numpy() for end in graph.edges()] for graph in graphs]
        of_edges = [edges.add(graph.edata["e"].numpy()) for graph in graphs if graph.num_edges()]
        of_nodes = [nodes.add(graph.ndata["h"].numpy()) for graph in graphs]
        marked = len(graphs) > 0 and all(FRAGMENT in graph.ndata for graph in graphs)
        return cls(
            smallest(np.array([graph.num_nodes() for graph in graphs], np.int64)),
            smallest(np.array([graph.num_edges() for graph in graphs], np.int64)),
            smallest(np.concatenate([*none, *(src for src, _ in ends)])),
            smallest(np.concatenate([*none, *(dst for _, dst in ends)])),
            smallest(np.concatenate([*none, *of_nodes])),
            smallest(np.concatenate([*none, *of_edges])),
            nodes.table(),
            edges.table(),
            np.concatenate([graph.ndata[FRAGMENT].numpy() for graph in graphs]) if marked else None,
        )

    @classmethod
    def join(cls, parts: Sequence[FlatGraphs]) -> FlatGraphs:
        """The graphs of all parts, of which there is one at least, in order, without fragments."""

        def joined(name: str) -> np.ndarray:
            # The largest of a list of numpy's integer dtypes holds the values of all.
            return smallest(np.concatenate([getattr(part, name) for part in parts]))

        rows, kinds = {}, {}
        for of in ("node", "edge"):
            tables = [getattr(part, f"{of}_rows") for part in parts]
            distinct = DistinctRows(tables[0].shape[1])
            numbers = [distinct.add(table) for table in tables]
            rows[of] = distinct.table()
            dtype = smallest(np.array([len(rows[of])])).dtype
            # By part, so that no array of 8 bytes a node is made.
            kinds[of] = smallest(
                np.concatenate(
                    [
                        number.astype(dtype)[getattr(part, f"{of}_kinds")]
                        for part, number in zip(parts, numbers)
                    ]
                )
            )
        return cls(
            joined("node_counts"),
            joined("edge_counts"),
            joined("src"),
            joined("dst"),
            kinds["node"],
            kinds["edge"],
            rows["node"],
            rows["edge"],
        )

    @property
    def node_feats(self) -> np.ndarray:
        """``(nodes, node_in_feats)`` float32, of all graphs: large."""
        return self.node_rows[self.node_kinds]

    @property
    def edge_feats(self) -> np.ndarray:
        """``(edges, edge_in_feats)`` float32, of all graphs: large."""
        return self.edge_rows[self.edge_kinds]

    @cached_property
    def node_starts(self) -> np.ndarray:
        """``(G,)`` int64, where each graph's nodes begin."""
        return _starts(self.node_counts)

    @cached_property
    def edge_starts(self) -> np.ndarray:
        """``(G,)`` int64, where each graph's edges begin."""
        return _starts(self.edge_counts)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The arrays by their names; they share memory."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: torch.from_numpy(a) for name, a in found.items() if a is not None}

    def checksum(self) -> str:
        """SHA-256 over names, shapes, dtypes and bytes."""
        digest = hashlib.sha256()
        for name, tensor in self.tensors().items():
            array = np.ascontiguousarray(tensor.numpy())
            digest.update(f"{name} {array.shape} {array.dtype.str};".encode())
            digest.update(array.data if array.size else b"")
        return digest.hexdigest()

    def graphs(self, which: Sequence[int]) -> list[dgl.DGLGraph]:
        """DGLGraphs (int32 ids, ``ndata["h"]``, ``edata["e"]``), one for each index in ``which``.

        Every graph owns its memory: changing one in place changes no other, even where an index
        is repeated.
        """
        return [self._cut(np.array([index], np.int64), batched=False) for index in which]

    def batch(self, which: Sequence[int] | np.ndarray) -> dgl.DGLGraph:
        """``dgl.batch`` of the graphs in ``which``, of which there is one at least, cut from the
        arrays without making them.

        Examples
        --------
        >>> from dgl_gmpool.data.smiles_to_graphs import featurize_smiles
        >>> flat, _ = featurize_smiles(["CCO", "C", "C#N"], "canonical")
        >>> batch = flat.batch([2, 0])
        >>> batch.batch_num_nodes().tolist(), batch.edges()[0].tolist()
        ([2, 3], [0, 1, 2, 4, 4, 3])
        """
        return self._cut(np.asarray(which, np.int64), batched=True)

    def _cut(self, which: np.ndarray, *, batched: bool) -> dgl.DGLGraph:
        node_counts, shifts, nodes = _places(self.node_starts, self.node_counts, which)
        edge_counts, _, edges = _places(self.edge_starts, self.edge_counts, which)
        shift = shifts.astype(np.int32).repeat(edge_counts)
        src, dst = (torch.from_numpy(_at(end, edges) + shift) for end in (self.src, self.dst))
        # What dgl.graph calls once it has looked for the largest node, which takes as long as all
        # else does for a small batch.
        count = int(shifts[-1] + node_counts[-1])
        graph = create_from_edges("coo", (src, dst), "_N", "_E", "_N", count, count)
        if batched:
            dtype = _dtype_of_counts()
            graph.set_batch_num_nodes(torch.from_numpy(node_counts).to(dtype))
            graph.set_batch_num_edges(torch.from_numpy(edge_counts).to(dtype))
        graph.ndata["h"] = torch.from_numpy(self.node_rows.take(_at(self.node_kinds, nodes), 0))
        graph.edata["e"] = torch.from_numpy(self.edge_rows.take(_at(self.edge_kinds, edges), 0))
        if self.fragments is not None:
            graph.ndata[FRAGMENT] = torch.from_numpy(_at(self.fragments, nodes).astype(np.int64))
        return graph


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.cumsum(counts, dtype=np.int64) - counts


def _places(
    starts: np.ndarray, counts: np.ndarray, which: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray | slice]:
    """How many nodes or edges each graph in ``which`` has, where they begin in the batch, and the
    places of all of them, int64, or those of a single graph."""
    own = counts.take(which).astype(np.int64)
    if len(which) == 1:
        start = int(starts[which[0]])
        return own, np.zeros(1, np.int64), slice(start, start + int(own[0]))
    begins = own.cumsum() - own
    places = (starts.take(which) - begins).repeat(own)
    places += np.arange(len(places))
    return own, begins, places


def _at(array: np.ndarray, places: np.ndarray | slice) -> np.ndarray:
    return array[places] if isinstance(places, slice) else array.take(places)


@cache
def _dtype_of_counts() -> torch.dtype:
    """Of a batch's node counts, as this DGL has its own: int64 before 2.1, from then on the graph's
    id type."""
    return dgl.rand_graph(1, 0, idtype=torch.int32).batch_num_nodes().dtype
