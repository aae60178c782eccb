"""Many featurised molecules as a few arrays: cheap to store, check and send between processes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import dgl
import numpy as np
import torch


@dataclass(frozen=True)
class FlatGraphs:
    """G graphs end to end. Node numbers in ``src`` and ``dst`` start at 0 in every graph.

    Attributes
    ----------
    node_counts, edge_counts : numpy.ndarray
        ``(G,)`` int64.
    src, dst : numpy.ndarray
        ``(edges,)`` int32.
    node_feats, edge_feats : numpy.ndarray
        ``(nodes, node_in_feats)`` and ``(edges, edge_in_feats)`` float32.
    """

    node_counts: np.ndarray
    edge_counts: np.ndarray
    src: np.ndarray
    dst: np.ndarray
    node_feats: np.ndarray
    edge_feats: np.ndarray

    def __len__(self) -> int:
        return len(self.node_counts)

    @classmethod
    def empty(cls, node_in_feats: int, edge_in_feats: int) -> FlatGraphs:
        return cls(
            np.zeros(0, np.int64),
            np.zeros(0, np.int64),
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
            np.zeros((0, node_in_feats), np.float32),
            np.zeros((0, edge_in_feats), np.float32),
        )

    @classmethod
    def join(cls, parts: Sequence[FlatGraphs]) -> FlatGraphs:
        """The graphs of all parts, in order."""
        return cls(
            *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls))
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        return {f.name: torch.from_numpy(getattr(self, f.name)) for f in fields(self)}

    def checksum(self) -> str:
        """SHA-256 over names, shapes, dtypes and bytes."""
        digest = hashlib.sha256()
        for f in fields(self):
            array = np.ascontiguousarray(getattr(self, f.name))
            digest.update(f"{f.name} {array.shape} {array.dtype.str};".encode())
            digest.update(array.data if array.size else b"")
        return digest.hexdigest()

    def graphs(self, which: Sequence[int]) -> list[dgl.DGLGraph]:
        """DGLGraphs (int32 ids, ``ndata["h"]``, ``edata["e"]``), one for each index in ``which``.

        Every graph owns its memory: changing one in place changes no other, even where an index
        is repeated.
        """
        node_ends, edge_ends = np.cumsum(self.node_counts), np.cumsum(self.edge_counts)
        tensors = self.tensors()
        src, dst = tensors["src"], tensors["dst"]
        node_feats, edge_feats = tensors["node_feats"], tensors["edge_feats"]
        graphs = []
        for i in which:
            n, m = int(self.node_counts[i]), int(self.edge_counts[i])
            node, edge = int(node_ends[i]), int(edge_ends[i])
            graph = dgl.graph(
                (src[edge - m : edge], dst[edge - m : edge]), num_nodes=n, idtype=torch.int32
            )
            graph.ndata["h"] = node_feats[node - n : node].clone()
            graph.edata["e"] = edge_feats[edge - m : edge].clone()
            graphs.append(graph)
        return graphs
