"""Edge weights for message passing on coarse graphs: symmetrically normalised."""

from __future__ import annotations

import torch
from dgl import DGLGraph
from torch import Tensor


def normalise_edge_weight(graph: DGLGraph, weight: Tensor) -> Tensor:
    r"""Weights divided by the root of their end nodes' degrees, :math:`D^{-1/2} A D^{-1/2}`.

    The entries of A' = S' A S add up all edges between two groups: a group that holds a whole
    molecule has a self-loop of weight 50, and message passing multiplies by it in every step.
    Normalised as by Kipf and Welling (2017), A' has no eigenvalue beyond 1. Entries can be
    negative, so a degree is a sum of absolute values.

    Parameters
    ----------
    graph : DGLGraph
        Any graph or batch.
    weight : Tensor
        One weight per edge. Shape ``(E,)``.

    Returns
    -------
    Tensor
        Shape ``(E,)``.

    Examples
    --------
    >>> import dgl
    >>> g = dgl.graph(([0, 0, 1], [0, 1, 0]))
    >>> normalise_edge_weight(g, torch.tensor([48., 1., 1.])).round(decimals=3).tolist()
    [0.9800000190734863, 0.14300000667572021, 0.14300000667572021]
    """
    source, destination = (ids.to(weight.device, torch.int64) for ids in graph.edges())
    size = weight.abs()
    leaving = size.new_zeros(graph.num_nodes()).index_add(0, source, size)
    arriving = size.new_zeros(graph.num_nodes()).index_add(0, destination, size)
    degree = leaving[source] * arriving[destination]
    return weight / degree.clamp(min=torch.finfo(weight.dtype).tiny).sqrt()
