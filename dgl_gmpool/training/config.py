"""What a run is: the model, how it is trained, and the seed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dgl_gmpool._options import check_choice

#: How the learning rate moves over a fold.
SCHEDULES = ("constant", "one_cycle")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the numbers of a run, apart from data and splits.

    Parameters
    ----------
    readout : str
        Name known to ``get_readout``.
    readout_options : mapping
        Its keyword options, plain JSON values.
    levels : int
        1: pool once, as the readout. 2: pool, run the backbone on the coarse graph, pool again.
    backbone : str
        Name known to ``MoleculePredictor``.
    hidden_feats, num_steps, dropout, head_feats
        Passed to ``MoleculePredictor``; ``head_feats=None`` takes ``hidden_feats``. The paper has
        a dropout of 0.15, which next to a batch normalisation does harm (``docs/results.md``).
    readout_norm : str
        ``"batch"`` or ``"none"``: batch normalisation between readout and head. Not in the paper;
        what it brings is in ``docs/results.md``.
    epochs : int
        Most epochs per fold.
    patience : int
        Stop after this many epochs without a better validation score.
    batch_size : int
        Molecules per step (80 in the paper).
    lr, weight_decay : float
        Of Adam.
    schedule : str
        ``"constant"``, or ``"one_cycle"``: up to ``lr`` over the first 30 % of the steps, then down
        to nearly 0 (Smith and Topin, "Super-Convergence", 2019).
    positive_weight : float, "balanced" or None
        Weight of positive cells in the classification loss; ``"balanced"`` takes
        negatives / positives of each task's training rows.
    auxiliary : mapping
        Auxiliary targets to learn beside the targets, name -> weight of their mean loss. What a
        data set offers is in its ``table.auxiliary``; ``with_auxiliary`` adds RDKit's properties.
        ``positive_weight`` is not for them.
    metric : str, optional
        Validation score that picks the epoch (default: ``roc_auc`` or ``rmse``).
    seed : int
        Seeds weights, order and dropout.

    Raises
    ------
    ValueError
        A number is out of its range.

    Examples
    --------
    >>> TrainingConfig(readout="gmpool", levels=2, seed=3).run_name
    'gmpool-2levels-seed3'
    """

    readout: str = "gmpool"
    readout_options: Mapping[str, Any] = field(default_factory=dict)
    levels: int = 1
    backbone: str = "dmpnn"
    hidden_feats: int = 200
    num_steps: int = 3
    dropout: float = 0.0
    head_feats: int | None = None
    readout_norm: str = "batch"
    epochs: int = 30
    patience: int = 20
    batch_size: int = 80
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    positive_weight: str | float | None = None
    auxiliary: Mapping[str, float] = field(default_factory=dict)
    metric: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("levels", "hidden_feats", "num_steps", "epochs", "patience", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name}={value!r}: expected a whole number of at least 1")
        if self.head_feats is not None and self.head_feats < 1:
            raise ValueError(f"head_feats={self.head_feats!r}: expected at least 1, or None")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed={self.seed!r}: expected a whole number, 0 or larger")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout!r}: expected 0 <= dropout < 1")
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise ValueError(f"lr={self.lr!r}: expected a positive learning rate, such as 1e-3")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise ValueError(f"weight_decay={self.weight_decay!r}: expected 0 or more")
        check_choice("schedule", self.schedule, SCHEDULES)
        if not isinstance(self.auxiliary, Mapping):
            raise ValueError(
                f"auxiliary={self.auxiliary!r}: expected a mapping of names to weights, such as "
                "{'properties': 1.0}"
            )
        for name, value in self.auxiliary.items():
            if not isinstance(value, (int, float)) or not (value > 0 and math.isfinite(value)):
                raise ValueError(f"auxiliary {name}={value!r}: expected a positive weight")
        weight = self.positive_weight
        if isinstance(weight, str):
            if weight != "balanced":
                raise ValueError(f"positive_weight={weight!r}: expected a number or 'balanced'")
        elif weight is not None and not (weight > 0 and math.isfinite(weight)):
            raise ValueError(f"positive_weight={weight!r}: expected a positive number")

    @property
    def label(self) -> str:
        """Model in a few words, without the seed: ``gmpool-similarity=cauchy-2levels``."""
        parts = [] if self.backbone == "dmpnn" else [self.backbone]
        parts.append(self.readout)
        parts += [f"{key}={self.readout_options[key]}" for key in sorted(self.readout_options)]
        if self.levels > 1:
            parts.append(f"{self.levels}levels")
        parts += [f"{key}={self.auxiliary[key]:g}" for key in sorted(self.auxiliary)]
        return "-".join(parts)

    @property
    def run_name(self) -> str:
        """Name of the run's folder."""
        return re.sub(r"[^A-Za-z0-9_.=+-]", "_", f"{self.label}-seed{self.seed}")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; ``TrainingConfig(**config.to_dict())`` is the same configuration."""
        record = {**asdict(self), "readout_options": dict(self.readout_options)}
        # Left out where there are none, as in the records of runs from before there were any.
        if self.auxiliary:
            return {**record, "auxiliary": dict(self.auxiliary)}
        del record["auxiliary"]
        return record
