"""Losses of a value of which one bound alone is known (``>10``): censored likelihoods.

Of a measured value y the output m of a model is off by y - m; of a bound on y it is only known
that y lies beyond. With errors of a normal law of scale s the likelihood of a bound b from below is
Phi((m - b) / s) (Tobin, "Estimation of relationships for limited dependent variables", Econometrica
26, 1958; Amemiya, J. Econometrics 24, 1984), that of a measured value the normal density. Times
2 s^2 and without constants, minus the logarithm of the two is

    (y - m)^2                      for a value,
    -2 s^2 log Phi((m - b) / s)    for a bound,

so that the loss of values stays the squared error, whatever s. For s to 0 the second is
max(0, b - m)^2, a squared error on the wrong side alone.

s is no parameter of the model but :data:`NOISE`, a fixed share of the spread of the training
targets. Learnt with the weights it started at the spread and ended no better than s = 1
(``experiments/bounds.py``: s of 0.1 to 0.5 are alike, 1 and learnt are worse in every case), and it
would make the loss of one batch hang on others. An s of the whole spread would push predictions
past bounds that they already respect.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Scale of the error, in units of the spread of the targets. Half of all pairs of IC50 of one
#: molecule differ by more than 0.3 log units (Landrum and Riniker, J. Chem. Inf. Model. 2024).
NOISE = 0.3


def gaussian_bound(margin: Tensor, noise: float = NOISE) -> Tensor:
    """``-2 s^2 log Phi(margin / s)``, beside squared errors.

    Parameters
    ----------
    margin : Tensor
        How far the output lies on the right side of the bound.
    noise : float
        s, of the same unit.

    Examples
    --------
    >>> [round(loss, 3) for loss in gaussian_bound(torch.tensor([-10.0, 0.0, 10.0])).tolist()]
    [100.797, 0.125, 0.0]
    """
    likelihood: Tensor = torch.special.log_ndtr(margin / noise)
    return -2 * noise**2 * likelihood


def laplace_bound(margin: Tensor, noise: float = NOISE) -> Tensor:
    """``-s log F(margin / s)``, F the distribution of a Laplace law, beside absolute errors.

    F(z) is exp(z) / 2 below 0 and 1 - exp(-z) / 2 above, so a violated bound costs what it is
    violated by, and s log 2.

    Examples
    --------
    >>> [round(loss, 3) for loss in laplace_bound(torch.tensor([-10.0, 0.0, 10.0])).tolist()]
    [10.208, 0.208, 0.0]
    """
    z = margin / noise
    # Each side sees its own half only: the other's would overflow, and its gradient with it.
    wrong = math.log(2) - z.clamp(max=0)
    right = -torch.log1p(-torch.exp(-z.clamp(min=0)) / 2)
    return noise * torch.where(z < 0, wrong, right)
