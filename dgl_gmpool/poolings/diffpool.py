"""Differentiable pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dgl_gmpool._options import positive_int
from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.pooling import Pooling, check_weight, mean_over_graphs
from dgl_gmpool.poolings.convolutions import GraphConv


class DiffPool(Pooling):
    r"""Shares in a fixed number of clusters, from a graph network of its own.

    .. math:: S = \mathrm{softmax}(\mathrm{GNN}(X, A)), \quad X' = S^T X, \quad A' = S^T A S

    Ying et al., "Hierarchical Graph Representation Learning with Differentiable Pooling" (2018).
    The node embeddings that are pooled are the features given, the output of the backbone. The
    assignment network is one graph convolution, or with ``hidden_feats`` two.

    Each row of S adds up to 1, so mean and sum over all clusters equal those over all nodes up to
    a factor, whatever S is. That is why the readout takes the maximum by default.

    Losses (:func:`.collect_losses`): ``link``, :math:`\lVert A - S S^T \rVert_F / n^2`, and
    ``entropy``, the mean over nodes of the entropy of S_i. Both depend on one graph alone; in
    PyTorch Geometric the first is a norm over the whole batch and both change with padding.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    num_clusters : int, optional
        Number of clusters K. Default 10, the paper's pooling size.
    hidden_feats : int, optional
        Width between two convolutions of the assignment network. Default: one convolution.
    link_weight, entropy_weight : float, optional
        What the losses are multiplied with; 0 leaves one out. Default 1.
    aggregate : str, optional
        How the readout reduces the clusters. Default ``"max"``.

    Examples
    --------
    >>> import dgl
    >>> pool = DiffPool(4, num_clusters=2)
    >>> coarse = pool.coarsen(dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1])), torch.randn(3, 4))
    >>> coarse.feat.shape, sorted(coarse.losses)
    (torch.Size([2, 4]), ['entropy', 'link'])
    """

    shown = (*Pooling.shown, "num_clusters", "link_weight", "entropy_weight")

    def __init__(
        self,
        in_feats: int,
        *,
        num_clusters: int = 10,
        hidden_feats: int | None = None,
        link_weight: float = 1.0,
        entropy_weight: float = 1.0,
        aggregate: str = "max",
    ) -> None:
        super().__init__(in_feats, aggregate=aggregate)
        self.num_clusters = positive_int("num_clusters", num_clusters)
        self.link_weight = check_weight("link_weight", link_weight)
        self.entropy_weight = check_weight("entropy_weight", entropy_weight)
        widths = [in_feats, num_clusters]
        if hidden_feats is not None:
            widths.insert(1, positive_int("hidden_feats", hidden_feats))
        self.gnn = nn.ModuleList(map(GraphConv, widths[:-1], widths[1:]))

    def assign(self, batch: GraphBatch) -> Assignment:
        hidden = batch.feat
        for index, layer in enumerate(self.gnn):
            hidden = layer(batch, hidden.relu() if index else hidden)
        return Assignment.from_rows(
            batch.layout, hidden.softmax(1), losses=self._auxiliary(batch, hidden)
        )

    def _auxiliary(self, batch: GraphBatch, logits: Tensor) -> dict[str, Tensor]:
        losses = {}
        if self.link_weight:
            parts = []
            for bucket, assign, adjacency in zip(
                batch.layout.buckets, batch.layout.blocks(logits.softmax(1)), batch.adjacency
            ):
                norm = torch.linalg.vector_norm(adjacency - assign @ assign.mT, dim=(1, 2))
                parts.append(norm / bucket.sizes**2)
            losses["link"] = self.link_weight * mean_over_graphs(parts, logits)
        if self.entropy_weight:
            entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1, keepdim=True)
            mean = batch.segments.mean(entropy)[batch.counts > 0]
            losses["entropy"] = self.entropy_weight * mean_over_graphs([mean[:, 0]], logits)
        return losses
