"""Pooling layers, readouts and backbones on batched DGLGraphs."""

from dgl_gmpool.nn.backbones import Backbone, get_backbone
from dgl_gmpool.nn.dense_pooling import Assignment, DensePooling
from dgl_gmpool.nn.dmpnn import DMPNN
from dgl_gmpool.nn.edge_weight import normalise_edge_weight
from dgl_gmpool.nn.gmpool import GMPool
from dgl_gmpool.nn.grouping import GroupingMatrix
from dgl_gmpool.nn.ngmpool import NGMPool
from dgl_gmpool.nn.pooled_graph import PooledGraph
from dgl_gmpool.nn.readout_norm import ReadoutNorm
from dgl_gmpool.nn.reverse_edges import reverse_edges
from dgl_gmpool.nn.segment_readout import (
    MaxReadout,
    MeanAndMaxReadout,
    MeanReadout,
    SegmentReadout,
    SumReadout,
)

__all__ = [
    "DMPNN",
    "Assignment",
    "Backbone",
    "DensePooling",
    "GMPool",
    "GroupingMatrix",
    "MaxReadout",
    "MeanAndMaxReadout",
    "MeanReadout",
    "NGMPool",
    "PooledGraph",
    "ReadoutNorm",
    "SegmentReadout",
    "SumReadout",
    "get_backbone",
    "normalise_edge_weight",
    "reverse_edges",
]
