"""Scores over measured cells, target by target and averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dgl_gmpool._options import check_choice, unknown_name
from dgl_gmpool.training.score_functions import (
    accuracy,
    average_precision,
    balanced_accuracy,
    explained_by_classes,
    f1,
    log_loss,
    mae,
    mcc,
    one_against_rest,
    pearson,
    r2,
    rmse,
    roc_auc,
    spearman,
)


@dataclass(frozen=True)
class Metric:
    """How one score is called, computed and compared.

    Attributes
    ----------
    name, label : str
        In files and flags, and for people.
    kinds : tuple of str
        Of the targets it is for.
    higher_is_better : bool
    function : callable
        ``(targets, predictions) -> float`` for the measured cells of one target: ``(cells,)``
        both, and the probabilities of a multiclass target ``(cells, classes)``.
    in_units : bool
        It has the unit of the target.
    two_values : bool
        It is defined only where two targets differ.
    ranks : bool
        It asks for the order alone, and takes what orders without ties (logits).
    of_numbers : callable, optional
        ``function`` for a regression, where that is another.
    """

    name: str
    label: str
    kinds: tuple[str, ...]
    higher_is_better: bool
    function: Callable[[np.ndarray, np.ndarray], float]
    in_units: bool = False
    two_values: bool = False
    ranks: bool = False
    of_numbers: Callable[[np.ndarray, np.ndarray], float] | None = None

    def defined(self, kind: str, targets: np.ndarray) -> bool:
        """Whether targets ``(rows,)`` of a kind, NaN where not measured, can be scored."""
        held = targets[~np.isnan(targets)]
        if kind not in self.kinds or not len(held):
            return False
        return bool((held != held[0]).any()) or not self.two_values

    def __call__(self, kind: str, targets: np.ndarray, predictions: np.ndarray) -> float:
        """The score of one target's measured cells."""
        if kind == "regression" and self.of_numbers is not None:
            return float(self.of_numbers(targets, predictions))
        return float(self.function(targets, predictions))


_NUMBERS, _CLASSES = ("regression",), ("classification", "multiclass")
_ALL = (
    Metric(
        *("roc_auc", "ROC-AUC", _CLASSES, True, one_against_rest(roc_auc)),
        two_values=True,
        ranks=True,
    ),
    Metric(
        *("average_precision", "average precision", _CLASSES, True),
        one_against_rest(average_precision),
        two_values=True,
        ranks=True,
    ),
    Metric("mcc", "MCC", _CLASSES, True, mcc, two_values=True),
    Metric("f1", "F1", _CLASSES, True, f1, two_values=True),
    Metric(
        "balanced_accuracy", "balanced accuracy", _CLASSES, True, balanced_accuracy,
        two_values=True,
    ),
    Metric("accuracy", "accuracy", _CLASSES, True, accuracy),
    Metric("log_loss", "log loss", _CLASSES, False, log_loss),
    Metric("rmse", "RMSE", _NUMBERS, False, rmse, in_units=True),
    Metric("mae", "MAE", _NUMBERS, False, mae, in_units=True),
    Metric("r2", "R2", _NUMBERS, True, r2, two_values=True),
    Metric("pearson", "Pearson's r", _NUMBERS, True, pearson, two_values=True),
    Metric("spearman", "Spearman's rho", _NUMBERS, True, spearman, two_values=True),
    Metric(
        *("explained", "share explained", (*_CLASSES, *_NUMBERS), True, explained_by_classes),
        two_values=True,
        of_numbers=r2,
    ),
)  # fmt: skip
METRICS = {metric.name: metric for metric in _ALL}
#: Of one target.
KINDS = ("classification", "multiclass", "regression")
#: The score that targets of several kinds share: R2 for numbers, McFadden's R2 for classes.
SHARED = METRICS["explained"]


def metrics_of(kind: str | Sequence[str]) -> list[Metric]:
    """The scores of a kind of targets (or of several), the one that picks the best epoch first.

    Raises
    ------
    ValueError
        The kind is not known.

    Examples
    --------
    >>> [metric.name for metric in metrics_of("regression")]
    ['rmse', 'mae', 'r2', 'pearson', 'spearman', 'explained']
    >>> metrics_of(["regression", "classification"])[0].name
    'explained'
    """
    kinds = _distinct(kind)
    found = [metric for metric in _ALL if any(kind in metric.kinds for kind in kinds)]
    common = [metric for metric in found if all(kind in metric.kinds for kind in kinds)]
    return found if common[0] is found[0] else [SHARED, *(m for m in found if m is not SHARED)]


def choose_metrics(
    kind: str | Sequence[str], names: str | Sequence[str] | None = None
) -> list[Metric]:
    """The scores that are shown, the first of which picks the best epoch.

    Parameters
    ----------
    kind : str or sequence of str
        Of the targets.
    names : str or sequence of str, optional
        These alone; a single one (by default the first of the kind) with what is read beside it.

    Raises
    ------
    ValueError
        A kind is not known, or has no score of that name.

    Examples
    --------
    >>> [metric.name for metric in choose_metrics("regression")]
    ['rmse', 'r2']
    >>> choose_metrics("classification", ["mcc", "f1"])[0].label
    'MCC'
    """
    known = {metric.name: metric for metric in metrics_of(kind)}
    what = f"{' and '.join(_distinct(kind))} metric"
    if names is not None and not isinstance(names, str):
        return [known[check_choice(what, name, known)] for name in names]
    first = next(iter(known)) if names is None else check_choice(what, names, known)
    return [known[name] for name in (first, *BESIDE[first]) if name in known]


def choose_metric(kind: str | Sequence[str], name: str | Sequence[str] | None = None) -> Metric:
    """The score that picks the best epoch: by name (the first of several), else the first one of
    the kind.

    Raises
    ------
    ValueError
        A kind is not known, or has no score of that name.

    Examples
    --------
    >>> choose_metric("regression").name
    'rmse'
    """
    return choose_metrics(kind, name)[0]


def label_of(name: str, units: str) -> str:
    """A score's name for people, with units where it has them."""
    metric = METRICS.get(name)
    if metric is None:
        return name
    return f"{metric.label} ({units})" if units and metric.in_units else metric.label


#: What is shown beside a score that was not chosen with others.
BESIDE = {
    **dict.fromkeys(METRICS, ("roc_auc",)),
    "roc_auc": ("average_precision",),
    **dict.fromkeys(("rmse", "mae"), ("r2",)),
    **dict.fromkeys(("r2", "pearson", "spearman"), ("rmse",)),
    "explained": ("roc_auc", "r2"),
}


def _distinct(kind: str | Sequence[str]) -> list[str]:
    kinds = [kind] if isinstance(kind, str) else list(dict.fromkeys(kind))
    for each in kinds:
        if each not in KINDS:
            raise unknown_name("kind of task", each, KINDS)
    return kinds
