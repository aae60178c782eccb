"""Predictions against the measured values of the same table, where it has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dgl_gmpool.cli.prediction_columns import PredictionColumns
from dgl_gmpool.cli.row_features import first_cells
from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.data.target_column import TargetColumn
from dgl_gmpool.training.metrics import METRICS, choose_metrics
from dgl_gmpool.training.run_folder import RunFolder, read_json, run_of
from dgl_gmpool.training.scores import scores
from dgl_gmpool.training.table_task import TableTask
from dgl_gmpool.training.words import score_text


def score_lines(
    table: DelimitedText, output: Path, columns: PredictionColumns, task: TableTask, model: Path
) -> list[str]:
    """A line for each target that the table has a column of, from a finished output.

    Parameters
    ----------
    table : DelimitedText
        The input.
    output : Path
        Its rows with ``columns`` behind them.
    columns : PredictionColumns
    task : TableTask
        Of the models.
    model : Path
        Whose run says which scores are shown.
    """
    config = RunFolder(run_of(model)[0]).config
    wanted = read_json(config).get("training", {}).get("metric") if config.exists() else None
    wanted = [wanted] if isinstance(wanted, str) else wanted or []
    return [
        _line(table, output, columns, task, number, wanted)
        for number, target in enumerate(task.targets)
        if table.header.count(target.name) == 1
    ]


def _line(
    table: DelimitedText,
    output: Path,
    columns: PredictionColumns,
    task: TableTask,
    number: int,
    wanted: Sequence[str],
) -> str:
    target, kind = task.targets[number], task.kinds[number]
    name, at = target.name, table.column(target.name)
    if target.classes:
        column = TargetColumn(name, at, kind, True, classes=target.classes)
    else:
        first = [cells[at] for cells in first_cells(table)]
        column = TargetColumn.from_cells(
            name, at, first, kind=kind, sep=table.delimiter, bounds="use"
        )
    places = [table.width + place for place in columns.numbers[number]]
    measured, predicted, unread, known = [], [], 0, 0
    limits: list[tuple[float, float]] = []
    for row in DelimitedText(output, delimiter=table.delimiter, columns=columns.names):
        texts = [row.cells[place] for place in places]
        if not all(texts):
            continue
        cell = column.read(row.cells[at])
        unread += bool(cell.why)
        if math.isnan(cell.value):
            continue
        limits.append(
            (
                cell.value if cell.relation == ">" else math.nan,
                cell.value if cell.relation == "<" else math.nan,
            )
        )
        measured.append(math.nan if cell.relation else cell.value)
        predicted.append([float(text) for text in texts])
        if columns.similarity is not None:
            known += float(row.cells[table.width + columns.similarity]) == 1
    if kind == "classification" and not set(measured) <= {0.0, 1.0}:
        return f"no scores of {name!r}: its column holds other values than 0 and 1"
    beside = f"; {unread} cells could not be used" if unread else ""
    if not measured:
        return f"no scores of {name!r}: its column holds no value of a predicted row{beside}"
    lower, upper = np.array(limits).T[:, :, None]
    found = scores(
        [kind],
        np.array(measured)[:, None],
        np.array(predicted),
        widths=[target.width],
        lower=lower,
        upper=upper,
    )
    if found.get("bounds"):
        beside = f"; {found['bounds_respected']:.0%} of {found['bounds']} bounds respected{beside}"
    chosen = choose_metrics(kind, [each for each in wanted if kind in METRICS[each].kinds] or None)
    said = ", ".join(f"{metric.label} {score_text(found[metric.name])}" for metric in chosen)
    if known:
        beside += f"; {known} rows are molecules that the run was trained on, or look like one"
    return f"{name}, {found['cells']} measured rows: {said}{beside}"
