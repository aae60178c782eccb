"""MinCut pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dgl_gmpool._options import positive_int
from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.pooling import Pooling, check_weight, mean_over_graphs


class MinCutPool(Pooling):
    r"""Shares in a fixed number of clusters that cut few edges: relaxed spectral clustering.

    .. math:: S = \mathrm{softmax}(X W + b), \quad X' = S^T X, \quad A' = S^T A S

    A' loses its diagonal and is divided by the root of its degrees. Bianchi, Grattarola and
    Alippi, "Spectral Clustering with Graph Neural Networks for Graph Pooling" (2020).

    Each row of S adds up to 1, so mean and sum over all clusters equal those over all nodes up to
    a factor, whatever S is. That is why the readout takes the maximum by default.

    Losses (:func:`.collect_losses`): ``cut``, :math:`-\mathrm{tr}(S^T A S) / \mathrm{tr}(S^T D S)`,
    0 for a graph without edges (0/0 in PyTorch Geometric), and ``orthogonality``,
    :math:`\lVert S^T S / \lVert S^T S \rVert_F - I / \sqrt K \rVert_F`.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    num_clusters : int, optional
        Number of clusters K. Default 10, the paper's pooling size.
    cut_weight, orthogonality_weight : float, optional
        What the losses are multiplied with; 0 leaves one out. Default 1.
    aggregate : str, optional
        How the readout reduces the clusters. Default ``"max"``.

    Examples
    --------
    >>> import dgl
    >>> pool = MinCutPool(4, num_clusters=2)
    >>> coarse = pool.coarsen(dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1])), torch.randn(3, 4))
    >>> coarse.graph.num_edges(), sorted(coarse.losses)
    (2, ['cut', 'orthogonality'])
    """

    coarse_self_loops = False
    normalise_edges = True

    shown = (*Pooling.shown, "num_clusters", "cut_weight", "orthogonality_weight")

    def __init__(
        self,
        in_feats: int,
        *,
        num_clusters: int = 10,
        cut_weight: float = 1.0,
        orthogonality_weight: float = 1.0,
        aggregate: str = "max",
    ) -> None:
        super().__init__(in_feats, aggregate=aggregate)
        self.num_clusters = positive_int("num_clusters", num_clusters)
        self.cut_weight = check_weight("cut_weight", cut_weight)
        self.orthogonality_weight = check_weight("orthogonality_weight", orthogonality_weight)
        self.lin = nn.Linear(in_feats, num_clusters)

    def assign(self, batch: GraphBatch) -> Assignment:
        rows = self.lin(batch.feat).softmax(1)
        return Assignment.from_rows(batch.layout, rows, losses=self._auxiliary(batch, rows))

    def _auxiliary(self, batch: GraphBatch, rows: Tensor) -> dict[str, Tensor]:
        losses = {}
        if self.cut_weight:
            # tr S'AS = sum of a_ij S_i.S_j over edges, tr S'DS = sum of d_i S_i.S_i over nodes.
            degree = rows.new_zeros(len(rows), 1).index_add(
                0, batch.edges[0], batch.edge_weight[:, None]
            )
            inside = batch.segments.sum(batch.neighbour_sum(rows).mul(rows).sum(1, keepdim=True))
            total = batch.segments.sum(degree * rows.square().sum(1, keepdim=True))
            some = total != 0
            cut = torch.where(some, -inside / torch.where(some, total, 1), 0)
            parts = [cut[batch.counts > 0][:, 0]]
            losses["cut"] = self.cut_weight * mean_over_graphs(parts, rows)
        if self.orthogonality_weight:
            parts = []
            unit = torch.eye(self.num_clusters, dtype=rows.dtype, device=rows.device)
            for assign in batch.layout.blocks(rows):
                overlap = assign.mT @ assign
                scale = torch.linalg.matrix_norm(overlap, keepdim=True)
                gap = overlap / scale - unit / self.num_clusters**0.5
                parts.append(torch.linalg.vector_norm(gap, dim=(1, 2)))
            losses["orthogonality"] = self.orthogonality_weight * mean_over_graphs(parts, rows)
        return losses
