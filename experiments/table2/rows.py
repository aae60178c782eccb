"""The rows of the table, the grid over the network that all of them search, and what is their own.

A configuration is a dict of the options of ``TrainingConfig`` (of the rival's function for a
rival), and ``descriptors``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import product
from typing import Any

from dgl_gmpool import GMPool, NGMPool
from dgl_gmpool._options import unknown_name

#: What a row's name ends in where it is trained at the paper's width.
WIDE = "@200"
WIDE_FEATS = 200

#: What the name of the average of a row's folds ends in.
ENSEMBLE = "+folds"

#: The grid: every network has all of it, apart from what its row says itself.
GRID: Mapping[str, tuple[Any, ...]] = {
    "backbone": ("dmpnn", "gcn"),
    "num_steps": (3, 6),
    "lr": (5e-3, 1e-3),
}

#: The same grid in chemprop's words.
CHEMPROP_GRID: Mapping[str, tuple[Any, ...]] = {"depth": (3, 6), "max_lr": (5e-3, 1e-3)}


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    name : str
        Its key in the results.
    label : str
        How the table calls it.
    source : str
        Authors and year, or what it is a control of.
    base : mapping
        Options that all its configurations share. A key of the grid is not searched then.
    own : tuple of mapping
        At most four: the row's own options, its default first. They win over the grid.
    kind : str
        ``"network"``, ``"forest"`` or ``"chemprop"``.
    wide : bool
        Whether it is trained at the paper's width too.
    """

    name: str
    label: str
    source: str
    base: Mapping[str, Any] = field(default_factory=dict)
    own: tuple[Mapping[str, Any], ...] = ({},)
    kind: str = "network"
    wide: bool = False

    def configuration(
        self, network: Mapping[str, Any], own: Mapping[str, Any], *, descriptors: bool = False
    ) -> dict[str, Any]:
        """All options of one configuration."""
        return {**network, **self.base, **own, "descriptors": descriptors}

    def networks(self) -> list[dict[str, Any]]:
        """Its part of the grid, the first being everybody's default."""
        grid = {"network": GRID, "chemprop": CHEMPROP_GRID, "forest": {}}[self.kind]
        free = {name: values for name, values in grid.items() if name not in self.base}
        return [dict(zip(free, values)) for values in product(*free.values())]


def _options(*options: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The options of a readout as those of the network."""
    return tuple({"readout_options": dict(each)} if each else {} for each in options)


# Coarse graphs carry weights, which dgllife's GCN cannot take.
_TWO: dict[str, Any] = {"levels": 2, "backbone": "dmpnn"}
_BOTH: dict[str, Any] = {"aggregate": "mean_and_max"}
_DROPOUT: tuple[Mapping[str, Any], ...] = ({}, {"dropout": 0.15})
_SELECTING = (*_options({}, _BOTH), _TWO, {**_TWO, **_options(_BOTH)[0]})


def _clustering(**weights: float) -> tuple[Mapping[str, Any], ...]:
    return (*_options({}, _BOTH, weights), _TWO)


def _paper(pool: type[GMPool] | type[NGMPool], *changes: Mapping[str, Any]) -> Any:
    return _options(*({**pool.PAPER, **change} for change in changes))


_CONTROL = "control"

#: Trained first, so that a stopped run leaves a table of what the claims need.
KEY_ROWS = (
    "mean",
    "mean_and_max",
    "phi",
    "frozen",
    "default",
    "exchange",
    "gmpool",
    "ngmpool",
    "forest",
)

#: Against which every row is held.
BASELINE = "mean_and_max"

#: What has to be beaten before grouping is said to help.
WITHOUT_LEARNED_GROUPS = ("phi", "frozen")

ROWS: tuple[Row, ...] = (
    Row(
        "gcn",
        "GCN, mean",
        "Kipf and Welling 2017",
        {"backbone": "gcn", "readout": "mean"},
        _DROPOUT,
    ),
    Row(
        "dmpnn",
        "DMPNN, mean",
        "Yang et al. 2019",
        {"backbone": "dmpnn", "readout": "mean"},
        _DROPOUT,
    ),
    Row("topk", "Top-K", "Gao and Ji 2019", {"readout": "topk"}, _SELECTING),
    Row("sagpool", "SAGPool", "Lee et al. 2019", {"readout": "sagpool"}, _SELECTING),
    Row(
        "diffpool",
        "DiffPool",
        "Ying et al. 2018",
        {"readout": "diffpool"},
        _clustering(link_weight=0.1, entropy_weight=0.1),
    ),
    Row("asap", "ASAPool", "Ranjan et al. 2020", {"readout": "asap"}, _SELECTING),
    Row(
        "mempool",
        "MemPool",
        "Khasahmadi et al. 2020",
        {"readout": "mempool"},
        _clustering(kl_weight=0.1),
    ),
    Row(
        "gmpool",
        "GMPool, the paper's",
        "Ko et al. 2023",
        {"readout": "gmpool"},
        _paper(
            GMPool,
            {},
            {"decomposition": "cholesky"},
            _BOTH,
            {**_BOTH, "normalize": True},
        ),
    ),
    Row(
        "ngmpool",
        "NGMPool, the paper's",
        "Ko et al. 2023",
        {"readout": "ngmpool"},
        _paper(NGMPool, {}, {"normalize": True}, _BOTH, {**_BOTH, "normalize": True}),
    ),
    Row("mean", "mean", _CONTROL, {"readout": "mean"}, _DROPOUT),
    Row("sum", "sum", _CONTROL, {"readout": "sum"}, _DROPOUT),
    Row("mean_and_max", "mean and max", _CONTROL, {"readout": "mean_and_max"}, _DROPOUT, wide=True),
    Row("phi", "phi, no groups", _CONTROL, {"readout": "phi"}, _DROPOUT, wide=True),
    Row("one_group", "one group", _CONTROL, {"readout": "one_group"}, _DROPOUT),
    Row("random_groups", "random groups", _CONTROL, {"readout": "random_groups"}, _DROPOUT),
    Row("brics", "BRICS groups", _CONTROL, {"readout": "brics"}, _DROPOUT),
    Row(
        "frozen",
        "GMPool, M frozen",
        _CONTROL,
        {"readout": "frozen"},
        ({}, {"exchange": False}, *_DROPOUT[1:]),
    ),
    Row(
        "random_graph",
        "GMPool, local on a random graph",
        _CONTROL,
        {"readout": "random_graph"},
        ({}, {"exchange": False}, *_DROPOUT[1:]),
    ),
    Row(
        "default",
        "GMPool",
        "this package",
        {"readout": "gmpool"},
        ({}, {"exchange": False}, *_DROPOUT[1:], *_options({"similarity": "cauchy"})),
        wide=True,
    ),
    Row(
        "exchange",
        "mean and max, exchange",
        "this package",
        {"readout": "mean_and_max", "exchange": True},
        _DROPOUT,
    ),
    Row(
        "default_2levels",
        "GMPool, two levels",
        "this package",
        {"readout": "gmpool", **_TWO},
        ({}, {"exchange": False}, *_DROPOUT[1:], *_options({"similarity": "cauchy"})),
    ),
    Row(
        "ngmpool_default",
        "NGMPool",
        "this package",
        {"readout": "ngmpool"},
        ({}, {"exchange": False}, *_DROPOUT[1:], *_options({"similarity": "cauchy"})),
    ),
    Row(
        "bnpool",
        "BN-Pool",
        "Castellana and Bianchi 2025",
        {"readout": "bnpool"},
        _clustering(reconstruction_weight=0.1, kl_weight=0.1),
    ),
    Row(
        "mincut",
        "MinCut",
        "Bianchi et al. 2020",
        {"readout": "mincut"},
        _clustering(cut_weight=0.1, orthogonality_weight=0.1),
    ),
    Row(
        "forest",
        "random forest, Morgan",
        "Breiman 2001; Rogers and Hahn 2010",
        own=({}, {"radius": 3}, {"max_features": 0.1}, {"counts": True}),
        kind="forest",
    ),
    Row(
        "chemprop",
        "chemprop 2",
        "Heid et al. 2024",
        own=({}, {"batch_norm": True}, {"dropout": 0.15}, {"batch_norm": True, "dropout": 0.15}),
        kind="chemprop",
        wide=True,
    ),
)  # fmt: skip


def choose_rows(names: Sequence[str] | None = None) -> list[Row]:
    """The rows of these names in the order of training, key rows first; None takes all that can
    be trained here, which leaves chemprop out, with a line, where it is not installed.

    Examples
    --------
    >>> [row.label for row in choose_rows(["sum", "default", "mean"])]
    ['mean', 'GMPool', 'sum']
    """
    known = {row.name: row for row in ROWS}
    if names is None:
        names = list(known)
        if find_spec("chemprop") is None:
            print("chemprop is not installed: its row is left out (pip install chemprop)")
            names.remove("chemprop")
    for name in names:
        if name not in known:
            raise unknown_name("row", name, known)
    order = dict.fromkeys([*KEY_ROWS, *known])
    return [known[name] for name in order if name in names]


def labels() -> dict[str, str]:
    """What the table calls each row, its wide form and its ensembles."""
    found = {}
    for row in ROWS:
        for wide, of_width in (("", ""), (WIDE, ", width 200")):
            found[row.name + wide] = row.label + of_width
            found[row.name + wide + ENSEMBLE] = f"{row.label}{of_width}, five folds"
    return found
