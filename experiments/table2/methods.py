"""The methods of the comparison and the written search space of each.

Every method has :data:`TRIALS` configurations, its own default first, and is tuned by choosing
among them on validation scores. Every pooling has mean and max side by side among them. Clusters
are 10 where a method wants a number, as in the paper.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from dgl_gmpool._options import unknown_name

#: Configurations of every method.
TRIALS = 4

#: What the name of a method that learns auxiliary targets ends in.
TWIN = "+auxiliary"

#: What kind of program trains a method.
KINDS = ("network", "forest", "chemprop")


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes
    ----------
    name : str
        Its key in the results.
    label : str
        How the table calls it.
    source : str
        Authors and year.
    base : mapping
        Options that all its configurations share: those of ``TrainingConfig`` for a network, of
        the rival's function otherwise.
    trials : tuple of mapping
        What each configuration has besides; the first is the default.
    kind : str
        ``"network"``, ``"forest"`` or ``"chemprop"``.
    auxiliary : bool
        Whether a network learns the data set's auxiliary targets as well.
    """

    name: str
    label: str
    source: str
    base: Mapping[str, Any] = field(default_factory=dict)
    trials: tuple[Mapping[str, Any], ...] = ({},)
    kind: str = "network"
    auxiliary: bool = False

    @property
    def tuned_as(self) -> str:
        """The name of the method whose configuration it has."""
        return self.name.removesuffix(TWIN) if self.auxiliary else self.name

    def options(self, trial: int) -> dict[str, Any]:
        """All options of one configuration."""
        return {**self.base, **self.trials[trial]}


def _readout(name: str, *trials: Mapping[str, Any], **network: Any) -> dict[str, Any]:
    """Base and trials of a pooling: ``network`` and a trial's ``levels`` are the network's
    options, the rest of a trial the pooling's."""
    return {
        "base": {**network, "readout": name},
        "trials": tuple(
            {
                **{key: value for key, value in trial.items() if key == "levels"},
                **_own({key: value for key, value in trial.items() if key != "levels"}),
            }
            for trial in trials
        ),
    }


def _own(options: Mapping[str, Any]) -> dict[str, Any]:
    return {"readout_options": dict(options)} if options else {}


_PLAIN: tuple[Mapping[str, Any], ...] = ({}, {"num_steps": 6}, {"dropout": 0.15}, {"lr": 1e-3})
_BOTH: dict[str, Any] = {"aggregate": "mean_and_max"}
_SELECTING: tuple[Mapping[str, Any], ...] = ({}, _BOTH, {"levels": 2}, {"levels": 2, **_BOTH})
_GROUPING: tuple[Mapping[str, Any], ...] = (
    {},
    {"similarity": "cauchy"},
    {"locality": "none"},
    {**_BOTH, "normalize": True},
)

METHODS: tuple[Method, ...] = (
    Method(
        "gcn",
        "GCN, mean",
        "Kipf and Welling 2017",
        base={"backbone": "gcn", "readout": "mean"},
        trials=_PLAIN,
    ),
    Method(
        "gcn_mean_and_max",
        "GCN, mean and max",
        "Kipf and Welling 2017",
        base={"backbone": "gcn", "readout": "mean_and_max"},
        trials=_PLAIN,
    ),
    Method("mean", "DMPNN, mean", "Yang et al. 2019", base={"readout": "mean"}, trials=_PLAIN),
    Method("sum", "DMPNN, sum", "Yang et al. 2019", base={"readout": "sum"}, trials=_PLAIN),
    Method(
        "mean_and_max",
        "DMPNN, mean and max",
        "Yang et al. 2019",
        base={"readout": "mean_and_max"},
        trials=_PLAIN,
    ),
    Method("topk", "Top-K", "Gao and Ji 2019", **_readout("topk", *_SELECTING)),
    Method("sagpool", "SAGPool", "Lee et al. 2019", **_readout("sagpool", *_SELECTING)),
    Method(
        "diffpool",
        "DiffPool",
        "Ying et al. 2018",
        **_readout(
            "diffpool",
            {},
            {"link_weight": 0.1, "entropy_weight": 0.1},
            {"levels": 2},
            _BOTH,
        ),
    ),
    Method("asap", "ASAPool", "Ranjan et al. 2020", **_readout("asap", *_SELECTING)),
    Method(
        "mempool",
        "MemPool",
        "Khasahmadi et al. 2020",
        **_readout("mempool", {}, {"kl_weight": 0.1}, {"levels": 2}, _BOTH),
    ),
    Method(
        "mincut",
        "MinCut",
        "Bianchi et al. 2020",
        **_readout(
            "mincut",
            {},
            {"cut_weight": 0.1, "orthogonality_weight": 0.1},
            {"levels": 2},
            _BOTH,
        ),
    ),
    Method(
        "bnpool",
        "BN-Pool",
        "Castellana and Bianchi 2025",
        **_readout(
            "bnpool",
            {},
            {"reconstruction_weight": 0.1, "kl_weight": 0.1},
            {"levels": 2},
            _BOTH,
        ),
    ),
    Method(
        "random",
        "random groups",
        "control",
        **_readout("random", {}, {"num_clusters": 5}, {"levels": 2}, _BOTH),
    ),
    Method(
        "gmpool",
        "GMPool",
        "Ko et al. 2023",
        **_readout("gmpool", *_GROUPING),
    ),
    Method(
        "ngmpool",
        "NGMPool",
        "Ko et al. 2023",
        **_readout("ngmpool", *_GROUPING),
    ),
    Method(
        "gcn_gmpool",
        "GCN, GMPool",
        "Ko et al. 2023",
        **_readout("gmpool", *_GROUPING, backbone="gcn"),
    ),
    Method(
        "gcn_ngmpool",
        "GCN, NGMPool",
        "Ko et al. 2023",
        **_readout("ngmpool", *_GROUPING, backbone="gcn"),
    ),
    Method(
        "forest",
        "random forest, Morgan",
        "Breiman 2001; Rogers and Hahn 2010",
        trials=({}, {"radius": 3}, {"max_features": 0.1}, {"counts": True}),
        kind="forest",
    ),
    Method(
        "chemprop",
        "chemprop 2",
        "Heid et al. 2024",
        trials=(
            {},
            {"batch_norm": True},
            {"batch_norm": True, "max_lr": 5e-3},
            {"batch_norm": True, "dropout": 0.15},
        ),
        kind="chemprop",
    ),
)

#: What a grouping is held against besides the mean: the same network and readout without groups.
CONTROLS: dict[str, tuple[str, ...]] = {
    "mean_and_max": ("gmpool", "ngmpool", "random"),
    "gcn": ("gcn_gmpool", "gcn_ngmpool"),
    "gcn_mean_and_max": ("gcn_gmpool", "gcn_ngmpool"),
}


def with_auxiliary_twins(methods: Sequence[Method]) -> list[Method]:
    """Each network, and behind it the same one with auxiliary targets, in the configuration that
    was chosen without; the other methods once.

    Examples
    --------
    >>> [method.name for method in with_auxiliary_twins(choose_methods(["gmpool", "forest"]))]
    ['gmpool', 'gmpool+auxiliary', 'forest']
    """
    found = []
    for method in methods:
        found.append(method)
        if method.kind == "network":
            label = f"{method.label}, auxiliary targets"
            found.append(replace(method, name=method.name + TWIN, label=label, auxiliary=True))
    return found


def controls(names: Collection[str], *, besides: str) -> dict[str, list[str]]:
    """Which of these methods are held against which others of them, besides the baseline:
    :data:`CONTROLS`, and what learns auxiliary targets against the same without."""
    found = {}
    for suffix in ("", TWIN):
        for control, others in CONTROLS.items():
            found[control + suffix] = [name + suffix for name in others]
    for method in METHODS:
        found.setdefault(method.name, []).append(method.name + TWIN)
    shown = {
        control: [name for name in others if name in names]
        for control, others in found.items()
        if control in names and control != besides
    }
    return {control: others for control, others in shown.items() if others}


def installed_methods() -> list[Method]:
    """All methods; chemprop only where it is installed."""
    there = find_spec("chemprop") is not None
    if not there:
        print("note: chemprop is not installed, so its row is left out (pip install chemprop)")
    return [method for method in METHODS if there or method.kind != "chemprop"]


def choose_methods(names: Sequence[str]) -> list[Method]:
    """The methods of these names, in the order of the table.

    Raises
    ------
    ValueError
        A name is not known; the message names the closest.

    Examples
    --------
    >>> [method.label for method in choose_methods(["ngmpool", "mean"])]
    ['DMPNN, mean', 'NGMPool']
    """
    known = {method.name: method for method in METHODS}
    for name in names:
        if name not in known:
            raise unknown_name("method", name, known)
    return [method for method in METHODS if method.name in names]
