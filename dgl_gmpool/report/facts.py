"""Where a run's numbers come from: its command, its data, its splits, its scores."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import PurePath
from typing import Any

import numpy as np

from dgl_gmpool._options import as_typed
from dgl_gmpool.data.report import LEFT_OUT, MERGED
from dgl_gmpool.explain.html import table
from dgl_gmpool.report.plots import target_histogram
from dgl_gmpool.report.run_data import RunData
from dgl_gmpool.training.metrics import label_of
from dgl_gmpool.training.model_features import takes_solvents
from dgl_gmpool.training.model_file import load_model
from dgl_gmpool.training.words import averaged_text, duration, score_text

#: What the page says of a kind of target.
_KINDS = {
    "regression": "Regression",
    "classification": "Classification",
    "multiclass": "Classification into several classes",
    "mixed": "Regression and classification",
}
#: Refused rows that are shown for each reason.
EXAMPLES = 3


def headline(run: RunData) -> Iterator[str]:
    """What was trained, and its score, in a sentence each."""
    data, metrics = run.config["data"], run.metrics
    names = ", ".join(run.task_names[:6]) + (", ..." if len(run.task_names) > 6 else "")
    units = f" ({run.units})" if run.units and run.units not in names else ""
    what = _KINDS[run.kind]
    yield f"<p>{escape(what)} of <strong>{escape(names)}</strong>{escape(units)},"
    yield f" {data['rows']:,} rows of {escape(str(data['name']))}."
    name = metrics["metric"]
    average = metrics.get("ensemble_test", {}).get(name)
    for part in ("test", "valid"):
        found = metrics.get(part, {}).get(name, {})
        if found.get("mean") is None:
            continue
        what = "Test" if part == "test" else "Validation"
        spread = f" ± {score_text(found['std'])}" if found.get("std") is not None else ""
        yield f" {what} {escape(label_of(name, run.units))}: <strong>{score_text(found['mean'])}"
        several = found["folds"] > 1
        yield f"</strong>{spread} ({found['folds']} single models)" if several else "</strong>"
        if several and part == "test" and average is not None:
            yield f"; of {escape(averaged_text('final' in metrics))}:"
            yield f" <strong>{score_text(average)}</strong>"
        yield "."
        break
    yield "</p>"


def how_made(run: RunData) -> Iterator[str]:
    """The command, what repeats it, and versions."""
    config = run.config
    machine, folder = config.get("environment", {}), as_typed(run.files.path)
    command = machine.get("command")
    if command:
        yield f"<pre>{escape(command_line(command, machine.get('processes', 1)))}</pre>"
    again = []
    if config.get("source", {}).get("data_set"):
        name = config["source"]["data_set"]
        again.append(f"dgl-gmpool train {name} --config {folder} --output ANOTHER_FOLDER")
    model = run.files.fold(0).model
    solvents = model.exists() and takes_solvents(load_model(model))
    again.append(
        f"dgl-gmpool predict --model {folder} --csv YOUR.csv --smiles-column smiles "
        f"{'--solvent-column solvent ' if solvents else ''}--output PREDICTED.csv"
    )
    yield (
        "<p>To train it again, and to predict molecules of your own:</p>"
        if again[1:]
        else ("<p>To predict molecules of your own:</p>")
    )
    yield f"<pre>{escape(chr(10).join(again))}</pre>"
    versions = ", ".join(f"{name} {text}" for name, text in config.get("versions", {}).items())
    seconds = run.metrics.get("seconds")
    facts = [
        f"{duration(seconds)} of training" if seconds is not None else "",
        f"on {machine['device']}" if machine.get("device") else "",
        f"{run.metrics['parameters']:,} parameters a model" if "parameters" in run.metrics else "",
        f"commit {config['commit']}" if config.get("commit") else "",
        versions,
    ]
    yield f"<p class='quiet'>{escape('; '.join(filter(None, facts)))}.</p>"


def command_line(arguments: list[str], processes: int = 1) -> str:
    """How a process was started, as one types it.

    Examples
    --------
    >>> command_line(["/usr/bin/dgl-gmpool", "train", "csv", "--target", "log S"])
    "dgl-gmpool train csv --target 'log S'"
    >>> command_line(["/site-packages/dgl_gmpool/__main__.py", "train", "tox21"], processes=2)
    'torchrun --nproc_per_node=2 -m dgl_gmpool train tox21'
    """
    program, *rest = arguments
    path = PurePath(program)
    if path.name == "__main__.py":
        name = as_typed("-m", path.parent.name)
        name = name if processes > 1 else f"python {name}"
    elif path.suffix == ".py":
        name = as_typed(program) if processes > 1 else as_typed("python", program)
    else:
        name = as_typed(path.name) if processes == 1 else as_typed("--no-python", path.name)
    start = f"torchrun --nproc_per_node={processes} " if processes > 1 else ""
    return f"{start}{name} {as_typed(*rest)}".rstrip()


def scores(run: RunData) -> Iterator[str]:
    """Every score of every fold, their mean and spread, and of their average; then per target."""
    metrics = run.metrics
    names = [name for name in metrics["valid"] if "mean" in metrics["valid"][name]]
    parts = [
        (part, title)
        for part, title in (("test", "test"), ("valid", "validation"))
        if any(metrics.get(part, {}).get(name, {}).get("mean") is not None for name in names)
    ]
    header = ["", *(f"{title} {label_of(n, run.units)}" for part, title in parts for n in names)]
    rows: list[list[str]] = [
        [
            f"fold {fold['fold'] + 1} (epoch {fold['best_epoch']} of {fold['epochs']})",
            *(score_text(fold[part].get(name)) for part, _ in parts for name in names),
        ]
        for fold in metrics["folds"]
    ]
    several = len(rows) > 1
    for title, key in (("mean", "mean"), ("std over the folds", "std")) if several else ():
        rows.append(
            [title, *(score_text(metrics[part][name][key]) for part, _ in parts for name in names)]
        )
    average = metrics.get("ensemble_test")
    averaged = several and any(part == "test" for part, _ in parts)
    if average and averaged:
        cells = (
            score_text(average.get(name)) if part == "test" else "" for part, _ in parts
            for name in names
        )  # fmt: skip
        rows.append(["average of the folds", *cells])
    yield table(header, rows)
    if averaged:
        yield "<p class='quiet'>A row per single model; <em>average of the folds</em> is that of"
        yield f" {escape(averaged_text('final' in metrics))}.</p>"
    per_task = (average or {}).get("per_task", [])
    if len(per_task) > 1:
        yield "<h3>Per target, average of the folds, test rows</h3>"
        shown = [name for name in names if any(name in task for task in per_task)]
        yield table(
            ["target", "measured", *(label_of(name, run.units) for name in shown)],
            [
                [name, f"{task['cells']:,}", *(score_text(task.get(each)) for each in shown)]
                for name, task in zip(run.task_names, per_task)
            ],
        )
    if any(fold.get("inverted") for fold in metrics["folds"]):
        yield "<p class='note'>The groups of some models are inverted: unlike atoms share one.</p>"


def data_left_out(run: RunData) -> Iterator[str]:
    """How the source's rows became the rows that were trained on."""
    report = run.config["report"]
    rows = []
    for label, count in report["counts"]:
        taken = label.startswith((LEFT_OUT, MERGED))
        rows.append([label, f"{'−' if taken else ''}{count:,}"])
    yield table([f"selection from {report['source']}", "rows"], rows)
    for note in report.get("notes", []):
        yield f"<p class='quiet'>{escape(note)}</p>"
    for key, title in (("refused", "rows"), ("cells", "cells of rows that were kept")):
        yield from _examples(report.get(key, []), title)


def _examples(refused: list[dict[str, Any]], title: str) -> Iterator[str]:
    if not refused:
        return
    groups: dict[str, list[dict[str, Any]]] = {}
    for each in refused:
        groups.setdefault(each["reason"], []).append(each)
    kinds = sorted(groups.items(), key=lambda pair: -len(pair[1]))
    yield f"<h3>Refused: {len(refused):,} {title}, with examples</h3>"
    yield table(
        ["reason", "id", "as written", "rows alike"],
        [
            [reason, each["id"], each["smiles"], f"{len(found):,}" if place == 0 else ""]
            for reason, found in kinds[:20]
            for place, each in enumerate(found[:EXAMPLES])
        ],
        text=3,
    )
    yield "<p class='quiet'>All of them: <code>config.json</code>, under <code>report</code>.</p>"


def splits(run: RunData) -> Iterator[str]:
    """Sizes of the parts, and how the target is spread in them."""
    facts, folds = run.config["splits"], run.metrics["folds"]
    yield f"<p>Split: {escape(str(facts['kind']))}, seed {facts['seed']}:"
    tested = facts["test_rows"]
    yield f" {tested:,} test rows, which no model sees;" if tested else " no test set;"
    if len(folds) == 1:
        yield " one model, which trains on some of the others and is validated on the rest."
    else:
        yield f" the others in {len(folds)} folds, each the validation set of one model."
    name = run.task_names[0]
    yield f" The target below is {escape(name)}.</p>"
    kind = run.kind_of(0)
    rows: list[list[str]] = []
    for part, found in run.parts.items():
        for fold in np.unique(found.folds).tolist():
            own = found.measured[found.folds == fold, 0]
            size = "" if fold < 0 else f"{folds[fold]['train_rows']:,}"
            title = part if fold < 0 else f"{part}, fold {fold + 1}"
            rows.append([title, size, f"{len(own):,}", *_spread(own, kind)])
    more = {"regression": ["mean", "std", "least", "most"], "classification": ["active", "share"]}
    yield table(["part", "trained on", "rows", "measured", *more.get(kind, [])], rows)
    measured = {part: found.measured[:, 0] for part, found in run.parts.items()}
    measured = {part: own[~np.isnan(own)] for part, own in measured.items()}
    if kind == "regression" and all(len(own) for own in measured.values()):
        yield target_histogram(measured, axis_label(name, run.units))


def _spread(values: np.ndarray, kind: str) -> list[str]:
    values = values[~np.isnan(values)]
    if not len(values):
        return ["0"]
    cells = [f"{len(values):,}"]
    if kind == "multiclass":
        return cells
    if kind == "classification":
        return [*cells, f"{int(values.sum()):,}", f"{100 * values.mean():.1f} %"]
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return [*cells, *map(score_text, (values.mean(), std, values.min(), values.max()))]


def axis_label(name: str, units: str) -> str:
    """A target's name with its units, where the name does not say them."""
    return f"{name} ({units})" if units and units not in name else name
