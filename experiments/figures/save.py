"""Each figure as PNG and SVG."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from dgl_gmpool._io import atomic_write
from experiments.figures.style import style

#: What would otherwise differ from run to run (dates) or by version.
_NO_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}


def save_figure(figure: Any, folder: str | os.PathLike[str], name: str) -> tuple[Path, Path]:
    """Write ``folder/name.png`` (300 dpi) and ``folder/name.svg``, each whole or not at all.

    The same figure gives the same bytes again, so that a repository shows real changes only.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    folder : path
        Made if missing.
    name : str
        File name without extension.

    Returns
    -------
    (Path, Path)
        The PNG and the SVG file.

    Raises
    ------
    ValueError
        ``name`` has an extension or a folder in it.
    """
    if not name or Path(name).name != name or Path(name).suffix:
        raise ValueError(f"name is {name!r}; give a file name without folder and extension")
    paths = []
    for kind, metadata in _NO_METADATA.items():
        path = Path(folder) / f"{name}.{kind}"
        with style():
            atomic_write(
                path,
                lambda file, kind=kind, metadata=metadata: figure.savefig(  # type: ignore[misc]
                    file, format=kind, metadata=metadata
                ),
            )
        paths.append(path)
    return paths[0], paths[1]
