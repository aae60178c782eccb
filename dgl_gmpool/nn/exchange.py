"""Atoms and groups exchange inside the network, between two of its layers."""

from __future__ import annotations

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.locality import START_TIME, Diffusion
from dgl_gmpool.nn.norm import RowNorm, narrowed
from dgl_gmpool.nn.ragged import RaggedLayout
from dgl_gmpool.nn.readout import Readout


class ExchangeStep(nn.Module):
    r"""One exchange, :math:`x \leftarrow x + \mathrm{BN}_0(W_2 P \mathrm{ReLU}(P W_1 x))`.

    The layer between has a quarter of the width, at least 32. The gain of the normalisation starts
    at zero.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    """

    def __init__(self, in_feats: int) -> None:
        super().__init__()
        hidden = narrowed(in_feats, 4)
        self.to_groups = nn.Linear(in_feats, hidden)
        self.to_nodes = nn.Linear(hidden, in_feats, bias=False)
        self.norm = RowNorm(in_feats)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial parameters; the step starts as the identity."""
        self.to_groups.reset_parameters()
        self.to_nodes.reset_parameters()
        self.norm.reset_parameters()
        nn.init.zeros_(self.norm.weight)

    def forward(self, feat: Tensor, layout: RaggedLayout, shares: list[Tensor]) -> Tensor:
        """``(N, D)`` to ``(N, D)``; ``shares`` are P of the buckets, ``(b, w, w)``."""
        if not shares:
            return feat
        # P acts on nodes and W on features, in any order: the narrow one first.
        blocks = layout.blocks(self.to_groups(feat))
        back = [share @ torch.relu(share @ block) for share, block in zip(shares, blocks)]
        return feat + self.norm(self.to_nodes(layout.rows(back)))


def diffusion_shares(
    locality: Diffusion, batch: GraphBatch, dtype: torch.dtype | None = None
) -> list[Tensor]:
    """P = D^-1 K of each bucket: the kernel of half the time with rows divided by their sums.

    ``dtype`` is that of the diffusion, P has that of the batch.
    """
    found = []
    for heat in locality(batch, dtype):
        size = heat.half.sum(-1, keepdim=True)
        share = heat.half / size.clamp(min=torch.finfo(size.dtype).tiny ** 0.5)
        found.append(share.to(batch.feat.dtype))
    return found


class GroupExchange(Readout):
    r"""Let every node see its group, and its group's network, between two layers.

    .. math:: x \leftarrow x + \mathrm{BN}_0(W_2 P \mathrm{ReLU}(P W_1 x)), \qquad P = D^{-1} K

    with K the normalised heat kernel of half the time of groups, which is learned. The gain of BN_0
    starts at zero, so a network starts as it would without.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    time : float, optional
        Initial time of the diffusion, of which the exchange takes half. Default 28.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1]))
    >>> x = torch.randn(3, 4)
    >>> layer = GroupExchange(4)
    >>> torch.equal(layer(g, x), x)  # at the start
    True
    """

    shown = ("in_feats",)

    def __init__(self, in_feats: int, *, time: float = START_TIME) -> None:
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
            How well each edge conducts. Shape ``(E,)``, >= 0. Default, not the same as ones: by the
            ways around it (:class:`~dgl_gmpool.nn.locality.Diffusion`).
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
