"""What a run is: the model, how it is trained, and the seed."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from dgl_gmpool._options import check_choice, plain_value, unknown_name
from dgl_gmpool.data.features import DESCRIPTOR_SETS
from dgl_gmpool.models.backbones import EXCHANGE_PLACES
from dgl_gmpool.training.metrics import METRICS
from dgl_gmpool.training.task import loss_names

#: Settings that the weights before the head hang on: of a model, and of a configuration.
NETWORK = (
    *("backbone", "readout", "readout_options", "levels", "hidden_feats", "num_steps"),
    *("exchange", "exchange_after", "readout_norm", "lift", "backbone_options"),
)
#: Characters of the name of a run's folder: encrypted folders take 143, others 255.
LONGEST_NAME = 140
#: How the learning rate moves over a fold.
SCHEDULES = ("constant", "one_cycle")
#: What can be kept as a run to start from has left it.
FREEZABLE = ("backbone",)

#: Settings that came after the first runs were recorded, or are rare: records have them only where
#: they are set, so that those of earlier runs stay as they are.
LATER = (
    "lift",
    "backbone_options",
    "auxiliary",
    "descriptors",
    "loss",
    "start_from",
    "freeze",
    "task_weights",
    "final",
)

#: What a record means that is older than a setting.
BEFORE: dict[str, Any] = {"exchange_after": "layer"}


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
    lift : bool
        With two levels: lift the groups back to the atoms and read those out.
    backbone : str
        Name known to ``MoleculePredictor``.
    backbone_options : mapping
        Its keyword options, plain JSON values.
    hidden_feats, num_steps, dropout, head_feats
        Passed to ``MoleculePredictor``; ``head_feats=None`` takes ``hidden_feats``. The paper has
        a dropout of 0.15, which next to a batch normalisation does harm
        (``docs/earlier-results.md``).
    exchange : bool or None
        Passed to ``MoleculePredictor``: whether atoms exchange with their groups.
        None: where the readout is GMPool with local groups.
    exchange_after : str
        Passed to ``MoleculePredictor``: ``"network"``, once, or ``"layer"``, after each layer.
    readout_norm : str
        ``"batch"`` or ``"none"``: batch normalisation between readout and head. Not in the paper;
        what it brings is in ``docs/earlier-results.md``.
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
    descriptors : tuple of str
        What RDKit calculates, to join the readout: of ``"rdkit"`` (its descriptors) and
        ``"morgan"`` (a fingerprint). ``with_descriptors`` adds them to a data set.
    start_from : str, optional
        A run folder, or a fold's ``model.pt``: each fold starts from the weights of that run's
        same fold. A head that predicts something else starts anew. Or a file of DGL-LifeSci's
        pretrained GIN, or its name where the file is in this folder, for ``backbone="gin"``.
    freeze : str, optional
        ``"backbone"``: what stands before the readout keeps the weights, and the statistics of
        its batch normalisations, that it has from ``start_from``.
    loss : str, optional
        Name of the loss, from :data:`dgl_gmpool.training.task.TASKS` (default: ``cross_entropy``
        or ``squared_error``).
    metric : str or sequence of str, optional
        Validation score that picks the epoch (default: ``roc_auc``, ``rmse``, or ``explained`` for
        targets of several kinds). Of several, the others are shown beside it.
    task_weights : mapping
        Name of a target -> factor on its loss, 0 or more; 1 for those not named.
    final : bool
        After the folds, train one model for each of them on all rows, for as many epochs as the
        folds chose on average. These predict; they have no test score.
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
    # Not hashed, as their values need not be; two configurations of one hash are still compared.
    readout_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    levels: int = 1
    lift: bool = False
    backbone: str = "dmpnn"
    backbone_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    hidden_feats: int = 200
    num_steps: int = 3
    dropout: float = 0.0
    head_feats: int | None = None
    exchange: bool | None = None
    exchange_after: str = "network"
    readout_norm: str = "batch"
    epochs: int = 30
    patience: int = 20
    batch_size: int = 80
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: str = "constant"
    positive_weight: str | float | None = None
    auxiliary: Mapping[str, float] = field(default_factory=dict, hash=False)
    descriptors: tuple[str, ...] = ()
    start_from: str | None = None
    freeze: str | None = None
    loss: str | None = None
    metric: str | tuple[str, ...] | None = None
    task_weights: Mapping[str, float] = field(default_factory=dict, hash=False)
    final: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, plain_value(getattr(self, each.name)))
        for name in ("levels", "hidden_feats", "num_steps", "epochs", "patience", "batch_size"):
            self._check(name, lambda value: value >= 1, "a whole number of at least 1", int)
        self._check("head_feats", lambda value: value >= 1, "at least 1, or None", int, True)
        self._check("seed", lambda value: value >= 0, "a whole number, 0 or larger", int)
        self._check("dropout", lambda value: 0 <= value < 1, "0 <= dropout < 1", float)
        self._check("lr", lambda value: value > 0, "a positive learning rate, such as 1e-3", float)
        self._check("weight_decay", lambda value: value >= 0, "0 or more", float)
        for name in ("readout", "backbone"):
            self._check(name, lambda value: value != "", "a name", str)
        if self.exchange not in (None, True, False):
            raise ValueError(f"exchange={self.exchange!r}: expected true, false or none")
        check_choice("exchange_after", self.exchange_after, EXCHANGE_PLACES)
        if type(self.final) is not bool:
            raise ValueError(f"final={self.final!r}: expected true or false")
        check_choice("schedule", self.schedule, SCHEDULES)
        object.__setattr__(self, "metric", _metric_names(self.metric))
        if self.loss is not None:
            check_choice("loss", self.loss, loss_names())
        if not isinstance(self.lift, bool) or (self.lift and self.levels == 1):
            raise ValueError(
                f"lift={self.lift!r}: expected true or false, and true only with 2 levels or more"
            )
        for name in ("readout_options", "backbone_options", "auxiliary", "task_weights"):
            value = getattr(self, name)
            if not isinstance(value, Mapping):
                raise ValueError(f"{name}={value!r}: expected a mapping of names to values")
            # A copy that nobody can change: a configuration stays what it was when it was made.
            object.__setattr__(self, name, MappingProxyType(copy.deepcopy(dict(value))))
        for name, value in self.auxiliary.items():
            if not _is_number(value) or value <= 0:
                raise ValueError(f"auxiliary {name}={value!r}: expected a positive weight")
        if self.start_from is not None and not isinstance(self.start_from, (str, os.PathLike)):
            raise ValueError(f"start_from={self.start_from!r}: expected the folder of a run")
        if self.start_from is not None:
            object.__setattr__(self, "start_from", os.fspath(self.start_from))
        if self.freeze is not None:
            check_choice("part to freeze", self.freeze, FREEZABLE)
            if self.start_from is None:
                raise ValueError(
                    f"freeze={self.freeze!r}: expected a run to start from beside it (start_from, "
                    "--start-from RUN); what has learnt nothing is not worth keeping"
                )
        names: Any = self.descriptors
        listed = isinstance(names, Collection) and not isinstance(names, str)
        if not listed or not all(isinstance(name, str) for name in names):
            raise ValueError(f"descriptors={names!r}: expected a list of names")
        for name in names:
            check_choice("set of descriptors", name, DESCRIPTOR_SETS)
        # The order in which they were asked for must not matter.
        object.__setattr__(self, "descriptors", tuple(sorted(set(names))))
        for name, value in self.task_weights.items():
            if not _is_number(value) or value < 0:
                raise ValueError(f"task_weights={name}={value!r}: expected a weight of 0 or more")
        weight: Any = self.positive_weight
        if weight not in (None, "balanced") and not (_is_number(weight) and weight > 0):
            raise ValueError(
                f"positive_weight={weight!r}: expected a positive number or 'balanced'"
            )

    def _check(
        self, name: str, fits: Callable[[Any], bool], wanted: str, kind: type, none: bool = False
    ) -> None:
        value = getattr(self, name)
        if value is None and none:
            return
        right = _is_number(value) if kind is float else type(value) is kind
        if not right or not fits(value):
            raise ValueError(f"{name}={value!r}: expected {wanted}")

    def __reduce__(self) -> tuple[Any, ...]:
        # A read-only view cannot be pickled; what it shows can.
        return type(self).from_dict, (self.to_dict(),)

    @property
    def label(self) -> str:
        """Model in a few words, without the seed: ``gmpool-similarity=cauchy-2levels``."""
        of_backbone = [f"{key}={value}" for key, value in sorted(self.backbone_options.items())]
        named = self.backbone != "dmpnn" or of_backbone
        parts = [self.backbone, *of_backbone] if named else []
        parts.append(self.readout)
        parts += [f"{key}={self.readout_options[key]}" for key in sorted(self.readout_options)]
        if self.levels > 1:
            parts.append(f"{self.levels}levels" + ("-lift" if self.lift else ""))
        if self.loss is not None:
            parts.append(self.loss)
        for weights in (self.auxiliary, self.task_weights):
            parts += [f"{key}={weights[key]:g}" for key in sorted(weights)]
        return "-".join(parts)

    @property
    def run_name(self) -> str:
        """Name of the run's folder: label and seed; of a long label its begin, and a hash."""
        end = f"-seed{self.seed}"
        name = re.sub(r"[^A-Za-z0-9_.=+-]", "_", self.label)
        if len(name + end) > LONGEST_NAME:
            end = f"-{hashlib.sha256(self.label.encode()).hexdigest()[:8]}{end}"
            name = name[: LONGEST_NAME - len(end)]
        return name + end

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], source: str = "the record") -> TrainingConfig:
        """What :meth:`to_dict` gave, here or in an earlier version; ``source`` names it in errors.

        Raises
        ------
        ValueError
            A key is not known (of a newer version?), or a value is out of its range.
        """
        known = [field.name for field in fields(cls)]
        for key in record:
            if key not in known:
                raise unknown_name(f"setting in {source}:", key, known)
        return cls(**{**BEFORE, **record})

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; ``TrainingConfig.from_dict(config.to_dict())`` is the same configuration."""
        record = {}
        for each in fields(self):
            value = getattr(self, each.name)
            value = copy.deepcopy(dict(value)) if isinstance(value, Mapping) else value
            record[each.name] = list(value) if isinstance(value, tuple) else value
        return {k: v for k, v in record.items() if v or k not in LATER}


def _metric_names(given: Any) -> str | tuple[str, ...] | None:
    """Checked; one name is a text, as in configurations of 0.2.0."""
    if given is None:
        return None
    if not isinstance(given, (str, list, tuple)):
        raise ValueError(f"metric={given!r}: expected the name of a metric, or a list of names")
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        check_choice("metric", name, METRICS)
        if names.count(name) > 1:
            raise ValueError(f"metric={list(names)}: {name} is named twice")
    if not names:
        raise ValueError("metric=[]: expected the name of a metric at least")
    return names[0] if len(names) == 1 else names


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
