"""The dense core, from a block of node features to the readout, is one graph for torch.compile."""

from __future__ import annotations

import pytest
import torch

from dgl_gmpool.nn.grouping import SIMILARITIES, GroupingMatrix
from dgl_gmpool.nn.square_root import nearest_psd, symmetric_root


def gmpool_core(grouping, x):
    root, _ = symmetric_root(grouping(x))
    return (root.to(x.dtype).mT @ x).mean(1)


def forced_core(grouping, x):
    root, _ = symmetric_root(grouping(x), num_clusters=3)
    return (root.to(x.dtype).mT @ x).mean(1)


def ngmpool_core(grouping, x):
    return (grouping(x).to(x.dtype) @ x).mean(1)


def projected_core(grouping, x):
    return (nearest_psd(grouping(x))[0].to(x.dtype) @ x).mean(1)


# torch's tracer makes an instance of each autograd function, which torch itself warns of.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("core", [gmpool_core, forced_core, ngmpool_core, projected_core])
def test_no_graph_break_and_the_same_numbers(core, similarity):
    torch.manual_seed(0)
    torch._dynamo.reset()
    grouping = GroupingMatrix(6, similarity=similarity, feature_norm="none")
    x = torch.randn(3, 7, 6, requires_grad=True)
    # aot_eager traces forward and backward as the default backend does, without a C++ compiler.
    compiled = torch.compile(core, fullgraph=True, backend="aot_eager")
    found = []
    for function in (core, compiled):
        x.grad, grouping.weight.grad = None, None
        out = function(grouping, x)
        out.square().sum().backward()
        found.append((out.detach(), x.grad.clone(), grouping.weight.grad.clone()))
    for eager, traced in zip(*found):
        torch.testing.assert_close(eager, traced)
