"""What a user gets for a pooling besides the score: from the stored results of other experiments.

Nothing is computed anew; a file that is not there leaves its table out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]

#: Where each table comes from, from the root of the repository.
SOURCES = {
    "step": "benchmarks/results/training_step.json",
    "explanation": "experiments/results/attribution.json",
    "planted": "experiments/results/planted/table.json",
}


def beside(root: Path = ROOT) -> dict[str, Any]:
    """The tables by name: each with its source, the version it is of, and its rows."""
    made: dict[str, Callable[[Mapping[str, Any]], list[dict[str, Any]]]] = {
        "step": _step,
        "explanation": _explanation,
        "planted": _planted,
    }
    found = {}
    for name, source in SOURCES.items():
        if not (root / source).exists():
            continue
        record = json.loads((root / source).read_text(encoding="utf-8"))
        version = record.get("versions", {}).get("dgl_gmpool", "?")
        found[name] = {"source": source, "version": version, "rows": made[name](record)}
    return found


def _step(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"model": row["model"], "step by mean and max": row["ratio_to_mean_and_max"]}
        for row in record["rows"]
    ]


def _explanation(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """AUC of the atoms' contributions for a planted substructure, by readout and target."""
    by_readout: dict[str, dict[str, Any]] = {}
    for row in record["rows"]:
        entry = by_readout.setdefault(row["readout"], {"readout": row["readout"]})
        entry[f"AUC, {row['target']}"] = row["auc of atoms"]
    return list(by_readout.values())


def _planted(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """R2 where the answer hangs on what stands together in a group."""
    by_method: dict[str, dict[str, list[float]]] = {}
    for row in record["rows"]:
        job = row["job"]
        if job["part"] == "paying":
            targets = by_method.setdefault(job["method"], {})
            targets.setdefault(job["target"], []).append(row["result"]["r2"])
    return [
        {"readout": method, **{f"R2, {name}": _mean(values) for name, values in targets.items()}}
        for method, targets in by_method.items()
    ]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
