"""The result of a pooling: the coarsened batch, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.square_root import Spectrum


@dataclass(frozen=True, repr=False)
class PooledGraph:
    """A coarsened batch of graphs (eq. 13-15), the same for every pooling.

    Attributes
    ----------
    graph : DGLGraph
        The coarse graphs as one batch, with ``batch_num_nodes`` and ``batch_num_edges`` set. One
        edge for every entry of A' that is not negligible, self-loops (edges inside a group)
        included. Id type and device are those of the input.
    feat : Tensor
        X' = S' X. Shape ``(sum K_b, D)``.
    edge_weight : Tensor
        The entries of A' = S' A S, one per edge. Shape ``(E',)``.
    edge_feat : Tensor or None
        The entries of E' = S' E S, one row per edge. Shape ``(E', De)``.
    num_clusters : Tensor
        Number of clusters of each graph, by the pooling's rank rule. Shape ``(B,)``, int64. This
        and the next two are computed when first read: they may take eigenvalues.
    effective_rank : Tensor
        exp(entropy of the normalised eigenvalues of S S'). Shape ``(B,)``, floating point.
    negative_share : Tensor
        Share of the spectrum of the grouping matrix that was negative and had to be cut off to
        take a root; 0 for poolings without a grouping matrix. Shape ``(B,)``.
    losses : dict of str to Tensor
        Auxiliary losses of the pooling, scalars; empty for GMPool and NGMPool without a
        ``rank_weight``.
    """

    graph: DGLGraph
    feat: Tensor
    edge_weight: Tensor
    edge_feat: Tensor | None
    _lift: Callable[[Tensor], Tensor]
    _count: Callable[[], Spectrum]
    losses: dict[str, Tensor] = field(default_factory=dict)

    @property
    def num_clusters(self) -> Tensor:
        return self._spectrum.num_clusters

    @property
    def effective_rank(self) -> Tensor:
        return self._spectrum.effective_rank

    @property
    def negative_share(self) -> Tensor:
        return self._spectrum.negative_share

    @cached_property
    def _spectrum(self) -> Spectrum:
        with torch.no_grad():
            return self._count()

    def lift(self, feat: Tensor) -> Tensor:
        """Coarse features back on the original nodes, S X'.

        Parameters
        ----------
        feat : Tensor
            One row per coarse node. Shape ``(sum K_b, D)``, any D.

        Returns
        -------
        Tensor
            Shape ``(N, D)``, dtype of ``feat``.

        Raises
        ------
        TypeError
            If ``feat`` holds integers: they would cut S down to zeros and ones.
        ValueError
            If it does not have one row per coarse node.
        """
        if not feat.is_floating_point():
            raise TypeError(f"feat is {feat.dtype}; give a floating-point tensor")
        if feat.dim() != 2 or feat.shape[0] != self.graph.num_nodes():
            raise ValueError(
                f"feat has shape {tuple(feat.shape)}; expected one row for each of the "
                f"{self.graph.num_nodes()} coarse nodes"
            )
        return self._lift(feat)

    def __repr__(self) -> str:
        edge_feat = None if self.edge_feat is None else list(self.edge_feat.shape)
        return (
            f"PooledGraph(graphs={self.graph.batch_size}, nodes={self.graph.num_nodes()}, "
            f"edges={self.graph.num_edges()}, feat={list(self.feat.shape)}, "
            f"edge_feat={edge_feat}, num_clusters={self.num_clusters.tolist()})"
        )
