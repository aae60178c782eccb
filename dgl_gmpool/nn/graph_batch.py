"""Reading a batched DGLGraph, with checks that name the graph, the row and the remedy."""

from __future__ import annotations

import math

import dgl
import torch
from dgl import DGLGraph
from torch import Tensor

#: Squares of larger numbers overflow float64 when summed over features.
LARGEST = 1e150


def node_counts(graph: DGLGraph, feat: Tensor, batch_num_nodes: Tensor | None = None) -> Tensor:
    """Number of nodes of each graph, ``(B,)`` int64, checked against the rows of ``feat``.

    Parameters
    ----------
    graph : DGLGraph
        A graph or a batch of graphs.
    feat : Tensor
        Node features. Shape ``(N, D)``.
    batch_num_nodes : Tensor, optional
        Node counts to use where the graph has lost its own: ``dgl.add_self_loop``,
        ``dgl.reverse``, ``dgl.to_bidirected`` and ``dgl.save_graphs`` all turn a batch into one
        graph.

    Raises
    ------
    TypeError
        If the counts are not integers.
    ValueError
        If counts and rows disagree.
    """
    counts = graph.batch_num_nodes() if batch_num_nodes is None else batch_num_nodes
    counts = torch.as_tensor(counts)
    if counts.is_floating_point():
        raise TypeError(f"batch_num_nodes is {counts.dtype}; give integers")
    counts = counts.to(torch.int64)
    values = counts.flatten().tolist()
    if feat.shape[0] != graph.num_nodes():
        raise ValueError(
            f"feat has {feat.shape[0]} rows, the graph has {graph.num_nodes()} nodes; "
            "pass one row per node of the whole batch"
        )
    if counts.dim() != 1 or sum(values) != graph.num_nodes() or min(values, default=0) < 0:
        raise ValueError(
            f"batch_num_nodes adds up to {sum(values)} and the graph has "
            f"{graph.num_nodes()} nodes; give one non-negative count per graph of the batch"
        )
    return counts


def check_features(
    feat: Tensor, width: int, graph: DGLGraph, batch_num_nodes: Tensor | None = None
) -> None:
    """Check that ``feat`` is a finite floating-point ``(N, width)`` tensor.

    Raises
    ------
    TypeError
        If it is not a floating-point tensor.
    ValueError
        If its shape is wrong, or a value is NaN or infinite: the message names graph and node.
    """
    if not isinstance(feat, Tensor) or not feat.is_floating_point():
        kind = feat.dtype if isinstance(feat, Tensor) else type(feat).__name__
        raise TypeError(f"feat is {kind}; give a floating-point tensor, for example feat.float()")
    if feat.dim() != 2 or feat.shape[1] != width:
        raise ValueError(
            f"feat has shape {tuple(feat.shape)}; expected (number of nodes, in_feats={width})"
        )
    # A sum is one pass, and it is finite exactly when no term is NaN or infinite, save for
    # overflow, which the second look sorts out.
    if not math.isfinite(float(feat.detach().sum())) and not torch.isfinite(feat).all():
        row, column = (int(i) for i in (~torch.isfinite(feat)).nonzero()[0])
        ends = node_counts(graph, feat, batch_num_nodes).cumsum(0).cpu()
        index = int(torch.searchsorted(ends, row, right=True))
        start = int(ends[index - 1]) if index else 0
        raise ValueError(
            f"feat[{row}, {column}] is {feat[row, column].item()}: node {row - start} of graph "
            f"{index} of the batch. Fix or drop that graph, or look for a "
            "learning rate that let the layers before the pooling diverge"
        )


def check_magnitude(feat: Tensor) -> None:
    """Check that squared distances of ``feat`` do not overflow in float64.

    Raises
    ------
    ValueError
        If a float64 value is beyond 1e150; no narrower dtype can hold one.
    """
    if feat.dtype == torch.float64 and feat.numel() and feat.detach().abs().max() > LARGEST:
        raise ValueError(
            f"feat holds values up to {feat.detach().abs().max().item():.3g}, whose squares "
            "overflow; standardise the features first"
        )


def edges_inside(graph: DGLGraph, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Source and destination of each edge, ``(E,)`` int64 each, on the device of ``owner``.

    Parameters
    ----------
    graph : DGLGraph
        A graph or a batch of graphs.
    owner : Tensor
        Which graph each node belongs to. Shape ``(N,)``, int64.

    Raises
    ------
    ValueError
        If an edge joins two graphs, as with wrong node counts.
    """
    source, destination = (ids.to(owner.device, torch.int64) for ids in graph.edges())
    if not torch.equal(owner[source], owner[destination]):
        edge = int((owner[source] != owner[destination]).nonzero()[0])
        raise ValueError(
            f"edge {edge} joins node {int(source[edge])} of graph {int(owner[source[edge]])} "
            f"and node {int(destination[edge])} of graph {int(owner[destination[edge]])}; "
            "check batch_num_nodes"
        )
    return source, destination


def batched_graph(
    source: Tensor,
    destination: Tensor,
    num_nodes: Tensor,
    num_edges: Tensor,
    *,
    like: DGLGraph,
) -> DGLGraph:
    """A DGLGraph from edges already sorted by graph, with its batch information set.

    Id type and device are those of ``like``.
    """
    graph = dgl.graph(
        (source.to(like.device, like.idtype), destination.to(like.device, like.idtype)),
        num_nodes=int(num_nodes.sum()),
        idtype=like.idtype,
        device=like.device,
    )
    graph.set_batch_num_nodes(num_nodes.to(like.device, like.idtype))
    graph.set_batch_num_edges(num_edges.to(like.device, like.idtype))
    return graph
