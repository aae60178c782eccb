"""Weave's Gaussian histogram readout."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from dgl_gmpool._options import true_or_false
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.readout import Reading, Readout

#: Means and standard deviations of the histogram's soft bins.
MEMBERSHIPS = (
    (-1.645, 0.283),
    (-1.080, 0.170),
    (-0.739, 0.134),
    (-0.468, 0.118),
    (-0.228, 0.114),
    (0.0, 0.114),
    (0.228, 0.114),
    (0.468, 0.118),
    (0.739, 0.134),
    (1.080, 0.170),
    (1.645, 0.283),
)


class WeaveReadout(Readout):
    """A soft histogram of every feature over the nodes, brought back to width D.

    Kearnes et al., "Molecular Graph Convolutions: Moving Beyond Fingerprints" (2016). As
    ``dgllife.model.WeaveGather``.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    gaussian_expand : bool, optional
        Without it the readout is the plain sum. Default True.
    """

    def __init__(self, in_feats: int, *, gaussian_expand: bool = True) -> None:
        super().__init__(in_feats)
        if gaussian_expand in (0, 1):  # as runs of earlier versions may have it
            gaussian_expand = bool(gaussian_expand)
        self.gaussian_expand = true_or_false("gaussian_expand", gaussian_expand)
        if gaussian_expand:
            self.means = _constants(mean for mean, _ in MEMBERSHIPS)
            self.stds = _constants(std for _, std in MEMBERSHIPS)
            self.to_out = nn.Linear(in_feats * len(MEMBERSHIPS), in_feats)
            self.activation = nn.Tanh()

    def reset_parameters(self) -> None:
        """Draw new initial parameters, and set the bins again, which are constants."""
        super().reset_parameters()
        if self.gaussian_expand:
            for mean, std, bin_of in zip(self.means, self.stds, MEMBERSHIPS):
                nn.init.constant_(mean, bin_of[0])
                nn.init.constant_(std, bin_of[1])

    def read(self, batch: GraphBatch) -> Reading:
        feat, segments = batch.feat, batch.segments
        ones = feat.new_ones(feat.shape[0], 1)
        if not self.gaussian_expand:
            return Reading(segments.sum(feat), [ones])
        # Half precision has no room for the gradient of a share of 1e-7.
        wide = torch.promote_types(feat.dtype, torch.float32)
        means, stds = (torch.stack(list(each)).to(wide) for each in (self.means, self.stds))
        # Each Gaussian is 1 at its peak. 1e-7 keeps a feature far from all of them defined.
        shares = torch.exp(-(((feat.to(wide)[:, :, None] - means) / stds) ** 2) / 2) + 1e-7
        histogram = (shares / shares.sum(2, keepdim=True)).flatten(1).to(feat.dtype)
        return Reading(self.activation(self.to_out(segments.sum(histogram))), [ones])


def _constants(values: Iterable[float]) -> nn.ParameterList:
    # Parameters, though fixed: that is where dgllife's state_dict has them.
    return nn.ParameterList(nn.Parameter(torch.tensor(v), requires_grad=False) for v in values)
