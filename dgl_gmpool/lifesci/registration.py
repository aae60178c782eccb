"""GMPool and NGMPool importable from the places where DGL and dgllife keep their poolings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from dgl_gmpool._environment import import_dgllife
from dgl_gmpool.poolings.gmpool import GMPool
from dgl_gmpool.poolings.ngmpool import NGMPool

OURS = {"GMPool": GMPool, "NGMPool": NGMPool}

#: ``dgl.nn`` copies the names of ``dgl.nn.pytorch``, which copies those of ``glob``, and so on:
#: each is a module of its own.
PLACES = (
    "dgl.nn",
    "dgl.nn.pytorch",
    "dgl.nn.pytorch.glob",
    "dgllife.model.readout",
    "dgllife.model",
)


def register() -> None:
    """Make ``GMPool`` and ``NGMPool`` importable from ``dgl.nn`` and ``dgllife.model``.

    Neither DGL nor dgllife has a registry of poolings; a name is there if it is an attribute of
    the module. This sets that attribute in ``dgl.nn``, ``dgl.nn.pytorch``,
    ``dgl.nn.pytorch.glob``, ``dgllife.model.readout`` and ``dgllife.model``, in this process, and
    does nothing else: no script picks the poolings up by itself. Calling it again changes nothing,
    :func:`unregister` takes everything back.

    Raises
    ------
    ValueError
        If one of these names is there already and is not ours; nothing is changed then.

    Examples
    --------
    >>> register()
    >>> from dgl.nn import NGMPool
    >>> from dgllife.model.readout import GMPool
    >>> unregister()
    """
    _add()


def unregister() -> None:
    """Take back what :func:`register` did; objects that are not ours are left alone."""
    for module in _modules():
        for name, ours in OURS.items():
            if getattr(module, name, None) is ours:
                delattr(module, name)


@contextmanager
def registered() -> Iterator[None]:
    """:func:`register` for the length of a block; what was registered before stays so.

    Examples
    --------
    >>> import dgl
    >>> with registered():
    ...     pool = dgl.nn.GMPool(64)
    >>> hasattr(dgl.nn, "GMPool")
    False
    """
    added = _add()
    try:
        yield
    finally:
        for module, name in added:
            if getattr(module, name, None) is OURS[name]:
                delattr(module, name)


def _add() -> list[tuple[ModuleType, str]]:
    """Set what is missing and say what that was."""
    missing = []
    for module in _modules():
        for name, ours in OURS.items():
            present = getattr(module, name, None)
            if present is None:
                missing.append((module, name))
            elif present is not ours:
                raise ValueError(
                    f"{module.__name__}.{name} exists already and is not ours "
                    f"({getattr(present, '__module__', type(present).__name__)}); nothing was "
                    f"registered. Import it from dgl_gmpool instead: from dgl_gmpool import {name}"
                )
    for module, name in missing:
        setattr(module, name, OURS[name])
    return missing


def _modules() -> list[ModuleType]:
    import_dgllife("model")
    return [import_module(place) for place in PLACES]
