"""Poolings that give every node a share in every cluster."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.coarsen import EDGE_TOLERANCE, coarsen, lift
from dgl_gmpool.nn.dense_pooling import AGGREGATES
from dgl_gmpool.nn.edge_weight import normalise_edge_weight
from dgl_gmpool.nn.graph_batch import batched_graph
from dgl_gmpool.nn.grouping import compute_dtype
from dgl_gmpool.nn.pooled_graph import PooledGraph
from dgl_gmpool.nn.square_root import Spectrum, spectrum
from dgl_gmpool.poolings.baseline_pooling import BaselinePooling
from dgl_gmpool.poolings.graph_batch import GraphBatch


@dataclass(frozen=True)
class Shares:
    """Assignment matrices S of a batch, as rows.

    Attributes
    ----------
    rows : Tensor
        S, zeros in columns that a node's graph does not use. Shape ``(N, K)``.
    columns : Tensor
        How many columns each graph uses. Shape ``(B,)``, int64.
    feature_rows : Tensor or None
        What takes the place of S in X' = S' X where features are gated. Shape ``(N, K)``.
    hard : bool
        Whether each column is a cluster of its own, so that ``columns`` counts the clusters; if
        not, they are counted by the rank rule.
    losses : dict of str to Tensor
        Auxiliary losses, scalars.
    """

    rows: Tensor
    columns: Tensor
    feature_rows: Tensor | None
    hard: bool
    losses: dict[str, Tensor]


class AssignmentPooling(BaselinePooling):
    """Base class: X' = S' X, A' = S' A S, E' = S' E S with an assignment matrix S per graph.

    A subclass says how S follows from a batch in :meth:`assign`.
    """

    #: Whether A' keeps its diagonal, the edges inside a cluster.
    coarse_self_loops = True

    #: Whether A' is divided by the root of its degrees.
    normalise = False

    def assign(self, batch: GraphBatch) -> Shares:
        """S and the auxiliary losses."""
        raise NotImplementedError

    def transform(self, rows: Tensor) -> Tensor:
        """What is done to coarse features after S' X. Shape ``(..., D)``."""
        return rows

    def edges_to_pool(
        self, batch: GraphBatch, edge_feat: Tensor | None
    ) -> tuple[DGLGraph, Tensor, Tensor | None]:
        """The graph, A and E that are coarsened."""
        return batch.graph, batch.edge_weight, edge_feat

    def soft(self, batch: GraphBatch, rows: Tensor, losses: dict[str, Tensor]) -> Shares:
        """Shares where every graph that has nodes uses all columns."""
        columns = (batch.counts > 0).to(torch.int64) * rows.shape[1]
        return Shares(rows, columns, None, False, losses)

    def read(self, batch: GraphBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        shares, layout = self.assign(batch), batch.layout
        matrix = shares.rows if shares.feature_rows is None else shares.feature_rows
        out = batch.feat.new_zeros(len(batch), self.out_feats)
        weights = []
        for bucket, block, assign in zip(
            layout.buckets, layout.blocks(batch.feat), layout.blocks(matrix)
        ):
            columns = shares.columns[bucket.graphs]
            used = torch.arange(matrix.shape[1], device=columns.device) < columns[:, None]
            groups = self.transform(assign.mT @ block)
            used_rows = used[:, :, None].to(groups.dtype)
            values, each = [], []
            for part in AGGREGATES[self.aggregate]:
                if part == "max":
                    top = groups.masked_fill(~used[:, :, None], -torch.inf).max(1)
                    won = torch.nn.functional.one_hot(top.indices, groups.shape[1])
                    values.append(top.values)
                    each.append(won.to(groups.dtype).mean(1))
                else:
                    count = columns[:, None] if part == "mean" else 1
                    each.append(used_rows[:, :, 0] / count)
                    values.append((each[-1][:, None, :] @ groups).squeeze(1))
            out = out.index_copy(0, bucket.graphs, torch.cat(values, 1))
            share = torch.stack(each).mean(0)
            weights.append((assign @ share[:, :, None]).squeeze(-1))
        weight = layout.rows(weights) if weights else out.new_zeros(0)
        return out, weight, shares.losses

    def pool(self, batch: GraphBatch, edge_feat: Tensor | None, dtype: torch.dtype) -> PooledGraph:
        shares, layout = self.assign(batch), batch.layout
        blocks = layout.blocks(shares.rows)
        columns = [shares.columns[bucket.graphs] for bucket in layout.buckets]
        pairs = list(zip(blocks, columns))
        graph, weight, edge_feat = self.edges_to_pool(batch, edge_feat)
        coarse_graph, feat, coarse_weight, coarse_edge_feat, coarse = coarsen(
            graph,
            layout,
            pairs,
            batch.feat,
            edge_weight=weight,
            edge_feat=edge_feat,
            edge_tol=EDGE_TOLERANCE,
        )
        if shares.feature_rows is not None and blocks:
            gated = zip(layout.blocks(shares.feature_rows), layout.blocks(batch.feat))
            feat = coarse.rows([assign.mT @ block for assign, block in gated])
        if not self.coarse_self_loops:
            coarse_graph, kept = without_self_loops(coarse_graph, feat.device)
            coarse_weight = coarse_weight[kept]
            coarse_edge_feat = None if coarse_edge_feat is None else coarse_edge_feat[kept]
        if self.normalise:
            coarse_weight = normalise_edge_weight(coarse_graph, coarse_weight)
        return PooledGraph(
            graph=coarse_graph,
            feat=self.transform(feat).to(dtype),
            edge_weight=coarse_weight.to(dtype),
            edge_feat=None if coarse_edge_feat is None else coarse_edge_feat.to(dtype),
            _lift=lambda rows: lift(layout, coarse, pairs, rows),
            _count=lambda: self._count(batch, shares, blocks, dtype),
            losses=shares.losses,
        )

    @staticmethod
    def _count(
        batch: GraphBatch, shares: Shares, blocks: list[Tensor], dtype: torch.dtype
    ) -> Spectrum:
        """From the eigenvalues that S S' shares with S'S."""
        clusters = torch.zeros_like(batch.counts)
        rank = batch.feat.new_zeros(len(batch), dtype=torch.promote_types(dtype, torch.float32))
        for bucket, assign in zip(batch.layout.buckets, blocks):
            # In float32 the squares of small shares can be subnormal numbers, on which LAPACK's
            # iterations do not always converge.
            wide = assign.to(compute_dtype(assign.device))
            found = spectrum(torch.linalg.eigvalsh(wide.mT @ wide))
            clusters[bucket.graphs] = found.num_clusters
            rank[bucket.graphs] = found.effective_rank.to(rank.dtype)
        clusters = shares.columns if shares.hard else clusters
        return Spectrum(clusters, rank, torch.zeros_like(rank))


def without_self_loops(graph: DGLGraph, device: torch.device) -> tuple[DGLGraph, Tensor]:
    """A batch without its self-loops, and which edges are left, int64 on ``device``."""
    source, destination = graph.edges()
    kept = (source != destination).nonzero().squeeze(1)
    owner = torch.repeat_interleave(graph.batch_num_edges().to(torch.int64))
    counts = torch.bincount(owner[kept], minlength=graph.batch_size)
    out = batched_graph(
        source[kept], destination[kept], graph.batch_num_nodes(), counts, like=graph
    )
    return out, kept.to(device)
