"""Every readout and pooling by name."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Callable

from torch import nn

from dgl_gmpool._options import closest, unknown_name

#: Other packages add readouts through this entry-point group, name = module:factory.
ENTRY_POINT_GROUP = "dgl_gmpool.readouts"

#: Ours. setup.cfg lists the same under ``ENTRY_POINT_GROUP``.
BUILT_IN = {
    "mean": "dgl_gmpool.nn:MeanReadout",
    "sum": "dgl_gmpool.nn:SumReadout",
    "max": "dgl_gmpool.nn:MaxReadout",
    "gmpool": "dgl_gmpool.nn:GMPool",
    "ngmpool": "dgl_gmpool.nn:NGMPool",
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
        parameters = list(inspect.signature(self.factory).parameters.values())[1:]
        return tuple(
            p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        )

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
    >>> {"gmpool", "ngmpool", "mean"} <= set(list_readouts())
    True
    """
    return sorted({*BUILT_IN, *_installed()})


def readout_entry(name: str) -> ReadoutEntry:
    """The registered readout of that name; unknown names raise and name the closest."""
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        return ReadoutEntry(name, getattr(import_module(module), attribute))
    installed = _installed()
    if name in installed:
        return ReadoutEntry(name, installed[name].load())
    raise unknown_name("readout", name, list_readouts())


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

    Examples
    --------
    >>> get_readout("ngmpool", in_feats=64, similarity="cauchy").out_feats
    64
    >>> get_readout("gmpool", in_feats=64, similarty="cauchy")
    Traceback (most recent call last):
        ...
    ValueError: readout 'gmpool' has no option 'similarty'. Did you mean 'similarity'? Options: \
aggregate, decomposition, edge_tol, num_clusters, similarity, tol.
    """
    entry = readout_entry(name)
    known = sorted(entry.options)
    for option in options:
        if option not in known:
            near = closest(option, known)
            hint = f" Did you mean {near!r}?" if near else ""
            listing = f"Options: {', '.join(known)}." if known else "It has no options."
            raise ValueError(f"readout {name!r} has no option {option!r}.{hint} {listing}")
    return entry.factory(in_feats, **options)


def _installed() -> dict[str, Any]:
    """Entry points of the group. Python 3.9's ``entry_points`` takes no group."""
    found = entry_points()
    if hasattr(found, "select"):
        group = found.select(group=ENTRY_POINT_GROUP)
    else:
        group = found.get(ENTRY_POINT_GROUP, ())
    return {point.name: point for point in group}
