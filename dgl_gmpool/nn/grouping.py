"""Grouping matrix, eq. 5-7: how likely two nodes are to belong to the same group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_gmpool._options import check_choice, positive_int
from dgl_gmpool.nn.distance import compute_dtype, distance_between, weighted_distance
from dgl_gmpool.nn.norm import RowNorm

SIMILARITIES = ("gaussian", "cauchy", "linear")

#: What brings the features to one scale before distances are taken.
FEATURE_NORMS = ("batch", "layer", "none")

#: Below the negative of this, b of ``cauchy`` changes nothing: all nodes that differ are apart.
STEEPEST = 69.0

#: Sum of the initial weights of a squared distance. Features of unit variance are 2 apart on
#: average, so that M starts around exp(-0.7) or 0.6 off the diagonal.
START = 0.35

#: The pace at which the weights are learned, that of other parameters being 1: a label would make
#: M ever sharper, and cut groups in pieces.
PACE = 0.1


@dataclass(frozen=True)
class Measure:
    """A similarity with its weights: what makes entries of M from features.

    Attributes
    ----------
    similarity : str
        See :class:`GroupingMatrix`.
    weight : Tensor
        The weight of each feature in the squared distance. Shape ``(in_feats,)``, float64 (float32
        where the device has no float64).
    bias : Tensor or None
        b, ``(1,)``; ``gaussian`` has none.
    """

    similarity: str
    weight: Tensor
    bias: Tensor | None = None

    def within(self, z: Tensor) -> Tensor:
        """M of a block of graphs ``(b, n, in_feats)``, ``(b, n, n)``."""
        return self.of(weighted_distance(z, self.weight))

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """The entries of M between two sets of nodes: some rows or columns, without the rest.

        Shapes ``(b, n, in_feats)``, ``(b, k, in_feats)`` to ``(b, n, k)``; O(n k) memory.

        Examples
        --------
        >>> measure, x = Measure("gaussian", torch.ones(4)), torch.randn(1, 5, 4)
        >>> torch.allclose(measure.between(x, x[:, 2:4]), measure.within(x)[:, :, 2:4], atol=1e-6)
        True
        """
        return self.of(distance_between(x, y, self.weight))

    def of(self, distance: Tensor) -> Tensor:
        """Grouping probabilities from weighted squared distances, elementwise (eq. 5)."""
        if self.similarity == "gaussian":
            return torch.exp(-distance)
        if self.bias is None:
            raise ValueError(f"similarity {self.similarity!r} needs a bias")
        if self.similarity == "linear":
            return torch.sigmoid(distance + self.bias)
        # e^(-b) up to 1e30: finite, as are its products with distances and gradients.
        return 1 / (1 + (-self.bias).clamp(max=STEEPEST).exp() * distance)

    def detach(self) -> Measure:
        """The same without gradients."""
        bias = None if self.bias is None else self.bias.detach()
        return Measure(self.similarity, self.weight.detach(), bias)


class GroupingMatrix(nn.Module):
    r"""Pairwise grouping probabilities from node features (eq. 5-7 of Ko et al., 2023).

    With :math:`f` the elementwise squared difference, the parts of the squared Euclidean distance:

    ============  ==================================================================  =============
    similarity    :math:`M_{ij}`                                                      spectrum
    ============  ==================================================================  =============
    ``gaussian``  :math:`\exp(-d^2_{ij})`                                             positive
                                                                                      semidefinite
    ``cauchy``    :math:`1 / (1 + e^{-b} d^2_{ij})`, the classifier of eq. 5 on       positive
                  :math:`-\log d^2_{ij}`                                              semidefinite
    ``linear``    :math:`\sigma(w \cdot (x_i - x_j)^2 + b)`, the paper's linear       indefinite in
                  layer and sigmoid                                                   general
    ============  ==================================================================  =============

    where :math:`d^2_{ij} = \sum_k \mathrm{softplus}(v_k) (z_{ik} - z_{jk})^2`. The first two have
    M_ii = 1, the largest entry of its row, whatever is learned. ``linear`` leaves the sign of w
    free, and training often turns it: unlike nodes then have the larger M, see :attr:`inverted`.

    The tensor of all differences (n x n x d) is never built: with
    :math:`G = Z \mathrm{diag}(w) Z'`, :math:`w \cdot (z_i - z_j)^2 = G_{ii} + G_{jj} - 2 G_{ij}`.
    The sums run in float64, whatever the features' dtype, and what is below their rounding is 0:
    equal nodes are at distance 0 on every processor.

    Parameters
    ----------
    in_feats : int
        Width d of the node features.
    similarity : str, optional
        ``"gaussian"`` (default), ``"cauchy"`` or ``"linear"``, the paper's.
    feature_norm : str, optional
        What z is: ``"batch"`` (default), x normalised over the nodes of the batch, so that M
        starts neither at one group nor at n whatever the network before it; ``"layer"``,
        normalised over the features of each node; ``"none"``, x itself, the paper's.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> grouping = GroupingMatrix(4, similarity="cauchy", feature_norm="none")
    >>> x = torch.tensor([[[1., 0, 0, 0], [1., 0, 0, 0], [0., 9, 0, 0]]])
    >>> M = grouping(x)
    >>> M.shape, M.dtype
    (torch.Size([1, 3, 3]), torch.float64)
    >>> M[0].detach().round(decimals=2).tolist()
    [[1.0, 1.0, 0.12], [1.0, 1.0, 0.12], [0.12, 0.12, 1.0]]
    """

    def __init__(
        self, in_feats: int, *, similarity: str = "gaussian", feature_norm: str = "batch"
    ) -> None:
        super().__init__()
        self.in_feats = positive_int("in_feats", in_feats)
        self.similarity = check_choice("similarity", similarity, SIMILARITIES)
        self.feature_norm = check_choice("feature_norm", feature_norm, FEATURE_NORMS)
        self.norm: nn.Module = nn.Identity()
        if feature_norm == "batch":
            self.norm = RowNorm(in_feats, affine=False)
        elif feature_norm == "layer":
            self.norm = nn.LayerNorm(in_feats, elementwise_affine=False)
        self.weight = nn.Parameter(torch.empty(in_feats))
        if similarity == "gaussian":
            self.register_parameter("bias", None)
        else:
            self.bias = nn.Parameter(torch.empty(1))
        #: 1 in models of 0.2.0, which did not store it.
        self.pace: Tensor
        self.register_buffer("pace", torch.empty(()))
        self.reset_parameters()

    @property
    def positive_semidefinite(self) -> bool:
        """Whether M has no negative eigenvalue by construction."""
        return self.similarity != "linear"

    @property
    def inverted(self) -> bool:
        """Whether M tends to be larger for unlike nodes than for like ones: the weights of
        ``linear`` add up to more than 0. Never for the other similarities."""
        return self.similarity == "linear" and float(self.weight.detach().sum()) > 0

    def reset_parameters(self) -> None:
        """``linear``: as ``torch.nn.Linear(in_feats, 1)``. Otherwise every feature starts with
        the same weight and b with 0."""
        if isinstance(self.norm, RowNorm):
            self.norm.reset_parameters()
        nn.init.constant_(self.pace, 1.0 if self.similarity == "linear" else PACE)
        if self.similarity == "linear":
            bound = 1 / math.sqrt(self.in_feats)
            nn.init.uniform_(self.weight, -bound, bound)
            nn.init.uniform_(self.bias, -bound, bound)
            return
        nn.init.constant_(self.weight, self._first)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, z: Tensor) -> Tensor:
        """Grouping matrices of a block of graphs.

        Parameters
        ----------
        z : Tensor
            Node features of graphs of like size after :attr:`norm`, which takes the nodes of a
            batch as rows; zeros in padded rows. Shape ``(b, n, in_feats)``.

        Returns
        -------
        Tensor
            Shape ``(b, n, n)``, float64 (float32 where the device has no float64), symmetric to
            the bit, values in [0, 1]. Rows of padding are *not* masked here.
        """
        return self.measure(z.device).within(z)

    def measure(self, device: torch.device) -> Measure:
        """The parameters as they are now, on their way to entries of M.

        Raises
        ------
        ValueError
            If one of them is not finite (looked at on a CPU only; elsewhere M becomes NaN).
        """
        weight = self.weight.to(compute_dtype(device))
        bias = None if self.bias is None else self.bias.to(weight.dtype)
        if device.type == "cpu" and not torch.compiler.is_compiling():
            for name, values in (("weight", weight), ("bias", bias)):
                if values is not None and not torch.isfinite(values.detach()).all():
                    raise ValueError(
                        f"the grouping matrix's {name} is not finite: training has diverged. Lower "
                        "the learning rate, clip the gradients, and start again from a checkpoint "
                        "before that"
                    )
        if self.similarity != "linear":
            pace = self.pace.to(weight.dtype)
            weight = F.softplus(self._first + pace * (weight - self._first))
        return Measure(self.similarity, weight, bias)

    @property
    def _first(self) -> float:
        """v_k in the beginning: the inverse of softplus."""
        return math.log(math.expm1(START / self.in_feats))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Where nothing of this module is given, nothing is filled in, and what it has stays.
        if prefix + "weight" in state_dict:
            state_dict.setdefault(prefix + "pace", torch.ones_like(self.pace))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def extra_repr(self) -> str:
        return f"in_feats={self.in_feats}, similarity={self.similarity!r}"
