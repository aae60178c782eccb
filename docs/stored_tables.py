"""What the pages show of the stored results: names and tables for the marks in their Markdown.

A table is a list of rows, each a list of cells or one text with ``|`` between them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from itertools import takewhile
from pathlib import Path
from statistics import fmean, median
from typing import Any

from experiments.planted.report import cell, result, select

ROOT = Path(__file__).parent.parent
Row = dict[str, Any]
Table = list[list[str]]


@cache
def load(path: str) -> Any:
    """A stored JSON file, named from the root of the repository."""
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


def pick(rows: Iterable[Row], /, **conditions: Any) -> Row:
    """The one row that has these values."""
    found = [row for row in rows if all(row.get(key) == it for key, it in conditions.items())]
    if len(found) != 1:
        raise ValueError(f"{len(found)} rows have {conditions}, expected one")
    return found[0]


def stored_rows(path: str) -> list[str]:
    """The rows of the first table of a stored Markdown file."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("|")) + 2
    rows = takewhile(lambda line: line.startswith("|"), lines[first:])
    return [line.strip("| ").replace("|  |", "| |") for line in rows]


# experiments/planted


def planted(part: str, **conditions: Any) -> list[Row]:
    return select(load("experiments/results/planted/table.json")["rows"], part=part, **conditions)


def paying_r2(method: str, target: str = "rings_with_both") -> float:
    rows = planted("paying", method=method, target=target)
    return fmean(row["result"]["r2"] for row in rows)


def planted_counting() -> Table:
    shown = {
        "cliques": "cliques",
        "rings": "rings and chords",
        "bodies": "wheels, caterpillars, crossed rings, spiders, bipartite",
        "mixed": "stars, grids, trees with a ring",
    }
    found = planted("counting", method="GMPool", label="k", noise=0.2, layers=2)
    return [
        [name]
        + [
            cell(
                select(found, family=family, kinds=kinds),
                result("after", what),
                percent=what == "exact",
            )
            for what in ("exact", "ari", "auc")
            for kinds in ("distinct", "repeating")
        ]
        for family, name in shown.items()
    ]


def planted_exact(method: str) -> list[float]:
    """Percent of graphs with exact K, of every row."""
    return [100 * row["result"]["after"]["exact"] for row in planted("counting", method=method)]


def planted_paying() -> Table:
    shown = {
        "mean and max": "mean and maximum",
        "phi of nodes, no groups": "the same readout, every node its own group (the control)",
        "one group": "one group",
        "random groups": "random groups",
        "GMPool": "**GMPool**",
        "GMPool, exchange once": "GMPool, exchange after the network",
        "GMPool, exchange": "GMPool, exchange after each layer",
        "GMPool, M frozen": "GMPool, M not learned",
        "GMPool, no locality": "GMPool, features alone",
        "mean and max, exchange": "mean and maximum, exchange after each layer",
        "planted groups": "the planted groups",
        "NGMPool": "NGMPool",
        "GMPool.paper": "the paper's GMPool",
        "BN-Pool": "BN-Pool",
        "DiffPool": "DiffPool",
        "SAGPool": "SAGPool",
        "DiffPool's network, DiffPool": "DiffPool in the network of DGL's example `diffpool`",
        "DiffPool's network, GMPool": "GMPool in its place",
        "HGP-SL's network, SAGPool": "SAGPool in the network of DGL's example `hgp_sl`",
        "HGP-SL's network, GMPool": "GMPool in its place",
    }
    return [
        [name]
        + [
            cell(planted("paying", method=method, target=target), result("r2"))
            for target in ("rings_with_both", "largest_product")
        ]
        for method, name in shown.items()
    ]


def planted_molecules() -> Table:
    shown = [
        ("tox21", "prior", "Tox21"),
        ("sodium_channel", "prior", "sodium-channel inhibitors"),
        ("chromophores", "prior", "chromophores"),
        ("tox21", "alike", "Tox21, all bonds conduct alike at the start"),
    ]
    figures = [
        ("fragment", "auc"),
        ("rings", "auc"),
        ("fragment", "mean_count"),
        ("fragment", "mean_true"),
        ("fragment", "rho"),
        ("fragment", "ari"),
    ]
    matrix = "features and locality"
    return [
        [name]
        + [
            cell(planted("molecules", data=data, conductance=start), result("after", matrix, *path))
            for path in figures
        ]
        for data, start, name in shown
    ]


# experiments/exchange, attribution


def exchange(trial: str = "", *arms: str) -> Table:
    """A trial's rows, of some arms; the trial of 0.4.0, or a folder beside it."""
    sets = ("film", "pic50", "sodium", "tox21", "all")
    return [
        [row["arm"], row["against"]]
        + ["{mean:+.1f} ± {half:.1f} ({seeds})".format_map(row[name]) for name in sets]
        for row in load(f"experiments/results/exchange/{trial}/table.json")["changes"]
        if not arms or row["arm"] in arms
    ]


def exchange_change(arm: str, against: str, trial: str = "once") -> dict[str, float]:
    rows = load(f"experiments/results/exchange/{trial}/table.json")["changes"]
    found: dict[str, float] = pick(rows, arm=arm, against=against)["all"]
    return found


def exchange_seconds(arm: str) -> float:
    found: float = load("experiments/results/exchange/table.json")["seconds"][arm]
    return found


# experiments/table2


def table2(name: str) -> Any:
    """A part of the stored table."""
    return load("experiments/results/table2/table.json")[name]


def _change(entry: Row | None) -> str:
    """A change in percent with the half of its interval."""
    if entry is None:
        return ""
    return f"{entry['mean']:+.1f} ± {(entry['high'] - entry['low']) / 2:.1f}"


def table2_over_all(*rows: str) -> Table:
    """These rows of width 64 against each of four that all seeds have, and by average rank."""
    against, labels, ranks = table2("against"), table2("labels"), table2("ranks")
    return [
        [labels[name]]
        + [
            _change(against[other].get(name, {}).get("all"))
            for other in ("mean_and_max", "phi", "frozen", "forest")
        ]
        + [f"{ranks[name]['mean']:.1f}"]
        for name in rows
    ]


def table2_by_set(other: str, *rows: str) -> Table:
    """Changes of these rows against another one on each set, and over all."""
    found, labels, sets = table2("against")[other], table2("labels"), table2("sets")
    return [
        [labels[name]]
        + [_change(found[name]["sets"].get(data)) for data in sets]
        + [_change(found[name]["all"])]
        for name in rows
    ]


def table2_few_seeds(other: str, *rows: str) -> Table:
    """Mean changes of rows that few seeds have; over all sets with an interval, and of how many."""
    found, labels, sets = table2("against")[other], table2("labels"), table2("sets")
    return [
        [labels[name]]
        + [f"{found[name]['sets'][data]['mean']:+.1f}" for data in sets]
        + [_change(found[name]["all"]), str(found[name]["all"]["seeds"])]
        for name in rows
    ]


def table2_wide(*rows: str) -> Table:
    """These rows of width 200 against four others, chemprop's width 200 as well."""
    found, labels = table2("wide"), table2("labels")
    against = ("mean_and_max@200", "phi@200", "chemprop@200", "forest")
    return [
        [labels[name]] + [_change(found[other].get(name, {}).get("all")) for other in against]
        for name in rows
    ]


def table2_averages(*rows: str) -> Table:
    """Averages of five folds against that of mean and max, and what averaging brings, of one
    seed."""
    found, labels, sets = table2("ensembles"), table2("labels"), table2("sets")
    against = found["mean_and_max+folds"]
    return [
        [labels[name]]
        + [f"{against[name + '+folds']['sets'][data]['mean']:+.1f}" for data in sets]
        + [
            f"{entry[name + '+folds']['all']['mean']:+.1f}"
            for entry in (against, table2("averaging"))
        ]
        for name in rows
    ]


def averages_by_set(row: str, other: str) -> list[float]:
    """Changes of the average of a row against that of another, on each set, of one seed."""
    entry = table2("ensembles")[f"{other}+folds"][f"{row}+folds"]
    return [each["mean"] for each in entry["sets"].values()]


def averages(row: str, other: str) -> float:
    """Change of the average of a row against that of another, over all sets, of one seed."""
    found: float = table2("ensembles")[f"{other}+folds"][f"{row}+folds"]["all"]["mean"]
    return found


def median_averaging() -> float:
    """What averaging brings over one fold, over all sets, in the median of the rows."""
    found = [each["all"] for name, each in table2("averaging").items() if "@" not in name]
    return median(each["mean"] for each in found if each)


def table2_change(row: str, other: str, data: str = "all") -> Row:
    """Mean, interval and seeds of the change of a row against another, on one set or all."""
    entry = table2("against")[other][row]
    found: Row = entry["all"] if data == "all" else entry["sets"][data]
    return found | {"half": (found["high"] - found["low"]) / 2}


def table2_cost(row: str) -> float:
    """A training's time by that of mean and max."""
    found: float = table2("cost")[row]["by_baseline"]
    return found


def attribution() -> list[str]:
    columns = [
        "{target} | `{readout}`",
        "{auc of atoms:.3f}",
        "{auc within molecules:.3f}",
        "{auc of the readout's weights:.2f}",
        "{contribution of the substructure to a target of 1:.2f}",
        "{contribution of an atom elsewhere:.3f}",
        "{test r2:.2f}",
    ]
    rows = load("experiments/results/attribution.json")["rows"]
    return [" | ".join(columns).format_map(row) for row in rows]


def attribution_values(name: str) -> list[float]:
    return [row[name] for row in load("experiments/results/attribution.json")["rows"]]


def bounds_rmse(*ways: str) -> list[float]:
    rows = load("experiments/results/bounds/bounds.json")["rows"]
    return [row["rmse"] for row in rows if row["way"] in ways]


# docs/results: the explained molecule


def explained(name: str) -> Any:
    return load("docs/results/figures/explained.json")[name]


def explained_groups() -> Table:
    return [
        [str(each["group"]), f"`{each['fragment']}`", f"{each['contribution']:+.2f}"]
        for each in explained("groups")
    ]


# docs/results: what 0.1.0 scored


def of_0_1_0(name: str) -> Any:
    return load(f"docs/results/0.1.0/{name}/table.json")


def ranks_of_0_1_0() -> Table:
    found = of_0_1_0("table2")
    ranks = sorted(found["average_ranks"].items(), key=lambda each: each[1])
    return [[found["methods"][method], f"{rank:.1f}"] for method, rank in ranks]


def auxiliary_tox21() -> Table:
    found = of_0_1_0("auxiliary_tox21")
    scores = found["datasets"]["tox21"]["methods"]
    return [
        [name]
        + ["{mean:.3f} ± {std:.3f}".format_map(scores[method + end]) for end in ("", "+auxiliary")]
        for method, name in found["methods"].items()
        if not method.endswith("+auxiliary")
    ]


def stereo_cost(molecules: str) -> float:
    """Time of features with the labels over that without, from SMILES to arrays."""
    rows = load("benchmarks/results/stereo_features.json")["rows"]
    return float(pick(rows, molecules=molecules)["ratio"]["median"])


def run_of(name: str) -> list[Row]:
    return load(f"docs/results/{name}.json")["rows"]


def runs_of(name: str) -> Table:
    shown = {
        "mean": "mean | 1",
        "ngmpool": "NGMPool | 1",
        "gmpool": "GMPool | 1",
        "gmpool-decomposition=cholesky-similarity=cauchy-2levels": "GMPool, cauchy, cholesky | 2",
    }
    return [
        [
            shown[row["label"]],
            "{mean:.3f} ± {std:.3f}".format_map(row),
            f"{row['valid_mean']:.3f}",
            f"{row['ensemble']:.3f}",
            ""
            if row["label"] == "mean"
            else "{paired_difference:+.3f} ± {paired_std:.3f}".format_map(row),
        ]
        for row in run_of(name)
    ]


def forced_clusters(forced: bool) -> list[float]:
    """Mean test RMSE of the runs behind Figure 3a, those with a forced number or the other."""
    runs = load("docs/results/figures/figures.json")["runs"]
    chosen = [run for name, run in runs.items() if ("num_clusters" in name) == forced]
    return [fmean(run["test_rmse"]) for run in chosen]
