"""Effective resistance: how much of what goes between two nodes has other ways to go."""

from __future__ import annotations

import torch
from torch import Tensor

from dgl_gmpool.nn.distance import compute_dtype


@torch.no_grad()
def resistance(adjacency: Tensor) -> Tensor:
    r"""Effective resistances of graphs whose edges all have a resistance of 1.

    .. math:: R_{ij} = L^+_{ii} + L^+_{jj} - 2 L^+_{ij}

    with L the Laplacian (Klein and Randic, "Resistance distance", 1993). Of an edge it is the share
    of spanning trees that have it: 1 for a bridge, less the more ways there are around it.

    Parameters
    ----------
    adjacency : Tensor
        An edge wherever an entry, or its mirror, is above 0; the diagonal is not looked at. Shape
        ``(b, n, n)``.

    Returns
    -------
    Tensor
        Shape ``(b, n, n)``, float64 (float32 where the device has no float64) with about twelve
        digits, so that edges alike stay alike in any batch and on any processor; between two
        components it is no number that means anything.

    Examples
    --------
    A triangle with a tail:

    >>> a = torch.tensor([[0., 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]])
    >>> resistance(a[None].double())[0, 2].round(decimals=2).tolist()
    [0.67, 0.67, 0.0, 1.0]
    """
    edge = ((adjacency + adjacency.mT) > 0).to(compute_dtype(adjacency.device))
    edge = edge - torch.diag_embed(edge.diagonal(dim1=-2, dim2=-1))
    together = _components(edge)
    # Constants on a component are what L takes to 0. Shifted by their projection it has an inverse
    # without large entries that would cancel, and of the same differences as L^+.
    shift = together / together.sum(-1, keepdim=True)
    # _ex: on a GPU the other one waits, to look for what has no inverse; this always has one.
    laplacian = torch.diag_embed(edge.sum(-1)) - edge
    inverse = torch.linalg.inv_ex(laplacian + shift).inverse
    own = inverse.diagonal(dim1=-2, dim2=-1)
    return own[:, :, None] + own[:, None, :] - inverse - inverse.mT


def _components(edge: Tensor) -> Tensor:
    """1 where two nodes are in one component, else 0: whoever is reached in 1, 2, 4, ... steps."""
    reached = (edge + torch.eye(edge.shape[-1], dtype=edge.dtype, device=edge.device)).float()
    for _ in range(max(edge.shape[-1] - 1, 1).bit_length()):
        further = ((reached @ reached) > 0).float()
        # Looking at values on a GPU would wait for it longer than the products take.
        if further.device.type == "cpu" and torch.equal(further, reached):
            break
        reached = further
    return reached.to(edge.dtype)
