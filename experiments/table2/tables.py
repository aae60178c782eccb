"""The markdown of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dgl_gmpool.training.metrics import METRICS
from experiments.table2.plan import SEEDS
from experiments.table2.rows import BASELINE, ENSEMBLE, WIDE, WITHOUT_LEARNED_GROUPS

_DASH = "–"


def markdown(record: Mapping[str, Any]) -> str:
    """All tables of :func:`experiments.table2.report.report`."""
    parts = [
        *_head(record),
        "## Over all sets\n\n" + _over_all(record),
        "## Does grouping help?\n\n" + _claim(record),
        "## Scores\n\n" + _scores(record, ensembles=False),
    ]
    for kind, title in (
        ("against", "By set"),
        ("wide", "Width 200"),
        ("ensembles", "Five folds averaged"),
    ):
        for other, compared in record[kind].items():
            if compared:
                named = record["labels"][other]
                parts.append(f"## {title}, against {named}\n\n" + _by_set(record, compared))
    if record["averaging"]:
        parts.append(
            "## What averaging five folds brings, against the first of them\n\n"
            + _by_set(record, record["averaging"])
        )
        parts.append("## Scores of five folds averaged\n\n" + _scores(record, ensembles=True))
    if record["practical"]:
        parts.append("## Size in practice\n\n" + _practical(record))
    parts.append("## Cost\n\n" + _cost(record))
    parts += [_beside(name, table) for name, table in record["beside"].items()]
    if record["choices"]:
        parts.append("## What the search chose\n\n" + _choices(record))
    return "\n\n".join(parts) + "\n"


def _head(record: Mapping[str, Any]) -> list[str]:
    seeds = record["seeds"]
    done = f"Seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"Seed {seeds[0]}"
    lines = [
        "# Table 2",
        f"{done}, {len(seeds)} in all, of the {len(SEEDS)} of the "
        "[protocol](../../table2/PROTOCOL.md). + is better everywhere: percent of the loss (RMSE, "
        "or 1 - ROC-AUC) that goes away, with 95 % intervals by Student's t over seeds; in "
        "brackets the number of seeds.",
    ]
    if len(seeds) < len(SEEDS):
        lines.append(
            "**The run is not complete**: rows can have different numbers of seeds, and a verdict "
            "is what the table says so far."
        )
    if record["failed"]:
        named = [f"{f['row']} on {f['set']}, seed {f['seed']}" for f in record["failed"]]
        lines.append(f"{len(named)} trainings failed: {'; '.join(named)}.")
    if len(record["commits"]) > 1:
        lines.append(f"Trained with several commits: {', '.join(record['commits'])}.")
    return lines


def _over_all(record: Mapping[str, Any]) -> str:
    others = list(record["against"])
    lines = [
        [
            "row",
            *(f"against {record['labels'][other]}" for other in others),
            "Holm's p",
            "verdict",
            "corrected interval",
            "bootstrap",
            "average rank",
        ]
    ]
    for name in record["labels"]:
        if name.endswith((ENSEMBLE, WIDE)):
            continue
        primary = _all(record, BASELINE, name)
        rank = record["ranks"].get(name)
        lines.append(
            [
                record["labels"][name],
                *(_mean(_all(record, other, name)) for other in others),
                _number(primary and primary["holm_p_value"], 3),
                primary["verdict"] if primary else _DASH,
                _interval(primary, "wide"),
                _interval(primary, "boot"),
                _mean(rank, 1, sign=False),
            ]
        )
    return _table(lines) + (
        "\n\nHolm's p, verdict and the last intervals are those against "
        f"{record['labels'].get(BASELINE, BASELINE)}. Ahead, behind: Holm's p below 0.05 over all "
        "rows. Equivalent: the interval within 1 % of nothing. The corrected interval allows for "
        "the rows that all splits are drawn from (Nadeau and Bengio 2003)."
    )


def _claim(record: Mapping[str, Any]) -> str:
    """ "Grouping helps" means ahead of the same readout without groups and of a frozen M."""
    found = [(other, _all(record, other, "default")) for other in WITHOUT_LEARNED_GROUPS]
    known = [(other, entry) for other, entry in found if entry is not None]
    if len(known) < len(found):
        return "Not compared yet: the claim needs GMPool, phi and the frozen M on all sets."
    said = "; ".join(
        f"against {record['labels'][other]} {_mean(entry)}: {entry['verdict']}"
        for other, entry in known
    )
    ahead = all("ahead" in entry["verdict"] for _, entry in known)
    claim = "is claimed" if ahead else "is **not** claimed"
    return f"Grouping helps {claim}. GMPool {said}."


def _scores(record: Mapping[str, Any], *, ensembles: bool) -> str:
    header = ["row"]
    for data, title in record["sets"].items():
        metric = METRICS[record["metrics"][data]]
        header.append(f"{title}, {metric.label} {'↑' if metric.higher_is_better else '↓'}")
    lines = [header]
    for name, by_set in record["scores"].items():
        if name.endswith(ENSEMBLE) != ensembles:
            continue
        cells = []
        for data in record["sets"]:
            found = by_set.get(data)
            if found is None:
                cells.append(_DASH)
                continue
            digits = 2 if found["mean"] >= 10 else 4
            spread = "" if found["std"] is None else f" ± {found['std']:.{digits}f}"
            cells.append(f"{found['mean']:.{digits}f}{spread} ({found['seeds']})")
        lines.append([record["labels"][name], *cells])
    return _table(lines) + "\n\nMean ± standard deviation over seeds."


def _by_set(record: Mapping[str, Any], compared: Mapping[str, Any]) -> str:
    lines = [["row", *record["sets"].values(), "all"]]
    for name, entry in compared.items():
        cells = [_mean(entry["sets"].get(data)) for data in record["sets"]]
        lines.append([record["labels"][name], *cells, _mean(entry["all"])])
    return _table(lines)


def _practical(record: Mapping[str, Any]) -> str:
    lines = [["set", "row", "against", "moved", "error smaller", "error larger", "seeds"]]
    for data, by_other in record["practical"].items():
        for other, by_row in by_other.items():
            for name, entry in by_row.items():
                shares = [f"{entry[key]:.1f} %" for key in ("moved", "better", "worse")]
                shown = f"{record['sets'][data]}, by {entry['noise']:g}"
                labels = [record["labels"][name], record["labels"][other]]
                lines.append([shown, *labels, *shares, str(entry["seeds"])])
    return (
        _table(lines) + "\n\nShare of the test molecules whose prediction, or error, changes by "
        "more than two measurements of one molecule differ."
    )


def _cost(record: Mapping[str, Any]) -> str:
    lines = [["row", "parameters", "seconds a training, median", "by mean and max"]]
    for name, entry in record["cost"].items():
        count = _DASH if entry["parameters"] is None else f"{entry['parameters']:,}"
        by_baseline = _number(entry["by_baseline"], 2)
        lines.append([record["labels"][name], count, f"{entry['seconds']:.1f}", by_baseline])
    hours = record["hours"]
    return (
        _table(lines) + "\n\nEach with the configuration that was chosen for it, on a machine that "
        "did other work beside; the last column is the median over sets and seeds.\n\n"
        f"In all {hours['trainings']:,} trainings, {hours['of_trainings']:.0f} hours of one core, "
        f"after {hours['searched']:,} of the search, {hours['of_search']:.0f} hours."
    )


def _beside(name: str, table: Mapping[str, Any]) -> str:
    title = {
        "step": "A training step",
        "explanation": "Explanations: atoms of a planted substructure found",
        "planted": "Planted groups: where the answer hangs on what stands together",
    }[name]
    rows = table["rows"]
    header = list(rows[0]) if rows else ["nothing stored"]
    lines = [header, *([_cell(row.get(key)) for key in header] for row in rows)]
    source = f"[{table['source']}](../../../{table['source']}), of version {table['version']}"
    return f"## {title}\n\n{_table(lines)}\n\n{source}."


def _choices(record: Mapping[str, Any]) -> str:
    lines = [["row", "configuration"]]
    for name, configuration in record["choices"].items():
        shown = ", ".join(f"{key} {value}" for key, value in configuration.items())
        lines.append([record["labels"].get(name, name), shown])
    return _table(lines)


def _all(record: Mapping[str, Any], other: str, name: str) -> Any:
    return record["against"].get(other, {}).get(name, {}).get("all")


def _mean(entry: Mapping[str, Any] | None, digits: int = 2, *, sign: bool = True) -> str:
    """``+1.20 ± 0.40 (25)``."""
    if entry is None:
        return _DASH
    mean = f"{entry['mean']:+.{digits}f}" if sign else f"{entry['mean']:.{digits}f}"
    half = "" if entry["low"] is None else f" ± {entry['mean'] - entry['low']:.{digits}f}"
    return f"{mean}{half} ({entry['seeds']})"


def _interval(entry: Mapping[str, Any] | None, kind: str) -> str:
    if entry is None or entry[f"{kind}_low"] is None:
        return _DASH
    return f"{entry[f'{kind}_low']:+.2f} to {entry[f'{kind}_high']:+.2f}"


def _number(value: float | None, digits: int) -> str:
    return _DASH if value is None else f"{value:.{digits}f}"


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else _number(value, 2)


def _table(lines: Sequence[Sequence[str]]) -> str:
    """The first column to the left, the others to the right."""
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    rule = [":--", *(["--:"] * (len(lines[0]) - 1))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [escaped[0], rule, *escaped[1:]])
