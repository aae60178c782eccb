"""The rows as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from dgl_gmpool.training.provenance import library_versions, processor
from experiments.planted import counting, molecules, paying
from experiments.planted.generators import FAMILIES
from experiments.planted.rows import Row

#: What makes all rows; each says its commit, and its job what was asked for.
COMMAND = "python -m experiments.planted --output FOLDER --tox21 CSV --chromophores CSV"

#: A table cell's value from a row.
Value = Callable[[Row], "float | None"]


def result(*path: str) -> Value:
    """What stands at this path of a row's result."""

    def value(row: Row) -> float | None:
        found: Any = row["result"]
        for name in path:
            found = found[name]
        return found

    return value


def cell(rows: Iterable[Row], value: Value, *, percent: bool = False) -> str:
    """Mean over seeds, and with several their standard deviation; a dash without rows.

    Examples
    --------
    >>> cell([{"result": {"r2": 0.5}}, {"result": {"r2": 0.7}}], result("r2"))
    '0.60 ± 0.14'
    """
    values = [found for row in rows if (found := value(row)) is not None]
    if not values:
        return "–"
    scale, digits = (100, 0) if percent else (1, 2)
    text = f"{scale * np.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ± {scale * np.std(values, ddof=1):.{digits}f}"
    return text


def select(rows: Iterable[Row], **conditions: Any) -> list[Row]:
    """The rows whose job has these values."""
    return [
        row
        for row in rows
        if all(row["job"].get(name) == value for name, value in conditions.items())
    ]


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    rule = [":--"] + ["--:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def counting_tables(rows: Sequence[Row]) -> str:
    """The default everywhere; every method where all are compared."""
    figures = [
        ("exact K, %", result("after", "exact"), True),
        ("before training", result("before", "exact"), True),
        ("MAE of K", result("after", "mae"), False),
        ("rho", result("after", "rho"), False),
        ("pair AUC", result("after", "auc"), False),
        ("before training", result("before", "auc"), False),
        ("ARI", result("after", "ari"), False),
        ("before training", result("before", "ari"), False),
        ("soft count, MAE", result("after", "soft_mae"), False),
        ("t", result("time"), False),
        ("accuracy, %", result("accuracy"), True),
    ]
    names = ["groups", "kinds", "noise", "convolutions", "label"]
    keys = ("family", "kinds", "noise", "layers", "label")
    default = select(rows, method=counting.DEFAULT)
    conditions = sorted(
        {tuple(row["job"][key] for key in keys) for row in default},
        key=lambda c: (c[4] != "k", list(FAMILIES).index(c[0]), c[1], c[2], -c[3]),
    )
    lines = [
        [str(each) for each in condition]
        + [
            cell(select(default, **dict(zip(keys, condition))), value, percent=percent)
            for _, value, percent in figures
        ]
        for condition in conditions
    ]
    text = "### The default, `GMPool(in_feats)`\n\n"
    text += table([*names, *(name for name, _, _ in figures)], lines)
    compared = select(rows, noise=0.2, layers=2, label="k")
    for name, value, percent in (
        ("Exact K, %", result("after", "exact"), True),
        ("Pair AUC", result("after", "auc"), False),
        ("ARI of the names", result("after", "ari"), False),
        ("Accuracy, %", result("accuracy"), True),
    ):
        header = ["pooling", *(f"{f}, {k}" for f in FAMILIES for k in ("distinct", "repeating"))]
        lines = [
            [
                method,
                *(
                    cell(
                        select(compared, method=method, family=family, kinds=kinds),
                        value,
                        percent=percent,
                    )
                    for family in FAMILIES
                    for kinds in ("distinct", "repeating")
                ),
            ]
            for method in counting.METHODS
        ]
        text += f"\n\n### {name} of every pooling\n\nTwo convolutions, noise 0.2, label k; after "
        text += "training.\n\n" + table(header, lines)
    turned = [row for row in rows if (row["result"]["after"]["auc"] or 1) < 0.5]
    text += "\n\nInverted (pair AUC below 0.5) after training: "
    counts: dict[str, int] = {}
    for row in turned:
        method = row["job"]["method"]
        counts[method] = counts.get(method, 0) + 1
    return text + (", ".join(f"{m} {n}" for m, n in counts.items()) or "none") + "."


def paying_table(rows: Sequence[Row]) -> str:
    """R2 of every readout, and its difference to phi of nodes, paired by seed."""

    def against_control(row: Row) -> float | None:
        job = row["job"]
        control = select(rows, method=paying.CONTROL, target=job["target"], seed=job["seed"])
        return row["result"]["r2"] - control[0]["result"]["r2"] if control else None

    header = ["readout"]
    header += [f"{target}, {what}" for target in paying.TARGETS for what in ("R2", "minus control")]
    lines = []
    for method in paying.METHODS:
        line = [method]
        for target in paying.TARGETS:
            chosen = select(rows, method=method, target=target)
            line += [cell(chosen, result("r2")), cell(chosen, against_control)]
        lines.append(line)
    return f"Control: {paying.CONTROL}.\n\n" + table(header, lines)


def molecules_table(rows: Sequence[Row]) -> str:
    """M against BRICS fragments and ring systems."""
    figures = [
        ("AUC, one BRICS fragment", "fragment", "auc"),
        ("AUC, one ring system", "rings", "auc"),
        ("mean K", "fragment", "mean_count"),
        ("mean fragments", "fragment", "mean_true"),
        ("rho of K", "fragment", "rho"),
        ("rho of the soft count", "fragment", "soft_rho"),
        ("ARI of the names", "fragment", "ari"),
    ]
    header = ["molecules", "bonds start", "M", "", *(name for name, _, _ in figures), "score"]
    keys = ("data", "conductance")
    lines = []
    for condition in dict.fromkeys(tuple(row["job"][key] for key in keys) for row in rows):
        chosen = select(rows, **dict(zip(keys, condition)))
        for what in molecules.MATRICES:
            for when in ("before", "after"):
                line = [*condition, what, f"{when} training"]
                line += [cell(chosen, result(when, what, *path)) for _, *path in figures]
                last = (what, when) == (molecules.MATRICES[0], "after")
                lines.append([*line, cell(chosen, result("score")) if last else ""])
    times = cell(rows, result("time"))
    return (
        table(header, lines)
        + f"\n\nLearned t: {times}. Score: RMSE in standard deviations, or AUC."
    )


#: What is shown of each part, in order.
SHOWN: dict[str, tuple[str, Callable[[Sequence[Row]], str]]] = {
    "counting": ("Counting: does K follow the planted groups?", counting_tables),
    "paying": ("Paying: what are groups worth where they matter?", paying_table),
    "molecules": ("Molecules: what does M join?", molecules_table),
}


def build_report(rows: Sequence[Row]) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and as values for JSON: rows, versions, commits and machine."""
    commits = sorted({str(row["commit"]) for row in rows})
    found = library_versions()
    record = {
        "command": COMMAND,
        "commits": commits,
        "versions": found,
        "processor": processor(),
        "rows": list(rows),
    }
    parts = ["# Planted groups"]
    for part, (title, show) in SHOWN.items():
        chosen = select(rows, part=part)
        if chosen:
            parts.append(f"## {title}\n\n{show(chosen)}")
    if any(row["job"]["quick"] for row in rows):
        parts.insert(1, "**A quick look at few small graphs: the figures mean nothing.**")
    versions = ", ".join(f"{name} {number}" for name, number in found.items())
    parts.append(
        "Mean and standard deviation over seeds. "
        f"Commit {', '.join(commits)}; {versions}; {record['processor']}."
    )
    return "\n\n".join(parts) + "\n", record
