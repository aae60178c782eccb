"""Predictions against the measured values of the same table, where it has them."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path

import numpy as np

from dgl_gmpool.cli.prediction_columns import PredictionColumns
from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.data.target_column import TargetColumn
from dgl_gmpool.training.metrics import METRICS, metrics_of, scores
from dgl_gmpool.training.model_file import TrainedModel
from dgl_gmpool.training.words import score_text

#: Rows that it is told from how a measured column is written.
_FIRST = 10_000


def score_lines(
    table: DelimitedText, output: Path, columns: PredictionColumns, trained: TrainedModel
) -> list[str]:
    """A line for each target that the table has a column of, from a finished output.

    Parameters
    ----------
    table : DelimitedText
        The input.
    output : Path
        Its rows with ``columns`` behind them.
    columns : PredictionColumns
    trained : TrainedModel
        Whose targets are scored.
    """
    lines = []
    for number, name in enumerate(trained.task_names):
        if table.header.count(name) == 1:
            lines.append(_line(table, output, columns, trained, number))
    return lines


def _line(
    table: DelimitedText,
    output: Path,
    columns: PredictionColumns,
    trained: TrainedModel,
    number: int,
) -> str:
    name = trained.task_names[number]
    at = table.column(name)
    cells = [row.cells[at] for row in islice(table, _FIRST) if not table.wrong_length(row)]
    column = TargetColumn.from_cells(
        name, at, cells, kind=trained.kind, sep=table.delimiter, bounds=False
    )
    offset = table.width
    measured, predicted, unread, known = [], [], 0, 0
    for row in DelimitedText(output, delimiter=table.delimiter, columns=columns.names):
        text = row.cells[offset + columns.predicted[number]]
        if not text:
            continue
        cell = column.read(row.cells[at])
        unread += bool(cell.why)
        if math.isnan(cell.value):
            continue
        measured.append(cell.value)
        predicted.append(float(text))
        if columns.similarity is not None:
            known += float(row.cells[offset + columns.similarity]) == 1
    if trained.kind == "classification" and not set(measured) <= {0.0, 1.0}:
        return f"no scores of {name!r}: its column holds other values than 0 and 1"
    if not measured:
        return f"no scores of {name!r}: its column holds no value of a predicted row"
    found = scores(trained.kind, np.array(measured)[:, None], np.array(predicted)[:, None])
    said = ", ".join(
        f"{METRICS[metric.name].label} {score_text(found[metric.name])}"
        for metric in metrics_of(trained.kind)
    )
    beside = f"; {unread} cells could not be read" if unread else ""
    if known:
        beside += f"; {known} rows are training molecules, or look like one"
    return f"{name}, {len(measured)} measured rows: {said}{beside}"
