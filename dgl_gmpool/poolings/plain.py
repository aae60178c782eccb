"""Mean, sum and max over the nodes of each graph: the readouts without pooling."""

from __future__ import annotations

from dgl_gmpool._options import check_choice
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.readout import Reading, Readout
from dgl_gmpool.nn.segments import AGGREGATES, reduce


class PlainReadout(Readout):
    """Mean, sum or max of the node features of each graph.

    As ``dgl.nn.AvgPooling``, ``SumPooling`` and ``MaxPooling``, but computed from node counts with
    torch alone, so it runs in any floating dtype and on a GPU next to a CPU-only DGL. A graph
    without nodes gives zeros.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    aggregate : str, optional
        ``"mean"`` (default), ``"sum"``, ``"max"``, ``"mean_and_max"`` or ``"mean_max_and_sum"``,
        which are two and three times as wide.

    Examples
    --------
    >>> import dgl, torch
    >>> g = dgl.batch([dgl.graph(([0], [1])), dgl.graph(([], []), num_nodes=1)])
    >>> PlainReadout(2)(g, torch.tensor([[1., 2], [3, 4], [5, 6]])).tolist()
    [[2.0, 3.0], [5.0, 6.0]]
    """

    shown = ("in_feats", "aggregate")

    def __init__(self, in_feats: int, *, aggregate: str = "mean") -> None:
        super().__init__(in_feats)
        self.aggregate = check_choice("aggregate", aggregate, AGGREGATES)

    @property
    def out_feats(self) -> int:
        return self.in_feats * len(AGGREGATES[self.aggregate])

    def read(self, batch: GraphBatch) -> Reading:
        out, weight = reduce(batch.feat, batch.segments, self.aggregate)
        return Reading(out, [weight[:, None]])


class MeanReadout(PlainReadout):
    """Mean of the node features of each graph, the paper's global average pooling."""

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats, aggregate="mean")


class SumReadout(PlainReadout):
    """Sum of the node features of each graph."""

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats, aggregate="sum")


class MaxReadout(PlainReadout):
    """Maximum of the node features of each graph, channel by channel."""

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats, aggregate="max")


class MeanAndMaxReadout(PlainReadout):
    """The mean of the node features of each graph next to their maximum."""

    def __init__(self, in_feats: int) -> None:
        super().__init__(in_feats, aggregate="mean_and_max")
