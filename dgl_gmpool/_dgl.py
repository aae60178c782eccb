"""Importing this module brings in DGL without its side effects, or says which versions work.

Every subpackage that uses DGL imports it first; ``import dgl_gmpool`` alone loads neither DGL nor
torch.
"""

from dgl_gmpool._environment import import_dgl

import_dgl()
