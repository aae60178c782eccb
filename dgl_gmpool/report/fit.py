"""How well the models fit: learning curves, measured against predicted, and how sure they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape
from typing import Any

import numpy as np

from dgl_gmpool.explain.html import table
from dgl_gmpool.report import plots
from dgl_gmpool.report.facts import axis_label
from dgl_gmpool.report.run_data import RunData
from dgl_gmpool.training.metrics import label_of
from dgl_gmpool.training.run_folder import read_json
from dgl_gmpool.training.words import score_text

#: Targets that are shown one by one.
MOST_TASKS = 4
#: Coverages in the table of intervals; the plot has all.
IN_TABLE = (0.5, 0.8, 0.9, 0.95)


def shown_tasks(run: RunData) -> list[tuple[int, str]]:
    """The targets that are shown, with their numbers."""
    return list(enumerate(run.task_names))[:MOST_TASKS]


def and_others(run: RunData) -> str:
    """A line about the targets that are not shown."""
    more = len(run.task_names) - MOST_TASKS
    if more <= 0:
        return ""
    return f"<p class='quiet'>The first {MOST_TASKS} of {len(run.task_names)} targets.</p>"


def learning(run: RunData) -> Iterator[str]:
    """Loss and validation score over the epochs, a line per fold."""
    if not run.history:
        yield "<p>The run folder holds no history.csv.</p>"
        return
    label = label_of(run.metrics["metric"], run.units)
    yield "<div class='sides'>"
    yield plots.learning_curves(run.history, "train_loss", "training loss")
    yield plots.learning_curves(run.history, "valid_score", f"validation {label}")
    yield "</div><p class='quiet'>A line per fold; the point is the epoch that was kept. Where the"
    yield " validation score gets worse while the loss still falls, the model learns its training"
    yield " rows by heart; where both still improve at the end, more <code>--epochs</code> may"
    yield " help.</p>"


def measured_and_predicted(run: RunData) -> Iterator[str]:
    """Regression: points around the diagonal. Classification: ROC and calibration."""
    if not run.parts:
        yield "<p>The run folder holds no predictions.</p>"
    for task, name in shown_tasks(run):
        if len(run.task_names) > 1:
            yield f"<h3>{escape(name)}</h3>"
        pairs = {}
        for part, found in run.parts.items():
            rows = found.of_task(task)
            if len(rows):
                pairs[part] = found.measured[rows, task], found.predicted[rows, task]
        yield "<div class='sides'>"
        if run.kind_of(task) == "multiclass":
            yield from _confusion(run, task)
        elif run.kind_of(task) == "regression":
            label = axis_label(name, run.units)
            for part, (measured, predicted) in pairs.items():
                yield plots.measured_and_predicted(part, measured, predicted, label)
        else:
            both = {part: pair for part, pair in pairs.items() if len(np.unique(pair[0])) == 2}
            if both:
                yield plots.roc(both)
            if pairs:
                yield plots.calibration(pairs)
        yield "</div>"
        if not pairs:
            yield "<p>Nothing was measured in these rows.</p>"
    yield and_others(run)
    yield "<p class='quiet'>"
    kinds = {run.kind_of(task) for task, _ in shown_tasks(run)}
    if "regression" in kinds:
        yield "A point per row; on the line, prediction and measurement agree."
    if "classification" in kinds:
        yield " Calibration: of the rows given a probability of 0.8, four of five"
        yield " should be active; points above the line say that the model is too careful."
    yield " A test row is predicted by the average of the folds, a validation row by the model"
    yield " that did not train on it.</p>"


def _confusion(run: RunData, task: int) -> Iterator[str]:
    """Rows by measured and by most probable class."""
    for part, found in run.parts.items():
        measured, predicted = found.classes[task]
        rows = [row for row in found.of_task(task).tolist() if predicted[row]]
        pairs = Counter((measured[row], predicted[row]) for row in rows)
        names = run.config["data"]["classes"][task]
        yield "<div>" + table(
            [f"{part}: measured", *(f"predicted {name}" for name in names)],
            [[name, *(f"{pairs[name, other]:,}" for other in names)] for name in names],
        )
        right = sum(pairs[name, name] for name in names)
        yield f"<p class='quiet'>{right:,} of {len(rows):,} rows are right.</p></div>"


def uncertainty(run: RunData) -> Iterator[str]:
    """What ``uncertainty.json`` says of intervals and probabilities, where it is there."""
    saved = read_json(run.files.uncertainty)
    checked = [task for task in saved["tasks"] if task.get("test")]
    yield "<p>Intervals and probabilities of <code>predict</code>, fitted on validation rows and"
    yield (
        " checked on the test set.</p>"
        if checked
        else " not checked: no test row was measured.</p>"
    )
    for numbers, show in ((True, _intervals), (False, _probabilities)):
        of_kind = [task for task in checked if (task["kind"] == "regression") is numbers]
        if of_kind:
            yield from show(of_kind)
    if saved.get("final") and any(task["kind"] != "regression" for task in checked):
        yield "<p class='quiet'>Final models predict, which have no validation rows: probabilities"
        yield " of <code>predict</code> are not calibrated.</p>"
    domain = saved.get("domain")
    if domain:
        yield "<p class='quiet'><code>predict</code> marks molecules as outside the domain that are"
        yield f" less similar than {domain['similarity']:.2f} to every training molecule, or larger"
        yield f" than {domain['heavy_atoms']} heavy atoms.</p>"


def _intervals(tasks: list[dict[str, Any]]) -> Iterator[str]:
    rows, pictures = [], []
    for task in tasks:
        levels = task["test"]["levels"]
        for level in levels:
            if level["coverage"] in IN_TABLE:
                found = f"{100 * level['found']:.0f} %"
                width = score_text(level["mean_width"])
                rows.append([task["name"], f"{100 * level['coverage']:.0f} %", found, width])
        wanted = [level["coverage"] for level in levels]
        lines = [(task["name"], plots.COLOURS["test"], wanted, [each["found"] for each in levels])]
        spread = [each["std_over_models"] for each in levels]
        if None not in spread:
            lines.append(("spread over the models", plots.BEFORE, wanted, spread))
        pictures.append(plots.shares("coverage wanted", "share of test rows inside", lines))
    yield from _beside(pictures)
    yield table(["target", "wanted", "test rows inside", "mean width"], rows)


def _probabilities(tasks: list[dict[str, Any]]) -> Iterator[str]:
    rows, pictures = [], []
    for task in tasks:
        test = task["test"]
        keys = (
            "brier_before",
            "brier_after",
            "calibration_error_before",
            "calibration_error_after",
        )
        scores = [score_text(test.get(key)) for key in keys]
        rows.append([task["name"], task.get("method", "none"), *scores])
        lines = [
            (
                f"{when} calibration",
                colour,
                [each["predicted"] for each in test[f"curve_{when}"]],
                [each["measured"] for each in test[f"curve_{when}"]],
            )
            for when, colour in (("before", plots.BEFORE), ("after", plots.COLOURS["test"]))
            if test.get(f"curve_{when}")
        ]
        axes = f"probability of {task['name']}", "share of actives"
        if task["kind"] == "multiclass":
            axes = f"highest probability of {task['name']}", "share of rows that are right"
        pictures.append(plots.shares(*axes, lines))
    yield from _beside(pictures)
    header = ["target", "method", "Brier score before", "after", "calibration error before"]
    yield table([*header, "after"], rows, text=2)


def _beside(pictures: list[str]) -> Iterator[str]:
    yield "<div class='sides'>"
    yield from pictures[:MOST_TASKS]
    yield "</div>"
