"""Where the models are wrong: by scaffold, by similarity to training, molecule by molecule."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

import numpy as np

from dgl_gmpool.explain.drawing import draw_fragment
from dgl_gmpool.explain.html import Raw, small_svg, table
from dgl_gmpool.report.fit import and_others, shown_tasks
from dgl_gmpool.report.novelty import MOST_KNOWN, Novelty, novelty
from dgl_gmpool.report.plots import COLOURS
from dgl_gmpool.report.run_data import PredictedRows, RunData
from dgl_gmpool.training.score_functions import roc_auc
from dgl_gmpool.training.words import score_text

#: Molecules that are drawn, for a single target and for each of several.
WORST, WORST_OF_SEVERAL = 12, 4


class Bins(NamedTuple):
    """How rows are put together: by which number of :class:`Novelty`, from where on, and how the
    bins are called."""

    title: str
    number: str
    lows: tuple[float, ...]
    names: tuple[str, ...]


BINS = (
    Bins(
        "similarity to the nearest training molecule",
        "similarity",
        (0.0, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
        (
            *("0 to 0.3", "0.3 to 0.4", "0.4 to 0.5", "0.5 to 0.6", "0.6 to 0.8", "0.8 to 1"),
            "1 (fingerprints alike)",
        ),
    ),
    Bins(
        "scaffold",
        "same_scaffold",
        (-1, 0, 1, 5, 20),
        (
            "no ring, so no scaffold",
            "scaffold not in training",
            "1 to 4 training molecules of this scaffold",
            "5 to 19",
            "20 or more",
        ),
    ),
)


def errors(run: RunData) -> Iterator[str]:
    """Errors of test and validation rows, by how new they are to the model."""
    found = {name: novelty(run, part) for name, part in run.parts.items()}
    for task, name in shown_tasks(run):
        if len(run.task_names) > 1:
            yield f"<h3>{escape(name)}</h3>"
        yield "<div class='sides'>"
        for how in BINS:
            yield _by(how, run, found, task)
        yield "</div>"
    yield and_others(run)
    kinds = {run.kind_of(task) for task, _ in shown_tasks(run)}
    what = ["MAE: mean absolute error"] if "regression" in kinds else []
    if kinds - {"regression"}:
        several = ", of several classes summed over them" if "multiclass" in kinds else ""
        what.append(f"Brier: mean squared distance of class and probability{several}")
    if "classification" in kinds:
        what.append("AUC where both classes occur")
    yield f"<p class='quiet'>{'. '.join(what)}. Similarity is Tanimoto's of Morgan fingerprints"
    yield " (radius 2, 2,048 bits), to the molecules that the model was trained on; scaffolds are"
    yield " Bemis and Murcko's. A model is as good for a new molecule as in the row where it falls;"
    yield " rows of a few molecules say little."
    for part, each in found.items():
        if len(each.rows) < len(run.parts[part]):
            yield f" {len(each.rows):,} of the {len(run.parts[part]):,} {part} rows were looked at,"
            yield f" and at most {MOST_KNOWN:,} training molecules."
    yield "</p>"


def _by(how: Bins, run: RunData, found: dict[str, Novelty], task: int) -> str:
    """A table: a row per bin, and in it the rows and the error of each part."""
    kind = run.kind_of(task)
    regression = kind == "regression"
    per_part = {
        name: _binned(
            run.parts[name],
            each,
            task,
            np.digitize(getattr(each, how.number), how.lows) - 1,
            regression,
        )
        for name, each in found.items()
    }
    most = max((each[1] for part in per_part.values() for each in part.values()), default=0) or 1
    scores = ["MAE"] if regression else ["Brier", "AUC"][: 1 + (kind == "classification")]
    header = [how.title]
    for name in per_part:
        header += [f"{name} rows", *scores, ""]
    rows: list[list[str | Raw]] = []
    for low, title in enumerate(how.names):
        cells: list[str | Raw] = [title]
        for name, part in per_part.items():
            if low not in part:
                cells += ["0", *[""] * len(scores), ""]
                continue
            count, error, area = part[low]
            cells += [f"{count:,}", score_text(error)]
            cells += [score_text(area)] if "AUC" in scores else []
            cells.append(Raw(_length(error / most, COLOURS[name])))
        if any(low in part for part in per_part.values()):
            rows.append(cells)
    return f"<div>{table(header, rows)}</div>"


def _binned(
    part: PredictedRows, each: Novelty, task: int, bins: np.ndarray, regression: bool
) -> dict[int, tuple[int, float, float]]:
    """Bin -> measured rows, mean error, AUC (NaN where it is not defined)."""
    usable = np.isin(each.rows, part.of_task(task))
    errors = part.errors(task)
    if not regression:
        errors = part.squares.get(task, errors**2)
    found = {}
    for low in np.unique(bins[usable]).tolist():
        rows = each.rows[usable & (bins == low)]
        area = float("nan")
        labels = part.measured[rows, task]
        if not regression and len(np.unique(labels)) == 2:
            area = roc_auc(labels, part.predicted[rows, task])
        found[low] = len(rows), float(errors[rows].mean()), area
    return found


def _length(share: float, colour: str) -> str:
    return (
        f"<div style='width:80px'><div style='height:.8em;width:{max(1, 80 * share):.0f}px;"
        f"background:{colour}'></div></div>"
    )


def worst(run: RunData) -> Iterator[str]:
    """The molecules with the largest errors, drawn."""
    name, part = next(iter(run.parts.items()))
    near = _similarities(run, part)
    count = WORST if len(run.task_names) == 1 else WORST_OF_SEVERAL
    yield f"<p>Of the {name} rows: look for wrong measurements and wrong structures first, then for"
    yield " what these molecules have in common.</p>"
    for task, target in shown_tasks(run):
        rows = part.of_task(task)
        order = rows[np.argsort(-part.errors(task)[rows], kind="stable")][:count]
        if len(run.task_names) > 1:
            yield f"<h3>{escape(target)}</h3>"
        yield "<div class='cards'>"
        for row in order.tolist():
            yield from _card(run, part, row, task, near.get(row))
        yield "</div>"
    yield and_others(run)


def _card(
    run: RunData, part: PredictedRows, row: int, task: int, near: float | None
) -> Iterator[str]:
    measured, predicted = part.measured[row, task], part.predicted[row, task]
    shown, what = part.measured_text(row, task), "predicted"
    if run.kind_of(task) == "classification":
        shown = f"{measured:g}"
    elif task in part.classes:
        what = "its predicted probability"
    yield "<div class='card'>"
    smiles = part.smiles[row]
    picture = draw_fragment(smiles, width=240, height=150, bond=22)
    yield small_svg(picture, f"structure of {smiles}")
    yield f"<div>measured <strong>{escape(shown)}</strong>, {what}"
    yield f" <strong>{score_text(predicted)}</strong></div>"
    if near is not None:
        yield f"<div class='quiet'>similarity to training {near:.2f}</div>"
    yield f"<div class='quiet'>{escape(part.ids[row])}<br><code>{escape(smiles)}</code>"
    yield "</div></div>"


def _similarities(run: RunData, part: PredictedRows) -> dict[int, float]:
    try:
        found = novelty(run, part)
    except ValueError:  # the section above says why there is none
        return {}
    return dict(zip(found.rows.tolist(), found.similarity.tolist()))
