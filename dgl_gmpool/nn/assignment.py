"""Assignment matrices S of a batch, one result for every pooling that has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.counting import Spectrum, eigvalsh, soft_count, soft_count_of_root, spectrum
from dgl_gmpool.nn.distance import compute_dtype
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.nn.segments import AGGREGATES, tie_margin


@dataclass(frozen=True)
class Assignment:
    """Assignment matrices of a batch, bucket by bucket.

    Attributes
    ----------
    blocks : list of Tensor
        S, zeros in padded rows and in columns that a graph does not use. Shapes ``(b, w, K)``.
    columns : list of Tensor
        How many columns each graph uses. Shapes ``(b,)``, int64.
    feature_blocks : list of Tensor or None
        What takes the place of S in X' = S' X where features are gated.
    matrices : list of Tensor or None
        M, whose eigenvalues count the groups. Shapes ``(b, w, w)``. None: S S' stands for it.
    eigenvalues : list of Tensor or None
        Those of M, where they are known already. Shapes ``(b, w)``.
    num_clusters : list of Tensor or None
        The number of clusters where the pooling decides it; None: by the eigenvalues. ``(b,)``.
    scale : list of Tensor or None
        The diagonal of D, zero in padding, where S S' stands for D M D and M has a unit diagonal.
        Shapes ``(b, w)``.
    losses : dict of str to Tensor
        Auxiliary losses: weighted scalars.
    """

    blocks: list[Tensor]
    columns: list[Tensor]
    feature_blocks: list[Tensor] | None = None
    matrices: list[Tensor] | None = None
    eigenvalues: list[Tensor] | None = None
    num_clusters: list[Tensor] | None = None
    scale: list[Tensor] | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def from_rows(
        layout: RaggedLayout,
        rows: Tensor,
        *,
        columns: Tensor | None = None,
        feature_rows: Tensor | None = None,
        losses: dict[str, Tensor] | None = None,
    ) -> Assignment:
        """From one row per node.

        Parameters
        ----------
        layout : RaggedLayout
            The buckets of the batch.
        rows : Tensor
            S. Shape ``(N, K)``.
        columns : Tensor, optional
            How many columns, each a cluster of its own, a graph uses. Shape ``(B,)``, int64.
            Default: every graph uses all, and its clusters are counted by the eigenvalues.
        feature_rows : Tensor, optional
            What takes the place of S in X' = S' X. Shape ``(N, K)``.
        losses : dict of str to Tensor, optional
        """
        if columns is None:
            of_buckets = [torch.full_like(bucket.sizes, rows.shape[1]) for bucket in layout.buckets]
        else:
            of_buckets = [columns[bucket.graphs] for bucket in layout.buckets]
        return Assignment(
            layout.blocks(rows),
            of_buckets,
            feature_blocks=None if feature_rows is None else layout.blocks(feature_rows),
            num_clusters=None if columns is None else of_buckets,
            losses=losses or {},
        )

    def detach(self) -> Assignment:
        """The same without gradients, and without M where its eigenvalues are known."""

        def plain(tensors: list[Tensor] | None) -> list[Tensor] | None:
            return None if tensors is None else [each.detach() for each in tensors]

        return replace(
            self,
            blocks=[each.detach() for each in self.blocks],
            feature_blocks=plain(self.feature_blocks),
            matrices=plain(self.matrices),
            losses={},
        )

    @torch.no_grad()
    def spectrum(self, layout: RaggedLayout, dtype: torch.dtype, device: torch.device) -> Spectrum:
        """Number of clusters and more of each graph, floating-point figures in this dtype."""
        clusters = torch.zeros(layout.batch_size, dtype=torch.int64, device=device)
        soft, rank, negative = torch.zeros(3, layout.batch_size, dtype=dtype, device=device)
        for index, bucket in enumerate(layout.buckets):
            # In float32 the squares of small shares can be subnormal numbers, on which LAPACK's
            # iterations do not always converge.
            trace: Tensor | None = None
            if self.matrices is not None:
                matrix = self.matrices[index]
                size = soft_count(matrix, bucket.mask)
                if self.eigenvalues is not None:
                    values = self.eigenvalues[index]
                else:
                    values = eigvalsh(matrix)
            else:
                block = self.blocks[index].to(compute_dtype(device))
                if self.scale is not None:
                    scale = self.scale[index][:, :, None]
                    block = torch.where(scale > 0, block / scale, 0)
                    # Of M, of which S may hold a part only.
                    trace = bucket.sizes.to(block.dtype)
                values = eigvalsh(block.mT @ block).clamp(min=0)
                size = soft_count_of_root(block)
            found = spectrum(values, bucket.sizes, size, trace)
            known = self.num_clusters
            clusters[bucket.graphs] = found.num_clusters if known is None else known[index]
            soft[bucket.graphs] = found.soft_count.to(dtype)
            rank[bucket.graphs] = found.effective_rank.to(dtype)
            negative[bucket.graphs] = found.negative_share.to(dtype)
        return Spectrum(clusters, soft, rank, negative)


def over_groups(
    batch: GraphBatch,
    assignment: Assignment,
    aggregate: str,
    transform: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Reduce the coarse nodes of each graph to one vector.

    Parameters
    ----------
    batch : GraphBatch
        Every graph has nodes.
    assignment : Assignment
        Their S.
    aggregate : str
        A key of :data:`~dgl_gmpool.nn.segments.AGGREGATES`.
    transform : callable, optional
        What is done to coarse features after S' X.

    Returns
    -------
    Tensor
        Shape ``(B, parts x D)``.
    Tensor
        For mean and sum without a transform, the readout is exactly the sum of the node features
        weighted with these. For the maximum each channel counts its winner's share, or those of the
        groups that tie, evenly; the parts of several are averaged. Shape ``(N,)``.
    """
    layout, dtype = batch.layout, batch.feat.dtype
    parts = AGGREGATES[aggregate]
    blocks = assignment.feature_blocks or assignment.blocks
    linear = "max" not in parts and transform is None
    outs, shares = [], []
    for block, feat, columns in zip(blocks, batch.blocks, assignment.columns):
        block = block.to(dtype)
        count = columns.clamp(min=1)[:, None].to(dtype)
        if linear:
            share = block.sum(-1)
            each = [share / count if part == "mean" else share for part in parts]
            outs.append(torch.cat([(row[:, None, :] @ feat)[:, 0] for row in each], 1))
            shares.append(torch.stack(each).mean(0))
            continue
        used = torch.arange(block.shape[2], device=columns.device) < columns[:, None]
        groups = block.mT @ feat
        if transform is not None:
            groups = transform(groups)
        values, won = [], []
        for part in parts:
            if part == "max":
                largest = groups.masked_fill(~used[:, :, None], -torch.inf).amax(1)
                values.append(largest)
                plain = groups.detach() * used[:, :, None]
                least = largest.detach() - tie_margin(plain.abs().amax(1))
                hits = ((plain >= least[:, None]) & used[:, :, None]).to(dtype)
                won.append((hits / hits.sum(1, keepdim=True).clamp(min=1)).mean(2))
            else:
                each_share = used.to(dtype) / (count if part == "mean" else 1)
                won.append(each_share)
                values.append((each_share[:, None, :] @ groups)[:, 0])
        outs.append(torch.cat(values, 1))
        shares.append((block @ torch.stack(won).mean(0)[:, :, None])[:, :, 0])
    out = batch.feat.new_zeros(len(batch), batch.feat.shape[1] * len(parts))
    graphs = torch.cat([bucket.graphs for bucket in layout.buckets])
    return out.index_copy(0, graphs, torch.cat(outs)), layout.rows(shares)


def per_graph(
    batch: GraphBatch, blocks: list[Tensor], columns: list[Tensor], dtype: torch.dtype
) -> list[Tensor]:
    """Blocks ``(b, w, K)`` as one tensor ``(n_b, columns)`` for each graph of the batch."""
    out = [batch.feat.new_zeros(0, 0, dtype=dtype) for _ in range(len(batch))]
    for bucket, block, used in zip(batch.layout.buckets, blocks, columns):
        sizes, widths = bucket.sizes.tolist(), used.tolist()
        for index, which in enumerate(bucket.graphs.tolist()):
            out[which] = block[index, : sizes[index], : widths[index]].to(dtype)
    return out
