"""From groups back to atoms: the upward half of a U-shaped network."""

from __future__ import annotations

from torch import Tensor, nn

from dgl_gmpool.nn.norm import RowNorm


class LiftStep(nn.Module):
    r"""What a node learns from its groups, :math:`x \leftarrow x + \mathrm{BN}_0(W S z)`.

    S z are the states z of the coarse nodes, lifted. The gain of the normalisation starts at zero:
    a network starts as it would be without its coarse levels, which enter where they pay. The
    skip connection is that of a U-Net (Ronneberger et al., 2015; of graphs: Gao and Ji, 2019).

    Parameters
    ----------
    in_feats : int
        Width of the lifted states.
    out_feats : int
        Width of the nodes' own.
    """

    def __init__(self, in_feats: int, out_feats: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_feats, out_feats, bias=False)
        self.norm = RowNorm(out_feats)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial parameters; the step starts as the identity."""
        self.linear.reset_parameters()
        self.norm.reset_parameters()
        nn.init.zeros_(self.norm.weight)

    def forward(self, feat: Tensor, lifted: Tensor) -> Tensor:
        """``(N, out_feats)`` and ``(N, in_feats)`` to ``(N, out_feats)``."""
        return feat + self.norm(self.linear(lifted))
