"""DGL-LifeSci's GCN, with messages that see the bond they travel along."""

from __future__ import annotations

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._options import positive_int, probability
from dgl_gmpool.models.dmpnn import Exchange
from dgl_gmpool.nn.norm import RowNorm
from dgl_gmpool.nn.structure import edge_ends


class EdgeGCN(nn.Module):
    r"""Layers of dgllife's ``GCN``, each with the edge features in its messages.

    .. math::
        x_i' = \mathrm{BN}\Big(\mathrm{ReLU}\big(b + \sum_{j \in N(i)} a_{ji}
            \mathrm{ReLU}(W x_j + U e_{ji})\big) + \mathrm{ReLU}(R x_i + c)\Big)

    after Hu et al., "Strategies for Pre-training Graph Neural Networks" (ICLR 2020).
    :math:`a_{ji}` is the edge weight, 1 by default. Dropout precedes the normalisation, as in
    dgllife.

    Parameters
    ----------
    node_in_feats, edge_in_feats : int
        Widths of the node and edge features; both at least 1.
    hidden_feats : int, optional
        Width of all layers. Default 200.
    num_layers : int, optional
        Default 3.
    dropout : float, optional
        Default 0.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1]))
    >>> EdgeGCN(8, 4, hidden_feats=16)(g, torch.randn(3, 8), torch.randn(4, 4)).shape
    torch.Size([3, 16])
    """

    def __init__(
        self,
        node_in_feats: int,
        edge_in_feats: int,
        *,
        hidden_feats: int = 200,
        num_layers: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.out_feats = positive_int("hidden_feats", hidden_feats)
        widths = [positive_int("node_in_feats", node_in_feats)]
        widths += [hidden_feats] * (positive_int("num_layers", num_layers) - 1)
        positive_int("edge_in_feats", edge_in_feats)
        self.layers = nn.ModuleList(_Layer(each, edge_in_feats, hidden_feats) for each in widths)
        self.step_norms = nn.ModuleList(RowNorm(hidden_feats) for _ in widths)
        self.dropout = nn.Dropout(probability("dropout", dropout))

    def reset_parameters(self) -> None:
        """Draw new initial parameters."""
        for each in (*self.layers, *self.step_norms):
            each.reset_parameters()

    def forward(
        self,
        graph: DGLGraph,
        node_feats: Tensor,
        edge_feats: Tensor,
        *,
        edge_weight: Tensor | None = None,
        exchange: Exchange | None = None,
    ) -> Tensor:
        """Node states ``(N, hidden_feats)``.

        Parameters
        ----------
        graph : DGLGraph
            Any graph or batch.
        node_feats : Tensor
            Shape ``(N, node_in_feats)``.
        edge_feats : Tensor
            Shape ``(E, edge_in_feats)``.
        edge_weight : Tensor, optional
            One weight per edge, for coarsened graphs. Shape ``(E,)``.
        exchange : callable, optional
            ``exchange(step, values)`` changes the node states after each layer.
        """
        ends = [ids.to(node_feats.device, torch.int64) for ids in edge_ends(graph)]
        if edge_weight is not None:
            edge_weight = edge_weight.reshape(-1, 1).to(node_feats.dtype)
        for step, (layer, norm) in enumerate(zip(self.layers, self.step_norms)):
            node_feats = norm(self.dropout(layer(*ends, node_feats, edge_feats, edge_weight)))
            if exchange is not None:
                node_feats = exchange(step, node_feats)
        return node_feats


class _Layer(nn.Module):
    """One layer, before dropout and normalisation."""

    def __init__(self, node_in_feats: int, edge_in_feats: int, out_feats: int) -> None:
        super().__init__()
        self.of_node = nn.Linear(node_in_feats, out_feats, bias=False)
        self.of_edge = nn.Linear(edge_in_feats, out_feats, bias=False)
        self.residual = nn.Linear(node_in_feats, out_feats)
        self.bias = nn.Parameter(torch.zeros(out_feats))

    def reset_parameters(self) -> None:
        for layer in (self.of_node, self.of_edge, self.residual):
            layer.reset_parameters()
        nn.init.zeros_(self.bias)

    def forward(
        self,
        source: Tensor,
        destination: Tensor,
        feat: Tensor,
        edge_feat: Tensor,
        edge_weight: Tensor | None,
    ) -> Tensor:
        sent = self.of_node(feat).index_select(0, source)
        message = torch.relu(sent + self.of_edge(edge_feat))
        if edge_weight is not None:
            message = message * edge_weight
        arriving = torch.zeros_like(feat[:, :1]) + self.bias
        # Under autocast the linear layers are in half precision, and a sum is not.
        arriving = arriving.index_add(0, destination, message.to(arriving.dtype))
        return torch.relu(arriving) + torch.relu(self.residual(feat))
