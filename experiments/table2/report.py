"""``table.json`` and ``table.md`` from the scores of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from dgl_gmpool._io import atomic_write_json, atomic_write_text, without_nan
from dgl_gmpool.training.run_folder import read_json
from experiments.table2.beside import beside
from experiments.table2.datasets import DATASETS
from experiments.table2.results_folder import ResultsFolder
from experiments.table2.rows import BASELINE, ENSEMBLE, WIDE, WITHOUT_LEARNED_GROUPS, labels
from experiments.table2.scores import FoldScore
from experiments.table2.statistics import (
    BySet,
    Mean,
    average_ranks,
    holm,
    losses,
    mean_over_seeds,
    over_sets,
    practical_size,
    relative_changes,
    verdict,
)
from experiments.table2.tables import markdown

#: What rows are held against; the first is the primary comparison.
AGAINST = (BASELINE, *WITHOUT_LEARNED_GROUPS, "forest", "chemprop")


def write_report(folder: Path) -> str:
    """Write ``table.json`` and ``table.md``; returns the text.

    Raises
    ------
    ValueError
        Nothing is scored yet.
    """
    results = ResultsFolder(folder)
    if not results.scores:
        raise ValueError(f"{folder} has no scores yet; run without --report first")
    record = report(results)
    atomic_write_json(folder / "table.json", record)
    text = markdown(record)
    atomic_write_text(folder / "table.md", text)
    return text


def report(results: ResultsFolder) -> dict[str, Any]:
    """All numbers of the tables, JSON-able."""
    rows = [row for row in results.scores.values() if row.fold == 0]
    there = {row.dataset for row in rows}
    sets = {data.name: data.label for data in DATASETS if data.name in there}
    sets |= {name: name for name in sorted(there - sets.keys())}
    found = {row.method for row in rows}
    names = [name for name in labels() if name in found] + sorted(found - labels().keys())
    wide = [name for name in names if name.endswith(WIDE)]
    folds = [name for name in names if name.endswith(ENSEMBLE)]
    single = [name for name in names if name not in wide + folds]
    table = {name: losses(rows, name) for name in names}
    protocol = results.path / "protocol.json"
    return {
        "sets": sets,
        "labels": {name: labels().get(name, name) for name in names},
        "metrics": {row.dataset: row.metric for row in rows},
        "seeds": sorted({row.seed for row in rows}),
        "commits": sorted({row.commit for row in rows}),
        "machines": read_json(protocol)["settings"] if protocol.exists() else [],
        "failed": [
            {"row": row.method, "set": row.dataset, "seed": row.seed, "fold": row.fold}
            for row in results.scores.values()
            if row.failed
        ],
        "scores": {name: _scores(rows, name, list(sets)) for name in names},
        "ranks": _ranks(table, single, list(sets)),
        "against": _families(table, single, AGAINST, list(sets)),
        "wide": _families(
            table, wide, [n + WIDE for n in (*AGAINST[:2], "chemprop")] + ["forest"], list(sets)
        ),
        "ensembles": _families(table, folds, [n + ENSEMBLE for n in AGAINST], list(sets)),
        "averaging": _averaging(table, folds, list(sets)),
        "practical": _kept(results, _practical(results, single)),
        "cost": _cost(rows, single + wide),
        "hours": _hours(results),
        "choices": {n: each["configuration"] for n, each in results.choices().items()},
        "beside": beside(),
    }


def _scores(rows: Sequence[FoldScore], name: str, sets: Sequence[str]) -> dict[str, Any]:
    found = {}
    for data in sets:
        tests = [r.test for r in rows if (r.method, r.dataset) == (name, data) and not r.failed]
        if tests:
            spread = float(np.std(tests, ddof=1)) if len(tests) > 1 else None
            found[data] = {"mean": float(np.mean(tests)), "std": spread, "seeds": len(tests)}
    return found


def _ranks(table: dict[str, BySet], names: Sequence[str], sets: Sequence[str]) -> dict[str, Any]:
    """Of the rows that have all sets in the seeds that most rows have."""
    seeds = {name: over_sets(table[name], sets) for name in names}
    most = max((len(each) for each in seeds.values()), default=0)
    # Rows that are only begun would leave the others without seeds.
    full = {name: table[name] for name in names if len(seeds[name]) >= max(1, most / 2)}
    return {name: _entry(rank) for name, rank in average_ranks(full, sets).items()}


def _compared(
    table: dict[str, BySet], names: Sequence[str], other: str, sets: Sequence[str]
) -> dict[str, Any]:
    """Every row against another: by set, over all sets, and what follows after Holm."""
    found: dict[str, Any] = {}
    means: dict[str, Mean] = {}
    for name in names:
        if name == other:
            continue
        changes = relative_changes(table[name], table[other])
        by_set = {data: mean_over_seeds(changes.get(data, {}).values()) for data in sets}
        whole = mean_over_seeds(over_sets(changes, sets).values())
        found[name] = {
            "sets": {data: _entry(mean) for data, mean in by_set.items() if mean},
            "all": None if whole is None else _entry(whole),
        }
        if whole is not None:
            means[name] = whole
    adjusted = dict(zip(means, holm([mean.p_value for mean in means.values()])))
    for name, mean in means.items():
        found[name]["all"] |= {
            "holm_p_value": without_nan(adjusted[name]),
            "verdict": verdict(mean, adjusted[name]),
        }
    return found


def _families(
    table: dict[str, BySet], names: Sequence[str], others: Sequence[str], sets: Sequence[str]
) -> dict[str, Any]:
    """These rows against each of the others that is there; Holm counts each family apart."""
    return {other: _compared(table, names, other, sets) for other in others if other in table}


def _averaging(
    table: dict[str, BySet], folds: Sequence[str], sets: Sequence[str]
) -> dict[str, Any]:
    """What the average of the folds gains over the first fold alone, on the same seeds."""
    return {
        name: _compared(table, [name], name.removesuffix(ENSEMBLE), sets)[name] for name in folds
    }


def _practical(results: ResultsFolder, names: Sequence[str]) -> dict[str, Any]:
    """Against the baseline and the control without groups, on sets whose noise is known."""
    noise = {data.name: data.noise for data in DATASETS if data.noise}
    found: dict[str, Any] = {}
    for data, limit in noise.items():
        seeds = sorted({seed for name, _, seed, _ in results.scores if name == data})
        for other, name in product(AGAINST[:2], names):
            pairs = [
                (mine, base)
                for seed in seeds
                if (mine := results.load_outputs((data, name, seed, 0)))
                and (base := results.load_outputs((data, other, seed, 0)))
            ]
            if name != other and pairs:
                sizes = [practical_size(m[0], b[0], m[1], limit) for m, b in pairs]
                entry = {k: float(np.mean([each[k] for each in sizes])) for k in sizes[0]}
                entry |= {"noise": limit, "seeds": len(pairs)}
                found.setdefault(data, {}).setdefault(other, {})[name] = entry
    return found


def _kept(results: ResultsFolder, found: dict[str, Any]) -> dict[str, Any]:
    """These sizes, and those of an earlier table that more predictions were there for: scores are
    stored and handed on, predictions need not be."""
    file = results.path / "table.json"
    before = read_json(file)["practical"] if file.exists() else {}
    for data, others in before.items():
        for other, rows in others.items():
            mine = found.setdefault(data, {}).setdefault(other, {})
            for name, entry in rows.items():
                if entry["seeds"] > mine.get(name, {"seeds": 0})["seeds"]:
                    mine[name] = entry
    return found


def _cost(rows: Sequence[FoldScore], names: Sequence[str]) -> dict[str, Any]:
    """Parameters, and seconds of a training by those of the baseline on the same set and seed."""
    seconds = {(r.dataset, r.method, r.seed): r.seconds for r in rows if r.seconds and not r.failed}
    found = {}
    for name in names:
        pairs = [
            spent / seconds[data, BASELINE, seed]
            for (data, method, seed), spent in seconds.items()
            if method == name and (data, BASELINE, seed) in seconds
        ]
        counts = [r.parameters for r in rows if r.method == name and r.parameters]
        found[name] = {
            "parameters": int(np.median(counts)) if counts else None,
            "seconds": float(
                np.median([s for (_, m, _), s in seconds.items() if m == name] or [0])
            ),
            "by_baseline": float(np.median(pairs)) if pairs else None,
        }
    return found


def _hours(results: ResultsFolder) -> dict[str, Any]:
    """Of all trainings and of the search, and their numbers; of one core. A training counts with
    the median of its row and set: some were stopped for a while, and the clock went on."""
    spent: dict[tuple[str, str], list[float]] = {}
    for row in results.scores.values():
        if row.seconds and not row.method.endswith(ENSEMBLE):
            spent.setdefault((row.dataset, row.method), []).append(row.seconds)
    trained = sum(len(each) * float(np.median(each)) for each in spent.values())
    searched = sum(entry.get("seconds") or 0 for entry in results.search.values())
    return {
        "trainings": sum(map(len, spent.values())),
        "of_trainings": trained / 3600,
        "searched": len(results.search),
        "of_search": searched / 3600,
    }


def _entry(mean: Mean) -> dict[str, Any]:
    return {name: without_nan(value) for name, value in asdict(mean).items()}
