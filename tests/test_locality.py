"""Locality: the heat kernel against scipy, its properties, its gradients; bonds that conduct."""

from __future__ import annotations

import dgl
import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck, gradgradcheck

from dgl_gmpool import GMPool
from dgl_gmpool.nn.batch import GraphBatch
from dgl_gmpool.nn.locality import LONGEST, SHORTEST, Conductance, Diffusion, heat_kernel
from dgl_gmpool.nn.resistance import resistance

TIMES = (0.5, 4.0, 12.0, 40.0)


def random_adjacency(n, seed, *, density=0.3):
    """Symmetric weights, some rows without any."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.2, 3, (n, n)) * (rng.random((n, n)) < density)
    weights = np.triu(weights, 1)
    return weights + weights.T


def kernel_of(graph, time, **options):
    feat = torch.zeros(graph.num_nodes(), 1, dtype=torch.float64)
    batch = GraphBatch(graph, feat, width=1, dtype=torch.float64, **options)
    locality = Diffusion(time=time).double()
    blocks = [heat.kernel for heat in locality(batch)]
    out = [None] * graph.batch_size
    for bucket, block in zip(batch.layout.buckets, blocks):
        for row, index in enumerate(bucket.graphs.tolist()):
            n = int(bucket.sizes[row])
            out[index] = block[row, :n, :n].detach().numpy()
            assert not block[row, n:].any()
            assert not block[row, :, n:].any()
    return out


# Values. -------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [*TIMES, LONGEST])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 25])
def test_it_is_the_normalised_exponential(n, time):
    for seed in range(4):
        adjacency = random_adjacency(n, seed)
        found = heat_kernel(torch.from_numpy(adjacency)[None], time).kernel[0].numpy()
        expected = reference.heat_kernel(adjacency, time)
        np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-5, atol=1e-13)


@pytest.mark.parametrize("time", [*TIMES, LONGEST])
def test_a_chain_of_molecule_size(time):
    """Entries far from the diagonal are tiny; relative to them, too, it is exact."""
    adjacency = np.diag(np.ones(11), 1)
    adjacency += adjacency.T
    found = heat_kernel(torch.from_numpy(adjacency)[None], time).kernel[0].numpy()
    expected = reference.heat_kernel(adjacency, time)
    here = expected > 1e-9
    np.testing.assert_allclose(found[here], expected[here], rtol=1e-5)


@given(st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([SHORTEST, *TIMES, LONGEST]))
@settings(max_examples=40, deadline=None)
def test_positive_semidefinite_with_unit_diagonal(n, seed, time):
    found = heat_kernel(torch.from_numpy(random_adjacency(n, seed))[None], time).kernel[0]
    assert torch.linalg.eigvalsh(found).min() > -1e-12
    torch.testing.assert_close(found.diagonal(), torch.ones(n, dtype=torch.float64))
    assert found.min() >= 0
    assert found.max() <= 1
    torch.testing.assert_close(found, found.T, rtol=0, atol=1e-12)


def test_components_stay_apart_to_the_bit_and_isolated_nodes_keep_their_heat():
    adjacency = torch.block_diag(torch.ones(3, 3), torch.ones(2, 2), torch.zeros(1, 1)).double()
    for time in TIMES:
        found = heat_kernel(adjacency[None], time).kernel[0]
        for one, other in ((slice(0, 3), slice(3, 6)), (slice(3, 5), slice(5, 6))):
            assert not found[one, other].any()
        assert found[5, 5] == pytest.approx(1, abs=1e-15)


def test_a_long_time_joins_a_component():
    adjacency = torch.from_numpy(random_adjacency(6, 0, density=1.0))[None]
    assert heat_kernel(adjacency, LONGEST).kernel.min() > 0.999
    assert heat_kernel(adjacency, 1e-4).kernel.sum() < 6.1


def test_a_longer_time_reaches_further():
    adjacency = np.diag(np.ones(5), 1)
    adjacency = torch.from_numpy(adjacency + adjacency.T)[None]
    ends = [float(heat_kernel(adjacency, time).kernel[0, 0, 5]) for time in TIMES]
    assert ends == sorted(ends)


# Graphs. -------------------------------------------------------------------------------------


def test_self_loops_are_not_looked_at():
    graph = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1]))
    (plain,) = kernel_of(graph, 4.0)
    (looped,) = kernel_of(dgl.add_self_loop(graph), 4.0)
    np.testing.assert_array_equal(looped, plain)


def test_parallel_edges_add_up_and_both_directions_are_averaged():
    graph = dgl.graph(([0, 0, 1, 1, 2], [1, 1, 0, 2, 1]))  # 0-1: two there, one back
    (found,) = kernel_of(graph, 4.0)
    adjacency = reference.conductances(3, [0, 0, 1, 1, 2], [1, 1, 0, 2, 1], [1.0] * 5)
    assert adjacency[0, 1] == 1.5
    np.testing.assert_allclose(found, reference.heat_kernel(adjacency, 4.0), rtol=1e-5)


@pytest.mark.parametrize("name", ["edge_weight", "conductance"])
def test_weights_conduct(name):
    u, v = [0, 1, 1, 2, 2, 3], [1, 0, 2, 1, 3, 2]
    values = [5.0, 5.0, 0.1, 0.3, 2.0, 2.0]
    graph = dgl.graph((u, v))
    (found,) = kernel_of(graph, 4.0, **{name: torch.tensor(values)})
    expected = reference.heat_kernel(reference.conductances(4, u, v, values), 4.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[0, 1] > 0.9 > 0.5 > found[1, 2]


def test_conductance_wins_over_the_edge_weight_and_its_sign_is_left_to_a():
    graph, plain = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1])), torch.ones(4)
    negative = torch.tensor([-1.0, -1, -2, -2])
    expected = kernel_of(graph, 4.0)[0]
    found = kernel_of(graph, 4.0, edge_weight=negative, conductance=plain)[0]
    np.testing.assert_array_equal(found, expected)
    # Without one, a negative entry of A conducts as well as a positive one.
    one, other = (kernel_of(graph, 4.0, edge_weight=w)[0] for w in (negative, negative.abs()))
    np.testing.assert_array_equal(one, other)


def test_a_batch_of_all_sizes_is_its_graphs():
    graphs = [dgl.rand_graph(n, 3 * n) if n > 1 else dgl.graph(([], []), num_nodes=n)
              for n in (4, 0, 1, 30, 7)]  # fmt: skip
    for index, found in enumerate(kernel_of(dgl.batch(graphs), 12.0)):
        if found is not None:
            np.testing.assert_allclose(found, kernel_of(graphs[index], 12.0)[0], atol=1e-12)


def test_wrong_conductances_are_named():
    graph, pool = dgl.graph(([0, 1], [1, 0])), GMPool(2)
    x = torch.randn(2, 2)
    with pytest.raises(ValueError, match=r"conductance has shape \(3,\)"):
        pool(graph, x, conductance=torch.ones(3))
    with pytest.raises(ValueError, match=r"conductance\[1\] is not finite"):
        pool(graph, x, conductance=torch.tensor([1.0, torch.nan]))
    with pytest.raises(ValueError, match=r"conductance\[1\] is -2"):
        pool(graph, x, conductance=torch.tensor([1.0, -2.0]))


# Gradients. ----------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [0.5, 12.0])
def test_gradcheck_of_time_and_conductances(time):
    adjacency = torch.from_numpy(random_adjacency(5, 1, density=0.6))[None].requires_grad_()
    t = torch.tensor(time, dtype=torch.float64, requires_grad=True)
    assert adjacency.detach().sum(-1).min() > 0
    assert gradcheck(heat_kernel, (adjacency, t), atol=1e-6)
    # Sums: what is added up next to a matrix that the second derivative needs is not symmetric.
    sums = lambda a, t: [each.sum((0, 1)) for each in heat_kernel(a, t)]  # noqa: E731
    assert gradgradcheck(sums, (adjacency, t), atol=1e-6)


def test_gradients_are_finite_where_nodes_stand_alone():
    adjacency = torch.zeros(2, 3, 3, dtype=torch.float64, requires_grad=True)
    locality = Diffusion()
    sum(each.square().sum() for each in heat_kernel(adjacency, locality.time)).backward()
    assert torch.isfinite(adjacency.grad).all()
    assert torch.isfinite(locality.log_time.grad).all()


def test_time_stays_in_its_range():
    locality = Diffusion(time=3)
    assert locality.time.item() == pytest.approx(3)
    with torch.no_grad():
        locality.log_time.fill_(100)
    assert locality.time.item() == LONGEST
    locality.reset_parameters()
    assert locality.time.item() == pytest.approx(3)
    for wrong in (0, -1.0, float("nan"), 1e9, "12"):
        with pytest.raises(ValueError, match="time is"):
            Diffusion(time=wrong)


# Conductance. --------------------------------------------------------------------------------


def test_bonds_start_alike_or_at_the_prior():
    features, end = torch.eye(3), torch.tensor([0.0, 1, 0])
    torch.testing.assert_close(Conductance(3)(features, end), torch.full((3,), 1.0001))
    start = Conductance(3, start=[5, 0, -2, 3])
    expected = torch.nn.functional.softplus(torch.tensor([5.0, 3, -2]) + np.log(np.e - 1)) + 1e-4
    torch.testing.assert_close(start(features, end), expected)
    with torch.no_grad():
        start.weight.fill_(-1e6)
    assert (start(features, end) > 0).all()
    start.reset_parameters()
    torch.testing.assert_close(start(features, end), expected)
    given = torch.randn(4, 3).double().requires_grad_(), torch.rand(4).double()
    assert gradcheck(start.double(), given)
    with pytest.raises(ValueError, match="start has 2 values; give 4"):
        Conductance(3, start=[1, 2])


def test_a_gradient_reaches_the_bonds():
    torch.manual_seed(0)
    graph = dgl.graph(([0, 1, 1, 2], [1, 0, 2, 1]))
    conductance = Conductance(2)
    pool = GMPool(4, decomposition="sqrtm", aggregate="mean").eval()
    pool(
        graph, torch.randn(3, 4), conductance=conductance(torch.rand(4, 2), torch.ones(4))
    ).sum().backward()
    assert conductance.weight.grad.abs().max() > 0
    assert pool.locality.log_time.grad.abs() > 0


def test_resistance_against_the_pseudo_inverse():
    generator = torch.Generator().manual_seed(0)
    edge = (torch.rand(3, 9, 9, generator=generator, dtype=torch.float64) > 0.7).double()
    edge[:, 0, 1:] = 1  # in one piece
    both = ((edge + edge.mT) > 0).double() * (1 - torch.eye(9, dtype=torch.float64))
    pseudo = torch.linalg.pinv(torch.diag_embed(both.sum(-1)) - both)
    own = pseudo.diagonal(dim1=1, dim2=2)
    expected = own[:, :, None] + own[:, None, :] - 2 * pseudo
    torch.testing.assert_close(resistance(edge), expected, rtol=1e-11, atol=1e-11)
    # Foster's theorem: over the edges of a graph in one piece R adds up to n - 1.
    total = (resistance(both) * both).sum((1, 2)) / 2
    torch.testing.assert_close(total, torch.full((3,), 8.0).double(), rtol=1e-3, atol=0)


def test_edges_conduct_by_the_ways_around_them_where_nothing_else_is_known():
    ring = [(i, (i + 1) % 6) for i in range(6)]
    one, other = torch.tensor([*ring, (0, 6), (6, 7)]).T
    graph = dgl.graph((torch.cat([one, other]), torch.cat([other, one])))
    feat = torch.zeros(8, 1, dtype=torch.float64)
    in_ring = (one < 6) & (other < 6)
    weight = torch.where(in_ring, (6 / 5) ** 4, 1.0).double().repeat(2)
    locality = Diffusion().double()

    def kernel(**options):
        batch = GraphBatch(graph, feat, width=1, dtype=torch.float64, **options)
        return locality(batch)[0].kernel

    torch.testing.assert_close(kernel(), kernel(conductance=weight), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(kernel(), kernel(conductance=torch.ones_like(weight)))


def test_a_diffusion_of_0_2_0_stays_what_it_was():
    """It stored neither its first time, 16, nor that edges conduct alike."""
    state = {"log_time": torch.tensor(0.5)}
    locality = Diffusion()
    locality.load_state_dict(state)
    assert locality.time.item() == pytest.approx(16 * np.exp(0.05))
    graph = dgl.graph(([0, 1, 1, 2, 2, 0, 2, 3], [1, 0, 2, 1, 0, 2, 3, 2]))
    batch = GraphBatch(graph, torch.zeros(4, 1), width=1, dtype=torch.float32)
    ones = GraphBatch(
        graph, torch.zeros(4, 1), width=1, dtype=torch.float32, conductance=torch.ones(8)
    )
    torch.testing.assert_close(locality(batch)[0].kernel, locality(ones)[0].kernel)
    again = Diffusion()
    again.load_state_dict(locality.state_dict())
    assert again.time == locality.time
    assert again.paths_power == 0
