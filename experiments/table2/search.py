"""The search that every row gets alike: network, then the row's own options, then descriptors.

One step after the other, each with what the step before chose, so that a row takes twelve
configurations and not 64. A configuration is chosen by the mean, over search sets and seeds, of its
validation loss by the mean loss of the configurations of its step. Test rows are never looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dgl_gmpool.training.metrics import METRICS
from experiments.table2.rows import Row

#: One set of each kind: long chromophores, potencies, a classification.
SEARCH_SETS = ("emission_film", "pic50", "tox21")
SEARCH_SEEDS = (90, 91, 92)
#: Of how many of them, the first ones, rows that are not key rows are searched: see the protocol's
#: amendment.
OTHER_SEARCH_SEEDS = 1

Configuration = dict[str, Any]
#: The validation losses of a configuration, one for each search set and seed: None where it is not
#: trained yet, infinity where the training failed.
Losses = Callable[[Configuration], "list[float | None]"]


@dataclass(frozen=True)
class Choice:
    """Where the search of a row stands.

    Attributes
    ----------
    configuration : dict or None
        What is chosen; None while something is missing.
    missing : list of dict
        Configurations to train next.
    scores : list of (dict, float)
        Relative loss of every configuration so far, in the order of the steps.
    """

    configuration: Configuration | None
    missing: list[Configuration]
    scores: list[tuple[Configuration, float]]


def choose(row: Row, losses: Losses) -> Choice:
    """The choice of a row, or what has to be trained before it can be made.

    Examples
    --------
    >>> row = Row("mean", "mean", "", {"backbone": "gcn", "lr": 0.1})
    >>> found = choose(row, lambda c: [float(c["num_steps"]), None if c["descriptors"] else 1.0])
    >>> found.configuration, found.missing[0]["num_steps"], found.missing[0]["descriptors"]
    (None, 3, True)
    """
    network, own, descriptors = row.networks()[0], row.own[0], False
    known: list[tuple[Configuration, float]] = []
    for step in ("network", "own", "descriptors"):
        options: Sequence[Any] = {
            "network": row.networks(),
            "own": row.own,
            "descriptors": (False, True),
        }[step]
        tried = []
        for option in options:
            changed = {"network": network, "own": own, "descriptors": descriptors, step: option}
            tried.append(
                row.configuration(
                    changed["network"], changed["own"], descriptors=changed["descriptors"]
                )
            )
        found = [losses(each) for each in tried]
        missing = [each for each, loss in zip(tried, found) if None in loss]
        if missing:
            return Choice(None, missing, known)
        relative = _relative(found)
        known += list(zip(tried, relative))
        best = int(np.argmin(relative))  # ties keep the earlier
        if not math.isfinite(relative[best]):
            raise ValueError(
                f"every configuration of {row.name} failed in the search; see the errors in "
                "search.json, mend them, and start again with --retry"
            )
        network, own, descriptors = (
            options[best] if step == name else before
            for name, before in (
                ("network", network),
                ("own", own),
                ("descriptors", descriptors),
            )
        )
    return Choice(row.configuration(network, own, descriptors=descriptors), [], known)


def _relative(found: Sequence[Sequence[float | None]]) -> list[float]:
    """Mean over sets and seeds of each loss by the mean of those that did not fail."""
    table = np.array(found, dtype=np.float64)
    finite = np.where(np.isfinite(table), table, np.nan)
    scale = np.array([np.mean(c[~np.isnan(c)]) if (~np.isnan(c)).any() else 1 for c in finite.T])
    return (table / scale).mean(1).tolist()


def loss_of(entry: Mapping[str, Any]) -> float:
    """The validation loss of a stored search score: RMSE, or 1 - ROC-AUC."""
    if entry["valid"] is None:
        return math.inf
    return 1 - entry["valid"] if METRICS[entry["metric"]].higher_is_better else entry["valid"]
