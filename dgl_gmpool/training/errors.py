"""What stops a training run."""

from __future__ import annotations


class TrainingError(RuntimeError):
    """Training cannot go on; the message says where it stopped and what to try."""
