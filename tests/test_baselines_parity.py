"""The baselines against the layers of PyTorch Geometric and torch-geometric-pool, same weights.

Where the peers break (graphs without edges, padding, equal atoms), the last tests say so.
"""

from __future__ import annotations

import warnings

import dgl
import pytest
import torch

from dgl_gmpool.poolings.asap import ASAPool
from dgl_gmpool.poolings.bnpool import BNPool
from dgl_gmpool.poolings.diffpool import DiffPool
from dgl_gmpool.poolings.mempool import MemPool
from dgl_gmpool.poolings.mincut import MinCutPool
from dgl_gmpool.poolings.sagpool import SAGPool
from dgl_gmpool.poolings.topk import TopKPool

WHY = "needs torch-geometric: pip install dgl-gmpool[peers]"

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    geometric = pytest.importorskip("torch_geometric", reason=WHY)
    import torch_geometric.nn as pyg
    from torch_geometric.nn.dense.diff_pool import dense_diff_pool
    from torch_geometric.nn.dense.mincut_pool import dense_mincut_pool
    from torch_geometric.utils import to_dense_adj, to_dense_batch

# Sparse CSR tensors, which ASAPooling uses, are in beta and say so in several ways.
pytestmark = pytest.mark.filterwarnings("ignore:Sparse:UserWarning")

WIDTH = 7
SIZES = (6, 1, 9, 4)


def molecules(sizes=SIZES, seed=0):
    """Random connected graphs without equal nodes: batch, features, edge features."""
    generator = torch.Generator().manual_seed(seed)
    graphs = []
    for n in sizes:
        pairs = {(int(torch.randint(i, (1,), generator=generator)), i) for i in range(1, n)}
        pairs |= {(i, i + 2) for i in range(0, n - 2, 3)}
        u = [a for a, b in sorted(pairs)] + [b for a, b in sorted(pairs)]
        v = [b for a, b in sorted(pairs)] + [a for a, b in sorted(pairs)]
        graphs.append(dgl.graph((u, v), num_nodes=n, idtype=torch.int32))
    graph = dgl.batch(graphs)
    feat = torch.randn(graph.num_nodes(), WIDTH, generator=generator)
    return graph, feat, torch.randn(graph.num_edges(), 3, generator=generator)


def as_geometric(graph):
    """edge_index and batch vector."""
    index = torch.stack(graph.edges()).long()
    return index, torch.repeat_interleave(graph.batch_num_nodes().long())


def dense_edges(source, destination, values, n):
    """Edge values as a matrix (n, n, ...)."""
    out = values.new_zeros((n, n, *values.shape[1:]))
    return out.index_put((source.long(), destination.long()), values, accumulate=True)


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def same_gradient(found, expected, ours, theirs):
    """d(sum of sines)/d(input), which sees every entry."""
    close(
        torch.autograd.grad(found.sin().sum(), ours)[0],
        torch.autograd.grad(expected.sin().sum(), theirs)[0],
    )


@pytest.mark.parametrize(("ratio", "options"), [(0.5, {"ratio": 0.5}), (3, {"num_clusters": 3})])
@pytest.mark.parametrize("kind", ["topk", "sagpool"])
def test_selection(kind, ratio, options):
    graph, feat, edge_feat = molecules()
    feat.requires_grad_()
    if kind == "topk":
        theirs, ours = pyg.TopKPooling(WIDTH, ratio=ratio), TopKPool(WIDTH, **options)
        ours.load_state_dict({"weight": theirs.select.weight})
    else:
        theirs, ours = pyg.SAGPooling(WIDTH, ratio=ratio), SAGPool(WIDTH, **options)
        ours.gnn.load_state_dict(theirs.gnn.state_dict())
        # A number that only gives its sign: scores are multiplied with w / |w|.
        torch.nn.init.ones_(theirs.select.weight)
    index, batch = as_geometric(graph)
    other = feat.detach().clone().requires_grad_()
    x, edges, attributes, owner, nodes, _ = theirs(other, index, edge_feat, batch)
    coarse = ours.coarsen(graph, feat, edge_feat)
    assert coarse.num_clusters.tolist() == torch.bincount(owner).tolist()
    order = nodes.argsort()  # theirs by score, ours as in the molecule
    close(coarse.feat, x[order])
    same_gradient(coarse.feat, x[order], feat, other)
    place = order.argsort()
    n = len(nodes)
    close(
        dense_edges(*coarse.graph.edges(), coarse.edge_feat, n),
        dense_edges(*place[edges], attributes, n),
    )


@pytest.mark.parametrize(("ratio", "options"), [(0.5, {"ratio": 0.5}), (3, {"num_clusters": 3})])
def test_asap(ratio, options):
    graph, feat, _ = molecules()
    feat.requires_grad_()
    theirs, ours = pyg.ASAPooling(WIDTH, ratio=ratio), ASAPool(WIDTH, **options)
    torch.nn.init.ones_(theirs.select.weight)
    state = theirs.state_dict()
    state.pop("select.weight")
    ours.load_state_dict(state)
    index, batch = as_geometric(graph)
    other = feat.detach().clone().requires_grad_()
    ones = torch.ones(graph.num_edges())
    x, edges, weight, owner, nodes = theirs(other, index, ones, batch)
    coarse = ours.coarsen(graph, feat)
    assert coarse.num_clusters.tolist() == torch.bincount(owner).tolist()
    order = nodes.argsort()
    close(coarse.feat, x[order])
    same_gradient(coarse.feat, x[order], feat, other)
    place = order.argsort()
    n = len(nodes)
    close(
        dense_edges(*coarse.graph.edges(), coarse.edge_weight, n),
        dense_edges(*place[edges], weight, n),
    )


def dense_graphs(graph, feat):
    index, batch = as_geometric(graph)
    x, mask = to_dense_batch(feat, batch)
    return x, to_dense_adj(index, batch), mask


def coarse_adjacency(coarse, k):
    """A' as a block (B, k, k)."""
    n = coarse.graph.num_nodes()
    matrix = dense_edges(*coarse.graph.edges(), coarse.edge_weight, n)
    return torch.stack([matrix[i : i + k, i : i + k] for i in range(0, n, k)])


def test_diffpool():
    k = 3
    for seed in range(3):
        graph, feat, _ = molecules((8,), seed)
        feat.requires_grad_()
        ours = DiffPool(WIDTH, num_clusters=k, hidden_feats=5)
        index, _ = as_geometric(graph)
        first, second = pyg.GraphConv(WIDTH, 5), pyg.GraphConv(5, k)
        first.load_state_dict(ours.gnn[0].state_dict())
        second.load_state_dict(ours.gnn[1].state_dict())
        other = feat.detach().clone().requires_grad_()
        logits = second(first(other, index).relu(), index)
        x, adjacency, link, entropy = dense_diff_pool(other, to_dense_adj(index), logits)
        coarse = ours.coarsen(graph, feat)
        close(coarse.feat, x[0])
        close(coarse_adjacency(coarse, k), adjacency)
        close(coarse.losses["link"], link)
        close(coarse.losses["entropy"], entropy)
        same_gradient(
            torch.stack([*coarse.losses.values()]), torch.stack([link, entropy]), feat, other
        )


def test_mincut():
    k = 4
    graph, feat, _ = molecules((6, 9, 8))
    feat.requires_grad_()
    ours = MinCutPool(WIDTH, num_clusters=k)
    other = feat.detach().clone().requires_grad_()
    x, adjacency, mask = dense_graphs(graph, other)
    pooled, matrix, cut, orthogonality = dense_mincut_pool(x, adjacency, ours.lin(x), mask)
    coarse = ours.coarsen(graph, feat)
    close(coarse.feat, pooled.flatten(0, 1))
    close(coarse_adjacency(coarse, k), matrix)
    close(coarse.losses["cut"], cut)
    close(coarse.losses["orthogonality"], orthogonality)
    same_gradient(
        torch.stack([*coarse.losses.values()]), torch.stack([cut, orthogonality]), feat, other
    )


@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_mempool(tau):
    k = 4
    graph, feat, _ = molecules()
    feat.requires_grad_()
    theirs = pyg.MemPooling(WIDTH, WIDTH, heads=3, num_clusters=k, tau=tau)
    ours = MemPool(WIDTH, num_clusters=k, heads=3, tau=tau)
    ours.load_state_dict(theirs.state_dict())
    other = feat.detach().clone().requires_grad_()
    x, assign = theirs(other, as_geometric(graph)[1])
    loss = theirs.kl_loss(assign.clone())
    coarse = ours.coarsen(graph, feat)
    close(coarse.feat, x.flatten(0, 1))
    same_gradient(coarse.feat, x, feat, other)
    close(coarse.losses["kl"], loss)


def bnpool(k, **options):
    """torch-geometric-pool's, with what makes it compute A' = S'AS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tgp = pytest.importorskip("tgp.poolers", reason="needs torch-geometric-pool")
    return tgp.BNPool(
        WIDTH, k, remove_self_loops=False, degree_norm=False, adj_transpose=False, **options
    )


def test_bnpool(monkeypatch):
    k, sizes = 5, (6, 9, 4)
    graph, feat, _ = molecules(sizes)
    theirs = bnpool(k, alpha_DP=1.5).eval()
    ours = BNPool(WIDTH, max_clusters=k, concentration=1.5, link_prior_weight=1).eval()
    state = {name.rsplit(".", 1)[-1]: value for name, value in theirs.named_parameters()}
    ours.load_state_dict(
        {"lin.weight": state["weight"], "lin.bias": state["bias"], "links": state["K"]}
    )
    # It samples in evaluation too; here it takes the mean, as ours does.
    monkeypatch.setattr(torch.distributions.Beta, "rsample", lambda self, shape=(): self.mean)
    index, batch = as_geometric(graph)
    out = theirs(x=feat, adj=index, batch=batch)
    coarse = ours.coarsen(graph, feat)
    close(coarse.feat, out.x.flatten(0, 1))
    close(coarse_adjacency(coarse, k), out.edge_index)
    close(coarse.losses["reconstruction"], out.loss["quality"])
    close(coarse.losses["kl"], out.loss["kl"])
    # Theirs is divided by the number of graphs twice.
    close(coarse.losses["link_prior"], out.loss["K_prior"] * len(sizes))


# Where the peers break. ----------------------------------------------------------------------


def ring(n):
    u = torch.arange(n, dtype=torch.int32)
    v = (u + 1) % n
    return dgl.graph((torch.cat([u, v]), torch.cat([v, u])))


def test_equal_atoms_are_kept_together_and_not_by_their_number():
    """Benzene: three of six equal atoms can be neighbours, or every other one."""
    feat = torch.ones(6, WIDTH)
    first = ring(6)
    place = torch.tensor([0, 2, 4, 1, 3, 5])
    second = dgl.graph(tuple(place[ids.long()].int() for ids in first.edges()))
    theirs, ours = pyg.TopKPooling(WIDTH, ratio=3), TopKPool(WIDTH, num_clusters=3)
    batch = torch.zeros(6, dtype=torch.long)
    edges = [theirs(feat, as_geometric(g)[0], None, batch)[1].shape[1] for g in (first, second)]
    assert edges[0] != edges[1]
    assert [ours.coarsen(g, feat).graph.num_edges() for g in (first, second)] == [12, 12]


def test_large_scores_are_ranked_before_tanh():
    feat = torch.tensor([[30.0], [50.0], [40.0]])
    theirs, ours = pyg.TopKPooling(1, ratio=1), TopKPool(1, num_clusters=1)
    for weight in (theirs.select.weight, ours.weight):
        torch.nn.init.ones_(weight)
    graph = dgl.graph(([0, 1], [1, 2]), num_nodes=3)
    index, batch = as_geometric(graph)
    kept = theirs(feat, index, None, batch)[4]
    assert kept.tolist() != [1]  # tanh is 1 for all three
    assert ours.coarsen(graph, feat).feat.tolist() == [[50.0]]


def test_padding_changes_no_loss():
    """The same molecule beside a larger one: PyG's losses shrink, the mean over graphs is ours."""
    small, feat, _ = molecules((5,))
    large, more, _ = molecules((12,), seed=1)
    both, pool = dgl.batch([small, large]), DiffPool(WIDTH, num_clusters=3)

    def theirs(n):
        x, adjacency, mask = dense_graphs(small, feat)
        pad = n - x.shape[1]
        x = torch.nn.functional.pad(x, (0, 0, 0, pad))
        adjacency = torch.nn.functional.pad(adjacency, (0, pad, 0, pad))
        mask = torch.nn.functional.pad(mask, (0, pad))
        logits = x[..., :3]
        return torch.stack(dense_diff_pool(x, adjacency, logits, mask)[2:])

    assert (theirs(12) < 0.6 * theirs(5)).all()
    alone = [pool.coarsen(g, x).losses for g, x in ((small, feat), (large, more))]
    together = pool.coarsen(both, torch.cat([feat, more])).losses
    for name, value in together.items():
        close(value, (alone[0][name] + alone[1][name]) / 2)


def test_mincut_without_edges_is_finite():
    graph, feat = dgl.graph(([], []), num_nodes=3), torch.randn(3, WIDTH)
    ours = MinCutPool(WIDTH, num_clusters=2)
    adjacency = torch.zeros(1, 3, 3)
    assert dense_mincut_pool(feat[None], adjacency, ours.lin(feat)[None])[2].isnan()
    assert ours.coarsen(graph, feat).losses["cut"] == 0


def test_bnpool_predicts_the_same_twice_and_takes_empty_graphs():
    graph, feat, _ = molecules((6, 4))
    index, batch = as_geometric(graph)
    theirs, ours = bnpool(5).eval(), BNPool(WIDTH, max_clusters=5).eval()
    first, second = (theirs(x=feat, adj=index, batch=batch).x for _ in range(2))
    assert not torch.allclose(first, second)
    assert torch.equal(ours(graph, feat), ours(graph, feat))
    empty = dgl.graph(([], []), num_nodes=0, idtype=torch.int32)
    assert theirs(x=feat, adj=index, batch=batch).x.shape[0] == 2  # an empty last one is lost
    ended = dgl.batch([*dgl.unbatch(graph), empty])
    close(ours(ended, feat), torch.cat([ours(graph, feat), torch.zeros(1, WIDTH)]))


def test_num_clusters_of_bnpool_is_not_its_cap():
    graph, feat, _ = molecules((6, 4))
    coarse = BNPool(WIDTH, max_clusters=5).eval().coarsen(graph, feat)
    assert (coarse.num_clusters < 5).all()
    assert coarse.graph.batch_num_nodes().tolist() == [5, 5]
