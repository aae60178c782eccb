"""Features as a network takes them: floating point, one row per node and edge, of its widths."""

from __future__ import annotations

from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.structure import check_homogeneous


def check_inputs(
    graph: DGLGraph,
    node_feats: Tensor,
    edge_feats: Tensor | None,
    *,
    node_in_feats: int,
    edge_in_feats: int,
) -> Tensor:
    """The edge features; zeros where none are needed, and so none have to be given.

    Raises
    ------
    TypeError, ValueError
        On integer or misshapen features, on missing ones of edges, and on graphs with several kinds
        of nodes or edges.
    """
    check_homogeneous(graph)
    edges = graph.num_edges()
    if edge_feats is None:
        if edge_in_feats and edges:
            raise ValueError(
                f"edge_feats is missing; pass one row of {edge_in_feats} for each of the {edges} "
                "edges, or make the network with edge_in_feats=0"
            )
        edge_feats = node_feats.new_zeros(edges, edge_in_feats)
    check_rows("node", node_feats, graph.num_nodes(), node_in_feats)
    check_rows("edge", edge_feats, edges, edge_in_feats)
    return edge_feats


def check_rows(what: str, values: Tensor, rows: int, width: int) -> None:
    """Refuse features of nodes or edges, as ``what`` says, that are no floating-point ``(rows,
    width)``."""
    if not values.is_floating_point():
        raise TypeError(f"{what}_feats is {values.dtype}; give a floating-point tensor")
    if values.shape != (rows, width):
        raise ValueError(
            f"{what}_feats has shape {tuple(values.shape)}; expected {(rows, width)}: {rows} "
            f"{what}s, as wide as the network was made ({what}_in_feats={width})"
        )
