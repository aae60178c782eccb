"""Locality: a kernel of the graph itself, so that a group is a place and not a kind of node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgl_gmpool._options import positive_int
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.resistance import resistance

LOCALITIES = ("diffusion", "none")

#: The time at which graphs fall apart into about as many pieces as somebody would cut; chosen on
#: planted cliques, rings and other bodies, and on molecules (docs/results.md).
START_TIME = 28.0

#: Without conductances of its own, an edge conducts by its effective resistance to minus this.
PATHS_POWER = 4.0

#: What the models of 0.2.0 had, which did not store it.
BEFORE = {"start": 16.0, "paths_power": 0.0}

#: The pace at which the time is learned, that of other parameters being 1: the start decides, and
#: the number of groups must not follow a single batch.
PACE = 0.1

#: Longest and shortest time: beyond them a molecule is one group, or every node its own.
LONGEST = 72.0
SHORTEST = 0.05

#: exp is the SQUARINGS-fold square of a polynomial of degree 4. No value decides how many, so no
#: result jumps and no GPU waits. The relative error is 3e-7 at ``START_TIME``, 1e-5 at the longest.
SQUARINGS = 9


class Heat(NamedTuple):
    """A diffusion in the graphs of one bucket, in one go; zeros in padding.

    Attributes
    ----------
    kernel : Tensor
        The normalised heat kernel of the whole time t. Shape ``(b, w, w)``; 1 on the diagonal, for
        a node without edges too.
    half : Tensor
        That of half the time.
    early : Tensor
        The heat after a quarter of the time, rows divided by their sums.
    """

    kernel: Tensor
    half: Tensor
    early: Tensor


class Diffusion(nn.Module):
    r"""The normalised heat kernel of a graph, with a learned time t.

    .. math:: K_{ij} = \frac{H_{ij}}{\sqrt{H_{ii} H_{jj}}}, \qquad H = e^{-t L}, \qquad
        L = I - D^{-1/2} A D^{-1/2}

    Positive semidefinite with K_ii = 1 and entries in [0, 1]; nodes of different components have
    exactly 0; t to infinity joins all nodes of a component (Kondor and Lafferty, "Diffusion Kernels
    on Graphs", 2002). A holds the conductances a_ij > 0 of the edges, both directions averaged and
    parallel edges added up; self-loops are not part of it.

    Where a batch comes without conductances and edge weights, they follow from the graph: an edge
    conducts by :math:`R_{ij}^{-4}`, R its effective resistance in the graph with all edges alike
    (:func:`~dgl_gmpool.nn.resistance.resistance`). R is 1 for a bridge and the smaller the more
    other ways there are, so heat stays inside of what is well connected: 5/6 in a ring of six, 2/n
    in a clique of n. A long way around hardly counts.

    Parameters
    ----------
    time : float, optional
        Initial t, in [0.05, 72]. Default 28.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.graph(([0, 1, 2, 3], [1, 0, 3, 2]))  # two bonds apart from each other
    >>> batch = GraphBatch(g, torch.zeros(4, 1), width=1, dtype=torch.float32)
    >>> kernel = Diffusion()(batch)[0].kernel
    >>> kernel[0].detach().round(decimals=3).abs().tolist()
    [[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """

    def __init__(self, *, time: float = START_TIME) -> None:
        super().__init__()
        if not isinstance(time, (int, float)) or not SHORTEST <= time <= LONGEST:
            raise ValueError(f"time is {time!r}; give a number from {SHORTEST} to {LONGEST}")
        self._initial = float(time)
        self.start: Tensor
        self.paths_power: Tensor
        self.register_buffer("start", torch.empty(()))
        self.register_buffer("paths_power", torch.empty(()))
        #: log(t / initial t), divided by ``PACE``.
        self.log_time = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    @property
    def time(self) -> Tensor:
        """t, a scalar."""
        return (self.start * (PACE * self.log_time).exp()).clamp(SHORTEST, LONGEST)

    def reset_parameters(self) -> None:
        """Set t to its initial value, whatever file was loaded since."""
        nn.init.constant_(self.start, self._initial)
        nn.init.constant_(self.paths_power, PATHS_POWER)
        nn.init.zeros_(self.log_time)

    def forward(self, batch: GraphBatch, dtype: torch.dtype | None = None) -> list[Heat]:
        """The diffusion in every graph, for each bucket; made once for layers that share the
        structure of a batch and its conductances.

        Parameters
        ----------
        batch : GraphBatch
            Its ``conductance`` is A.
        dtype : torch.dtype, optional
            Of the result and of the work. Default: that of the batch.
        """
        dtype = batch.feat.dtype if dtype is None else dtype
        given = batch.given_conductance
        # What it hangs on: a parameter that has changed, or that is learned now, makes it anew.
        held = self.log_time
        # What is made in inference mode does not count its changes.
        change = held.item() if held.is_inference() else held._version
        state = (id(self), change, torch.is_grad_enabled(), dtype)
        known = batch.structure.heat
        if known is not None and known[0] == state and known[1] is given:
            return known[2]
        time, found = self.time.to(dtype), []
        for bucket, adjacency in zip(batch.layout.buckets, batch.dense(batch.conductance)):
            adjacency = adjacency.to(dtype)
            if given is None:
                # Where there is no edge, R is not looked at.
                apart = resistance(adjacency).clamp(min=torch.finfo(dtype).eps)
                adjacency = adjacency * (apart ** -self.paths_power.to(apart.dtype)).to(dtype)
            heat = heat_kernel(adjacency, time)
            if not bucket.full:
                mask = bucket.mask[:, :, None] & bucket.mask[:, None, :]
                heat = Heat(*(each * mask for each in heat))
            found.append(heat)
        if batch.structure.shared:
            batch.structure.heat = (state, given, found)
        return found

    def extra_repr(self) -> str:
        return f"time={float(self.start):g}"

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # Where nothing of this module is given, nothing is filled in, and what it has stays.
        if prefix + "log_time" in state_dict:
            for name, value in BEFORE.items():
                state_dict.setdefault(prefix + name, getattr(self, name).new_tensor(value))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def heat_kernel(adjacency: Tensor, time: Tensor | float) -> Heat:
    """The normalised heat kernel of :class:`Diffusion`.

    Parameters
    ----------
    adjacency : Tensor
        Conductances, >= 0, in both directions; the diagonal is not looked at. Shape ``(b, n, n)``.
    time : Tensor or float
        t, a scalar.

    Returns
    -------
    Heat
    """
    both = adjacency + adjacency.mT
    both = both - torch.diag_embed(both.diagonal(dim1=-2, dim2=-1))
    degree = both.sum(-1)
    bare = degree <= 0
    scale = torch.where(bare, 1, degree).rsqrt().masked_fill(bare, 0)
    walk = both * scale[:, :, None] * scale[:, None, :]
    # A node without edges keeps its heat.
    unit = torch.eye(walk.shape[-1], dtype=walk.dtype, device=walk.device)
    walk = walk + unit * bare[:, None, :]
    # All terms are non-negative, so nothing cancels; the polynomial is positive on [-1, 1] and its
    # square positive semidefinite. e^-t, the same for all entries, drops out in the end.
    step = torch.as_tensor(time, dtype=walk.dtype, device=walk.device) / 2**SQUARINGS
    square = _Symmetric.apply(_Square.apply(walk))
    low = unit + step * walk + (step**2 / 2) * square
    heat = low + square @ ((step**3 / 6) * walk + (step**4 / 24) * square)
    heat = heat * torch.exp(-step)
    for _ in range(SQUARINGS - 2):
        heat = _Square.apply(heat)
    early, half = heat, _Square.apply(heat)
    whole, half, early = (_Symmetric.apply(each) for each in (_Square.apply(half), half, early))
    return Heat(_unit(whole), _unit(half), early / early.sum(-1, keepdim=True))


class _Symmetric(torch.autograd.Function):
    """A symmetric matrix as it is, its gradient made symmetric."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        return matrix.view_as(matrix)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return (grad + grad.mT) / 2


class _Square(torch.autograd.Function):
    """H H of symmetric H for a symmetric gradient: one product where autograd takes two."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(matrix)
        return matrix @ matrix

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (matrix,) = ctx.saved_tensors
        # Of a second derivative, what goes back to H through here is not symmetric by itself.
        product = grad @ _Symmetric.apply(matrix)
        return product + product.mT


def _unit(heat: Tensor) -> Tensor:
    """With ones on the diagonal."""
    inverse = heat.diagonal(dim1=-2, dim2=-1).rsqrt()
    return (heat * inverse[:, :, None] * inverse[:, None, :]).clamp(max=1)


class Conductance(nn.Module):
    r"""How well each bond conducts: :math:`a = \mathrm{softplus}(u \cdot [e, l] + c)`.

    e are the features of the bond and l is 1 for the bond of an end atom, which belongs to the atom
    it hangs on.

    Parameters
    ----------
    edge_feats : int
        Width of the edge features.
    start : sequence of float, optional
        What each feature adds to a in the beginning, where it is 1, and in the end what l adds: a
        chemist's prior, such as 5 for a flag "in a ring". Default: zeros; every bond starts with
        a = 1.

    Examples
    --------
    >>> e, end = torch.tensor([[0., 1.], [1., 0.]]), torch.tensor([1., 0.])
    >>> [round(a, 2) for a in Conductance(2, start=[5, 0, 2])(e, end).tolist()]
    [2.62, 5.55]
    """

    def __init__(self, edge_feats: int, *, start: Sequence[float] | None = None) -> None:
        super().__init__()
        self.edge_feats = positive_int("edge_feats", edge_feats)
        self.start = [0.0] * (edge_feats + 1) if start is None else [float(each) for each in start]
        if not all(math.isfinite(each) for each in self.start):
            raise ValueError(f"start is {self.start}; give finite numbers")
        if len(self.start) != edge_feats + 1:
            raise ValueError(
                f"start has {len(self.start)} values; give {edge_feats + 1}: one for each edge "
                "feature, and one for the bonds of end atoms"
            )
        self.weight = nn.Parameter(torch.empty(edge_feats + 1))
        self.bias = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set u and c to their initial values."""
        with torch.no_grad():
            self.weight.copy_(torch.tensor(self.start))
            self.bias.fill_(math.log(math.expm1(1.0)))

    def forward(self, edge_feat: Tensor, at_end: Tensor) -> Tensor:
        """``(E, edge_feats)`` and ``(E,)`` to ``(E,)``."""
        value = edge_feat @ self.weight[:-1] + at_end * self.weight[-1]
        # Never so small that a bond stops conducting.
        return F.softplus(value + self.bias) + 1e-4
