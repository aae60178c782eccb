"""Effective resistance: how much of what goes between two nodes has other ways to go."""

from __future__ import annotations

import torch
from torch import Tensor

#: Every node leaks this much, so that L has an inverse, of one component or several. R is changed
#: by less than that; much less would lose the digits that cancel.
LEAK = 1e-4


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
        Shape ``(b, n, n)``; between two components it is no number that means anything.

    Examples
    --------
    A triangle with a tail:

    >>> a = torch.tensor([[0., 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]])
    >>> resistance(a[None].double())[0, 2].round(decimals=2).tolist()
    [0.67, 0.67, 0.0, 1.0]
    """
    edge = ((adjacency + adjacency.mT) > 0).to(adjacency.dtype)
    edge = edge - torch.diag_embed(edge.diagonal(dim1=-2, dim2=-1))
    inverse = torch.linalg.inv(torch.diag_embed(edge.sum(-1) + LEAK) - edge)
    own = inverse.diagonal(dim1=-2, dim2=-1)
    return own[:, :, None] + own[:, None, :] - inverse - inverse.mT
