"""``report.html``: all that a run has to tell, in one file without network or scripts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from html import escape
from pathlib import Path

from dgl_gmpool._io import atomic_write_text
from dgl_gmpool.explain.html import END, head
from dgl_gmpool.report import facts, fit, mistakes
from dgl_gmpool.report.groups import groups
from dgl_gmpool.report.run_data import RunData


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
