"""Groups of a few molecules, as ``dgl-gmpool explain`` shows them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape

import numpy as np

from dgl_gmpool.explain.explanation import Explanation, check_models, explain_molecule
from dgl_gmpool.explain.html import sentence
from dgl_gmpool.explain.masking import RefusedError
from dgl_gmpool.explain.page import molecule_part
from dgl_gmpool.report.run_data import PredictedRows, RunData
from dgl_gmpool.training import load_models

#: How many molecules are explained, and when the next one is no longer begun.
MOLECULES, SECONDS = 4, 15.0


def groups(run: RunData, *, device: str = "auto") -> Iterator[str]:
    """Molecules whose predictions are as good as most: what the models see in them."""
    name, part = next(iter(run.parts.items()))
    models = load_models(run.files.path)
    try:
        check_models(models, solvents=False)
    except ValueError as error:
        # A solvent, a pH: the folder has the molecules alone.
        yield f"<p>{escape(str(error))}. Explain some of your own with <code>dgl-gmpool"
        yield " explain</code>.</p>"
        return
    started = time.perf_counter()
    found: list[tuple[int, Explanation]] = []
    for row in _typical(part):
        if len(found) == MOLECULES or (found and time.perf_counter() - started > SECONDS):
            break
        try:
            found.append((row, explain_molecule(models, part.smiles[row], device=device)))
        except RefusedError:  # too large, or another RDKit
            continue
    if not found:
        yield "<p>None of the molecules can be explained.</p>"
        return
    yield f"<p>A few {name} rows that are predicted about as well as most. More, with all that the"
    yield " pictures mean: <code>dgl-gmpool explain --model RUN --csv FILE --output FOLDER</code>."
    yield " Contributions add up to the prediction less the baseline, the prediction for the carbon"
    yield " skeleton.</p>"
    if about := found[0][1].model_note:
        yield f"<p class='quiet'>{sentence(about)}</p>"
    most = max(float(np.abs(_shares(each)).max(initial=0.0)) for _, each in found) or 1.0
    for row, each in found:
        title = f"{escape(part.ids[row])} <code>{escape(each.smiles)}</code>, measured"
        title += f" {escape(part.measured_text(row, 0))}"
        yield "<div class='molecule'>"
        yield from molecule_part(title, each, most)
        yield "</div>"


def _shares(each: Explanation) -> np.ndarray:
    return each.contributions if each.groups is None else each.group_contributions


def _typical(part: PredictedRows) -> Iterator[int]:
    """Rows of the first target from the middle of their errors outwards; distinct molecules."""
    rows = part.of_task(0)
    ranked = rows[np.argsort(part.errors(0)[rows], kind="stable")]
    # In ranks: the two errors beside a median are equally far from it but for rounding.
    away = np.abs(2 * np.arange(len(ranked)) - (len(ranked) - 1))
    seen: set[str] = set()
    for row in ranked[np.argsort(away, kind="stable")].tolist():
        if part.canonical(row) not in seen:
            seen.add(part.canonical(row))
            yield row
