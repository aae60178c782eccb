"""The table of a comparison as Markdown, aligned for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dgl_gmpool.training.metrics import METRICS
from dgl_gmpool.training.words import duration, score_text


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of :func:`~dgl_gmpool.training.table.comparison_rows`; behind them, where there are
    several targets, what each target is predicted with."""
    models = [row for row in rows if row["folders"]] or list(rows)
    shown = [METRICS[name] for name in models[0]["shown"]]
    units = models[0]["units"]
    bounds = any(_bounds(row) is not None for row in rows)
    header = ["readout", "levels"]
    for place, metric in enumerate(shown):
        unit = f" ({units})" if units and metric.in_units else ""
        header += [f"{'' if place else 'test '}{metric.label}{unit}"]
        header += ["averaged"] if place else ["std", "averaged"]
    header += ["bounds respected"] if bounds else []
    header += ["models", "parameters", "time"]
    lines = [header]
    for row in rows:
        cells = [_readout(row), _text(row["levels"])]
        for place, metric in enumerate(shown):
            found = row["scores"].get(metric.name, {})
            names = ("mean", "averaged") if place else ("mean", "std", "averaged")
            cells += [score_text(found.get(name)) for name in names]
        cells += [score_text(_bounds(row))] if bounds else []
        cells += [
            _text(row["models"]),
            "-" if row["parameters"] is None else f"{row['parameters']:,}",
            "-" if row["seconds"] is None else duration(row["seconds"]),
        ]
        lines.append(cells)
    text = _aligned(lines, left=1)
    text += "\n\naveraged: the mean prediction of a run's models, which is what predict returns"
    return text + _by_target(rows)


def _by_target(rows: Sequence[dict[str, Any]]) -> str:
    """A table of the targets, with the score of the averaged models in each row's column."""
    targets = max((row["targets"] for row in rows), key=len)
    if len(targets) < 2:
        return ""
    names = [_readout(row) for row in rows]
    levels = [f", {row['levels']} levels" if names.count(_readout(row)) > 1 else "" for row in rows]
    lines = [["target, averaged", "score", *map("".join, zip(names, levels))]]
    for place, (name, metric, _) in enumerate(targets):
        found = [row["targets"][place][2] if row["targets"] else None for row in rows]
        lines.append([name, METRICS[metric].label, *map(score_text, found)])
    return "\n\n" + _aligned(lines, left=2)


def _aligned(lines: Sequence[Sequence[str]], *, left: int) -> str:
    """A Markdown table; its first ``left`` columns to the left, numbers to the right."""
    lines = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def shown(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths))
        ]
        return "| " + " | ".join(padded) + " |"

    rule = [
        ":" + "-" * (width - 1) if i < left else "-" * (width - 1) + ":"
        for i, width in enumerate(widths)
    ]
    return "\n".join([shown(lines[0]), shown(rule), *map(shown, lines[1:])])


def _bounds(row: dict[str, Any]) -> float | None:
    found = row["scores"].get("bounds_respected")
    return None if found is None else found["averaged"]


def _readout(row: dict[str, Any]) -> str:
    settings = {**row["readout_options"], **row.get("differs", {})}
    options = ", ".join(f"{key}={value}" for key, value in settings.items())
    name = row["readout"] + (f" ({options})" if options else "")
    if row["backbone"] not in ("", "dmpnn"):
        name = f"{row['backbone']}, {name}"
    beside = ", ".join(f"{key}={weight:g}" for key, weight in row["auxiliary"].items())
    return f"{name}, auxiliary {beside}" if beside else name


def _text(value: Any) -> str:
    return "-" if value is None else str(value)
