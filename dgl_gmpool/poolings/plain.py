"""Mean, sum and max over the nodes of each graph, alone or two: the readouts without pooling."""

from __future__ import annotations

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._options import check_choice, positive_int
from dgl_gmpool.nn.dense_pooling import AGGREGATES
from dgl_gmpool.nn.graph_batch import check_features, node_counts


class SegmentReadout(nn.Module):
    """Mean, sum or max of the node features of each graph.

    As ``dgl.nn.AvgPooling``, ``SumPooling`` and ``MaxPooling``, but computed from node counts with
    torch alone, so it runs in any floating dtype and on a GPU next to a CPU-only DGL. A graph
    without nodes gives zeros.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    aggregate : str, optional
        ``"mean"`` (default), ``"sum"``, ``"max"``, or ``"mean_and_max"``, which is twice as wide.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.batch([dgl.graph(([0], [1])), dgl.graph(([], []), num_nodes=1)])
    >>> SegmentReadout(2)(g, torch.tensor([[1., 2], [3, 4], [5, 6]])).tolist()
    [[2.0, 3.0], [5.0, 6.0]]
    """

    def __init__(self, in_feats: int, *, aggregate: str = "mean") -> None:
        super().__init__()
        self.in_feats = positive_int("in_feats", in_feats)
        self.aggregate = check_choice("aggregate", aggregate, AGGREGATES)

    @property
    def out_feats(self) -> int:
        """Width of the readout: that of the node features, twice it for ``mean_and_max``."""
        return self.in_feats * len(AGGREGATES[self.aggregate])

    def reset_parameters(self) -> None:
        """Nothing to reset: the readout has no parameters."""

    def forward(
        self,
        graph: DGLGraph,
        feat: Tensor,
        get_node_weight: bool = False,
        *,
        batch_num_nodes: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """One vector per graph, ``(B, in_feats)``; arguments as for the poolings."""
        check_features(feat, self.in_feats, graph, batch_num_nodes)
        counts = node_counts(graph, feat, batch_num_nodes).to(feat.device)
        owner = torch.repeat_interleave(counts, output_size=feat.shape[0])
        wide = feat.float() if feat.dtype in (torch.float16, torch.bfloat16) else feat
        size = counts.clamp(min=1).to(wide.dtype)[:, None]
        parts, weights = [], []
        for part in AGGREGATES[self.aggregate]:
            out = wide.new_zeros(len(counts), feat.shape[1])
            if part == "max":
                index = owner[:, None].expand_as(wide)
                out = out.scatter_reduce(0, index, wide, "amax", include_self=False)
                weights.append((wide == out[owner]).to(wide.dtype).mean(1))
            else:
                out = out.index_add(0, owner, wide)
                weights.append(wide.new_ones(len(owner)))
            if part == "mean":
                out, weights[-1] = out / size, (1 / size[:, 0])[owner]
            parts.append(out)
        out = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        out = out.to(feat.dtype)
        if not get_node_weight:
            return out
        weight = sum(weights[1:], weights[0]) / len(weights)
        return out, [weight[:, None].to(feat.dtype)]

    def extra_repr(self) -> str:
        return f"in_feats={self.in_feats}, aggregate={self.aggregate!r}"


class MeanReadout(SegmentReadout):
    """Mean of the node features of each graph, the paper's global average pooling."""

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats, aggregate="mean")


class SumReadout(SegmentReadout):
    """Sum of the node features of each graph."""

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats, aggregate="sum")


class MaxReadout(SegmentReadout):
    """Maximum of the node features of each graph, channel by channel."""

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats, aggregate="max")


class MeanAndMaxReadout(SegmentReadout):
    """The mean of the node features of each graph next to their maximum."""

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats, aggregate="mean_and_max")
