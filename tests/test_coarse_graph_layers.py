"""Every convolution of DGL on the coarse graph of every pooling: convolve, lift, pool again."""

from __future__ import annotations

import functools

import dgl
import dgl.nn.pytorch.conv as convolutions
import pytest
import torch
from torch import nn

from dgl_gmpool import get_readout, list_readouts
from dgl_gmpool.registry import readout_entry
from dgl_gmpool.testing import batch_members, empty_graph, molecule

D, OUT, EDGE = 16, 8, 12

#: Layers of a dense adjacency, for one graph: :meth:`PooledGraph.dense` is for them.
DENSE = ("DenseGraphConv", "DenseSAGEConv", "DenseChebConv")

#: No layers of node features: a normalisation of weights, a wrapper of layers, a part of another
#: layer; and layers that need a CUDA build.
OTHERS = (
    "EdgeWeightNorm",
    "GroupRevRes",
    "TWIRLSUnfoldingAndAttention",
    "CuGraphGATConv",
    "CuGraphRelGraphConv",
    "CuGraphSAGEConv",
)


def weighted(layer):
    return layer, lambda c: (c.graph, c.feat), lambda c: {"edge_weight": c.conv_weight}


def plain(layer):
    return layer, lambda c: (c.graph, c.feat), lambda c: {}


def featured(layer, *, widen=None):
    """With edge features E', widened where a layer wants them as wide as the nodes."""
    layer.widen = nn.Identity() if widen is None else nn.Linear(EDGE, widen)

    def arguments(c):
        return c.graph, c.feat, layer.widen(c.edge_feat)

    return layer, arguments, lambda c: {}


def zero(kind, *args, **options):
    """Molecules without bonds have coarse graphs without edges."""
    return kind(*args, allow_zero_in_degree=True, **options)


def types(c):
    return torch.zeros(c.graph.num_edges(), dtype=torch.int64)


def with_self_loops(c):
    """For a layer that refuses nodes without edges: loops of no features, at the end."""
    extra = c.edge_feat.new_zeros(c.graph.num_nodes(), EDGE)
    return dgl.add_self_loop(c.graph), c.feat, torch.cat([c.edge_feat, extra])


def self_loop_weight(c):
    ones = c.edge_weight.new_ones(c.graph.num_nodes())
    return {"edge_weight": torch.cat([c.conv_weight, ones])}


#: name -> the layer, its positional arguments and its options, given a coarse graph
LAYERS = {
    "GraphConv": lambda k: weighted(zero(k, D, OUT, norm="none")),
    "GATConv": lambda k: weighted(zero(k, D, OUT, 2)),
    "GATv2Conv": lambda k: plain(zero(k, D, OUT, 2)),
    "EGATConv": lambda k: (k(D, EDGE, OUT, 4, 2), with_self_loops, self_loop_weight),
    "EdgeGATConv": lambda k: featured(zero(k, D, EDGE, OUT, 2)),
    "TAGConv": lambda k: weighted(k(D, OUT)),
    "RelGraphConv": lambda k: (k(D, OUT, 1), lambda c: (c.graph, c.feat, types(c)),
                               lambda c: {"norm": c.conv_weight[:, None]}),
    "SAGEConv": lambda k: weighted(k(D, OUT, "mean")),
    "SGConv": lambda k: weighted(zero(k, D, OUT, k=2)),
    "APPNPConv": lambda k: weighted(k(3, 0.1)),
    "GINConv": lambda k: weighted(k(nn.Linear(D, OUT))),
    "GINEConv": lambda k: featured(k(nn.Linear(D, OUT)), widen=D),
    "GatedGraphConv": lambda k: (k(D, D, 2, 1), lambda c: (c.graph, c.feat),
                                 lambda c: {"etypes": types(c)}),
    "GMMConv": lambda k: featured(zero(k, D, OUT, EDGE, 2)),
    "ChebConv": lambda k: (k(D, OUT, 2), lambda c: (c.graph, c.feat),
                           lambda c: {"lambda_max": [2.0] * c.graph.batch_size}),
    "AGNNConv": lambda k: plain(zero(k)),
    "NNConv": lambda k: featured(k(D, OUT, nn.Linear(EDGE, D * OUT))),
    "EdgeConv": lambda k: plain(zero(k, D, OUT)),
    "AtomicConv": lambda k: (
        k(torch.tensor([12.0]), torch.tensor([0.0]), torch.tensor([4.0])),
        lambda c: (c.graph, c.feat[:, :1], c.conv_weight[:, None]), lambda c: {}),
    "CFConv": lambda k: featured(k(D, EDGE, D, OUT)),
    "DotGatConv": lambda k: plain(zero(k, D, OUT, 2)),
    "TWIRLSConv": lambda k: plain(k(D, OUT, 8, 2)),
    "GCN2Conv": lambda k: (zero(k, D, layer=1), lambda c: (c.graph, c.feat, c.feat),
                           lambda c: {"edge_weight": c.conv_weight}),
    "HGTConv": lambda k: (
        k(D, OUT, 2, 1, 1),
        lambda c: (c.graph, c.feat, torch.zeros(len(c.feat), dtype=torch.int64), types(c)),
        lambda c: {}),
    "EGNNConv": lambda k: (k(D, OUT, OUT, EDGE),
                           lambda c: (c.graph, c.feat, c.feat[:, :3], c.edge_feat), lambda c: {}),
    "PNAConv": lambda k: featured(k(D, OUT, ["mean", "max"], ["identity", "amplification"], 2.5,
                                    edge_feat_size=EDGE)),
    "DGNConv": lambda k: (
        k(D, OUT, ["mean", "dir1-av"], ["identity"], 2.5, edge_feat_size=EDGE),
        lambda c: (c.graph, c.feat, c.edge_feat), lambda c: {"eig_vec": c.feat[:, :3]}),
}  # fmt: skip
if hasattr(convolutions, "GatedGCNConv"):  # DGL 2.1 has it
    LAYERS["GatedGCNConv"] = lambda k: featured(k(D, EDGE, OUT))


def test_no_layer_is_left_out():
    assert {*convolutions.__all__} == {*LAYERS, *DENSE, *OTHERS}


@functools.cache
def coarse_of(name):
    """A batch with a single atom, a salt and an empty graph, pooled once."""
    graph = dgl.batch([*batch_members(), empty_graph(), molecule("methane"),
                       molecule("sodium acetate")])  # fmt: skip
    torch.manual_seed(0)
    pool = get_readout(name, in_feats=D)
    return graph, pool.coarsen(graph, graph.ndata["h"], graph.edata["e"])


COARSENING = [name for name in list_readouts() if readout_entry(name).coarsens]


# TWIRLS and others scale with degrees that may be 0, and DGL warns of graphs without edges.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", COARSENING)
def test_convolve_lift_and_pool_again(name, layer):
    torch.manual_seed(0)
    graph, coarse = coarse_of(name)
    coarse = coarse.detach()
    coarse.feat.requires_grad_()
    conv, arguments, options = LAYERS[layer](getattr(convolutions, layer))
    out = conv(*arguments(coarse), **options(coarse))
    out = out[0] if isinstance(out, tuple) else out
    states = out.flatten(1)
    assert len(states) == coarse.graph.num_nodes()
    assert torch.isfinite(states).all()
    lifted = coarse.lift(states)
    assert lifted.shape == (graph.num_nodes(), states.shape[1])
    again = "mean_and_max" if readout_entry(name).single_level else "gmpool"
    weight = coarse.edge_weight
    vector = get_readout(again, in_feats=states.shape[1])(coarse.graph, states, edge_weight=weight)
    assert len(vector) == graph.batch_size
    (vector.square().sum() + lifted.square().sum()).backward()
    assert torch.isfinite(coarse.feat.grad).all()
    assert coarse.feat.grad.abs().sum() > 0
    if again == "gmpool":
        second = get_readout("gmpool", in_feats=states.shape[1])
        twice = second.coarsen(coarse.graph, states, edge_weight=coarse.edge_weight)
        assert twice.graph.batch_size == graph.batch_size
        assert torch.isfinite(twice.feat).all()


@pytest.mark.parametrize("layer", DENSE)
@pytest.mark.parametrize("name", COARSENING)
def test_layers_of_one_dense_adjacency(name, layer):
    torch.manual_seed(0)
    _, coarse = coarse_of(name)
    feats, mask, adjacency = coarse.dense()
    kind = getattr(convolutions, layer)
    conv = kind(D, OUT, 2) if layer == "DenseChebConv" else kind(D, OUT)
    x, a = feats[0][mask[0]], adjacency[0][mask[0]][:, mask[0]].abs()
    # DenseChebConv divides by degrees and asks for an eigenvalue that torch no longer gives.
    options = {"lambda_max": torch.tensor(2.0)} if layer == "DenseChebConv" else {}
    out = conv(a + torch.eye(len(a)), x, **options)
    assert out.shape == (int(mask[0].sum()), OUT)
    assert torch.isfinite(out).all()
