"""Nothing hangs on the last bit: groups, K and coarse edges stay, values move by rounding."""

from __future__ import annotations

import dgl
import pytest
import torch
from test_counting import kinds

from dgl_gmpool import GMPool, MoleculePredictor, NGMPool, get_readout, list_readouts
from dgl_gmpool.nn.grouping import SIMILARITIES, GroupingMatrix
from dgl_gmpool.registry import readout_entry
from dgl_gmpool.testing import IN_FEATS, MOLECULES, molecule

#: What a different order of a sum changes, relatively.
ROUNDING = 1e-15

DRAWS = 4


def molecules():
    """All of them, symmetric ones and salts, and two that come twice."""
    names = [*MOLECULES, "aspirin", "cubane"]
    graph = dgl.batch([molecule(name) for name in names])
    return graph, graph.ndata["h"].double()


def shaken(values, seed):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(values.shape, generator=generator, dtype=values.dtype)
    return values * (1 + ROUNDING * noise)


OPTIONS = [
    ("gmpool", {}),
    ("gmpool", {"similarity": "cauchy"}),
    ("gmpool", {"similarity": "linear"}),
    ("gmpool", {"feature_norm": "none"}),
    ("gmpool", {"locality": "none"}),
    ("gmpool", {"decomposition": "sqrtm"}),
    ("gmpool", {"decomposition": "cholesky"}),
    ("gmpool", {"decomposition": "cholesky", "locality": "none", "similarity": "cauchy"}),
    ("gmpool", {"decomposition": "eigen", "locality": "none", "similarity": "cauchy"}),
    ("gmpool", {"decomposition": "cholesky", "locality": "none", "aggregate": "mean",
                "max_clusters": 4}),
    ("gmpool", {"num_clusters": 3}),
    ("ngmpool", {}),
    ("ngmpool", {"similarity": "linear", "locality": "none", "normalize": False}),
    *((name, {}) for name in list_readouts()
      if readout_entry(name).coarsens and "gmpool" not in name),
]  # fmt: skip


def pool_of(name, options):
    torch.manual_seed(0)
    return get_readout(name, in_feats=IN_FEATS, **options).double().eval()


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_rounding_of_the_features(name, options):
    """Symmetric molecules tie everywhere; edge_tol=0 leaves the cut to rounding alone."""
    graph, feat = molecules()
    if name in ("gmpool", "ngmpool"):
        options = {**options, "edge_tol": 0.0}
    pool = pool_of(name, options)
    with torch.no_grad():
        expected, readout = pool.coarsen(graph, feat), pool(graph, feat)
        for seed in range(DRAWS):
            other = shaken(feat, seed)
            found = pool.coarsen(graph, other)
            assert torch.equal(found.num_clusters, expected.num_clusters)
            assert torch.equal(found.graph.batch_num_nodes(), expected.graph.batch_num_nodes())
            for mine, theirs in zip(found.graph.edges(), expected.graph.edges()):
                assert torch.equal(mine, theirs)
            close(found.feat, expected.feat)
            close(found.edge_weight, expected.edge_weight)
            close(found.conv_weight, expected.conv_weight)
            close(pool(graph, other), readout)
            if name in ("gmpool", "ngmpool"):
                assert torch.equal(pool.groups(graph, other), pool.groups(graph, feat))


def close(found, expected):
    scale = max(1.0, float(expected.detach().abs().max()))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize(
    ("kind", "options"),
    [(GMPool, {"decomposition": each}) for each in ("pivot", "sqrtm", "cholesky")]
    + [(NGMPool, {})],
)
def test_rounding_of_the_matrix(kind, options, monkeypatch):
    graph, feat = molecules()
    pool = kind(IN_FEATS, edge_tol=0.0, **options).double().eval()
    expected, labels = pool.coarsen(graph, feat), pool.groups(graph, feat)
    original = pool.matrices
    for seed in range(DRAWS):

        def matrices(batch, seed=seed):
            found = []
            for matrix in original(batch):
                other = shaken(matrix, seed)
                found.append((other + other.mT) / 2)
            return found

        monkeypatch.setattr(pool, "matrices", matrices)
        found = pool.coarsen(graph, feat)
        assert torch.equal(pool.groups(graph, feat), labels)
        assert torch.equal(found.num_clusters, expected.num_clusters)
        for mine, theirs in zip(found.graph.edges(), expected.graph.edges()):
            assert torch.equal(mine, theirs)
        close(found.feat, expected.feat)
        close(found.edge_weight, expected.edge_weight)


def test_one_molecule_twice_in_a_batch_has_one_row():
    graph, feat = molecules()
    model = MoleculePredictor(IN_FEATS, 12, hidden_feats=16).eval()
    with torch.no_grad():
        out = model(graph, feat.float(), graph.edata["e"])
    first = list(MOLECULES).index("aspirin")
    torch.testing.assert_close(out[len(MOLECULES)], out[first], rtol=0, atol=1e-6)


# Equal nodes. --------------------------------------------------------------------------------


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("width", [1, 7, 64])
def test_equal_nodes_are_at_distance_exactly_zero(width, offset, similarity):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 5, width, generator=generator).repeat(1, 4, 1) + offset
    grouping = GroupingMatrix(width, similarity=similarity, feature_norm="none")
    if similarity == "linear":
        with torch.no_grad():
            grouping.bias.zero_()
    equal = torch.arange(20)[:, None] % 5 == torch.arange(20) % 5
    exact = 0.5 if similarity == "linear" else 1.0
    for dtype in (torch.float32, torch.float64):
        measure = grouping.measure(x.device)
        for matrix in (grouping(x.to(dtype)), measure.between(x.to(dtype), x.to(dtype))):
            assert (matrix[0][equal] == exact).all()


@pytest.mark.parametrize("bias", [-30.0, -100.0, -800.0])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_a_steep_slope_keeps_equal_nodes_together(bias, offset):
    """Where e^-b is 1e30, a squared distance of 1e-17 would tear equal nodes apart."""
    graph, feat, owner = kinds((4, 3, 1, 6), width=5)
    options = {"similarity": "cauchy", "locality": "none", "feature_norm": "none"}
    pool = GMPool(5, **options).eval()
    with torch.no_grad():
        pool.grouping.bias.fill_(bias)
    feat = feat.float() / 100 + offset
    feat = feat + torch.linspace(0, 1, 5)
    labels = pool.groups(graph, feat)
    assert torch.equal(labels[:, None] == labels, owner[:, None] == owner)
    assert pool.spectrum(graph, feat).num_clusters.tolist() == [4]
    vector = pool(graph, feat)
    assert torch.isfinite(vector).all()


def test_what_cancels_makes_no_edge_and_what_is_small_makes_one():
    """Without a tolerance: an entry below the rounding of its terms is none, a small sum is."""
    graph = dgl.graph(([0, 1, 2, 3], [1, 0, 3, 2]))
    x = torch.tensor([[0.0, 1], [0, 1], [9, 0], [9, 0]], dtype=torch.float64)
    options = {"locality": "none", "feature_norm": "none", "edge_tol": 0.0}
    for decomposition in ("pivot", "cholesky", "sqrtm"):
        pool = GMPool(2, decomposition=decomposition, **options).double()
        with torch.no_grad():
            pool.grouping.weight.fill_(20)
        whole = pool.coarsen(graph, x)
        tiny = pool.coarsen(graph, x, edge_weight=torch.full((4,), 1e-9, dtype=torch.float64))
        assert tiny.graph.num_edges() == whole.graph.num_edges() > 0
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    none = GMPool(2, decomposition="pivot", **options).double()
    with torch.no_grad():
        none.grouping.weight.fill_(20)
    assert none.coarsen(graph, x, edge_weight=signs).graph.num_edges() == 0


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_numbers_of_groups_follow_the_nodes(similarity):
    """The parts of a salt are pivots in one order, however its atoms are numbered."""
    ends = torch.arange(14)
    source, destination = ends[ends % 5 != 4], ends[ends % 5 != 4] + 1
    source, destination = torch.cat([source, destination]), torch.cat([destination, source])
    for seed in range(4):
        torch.manual_seed(seed)
        feat = torch.randn(18, 3, dtype=torch.float64)
        pool = GMPool(3, similarity=similarity).double().eval()
        number = torch.randperm(18)
        plain = dgl.graph((source, destination), num_nodes=18)
        other = dgl.graph((number[source], number[destination]), num_nodes=18)
        moved = torch.empty_like(feat).index_copy_(0, number, feat)
        assert torch.equal(pool.groups(other, moved)[number], pool.groups(plain, feat))
        torch.testing.assert_close(pool.coarsen(other, moved).feat, pool.coarsen(plain, feat).feat)
