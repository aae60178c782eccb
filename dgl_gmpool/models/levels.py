"""The levels of a network: a backbone and a pooling of each, and which readouts can have more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

from torch import nn

from dgl_gmpool._options import positive_int
from dgl_gmpool.models.backbones import Backbone, get_backbone
from dgl_gmpool.registry import get_readout, readout_entry

#: Backbones that take a coarse graph's edge weights as one more edge feature.
WEIGHT_AS_FEATURE = ("mpnn", "attentivefp")


def check_levels(
    levels: int,
    readout: str,
    backbone: str | nn.Module = "dmpnn",
    backbone_options: Mapping[str, Any] | None = None,
) -> None:
    """Raise a ValueError, before anything is built, where these levels make no sense."""
    positive_int("levels", levels)
    entry = readout_entry(readout)
    if levels == 1:
        return
    if not entry.coarsens:
        raise ValueError(
            f"levels={levels} needs a pooling that coarsens graphs, and readout {readout!r} does "
            "not; use levels=1, or readout='gmpool'"
        )
    if entry.single_level:
        raise ValueError(
            f"levels={levels}, but {readout!r} is defined for a single level only: two pooling "
            "operators do not commute, so their product no longer reduces to grouping matrices, "
            "and activations between levels do not commute with pooling (section 'Pooling without "
            "Decomposing The Grouping Matrix' of the paper). Use levels=1, or readout='gmpool'"
        )
    if not isinstance(backbone, str):
        raise ValueError(
            f"levels={levels} builds one backbone per level; name it instead of passing a module"
        )
    if backbone == "gin":
        raise ValueError(
            "backbone 'gin' reads codes of atoms and bonds, and the groups between two levels have "
            f"none; use levels=1, or another backbone with levels={levels}"
        )
    if backbone == "gcn" and not (backbone_options or {}).get("edges"):
        raise ValueError(
            "dgllife's GCN takes neither edge weights nor edge features, so it cannot see how "
            f"strongly coarse nodes are joined; with levels={levels}, use backbone 'dmpnn', 'mpnn' "
            "or 'attentivefp', or, where backbone_options (--backbone-option) can be given, "
            "edges=True"
        )


def make_backbones(
    backbone: str | nn.Module,
    node_in_feats: int,
    edge_in_feats: int,
    *,
    levels: int,
    options: Mapping[str, Any],
    **sizes: Any,
) -> list[Backbone]:
    """The network of each level, on what the level before gives; ``options`` and ``sizes`` are
    those of :func:`~dgl_gmpool.models.backbones.get_backbone`."""
    found: list[Backbone] = []
    nodes, edges = node_in_feats, edge_in_feats
    for level in range(levels):
        if isinstance(backbone, nn.Module):
            if options:
                raise ValueError(
                    f"backbone_options {dict(options)} are for a named backbone; set them in your "
                    f"own {type(backbone).__name__}"
                )
            gnn = _wrap(backbone)
        else:
            # From the second level on, edges carry weights.
            gnn = get_backbone(
                backbone,
                node_in_feats=nodes,
                edge_in_feats=edges + (level > 0 and backbone in WEIGHT_AS_FEATURE),
                options=options,
                **sizes,
            )
        found.append(gnn)
        nodes, edges = gnn.out_feats, gnn.edge_out_feats or edges
    return found


def make_poolings(
    readout: str, options: Mapping[str, Any], widths: Sequence[int], *, lift: bool
) -> list[Any]:
    """The pooling of each level, whose backbones have these widths."""
    # To coarsen takes no readout: that of the last level alone is made.
    inner = dict(options)
    if len(widths) > 1 and hasattr(readout_entry(readout).factory, "PAPER"):
        inner["aggregate"] = "mean"
    # A lifted network reads its atoms out.
    seen = [*widths[:-1], widths[0] if lift else widths[-1]]
    return [
        get_readout(readout, in_feats=width, **own)
        for width, own in zip(seen, [inner] * (len(widths) - 1) + [dict(options)])
    ]


def _wrap(gnn: nn.Module) -> Backbone:
    if isinstance(gnn, Backbone):
        return gnn
    name, width = type(gnn).__name__, getattr(gnn, "out_feats", None)
    wrapped = f"wrap it: dgl_gmpool.models.Backbone({name}(...), out_feats=WIDTH"
    third = _third_argument(gnn)
    # DGL's convolutions have weights of edges there, or a weight matrix.
    if third == "nothing" or "weight" in third:
        raise ValueError(
            f"backbone {name} is called with graph, node_feats and edge_feats, and it takes "
            f"{third} as the third; {wrapped}, takes_edges=False), where WIDTH is that of its node "
            "states"
        )
    if not isinstance(width, int):
        raise ValueError(
            f"backbone {name} has no integer out_feats; set it to the width of its node states, "
            f"or {wrapped})"
        )
    return Backbone(gnn, width)


def _third_argument(gnn: nn.Module) -> str:
    """The name of the third argument of a call, or "nothing"."""
    try:
        return list(signature(gnn.forward).bind(*range(3)).arguments)[-1]
    except TypeError:
        return "nothing"
