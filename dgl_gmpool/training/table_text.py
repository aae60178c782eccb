"""The table of a comparison as Markdown, aligned for the eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dgl_gmpool.training.metrics import METRICS, label_of
from dgl_gmpool.training.words import averaged_text, duration, score_text


def markdown_table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of :func:`~dgl_gmpool.training.table.comparison_rows`; behind them, where there are
    several targets, what each target is predicted with."""
    models = [row for row in rows if row["folders"]] or list(rows)
    shown = models[0]["shown"]
    bounds = any(_bounds(row) is not None for row in rows)
    titles = score_titles(shown, models[0]["units"])
    titles += ["bounds respected"] if bounds else []
    lines = [["readout", "levels", *titles, "models", "parameters", "time"]]
    for row in rows:
        cells = score_cells([row["scores"].get(name, {}) for name in shown])
        cells += [score_text(_bounds(row))] if bounds else []
        lines.append([_readout(row), _text(row["levels"]), *cells, *effort_cells(row)])
    text = _aligned(lines, left=1)
    text += f"\n\naveraged: {averaged_text(models[0].get('final', False))}"
    return text + _by_target(rows)


def score_titles(shown: Sequence[str], units: str) -> list[str]:
    """Titles of the columns that say something of these scores; of the first one the most."""
    first, *others = [label_of(name, units) for name in shown]
    beside = [title for label in others for title in (label, "averaged")]
    return [f"test {first}", "std", "averaged", *beside]


def score_cells(scores: Sequence[Mapping[str, float | None]]) -> list[str]:
    """The cells below :func:`score_titles`, from ``mean``, ``std`` and ``averaged`` of each."""
    return [
        score_text(found.get(key))
        for place, found in enumerate(scores)
        for key in (("mean", "averaged") if place else ("mean", "std", "averaged"))
    ]


def effort_cells(row: Mapping[str, Any]) -> list[str]:
    """How many models, parameters, and how much time; "-" for what needs no network."""
    return [
        _text(row["models"]),
        "-" if row["parameters"] is None else f"{row['parameters']:,}",
        "-" if row["seconds"] is None else duration(row["seconds"]),
    ]


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
