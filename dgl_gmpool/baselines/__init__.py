"""The poolings that GMPool and NGMPool are compared with: one per file, both faces."""

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
