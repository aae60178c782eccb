"""Self-attention graph pooling."""

from __future__ import annotations

from torch import Tensor

from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.poolings.convolutions import GraphConv
from dgl_gmpool.poolings.selection import SelectionPooling


class SAGPool(SelectionPooling):
    r"""Keep the nodes to which a graph convolution gives the highest score.

    .. math:: s = \mathrm{GraphConv}(X, A), \quad X' = (X \odot \tanh s)_I, \quad A' = A_{I, I}

    with I the nodes of the highest s. Lee, Lee and Kang, "Self-Attention Graph Pooling" (2019),
    with the convolution that PyTorch Geometric uses. Ranks, ties, faces and options:
    :class:`~dgl_gmpool.poolings.SelectionPooling`.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    num_clusters : int, optional
        How many nodes to keep, and all that tie with the last of them. Default 10.
    ratio : float, optional
        Share of the nodes to keep, in (0, 1], instead of a fixed number.
    aggregate : str, optional
        How the readout reduces the nodes kept. Default ``"mean"``.

    Examples
    --------
    >>> import dgl, torch
    >>> g = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1]))
    >>> coarse = SAGPool(4, ratio=1.0).coarsen(g, torch.randn(3, 4))
    >>> coarse.graph.num_edges(), coarse.num_clusters.tolist()
    (4, [3])
    """

    def __init__(
        self,
        in_feats: int,
        *,
        num_clusters: int = 10,
        ratio: float | None = None,
        aggregate: str = "mean",
    ) -> None:
        super().__init__(in_feats, num_clusters=num_clusters, ratio=ratio, aggregate=aggregate)
        self.gnn = GraphConv(in_feats, 1)

    def score(self, batch: GraphBatch) -> Tensor:
        return self.gnn(batch, batch.feat)[:, 0]
