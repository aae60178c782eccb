"""Bayesian nonparametric pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Beta, kl_divergence
from torch.nn import functional as F

from dgl_gmpool._options import finite_number, positive_int
from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.pooling import Pooling, check_weight, mean_over_graphs

#: Stick fractions are kept this far from 0 and 1, where their logarithms are infinite.
MARGIN = 1e-6

#: Range of the parameters of the Beta distributions.
CONCENTRATION = (1e-3, 1e3)


class BNPool(Pooling):
    r"""Shares in clusters from a Dirichlet process: as many as are worth it, up to a cap.

    .. math::
        v_{ik} \sim \mathrm{Beta}(\alpha_{ik}, \beta_{ik}), \quad
        [\alpha_i, \beta_i] = \mathrm{softplus}(W x_i + b), \quad
        S_{ik} = v_{ik} \textstyle\prod_{j < k} (1 - v_{ij})

    Castellana and Bianchi, "BN-Pool: Bayesian Nonparametric Graph Pooling" (2025). In training v
    is sampled, in evaluation it is its mean, so that a prediction does not change from call to
    call (torch-geometric-pool samples there too). ``num_clusters`` of the result is counted by
    eigenvalues, not set to the cap. X' = S' X, A' = S' A S as for every other pooling.

    Each row of S adds up to 1, so mean and sum over all clusters equal those over all nodes up to
    a factor, whatever S is. That is why the readout takes the maximum by default.

    Losses (:func:`.collect_losses`), of a graph of n nodes, all divided by n^2: ``reconstruction``,
    the cross-entropy of sigmoid(S K S') and A, edges weighted to count as much as the other pairs;
    ``kl``, the divergence of the sticks' Betas from the prior Beta(1, concentration), summed;
    ``link_prior``, :math:`\sum (K - \mu)^2 / 2 \sigma^2` for the trained matrix K of links
    between clusters.

    Parameters
    ----------
    in_feats : int
        Width D of the node features.
    max_clusters : int, optional
        Where the Dirichlet process is cut off, >= 2. Default 20.
    concentration : float, optional
        Of the Dirichlet process: the larger, the more clusters. Default 1.
    link_init, link_mean, link_variance : float, optional
        K starts at ``link_init`` and its prior has mean ``link_mean`` on the diagonal, minus these
        off it; and this variance. Defaults 1, 10, 1.
    reconstruction_weight, kl_weight, link_prior_weight : float, optional
        What the losses are multiplied with; 0 leaves one out. Defaults 1, 1 and 1/80:
        torch-geometric-pool divides the third by the size of the batch as well, so that it
        depends on that; 80 is the batch size of GMPool's paper.
    aggregate : str, optional
        How the readout reduces the clusters. Default ``"max"``.

    Examples
    --------
    >>> import dgl
    >>> pool = BNPool(4, max_clusters=6).eval()
    >>> coarse = pool.coarsen(dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1])), torch.randn(3, 4))
    >>> coarse.feat.shape, sorted(coarse.losses)
    (torch.Size([6, 4]), ['kl', 'link_prior', 'reconstruction'])
    """

    shown = (*Pooling.shown, "max_clusters", "concentration")

    def __init__(
        self,
        in_feats: int,
        *,
        max_clusters: int = 20,
        concentration: float = 1.0,
        link_init: float = 1.0,
        link_mean: float = 10.0,
        link_variance: float = 1.0,
        reconstruction_weight: float = 1.0,
        kl_weight: float = 1.0,
        link_prior_weight: float = 1 / 80,
        aggregate: str = "max",
    ) -> None:
        super().__init__(in_feats, aggregate=aggregate)
        self.max_clusters = positive_int("max_clusters", max_clusters, least=2)
        self.concentration = finite_number("concentration", concentration, above=0)
        self.link_init = finite_number("link_init", link_init)
        self.link_mean = finite_number("link_mean", link_mean)
        self.link_variance = finite_number("link_variance", link_variance, above=0)
        self.reconstruction_weight = check_weight("reconstruction_weight", reconstruction_weight)
        self.kl_weight = check_weight("kl_weight", kl_weight)
        self.link_prior_weight = check_weight("link_prior_weight", link_prior_weight)
        self.lin = nn.Linear(in_feats, 2 * (max_clusters - 1))
        self.links = nn.Parameter(torch.empty(max_clusters, max_clusters))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the linear map anew and set K to its initial value."""
        super().reset_parameters()
        with torch.no_grad():
            self.links.copy_(self.link_init * self._signs())

    def assign(self, batch: GraphBatch) -> Assignment:
        # torch draws from no Beta in half precision, in which the squares of sizes overflow, too.
        wide = torch.promote_types(batch.feat.dtype, torch.float32)
        parameters = F.softplus(self.lin(batch.feat).to(wide)).clamp(*CONCENTRATION)
        alpha, beta = parameters.split(self.max_clusters - 1, dim=1)
        posterior = Beta(alpha, beta, validate_args=False)
        stick = posterior.rsample() if self.training else posterior.mean
        rows = stick_breaking(stick)
        return Assignment.from_rows(
            batch.layout, rows, losses=self._auxiliary(batch, rows, posterior)
        )

    def _auxiliary(self, batch: GraphBatch, rows: Tensor, posterior: Beta) -> dict[str, Tensor]:
        layout, links, losses = batch.layout, self.links.to(rows.dtype), {}
        filled = batch.counts > 0
        squares = batch.counts[filled].to(rows.dtype).square()
        if self.reconstruction_weight:
            parts = []
            for bucket, assign, adjacency in zip(
                layout.buckets, layout.blocks(rows), batch.adjacency
            ):
                parts.append(_reconstruction(assign, links, adjacency, bucket.mask))
            losses["reconstruction"] = self.reconstruction_weight * mean_over_graphs(parts, rows)
        if self.kl_weight:
            ones = torch.ones_like(posterior.concentration1)
            prior = Beta(ones, self.concentration * ones, validate_args=False)
            each = kl_divergence(posterior, prior).sum(1, keepdim=True)
            each = batch.segments.sum(each)[filled][:, 0] / squares
            losses["kl"] = self.kl_weight * mean_over_graphs([each], rows)
        if self.link_prior_weight:
            gap = links - self.link_mean * self._signs()
            energy = gap.square().sum() / (2 * self.link_variance)
            losses["link_prior"] = self.link_prior_weight * mean_over_graphs(
                [energy / squares], rows
            )
        return losses

    def _signs(self) -> Tensor:
        """1 on the diagonal, -1 off it."""
        return 2 * torch.eye(self.max_clusters).to(self.links) - 1


def stick_breaking(stick: Tensor) -> Tensor:
    """S_k = v_k * prod_{j<k} (1 - v_j), and the last cluster takes what is left.

    Parameters
    ----------
    stick : Tensor
        The fractions v, in [0, 1]. Shape ``(..., K - 1)``.

    Returns
    -------
    Tensor
        Shape ``(..., K)``; adds up to 1.

    Examples
    --------
    >>> stick_breaking(torch.tensor([0.5, 0.5, 0.75])).tolist()
    [0.5, 0.25, 0.1875, 0.0625]
    """
    stick = stick.clamp(MARGIN, 1 - MARGIN)
    left = F.pad((-stick).log1p().cumsum(-1), (1, 0))
    return (F.pad(stick.log(), (0, 1)) + left).exp()


def _reconstruction(assign: Tensor, links: Tensor, adjacency: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy of sigmoid(S K S') and A, ``(b,)``; edges count as much as the other pairs."""
    pair = mask[:, :, None] & mask[:, None, :]
    edge = (adjacency != 0) & pair
    logits = assign @ links @ assign.mT
    loss = F.binary_cross_entropy_with_logits(logits, edge.to(logits.dtype), reduction="none")
    pairs = mask.sum(1).square()
    edges = edge.sum((1, 2))
    balance = (pairs - edges).clamp(min=1) / edges.clamp(min=1)
    weight = torch.where(edge, balance[:, None, None].to(loss.dtype), 1) * pair
    return (weight * loss).sum((1, 2)) / pairs
