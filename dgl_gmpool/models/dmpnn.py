"""Directed message passing, eq. 1-4 (Yang et al., 2019)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from dgl import DGLGraph
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_gmpool._options import check_choice
from dgl_gmpool.models.inputs import check_inputs
from dgl_gmpool.models.relu_dropout import ReLUDropout
from dgl_gmpool.models.reverse_edges import reverse_edges
from dgl_gmpool.nn.norm import RowNorm
from dgl_gmpool.nn.ragged import on_device

#: Called as ``exchange(step, values)``; changes node values between two steps of a network.
Exchange = Callable[[int, Tensor], Tensor]

#: What normalises the states of a layer before they are rectified.
NORMS = ("none", "batch")


class DMPNN(nn.Module):
    r"""Directed message passing neural network on any DGLGraph.

    Every directed edge i -> j has a state, which starts from its source node and its own features
    and gathers the states of the edges that arrive at i, save for its own reverse:

    .. math::
        h^0_{ij} &= \mathrm{ReLU}(W_i [x_i, e_{ij}]) \\
        m^{t+1}_{ij} &= \sum_{k \in N(i), k \ne j} a_{ki} h^t_{ki} && \text{(eq. 1)} \\
        h^{t+1}_{ij} &= \mathrm{ReLU}(h^0_{ij} + W_e m^{t+1}_{ij}) && \text{(eq. 2)} \\
        m_i &= \sum_{k \in N(i)} a_{ki} h^T_{ki} && \text{(eq. 3)} \\
        h_i &= \mathrm{ReLU}(W_n [x_i, m_i]) && \text{(eq. 4)}

    of Ko et al. (AAAI 2023), after Yang et al., "Analyzing Learned Molecular Representations for
    Property Prediction" (JCIM 2019). :math:`a_{ki}` is the edge weight, 1 by default. Dropout
    follows each edge update and the node states. Nodes sum the edges that arrive, as Yang et al.
    do and eq. 1 does; on a graph where every edge has its reverse, the order of the indices in
    eq. 3 is a matter of notation.

    Reverse edges come from the edges, not from their order: an edge without a reverse excludes
    nothing, and a self-loop is nobody's reverse.

    Parameters
    ----------
    node_in_feats : int
        Width of the node features.
    edge_in_feats : int
        Width of the edge features; 0 for graphs without any.
    hidden_feats : int, optional
        Width of all states. Default 200.
    num_steps : int, optional
        T, the number of edge updates (eq. 1-2). Default 3.
    dropout : float, optional
        Default 0.15.
    norm : str or None, optional
        ``"batch"``: a batch normalisation (:class:`~dgl_gmpool.nn.norm.RowNorm`) of the edges in
        each step, and of the nodes in the end, before they are rectified. ``"none"`` or None
        (default): the paper's.
    residual : bool, optional
        Each step adds to the state of an edge what it was before, in addition to eq. 2's first
        state. Default False, the paper's. (Norm and residual connections after Luo et al., "Can
        Classic GNNs Be Strong Baselines for Graph-level Tasks?", ICML 2025.)

    Examples
    --------
    >>> import dgl
    >>> g = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1]))
    >>> gnn = DMPNN(8, 4, hidden_feats=16)
    >>> nodes, edges = gnn(g, torch.randn(3, 8), torch.randn(4, 4))
    >>> nodes.shape, edges.shape
    (torch.Size([3, 16]), torch.Size([4, 16]))
    """

    def __init__(
        self,
        node_in_feats: int,
        edge_in_feats: int,
        *,
        hidden_feats: int = 200,
        num_steps: int = 3,
        dropout: float = 0.15,
        norm: str | None = "none",
        residual: bool = False,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("node_in_feats", node_in_feats, 1),
            ("edge_in_feats", edge_in_feats, 0),
            ("hidden_feats", hidden_feats, 1),
            ("num_steps", num_steps, 1),
        ):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}; give an integer >= {least}")
        self.node_in_feats = node_in_feats
        self.edge_in_feats = edge_in_feats
        self.hidden_feats = hidden_feats
        self.num_steps = num_steps
        self.edge_init = nn.Linear(node_in_feats + edge_in_feats, hidden_feats, bias=False)
        self.edge_update = nn.Linear(hidden_feats, hidden_feats, bias=False)
        self.node_update = nn.Linear(node_in_feats + hidden_feats, hidden_feats)
        self.activation = ReLUDropout(dropout)
        self.norm = check_choice("norm", norm or "none", NORMS)
        if not isinstance(residual, bool):
            raise ValueError(f"residual is {residual!r}; give True or False")
        self.residual = residual
        #: One for each step, in the order of a call, and that of the nodes; none without ``norm``.
        normed = self.norm == "batch"
        self.step_norms = nn.ModuleList(RowNorm(hidden_feats) for _ in range(num_steps * normed))
        self.node_norm = RowNorm(hidden_feats) if normed else nn.Identity()

    @property
    def out_feats(self) -> int:
        """Width of node and edge states."""
        return self.hidden_feats

    def reset_parameters(self) -> None:
        """Draw new initial parameters."""
        layers = (self.edge_init, self.edge_update, self.node_update)
        for layer in (*layers, *self.step_norms, self.node_norm):
            if not isinstance(layer, nn.Identity):
                layer.reset_parameters()

    def forward(
        self,
        graph: DGLGraph,
        node_feats: Tensor,
        edge_feats: Tensor | None = None,
        *,
        edge_weight: Tensor | None = None,
        exchange: Exchange | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Node and edge states.

        Parameters
        ----------
        graph : DGLGraph
            Any graph or batch; undirected bonds as two directed edges.
        node_feats : Tensor
            X. Shape ``(N, node_in_feats)``.
        edge_feats : Tensor, optional
            E, one row per directed edge. Shape ``(E, edge_in_feats)``. May be left out only where
            ``edge_in_feats`` is 0 or the graph has no edges.
        edge_weight : Tensor, optional
            One weight per edge, for coarsened graphs. Shape ``(E,)``.
        exchange : callable, optional
            ``exchange(step, values)`` changes what arrives at the nodes, ``(N, hidden_feats)``, in
            each step but the first, and in the end: ``num_steps`` times.

        Returns
        -------
        tuple of Tensor
            Node states ``(N, hidden_feats)`` and edge states ``(E, hidden_feats)``.

        Raises
        ------
        TypeError, ValueError
            On integer or misshapen features, missing edge features, and weights that do not
            match the edges.
        """
        edge_feats = check_inputs(
            graph,
            node_feats,
            edge_feats,
            node_in_feats=self.node_in_feats,
            edge_in_feats=self.edge_in_feats,
        )
        # Where the graph is: a graph in the memory of the host makes no GPU wait for the answer.
        source, destination = graph.edges()
        reverse = reverse_edges(source, destination, graph.num_nodes())
        has_reverse = reverse >= 0
        # Most molecular graphs have all their reverses; then no mask is needed in any step.
        device = node_feats.device
        mask = None if bool(has_reverse.all()) else has_reverse[:, None].to(device)
        ends = (source, destination, reverse.clamp(min=0))
        if source.device.type == "cpu" != device.type:
            source, destination, reverse = on_device([each.numpy() for each in ends], device)
        else:
            source, destination, reverse = (each.to(device, torch.int64) for each in ends)
        if edge_weight is not None:
            if edge_weight.numel() != graph.num_edges():
                raise ValueError(
                    f"edge_weight has shape {tuple(edge_weight.shape)}; expected one weight for "
                    f"each of the {graph.num_edges()} edges"
                )
            edge_weight = edge_weight.reshape(-1, 1).to(node_feats.dtype)
        initial = F.relu(self._initial(node_feats, edge_feats, source))
        hidden = initial
        for step in range(self.num_steps):
            weighted = hidden if edge_weight is None else hidden * edge_weight
            if exchange is None or step == 0:
                message = _DirectedMessage.apply(
                    weighted, source, destination, reverse, mask, graph.num_nodes()
                )
            else:
                arriving = exchange(step - 1, _sum(weighted, destination, graph.num_nodes()))
                message = _LessReverse.apply(arriving, weighted, source, reverse, mask)
            updated = initial + self.edge_update(message)
            if self.step_norms:
                updated = self.step_norms[step](updated)
            updated = self.activation(updated)
            hidden = hidden + updated if self.residual else updated
        weighted = hidden if edge_weight is None else hidden * edge_weight
        arriving = _sum(weighted, destination, graph.num_nodes())
        if exchange is not None:
            arriving = exchange(self.num_steps - 1, arriving)
        nodes = self.node_update(torch.cat([node_feats, arriving], dim=1))
        return self.activation(self.node_norm(nodes)), hidden

    def _initial(self, node_feats: Tensor, edge_feats: Tensor, source: Tensor) -> Tensor:
        """W_i [x_i, e_ij], with the part of x_i computed once per node, not once per edge."""
        of_node, of_edge = self.edge_init.weight.split([self.node_in_feats, self.edge_in_feats], 1)
        return F.linear(node_feats, of_node)[source] + F.linear(edge_feats, of_edge)

    def extra_repr(self) -> str:
        return (
            f"node_in_feats={self.node_in_feats}, edge_in_feats={self.edge_in_feats}, "
            f"hidden_feats={self.hidden_feats}, num_steps={self.num_steps}"
            + (f", norm={self.norm!r}" if self.step_norms else "")
            + (", residual=True" if self.residual else "")
        )


def _sum(hidden: Tensor, destination: Tensor, num_nodes: int) -> Tensor:
    """:func:`_arriving`, for autograd."""
    return hidden.new_zeros(num_nodes, hidden.shape[1]).index_add(0, destination, hidden)


def _arriving(hidden: Tensor, destination: Tensor, num_nodes: int) -> Tensor:
    """Sum of the edge states that arrive at each node (eq. 3)."""
    return hidden.new_zeros(num_nodes, hidden.shape[1]).index_add_(0, destination, hidden)


class _DirectedMessage(torch.autograd.Function):
    """m_ij = sum of h_ki over k in N(i), save for k = j (eq. 1).

    Written out because "the reverse of" is an involution: its gradient gathers where that of a
    general index would scatter.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        source: Tensor,
        destination: Tensor,
        reverse: Tensor,
        mask: Tensor | None,
        num_nodes: int,
    ) -> Tensor:
        ctx.save_for_backward(source, destination, reverse, mask)
        ctx.num_nodes = num_nodes
        arriving = _arriving(hidden, destination, num_nodes)
        return arriving.index_select(0, source).sub_(_of_reverse(hidden, reverse, mask))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        source, destination, reverse, mask = ctx.saved_tensors
        leaving = _arriving(grad, source, ctx.num_nodes)
        grad_hidden = leaving.index_select(0, destination) - _of_reverse(grad, reverse, mask)
        return grad_hidden, None, None, None, None, None


class _LessReverse(torch.autograd.Function):
    """What has arrived at the source of each edge, less the state of the edge's reverse."""

    @staticmethod
    def forward(
        ctx: Any,
        arriving: Tensor,
        hidden: Tensor,
        source: Tensor,
        reverse: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(source, reverse, mask)
        ctx.num_nodes = len(arriving)
        return arriving.index_select(0, source).sub_(_of_reverse(hidden, reverse, mask))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        source, reverse, mask = ctx.saved_tensors
        return (
            _arriving(grad, source, ctx.num_nodes),
            _of_reverse(grad, reverse, mask).neg_(),
            None,
            None,
            None,
        )


def _of_reverse(hidden: Tensor, reverse: Tensor, mask: Tensor | None) -> Tensor:
    """The state of each edge's reverse, zero for edges without one."""
    own = hidden.index_select(0, reverse)
    return own if mask is None else own * mask
