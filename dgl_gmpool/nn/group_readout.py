"""The default readout: atoms' mean and maximum, and beside them what a network makes of groups."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.norm import RowNorm, narrowed
from dgl_gmpool.nn.segments import AGGREGATES, reduce

#: What is put side by side of the atoms, and of the groups.
OF_ATOMS = "mean_and_max"
OF_GROUPS = "mean_max_and_sum"

#: Smaller entries of M join nothing.
SMALLEST = 1e-12


class GroupReadout(nn.Module):
    r"""Mean and maximum of atoms, beside mean, maximum and sum of :math:`\phi` of their groups.

    .. math:: n_i = \sum_j M_{ij}, \qquad c_i = \frac{1}{n_i} \sum_j M_{ij} x_j, \qquad
        y_i = \mathrm{ReLU}(\mathrm{BN}(W c_i))

    with :math:`M_{ij}^\gamma` in place of M, a learned exponent that starts at 1: how sharply the
    readout parts the groups is its own affair, and leaves their number alone. Every node i brings
    the mean of its group c_i, with the weight 1 / n_i, so that each group counts once, whatever its
    size; on disjoint groups (eq. 7) these are the sums over the paper's
    clusters. A mean over S' X alone is a weighted mean of the atoms, which cannot tell more than
    they do; :math:`\phi`, of half the width (at least 32), between group and graph can. What the
    groups add is batch-normalised and has a gain that starts at zero: the readout starts as exactly
    mean and maximum of the atoms.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    """

    def __init__(self, in_feats: int) -> None:
        super().__init__()
        hidden = narrowed(in_feats, 2)
        width = hidden * len(AGGREGATES[OF_GROUPS])
        self.linear = nn.Linear(in_feats, hidden)
        self.node_norm = RowNorm(hidden)
        self.group_norm = RowNorm(width, affine=False)
        self.gain = nn.Parameter(torch.zeros(width))
        self.log_power = nn.Parameter(torch.zeros(()))
        #: Columns at the end that are normalised already.
        self.normalised_feats = width
        self.out_feats = in_feats * len(AGGREGATES[OF_ATOMS]) + width

    def reset_parameters(self) -> None:
        """Draw new initial parameters."""
        for module in (self.linear, self.node_norm, self.group_norm):
            module.reset_parameters()
        nn.init.zeros_(self.gain)
        nn.init.zeros_(self.log_power)

    def forward(self, batch: GraphBatch, matrices: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The readout ``(B, out_feats)``, and each node's weight in it ``(N,)``.

        ``matrices`` are M of the buckets, ``(b, w, w)``, zero in padding.
        """
        layout, feat = batch.layout, batch.feat
        atoms, atom_share = reduce(feat, batch.segments, OF_ATOMS)
        rows, counts, shares = [], [], []
        power = self.log_power.exp()
        # W c_i as a mean of W x_j: W is the narrow one.
        for block, matrix in zip(layout.blocks(self.linear(feat)), matrices):
            matrix = matrix.to(feat.dtype)
            # Entries of 0, padding among them, stay 0, and their gradient finite.
            some = matrix > SMALLEST
            matrix = torch.where(some, torch.where(some, matrix, 1) ** power, 0)
            size = matrix.sum(-1, keepdim=True)
            tiny = torch.finfo(size.dtype).tiny ** 0.5
            share = matrix / size.clamp(min=tiny)
            rows.append(share @ block)
            counts.append(1 / size[..., 0].clamp(min=tiny))
            shares.append(share)
        hidden = torch.relu(self.node_norm(layout.rows(rows)))
        groups, group_share = reduce(hidden, batch.segments, OF_GROUPS, layout.rows(counts))
        groups = self.group_norm(groups) * self.gain
        of_groups = layout.blocks(group_share[:, None])
        back = [share.mT @ each for share, each in zip(shares, of_groups)]
        weight = (atom_share + layout.rows(back)[:, 0]) / 2
        return torch.cat([atoms, groups], 1), weight
