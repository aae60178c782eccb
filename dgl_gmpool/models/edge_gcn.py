"""DGL-LifeSci's GCN, with messages that see the bond they travel along."""

from __future__ import annotations

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._options import check_choice, positive_int, probability
from dgl_gmpool.models.dmpnn import Exchange
from dgl_gmpool.nn.norm import RowNorm

#: How the features of an edge enter its message.
EDGE_MESSAGES = ("add", "scale")


class EdgeGCN(nn.Module):
    r"""Layers of dgllife's ``GCN``, each with the edge features in its messages.

    .. math::
        x_i' = \mathrm{BN}(\mathrm{ReLU}(b + \sum_{j \in N(i)} a_{ji} m_{ji})
            + \mathrm{ReLU}(R x_i + c))

    with :math:`m_{ji} = \mathrm{ReLU}(W x_j + U e_{ji})` (``"add"``, as Hu et al., "Strategies for
    Pre-training Graph Neural Networks", 2020, have it) or :math:`2 \sigma(U e_{ji}) \odot W x_j`
    (``"scale"``, which starts as dgllife's own layer). :math:`a_{ji}` is the edge weight, 1 by
    default. Dropout precedes the normalisation, as in dgllife.

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
    edges : str, optional
        ``"add"`` (default) or ``"scale"``.

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
        edges: str = "add",
    ) -> None:
        super().__init__()
        self.edges = check_choice("edges", edges, EDGE_MESSAGES)
        self.num_layers = positive_int("num_layers", num_layers)
        self.out_feats = positive_int("hidden_feats", hidden_feats)
        positive_int("edge_in_feats", edge_in_feats)
        widths = [positive_int("node_in_feats", node_in_feats)] + [hidden_feats] * (num_layers - 1)
        self.of_nodes = nn.ModuleList(nn.Linear(width, hidden_feats, bias=False) for width in widths)
        self.of_edges = nn.ModuleList(
            nn.Linear(edge_in_feats, hidden_feats, bias=False) for _ in widths
        )
        self.bias = nn.Parameter(torch.empty(num_layers, hidden_feats))
        self.residual = nn.ModuleList(nn.Linear(width, hidden_feats) for width in widths)
        self.step_norms = nn.ModuleList(RowNorm(hidden_feats) for _ in widths)
        self.dropout = nn.Dropout(probability("dropout", dropout))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial parameters."""
        for layers in (self.of_nodes, self.of_edges, self.residual, self.step_norms):
            for layer in layers:
                layer.reset_parameters()
        for layer in self.of_nodes:
            nn.init.xavier_uniform_(layer.weight)
        if self.edges == "scale":
            for layer in self.of_edges:
                nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.bias)

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
        source, destination = (ids.to(node_feats.device, torch.int64) for ids in graph.edges())
        for step in range(self.num_layers):
            sent = self.of_nodes[step](node_feats).index_select(0, source)
            of_edge = self.of_edges[step](edge_feats)
            message = torch.relu(sent + of_edge) if self.edges == "add" else (
                2 * torch.sigmoid(of_edge) * sent
            )
            if edge_weight is not None:
                message = message * edge_weight.reshape(-1, 1).to(message.dtype)
            arriving = self.bias[step].expand(len(node_feats), -1)
            arriving = arriving.index_add(0, destination, message)
            own = torch.relu(self.residual[step](node_feats))
            node_feats = self.step_norms[step](self.dropout(torch.relu(arriving) + own))
            if exchange is not None:
                node_feats = exchange(step, node_feats)
        return node_feats

    def extra_repr(self) -> str:
        return f"num_layers={self.num_layers}, edges={self.edges!r}"
