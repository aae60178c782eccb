"""Graph neural networks by name, behind one call: node states, edge states, width."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._environment import import_dgllife
from dgl_gmpool._options import closest, true_or_false, unknown_name
from dgl_gmpool.models.dmpnn import DMPNN, Exchange
from dgl_gmpool.models.edge_gcn import EdgeGCN
from dgl_gmpool.models.gin import ATOM_CODES, BOND_CODES, GIN
from dgl_gmpool.nn.norm import RowNorm, row_norms

#: Where the atoms exchange with their groups: once, after the network, or after each of its layers.
EXCHANGE_PLACES = ("network", "layer")


class Backbone(nn.Module):
    """A graph neural network with a common face.

    Parameters
    ----------
    gnn : torch.nn.Module
        Called as ``gnn(graph, node_feats, edge_feats)``, or without ``edge_feats`` if
        ``takes_edges`` is false. Returns node states, or a pair of node and edge states.
    out_feats : int
        Width of the node states.
    takes_edges : bool, optional
        Whether it takes edge features.
    takes_weight : bool, optional
        Whether it takes ``edge_weight``. Where it does not, a coarse graph's weights go in as one
        more edge feature.
    edge_out_feats : int, optional
        Width of the edge states if it returns any.
    exchanges : int, optional
        Layers after each of which it can let nodes exchange: 1, at the end, for a network that
        cannot be looked into; a DMPNN says itself.
    """

    def __init__(
        self,
        gnn: nn.Module,
        out_feats: int,
        *,
        takes_edges: bool = True,
        takes_weight: bool = False,
        edge_out_feats: int | None = None,
        exchanges: int = 1,
    ) -> None:
        super().__init__()
        self.gnn = gnn
        self.out_feats = out_feats
        self.takes_edges = takes_edges
        self.takes_weight = takes_weight
        self.edge_out_feats = edge_out_feats
        #: Whether it lets nodes exchange itself, between its steps.
        self.exchanges_inside = isinstance(gnn, (DMPNN, EdgeGCN, GIN))
        if isinstance(gnn, DMPNN):
            exchanges = gnn.num_steps
        self.exchanges = exchanges

    def reset_parameters(self) -> None:
        """Draw new initial parameters in every layer that can."""
        reset_parameters(self.gnn)

    def row_norms(
        self, exchanges: Sequence[nn.Module] = (), exchange_after: str = "network"
    ) -> list[RowNorm]:
        """Its batch normalisations and those of the exchanges, in the order of a call."""
        steps = getattr(self.gnn, "step_norms", ())
        inside, behind = (exchanges, ()) if exchange_after == "layer" else ((), exchanges)
        parts = [part for pair in zip_longest(steps, inside) for part in pair if part]
        parts += [getattr(self.gnn, "node_norm", nn.Identity()), *behind]
        return [each for part in parts for each in row_norms(part)]

    def forward(
        self,
        graph: DGLGraph,
        node_feats: Tensor,
        edge_feats: Tensor | None,
        edge_weight: Tensor | None = None,
        exchange: Exchange | None = None,
        exchange_after: str = "network",
    ) -> tuple[Tensor, Tensor | None]:
        """Node states ``(N, out_feats)`` and edge states ``(E, edge_out_feats)`` or None.

        ``exchange(step, values)``, if given, is called on node states: once, or ``exchanges`` times
        where ``exchange_after`` (one of :data:`EXCHANGE_PLACES`) is ``"layer"``."""
        layers = getattr(self.gnn, "gnn_layers", None)
        every = exchange is not None and exchange_after == "layer"
        inside = every and self.exchanges_inside
        if exchange is not None and every and not inside and self.exchanges > 1 and layers:
            for step, layer in enumerate(layers):
                node_feats = exchange(step, layer(graph, node_feats))
            return node_feats, None
        arguments: list[DGLGraph | Tensor | None] = [graph, node_feats]
        if self.takes_edges:
            if edge_weight is not None and edge_feats is not None and not self.takes_weight:
                edge_feats = torch.cat([edge_feats, edge_weight[:, None]], dim=1)
            arguments.append(edge_feats)
        options: dict[str, Any] = {}
        if edge_weight is not None and self.takes_weight:
            options["edge_weight"] = edge_weight
        if inside:
            options["exchange"] = exchange
        states = self.gnn(*arguments, **options)
        nodes, edges = states if isinstance(states, tuple) else (states, None)
        expected = (graph.num_nodes(), self.out_feats)
        if not isinstance(nodes, Tensor) or nodes.shape != expected:
            seen = tuple(nodes.shape) if isinstance(nodes, Tensor) else type(nodes).__name__
            raise ValueError(
                f"backbone {type(self.gnn).__name__} gave node states {seen}; expected a tensor "
                f"{expected}: (number of nodes, its out_feats)"
            )
        if exchange is not None and not inside:
            nodes = exchange(0, nodes)
        return nodes, edges


def reset_parameters(*modules: nn.Module) -> None:
    """Call ``reset_parameters`` on these, or on their outermost submodules that have it."""
    for module in modules:
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        else:
            reset_parameters(*module.children())


def _dmpnn(
    node: int,
    edge: int,
    hidden: int,
    steps: int,
    dropout: float,
    *,
    norm: str | None = "none",
    residual: bool = False,
) -> Backbone:
    gnn = DMPNN(
        node,
        edge,
        hidden_feats=hidden,
        num_steps=steps,
        dropout=dropout,
        norm=norm,
        residual=residual,
    )
    return Backbone(gnn, hidden, takes_weight=True, edge_out_feats=hidden)


def _gcn(
    node: int, edge: int, hidden: int, steps: int, dropout: float, *, edges: bool = False
) -> Backbone:
    if true_or_false("edges", edges):
        if not edge:
            raise ValueError("edges=True needs edge features, and there are none")
        ours = EdgeGCN(node, edge, hidden_feats=hidden, num_layers=steps, dropout=dropout)
        return Backbone(ours, hidden, takes_weight=True, exchanges=steps)
    # Atoms without a bond (salts, methane) keep their state through the residual connection.
    gnn = import_dgllife("model").GCN(
        node,
        hidden_feats=[hidden] * steps,
        dropout=[dropout] * steps,
        allow_zero_in_degree=True,
    )
    return Backbone(gnn, hidden, takes_edges=False, exchanges=steps)


def _mpnn(node: int, edge: int, hidden: int, steps: int, dropout: float) -> Backbone:
    # dgllife's edge network makes a hidden x hidden matrix of every edge; its own default width
    # for the layer before that, 128, is kept.
    gnn = import_dgllife("model").MPNNGNN(
        node, edge, node_out_feats=hidden, num_step_message_passing=steps
    )
    return Backbone(gnn, hidden)


def _attentivefp(node: int, edge: int, hidden: int, steps: int, dropout: float) -> Backbone:
    gnn = import_dgllife("model").AttentiveFPGNN(
        node, edge, num_layers=steps, graph_feat_size=hidden, dropout=dropout
    )
    return Backbone(gnn, hidden)


def _gin(node: int, edge: int, hidden: int, steps: int, dropout: float) -> Backbone:
    if node != len(ATOM_CODES) or edge < len(BOND_CODES):
        raise ValueError(
            f"backbone 'gin' reads codes of atoms and bonds, and the features are {node} per atom "
            f"and {edge} per bond; make them with --featurizer pretrained-gin "
            "(featurize(table, featurizer='pretrained-gin')), or take another backbone"
        )
    gnn = GIN(hidden_feats=hidden, num_layers=steps, dropout=dropout)
    return Backbone(gnn, hidden, exchanges=steps)


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "dmpnn": _dmpnn,
    "gcn": _gcn,
    "mpnn": _mpnn,
    "attentivefp": _attentivefp,
    "gin": _gin,
}


def get_backbone(
    name: str,
    *,
    node_in_feats: int,
    edge_in_feats: int,
    hidden_feats: int = 200,
    num_steps: int = 3,
    dropout: float = 0.15,
    options: Mapping[str, Any] | None = None,
) -> Backbone:
    """A graph neural network by name.

    ``dmpnn`` is ours; ``gcn``, ``mpnn`` and ``attentivefp`` are dgllife's ``GCN``, ``MPNNGNN`` and
    ``AttentiveFPGNN`` with ``num_steps`` layers (message passing steps); ``gin`` has the weights
    of dgllife's ``GIN`` and reads codes (:class:`~dgl_gmpool.models.gin.GIN`). ``options`` are, of
    ``dmpnn``: ``norm`` and ``residual`` (:class:`DMPNN`); of ``gcn``: ``edges=True``, for
    messages that see the bond they travel along (:class:`EdgeGCN`).

    Raises
    ------
    ValueError
        The name, or an option's name or value, is not known.

    Examples
    --------
    >>> get_backbone("gcn", node_in_feats=74, edge_in_feats=12, hidden_feats=32).out_feats
    32
    """
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES)
    given = dict(options or {})
    known = backbone_options(name)
    for option in given:
        if option not in known:
            near = closest(option, known)
            hint = f" Did you mean {near!r}?" if near else ""
            listing = f"Options: {', '.join(known)}." if known else "It has no options."
            raise ValueError(f"backbone {name!r} has no option {option!r}.{hint} {listing}")
    return BACKBONES[name](node_in_feats, edge_in_feats, hidden_feats, num_steps, dropout, **given)


def backbone_options(name: str) -> list[str]:
    """Names of the options of a backbone of :data:`BACKBONES`.

    >>> backbone_options("dmpnn")
    ['norm', 'residual']
    """
    parameters = inspect.signature(BACKBONES[name]).parameters.values()
    return sorted(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)
