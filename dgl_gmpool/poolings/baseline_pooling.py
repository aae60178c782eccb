"""What all baselines share: both faces, checks, dtypes, auxiliary losses."""

from __future__ import annotations

from typing import Any

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._options import check_choice, positive_int
from dgl_gmpool.nn.dense_pooling import AGGREGATES, check_edges
from dgl_gmpool.nn.pooled_graph import PooledGraph
from dgl_gmpool.poolings.graph_batch import GraphBatch


class BaselinePooling(nn.Module):
    """Base class of the poolings that GMPool and NGMPool are compared with.

    A subclass implements :meth:`read` and :meth:`pool`. Computation is in the dtype of the
    parameters (float32 at least, whatever autocast is on), the result in that of the features. A
    graph without nodes has no coarse nodes, and its readout is zero.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    aggregate : str, optional
        How the readout reduces the coarse nodes: ``"mean"``, ``"sum"``, ``"max"``, or
        ``"mean_and_max"``, which is twice as wide.
    """

    #: Whether the pooling must neither follow nor precede another one.
    single_level = False

    def __init__(self, in_feats: int, *, aggregate: str) -> None:
        super().__init__()
        self.in_feats = positive_int("in_feats", in_feats)
        self.aggregate = check_choice("aggregate", aggregate, AGGREGATES)
        self._losses: dict[str, Tensor] = {}

    @property
    def out_feats(self) -> int:
        """Width of the readout: that of the node features, twice it for ``mean_and_max``."""
        return self.in_feats * len(AGGREGATES[self.aggregate])

    @property
    def losses(self) -> dict[str, Tensor]:
        """Auxiliary losses of the last call of either face: weighted scalars, finite.

        A trainer adds all of them to its own loss::

            loss = criterion(out, target) + sum(pool.losses.values())

        Each is the mean over the graphs (with nodes) of a number that depends on that graph
        alone, so neither the size of the batch nor its largest graph changes a graph's share.
        Empty for poolings without auxiliary losses.
        """
        return dict(self._losses)

    def reset_parameters(self) -> None:
        """Draw new initial parameters."""
        for module in self.modules():
            reset = getattr(module, "reset_parameters", None)
            if module is not self and callable(reset):
                reset()

    def read(self, batch: GraphBatch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Readout ``(B, out_feats)``, node weights ``(N,)`` and losses."""
        raise NotImplementedError

    def pool(self, batch: GraphBatch, edge_feat: Tensor | None, dtype: torch.dtype) -> PooledGraph:
        """The coarsened batch, its floating-point numbers in ``dtype``."""
        raise NotImplementedError

    def forward(
        self,
        graph: DGLGraph,
        feat: Tensor,
        get_node_weight: bool = False,
        *,
        edge_weight: Tensor | None = None,
        batch_num_nodes: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """One vector per graph: mean, sum or maximum of its coarse nodes.

        Parameters
        ----------
        graph : DGLGraph
            A graph or a batch of graphs.
        feat : Tensor
            Node features. Shape ``(N, in_feats)``, floating point.
        get_node_weight : bool, optional
            Also return what each node contributes, as ``dgllife``'s AttentiveFP readout does.
        edge_weight : Tensor, optional
            The entries of A, one per edge. Shape ``(E,)``. Default: ones.
        batch_num_nodes : Tensor, optional
            Node counts of the graphs, where ``graph`` has lost them. Shape ``(B,)``.

        Returns
        -------
        Tensor
            Shape ``(B, out_feats)``; zeros for a graph without nodes. dtype of ``feat``.
        list of Tensor
            With ``get_node_weight``: one tensor ``(N, 1)``: how much of the node is in the coarse
            nodes, each of them weighted as the readout weights it.

        Raises
        ------
        TypeError, ValueError
            On integer, misshapen or non-finite features, and on batch information that does not
            fit the graph.
        """
        batch = self._batch(graph, feat, edge_weight, batch_num_nodes)
        with torch.autocast(feat.device.type, enabled=False):
            out, weight, losses = self.read(batch)
        self._losses = losses
        out = out.to(feat.dtype)
        return (out, [weight[:, None].to(feat.dtype)]) if get_node_weight else out

    def coarsen(
        self,
        graph: DGLGraph,
        feat: Tensor,
        edge_feat: Tensor | None = None,
        *,
        edge_weight: Tensor | None = None,
        batch_num_nodes: Tensor | None = None,
    ) -> PooledGraph:
        """The coarsened batch.

        Parameters
        ----------
        graph, feat, edge_weight, batch_num_nodes
            As in :meth:`forward`.
        edge_feat : Tensor, optional
            E, one row per edge, any number of channels. Shape ``(E, De)``.

        Returns
        -------
        PooledGraph
            With batch information set, so that any ``dgl.nn`` layer runs on it. Its ``losses``
            are :attr:`losses`.
        """
        batch = self._batch(graph, feat, edge_weight, batch_num_nodes)
        edge_feat = check_edges("edge_feat", edge_feat, graph, dims=2)
        if edge_feat is not None:
            edge_feat = edge_feat.to(feat.device, batch.feat.dtype)
        with torch.autocast(feat.device.type, enabled=False):
            pooled = self.pool(batch, edge_feat, feat.dtype)
        self._losses = pooled.losses
        # Read by poolings that must not be stacked.
        pooled.graph.pooled_by = type(self).__name__
        pooled.graph.pooled_single_level = False
        return pooled

    def extra_repr(self) -> str:
        return f"in_feats={self.in_feats}, aggregate={self.aggregate!r}"

    def _batch(
        self,
        graph: DGLGraph,
        feat: Tensor,
        edge_weight: Tensor | None,
        batch_num_nodes: Tensor | None,
    ) -> GraphBatch:
        dtype = next(
            (parameter.dtype for parameter in self.parameters()),
            torch.promote_types(feat.dtype, torch.float32) if isinstance(feat, Tensor) else None,
        )
        return GraphBatch(
            graph,
            feat,
            width=self.in_feats,
            dtype=dtype,
            edge_weight=edge_weight,
            batch_num_nodes=batch_num_nodes,
        )

    def __getstate__(self) -> dict[str, Any]:
        # Losses hold the last call's autograd graph, which can be neither copied nor pickled.
        return {**self.__dict__, "_losses": {}}


def mean_over_graphs(parts: list[Tensor], like: Tensor) -> Tensor:
    """Mean of one number per graph, given in pieces; 0 where there is no graph."""
    values = torch.cat([like.new_zeros(0), *parts])
    return values.sum() / max(len(values), 1)


def check_weight(name: str, value: float) -> float:
    """Return the weight of a loss if it is a number >= 0."""
    if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError(f"{name} is {value!r}; give a number >= 0 (0 leaves the loss out)")
    return float(value)
