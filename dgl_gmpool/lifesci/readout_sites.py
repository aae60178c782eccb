"""Where a model keeps its readout, how wide the node features are, and which layer consumes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from dgl_gmpool.lifesci.pooled_head import PooledHead

PREDICTORS = (
    "GCN, GAT, GATv2, MPNN, AttentiveFP, Weave, NF, GIN, GNNOGB, PAGTN, MGCN and SchNet, and the "
    "regressors of dgl-lifesci's MTL example"
)

#: Attributes that hold what comes after the readout.
HEADS = ("predict", "regressor")

#: Layers that may stand between the readout and the linear layer without changing the width.
SAME_WIDTH = (nn.Dropout, nn.Identity)


@dataclass(frozen=True)
class ReadoutSite:
    """One place of a model where a readout is called.

    Attributes
    ----------
    attribute : str
        Dotted path of the readout.
    layer : str or None
        Dotted path of the ``torch.nn.Linear`` that takes its output; None where the readout makes
        the predictions by itself.
    in_feats : int
        Width of the node features that the readout gets.
    extra : int
        Inputs of that layer that come from elsewhere.
    """

    attribute: str
    layer: str | None
    in_feats: int
    extra: int = 0


def get_path(model: nn.Module, path: str) -> Any:
    """``model.a.b`` for ``"a.b"``; numbers index a Sequential or ModuleList.

    >>> get_path(nn.Sequential(nn.ReLU(), nn.Linear(2, 3)), "1").out_features
    3
    """
    found: Any = model
    for depth, name in enumerate(path.split(".")):
        if not hasattr(found, name):
            before = ".".join(path.split(".")[:depth]) or type(model).__name__
            inside = (
                [child for child, _ in found.named_children()]
                if isinstance(found, nn.Module)
                else []
            )
            raise ValueError(
                f"{path!r} is no path in {type(model).__name__}: {before} has no {name!r}"
                + (f"; it has {', '.join(inside)}" if inside else "")
            )
        found = getattr(found, name)
    return found


def set_path(model: nn.Module, path: str, value: nn.Module) -> None:
    """Put a module at a dotted path."""
    parent, _, name = path.rpartition(".")
    setattr(get_path(model, parent) if parent else model, name, value)


def find_sites(
    model: nn.Module,
    *,
    attribute: str | None = None,
    layer: str | None = None,
    in_feats: int | None = None,
) -> list[ReadoutSite]:
    """The places where ``model`` calls a readout; one, or one per task.

    What is given is taken as it is, the rest is found.

    Raises
    ------
    ValueError
        If something cannot be found; the message says what to give.
    """
    readouts, heads = getattr(model, "readouts", None), getattr(model, "regressors", None)
    if attribute is None and not hasattr(model, "readout") and isinstance(readouts, nn.ModuleList):
        if layer is not None:
            raise ValueError(
                f"{type(model).__name__} has {len(readouts)} readouts; to name a layer, swap them "
                f"one by one: attribute='readouts.0', layer={layer!r}, and so on"
            )
        if not isinstance(heads, nn.ModuleList) or len(heads) != len(readouts):
            raise _unknown(model, "it has 'readouts', but no 'regressors' to go with them")
        return [
            _site(model, f"readouts.{i}", _first_linear(head, f"regressors.{i}"), in_feats)
            for i, head in enumerate(heads)
        ]
    if attribute is None:
        attribute = "readout"
        if not hasattr(model, attribute):
            raise _unknown(model, "it has no attribute 'readout'")
    if layer is None:
        head = next((name for name in HEADS if hasattr(model, name)), None)
        if head is not None:
            layer = _first_linear(getattr(model, head), head)
        elif _predicts(get_path(model, attribute)):
            return [_predicting_site(model, attribute, in_feats)]
        else:
            raise _unknown(model, f"it has none of {', '.join(map(repr, HEADS))}")
        return [_site(model, attribute, layer, in_feats)]
    return [_site(model, attribute, layer, in_feats, named=True)]


def _site(
    model: nn.Module,
    attribute: str,
    layer: str | None,
    in_feats: int | None,
    *,
    named: bool = False,
) -> ReadoutSite:
    readout = get_path(model, attribute)
    if layer is None:
        raise _unknown(model, "no linear layer comes first in what follows the readout")
    consumer = get_path(model, layer)
    if not isinstance(consumer, nn.Linear):
        raise ValueError(
            f"layer={layer!r} is a {type(consumer).__name__}; give the torch.nn.Linear that takes "
            "what the readout returns"
        )
    _check_plain(layer, consumer)
    width, out = _widths(readout, consumer.in_features)
    if in_feats is not None:
        if width is not None and width != in_feats and _states_width(readout):
            raise ValueError(
                f"in_feats is {in_feats}, but {attribute} ({type(readout).__name__}) takes node "
                f"features of width {width}; leave in_feats out"
            )
        width = in_feats
    if width is None:
        raise _unknown(
            model, f"its readout, a {type(readout).__name__}, does not say how wide its input is"
        )
    extra = 0 if out is None else consumer.in_features - out
    if extra < 0 or (extra > 0 and not named):
        raise _unknown(
            model,
            f"{layer} takes {consumer.in_features} inputs and {attribute} makes {out}"
            + ("; if the others come from elsewhere, confirm the layer" if extra > 0 else ""),
        )
    return ReadoutSite(attribute, layer, width, extra)


def _check_plain(path: str, layer: nn.Linear) -> None:
    """Raise a ValueError for a layer that a new ``torch.nn.Linear`` would not be the like of."""
    own = {name for name, _ in layer.named_parameters()} - {"weight", "bias"}
    if type(layer) is not nn.Linear or own:
        raise ValueError(
            f"layer {path!r} is more than a torch.nn.Linear ({type(layer).__name__}"
            f"{''.join(f', {name}' for name in sorted(own))}), and the new one would not be: take "
            "its weight normalisation or the like off before the swap, or put a plain "
            "torch.nn.Linear there, and put it on again afterwards"
        )


def _predicting_site(model: nn.Module, attribute: str, in_feats: int | None) -> ReadoutSite:
    readout = get_path(model, attribute)
    if isinstance(readout, PooledHead):
        found: Any = readout.pool.in_feats
    else:
        found = readout.in_project.in_features
    _check_plain(f"{attribute}.in_project", readout.in_project)
    if in_feats is not None and in_feats != found:
        raise ValueError(f"in_feats is {in_feats}, but {attribute} takes {found}; leave it out")
    return ReadoutSite(attribute, None, found)


def _predicts(readout: object) -> bool:
    """Whether a readout makes the predictions by itself."""
    return isinstance(readout, PooledHead) or (
        isinstance(getattr(readout, "in_project", None), nn.Linear)
        and isinstance(getattr(readout, "out_project", None), nn.Linear)
    )


def _first_linear(module: nn.Module, path: str) -> str | None:
    if isinstance(module, nn.Linear):
        return path
    if isinstance(module, nn.Sequential):
        for name, child in module.named_children():
            if not isinstance(child, SAME_WIDTH):
                return _first_linear(child, f"{path}.{name}")
        return None
    inner = getattr(module, "predict", None)
    return _first_linear(inner, f"{path}.predict") if isinstance(inner, nn.Module) else None


# What DGL's and dgllife's readouts say about the width of their input, and by how much their
# output is wider. None: the readout does not say.
_Width = Callable[[Any], int | None]
KNOWN: dict[str, tuple[_Width, Callable[[Any], int]]] = {
    "WeightedSumAndMax": (lambda r: r.weight_and_sum.in_feats, lambda r: 2),
    "WeightAndSum": (lambda r: r.in_feats, lambda r: 1),
    "Set2Set": (lambda r: r.input_dim, lambda r: 2),
    "AttentiveFPReadout": (lambda r: r.readouts[0].project_nodes[1].in_features, lambda r: 1),
    "WeaveGather": (lambda r: r.to_out.out_features if r.gaussian_expand else None, lambda r: 1),
    "SumAndMax": (lambda r: None, lambda r: 2),
    "SumPooling": (lambda r: None, lambda r: 1),
    "AvgPooling": (lambda r: None, lambda r: 1),
    "MaxPooling": (lambda r: None, lambda r: 1),
    "SortPooling": (lambda r: None, lambda r: r.k),
    "SetTransformerDecoder": (lambda r: r.d_model, lambda r: r.k),
    "GlobalAttentionPooling": (lambda r: getattr(r.gate_nn, "in_features", None), lambda r: 1),
}


def _widths(readout: object, consumed: int) -> tuple[int | None, int | None]:
    """Input and output width of a readout; where it has none of its own, from its consumer."""
    width, out = getattr(readout, "in_feats", None), getattr(readout, "out_feats", None)
    if isinstance(width, int) and isinstance(out, int):
        return width, out
    known = _known(readout)
    if known is None:
        return (width if isinstance(width, int) else None), None
    find, times = known
    found, factor = find(readout), times(readout)
    if found is not None:
        return found, factor * found
    return consumed // factor, consumed // factor * factor


def _states_width(readout: object) -> bool:
    known = _known(readout)
    return isinstance(getattr(readout, "in_feats", None), int) or (
        known is not None and known[0](readout) is not None
    )


def _known(readout: object) -> tuple[_Width, Callable[[Any], int]] | None:
    for cls in type(readout).__mro__:
        if cls.__module__.split(".")[0] in ("dgl", "dgllife") and cls.__name__ in KNOWN:
            return KNOWN[cls.__name__]
    return None


def _unknown(model: nn.Module, why: str) -> ValueError:
    name = type(model).__name__
    hint = ""
    if isinstance(getattr(model, "module", None), nn.Module):
        hint = f" {name} wraps a model: swap the readout of model.module."
    elif name == "MoleculePredictor":
        hint = " MoleculePredictor takes the readout when it is made: readout='...'."
    return ValueError(
        f"swap_readout cannot tell how {name} uses its readout: {why}.{hint} For a model of your "
        "own, give attribute= (dotted path of the readout, called as readout(graph, node_feats); "
        "default 'readout'), layer= (dotted path of the torch.nn.Linear that takes what the "
        "readout returns) and, unless the present readout states it, in_feats= (width of the node "
        f"features). Recognised without: {PREDICTORS} of dgllife"
    )
