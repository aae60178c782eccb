"""Ragged to dense and back: nothing lost, nothing mixed, few wasted cells."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dgl_gmpool.nn.ragged import BUCKET_CHARGE, MAX_DISTINCT_SIZES, RaggedLayout

COUNTS = st.lists(st.integers(0, 45), min_size=1, max_size=30)


def layout_of(counts):
    return RaggedLayout.from_counts(torch.tensor(counts))


@given(COUNTS)
@settings(max_examples=60, deadline=None)
def test_every_graph_with_nodes_is_in_exactly_one_bucket(counts):
    layout = layout_of(counts)
    seen = [int(g) for bucket in layout.buckets for g in bucket.graphs]
    assert sorted(seen) == [g for g, n in enumerate(counts) if n]
    for bucket in layout.buckets:
        assert bucket.sizes.tolist() == [counts[g] for g in bucket.graphs.tolist()]
        assert bucket.width == int(bucket.sizes.max())
        assert bucket.mask.sum(1).tolist() == bucket.sizes.tolist()
    assert layout.batch_size == len(counts)
    assert layout.num_nodes == sum(counts)


@given(COUNTS)
@settings(max_examples=60, deadline=None)
def test_there_and_back(counts):
    layout = layout_of(counts)
    feat = torch.arange(1.0, 3 * sum(counts) + 1).reshape(-1, 3)
    blocks = layout.blocks(feat)
    if blocks:
        assert torch.equal(layout.rows(blocks), feat)
    starts = np.concatenate([[0], np.cumsum(counts)])
    for bucket, block in zip(layout.buckets, blocks):
        for row, graph in enumerate(bucket.graphs.tolist()):
            n = counts[graph]
            assert torch.equal(block[row, :n], feat[starts[graph] : starts[graph] + n])
            assert bool((block[row, n:] == 0).all())


def test_buckets_that_were_chosen_elsewhere():
    """Coarse graphs keep the buckets of the graphs they come from, empty ones and all."""
    groups = [np.array([2, 0]), np.array([3])]
    layout = RaggedLayout.of_groups(np.array([2, 0, 0, 3]), groups, [2, 4])
    assert [bucket.graphs.tolist() for bucket in layout.buckets] == [[2, 0], [3]]
    assert layout.position.tolist() == [2, 3, 4, 5, 6]
    assert layout.rows(layout.blocks(torch.arange(5.0))).tolist() == [0, 1, 2, 3, 4]


def test_owner():
    assert layout_of([2, 0, 3]).owner.tolist() == [0, 0, 2, 2, 2]


def test_a_nan_stays_in_its_graph():
    layout = layout_of([3, 4, 2])
    feat = torch.zeros(9, 1)
    feat[4] = torch.nan
    rows = layout.rows(layout.blocks(feat))
    assert torch.isnan(rows).flatten().nonzero().tolist() == [[4]]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_the_cuts_are_the_best_ones(counts):
    """Against every way to cut the sorted sizes."""
    sizes = sorted(counts)
    least = min(
        sum((b - a) * sizes[b - 1] ** 2 + BUCKET_CHARGE for a, b in zip(cuts, cuts[1:]))
        for inner in range(len(sizes))
        for middle in itertools.combinations(range(1, len(sizes)), inner)
        for cuts in [(0, *middle, len(sizes))]
    )
    layout = layout_of(counts)
    assert layout.cells + BUCKET_CHARGE * len(layout.buckets) == least


def test_cells_follow_the_sum_of_squares():
    """Sizes like unfiltered Tox21, batch 256: padding costs many times as much."""
    rng = np.random.default_rng(0)
    counts = np.clip(rng.lognormal(2.8, 0.6, 256).round().astype(int), 1, 132)
    counts[0] = 132
    layout = layout_of(counts.tolist())
    needed = int((counts**2).sum())
    assert layout.cells <= 1.35 * needed
    assert len(counts) * 132**2 > 10 * needed


def test_an_outlier_gets_a_bucket_of_its_own():
    layout = layout_of([30] * 63 + [132])
    assert [(len(bucket), bucket.width) for bucket in layout.buckets] == [(63, 30), (1, 132)]


def test_more_distinct_sizes_than_the_search_takes():
    counts = list(range(1, 2 * MAX_DISTINCT_SIZES + 10))
    layout = layout_of(counts)
    assert sorted(int(g) for bucket in layout.buckets for g in bucket.graphs) == list(
        range(len(counts))
    )
    assert layout.cells <= 1.35 * sum(n**2 for n in counts)


@pytest.mark.parametrize("counts", [[0], [0, 0, 0]])
def test_nothing_but_empty_graphs(counts):
    layout = layout_of(counts)
    assert layout.buckets == ()
    assert layout.blocks(torch.zeros(0, 4)) == []
