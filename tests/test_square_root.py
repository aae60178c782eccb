"""Square roots of the grouping matrix: oracles, gradients, and inputs at their worst."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import reference
import scipy.linalg
import torch
from torch.autograd import gradcheck

from dgl_gmpool.nn.square_root import (
    DELTA,
    cholesky_root,
    eigen_root,
    nearest_psd,
    symmetric_root,
)

ROOTS = ("sqrtm", "eigen", "cholesky")

#: What the smoothing leaves of S S' = M+, with room for rounding.
CLOSE = 1.1 * DELTA


def root_of(matrix, decomposition, **options):
    if decomposition == "sqrtm":
        return symmetric_root(matrix, **options)[0]
    if decomposition == "eigen":
        return eigen_root(matrix, **options)[0]
    return cholesky_root(nearest_psd(matrix)[0], **options)[0]


def whole_root(matrix, decomposition):
    """Without leaving out the columns that hold the last percent of the trace."""
    return root_of(matrix, decomposition, **({} if decomposition == "sqrtm" else {"tol": 0.0}))


def symmetric(values, seed=0):
    """A symmetric matrix with these eigenvalues, (1, n, n) float64."""
    values = torch.as_tensor(values, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    n = len(values)
    basis = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64)).Q
    matrix = (basis * values) @ basis.mT
    return ((matrix + matrix.mT) / 2)[None]


def blocks(*sizes):
    """The grouping matrix of disjoint clusters, eq. 7."""
    ones = [torch.ones(k, k, dtype=torch.float64) for k in sizes]
    return torch.block_diag(*ones)[None]


ADVERSARIAL = {
    "zero": torch.zeros(1, 5, 5, dtype=torch.float64),
    "one by one": torch.ones(1, 1, 1, dtype=torch.float64),
    "identity": torch.eye(6, dtype=torch.float64)[None],
    "all ones": torch.ones(1, 7, 7, dtype=torch.float64),
    "rank one": symmetric([0, 0, 0, 0, 1.0]),
    "equal blocks": blocks(3, 3, 3),
    "equal and unequal blocks": blocks(1, 2, 2, 1, 4),
    "soft equal blocks": 0.9 * blocks(3, 3) + 0.1 * torch.eye(6, dtype=torch.float64),
    "indefinite": symmetric([-1.0, -0.3, -0.3, 0.0, 0.2, 1.0]),
    "plus and minus one": symmetric([-1.0, -1.0, 1.0, 1.0]),
    "negative": symmetric([-1.0, -0.5, -0.1]),
    "tiny": 1e-30 * symmetric([0.1, 0.2, 1.0]),
    "large": blocks(66, 66),
    **{f"gap 1e-{k}": symmetric([1.0, 1 - 10.0**-k, 1 - 2 * 10.0**-k]) for k in range(1, 13)},
    **{f"least 1e-{k}": symmetric([1.0, 0.5, 10.0**-k, 10.0**-k]) for k in range(1, 13)},
    **{f"least -1e-{k}": symmetric([1.0, 0.5, -(10.0**-k)]) for k in (3, 8, 16)},
}


# Values. -------------------------------------------------------------------------------------


@pytest.mark.parametrize("decomposition", ROOTS)
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_product_is_the_nearest_psd_matrix(name, decomposition):
    matrix = ADVERSARIAL[name]
    root = whole_root(matrix, decomposition)
    expected = reference.nearest_psd(matrix[0].numpy())
    np.testing.assert_allclose((root @ root.mT)[0].numpy(), expected, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("n", [1, 2, 5, 17, 40])
def test_symmetric_root_equals_scipy(n):
    torch.manual_seed(n)
    factor = torch.randn(3, n, n, dtype=torch.float64)
    matrix = factor @ factor.mT / n + 0.1 * torch.eye(n, dtype=torch.float64)
    root, eigenvalues = symmetric_root(matrix)
    for found, given, values in zip(root, matrix, eigenvalues):
        np.testing.assert_allclose(found, scipy.linalg.sqrtm(given.numpy()), rtol=0, atol=1e-6)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(given.numpy()), atol=1e-10)


@pytest.mark.parametrize("decomposition", ROOTS)
@pytest.mark.parametrize("num_clusters", [None, 1, 3, 50])
def test_equals_the_loop(decomposition, num_clusters):
    matrix = symmetric([-0.4, -0.1, 0.05, 0.2, 0.45, 0.9, 2.0], seed=3)
    found = root_of(matrix, decomposition, num_clusters=num_clusters)[0].numpy()
    expected = reference.assignment(matrix[0].numpy(), decomposition, num_clusters=num_clusters)
    columns = expected.shape[1]
    # Columns that a forced K cannot fill, because M has lower rank, are zero.
    np.testing.assert_allclose(found[:, :columns], expected[:, : found.shape[1]], atol=1e-6)
    np.testing.assert_allclose(found[:, columns:], 0, atol=1e-7)


def test_symmetric_root_is_symmetric_to_the_bit_and_follows_the_nodes():
    torch.manual_seed(0)
    matrix = torch.rand(4, 12, 12, dtype=torch.float64)
    matrix = (matrix + matrix.mT) / 2
    root, _ = symmetric_root(matrix)
    assert torch.equal(root, root.mT)
    order = torch.randperm(12)
    permuted, _ = symmetric_root(matrix[:, order][:, :, order])
    torch.testing.assert_close(permuted, root[:, order][:, :, order], rtol=0, atol=1e-9)


@pytest.mark.parametrize("sizes", [(1,), (4,), (3, 2, 1), (5, 4, 3, 2), (6, 1)])
def test_cholesky_of_disjoint_clusters_is_their_indicator(sizes):
    """Eq. 7 gives eq. 8 exactly, whatever the order of the nodes."""
    matrix = blocks(*sizes)
    expected = torch.zeros(sum(sizes), len(sizes), dtype=torch.float64)
    start = 0
    for column, size in enumerate(sizes):
        expected[start : start + size, column] = 1
        start += size
    for seed in range(5):
        order = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(seed))
        root, clusters, _ = cholesky_root(matrix[:, order][:, :, order])
        assert torch.equal(root[0], expected[order])
        assert clusters.tolist() == [len(sizes)]


def test_cholesky_of_equal_clusters_is_their_indicator_up_to_column_order():
    order = torch.tensor([5, 0, 3, 1, 4, 2])
    root, clusters, _ = cholesky_root(blocks(2, 2, 2)[:, order][:, :, order])
    columns = {tuple(column.tolist()) for column in root[0].mT}
    expected = torch.eye(3).repeat_interleave(2, dim=0)[order]
    assert columns == {tuple(column.tolist()) for column in expected.mT}
    assert clusters.tolist() == [3]


@pytest.mark.parametrize("n", [2, 4])
def test_priority_decides_between_equal_columns(n):
    """Two nodes, and two pairs of equal ones, always tie: without a priority the place decides."""
    half = n // 2
    matrix = torch.full((n, n), 0.3, dtype=torch.float64)
    matrix[:half, :half] = matrix[half:, half:] = 1
    priority = torch.arange(n, dtype=torch.float64) // half
    flip = torch.arange(n).flip(0)
    root, _, _ = cholesky_root(matrix[None], priority=priority[None])
    other, _, _ = cholesky_root(matrix[flip][:, flip][None], priority=priority[flip][None])
    torch.testing.assert_close(other, root[:, flip], rtol=0, atol=1e-12)
    assert root[0, -1, 0] == 1


def test_priority_does_not_override_longer_columns():
    root, _, _ = cholesky_root(blocks(3, 1), priority=torch.tensor([[0.0, 0, 0, 9]]))
    assert root[0, :, 0].tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("decomposition", ["eigen", "cholesky"])
def test_columns_are_as_many_as_clusters(decomposition):
    matrix = torch.cat([blocks(4, 2), blocks(6), blocks(1, 1, 1, 3)])
    run = eigen_root if decomposition == "eigen" else cholesky_root
    root, clusters = run(matrix)[:2]
    assert clusters.tolist() == [2, 1, 4]
    assert root.shape == (3, 6, 4)
    for each, used in zip(root, clusters.tolist()):
        assert bool((each[:, used:] == 0).all())
        assert bool((each[:, :used].abs().sum(0) > 0.9).all())


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cholesky_scales_with_the_matrix(scale, dtype):
    """Pivots and their number do not depend on the unit; tiny squares would underflow."""
    matrix = symmetric([0.1, 0.4, 0.7, 1.0, 1.3]).to(dtype)
    root, clusters, _ = cholesky_root(matrix, tol=0.1)
    scaled, same, _ = cholesky_root(scale * matrix, tol=0.1)
    assert 1 < clusters.item() == same.item() < 5
    torch.testing.assert_close(scaled / scale**0.5, root, rtol=1e-4, atol=1e-5)


def test_eigen_columns_are_sorted_and_have_positive_sums():
    root, clusters, _ = eigen_root(symmetric([0.1, 0.7, 0.3, 2.0], seed=1), tol=0.0)
    lengths = root[0].norm(dim=0)
    assert clusters.item() == 4
    assert bool((lengths[:-1] > lengths[1:]).all())
    assert bool((root[0].sum(0) >= 0).all())


@pytest.mark.parametrize("tol", [0.0, 0.01, 0.2])
@pytest.mark.parametrize("decomposition", ["eigen", "cholesky"])
def test_no_more_than_tol_of_the_trace_is_left_out(decomposition, tol):
    torch.manual_seed(1)
    x = torch.randn(8, 15, 3, dtype=torch.float64)
    matrix = torch.exp(-torch.cdist(x, x).square() / 4)
    root = root_of(matrix, decomposition, tol=tol)
    trace = matrix.diagonal(dim1=1, dim2=2).sum(-1)
    left = (trace - root.square().sum((1, 2))) / trace
    assert float(left.max()) <= min(tol, 0.5 / 15) + 15 * DELTA
    assert float(left.min()) >= -1e-12


# Gradients. ----------------------------------------------------------------------------------


def _both_sides(matrix):
    """Gradcheck moves single entries; M is symmetric."""
    return (matrix + matrix.mT) / 2


@pytest.mark.parametrize("decomposition", ROOTS)
@pytest.mark.parametrize("num_clusters", [None, 2])
def test_gradcheck_on_positive_definite_matrices(decomposition, num_clusters):
    values = [0.3, 0.6, 1.0, 1.7]
    matrix = torch.cat([symmetric(values, seed) for seed in range(2)]).requires_grad_()

    def run(matrix):
        return root_of(_both_sides(matrix), decomposition, num_clusters=num_clusters)

    # The eigenvectors' rotation is broadened by GAP^2 / gap^2, the root smoothed by DELTA.
    assert gradcheck(run, (matrix,), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("decomposition", ["sqrtm", "cholesky"])
def test_gradcheck_with_repeated_eigenvalues(decomposition):
    """The matrices for which autograd through eigh gives NaN; eigenvectors are not unique here."""
    matrix = symmetric([0.4, 0.4, 1.0, 1.0]).requires_grad_()
    assert gradcheck(lambda m: root_of(_both_sides(m), decomposition), (matrix,), atol=1e-5)


def test_gradcheck_of_the_whole_eigen_product_with_repeated_eigenvalues():
    """S S' does not depend on the choice of eigenvectors, and so has a gradient nonetheless."""
    matrix = (0.9 * blocks(2, 2) + 0.1 * torch.eye(4, dtype=torch.float64)).requires_grad_()

    def run(matrix):
        root = eigen_root(_both_sides(matrix), num_clusters=4)[0]
        return root @ root.mT

    assert gradcheck(run, (matrix,), atol=1e-5)


def test_gradcheck_of_the_nearest_psd_matrix():
    matrix = symmetric([-0.7, -0.2, 0.4, 1.1]).requires_grad_()
    assert gradcheck(lambda m: nearest_psd(_both_sides(m))[0], (matrix,))


def test_gradcheck_of_an_indefinite_symmetric_root():
    matrix = symmetric([-0.7, -0.2, 0.4, 1.1]).requires_grad_()
    assert gradcheck(lambda m: symmetric_root(_both_sides(m))[0], (matrix,), atol=1e-5)


def test_gradient_solves_the_lyapunov_equation():
    """S dM + dM S = dS, solved by SciPy from the exact root."""
    torch.manual_seed(2)
    factor = torch.randn(1, 9, 9, dtype=torch.float64)
    matrix = (factor @ factor.mT / 9 + 0.2 * torch.eye(9)).requires_grad_()
    cotangent = torch.randn(9, 9, dtype=torch.float64)
    cotangent = cotangent + cotangent.T
    (symmetric_root(matrix)[0][0] * cotangent).sum().backward()
    exact = scipy.linalg.sqrtm(matrix[0].detach().numpy())
    expected = scipy.linalg.solve_continuous_lyapunov(exact, cotangent.numpy())
    np.testing.assert_allclose(matrix.grad[0].numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("decomposition", ROOTS)
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_gradient_is_finite(name, decomposition, dtype):
    torch.manual_seed(3)
    matrix = ADVERSARIAL[name].to(dtype).clone().requires_grad_()
    for root in (
        whole_root(matrix, decomposition),
        root_of(matrix, decomposition),
        root_of(matrix, decomposition, num_clusters=2),
    ):
        assert bool(torch.isfinite(root).all())
        matrix.grad = None
        (root * torch.randn_like(root)).sum().backward()
        assert bool(torch.isfinite(matrix.grad).all())


def test_autograd_through_eigh_fails_where_ours_does_not():
    """Shows that the adversarial set holds what it should: eq. 16 at work."""
    matrix = ADVERSARIAL["identity"].clone().requires_grad_()
    values, vectors = torch.linalg.eigh(matrix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ((vectors * values.sqrt()[:, None]) @ vectors.mT)[0, 0, 1].backward()
    assert not bool(torch.isfinite(matrix.grad).all())


def test_subnormal_entries_are_no_obstacle():
    """On float32 matrices with entries like 1e-42, LAPACK's eigenvalues do not always converge. In
    float64, in which M is computed, such entries are ordinary numbers, and its own subnormal ones
    (of a Gaussian of distant nodes) do no harm."""
    generator = torch.Generator().manual_seed(0)
    for low in (24, 162):
        for _ in range(60):
            scale = 10 ** (-low * torch.rand(4, 12, generator=generator, dtype=torch.float64))
            scale[:, 0] = 1
            matrix = (scale[:, :, None] * scale[:, None, :]).requires_grad_()
            for root in (
                symmetric_root(matrix)[0],
                eigen_root(matrix)[0],
                cholesky_root(nearest_psd(matrix)[0])[0],
            ):
                (gradient,) = torch.autograd.grad(root.sum(), matrix)
                assert torch.isfinite(root).all()
                assert torch.isfinite(gradient).all()
