"""Directed message passing, eq. 1-4 (Yang et al., 2019)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from dgl import DGLGraph
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_gmpool._options import check_choice, positive_int, true_or_false
from dgl_gmpool.models.directed_messages import DirectedMessage, LessReverse, arriving_sum
from dgl_gmpool.models.inputs import check_inputs
from dgl_gmpool.models.relu_dropout import ReLUDropout
from dgl_gmpool.models.reverse_edges import reverse_edges
from dgl_gmpool.models.shared_states import Alike, Trees, may_share
from dgl_gmpool.nn.norm import RowNorm
from dgl_gmpool.nn.ragged import on_device
from dgl_gmpool.nn.structure import edge_ends

#: Called as ``exchange(step, values)``; changes node values between two steps of a network.
Exchange = Callable[[int, Tensor], Tensor]

#: What normalises the states of a layer before they are rectified.
NORMS = ("none", "batch")


class EdgeInit(nn.Linear):
    """W_i [x_i, e_ij], with the part of x_i computed once per node, not once per edge."""

    def forward(
        self, input: Tensor, edge_feats: Tensor | None = None, source: Tensor | None = None
    ) -> Tensor:
        """``(N, Dn)``, ``(E, De)`` and ``(E,)`` to ``(E, out_features)``; of one tensor, as any
        linear layer."""
        if edge_feats is None or source is None:
            return super().forward(input)
        of_node, of_edge = self.weight.split([input.shape[1], edge_feats.shape[1]], 1)
        return F.linear(input, of_node)[source] + F.linear(edge_feats, of_edge)


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

    #: Whether equal states are computed once where that can be
    #: (:func:`~dgl_gmpool.models.shared_states.sharing_states`).
    shares_states = False

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
        self.node_in_feats = positive_int("node_in_feats", node_in_feats)
        self.edge_in_feats = positive_int("edge_in_feats", edge_in_feats, least=0)
        self.hidden_feats = positive_int("hidden_feats", hidden_feats)
        self.num_steps = positive_int("num_steps", num_steps)
        self.edge_init = EdgeInit(node_in_feats + edge_in_feats, hidden_feats, bias=False)
        self.edge_update = nn.Linear(hidden_feats, hidden_feats, bias=False)
        self.node_update = nn.Linear(node_in_feats + hidden_feats, hidden_feats)
        self.activation = ReLUDropout(dropout)
        self.norm = check_choice("norm", norm or "none", NORMS)
        self.residual = true_or_false("residual", residual)
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
            On integer or misshapen features, double ones for a network that is not, missing edge
            features, and weights that do not match the edges.
        """
        edge_feats = check_inputs(
            graph,
            node_feats,
            edge_feats,
            node_in_feats=self.node_in_feats,
            edge_in_feats=self.edge_in_feats,
            network=self,
        )
        # Where the graph is: a graph in the memory of the host makes no GPU wait for the answer.
        source, destination = edge_ends(graph)
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
            if not isinstance(edge_weight, Tensor):
                raise TypeError(f"edge_weight is {type(edge_weight).__name__}; give a tensor")
            if edge_weight.numel() != graph.num_edges():
                raise ValueError(
                    f"edge_weight has shape {tuple(edge_weight.shape)}; expected one weight for "
                    f"each of the {graph.num_edges()} edges"
                )
            edge_weight = edge_weight.reshape(-1, 1).to(node_feats.dtype)
        trees = None
        if self.shares_states and may_share(self, node_feats) and edge_weight is None:
            own = reverse if mask is None else torch.where(mask[:, 0], reverse, -1)
            trees = Trees.of(node_feats, edge_feats, source, destination, own)
        done = 0
        if trees is None:
            initial = hidden = F.relu(self.edge_init(node_feats, edge_feats, source))
        else:
            # After an exchange every molecule's states are its own.
            done = self.num_steps if exchange is None else 1
            initial, states, kinds = self._of_trees(trees, node_feats, edge_feats, source, done)
            if exchange is None:
                nodes = trees.of_nodes(kinds)
                arriving = trees.to_nodes(states, kinds, nodes.first)
                out = self._of_nodes(node_feats[nodes.first], arriving)
                return out[nodes.kind], states[kinds.kind]
            initial, hidden = initial[trees.start.kind], states[kinds.kind]
        for step in range(done, self.num_steps):
            weighted = hidden if edge_weight is None else hidden * edge_weight
            if exchange is None or step == 0:
                message = DirectedMessage.apply(
                    weighted, source, destination, reverse, mask, graph.num_nodes()
                )
            else:
                arriving = exchange(
                    step - 1, arriving_sum(weighted, destination, graph.num_nodes())
                )
                message = LessReverse.apply(arriving, weighted, source, reverse, mask)
            hidden = self._updated(step, message, initial, hidden)
        weighted = hidden if edge_weight is None else hidden * edge_weight
        arriving = arriving_sum(weighted, destination, graph.num_nodes())
        if exchange is not None:
            arriving = exchange(self.num_steps - 1, arriving)
        return self._of_nodes(node_feats, arriving), hidden

    def _of_trees(
        self, trees: Trees, node_feats: Tensor, edge_feats: Tensor, source: Tensor, steps: int
    ) -> tuple[Tensor, Tensor, Alike]:
        """First states and those after some steps, each once; and which edges have the latter."""
        start = kinds = trees.start
        each = torch.arange(len(start.first))
        nodes = node_feats[source[start.first]]
        initial = states = F.relu(self.edge_init(nodes, edge_feats[start.first], each))
        for step in range(steps):
            before, kinds = kinds, trees.deeper(kinds)
            edges = kinds.first
            message = trees.to_edges(states, before, edges)
            own = initial[start.kind[edges]], states[before.kind[edges]]
            states = self._updated(step, message, *own)
        return initial, states, kinds

    def _updated(self, step: int, message: Tensor, initial: Tensor, hidden: Tensor) -> Tensor:
        """Eq. 2."""
        # Not in place: torch refuses that behind a layer with backward hooks.
        updated = self.edge_update(message) + initial
        if self.step_norms:
            updated = self.step_norms[step](updated)
        out: Tensor = self.activation(updated)
        return hidden + out if self.residual else out

    def _of_nodes(self, node_feats: Tensor, arriving: Tensor) -> Tensor:
        """Eq. 4."""
        nodes = self.node_update(torch.cat([node_feats, arriving], dim=1))
        out: Tensor = self.activation(self.node_norm(nodes))
        return out

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if type(self.edge_init) is nn.Linear:  # pickled whole before 0.7.1
            self.edge_init.__class__ = EdgeInit

    def extra_repr(self) -> str:
        return (
            f"node_in_feats={self.node_in_feats}, edge_in_feats={self.edge_in_feats}, "
            f"hidden_feats={self.hidden_feats}, num_steps={self.num_steps}"
            + (f", norm={self.norm!r}" if self.step_norms else "")
            + (", residual=True" if self.residual else "")
        )
