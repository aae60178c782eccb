"""``report.html``, all that a run has to tell, and ``index.html`` of several runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dgl_gmpool._io import atomic_write_text
from dgl_gmpool.explain.html import END, Raw, head, table
from dgl_gmpool.report import facts, fit, mistakes
from dgl_gmpool.report.groups import groups
from dgl_gmpool.report.run_data import RunData
from dgl_gmpool.training.run_folder import read_json
from dgl_gmpool.training.table_text import effort_cells, score_cells, score_titles
from dgl_gmpool.training.words import averaged_text


def write_report(folder: str | os.PathLike[str], *, device: str = "auto") -> tuple[Path, list[str]]:
    """Write the page of a finished run; what cannot be made is named in its place.

    Parameters
    ----------
    folder : path
        Of the run.
    device : str
        Where molecules are explained: ``auto``, ``cpu`` or ``cuda``.

    Returns
    -------
    Path
        ``report.html`` in the folder.
    list of str
        Parts that could not be made, and why.

    Raises
    ------
    ValueError
        The folder holds no finished run.
    OSError
        The page cannot be written.
    """
    run = RunData.load(folder)
    missing: list[str] = []
    body = [head(f"Run {run.label}")]
    body += _part("", facts.headline, run, missing)
    for title, part in _parts(run, device):
        body += _part(title, part, run, missing)
    body.append(END)
    atomic_write_text(run.files.report, "".join(body))
    return run.files.report, missing


def _parts(run: RunData, device: str) -> Iterator[tuple[str, Callable[[RunData], Iterator[str]]]]:
    yield "Scores", facts.scores
    yield "Measured and predicted", fit.measured_and_predicted
    if run.files.uncertainty.exists():
        yield "How sure", fit.uncertainty
    if run.parts:
        yield "Errors by how new a molecule is", mistakes.errors
        yield "Worst molecules", mistakes.worst
        yield "Groups of a few molecules", partial(groups, device=device)
    yield "Learning curves", fit.learning
    yield "Data, and what was left out", facts.data_left_out
    yield "Splits", facts.splits
    yield "How it was made", facts.how_made


def _part(
    title: str, part: Callable[[RunData], Iterator[str]], run: RunData, missing: list[str]
) -> list[str]:
    """A part of the page, or a note where it cannot be made: a training has been paid for."""
    begin = f"<h2>{escape(title)}</h2>" if title else ""
    try:
        return [begin, *part(run), "\n"]
    except Exception as error:
        why = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        missing.append(f"{title or 'Summary'}: {why}")
        return [begin, f"<p class='note'>This part could not be made ({escape(why)}).</p>\n"]


NAME = "index.html"


def write_index(folder: str | os.PathLike[str]) -> Path:
    """Write the index from the folder's ``table.json``.

    Raises
    ------
    ValueError
        There is no table, or it is damaged.
    """
    folder = Path(folder)
    if not (folder / "table.json").exists():
        raise ValueError(f"{folder} holds no table.json, so it is not the output of a training")
    rows = read_json(folder / "table.json", "rows")["rows"]
    # A baseline does not say which scores the runs show.
    first = next((row for row in rows if row["folders"]), rows[0])
    titles = score_titles([name for name, _ in _scores(first)], first["units"])
    header = ["model", "pages", "levels", *titles, "models", "parameters", "time"]
    body = [head(f"Runs in {folder.resolve().name}")]
    body.append("<p>Mean and spread of the test scores of single models, over all folds and seeds,")
    body.append(
        f" and <em>averaged</em> that of {escape(averaged_text(first.get('final', False)))}."
    )
    body.append(" Each page has one run's plots, errors and molecules.</p>")
    body.append(table(header, [_row(folder, row) for row in rows], text=2))
    body.append(END)
    path = folder / NAME
    atomic_write_text(path, "".join(body))
    return path


def _scores(row: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Name and numbers of each score that the table shows."""
    if "shown" in row:
        return [(name, row["scores"][name]) for name in row["shown"]]
    # A table of 0.2.0.
    own = {"mean": row["mean"], "std": row["std"]}
    return [(row["metric"], own), (row["beside"], {"mean": row["beside_mean"]})]


def _row(folder: Path, row: dict[str, Any]) -> list[str | Raw]:
    pages = [
        f"<a href='{quote(name)}/report.html'>seed {seed}</a>"
        if (folder / name / "report.html").exists()
        else escape(f"seed {seed} (no page)")
        for name, seed in zip(row["folders"], row["seeds"])
    ]
    return [
        row["label"],
        Raw(", ".join(pages)),
        "" if row["levels"] is None else str(row["levels"]),
        *score_cells([found for _, found in _scores(row)]),
        *effort_cells(row),
    ]
