"""Adaptive structure aware pooling."""

from __future__ import annotations

import dgl
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_gmpool._options import finite_number, positive_int, probability
from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.pooling import Pooling
from dgl_gmpool.nn.segments import Segments
from dgl_gmpool.poolings.convolutions import LEConv
from dgl_gmpool.poolings.selection import check_ratio, how_many, select_top


class ASAPool(Pooling):
    r"""A cluster around every node, of the node and its neighbours; the fittest clusters are kept.

    With N(j) the nodes with an edge to j, and j itself,

    .. math::
        m_j &= \max_{i \in N(j)} x_i, \quad
        S_{ij} = \mathrm{softmax}_{i \in N(j)}
            (\mathrm{LeakyReLU}(w^T [W m_j + b, x_i] + c)), \quad
        x^c_j = \textstyle\sum_i S_{ij} x_i \\
        \phi &= \sigma(\mathrm{LEConv}(X^c)), \quad
        X' = (X^c \odot \phi)_J, \quad A' = S_J^T (A + I) S_J

    with J the clusters of the highest fitness phi. Self-loops are added to nodes that have none;
    A' loses its diagonal. Ranjan, Sanyal and Talukdar, "ASAP" (2020), as in PyTorch Geometric.

    Kept are the ``num_clusters`` fittest and every cluster that ties with the last of them, as in
    :class:`~dgl_gmpool.poolings.SelectionPooling` and for the same reason. They are ranked
    before the sigmoid, which maps all large values to 1.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    num_clusters : int, optional
        How many clusters to keep. Default 10, the paper's pooling size.
    ratio : float, optional
        Share of the clusters to keep, in (0, 1], instead of a fixed number.
    negative_slope : float, optional
        Slope of LeakyReLU below 0. Default 0.2.
    dropout : float, optional
        Of the entries of S, in training. Default 0.
    aggregate : str, optional
        How the readout reduces the clusters. Default ``"mean"``.

    Examples
    --------
    >>> g = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1]))
    >>> coarse = ASAPool(4, num_clusters=2).coarsen(g, torch.randn(3, 4))
    >>> coarse.graph.num_nodes(), coarse.lift(coarse.feat).shape
    (2, torch.Size([3, 4]))
    """

    coarse_self_loops = False

    shown = (*Pooling.shown, "num_clusters", "ratio", "dropout")

    def __init__(
        self,
        in_feats: int,
        *,
        num_clusters: int = 10,
        ratio: float | None = None,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        aggregate: str = "mean",
    ) -> None:
        super().__init__(in_feats, aggregate=aggregate)
        self.num_clusters = positive_int("num_clusters", num_clusters)
        self.ratio = check_ratio(ratio)
        self.negative_slope = finite_number("negative_slope", negative_slope)
        self.dropout = probability("dropout", dropout)
        # Named as in PyTorch Geometric.
        self.lin = nn.Linear(in_feats, in_feats)
        self.att = nn.Linear(2 * in_feats, 1)
        self.gnn_score = LEConv(in_feats, 1)

    def assign(self, batch: GraphBatch) -> Assignment:
        feat = batch.feat
        source, destination = _with_self_loops(batch)
        share = self._attention(feat, source, destination)
        member = feat.index_select(0, source) * share[:, None]
        cluster = torch.zeros_like(feat).index_add(0, destination, member)
        fitness = self.gnn_score(cluster, source, destination)[:, 0]
        keep = how_many(batch.counts, self.num_clusters, self.ratio)
        kept = select_top(fitness, batch.segments, keep)
        counts = torch.bincount(batch.segments.owner[kept], minlength=len(batch))
        start = counts.cumsum(0) - counts
        column = kept.cumsum(0) - 1 - start[batch.segments.owner]
        edges = kept[destination].nonzero().squeeze(1)
        width = int(counts.max()) if len(counts) else 0
        cells = source[edges] * width + column[destination[edges]]
        flat = feat.new_zeros(len(feat) * width)
        gated = share * fitness.sigmoid()[destination]
        return Assignment.from_rows(
            batch.layout,
            flat.index_add(0, cells, share[edges]).view(len(feat), width),
            columns=counts,
            feature_rows=flat.index_add(0, cells, gated[edges]).view(len(feat), width),
        )

    def edges_to_pool(
        self, batch: GraphBatch, edge_feat: Tensor | None
    ) -> tuple[GraphBatch, Tensor | None]:
        """With a self-loop of weight 1, and of no edge features, on nodes that had none."""
        source, destination = _with_self_loops(batch)
        extra = len(source) - len(batch.edge_weight)
        like = batch.graph
        graph = dgl.graph(
            (source.to(like.device, like.idtype), destination.to(like.device, like.idtype)),
            num_nodes=like.num_nodes(),
        )
        looped = GraphBatch(
            graph,
            batch.feat,
            width=batch.feat.shape[1],
            dtype=batch.feat.dtype,
            edge_weight=F.pad(batch.edge_weight, (0, extra), value=1.0),
            batch_num_nodes=batch.host_counts,
        )
        return looped, None if edge_feat is None else F.pad(edge_feat, (0, 0, 0, extra))

    def _attention(self, feat: Tensor, source: Tensor, destination: Tensor) -> Tensor:
        """The entries of S, one per edge (self-loops included). Shape ``(E,)``."""
        # Edges sorted by destination are segments, of at least the self-loop each.
        order = destination.argsort(stable=True)
        source, destination = source[order], destination[order]
        segments = Segments(torch.bincount(destination, minlength=len(feat)))
        members = feat.index_select(0, source)
        master = self.lin(segments.max(members))
        score = self.att(torch.cat([segments.broadcast(master), members], dim=1))
        share = segments.softmax(F.leaky_relu(score, self.negative_slope))[:, 0]
        share = F.dropout(share, self.dropout, self.training)
        return torch.empty_like(share).index_copy(0, order, share)


def _with_self_loops(batch: GraphBatch) -> tuple[Tensor, Tensor]:
    """Edges, and a self-loop for every node that has none at the end."""
    source, destination = batch.edges
    bare = torch.ones(len(batch.feat), dtype=torch.bool, device=source.device)
    bare[source[source == destination]] = False
    loops = bare.nonzero().squeeze(1)
    return torch.cat([source, loops]), torch.cat([destination, loops])
