"""When to stop, and which epoch was the best."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class EarlyStopping:
    """Best score so far; NaN is worse than every number, so it is never kept, not even first.

    Parameters
    ----------
    higher_is_better : bool
        Direction of the score.
    patience : int
        Stop after this many epochs in a row without a new best.

    Examples
    --------
    >>> stop = EarlyStopping(higher_is_better=True, patience=2)
    >>> [stop.update(epoch, score) for epoch, score in enumerate([float("nan"), 0.6, 0.5, 0.6])]
    [False, True, False, False]
    >>> stop.best_epoch, stop.stopped
    (1, True)
    """

    higher_is_better: bool
    patience: int
    best_score: float | None = None
    best_epoch: int | None = None
    epochs_since_best: int = 0

    def update(self, epoch: int, score: float) -> bool:
        """Take in one epoch's score; True if it is the new best (ties keep the earlier)."""
        if not math.isnan(score) and (
            self.best_score is None
            or (score > self.best_score if self.higher_is_better else score < self.best_score)
        ):
            self.best_score, self.best_epoch, self.epochs_since_best = score, epoch, 0
            return True
        self.epochs_since_best += 1
        return False

    @property
    def stopped(self) -> bool:
        """True once ``patience`` epochs in a row brought no new best."""
        return self.epochs_since_best >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, for a checkpoint."""
        return asdict(self)
