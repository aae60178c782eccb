"""Features as a network takes them: floating point, one row per node and edge, of its widths."""

from __future__ import annotations

import math

import torch
from dgl import DGLGraph
from torch import Tensor, nn

from dgl_gmpool.nn.checks import check_floating
from dgl_gmpool.nn.structure import check_homogeneous


def check_inputs(
    graph: DGLGraph,
    node_feats: Tensor,
    edge_feats: Tensor | None,
    *,
    node_in_feats: int,
    edge_in_feats: int,
    network: nn.Module | None,
) -> Tensor:
    """The edge features; zeros where none are needed, and so none have to be given.

    ``network`` is what takes them; None where it takes codes.

    Raises
    ------
    TypeError, ValueError
        On integer or misshapen features, on double ones for a network that is not and the other
        way round, on missing ones of edges, and on graphs with several kinds of nodes or edges.
    """
    check_rows("node", node_feats, graph, node_in_feats, network)
    edges = graph.num_edges()
    if edge_feats is None:
        if edge_in_feats and edges:
            raise ValueError(
                f"edge_feats is missing; pass one row of {edge_in_feats} for each of the {edges} "
                "edges, or make the network with edge_in_feats=0"
            )
        edge_feats = node_feats.new_zeros(edges, edge_in_feats)
    check_rows("edge", edge_feats, graph, edge_in_feats, network)
    return edge_feats


def check_rows(
    what: str, values: Tensor, graph: DGLGraph, width: int, network: nn.Module | None = None
) -> None:
    """Refuse features of nodes or edges, as ``what`` says, that are no floating-point ``(rows,
    width)``, or that the network cannot compute with; None takes codes, of any type."""
    check_homogeneous(graph)
    name, rows = f"{what}_feats", graph.num_nodes() if what == "node" else graph.num_edges()
    check_floating(name, values)
    if values.shape != (rows, width):
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}; expected {(rows, width)}: {rows} "
            f"{what}s, as wide as the network was made ({what}_in_feats={width})"
        )
    parameters = () if network is None else network.parameters()
    dtype = next((each.dtype for each in parameters), values.dtype)
    # Other types go together under autocast.
    if dtype != values.dtype and torch.float64 in (dtype, values.dtype):
        raise TypeError(
            f"{name} is {values.dtype} and the network {dtype}; give {name}.to({dtype}), or change "
            f"the network: .to({values.dtype})"
        )


def check_finite(what: str, values: Tensor, graph: DGLGraph) -> None:
    """Refuse features of nodes, edges or graphs (``"global"``) that are not finite, on a CPU: to
    look is to wait for a GPU."""
    if values.device.type != "cpu" or torch.compiler.is_compiling():
        return
    # A sum is one pass; where it is finite, no term is not.
    if not math.isfinite(float(values.detach().sum())) and not torch.isfinite(values).all():
        row, column = (~torch.isfinite(values)).nonzero()[0].tolist()
        counts = graph.batch_num_nodes() if what == "node" else graph.batch_num_edges()
        index = row if what == "global" else int((counts.cumsum(0) <= row).sum())
        raise ValueError(
            f"{what}_feats[{row}, {column}] is {values[row, column].item():g}, in graph {index} of "
            "the batch; fix or drop that graph"
        )
