"""Sort pooling."""

from __future__ import annotations

import torch

from dgl_gmpool._options import positive_int
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.readout import Reading, Readout
from dgl_gmpool.nn.segments import tie_margin


class SortReadout(Readout):
    """The k nodes with the largest features, one after the other, zeros where there are fewer.

    Zhang et al., "An End-to-End Deep Learning Architecture for Graph Classification" (2018), as
    ``dgl.nn.SortPooling``: each node's features are sorted, then nodes are ordered by their
    largest feature. Nodes that tie there are ordered by the next one and so on (DGL leaves ties in
    the order of the atoms, so that it depends on their numbering). Nodes that are equal share the
    places left for them evenly in the nodes' weights.

    Parameters
    ----------
    in_feats : int
        Width D of the node features; the readout has width k D.
    k : int, optional
        Number of nodes to keep. Default 10.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.graph(([0, 1], [1, 2]))
    >>> SortReadout(2, k=2)(g, torch.tensor([[5., 1.], [2., 9.], [3., 4.]])).tolist()
    [[2.0, 9.0, 1.0, 5.0]]
    """

    def __init__(self, in_feats: int, *, k: int = 10) -> None:
        super().__init__(in_feats)
        self.k = positive_int("k", k)

    @property
    def out_feats(self) -> int:
        return self.k * self.in_feats

    def read(self, batch: GraphBatch) -> Reading:
        feat, segments = batch.feat, batch.segments
        values = feat.sort(dim=1).values
        # The rank of a row in lexicographic order, last column first; equal rows share a rank.
        _, rank = torch.unique(values.detach().flip(1), dim=0, return_inverse=True)
        nodes = values.shape[0]
        order = (segments.owner * nodes - rank).argsort(stable=True)
        start = segments.counts.cumsum(0) - segments.counts
        position = torch.arange(nodes, device=feat.device) - start[segments.owner]
        kept = position < self.k
        chosen = order[kept]
        slots = segments.owner[kept] * self.k + position[kept]
        rows = values.new_zeros(len(segments) * self.k, self.in_feats)
        out = rows.index_copy(0, slots, values.index_select(0, chosen))
        weight = feat.new_zeros(nodes, 1).index_fill(0, chosen, 1.0)
        # Of nodes equal to the last one kept, which are kept is a matter of their numbering.
        plain = values.detach()
        last = plain[order[start + segments.counts.clamp(max=self.k) - 1]]
        margin = segments.broadcast(tie_margin(segments.max(plain.abs())))
        equal = ((plain - segments.broadcast(last)).abs() <= margin).all(1, keepdim=True)
        share = segments.sum(weight * equal) / segments.sum(equal.to(weight.dtype)).clamp(min=1)
        weight = torch.where(equal, segments.broadcast(share), weight)
        return Reading(out.view(len(segments), self.out_feats), [weight])
