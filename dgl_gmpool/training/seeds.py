"""Random states that follow from (seed, fold, epoch), so that nothing need be remembered."""

from __future__ import annotations

import numpy as np


def derived_seed(*parts: int) -> int:
    """One 63-bit seed from several non-negative integers.

    Every epoch seeds itself from ``(seed, fold, epoch)``: a run that continues from a checkpoint
    then needs no saved random state, and the folds of one seed are independent of each other.

    Parameters
    ----------
    *parts : int
        Non-negative integers; their order matters.

    Returns
    -------
    int
        In ``[0, 2**63)``, for ``torch.manual_seed``.

    Examples
    --------
    >>> derived_seed(0, 1) == derived_seed(0, 1)
    True
    >>> derived_seed(0, 1) == derived_seed(1, 0)
    False
    """
    state = np.random.SeedSequence(list(parts)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
