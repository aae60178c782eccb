"""A readout and the layers that predict from it, in one module."""

from __future__ import annotations

from collections.abc import Callable

from dgl import DGLGraph
from torch import Tensor, nn


class PooledHead(nn.Module):
    """Pool first, then predict from the pooled vector.

    dgllife's PAGTN, MGCN and SchNet predict on every atom and add up, all inside their readout.
    This takes its place: ``out_project(activation(in_project(pool(graph, feat))))``.

    Parameters
    ----------
    pool : torch.nn.Module
        The readout, with ``in_feats`` and ``out_feats``.
    in_project : torch.nn.Linear
        Takes ``pool.out_feats``.
    activation : callable
        Between the two layers.
    out_project : torch.nn.Linear
        Makes the predictions.
    """

    def __init__(
        self,
        pool: nn.Module,
        in_project: nn.Linear,
        activation: Callable[[Tensor], Tensor],
        out_project: nn.Linear,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.in_project = in_project
        self.activation = activation
        self.out_project = out_project

    def forward(
        self, graph: DGLGraph, feat: Tensor, get_node_weight: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Predictions ``(B, n_tasks)``, and the pool's node weights if asked for."""
        if not get_node_weight:
            return self._predict(self.pool(graph, feat))
        vector, weights = self.pool(graph, feat, True)
        return self._predict(vector), weights

    def _predict(self, vector: Tensor) -> Tensor:
        return self.out_project(self.activation(self.in_project(vector)))
