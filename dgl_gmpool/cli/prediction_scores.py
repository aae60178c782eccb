"""Predictions against the measured values of the same table, where it has them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dgl_gmpool.cli.molecule_rows import first_cells
from dgl_gmpool.cli.output_table import OutputLines
from dgl_gmpool.cli.prediction_columns import PredictionColumns
from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.data.target_column import TargetColumn
from dgl_gmpool.training.metrics import METRICS, choose_metrics
from dgl_gmpool.training.run_folder import RunFolder, read_json, run_of
from dgl_gmpool.training.scores import scores
from dgl_gmpool.training.table_task import Column, TableTask
from dgl_gmpool.training.words import score_text


def measured_columns(
    table: DelimitedText, task: TableTask, *, decimal_comma: bool
) -> dict[int, TargetColumn]:
    """The columns of measured values that a table has, by the number of their target; whether they
    have decimal commas is told from its first rows unless it is said that they have."""
    there = [at for at, target in enumerate(task.targets) if table.header.count(target.name) == 1]
    first = first_cells(table) if there else []
    found = {}
    for number in there:
        target, kind = task.targets[number], task.kinds[number]
        at = table.column(target.name)
        if target.classes:
            found[number] = TargetColumn(target.name, at, kind, True, classes=target.classes)
        else:
            found[number] = TargetColumn.from_cells(
                target.name,
                at,
                [each[at] for each in first],
                kind=kind,
                sep=table.delimiter,
                bounds="use",
                decimal_comma=decimal_comma,
            )
    return found


def score_lines(
    output: OutputLines,
    columns: PredictionColumns,
    measured: Mapping[int, TargetColumn],
    task: TableTask,
    model: Path,
) -> list[str]:
    """A line for each target that the table has a column of, from a finished output.

    Parameters
    ----------
    output : OutputLines
        The rows of the input with ``columns`` behind them.
    columns : PredictionColumns
    measured : dict of int to TargetColumn
        Of the input.
    task : TableTask
        Of the models.
    model : Path
        Whose run says which scores are shown.
    """
    config = RunFolder(run_of(model)[0]).config
    wanted = read_json(config).get("training", {}).get("metric") if config.exists() else None
    wanted = [wanted] if isinstance(wanted, str) else wanted or []
    table = output.text
    targets = [
        _MeasuredTarget(
            task.targets[number],
            task.kinds[number],
            column,
            [table.width + place for place in columns.numbers[number]],
        )
        for number, column in measured.items()
    ]
    similarity = None if columns.similarity is None else table.width + columns.similarity
    for row in DelimitedText(output.path, delimiter=output.separator, columns=columns.names):
        known = similarity is not None and bool(row.cells[similarity])
        known = known and _number(row.cells[similarity or 0]) == 1
        for each in targets:
            each.add(row.cells, known=known)
    return [each.line(wanted) for each in targets]


class _MeasuredTarget:
    """What was measured and predicted of one target, row by row."""

    def __init__(
        self, target: Column, kind: str, column: TargetColumn, places: Sequence[int]
    ) -> None:
        self.target, self.kind, self.column, self.places = target, kind, column, places
        self.measured: list[float] = []
        self.predicted: list[list[float]] = []
        self.limits: list[tuple[float, float]] = []
        self.unread = self.known = 0

    def add(self, cells: Sequence[str], *, known: bool) -> None:
        """A row of the output; ``known``: its molecule, or one that looks like it, was trained
        on."""
        texts = [cells[place] for place in self.places]
        if not all(texts):
            return
        cell = self.column.read(cells[self.column.at])
        self.unread += bool(cell.why)
        if math.isnan(cell.value):
            return
        self.limits.append(
            (
                cell.value if cell.relation == ">" else math.nan,
                cell.value if cell.relation == "<" else math.nan,
            )
        )
        self.measured.append(math.nan if cell.relation else cell.value)
        self.predicted.append([_number(text) for text in texts])
        self.known += known

    def line(self, wanted: Sequence[str]) -> str:
        """The scores, in words."""
        name, kind = self.target.name, self.kind
        if kind == "classification" and not set(self.measured) <= {0.0, 1.0}:
            return f"no scores of {name!r}: its column holds other values than 0 and 1"
        beside = f"; {self.unread} cells could not be used" if self.unread else ""
        if not self.measured:
            return f"no scores of {name!r}: its column holds no value of a predicted row{beside}"
        lower, upper = np.array(self.limits).T[:, :, None]
        found = scores(
            [kind],
            np.array(self.measured)[:, None],
            np.array(self.predicted),
            widths=[self.target.width],
            lower=lower,
            upper=upper,
        )
        if found.get("bounds"):
            kept = f"{found['bounds_respected']:.0%} of {found['bounds']} bounds respected"
            beside = f"; {kept}{beside}"
        chosen = choose_metrics(
            kind, [each for each in wanted if kind in METRICS[each].kinds] or None
        )
        said = ", ".join(f"{metric.label} {score_text(found[metric.name])}" for metric in chosen)
        if self.known:
            beside += (
                f"; {self.known} rows are molecules that the run was trained on, or look like one"
            )
        return f"{name}, {found['cells']} measured rows: {said}{beside}"


def _number(text: str) -> float:
    """Of one of our own cells, with a decimal point or comma."""
    return float(text.replace(",", "."))
