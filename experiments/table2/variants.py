"""GMPool and NGMPool with one choice changed at a time: what helps, by validation scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dgl_gmpool._io import atomic_write_text
from dgl_gmpool.registry import readout_entry
from dgl_gmpool.training.metrics import METRICS
from dgl_gmpool.training.run_folder import write_json
from experiments.table2.methods import Method
from experiments.table2.runner import ResultsFolder
from experiments.table2.scores import FoldScore, read_scores


def _variant(label: str, readout: str, **changes: Any) -> Method:
    name = "-".join([readout, *(f"{key}={value}" for key, value in changes.items())])
    own = ("levels", "readout_norm")
    network: dict[str, Any] = {key: changes.pop(key) for key in own if key in changes}
    options = {"readout_options": {**readout_entry(readout).factory.PAPER, **changes}}
    return Method(name, label, "", base={"readout": readout, **network, **options})


def _small(name: str, label: str, **base: Any) -> Method:
    return Method(name, label, "", base=base)


#: The first is the paper's form, which the others are compared with.
VARIANTS: tuple[Method, ...] = (
    _variant("GMPool as in the paper", "gmpool"),
    _variant("similarity cauchy", "gmpool", similarity="cauchy"),
    _variant("similarity gaussian", "gmpool", similarity="gaussian"),
    _variant("decomposition eigen", "gmpool", decomposition="eigen"),
    _variant("decomposition cholesky", "gmpool", decomposition="cholesky"),
    _variant("cauchy, cholesky", "gmpool", similarity="cauchy", decomposition="cholesky"),
    _variant("normalize", "gmpool", normalize=True),
    _variant("cauchy, normalize", "gmpool", similarity="cauchy", normalize=True),
    _variant("aggregate max", "gmpool", aggregate="max"),
    _variant("aggregate sum", "gmpool", aggregate="sum"),
    _variant("aggregate mean and max", "gmpool", aggregate="mean_and_max"),
    _variant("fewer groups, rank_weight 0.1", "gmpool", rank_weight=0.1),
    _variant("more groups, rank_weight -0.1", "gmpool", rank_weight=-0.1),
    _variant("no readout norm", "gmpool", readout_norm="none"),
    _variant(
        "two levels, cauchy, cholesky",
        "gmpool",
        similarity="cauchy",
        decomposition="cholesky",
        levels=2,
    ),
    _variant("NGMPool as in the paper", "ngmpool"),
    _variant("NGMPool, normalize", "ngmpool", normalize=True),
    _variant("NGMPool, cauchy", "ngmpool", similarity="cauchy"),
    _variant("NGMPool, aggregate max", "ngmpool", aggregate="max"),
    _small("mean", "mean readout", readout="mean"),
    _small("mean-no-norm", "mean readout, no readout norm", readout="mean", readout_norm="none"),
    _small("mean-6-steps", "mean readout, 6 message passing steps", readout="mean", num_steps=6),
    _small("mean-dropout", "mean readout, dropout 0.15", readout="mean", dropout=0.15),
    _small("mean-and-max", "mean and max readout", readout="mean_and_max"),
    _small(
        "mean-and-max-dropout",
        "mean and max readout, dropout 0.15",
        readout="mean_and_max",
        dropout=0.15,
    ),
    _small("gcn-mean", "GCN, mean readout", backbone="gcn", readout="mean"),
    _small("gcn-mean-and-max", "GCN, mean and max readout", backbone="gcn", readout="mean_and_max"),
    _small("gcn-gmpool", "GCN, GMPool as in the paper", backbone="gcn", readout="gmpool"),
    _small("gcn-ngmpool", "GCN, NGMPool as in the paper", backbone="gcn", readout="ngmpool"),
)


def write_variant_report(folder: Path) -> str:
    """Write ``variants.md`` and ``variants.json``: validation scores, and the change in percent.

    A change is the mean over (seed, fold) cells of 1 - RMSE / RMSE of the paper's form, or of
    (AUC - AUC of the paper's form) / (1 - the latter): the share of the error that goes away.
    Test scores are not read.
    """
    rows = read_scores(ResultsFolder(folder).scores)
    datasets = sorted({row.dataset for row in rows})
    labels = {variant.name: variant.label for variant in VARIANTS}
    first = VARIANTS[0].name
    found = {(row.dataset, row.method, row.seed, row.fold): row for row in rows}
    table = []
    for name, label in labels.items():
        valid: dict[str, float] = {}
        change: dict[str, float] = {}
        entry: dict[str, Any] = dict(variant=name, label=label, valid=valid, change=change)
        for dataset in datasets:
            mine = [row for row in rows if row.dataset == dataset and row.method == name]
            if not mine:
                continue
            valid[dataset] = _mean([_valid(row) for row in mine])
            change[dataset] = _mean(
                [
                    _change(row, found[dataset, first, row.seed, row.fold])
                    for row in mine
                    if (dataset, first, row.seed, row.fold) in found
                ]
            )
        if valid:
            entry["mean_change"] = _mean(list(change.values()))
            table.append(entry)
    cells = len({(row.seed, row.fold) for row in rows})
    text = _markdown(table, datasets, rows, cells)
    atomic_write_text(folder / "variants.md", text)
    write_json(folder / "variants.json", {"cells": cells, "rows": table})
    return text


def _valid(row: FoldScore) -> float:
    return math.nan if row.valid is None else row.valid


def _change(row: FoldScore, base: FoldScore) -> float:
    if METRICS[row.metric].higher_is_better:
        return (_valid(row) - _valid(base)) / (1 - _valid(base))
    return 1 - _valid(row) / _valid(base)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _markdown(
    table: Sequence[Mapping[str, Any]],
    datasets: Sequence[str],
    rows: Sequence[FoldScore],
    cells: int,
) -> str:
    metrics = {row.dataset: METRICS[row.metric].label for row in rows}
    lines = [
        "| variant | " + " | ".join(f"{d}, {metrics[d]}" for d in datasets) + " | mean change |",
        "|:--|" + "--:|" * (len(datasets) + 1),
    ]
    for entry in table:
        shown = [
            f"{entry['valid'][d]:.4g} ({100 * entry['change'][d]:+.1f} %)"
            if d in entry["valid"]
            else "-"
            for d in datasets
        ]
        mean = f"{100 * entry['mean_change']:+.1f} %"
        lines.append(f"| {entry['label']} | {' | '.join(shown)} | {mean} |")
    note = (
        f"Validation scores, mean over {cells} (seed, fold) cells; in brackets the share of the "
        "error that goes away against the first row, positive is better."
    )
    return "\n".join([*lines, "", note, ""])
