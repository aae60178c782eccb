"""Graph pooling that finds the number of groups by itself, for the Deep Graph Library."""

from __future__ import annotations

from dgl_gmpool._environment import enable_dgl, import_dgl

import_dgl()

from dgl_gmpool._version import __version__  # noqa: E402
from dgl_gmpool.lifesci import register, registered, swap_readout, unregister  # noqa: E402
from dgl_gmpool.models.dmpnn import DMPNN  # noqa: E402
from dgl_gmpool.models.predictor import MoleculePredictor  # noqa: E402
from dgl_gmpool.nn.exchange import GroupExchange  # noqa: E402
from dgl_gmpool.nn.pooled_graph import PooledGraph  # noqa: E402
from dgl_gmpool.nn.readout import collect_losses  # noqa: E402
from dgl_gmpool.poolings.gmpool import GMPool  # noqa: E402
from dgl_gmpool.poolings.ngmpool import NGMPool  # noqa: E402
from dgl_gmpool.registry import get_readout, list_readouts  # noqa: E402

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
    "register",
    "registered",
    "swap_readout",
    "unregister",
]
