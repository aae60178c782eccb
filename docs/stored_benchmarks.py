"""What the pages show of ``benchmarks/results/``; beside ``docs/stored_tables.py``."""

from __future__ import annotations

from typing import Any

from docs.stored_tables import Row, Table, load, pick


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


def prediction() -> Table:
    """Time a row of ``predict``, over chemprop's, and peak memory of a long table."""
    found = load("benchmarks/results/prediction.json")["results"]
    ratios = {each["command"]: each["a_row"]["cpu"] for each in found["ratios"]}
    table = []
    for row in found["rows"]:
        name = row["command"]
        ratio = ratios.get(name)
        table.append(
            [
                name,
                f"{row['ms_a_row']['cpu']['median']:.2f}",
                "{:.2f} ({:.2f} to {:.2f})".format(ratio["median"], *ratio["quartiles"])
                if ratio
                else "",
                "{:,} rows: {:.0f} MB".format(
                    *max((int(n), mb) for n, mb in row["peak_mb"].items())
                ),
            ]
        )
    return table


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


def bounds_on_molecules(way: str) -> float:
    """Test RMSE on all rows, mean over the seeds, in the trial of bounds on molecules."""
    rows = load("experiments/results/bounds/molecules.json")["rows"]
    found = [rmse for row in rows if row["way"] == way for rmse, _ in row["rmse"]]
    return float(sum(found) / len(found))
