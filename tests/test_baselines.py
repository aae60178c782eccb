"""The baselines against loops over one graph, and what every one of them promises."""

from __future__ import annotations

import functools
import math

import baseline_reference as reference
import dgl
import numpy as np
import pytest
import torch
from reference import reduced

from dgl_gmpool import MoleculePredictor, collect_losses, get_readout
from dgl_gmpool.nn.assignment import Assignment
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.pooling import Pooling
from dgl_gmpool.nn.segments import AGGREGATES
from dgl_gmpool.poolings.asap import ASAPool
from dgl_gmpool.poolings.bnpool import BNPool
from dgl_gmpool.poolings.diffpool import DiffPool
from dgl_gmpool.poolings.mempool import MemPool
from dgl_gmpool.poolings.mincut import MinCutPool
from dgl_gmpool.poolings.random_groups import RandomPool, structure_hash
from dgl_gmpool.poolings.sagpool import SAGPool
from dgl_gmpool.poolings.topk import TopKPool

NAMES = ("asap", "bnpool", "diffpool", "mempool", "mincut", "random", "sagpool", "topk")
WITH_LOSSES = ("bnpool", "diffpool", "mempool", "mincut")
WIDTH = 5
SIZES = (7, 1, 4, 12, 2)


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    """Atoms 5 and 7 of the graph of nine are twins: with some draws of the weights they
    tie for the last place, and ASAP keeps both where the loop keeps one."""
    torch.manual_seed(0)


def random_graph(n, seed, *, self_loop=False):
    """A connected graph with edges both ways: DGLGraph, X, E, edge weights, in float64."""
    rng = np.random.default_rng(seed)
    pairs = {(int(rng.integers(i)), i) for i in range(1, n)}
    pairs |= {tuple(sorted(rng.choice(n, 2, replace=False).tolist())) for _ in range(n // 3)}
    u = [a for a, b in sorted(pairs)] + [b for a, b in sorted(pairs)]
    v = [b for a, b in sorted(pairs)] + [a for a, b in sorted(pairs)]
    if self_loop:
        u, v = [*u, n - 1], [*v, n - 1]
    graph = dgl.graph((u, v), num_nodes=n, idtype=torch.int32)
    feat = torch.from_numpy(rng.standard_normal((n, WIDTH)))
    edge_feat = torch.from_numpy(rng.standard_normal((len(u), 2)))
    return graph, feat, edge_feat, torch.from_numpy(rng.uniform(0.5, 1.5, len(u)))


def random_batch(sizes=SIZES, seed=0, **options):
    members = [random_graph(n, seed + i, **options) for i, n in enumerate(sizes)]
    graphs, *tensors = zip(*members)
    return (dgl.batch(graphs), *(torch.cat(each) for each in tensors))


def losses_of(run, *arguments, **options):
    """The auxiliary losses of one call, without the name of the pooling."""
    with collect_losses() as losses:
        run(*arguments, **options)
    return {name.split(" ", 1)[1]: value for name, value in losses.items()}


def edge_list(graph, weight=None):
    source, destination = (ids.tolist() for ids in graph.edges())
    weight = [1.0] * len(source) if weight is None else weight.tolist()
    return list(zip(source, destination, weight))


def dense(coarse, values):
    """Values of the coarse edges of one graph as a matrix."""
    n = coarse.graph.num_nodes()
    out = values.new_zeros((n, n, *values.shape[1:]))
    ends = tuple(ids.long() for ids in coarse.graph.edges())
    return out.index_put(ends, values, accumulate=True).detach().numpy()


def arrays(module):
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def close(found, expected):
    if torch.is_tensor(found):
        found = found.detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9, rtol=1e-7)


def check_features_and_readout(pool, graph, feat, coarse, expected):
    """X' is as expected, and so is the readout made of it."""
    close(coarse.feat, expected)
    close(pool(graph, feat), reduced(expected, pool.aggregate)[None])


CASES = [(1, 0), (2, 1), (9, 2), (14, 3)]


# Equations. ----------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize(("n", "seed"), CASES)
@pytest.mark.parametrize("make", [TopKPool, SAGPool])
def test_selection(make, n, seed, aggregate):
    graph, feat, edge_feat, _ = random_graph(n, seed, self_loop=n > 9)
    pool = make(WIDTH, num_clusters=4, aggregate=aggregate).double()
    x, p = feat.numpy(), arrays(pool)
    if make is TopKPool:
        direction = p["weight"][0]
        scores = [row @ direction / math.sqrt(direction @ direction) for row in x]
    else:
        scores = reference.graph_conv(
            x, edge_list(graph), p["gnn.lin_rel.weight"], p["gnn.lin_rel.bias"],
            p["gnn.lin_root.weight"],
        )[:, 0]  # fmt: skip
    kept = reference.best(scores, 4)
    coarse = pool.coarsen(graph, feat, edge_feat)
    check_features_and_readout(pool, graph, feat, coarse, reference.gate(x, scores, kept))
    matrix = reference.adjacency(n, edge_list(graph))[np.ix_(kept, kept)]
    close(dense(coarse, coarse.edge_weight), matrix)
    selection = np.eye(n)[:, kept]
    close(
        dense(coarse, coarse.edge_feat),
        reference.pooled_edges(selection, n, edge_list(graph), edge_feat.numpy()),
    )
    rows = torch.randn(len(kept), 3, dtype=torch.float64)
    close(coarse.lift(rows), selection @ rows.numpy())
    assert coarse.num_clusters.tolist() == [len(kept)]
    close(coarse.effective_rank, [len(kept)])


@pytest.mark.parametrize(("n", "seed"), CASES)
def test_asap(n, seed):
    graph, feat, edge_feat, weight = random_graph(n, seed, self_loop=n > 9)
    pool = ASAPool(WIDTH, num_clusters=4).double()
    p = arrays(pool)
    le = [p[f"gnn_score.{name}"] for name in ("lin1.weight", "lin1.bias", "lin2.weight")]
    le += [p["gnn_score.lin3.weight"], p["gnn_score.lin3.bias"]]
    expected, assign, matrix = reference.asap(
        feat.numpy(), edge_list(graph, weight), 4, p["lin.weight"], p["lin.bias"],
        p["att.weight"][0], p["att.bias"][0], [each.squeeze() for each in le],
    )  # fmt: skip
    coarse = pool.coarsen(graph, feat, edge_feat, edge_weight=weight)
    close(coarse.feat, expected)
    close(pool(graph, feat), expected.mean(0)[None])
    close(dense(coarse, coarse.edge_weight), matrix)
    pooled = reference.pooled_edges(assign, n, edge_list(graph), edge_feat.numpy())
    pooled[matrix == 0] = 0
    close(dense(coarse, coarse.edge_feat), pooled)
    close(coarse.lift(coarse.feat), assign @ expected)


def check_soft(pool, graph, feat, edge_feat, assign, *, weight, transform=None, diagonal=True):
    """X', A', E', lift, rank and readout of a pooling that is nothing but S."""
    n, x = len(feat), feat.numpy()
    expected = assign.T @ x if transform is None else assign.T @ x @ transform.T
    coarse = pool.coarsen(graph, feat, edge_feat, edge_weight=weight)
    close(coarse.feat, expected)
    matrix = assign.T @ reference.adjacency(n, edge_list(graph, weight)) @ assign
    pooled = reference.pooled_edges(assign, n, edge_list(graph), edge_feat.numpy())
    if not diagonal:
        np.fill_diagonal(matrix, 0)
        degree = np.sqrt(np.maximum(matrix.sum(1), 1e-300))
        matrix = matrix / degree / degree[:, None]
        pooled[np.eye(len(matrix), dtype=bool)] = 0
    close(dense(coarse, coarse.edge_weight), matrix)
    if graph.num_edges():
        close(dense(coarse, coarse.edge_feat), pooled)
    rows = torch.randn(assign.shape[1], 2, dtype=torch.float64)
    close(coarse.lift(rows), assign @ rows.numpy())
    values = np.linalg.eigvalsh(assign @ assign.T)
    share = values[values > 1e-12] / values.sum()
    close(coarse.effective_rank, [math.exp(-(share * np.log(share)).sum())])
    close(coarse.soft_count, [sum(row @ row / (row @ assign.sum(0)) for row in assign)])
    assert coarse.num_clusters.tolist() == [max(1, (values > 0.7 * values.sum() / n).sum())]
    readout = pool(graph, feat, edge_weight=weight)
    close(readout, reduced(expected, pool.aggregate)[None])
    return coarse.losses


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize(("n", "seed"), CASES)
def test_diffpool(n, seed, aggregate):
    graph, feat, edge_feat, weight = random_graph(n, seed, self_loop=n > 9)
    pool = DiffPool(
        WIDTH, num_clusters=4, hidden_feats=6, link_weight=0.5, aggregate=aggregate
    ).double()
    p, hidden = arrays(pool), feat.numpy()
    for i in range(2):
        names = [f"gnn.{i}.{name}" for name in ("lin_rel.weight", "lin_rel.bias")]
        hidden = np.maximum(hidden, 0) if i else hidden
        hidden = reference.graph_conv(
            hidden, edge_list(graph, weight), *(p[name] for name in names),
            p[f"gnn.{i}.lin_root.weight"],
        )  # fmt: skip
    assign = np.array([reference.softmax(row) for row in hidden])
    losses = check_soft(pool, graph, feat, edge_feat, assign, weight=weight)
    matrix = reference.adjacency(n, edge_list(graph, weight))
    close(losses["link"], 0.5 * reference.link_loss(matrix, assign))
    close(losses["entropy"], reference.entropy_loss(assign))


@pytest.mark.parametrize(("n", "seed"), CASES)
def test_mempool(n, seed):
    graph, feat, edge_feat, weight = random_graph(n, seed)
    pool = MemPool(WIDTH, num_clusters=3, heads=2, tau=1.5).double()
    p = arrays(pool)
    assign = reference.memory_shares(feat.numpy(), p["k"], p["conv.weight"].ravel(), 1.5)
    losses = check_soft(
        pool, graph, feat, edge_feat, assign, weight=weight, transform=p["lin.weight"]
    )
    close(losses["kl"], reference.kl_loss(assign))


@pytest.mark.parametrize(("n", "seed"), CASES)
def test_mincut(n, seed):
    graph, feat, edge_feat, _ = random_graph(n, seed, self_loop=n > 9)
    source, destination = graph.edges()
    weight = 1 / (1.0 + source + destination).double()  # the same both ways
    pool = MinCutPool(WIDTH, num_clusters=3).double()
    p = arrays(pool)
    logits = feat.numpy() @ p["lin.weight"].T + p["lin.bias"]
    assign = np.array([reference.softmax(row) for row in logits])
    losses = check_soft(pool, graph, feat, edge_feat, assign, weight=weight, diagonal=False)
    matrix = reference.adjacency(n, edge_list(graph, weight))
    if n == 1:
        assert losses["cut"] == 0
    else:
        cut, orthogonality = reference.mincut_losses(matrix, assign)
        close(losses["cut"], cut)
        close(losses["orthogonality"], orthogonality)


@pytest.mark.parametrize(("n", "seed"), CASES)
def test_bnpool(n, seed):
    graph, feat, edge_feat, weight = random_graph(n, seed)
    pool = BNPool(WIDTH, max_clusters=4, concentration=2.0, link_prior_weight=1.0).double().eval()
    p = arrays(pool)
    raw = np.log1p(np.exp(feat.numpy() @ p["lin.weight"].T + p["lin.bias"]))
    fractions = raw[:, :3] / (raw[:, :3] + raw[:, 3:])
    assign = np.array([reference.sticks(row) for row in fractions])
    losses = check_soft(pool, graph, feat, edge_feat, assign, weight=weight)
    if n > 1:
        matrix = reference.adjacency(n, edge_list(graph))
        expected = reference.reconstruction_loss(matrix, assign, p["links"])
        close(losses["reconstruction"], expected)
    signs = 2 * np.eye(4) - 1
    close(losses["link_prior"], ((p["links"] - 10 * signs) ** 2).sum() / 2 / n**2)
    # KL(Beta(a, b) || Beta(1, 2)), integrated over the logit of the fraction, where the density
    # falls off exponentially on both sides: like exp(a u) and exp(-b u).
    total = 0.0
    for a, b in zip(raw[:, :3].ravel(), raw[:, 3:].ravel()):
        u, step = np.linspace(-40 / a, 40 / b, 200_001, retstep=True)
        log_v, log_rest = -np.logaddexp(0, -u), -np.logaddexp(0, u)
        log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
        log_q = (a - 1) * log_v + (b - 1) * log_rest - log_beta
        density = np.exp(log_q + log_v + log_rest)
        total += (density * (log_q - log_rest - math.log(2))).sum() * step
    np.testing.assert_allclose(losses["kl"].item(), total / n**2, rtol=1e-6)


def test_bnpool_samples_around_its_mean_in_training():
    graph, feat, *_ = random_graph(6, 0)
    pool = BNPool(WIDTH, max_clusters=4).double()
    torch.manual_seed(0)
    copies = pool.coarsen(dgl.batch([graph] * 2000), feat.repeat(2000, 1))
    draws = copies.feat.detach().unflatten(0, (2000, 4))
    assert draws.std(0).min() > 0.01
    # S is a product of independent fractions, so its mean is the product of their means.
    expected = pool.eval().coarsen(graph, feat).feat
    error = (draws.mean(0) - expected).abs() / (draws.std(0) / 2000**0.5)
    assert error.max() < 5


# Ties. ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["topk", "sagpool", "asap"])
def test_equal_atoms_are_kept_or_dropped_together(name):
    """A six-ring with one substituent: atoms 1 and 5, and 2 and 4, are equivalent."""
    ring = [(i, (i + 1) % 6) for i in range(6)] + [(0, 6)]
    u, v = zip(*ring, *((b, a) for a, b in ring))
    graph = dgl.graph((u, v))
    equivalent = torch.tensor([0, 1, 2, 3, 2, 1, 4])
    for seed in range(5):
        torch.manual_seed(seed)
        feat = torch.randn(5, WIDTH)[equivalent]
        for k in range(1, 8):
            pool = get_readout(name, in_feats=WIDTH, num_clusters=k)
            coarse = pool.coarsen(graph, feat)
            # One more at most: orbits here have two atoms.
            assert k <= coarse.graph.num_nodes() <= k + 1
            lifted = coarse.lift(torch.ones_like(coarse.feat))
            torch.testing.assert_close(lifted[[1, 2]], lifted[[5, 4]])


@pytest.mark.parametrize("name", ["topk", "sagpool", "asap"])
@pytest.mark.parametrize(("ratio", "expected"), [(0.5, [4, 1, 2, 6, 1]), (1.0, [*SIZES])])
def test_ratio(name, ratio, expected):
    graph, feat, *_ = random_batch()
    pool = get_readout(name, in_feats=WIDTH, ratio=ratio).double()
    if name == "asap":
        # Of two nodes that are joined, each cluster holds both: the clusters are equal.
        expected = [*expected[:-1], 2]
    assert pool.coarsen(graph, feat).graph.batch_num_nodes().tolist() == expected


# Losses. -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_LOSSES)
def test_losses_are_means_over_graphs_on_both_faces(name):
    """Neither the size of the batch, nor its largest graph, nor an empty one changes a share."""
    pool = get_readout(name, in_feats=WIDTH).double().eval()
    members = [random_graph(n, i) for i, n in enumerate(SIZES)]
    alone = [pool.coarsen(graph, feat).losses for graph, feat, *_ in members]
    empty = dgl.graph(([], []), num_nodes=0, idtype=torch.int32)
    graph = dgl.batch([*(each[0] for each in members), empty])
    feat = torch.cat([each[1] for each in members])
    together = pool.coarsen(graph, feat).losses
    assert sorted(together) == sorted(alone[0])
    for key, value in together.items():
        close(value, np.mean([each[key].item() for each in alone]))
    for face in (pool, pool.coarsen):
        found = losses_of(face, graph, feat)
        assert sorted(found) == sorted(together)
        for key, value in found.items():
            close(value, together[key].item())


@pytest.mark.parametrize("name", NAMES)
def test_losses_are_finite_for_every_batch(name):
    pool = get_readout(name, in_feats=WIDTH).train()
    empty = dgl.graph(([], []), num_nodes=0)
    single, pair = dgl.graph(([], []), num_nodes=1), dgl.graph(([], []), num_nodes=2)
    for batch in ([empty], [empty, single], [pair, empty, pair], [single]):
        graph = dgl.batch(batch)
        for scale in (0.0, 1.0, 1e6):
            feat = (scale * torch.randn(graph.num_nodes(), WIDTH)).requires_grad_()
            for face in (pool, pool.coarsen):
                pool.zero_grad()
                losses = losses_of(face, graph, feat)
                # Nothing was read where no graph has a node.
                assert bool(losses) == (name in WITH_LOSSES and (len(feat) > 0 or face != pool))
                total = sum(losses.values(), torch.zeros(()))
                assert torch.isfinite(total)
                if total.requires_grad:
                    total.backward()
                for parameter in pool.parameters():
                    assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize(
    ("make", "weights"),
    [
        (DiffPool, {"link_weight": "link", "entropy_weight": "entropy"}),
        (MemPool, {"kl_weight": "kl"}),
        (MinCutPool, {"cut_weight": "cut", "orthogonality_weight": "orthogonality"}),
        (
            BNPool,
            {
                "reconstruction_weight": "reconstruction",
                "kl_weight": "kl",
                "link_prior_weight": "link_prior",
            },
        ),
    ],
)
def test_weights_scale_losses_and_zero_leaves_them_out(make, weights):
    graph, feat, *_ = random_batch()
    torch.manual_seed(0)
    ones = make(WIDTH, **dict.fromkeys(weights, 1.0)).double().eval()
    for option, name in weights.items():
        for weight in (0.25, 0):
            pool = make(WIDTH, **{**dict.fromkeys(weights, 1.0), option: weight}).double().eval()
            pool.load_state_dict(ones.state_dict())
            found, expected = losses_of(pool, graph, feat), losses_of(ones, graph, feat)
            assert (name in found) == (weight > 0)
            if weight:
                close(found[name], weight * expected[name].item())
        with pytest.raises(ValueError, match=f"{option} is -1"):
            make(WIDTH, **{option: -1})


@pytest.mark.parametrize("name", WITH_LOSSES)
def test_training_on_the_losses_lowers_them(name):
    torch.manual_seed(0)
    graph, feat, *_ = random_batch((9, 12, 7))
    pool = get_readout(name, in_feats=WIDTH).double().eval()
    optimiser = torch.optim.Adam(pool.parameters(), lr=0.05)
    seen = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = sum(losses_of(pool, graph, feat).values())
        loss.backward()
        optimiser.step()
        seen.append(loss.item())
    assert seen[-1] < seen[0] - 0.01 * abs(seen[0])


@pytest.mark.parametrize("name", WITH_LOSSES)
def test_gradients_of_losses_and_readout(name):
    graph, feat, _, weight = random_batch((5, 3))
    pool = get_readout(name, in_feats=WIDTH).double().eval()

    def numbers(feat, weight):
        with collect_losses() as losses:
            out = pool(graph, feat, edge_weight=weight)
        return torch.cat([out.flatten(), *(each[None] for each in losses.values())])

    inputs = feat.requires_grad_(), weight.requires_grad_()
    torch.autograd.gradcheck(numbers, inputs, fast_mode=True)


# Faces. --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in NAMES if name != "mempool"])
@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_node_weights_make_the_readout(name, aggregate):
    """Save for MemPool, which multiplies features with a matrix after pooling."""
    graph, feat, *_ = random_batch()
    pool = get_readout(name, in_feats=WIDTH, aggregate=aggregate).double().eval()
    out, (weight,) = pool(graph, feat, get_node_weight=True)
    owner = torch.repeat_interleave(graph.batch_num_nodes().long())
    expected = torch.zeros_like(out).index_add(0, owner, weight * feat)
    close(out, expected.detach().numpy())


@pytest.mark.parametrize("name", NAMES)
def test_mean_and_max_are_both_side_by_side(name):
    graph, feat, *_ = random_batch()

    def read(aggregate):
        torch.manual_seed(0)
        pool = get_readout(name, in_feats=WIDTH, aggregate=aggregate).double().eval()
        out, (weight,) = pool(graph, feat, get_node_weight=True)
        assert out.shape[1] == pool.out_feats
        return out, weight

    (mean, of_mean), (top, of_max) = read("mean"), read("max")
    both, weight = read("mean_and_max")
    close(both, torch.cat([mean, top], 1).detach().numpy())
    close(weight, ((of_mean + of_max) / 2).detach().numpy())


@pytest.mark.parametrize("name", ["diffpool", "mincut", "bnpool"])
def test_a_mean_over_clusters_forgets_the_clusters(name):
    """Rows of S add up to 1: the reason why the readout of these takes the maximum by default."""
    graph, feat, *_ = random_graph(9, 0)
    pool = get_readout(name, in_feats=WIDTH, aggregate="sum").double().eval()
    close(pool(graph, feat), feat.sum(0)[None].numpy())
    assert get_readout(name, in_feats=WIDTH).aggregate == "max"


@pytest.mark.parametrize("name", NAMES)
def test_two_levels_train(name):
    """A predictor with the pooling between two backbones: every parameter that can learn does."""
    torch.manual_seed(0)
    graph, feat, edge_feat, _ = (x.float() if torch.is_tensor(x) else x for x in random_batch())
    model = MoleculePredictor(
        WIDTH, 2, readout=name, readout_options={"num_clusters": 3} if name != "bnpool" else {},
        levels=2, hidden_feats=8, dropout=0.0,
    )  # fmt: skip
    target = torch.randn(graph.batch_size, 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    seen = []
    for _ in range(25):
        optimiser.zero_grad()
        with collect_losses() as losses:
            loss = (model(graph, feat, edge_feat) - target).square().mean()
        assert len(losses) == (
            2 * len(losses_of(model.poolings[0].coarsen, graph, torch.ones(graph.num_nodes(), 8)))
            if name in WITH_LOSSES
            else 0
        )
        (loss + 0.1 * sum(losses.values())).backward()
        optimiser.step()
        seen.append(loss.item())
    assert seen[-1] < 0.8 * seen[0]


@pytest.mark.parametrize("name", sorted({*NAMES} - {"asap", "random"}))
def test_parallel_edges_count_as_weight(name):
    """Each edge twice is each edge with weight 2; ASAP and the control look at edges, not at A."""
    graph, feat, *_ = random_graph(8, 0)
    source, destination = graph.edges()
    twice = dgl.graph((torch.cat([source] * 2), torch.cat([destination] * 2)), num_nodes=8)
    pool = get_readout(name, in_feats=WIDTH).double().eval()
    expected = pool(graph, feat, edge_weight=torch.full((graph.num_edges(),), 2.0).double())
    close(pool(twice, feat), expected.detach().numpy())


@pytest.mark.parametrize("name", NAMES)
def test_an_edge_across_graphs_is_an_error(name):
    graph, feat, edge_feat, _ = random_graph(6, 0)
    pool = get_readout(name, in_feats=WIDTH).double()
    counts = torch.tensor([3, 3])
    with pytest.raises(ValueError, match="check batch_num_nodes"):
        pool.coarsen(graph, feat, edge_feat, batch_num_nodes=counts)


@pytest.mark.parametrize("name", NAMES)
def test_repr_and_reset(name):
    pool = get_readout(name, in_feats=WIDTH)
    assert isinstance(pool, Pooling)
    assert f"in_feats={WIDTH}" in repr(pool)
    assert "clusters=" in repr(pool)
    before = {key: value.clone() for key, value in pool.state_dict().items()}
    pool.reset_parameters()
    changed = [key for key, value in pool.state_dict().items() if not value.equal(before[key])]
    # BN-Pool's matrix of links starts at fixed numbers.
    assert changed == [key for key in before if key != "links"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("topk", {"num_clusters": 0}),
        ("topk", {"ratio": 1.5}),
        ("sagpool", {"ratio": 0}),
        ("asap", {"dropout": 1.0}),
        ("diffpool", {"num_clusters": 2.5}),
        ("diffpool", {"hidden_feats": 0}),
        ("mempool", {"tau": 0}),
        ("mempool", {"heads": True}),
        ("bnpool", {"max_clusters": 1}),
        ("bnpool", {"concentration": -1.0}),
        ("random", {"seed": -1}),
        ("mincut", {"aggregate": "avg"}),
    ],
)
def test_wrong_options_are_named(name, options):
    ((option, value),) = options.items()
    with pytest.raises(ValueError, match=option) as caught:
        get_readout(name, in_feats=WIDTH, **options)
    assert repr(value) in str(caught.value)


# The control. --------------------------------------------------------------------------------


def groups(pool, graph, feat):
    """The group of each node, by the coarse node it lifts from."""
    coarse = pool.coarsen(graph, feat)
    n = coarse.graph.num_nodes()
    return coarse.lift(torch.eye(n, dtype=torch.float64)).argmax(1)


def hashes(graph, seed=0):
    feat = torch.zeros(graph.num_nodes(), WIDTH)
    return structure_hash(GraphBatch(graph, feat, width=WIDTH, dtype=torch.float32), seed)


def test_random_groups_follow_the_molecule_and_the_seed():
    graph, feat, *_ = random_graph(30, 0)
    pool = RandomPool(WIDTH)
    found = groups(pool, graph, feat)
    assert torch.equal(found, groups(pool, graph, 5 * feat + 1))  # the features do not matter
    torch.manual_seed(99)
    assert torch.equal(found, groups(pool.train(), graph, feat))  # nor any random state
    others = [groups(RandomPool(WIDTH, seed=seed), graph, feat) for seed in range(1, 6)]
    assert not any(torch.equal(found, other) for other in others)
    # Two nodes share a group about as often as chance has it.
    together = [(g[:, None] == g).double().mean().item() for g in [found, *others]]
    assert 0.08 < np.mean(together) < 0.25


def test_random_groups_are_even_and_independent():
    """Chi-square tests at a level that a sound hash fails once in 10^6 runs, with fixed seeds."""
    graph, *_ = random_graph(60, 0)
    counts, pairs = torch.zeros(10), torch.zeros(10, 10)
    number = [hashes(graph, seed) & (2**62 - 1) for seed in range(200)]
    distinct = [i for i in range(60) if (number[0] == number[0][i]).sum() == 1]
    assert len(distinct) > 20
    for each in number:
        group = each[distinct] % 10
        counts += torch.bincount(group, minlength=10)
        pairs += torch.bincount(group[:-1:2][:10] * 10 + group[1::2][:10], minlength=100).view(
            10, 10
        )
    for table, limit in ((counts, 50), (pairs, 180)):
        expected = table.sum() / table.numel()
        assert ((table - expected) ** 2 / expected).sum() < limit


def test_random_groups_put_equivalent_atoms_together_and_tell_others_apart():
    ring = [(i, (i + 1) % 6) for i in range(6)] + [(0, 6)]
    u, v = zip(*ring, *((b, a) for a, b in ring))
    number = hashes(dgl.graph((u, v))).tolist()
    assert number[1] == number[5]
    assert number[2] == number[4]
    assert len(set(number)) == 5


def test_random_groups_are_no_more_than_the_nodes():
    graph, feat, *_ = random_batch((1, 2, 3, 40))
    coarse = RandomPool(WIDTH, num_clusters=5).coarsen(graph, feat)
    assert (coarse.num_clusters <= torch.tensor([1, 2, 3, 5])).all()
    assert coarse.graph.batch_num_nodes().tolist() == coarse.num_clusters.tolist()
    assert coarse.num_clusters[3] == 5


def test_pools_of_the_registry_keep_their_options():
    make = functools.partial(get_readout, in_feats=WIDTH)
    assert make("topk").num_clusters == make("diffpool").num_clusters == 10
    with pytest.raises(ValueError, match="Did you mean 'num_clusters'"):
        make("sagpool", num_cluster=3)


def test_clusters_are_counted_where_all_nodes_collapse_into_one(monkeypatch):
    """LAPACK's float32 eigenvalues do not converge on the subnormal entries of this S'S, which a
    DiffPool met in training."""
    generator = torch.Generator().manual_seed(649)
    exponents = -30 * torch.rand(10, generator=generator)
    rows = 10 ** (exponents + 0.3 * torch.randn(15, 10, generator=generator))
    rows[:, 0] = 1
    graph, pool = dgl.rand_graph(15, 30), DiffPool(4, num_clusters=10)

    def assign(batch):
        return Assignment.from_rows(batch.layout, rows)

    monkeypatch.setattr(pool, "assign", assign)
    coarse = pool.coarsen(graph, torch.randn(15, 4))
    assert coarse.num_clusters.tolist() == [1]
    assert coarse.effective_rank.item() == pytest.approx(1, abs=1e-3)
