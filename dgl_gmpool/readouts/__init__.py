"""DGL's and dgllife's readouts behind this package's interface: comparisons share one path."""

from dgl_gmpool.readouts.attention import AttentionReadout
from dgl_gmpool.readouts.attentivefp import AttentiveFPReadout
from dgl_gmpool.readouts.mlp import MLPReadout
from dgl_gmpool.readouts.node_readout import NodeReadout
from dgl_gmpool.readouts.set2set import Set2SetReadout
from dgl_gmpool.readouts.set_transformer import SetTransformerReadout
from dgl_gmpool.readouts.sort import SortReadout
from dgl_gmpool.readouts.sum_and_max import SumAndMaxReadout
from dgl_gmpool.readouts.weave import WeaveReadout
from dgl_gmpool.readouts.weighted_sum_and_max import WeightedSumAndMaxReadout

__all__ = [
    "AttentionReadout",
    "AttentiveFPReadout",
    "MLPReadout",
    "NodeReadout",
    "Set2SetReadout",
    "SetTransformerReadout",
    "SortReadout",
    "SumAndMaxReadout",
    "WeaveReadout",
    "WeightedSumAndMaxReadout",
]
