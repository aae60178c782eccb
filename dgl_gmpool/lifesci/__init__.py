"""Into DGL and DGL-LifeSci: another readout in their predictors, names in their modules, a
launcher for their scripts."""

import dgl_gmpool._dgl  # noqa: F401  (DGL, without its side effects)
from dgl_gmpool.lifesci.registration import register, registered, unregister
from dgl_gmpool.lifesci.swap import swap_readout

__all__ = ["register", "registered", "swap_readout", "unregister"]
