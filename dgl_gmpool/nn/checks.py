"""Checks of what a caller gives: features and edge values of the right shape, type and size."""

from __future__ import annotations

import math

import torch
from dgl import DGLGraph
from torch import Tensor

from dgl_gmpool.nn.structure import GraphStructure

#: Squares of larger numbers overflow float64 when summed over features.
LARGEST = 1e150


def check_floating(name: str, values: object) -> None:
    """Raise a TypeError, with how to make one, unless it is a floating-point tensor."""
    if not isinstance(values, Tensor):
        raise TypeError(
            f"{name} is {type(values).__name__}; give a floating-point tensor, for example "
            f"torch.as_tensor({name}, dtype=torch.float32)"
        )
    if not values.is_floating_point():
        raise TypeError(
            f"{name} is {values.dtype}; give a floating-point tensor, for example {name}.float()"
        )


def check_features(feat: Tensor, width: int) -> None:
    """Check that ``feat`` is a floating-point ``(N, width)`` tensor.

    Raises
    ------
    TypeError
        If it is not a floating-point tensor.
    ValueError
        If its shape is wrong.
    """
    check_floating("feat", feat)
    if feat.dim() != 2 or feat.shape[1] != width:
        raise ValueError(
            f"feat has shape {tuple(feat.shape)}; expected (number of nodes, in_feats={width})"
        )


def check_rows(feat: Tensor, used: Tensor, structure: GraphStructure) -> None:
    """Check that there is one row per node and, on a CPU, that values are finite.

    ``used`` is ``feat`` in the dtype of the module, which may hold less than its own. To look at
    values is to wait for a GPU, in every step. There, a NaN stays in the row of its own graph.

    Raises
    ------
    ValueError
        If rows and nodes differ, if a value is NaN or infinite or becomes so (the message names
        graph and node), or if it is beyond 1e150, where squared distances overflow in float64.
    """
    if feat.shape[0] != structure.graph.num_nodes():
        raise ValueError(
            f"feat has {feat.shape[0]} rows, the graph has {structure.graph.num_nodes()} nodes; "
            "pass one row per node of the whole batch"
        )
    if feat.device.type != "cpu" or torch.compiler.is_compiling():
        return
    # A sum is one pass, and it is finite exactly when no term is NaN or infinite, save for
    # overflow, which the second look sorts out.
    if not math.isfinite(float(used.detach().sum())) and not torch.isfinite(used).all():
        row, column = (int(i) for i in (~torch.isfinite(used)).nonzero()[0])
        ends = structure.host_counts.cumsum(0)
        index = int(torch.searchsorted(ends, row, right=True))
        start = int(ends[index - 1]) if index else 0
        value = feat[row, column].item()
        raise ValueError(
            f"feat[{row}, {column}] is {value:g}: node {row - start} of graph {index} of the "
            f"batch{_beyond(value, used.dtype)}. Fix or drop that graph, or look for a "
            "learning rate that let the layers before the pooling diverge"
        )
    if used.dtype == torch.float64 and feat.numel() and feat.detach().abs().max() > LARGEST:
        raise ValueError(
            f"feat holds values up to {feat.detach().abs().max().item():.3g}, whose squares "
            "overflow; standardise the features first"
        )


def _beyond(value: float, dtype: torch.dtype) -> str:
    """Why a value that is finite is not in this dtype."""
    if not math.isfinite(value):
        return ""
    return (
        f", beyond the {torch.finfo(dtype).max:.2g} of {dtype}, in which the module computes; "
        "standardise it, or take a wider dtype, as module.double() does"
    )


def check_edges(
    name: str, values: Tensor | None, graph: DGLGraph, dtype: torch.dtype, *, dims: int
) -> Tensor | None:
    """Check an optional floating-point tensor of one row per edge, and its number of dimensions.

    A column ``(E, 1)`` is taken where ``(E,)`` is expected.

    Raises
    ------
    TypeError, ValueError
        If it is not a floating-point tensor; if its shape is wrong or a value is not finite, or
        not in ``dtype``, in which it is used.
    """
    if values is None:
        return None
    check_floating(name, values)
    if dims == 1 and values.dim() == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dim() != dims or values.shape[0] != graph.num_edges():
        expected = "(number of edges, channels)" if dims == 2 else "(number of edges,)"
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}; expected {expected} for "
            f"{graph.num_edges()} edges"
        )
    used = values.detach().to(dtype)
    on_host = values.device.type == "cpu"
    if on_host and not torch.isfinite(used.sum()) and not torch.isfinite(used).all():
        place = tuple((~torch.isfinite(used)).nonzero()[0].tolist())
        beyond = _beyond(values[place].item(), dtype)
        raise ValueError(
            f"{name}[{place[0]}] is not finite{beyond}; fix or drop that edge before pooling"
        )
    return values
