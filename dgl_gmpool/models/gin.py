"""DGL-LifeSci's GIN on codes of atoms and bonds: the network whose pretrained weights it offers."""

from __future__ import annotations

from typing import cast

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool._options import positive_int, probability
from dgl_gmpool.models.dmpnn import Exchange
from dgl_gmpool.nn.norm import RowNorm
from dgl_gmpool.nn.structure import edge_ends

#: How many codes there are: of atoms (element, chirality), of bonds (type, direction).
ATOM_CODES, BOND_CODES = (120, 3), (6, 3)
#: The type of the bond of an atom with itself.
SELF_LOOP = 4


class GIN(nn.Module):
    r"""Layers of dgllife's ``GIN``, with its names of weights and its numbers.

    .. math::
        x_i' = \mathrm{BN}\Big(\mathrm{MLP}\big(x_i + e_{ii} + \sum_{j \in N(i)}
            (x_j + e_{ji})\big)\Big)

    with a ReLU behind each layer but the last, and dropout behind each; Hu et al., "Strategies for
    Pre-training Graph Neural Networks" (ICLR 2020). :math:`x_i` is at first the sum of the
    embeddings of an atom's codes, :math:`e_{ji}` that of a bond's, in each layer anew.
    :math:`e_{ii}` is that of a self-loop, which the graph need not have. The result is that of the
    last layer (dgllife's ``JK="last"``).

    Parameters
    ----------
    hidden_feats : int, optional
        Width of all layers. Default 300.
    num_layers : int, optional
        Default 5.
    dropout : float, optional
        Default 0.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1]))
    >>> ethanol = torch.tensor([[5.0, 0.0], [5.0, 0.0], [7.0, 0.0]])
    >>> GIN(hidden_feats=16)(g, ethanol, torch.zeros(4, 2)).shape
    torch.Size([3, 16])
    """

    def __init__(
        self, *, hidden_feats: int = 300, num_layers: int = 5, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.out_feats = positive_int("hidden_feats", hidden_feats)
        self.node_embeddings = nn.ModuleList(nn.Embedding(n, hidden_feats) for n in ATOM_CODES)
        self.gnn_layers = nn.ModuleList(
            _Layer(hidden_feats) for _ in range(positive_int("num_layers", num_layers))
        )
        self.dropout = nn.Dropout(probability("dropout", dropout))
        self.reset_parameters()

    @property
    def step_norms(self) -> list[RowNorm]:
        """Its batch normalisations, in the order of a call."""
        return [layer.bn for layer in self.gnn_layers]  # type: ignore[misc]

    def reset_parameters(self) -> None:
        """Draw new initial parameters, as dgllife does."""
        for embedding in self.node_embeddings:
            nn.init.xavier_uniform_(embedding.weight)  # type: ignore[arg-type]
        for layer in self.gnn_layers:
            layer.reset_parameters()  # type: ignore[operator]

    def forward(
        self,
        graph: DGLGraph,
        node_feats: Tensor,
        edge_feats: Tensor,
        *,
        exchange: Exchange | None = None,
    ) -> Tensor:
        """Node states ``(N, hidden_feats)``.

        Parameters
        ----------
        graph : DGLGraph
            Any graph or batch, both directions of each bond, without self-loops.
        node_feats : Tensor
            Codes of atoms, whole numbers of any dtype. Shape ``(N, 2)``.
        edge_feats : Tensor
            Codes of bonds in the last two columns. Shape ``(E, 2 or more)``.
        exchange : callable, optional
            ``exchange(step, values)`` changes the node states after each layer.
        """
        ends = [ids.to(node_feats.device, torch.int64) for ids in edge_ends(graph)]
        atoms = _codes(node_feats, ATOM_CODES, "node_feats")
        bonds = _codes(edge_feats[:, -len(BOND_CODES) :], BOND_CODES, "edge_feats")
        states = _embedded(self.node_embeddings, atoms)
        last = len(self.gnn_layers) - 1
        for step, layer in enumerate(self.gnn_layers):
            states = layer(*ends, states, bonds)
            states = self.dropout(states if step == last else torch.relu(states))
            if exchange is not None:
                states = exchange(step, states)
        return states


class _Layer(nn.Module):
    """One layer, before activation and dropout."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )
        self.edge_embeddings = nn.ModuleList(nn.Embedding(n, width) for n in BOND_CODES)
        self.bn = RowNorm(width)

    def reset_parameters(self) -> None:
        self.mlp[0].reset_parameters()  # type: ignore[operator]
        self.mlp[2].reset_parameters()  # type: ignore[operator]
        for embedding in self.edge_embeddings:
            nn.init.xavier_uniform_(embedding.weight)  # type: ignore[arg-type]
        self.bn.reset_parameters()

    def forward(self, source: Tensor, destination: Tensor, states: Tensor, bonds: Tensor) -> Tensor:
        messages = states.index_select(0, source) + _embedded(self.edge_embeddings, bonds)
        kinds, directions = (cast(nn.Embedding, each) for each in self.edge_embeddings)
        own = states + (kinds.weight[SELF_LOOP] + directions.weight[0])
        return self.bn(self.mlp(own.index_add(0, destination, messages)))


def _embedded(embeddings: nn.ModuleList, codes: Tensor) -> Tensor:
    first, second = embeddings
    return first(codes[:, 0]) + second(codes[:, 1])


def _codes(values: Tensor, sizes: tuple[int, ...], name: str) -> Tensor:
    """``(rows, 2)`` int64; out of their range is an error here, where looking costs nothing."""
    codes = values.long()
    if values.device.type == "cpu":
        most = codes.new_tensor(sizes)
        if bool(((codes < 0) | (codes >= most) | (codes != values)).any()):
            raise ValueError(
                f"{name} holds other values than codes below {sizes[0]} and {sizes[1]}; give the "
                "features that featurize(table, featurizer='pretrained-gin') makes"
            )
    return codes
