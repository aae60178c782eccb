"""Graph pooling that finds the number of groups by itself, for the Deep Graph Library."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dgl_gmpool._environment import enable_dgl
from dgl_gmpool._version import __version__

# Decided without importing either: an ``import dgl`` that follows finds what it needs.
enable_dgl()

if TYPE_CHECKING:
    from dgl_gmpool.lifesci import register, registered, swap_readout, unregister
    from dgl_gmpool.load import load_predictor
    from dgl_gmpool.models.dmpnn import DMPNN
    from dgl_gmpool.models.predictor import MoleculePredictor
    from dgl_gmpool.nn.exchange import GroupExchange
    from dgl_gmpool.nn.pooled_graph import PooledGraph
    from dgl_gmpool.nn.readout import collect_losses
    from dgl_gmpool.poolings.gmpool import GMPool
    from dgl_gmpool.poolings.ngmpool import NGMPool
    from dgl_gmpool.registry import get_readout, list_readouts

__all__ = [
    "DMPNN",
    "GMPool",
    "GroupExchange",
    "MoleculePredictor",
    "NGMPool",
    "PooledGraph",
    "__version__",
    "collect_losses",
    "enable_dgl",
    "get_readout",
    "list_readouts",
    "load_predictor",
    "register",
    "registered",
    "swap_readout",
    "unregister",
]

# Name -> module. Imported when first asked for: torch and DGL take seconds, in which the command
# must answer --version and Ctrl-C.
_WHERE = {
    "DMPNN": "models.dmpnn",
    "GMPool": "poolings.gmpool",
    "GroupExchange": "nn.exchange",
    "MoleculePredictor": "models.predictor",
    "NGMPool": "poolings.ngmpool",
    "PooledGraph": "nn.pooled_graph",
    "collect_losses": "nn.readout",
    "get_readout": "registry",
    "list_readouts": "registry",
    "load_predictor": "load",
    "register": "lifesci",
    "registered": "lifesci",
    "swap_readout": "lifesci",
    "unregister": "lifesci",
}
_PARTS = ("data", "explain", "lifesci", "models", "nn", "poolings", "registry", "training")


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
