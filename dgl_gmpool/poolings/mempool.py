"""Memory pooling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dgl_gmpool._options import finite_number, positive_int
from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.pooling import Pooling, check_weight, mean_over_graphs


class OverHeads(nn.Conv2d):
    """The convolution of kernel size 1 over heads, in the dtype of its input."""

    def forward(self, shares: Tensor) -> Tensor:
        """``(N, heads, K)`` to ``(N, K)``."""
        return (self.weight.view(1, -1, 1).to(shares.dtype) * shares).sum(1)


class MemPool(Pooling):
    r"""Shares in clusters whose centres are learned keys, compared by several heads.

    .. math::
        S^{(h)}_{ij} \propto
            (1 + \lVert x_i - k^{(h)}_j \rVert^2 / \tau)^{-(1 + \tau) / 2}, \quad
        S = \mathrm{softmax}(\textstyle\sum_h c_h S^{(h)}), \quad X' = S^T X W

    Khasahmadi et al., "Memory-Based Graph Networks" (2020), as in PyTorch Geometric. The method
    makes no coarse edges; here A' = S' A S and E' = S' E S as for every other pooling.

    Each row of S adds up to 1, so mean and sum over all clusters equal those over all nodes up to
    a factor, whatever S is. That is why the readout takes the maximum by default.

    Loss (:func:`.collect_losses`): ``kl``, the divergence of S from its sharpened self
    :math:`P_{ij} \propto S_{ij}^2 / \sum_i S_{ij}`, summed over the nodes of a graph.

    Parameters
    ----------
    in_feats : int
        Width D of the node features, and of X'.
    num_clusters : int, optional
        Number of keys K of each head. Default 10, the paper's pooling size.
    heads : int, optional
        Number of heads. Default 5.
    tau : float, optional
        Degrees of freedom of the Student kernel, > 0. Default 1.
    kl_weight : float, optional
        What the loss is multiplied with; 0 leaves it out. Default 1.
    aggregate : str, optional
        How the readout reduces the clusters. Default ``"max"``.

    Examples
    --------
    >>> import dgl
    >>> pool = MemPool(4, num_clusters=2, heads=3)
    >>> coarse = pool.coarsen(dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1])), torch.randn(3, 4))
    >>> coarse.feat.shape, sorted(coarse.losses)
    (torch.Size([2, 4]), ['kl'])
    """

    shown = (*Pooling.shown, "num_clusters", "heads", "tau", "kl_weight")

    def __init__(
        self,
        in_feats: int,
        *,
        num_clusters: int = 10,
        heads: int = 5,
        tau: float = 1.0,
        kl_weight: float = 1.0,
        aggregate: str = "max",
    ) -> None:
        super().__init__(in_feats, aggregate=aggregate)
        self.num_clusters = positive_int("num_clusters", num_clusters)
        self.heads = positive_int("heads", heads)
        self.tau = finite_number("tau", tau, above=0)
        self.kl_weight = check_weight("kl_weight", kl_weight)
        # Named and shaped as in PyTorch Geometric.
        self.k = nn.Parameter(torch.empty(heads, num_clusters, in_feats))
        self.conv = OverHeads(heads, 1, kernel_size=1, bias=False)
        self.lin = nn.Linear(in_feats, in_feats, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw keys uniformly from [-1, 1], and the linear maps anew."""
        nn.init.uniform_(self.k, -1, 1)
        super().reset_parameters()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if type(self.conv) is nn.Conv2d:  # pickled whole before 0.7.1
            self.conv.__class__ = OverHeads

    def assign(self, batch: GraphBatch) -> Assignment:
        # torch has no distances in half precision, which would not do for the divergence either.
        wide = torch.promote_types(batch.feat.dtype, torch.float32)
        feat, keys = batch.feat.to(wide), self.k.flatten(0, 1).to(wide)
        # Differences, not products: x.x + k.k - 2 x.k has no digits left where x is near k.
        distance = torch.cdist(feat, keys, compute_mode="donot_use_mm_for_euclid_dist")
        kernel = -(1 + self.tau) / 2 * (distance.square() / self.tau).log1p()
        # A power normalised over the keys is a softmax of its logarithm, which cannot underflow.
        shares = kernel.unflatten(1, (self.heads, self.num_clusters)).softmax(2)
        logits = self.conv(shares)
        return Assignment.from_rows(
            batch.layout, logits.softmax(1), losses=self._auxiliary(batch, logits.log_softmax(1))
        )

    def transform(self, rows: Tensor) -> Tensor:
        return self.lin(rows)

    def _auxiliary(self, batch: GraphBatch, log_rows: Tensor) -> dict[str, Tensor]:
        if not self.kl_weight:
            return {}
        mass = batch.segments.broadcast(batch.segments.sum(log_rows.exp()))
        log_mass = mass.clamp(min=torch.finfo(mass.dtype).tiny).log()
        log_target = (2 * log_rows - log_mass).log_softmax(1)
        divergence = (log_target.exp() * (log_target - log_rows)).sum(1, keepdim=True)
        each = batch.segments.sum(divergence)[batch.counts > 0][:, 0]
        return {"kl": self.kl_weight * mean_over_graphs([each], log_rows)}
