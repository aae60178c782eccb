"""Every readout and pooling in the registry meets every condition, on each of its faces."""

from __future__ import annotations

import functools

import dgl
import pytest
import torch
from torch import nn

from dgl_gmpool import GMPool, NGMPool, get_readout, list_readouts
from dgl_gmpool.nn.readout import Reading
from dgl_gmpool.poolings.gmpool import DECOMPOSITIONS
from dgl_gmpool.poolings.plain import MaxReadout
from dgl_gmpool.registry import readout_entry
from dgl_gmpool.testing import CONDITIONS, IN_FEATS, ConditionFailed, batch_members


def _cases():
    for name in list_readouts():
        make = functools.partial(_make, name)
        yield name, make, "readout"
        if readout_entry(name).coarsens:
            yield name, make, "coarsen"
    # Ours once more with the options that change the mathematics.
    paper = {"similarity": "linear", "locality": "none", "feature_norm": "none"}
    for options in (
        # The coarse graph of each decomposition, and readouts over S' X.
        {"decomposition": "pivot", "aggregate": "mean_and_max", "similarity": "cauchy"},
        {"decomposition": "sqrtm", "aggregate": "mean_max_and_sum"},
        {"decomposition": "cholesky", "aggregate": "max", "normalize": True},
        # The default readout.
        {"similarity": "cauchy", "locality": "none"},
        {"similarity": "linear", "feature_norm": "layer"},
        {"feature_norm": "none", "rank_weight": 0.1},
        {"num_clusters": 3, "aggregate": "mean"},
        # The paper's.
        *(
            {"decomposition": decomposition, "aggregate": "mean", **paper}
            for decomposition in DECOMPOSITIONS
        ),
        {"decomposition": "sqrtm", "aggregate": "sum", "normalize": True, **paper},
        {
            "decomposition": "eigen",
            "aggregate": "sum",
            "similarity": "cauchy",
            "locality": "none",
            "feature_norm": "none",
        },
        {
            "decomposition": "cholesky",
            "aggregate": "mean",
            "locality": "none",
            "max_clusters": 6,
            "normalize": True,
        },
    ):
        label = " ".join(("gmpool", *map(str, options.values())))
        for face in ("readout", "coarsen"):
            yield label, functools.partial(_make, "gmpool", **options), face
    for options in (
        {"similarity": "cauchy", "aggregate": "max", "locality": "none"},
        {"aggregate": "atoms_and_groups"},
        {"aggregate": "mean", "normalize": False, **paper},
    ):
        label = " ".join(("ngmpool", *map(str, options.values())))
        for face in ("readout", "coarsen"):
            yield label, functools.partial(_make, "ngmpool", **options), face


def _make(name, in_feats, **options):
    return get_readout(name, in_feats=in_feats, **options)


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.name)
@pytest.mark.parametrize(
    ("label", "make_pool", "face"), [pytest.param(*c, id=f"{c[0]}, {c[2]}") for c in _cases()]
)
def test_condition(condition, label, make_pool, face):
    condition.run(make_pool, face)


class _Broken(nn.Module):
    """A mean readout with one common mistake."""

    def __init__(self, in_feats, mistake):
        super().__init__()
        self.mistake = mistake
        self.scale = nn.Parameter(torch.ones(in_feats))

    def forward(self, graph, feat, *, batch_num_nodes=None):
        counts = graph.batch_num_nodes() if batch_num_nodes is None else batch_num_nodes
        counts = counts.long()
        if self.mistake != "silent" and not torch.isfinite(feat).all():
            raise ValueError("feat is not finite")
        owner = torch.repeat_interleave(counts)
        rows = len(counts)
        if self.mistake == "drops empty graphs at the end":
            rows = int(owner.max()) + 1
        x = feat * self.scale
        if self.mistake == "first node":
            x = x[(counts.cumsum(0) - counts).clamp(max=len(x) - 1)][owner]
        if self.mistake == "batch norm":
            x = x - x.mean(0)
        if self.mistake == "random":
            x = x + torch.randn_like(x)
        if self.mistake == "distance to the first":
            x = (x - x[0]).square().sum(1, keepdim=True).sqrt() * x
        total = x.new_zeros(rows, x.shape[1]).index_add(0, owner, x)
        size = counts if self.mistake == "divides by zero" else counts.clamp(min=1)
        out = total / size[:rows, None].to(x.dtype)
        return out.float() if self.mistake == "float32 inside" else out


@pytest.mark.parametrize(
    ("mistake", "condition"),
    [
        ("first node", "node permutation"),
        ("batch norm", "alone and batched"),
        ("drops empty graphs at the end", "empty graph last"),
        ("drops empty graphs at the end", "nothing but empty graphs"),
        ("divides by zero", "empty graph in the middle"),
        ("distance to the first", "two equal nodes"),
        ("distance to the first", "constant features"),
        ("distance to the first", "one node"),
        ("random", "same call twice"),
        ("random", "state_dict"),
        ("random", "deepcopy"),
        ("random", "pickle"),
        ("random", "int32 and int64 ids"),
        ("float32 inside", "float64"),
        ("silent", "NaN features"),
        ("first node", "NaN features"),
        ("first node", "wrong feature width"),
        ("first node", "batch information lost"),
    ],
)
def test_a_mistake_is_caught(mistake, condition):
    which = next(each for each in CONDITIONS if each.name == condition)
    assert which.failure(functools.partial(_Broken, mistake=mistake))


@pytest.mark.parametrize("condition", ["order of graphs", "duplicated batch", "empty graph last"])
def test_mistakes_are_told_apart(condition):
    """Subtracting the batch's mean breaks none of these."""
    which = next(each for each in CONDITIONS if each.name == condition)
    assert which.failure(functools.partial(_Broken, mistake="batch norm")) is None


class _FirstWins(MaxReadout):
    """A maximum that the first of equal nodes has for itself."""

    def read(self, batch):
        first = batch.segments.counts.cumsum(0) - batch.segments.counts
        weight = batch.feat.new_zeros(len(batch.feat), 1).index_fill(0, first, 1.0)
        return Reading(super().read(batch).out, [weight])


def test_node_weights_that_follow_the_numbering_are_caught():
    which = next(each for each in CONDITIONS if each.name == "node permutation")
    assert "node weights" in which.failure(_FirstWins)
    assert which.failure(MaxReadout) is None


def test_conditions_have_names_and_descriptions():
    names = [condition.name for condition in CONDITIONS]
    assert len(set(names)) == len(names)
    assert all(condition.description.endswith(".") for condition in CONDITIONS)


def test_an_unknown_face_names_the_closest():
    with pytest.raises(ValueError, match="Did you mean 'coarsen'"):
        CONDITIONS[0].run(GMPool, face="coarse")


@pytest.mark.parametrize("make_pool", [GMPool, NGMPool])
def test_a_nan_stays_out_of_a_loss_that_skips_the_check(make_pool):
    """The error comes before any work: parameters and their gradients stay as they were."""
    pool = make_pool(IN_FEATS)
    graph = dgl.batch(batch_members())
    feat = graph.ndata["h"].clone()
    feat[0, 0] = float("nan")
    with pytest.raises(ValueError, match="node 0 of graph 0"):
        pool(graph, feat)
    assert all(parameter.grad is None for parameter in pool.parameters())


def test_condition_failed_is_an_assertion():
    assert issubclass(ConditionFailed, AssertionError)
