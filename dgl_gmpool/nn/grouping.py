"""Grouping matrix, eq. 5-7: how likely two nodes are to belong to the same group."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_gmpool._options import check_choice, positive_int

SIMILARITIES = ("linear", "cauchy", "gaussian")

#: Below the negative of this, b of ``cauchy`` changes nothing: all nodes that differ are apart.
STEEPEST = 69.0


class GroupingMatrix(nn.Module):
    r"""Pairwise grouping probabilities from node features (eq. 5-7 of Ko et al., 2023).

    With :math:`f` the elementwise squared difference, the parts of the squared Euclidean distance:

    ============  ==================================================================  =============
    similarity    :math:`M_{ij}`                                                      spectrum
    ============  ==================================================================  =============
    ``linear``    :math:`\sigma(w \cdot (x_i - x_j)^2 + b)`, the paper's linear       indefinite in
                  layer and sigmoid                                                   general
    ``cauchy``    :math:`1 / (1 + e^{-b} d^2_{ij})`, the same classifier on           positive
                  :math:`-\log d^2_{ij}`                                              semidefinite
    ``gaussian``  :math:`\exp(-d^2_{ij})`                                             positive
                                                                                      semidefinite
    ============  ==================================================================  =============

    where :math:`d^2_{ij} = \sum_k \mathrm{softplus}(v_k) (x_{ik} - x_{jk})^2`.

    The tensor of all differences (n x n x d) is never built: with
    :math:`G = X \mathrm{diag}(w) X'`, :math:`w \cdot (x_i - x_j)^2 = G_{ii} + G_{jj} - 2 G_{ij}`.
    The sums run in float64, whatever the features' dtype: on molecules with symmetry-equivalent
    atoms, float32 rounding would show up as spurious groups.

    Parameters
    ----------
    in_feats : int
        Width d of the node features.
    similarity : str, optional
        ``"linear"`` (default, the paper's), ``"cauchy"`` or ``"gaussian"``.
    init_scale : float, optional
        Multiplies the initial weights: small values start with few groups (``cauchy``,
        ``gaussian``), or with entries that are all alike (``linear``). Default 1.
    init_bias : float, optional
        Initial b. Default None: drawn as that of ``torch.nn.Linear(in_feats, 1)`` (``linear``), 0
        (``cauchy``, where a change of b is one of the scale). ``gaussian`` has none.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> grouping = GroupingMatrix(4, similarity="cauchy")
    >>> x = torch.tensor([[[1., 0, 0, 0], [1., 0, 0, 0], [0., 9, 0, 0]]])
    >>> M = grouping(x)
    >>> M.shape, M.dtype
    (torch.Size([1, 3, 3]), torch.float64)
    >>> M[0].detach().round(decimals=2).tolist()
    [[1.0, 1.0, 0.05], [1.0, 1.0, 0.05], [0.05, 0.05, 1.0]]
    """

    def __init__(
        self,
        in_feats: int,
        *,
        similarity: str = "linear",
        init_scale: float = 1.0,
        init_bias: float | None = None,
    ) -> None:
        super().__init__()
        self.in_feats = positive_int("in_feats", in_feats)
        self.similarity = check_choice("similarity", similarity, SIMILARITIES)
        if not isinstance(init_scale, (int, float)) or not 0 < init_scale < math.inf:
            raise ValueError(f"init_scale is {init_scale!r}; give a positive number")
        self.init_scale = init_scale
        if init_bias is not None:
            if not isinstance(init_bias, (int, float)) or not math.isfinite(init_bias):
                raise ValueError(f"init_bias is {init_bias!r}; give a number, or None")
            if similarity == "gaussian":
                raise ValueError(f"init_bias is {init_bias!r}; similarity 'gaussian' has no bias")
        self.init_bias = init_bias
        self.weight = nn.Parameter(torch.empty(in_feats))
        if similarity == "gaussian":
            self.register_parameter("bias", None)
        else:
            self.bias = nn.Parameter(torch.empty(1))
        self.reset_parameters()

    @property
    def positive_semidefinite(self) -> bool:
        """Whether M has no negative eigenvalue by construction."""
        return self.similarity != "linear"

    def reset_parameters(self) -> None:
        """``linear``: as ``torch.nn.Linear(in_feats, 1)``. Otherwise every feature starts with
        weight 1 / in_feats, so that d^2 is the mean squared difference. Weights (not the bias)
        are multiplied by ``init_scale``. The bias is ``init_bias``, if given."""
        if self.similarity == "linear":
            bound = 1 / math.sqrt(self.in_feats)
            nn.init.uniform_(self.weight, -bound * self.init_scale, bound * self.init_scale)
            nn.init.uniform_(self.bias, -bound, bound)
        else:
            start = self.init_scale / self.in_feats
            # The inverse of softplus, which is the identity where expm1 would overflow.
            nn.init.constant_(self.weight, start + math.log(-math.expm1(-start)))
            if self.bias is not None:
                nn.init.zeros_(self.bias)
        if self.init_bias is not None:
            nn.init.constant_(self.bias, self.init_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Grouping matrices of a block of graphs.

        Parameters
        ----------
        x : Tensor
            Node features of graphs of like size, zeros in padded rows. Shape ``(b, n, in_feats)``.

        Returns
        -------
        Tensor
            Shape ``(b, n, n)``, float64 (float32 where the device has no float64), symmetric to
            the bit, values in [0, 1]. Rows of padding are *not* masked here.
        """
        return self.from_distance(weighted_distance(x, self.distance_weight(x.device)))

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """The entries of M between two sets of nodes: some rows or columns, without the rest.

        Parameters
        ----------
        x, y : Tensor
            Features of the same graphs' nodes. Shapes ``(b, n, in_feats)``, ``(b, k, in_feats)``.

        Returns
        -------
        Tensor
            Shape ``(b, n, k)``, dtype as for :meth:`forward`. O(n k) memory.

        Examples
        --------
        >>> grouping, x = GroupingMatrix(4, similarity="gaussian"), torch.randn(1, 5, 4)
        >>> torch.allclose(grouping.between(x, x[:, 2:4]), grouping(x)[:, :, 2:4])
        True
        """
        return self.from_distance(_DistanceBetween.apply(x, y, self.distance_weight(x.device)))

    def distance_weight(self, device: torch.device) -> Tensor:
        """The weight of each feature in the squared distance, ``(in_feats,)``."""
        weight = self.weight.to(compute_dtype(device))
        return weight if self.similarity == "linear" else F.softplus(weight)

    def from_distance(self, distance: Tensor) -> Tensor:
        """Grouping probabilities from weighted squared distances, elementwise (eq. 5)."""
        # The one similarity that has no bias does not look at it.
        return self.similarity_of(distance, cast(Tensor, self.bias))

    def similarity_of(self, distance: Tensor, bias: Tensor, *, inplace: bool = False) -> Tensor:
        """:meth:`from_distance` with this bias in place of the module's.

        ``inplace`` writes over ``distance``, where no gradient is asked for."""
        if inplace and self.similarity == "linear":
            return distance.add_(bias).sigmoid_()
        if self.similarity == "linear":
            return torch.sigmoid(distance + bias.to(distance.dtype))
        # Rounding can leave a squared distance of identical nodes a hair below zero.
        distance = distance.clamp_(min=0) if inplace else distance.clamp(min=0)
        if inplace and self.similarity == "cauchy":
            return distance.mul_(_slope(bias)).add_(1).reciprocal_()
        if self.similarity == "cauchy":
            return 1 / (1 + _slope(bias.to(distance.dtype)) * distance)
        return distance.neg_().exp_() if inplace else torch.exp(-distance)

    def steepest_slope(self, bias: float) -> float:
        """The largest change of an entry of M by that of a squared distance, at this bias."""
        if self.similarity == "linear":
            return 0.25
        return math.exp(min(-bias, STEEPEST)) if self.similarity == "cauchy" else 1.0

    def slopes(self, matrix: Tensor, grad: Tensor, bias: Tensor) -> tuple[Tensor, Tensor | None]:
        """What a gradient with regard to M, symmetrised (the sum of it and its transpose), is with
        regard to the squared distances, ``(b, n, n)``, and to the bias, ``(1,)``; None for the bias
        where that is half the sum of the former. Writes over ``grad``."""
        if self.similarity == "linear":
            return grad.mul_(torch.addcmul(matrix, matrix, matrix, value=-1)), None
        grad = grad.mul_(matrix)
        if self.similarity == "gaussian":
            return grad.neg_(), grad.new_zeros(1)
        square = grad * matrix
        toward_bias = (grad.sum() - square.sum())[None] / 2
        return square.mul_(-_slope(bias)), toward_bias

    def extra_repr(self) -> str:
        return f"in_feats={self.in_feats}, similarity={self.similarity!r}"


def compute_dtype(device: torch.device) -> torch.dtype:
    """float64 where the device has it: on small matrices it costs no more than float32."""
    return torch.float32 if device.type == "mps" else torch.float64


def _slope(bias: Tensor) -> Tensor:
    """e^(-b), up to 1e30: finite, as are its products with distances and gradients."""
    return (-bias).clamp(max=STEEPEST).exp()


def weighted_distance(x: Tensor, weight: Tensor) -> Tensor:
    """w . (x_i - x_j)^2 for all pairs of nodes of a block, ``(b, n, n)``, dtype of ``weight``."""
    return _WeightedDistance.apply(x, weight)


class _WeightedDistance(torch.autograd.Function):
    """w . (x_i - x_j)^2 for all pairs, from the Gram matrix, in the dtype of w.

    Symmetric to the bit, with an exactly zero diagonal. Its gradient is a graph Laplacian times X:
    one product where autograd, blind to the symmetry, takes two.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        wide = x.to(weight.dtype)
        ctx.save_for_backward(x, weight)
        gram = (wide * weight) @ wide.mT
        twice = gram + gram.mT
        square = twice.diagonal(dim1=-2, dim2=-1) / 2
        return (square[..., :, None] + square[..., None, :]).sub_(twice)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        # Not kept from the forward pass: a second derivative would take the copy for a constant.
        wide = x.to(weight.dtype)
        both = grad + grad.mT
        laplacian = torch.diag_embed(both.sum(-1)) - both
        # The sums over nodes, where terms cancel, are done in the wide dtype: what follows is
        # exact enough in that of x.
        product = (laplacian @ wide).to(x.dtype)
        grad_weight = (product * x).flatten(0, -2).sum(0).to(weight.dtype)
        return product * (2 * weight).to(x.dtype), grad_weight


class _DistanceBetween(torch.autograd.Function):
    """w . (x_i - y_k)^2 for all pairs of a row of x and a row of y, in the dtype of w.

    Both are centred first, which changes no distance and leaves less to cancel.
    """

    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, y, weight)
        wide_x, wide_y = _centred(x, y, weight.dtype)
        scaled = wide_y * weight
        square_x = wide_x.square() @ weight
        square_y = (wide_y * scaled).sum(-1)
        # In place: one (b, n, k) tensor at a time.
        distance = (wide_x @ scaled.mT).mul_(-2)
        return distance.add_(square_x[..., :, None]).add_(square_y[..., None, :])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, y, weight = ctx.saved_tensors
        wide_x, wide_y = _centred(x, y, weight.dtype)
        toward_y = wide_x * grad.sum(-1)[..., None] - grad @ wide_y
        toward_x = wide_y * grad.sum(-2)[..., None] - grad.mT @ wide_x
        grad_weight = (wide_x * toward_y).flatten(0, -2).sum(0)
        grad_weight = grad_weight + (wide_y * toward_x).flatten(0, -2).sum(0)
        return (
            (toward_y * (2 * weight)).to(x.dtype),
            (toward_x * (2 * weight)).to(y.dtype),
            grad_weight,
        )


def _centred(x: Tensor, y: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Both in this dtype, less the mean of y over its nodes."""
    wide_x, wide_y = x.to(dtype), y.to(dtype)
    center = wide_y.mean(-2, keepdim=True)
    return wide_x - center, wide_y - center
