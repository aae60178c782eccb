"""``index.html`` of a training's output folder: its runs side by side, each with its page."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dgl_gmpool._io import atomic_write_text
from dgl_gmpool.explain.html import END, Raw, head, table
from dgl_gmpool.report.facts import label_of
from dgl_gmpool.training.run_folder import read_json
from dgl_gmpool.training.words import duration, score_text

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
    rows = read_json(folder / "table.json")["rows"]
    first = rows[0]
    header = [
        "model",
        "pages",
        "levels",
        f"test {label_of(first['metric'], first['units'])}",
        "std",
        label_of(first["beside"], first["units"]),
        "models",
        "parameters",
        "time",
    ]
    body = [head(f"Runs in {folder.resolve().name}")]
    body.append("<p>Mean and spread of the test scores of single models, over all folds and seeds.")
    body.append(" Each page has one run's plots, errors and molecules.</p>")
    body.append(table(header, [_row(folder, row) for row in rows], text=2))
    body.append(END)
    path = folder / NAME
    atomic_write_text(path, "".join(body))
    return path


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
        score_text(row["mean"]),
        score_text(row["std"]),
        score_text(row["beside_mean"]),
        str(row["models"]),
        "" if row["parameters"] is None else f"{row['parameters']:,}",
        "" if row["seconds"] is None else duration(row["seconds"]),
    ]
