"""Every readout and pooling by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from torch import nn

from dgl_gmpool._options import closest, plain_value, unknown_name

#: Other packages add readouts through this entry-point group, name = module:factory.
ENTRY_POINT_GROUP = "dgl_gmpool.readouts"

#: Ours.
BUILT_IN = {
    "mean": "dgl_gmpool.poolings.plain:MeanReadout",
    "sum": "dgl_gmpool.poolings.plain:SumReadout",
    "max": "dgl_gmpool.poolings.plain:MaxReadout",
    "mean_and_max": "dgl_gmpool.poolings.plain:MeanAndMaxReadout",
    "gmpool": "dgl_gmpool.poolings.gmpool:GMPool",
    "ngmpool": "dgl_gmpool.poolings.ngmpool:NGMPool",
    # The poolings to compare with.
    "topk": "dgl_gmpool.poolings.topk:TopKPool",
    "sagpool": "dgl_gmpool.poolings.sagpool:SAGPool",
    "diffpool": "dgl_gmpool.poolings.diffpool:DiffPool",
    "asap": "dgl_gmpool.poolings.asap:ASAPool",
    "mempool": "dgl_gmpool.poolings.mempool:MemPool",
    "bnpool": "dgl_gmpool.poolings.bnpool:BNPool",
    "random": "dgl_gmpool.poolings.random_groups:RandomPool",
    "mincut": "dgl_gmpool.poolings.mincut:MinCutPool",
    # DGL's and dgllife's own.
    "attention": "dgl_gmpool.poolings.attention:AttentionReadout",
    "attentivefp": "dgl_gmpool.poolings.attentivefp:AttentiveFPReadout",
    "mlp": "dgl_gmpool.poolings.mlp:MLPReadout",
    "set2set": "dgl_gmpool.poolings.set2set:Set2SetReadout",
    "set_transformer": "dgl_gmpool.poolings.set_transformer:SetTransformerReadout",
    "sort": "dgl_gmpool.poolings.sort:SortReadout",
    "sum_and_max": "dgl_gmpool.poolings.sum_and_max:SumAndMaxReadout",
    "weave": "dgl_gmpool.poolings.weave:WeaveReadout",
    "weighted_sum_and_max": "dgl_gmpool.poolings.weighted_sum_and_max:WeightedSumAndMaxReadout",
}


@dataclass(frozen=True)
class ReadoutEntry:
    """A registered readout.

    Attributes
    ----------
    name : str
        Its name in :func:`get_readout`.
    factory : callable
        ``factory(in_feats, **options)`` makes the module.
    """

    name: str
    factory: Callable[..., nn.Module]

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that the factory takes besides ``in_feats``."""
        return tuple(
            p.name for p in self._parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        )

    @property
    def takes_any_option(self) -> bool:
        """Whether the factory has ``**options``, so that only it can say which exist."""
        return any(p.kind is p.VAR_KEYWORD for p in self._parameters)

    @property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.factory).parameters.values())[1:]

    @property
    def coarsens(self) -> bool:
        """Whether the module has ``coarsen``, that is, can pool between two convolutions."""
        return callable(getattr(self.factory, "coarsen", None))

    @property
    def single_level(self) -> bool:
        """Whether the pooling must neither follow nor precede another one."""
        return bool(getattr(self.factory, "single_level", False))

    @property
    def summary(self) -> str:
        """First line of the factory's docstring."""
        return (inspect.getdoc(self.factory) or "").split("\n", 1)[0]


def list_readouts() -> list[str]:
    """Names of all readouts and poolings, built in and from installed packages, sorted.

    Examples
    --------
    >>> {"gmpool", "ngmpool", "mean", "set2set"} <= set(list_readouts())
    True
    """
    return sorted({*BUILT_IN, *_installed()})


def readout_entry(name: str) -> ReadoutEntry:
    """The registered readout of that name; unknown names raise and name the closest.

    A built-in name is always ours, whatever other packages list.
    """
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        return ReadoutEntry(name, getattr(import_module(module), attribute))
    points = _installed().get(name, [])
    if not points:
        raise unknown_name("readout", name, list_readouts())
    if len(points) > 1:
        raise ValueError(
            f"readout {name!r} is offered by several installed packages: "
            f"{', '.join(point.value for point in points)}; uninstall all but one of them"
        )
    try:
        factory = points[0].load()
    except Exception as error:
        raise ImportError(
            f"readout {name!r} comes from the entry point {points[0].value!r}, which cannot be "
            f"loaded: {type(error).__name__}: {error}. Repair or uninstall that package"
        ) from error
    if isinstance(factory, nn.Module) or not callable(factory):
        raise ImportError(
            f"readout {name!r} comes from the entry point {points[0].value!r}, which is a "
            f"{type(factory).__name__} and makes no readout; it has to name a class or a function "
            "called as factory(in_feats, **options). Repair or uninstall that package"
        )
    return ReadoutEntry(name, factory)


def get_readout(name: str, *, in_feats: int, **options: Any) -> nn.Module:
    """Make a readout or pooling by name.

    Parameters
    ----------
    name : str
        One of :func:`list_readouts`.
    in_feats : int
        Width of the node features. The module states the width of its output as ``out_feats``.
    **options
        Passed to the module; an unknown one raises and names the closest.

    Returns
    -------
    torch.nn.Module
        Called as ``module(graph, feat)``.

    Raises
    ------
    ValueError
        On an unknown name or option, or if the readout of another package states no
        ``out_feats``.

    Examples
    --------
    >>> get_readout("ngmpool", in_feats=64, similarity="cauchy").out_feats
    128
    >>> get_readout("weighted_sum_and_max", in_feats=64).out_feats
    128
    >>> get_readout("gmpool", in_feats=64, similarty="cauchy")
    Traceback (most recent call last):
        ...
    ValueError: readout 'gmpool' has no option 'similarty'. Did you mean 'similarity'? Options: \
aggregate, decomposition, edge_tol, feature_norm, fragment_weight, locality, max_clusters, \
normalize, num_clusters, rank_weight, similarity, tol.
    """
    entry = readout_entry(name)
    check_options(entry, options)
    module = entry.factory(plain_value(in_feats), **plain_value(options))
    if not isinstance(module, nn.Module):
        raise ValueError(f"readout {name!r} made a {type(module).__name__}, not a torch.nn.Module")
    width = getattr(module, "out_feats", None)
    if not isinstance(width, int):
        raise ValueError(
            f"readout {name!r} made a {type(module).__name__} with out_feats={width!r}; it must "
            "state the width of its output as an integer"
        )
    return module


def check_options(entry: ReadoutEntry, options: Iterable[str]) -> None:
    """Raise a ValueError for the first option that the readout does not take."""
    if entry.takes_any_option:
        return
    known = sorted(entry.options)
    for option in options:
        if option not in known:
            near = closest(option, known)
            hint = f" Did you mean {near!r}?" if near else ""
            listing = f"Options: {', '.join(known)}." if known else "It has no options."
            raise ValueError(f"readout {entry.name!r} has no option {option!r}.{hint} {listing}")


def _installed() -> dict[str, list[EntryPoint]]:
    """Entry points of the group by name."""
    by_name: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        # One installation can be seen twice, through its folder and through its metadata.
        same = by_name.setdefault(point.name, [])
        if point.value not in [other.value for other in same]:
            same.append(point)
    return by_name
