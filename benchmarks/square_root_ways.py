"""Other ways to a differentiable matrix square root, to compare with the package's own.

Each takes symmetric matrices ``(b, n, n)`` and returns S with S S' = M. The iterative ones share
the backward of Song, Sebe and Wang (ICLR 2022): the Lyapunov equation S dM + dM S = dS, solved by
a coupled Newton-Schulz iteration.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from mpmath import pade
from torch import Tensor

from dgl_gmpool.nn.square_root import symmetric_root

#: Steps of the Lyapunov iteration, as in Song et al.'s code.
LYAPUNOV_STEPS = 8

#: Odd polynomials a x + b x^3 + c x^5 of Polar Express (Amsel et al., 2025), for singular values
#: from 1e-3 to 1; the last one repeats.
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
    (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
    (1.875, -1.25, 0.375),
)


def eigh_closed_form(matrix: Tensor) -> Tensor:
    """The package's: eigh, backward by divided differences."""
    return symmetric_root(matrix)[0]


def eigh_autograd(matrix: Tensor) -> Tensor:
    """Autograd through ``torch.linalg.eigh`` (eq. 16)."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()[:, None, :]) @ vectors.mT


def _unit(matrix: Tensor) -> tuple[Tensor, Tensor]:
    norm = torch.linalg.matrix_norm(matrix, keepdim=True)
    return matrix / norm, norm


def _newton_schulz(matrix: Tensor, steps: int) -> Tensor:
    y, norm = _unit(matrix)
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    z = eye.expand_as(y)
    for _ in range(steps):
        t = (3 * eye - z @ y) / 2
        y, z = y @ t, t @ z
    return y * norm.sqrt()


def newton_schulz_autograd(matrix: Tensor) -> Tensor:
    """Coupled Newton-Schulz, 10 steps, autograd through all of them."""
    return _newton_schulz(matrix, 10)


def _polar_express(matrix: Tensor) -> Tensor:
    y, norm = _unit(matrix)
    # A hair above 1 in rounding would leave the interval on which the polynomials converge.
    y, norm = y / 1.01, norm * 1.01
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    z = eye.expand_as(y)
    for a, b, c in POLAR_EXPRESS:
        w = z @ y
        p = a * eye + b * w + c * (w @ w)
        y, z = y @ p, p @ z
    return y * norm.sqrt()


def _pade_coefficients(degree: int) -> tuple[list[float], list[float]]:
    """Diagonal Pade approximant of sqrt(1 - z), lowest power first."""
    taylor, value = [], 1.0
    for k in range(2 * degree + 1):
        taylor.append(value)
        value *= (k - 0.5) / (k + 1)
    numerator, denominator = pade(taylor, degree, degree)
    return [float(each) for each in numerator], [float(each) for each in denominator]


_NUMERATOR, _DENOMINATOR = _pade_coefficients(5)


def _matrix_pade(matrix: Tensor) -> Tensor:
    unit, norm = _unit(matrix)
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(unit)
    z = eye - unit
    power, p, q = eye, _NUMERATOR[0] * eye, _DENOMINATOR[0] * eye
    for a, b in zip(_NUMERATOR[1:], _DENOMINATOR[1:]):
        power = power @ z
        p, q = p + a * power, q + b * power
    return torch.linalg.solve(q, p) * norm.sqrt()


def _lyapunov(root: Tensor, grad: Tensor) -> Tensor:
    b, norm = _unit(root)
    c = grad / norm
    eye = torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
    for _ in range(LYAPUNOV_STEPS):
        square = b @ b
        c = (c @ (3 * eye - square) - square @ c + b @ c @ b) / 2
        b = b @ (3 * eye - square) / 2
    return c / 2


class _WithLyapunov(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrix: Tensor, way: Callable[[Tensor], Tensor]) -> Tensor:
        root = way(matrix)
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (root,) = ctx.saved_tensors
        return _lyapunov(root, (grad + grad.mT) / 2), None


def newton_schulz(matrix: Tensor) -> Tensor:
    """Coupled Newton-Schulz, 10 steps, Lyapunov backward."""
    return _WithLyapunov.apply(matrix, lambda m: _newton_schulz(m, 10))


def newton_schulz_20(matrix: Tensor) -> Tensor:
    """Coupled Newton-Schulz, 20 steps, Lyapunov backward."""
    return _WithLyapunov.apply(matrix, lambda m: _newton_schulz(m, 20))


def matrix_pade(matrix: Tensor) -> Tensor:
    """Song et al.'s MPA, what the paper used: [5/5] Pade approximant, Lyapunov backward."""
    return _WithLyapunov.apply(matrix, _matrix_pade)


def polar_express(matrix: Tensor) -> Tensor:
    """Coupled Polar Express, 8 steps, Lyapunov backward."""
    return _WithLyapunov.apply(matrix, _polar_express)


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "eigh, closed-form backward (ours)": eigh_closed_form,
    "eigh, autograd": eigh_autograd,
    "Newton-Schulz 10, autograd": newton_schulz_autograd,
    "Newton-Schulz 10, Lyapunov": newton_schulz,
    "Newton-Schulz 20, Lyapunov": newton_schulz_20,
    "matrix Pade (Song et al.), Lyapunov": matrix_pade,
    "Polar Express 8, Lyapunov": polar_express,
}
