"""The poolings that GMPool and NGMPool are compared with: one per file, both faces.

Given the same weights they equal the layers of PyTorch Geometric (BN-Pool: of
torch-geometric-pool) to 1e-5, and differ from them where a molecule would suffer:

- nodes that tie are kept or dropped together, so that atom order does not matter;
- nodes are ranked before a squashing function, which makes all large scores equal;
- auxiliary losses are means over graphs of what each graph has alone: neither padding nor the
  size of the batch changes them, and graphs of one node, without edges or without nodes are
  finite;
- BN-Pool takes the mean of its distribution in evaluation.

Auxiliary losses are in ``pool.losses`` after a call of either face, and in
``PooledGraph.losses``. They are weighted already; a trainer adds them up::

    loss = criterion(model(graph, feats), target)
    loss = loss + sum(sum(pool.losses.values()) for pool in poolings)
"""

from dgl_gmpool.baselines.asap import ASAPool
from dgl_gmpool.baselines.assignment import AssignmentPooling
from dgl_gmpool.baselines.bnpool import BNPool
from dgl_gmpool.baselines.diffpool import DiffPool
from dgl_gmpool.baselines.mempool import MemPool
from dgl_gmpool.baselines.mincut import MinCutPool
from dgl_gmpool.baselines.pooling import BaselinePooling
from dgl_gmpool.baselines.random_groups import RandomPool
from dgl_gmpool.baselines.sagpool import SAGPool
from dgl_gmpool.baselines.selection import SelectionPooling
from dgl_gmpool.baselines.topk import TopKPool

__all__ = [
    "ASAPool",
    "AssignmentPooling",
    "BNPool",
    "BaselinePooling",
    "DiffPool",
    "MemPool",
    "MinCutPool",
    "RandomPool",
    "SAGPool",
    "SelectionPooling",
    "TopKPool",
]
