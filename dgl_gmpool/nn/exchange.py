"""Atoms and groups exchange inside the network, between two of its layers."""

from __future__ import annotations

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.locality import Diffusion
from dgl_gmpool.nn.norm import RowNorm
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.nn.readout import Readout

#: Time of the diffusion that says which atoms exchange.
EXCHANGE_TIME = 8.0


class ExchangeStep(nn.Module):
    r"""One exchange, :math:`x \leftarrow x + \mathrm{BN}_0(P \phi(P x))`, with :math:`\phi` a
    linear layer and ReLU, and a gain of the normalisation that starts at zero.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    """

    def __init__(self, in_feats: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_feats, in_feats)
        self.norm = RowNorm(in_feats)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial parameters; the step starts as the identity."""
        self.linear.reset_parameters()
        self.norm.reset_parameters()
        nn.init.zeros_(self.norm.weight)

    def forward(self, feat: Tensor, layout: RaggedLayout, shares: list[Tensor]) -> Tensor:
        """``(N, D)`` to ``(N, D)``; ``shares`` are P of the buckets, ``(b, w, w)``."""
        if not shares:
            return feat
        groups = [torch.relu(self.linear(p @ x)) for p, x in zip(shares, layout.blocks(feat))]
        back = layout.rows([p @ group for p, group in zip(shares, groups)])
        return feat + self.norm(back)


def diffusion_shares(locality: Diffusion, batch: GraphBatch) -> list[Tensor]:
    """P = D^-1 K of each bucket: the kernel of the graph with rows divided by their sums."""
    found = []
    for kernel in locality(batch):
        size = kernel.sum(-1, keepdim=True)
        found.append(kernel / size.clamp(min=torch.finfo(size.dtype).tiny ** 0.5))
    return found


class GroupExchange(Readout):
    r"""Let every node see its group, and its group's network, between two layers.

    .. math:: x \leftarrow x + \mathrm{BN}_0(P \phi(P x)), \qquad P = D^{-1} K

    with K the normalised heat kernel of the graph, its time learned, and :math:`\phi` a linear
    layer with ReLU. The gain of BN_0 starts at zero, so a network starts as it would without.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    time : float, optional
        Initial time of the diffusion. Default 8.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1]))
    >>> x = torch.randn(3, 4)
    >>> layer = GroupExchange(4)
    >>> torch.equal(layer(g, x), x)  # at the start
    True
    """

    def __init__(self, in_feats: int, *, time: float = EXCHANGE_TIME) -> None:
        super().__init__(in_feats)
        self.locality = Diffusion(time=time)
        self.step = ExchangeStep(in_feats)

    def forward(  # type: ignore[override]
        self,
        graph: DGLGraph,
        feat: Tensor,
        *,
        conductance: Tensor | None = None,
        batch_num_nodes: Tensor | None = None,
    ) -> Tensor:
        """Node features, changed.

        Parameters
        ----------
        graph : DGLGraph
            A graph or a batch of graphs.
        feat : Tensor
            Node features. Shape ``(N, in_feats)``, floating point.
        conductance : Tensor, optional
            How well each edge conducts. Shape ``(E,)``, > 0. Default: ones.
        batch_num_nodes : Tensor, optional
            Node counts of the graphs, where ``graph`` has lost them. Shape ``(B,)``.

        Returns
        -------
        Tensor
            Shape ``(N, in_feats)``, dtype of ``feat``.
        """
        batch = self.batch(graph, feat, conductance=conductance, batch_num_nodes=batch_num_nodes)
        with torch.autocast(feat.device.type, enabled=False):
            shares = diffusion_shares(self.locality, batch)
            return self.step(batch.feat, batch.layout, shares).to(feat.dtype)

    def extra_repr(self) -> str:
        return f"in_feats={self.in_feats}"
