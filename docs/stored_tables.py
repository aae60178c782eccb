"""What the pages show of the stored results: names and tables for the marks in their Markdown.

A table is a list of rows, each a list of cells or one text with ``|`` between them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from itertools import takewhile
from pathlib import Path
from statistics import fmean
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


def groups_now(what: str) -> Row:
    """One seed of the grouping of 0.3.0."""
    return load("experiments/results/planted/groups_0.3.json")[what]


def exact_before(kinds: str) -> float:
    """Percent of the third kind of graphs with exact K in 0.2.0, the same seed."""
    where = dict(family="mixed", kinds=kinds, noise=0.2, layers=2, label="k", seed=0)
    (row,) = planted("counting", method="GMPool", **where)
    return 100 * row["result"]["after"]["exact"]


def planted_exact(method: str) -> list[float]:
    """Percent of graphs with exact K, of every row."""
    return [100 * row["result"]["after"]["exact"] for row in planted("counting", method=method)]


def planted_paying() -> Table:
    shown = {
        "mean and max": "mean and maximum",
        "phi of nodes, no groups": "the same readout, every node its own group (the control)",
        "one group": "one group",
        "GMPool": "**GMPool**",
        "GMPool, exchange": "GMPool, exchange in the network",
        "planted groups": "the planted groups",
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


def exchange() -> Table:
    sets = ("film", "pic50", "sodium", "tox21", "all")
    return [
        [row["arm"], row["against"]]
        + ["{mean:+.1f} ± {half:.1f} ({seeds})".format_map(row[name]) for name in sets]
        for row in load("experiments/results/exchange/table.json")["changes"]
    ]


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


# benchmarks


def step(model: str) -> Row:
    return pick(load("benchmarks/results/training_step.json")["rows"], model=model)


def training_step() -> Table:
    return [
        [
            row["model"],
            f"{row['median_ms']:.0f}",
            f"{row['ratio_to_mean_and_max']:.2f}",
            "{:.2f} to {:.2f}".format(*row["ratio_quartiles"]),
        ]
        for row in load("benchmarks/results/training_step.json")["rows"]
    ]


def gpu() -> Any:
    return load("benchmarks/results/gpu.json")


def gpu_differences() -> list[float]:
    """How much those comparisons with the CPU differ that differ by more than is allowed."""
    told = [each["why"] for each in gpu()["failures"] if "differs by" in each["why"]]
    return [float(why.partition("differs by ")[2].split(",")[0]) for why in told]


def gpu_comparisons() -> int:
    return sum(len(rows) for name, rows in gpu()["sections"].items() if name.endswith("agree"))


def gpu_steps() -> Table:
    shown = ("mean", "mean_and_max", "default", "no exchange", "2 levels")
    shown += ("gmpool, paper", "ngmpool", "ngmpool, paper")
    rows = [row for row in gpu()["sections"]["training steps"] if row["batch"] == 80]
    return [
        [model, f"{row['ms']:.0f}", f"{row['against_mean']:.1f}"]
        for model in shown
        for row in [pick(rows, model=model, device="cuda")]
    ]


def beside_peers() -> Table:
    one, two = (
        load(f"benchmarks/results/speed_{name}.json")["summary"]["against_peers"]
        for name in ("1_thread", "2_threads")
    )
    return [
        [row["pooling"], row["peer"]]
        + [
            "{:.2f} ({:.2f} to {:.2f})".format(found["median"], *found["quartiles"])
            for found in (row, pick(two, pooling=row["pooling"], peer=row["peer"]))
        ]
        for row in one
        if row["pooling"].partition(",")[0] in ("gmpool", "ngmpool")
    ]


def epochs() -> Table:
    found = load("benchmarks/results/epochs.json")
    rivals = ("chemprop, Lightning", "chemprop, plain loop", "chemprop, plain loop, depth 3")
    ratios = {(each["model"], each["rival"]): f"{each['median']:.2f}" for each in found["ratios"]}
    return [
        [row["model"], f"{row['median']:.2f}"]
        + [ratios.get((row["model"], rival), "") for rival in rivals]
        for row in found["rows"]
    ]


def batches() -> Table:
    found = load("benchmarks/results/tox21_batches.json")
    shown = {
        "grouped": "grouped by size, as here",
        "exact": "one block for every size",
        "padded": "padded to the largest",
    }
    table = []
    for layout, name in shown.items():
        line = [
            name,
            "{median:.2f} ({worst:.2f})".format_map(found["cells"][layout]["over_needed"]),
        ]
        for pooling in ("gmpool", "ngmpool"):
            row = pick(found["rows"], pooling=pooling, layout=layout)
            line.append(f"{row['peak_bytes']['median'] / 1e6:.1f} MB")
            line.append(f"{row['milliseconds']['median']:.0f} ms")
        table.append(line)
    return table


def sizes(rows: int, how: str) -> Row:
    return pick(load("benchmarks/results/sizes.json")["sizes"], rows=rows)[how]


def reliability(package: str) -> Row:
    return load("benchmarks/results/reliability.json")["totals"][package]


def bindingdb_stream() -> Table:
    return [
        [
            row["format"],
            f"{min(row['megabytes_per_second']):.0f} to {max(row['megabytes_per_second']):.0f}",
            f"{row['peak_megabytes']:.0f} MB",
            f"{row['peak_megabytes_after_imports']:.0f} MB",
        ]
        for row in load("benchmarks/results/bindingdb_stream.json")["results"]
    ]


def featurize() -> Table:
    rows = load("benchmarks/results/featurize.json")["results"]
    ways = ["dgllife, canonical", "ours, canonical", "ours, canonical, 2 processes"]
    ways += ["ours, attentivefp", "ours, attentivefp, 2 processes"]
    return [
        [f"{n:,}"]
        + [f"{pick(rows, molecules=n, way=way)['median_ms_per_molecule']:.2f}" for way in ways]
        for n in (1000, 5000)
    ]


def low_rank_costs() -> Table:
    found = load("benchmarks/results/low_rank.json")["costs"]

    def costs(**which: Any) -> str:
        rows = [row for row in found if all(row[key] == it for key, it in which.items())]
        if not rows:
            return ""
        return f"{rows[0]['seconds']:.2g} s, {rows[0]['peak_mib']:.0f} MiB"

    return [
        [f"{n:,}"]
        + [costs(way="capped", face="readout", n=n, k=k) for k in (32, 128, 512)]
        + [costs(way="dense", face="readout", n=n, k=32)]
        + [costs(way="ngmpool", face="readout", n=n)]
        for n in (300, 2000, 4000, 20000)
    ]


def low_rank_accuracy() -> Table:
    return [
        [row["features"], str(row["k"])]
        + [f"{row[name]:.1g}" for name in ("error", "readout_error", "gradient_error")]
        for row in load("benchmarks/results/low_rank.json")["accuracy"]
        if row["n"] == 20000
    ]


def low_rank_slope(way: str, k: int) -> float:
    slopes = load("benchmarks/results/low_rank.json")["slopes"]
    return pick(slopes, way=way, face="readout", k=k)["seconds"]


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
