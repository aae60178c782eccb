"""Another readout in a trained or new predictor."""

from __future__ import annotations

import copy
import inspect
import warnings
from typing import Any, TypeVar

from torch import nn

from dgl_gmpool.lifesci.pooled_head import PooledHead
from dgl_gmpool.lifesci.readout_sites import ReadoutSite, find_sites, get_path, set_path
from dgl_gmpool.nn.exchange import GroupExchange
from dgl_gmpool.nn.locality import Diffusion
from dgl_gmpool.poolings.mlp import MLPReadout
from dgl_gmpool.registry import check_options, get_readout, readout_entry

Model = TypeVar("Model", bound=nn.Module)

#: Networks of dgllife whose graphs join atoms without a bond: all pairs, or all within a distance.
#: A diffusion along their edges says nothing of where atoms are in the molecule.
WITHOUT_BONDS = ("WeaveGNN", "PAGTNGNN", "MGCNGNN", "SchNetGNN")


def swap_readout(
    model: Model,
    readout: str | nn.Module,
    *,
    attribute: str | None = None,
    layer: str | None = None,
    in_feats: int | None = None,
    **options: Any,
) -> Model:
    """Give a predictor another readout.

    Works on every predictor of dgllife (GCN, GAT, GATv2, MPNN, AttentiveFP, Weave, NF, GIN,
    GNNOGB, PAGTN, MGCN, SchNet), on the regressors of dgl-lifesci's MTL example, and on models of
    your own through ``layer``. Two things change: the readout, and the one linear layer that takes
    its output, which is made anew for the new width (also where the width stays: its weights were
    fitted to another readout). Everything else stays, so a pretrained backbone stays pretrained.
    Device, dtype and training mode are those of the layer replaced. Make the optimizer afterwards.

    Weave, PAGTN, MGCN and SchNet, and what is built on their networks, take graphs that join atoms
    without a bond. Groups of GMPool and NGMPool are not local there (``locality="none"``, unless it
    is given), and a warning says so; a module of yours stays as it is, with a warning.

    PAGTN, MGCN and SchNet predict inside their readout, atom by atom. They get the new readout
    followed by the same two layers; ``swap_readout(model, "mlp")`` brings the original order back.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    readout : str or torch.nn.Module
        A name from :func:`dgl_gmpool.list_readouts`, or a module that is called as
        ``readout(graph, feat)`` and states ``out_feats``. A model with one readout per task gets
        one copy per task.
    attribute : str, optional
        Dotted path of the readout in a model of your own. Default ``"readout"``.
    layer : str, optional
        Dotted path of the ``torch.nn.Linear`` that takes the readout's output in a model of your
        own, for example ``"head.1"``. Inputs of it that do not come from the readout (descriptors
        joined to it) are kept, if the present readout states its width.
    in_feats : int, optional
        Width of the node features, where the present readout does not state it.
    **options
        Of the readout named.

    Returns
    -------
    torch.nn.Module
        ``model`` itself.

    Raises
    ------
    ValueError
        On an unknown name or option, and on a model whose readout cannot be found; the message
        lists what to give. The model is then unchanged.

    Examples
    --------
    >>> from dgl_gmpool._environment import import_dgllife
    >>> model = import_dgllife("model").GCNPredictor(74, hidden_feats=[64, 64])
    >>> model.predict.predict[1]
    Linear(in_features=128, out_features=128, bias=True)
    >>> model = swap_readout(model, "ngmpool", aggregate="mean")
    >>> model.predict.predict[1]
    Linear(in_features=64, out_features=128, bias=True)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; give a torch.nn.Module")
    _check_readout(readout, options)
    sites = find_sites(model, attribute=attribute, layer=layer, in_feats=in_feats)
    options = _without_locality(model, readout, options)
    # First make everything, then change the model: an error leaves it as it was.
    changes: dict[str, nn.Module] = {}
    for number, site in enumerate(sites):
        # Two sites never share parameters.
        own = copy.deepcopy(readout) if number else readout
        changes.update(_replacements(model, site, own, options))
    for path, module in changes.items():
        set_path(model, path, module)
    return model


def _without_locality(
    model: nn.Module, readout: str | nn.Module, options: dict[str, Any]
) -> dict[str, Any]:
    """The options, with locality off where the model's graphs have edges that are no bonds.

    A module is left as it is, with a warning where it has a diffusion.
    """
    # Whatever is built around such a network, or derived from its predictor.
    classes = [each for part in model.modules() for each in type(part).__mro__]
    if not any(each.__name__ in WITHOUT_BONDS for each in classes):
        return options
    if isinstance(readout, nn.Module):
        if not any(isinstance(part, Diffusion) for part in readout.modules()):
            return options
        remedy = (
            f"make your {type(readout).__name__} with locality='none'. Where your graphs hold "
            "bonds alone, name the readout instead, with locality='diffusion'"
        )
    elif "locality" in options or "locality" not in readout_entry(readout).options:
        return options
    else:
        options = {**options, "locality": "none"}
        remedy = (
            f"{readout} has locality='none' here. Give locality='none' to say that you know, or "
            "locality='diffusion' where your graphs hold bonds alone"
        )
    warnings.warn(
        f"{type(model).__name__} takes graphs that join atoms without a bond, along which groups "
        f"cannot be local: {remedy}",
        stacklevel=3,
    )
    return options


def _check_readout(readout: str | nn.Module, options: dict[str, Any]) -> None:
    if isinstance(readout, str):
        check_options(readout_entry(readout), options)
        return
    if not isinstance(readout, nn.Module):
        raise TypeError(
            f"readout is {readout!r}; give a name from list_readouts() or a torch.nn.Module"
        )
    if isinstance(readout, GroupExchange):
        raise ValueError(
            "GroupExchange makes a row for each node and none for each graph: it stands between "
            "two layers. Give a readout, such as one of list_readouts() by name"
        )
    if options:
        raise ValueError(
            f"options {sorted(options)} go with a readout's name; a module has its own already"
        )
    if not isinstance(getattr(readout, "out_feats", None), int):
        raise ValueError(
            f"{type(readout).__name__} states no out_feats; set readout.out_feats to the width of "
            "its output, or take one of list_readouts() by name"
        )


def _replacements(
    model: nn.Module, site: ReadoutSite, readout: str | nn.Module, options: dict[str, Any]
) -> dict[str, nn.Module]:
    """What to put where: path -> module."""
    present = get_path(model, site.attribute)
    if site.layer is None:
        return {site.attribute: _predicting(present, site, readout, options)}
    new = _make(readout, site, options)
    _check_call(model, new)
    old = get_path(model, site.layer)
    new.to(device=old.weight.device, dtype=old.weight.dtype)
    new.train(getattr(present, "training", model.training))
    return {site.attribute: new, site.layer: _linear_like(old, new.out_feats + site.extra)}


def _make(readout: str | nn.Module, site: ReadoutSite, options: dict[str, Any]) -> Any:
    if isinstance(readout, str):
        return get_readout(readout, in_feats=site.in_feats, **options)
    width = getattr(readout, "in_feats", site.in_feats)
    if width != site.in_feats:
        raise ValueError(
            f"{type(readout).__name__} takes node features of width {width}; this model makes "
            f"{site.in_feats}: make it with in_feats={site.in_feats}"
        )
    return readout


def _predicting(
    present: Any, site: ReadoutSite, readout: str | nn.Module, options: dict[str, Any]
) -> nn.Module:
    """The replacement of a readout that makes the predictions."""
    hidden = present.in_project
    activation = present.activation
    if activation is None:
        activation = nn.Identity().train(present.training)
    if readout == "mlp":
        made = {"hidden_feats", "out_feats", "activation"} & options.keys()
        if made:
            raise ValueError(
                f"{sorted(made)} follow from the model's own two layers here; give only aggregate"
            )
        new: nn.Module = MLPReadout(
            site.in_feats,
            hidden_feats=hidden.out_features,
            out_feats=present.out_project.out_features,
            activation=activation,
            **options,
        )
        new.in_project = _linear_like(hidden, site.in_feats)
        new.out_project = present.out_project
    else:
        pool = _make(readout, site, options)
        pool.to(device=hidden.weight.device, dtype=hidden.weight.dtype)
        pool.train(present.training)
        project = _linear_like(hidden, pool.out_feats)
        new = PooledHead(pool, project, activation, present.out_project)
    new.training = present.training
    return new


def _linear_like(old: nn.Linear, in_features: int) -> nn.Linear:
    new = nn.Linear(
        in_features,
        old.out_features,
        bias=old.bias is not None,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
    return new.train(old.training)


def _check_call(model: nn.Module, new: nn.Module) -> None:
    """AttentiveFP always passes ``get_node_weight``, as a third argument."""
    if "get_node_weight" not in inspect.signature(model.forward).parameters:
        return
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    takes = list(inspect.signature(new.forward).parameters.values())
    if any(p.kind is p.VAR_POSITIONAL for p in takes):
        return
    number = sum(p.kind in positional for p in takes)
    if number < 3:
        raise ValueError(
            f"{type(model).__name__} calls its readout as readout(graph, feats, get_node_weight); "
            f"{type(new).__name__}.forward takes {number} arguments. Let it take get_node_weight "
            "and return (vector, [node weights]) when that is true"
        )
