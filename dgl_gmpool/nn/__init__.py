"""The method: grouping matrices, their roots and pivots, ragged batches, coarsening.

Nothing here knows of molecules. The modules are imported by name; what users call is exported by
``dgl_gmpool`` itself.
"""

import dgl_gmpool._dgl  # noqa: F401  (DGL, without its side effects)
