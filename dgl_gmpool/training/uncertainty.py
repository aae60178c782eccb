"""What a finished run knows of its own errors: fitted on validation rows, checked on the test set.

Two files of the run folder hold it. ``training_molecules.csv``: see
:mod:`~dgl_gmpool.training.known_molecules`. ``uncertainty.json``:

``format``
    1.
``validation_rows``
    How many of them were used (of very large sets, rows evenly apart).
``final``
    Whether the run has final models: they know the test set's molecules too, and the folds' curves
    are not theirs.
``domain``
    ``similarity`` and ``heavy_atoms``: the limits of
    :class:`~dgl_gmpool.training.known_molecules.Domain`; null without validation rows.
``tasks``
    One object per target, in the order of the run's ``task_names``, with ``name``, ``kind`` and

    - of a regression ``widths`` (``"constant"`` or ``"similarity"``), ``interval_score`` (of both,
      on left-out folds, at a coverage of 0.9), ``validation_rows``, ``constant``, ``slope``,
      ``closest`` and ``scores`` (:class:`~dgl_gmpool.training.conformal.Intervals`). ``test`` has
      ``rows``, ``levels``: objects with ``coverage`` (wanted), ``found`` (share of the test rows
      inside), ``mean_width``, and ``std_over_models`` (share inside a normal interval of the spread
      over the folds; null for one fold); ``calibration_error_before`` (of that spread) and
      ``calibration_error_after``: mean distance of ``found`` and ``coverage`` over the levels.
    - of a classification ``method`` (``"none"``, ``"platt"`` or ``"isotonic"``; of several classes
      ``"none"``, ``"temperature"`` or ``"isotonic"``), ``curves`` (one of
      :class:`~dgl_gmpool.training.calibration.Calibrator` or
      :class:`~dgl_gmpool.training.class_calibration.ClassCalibrator` for each fold's model) and
      ``brier`` (of all three, on left-out rows; null where nothing could be fitted). ``test`` has
      ``rows``, ``brier_before``, ``brier_after``, ``calibration_error_before``,
      ``calibration_error_after``, and ``curve_before``, ``curve_after``: lists of ``predicted``,
      ``measured`` and ``rows``; of several classes, error and curves are of the most probable one.

    ``test`` is null where no test row was measured. A target without a measured validation row
    has no more keys than ``name``, ``kind`` and ``test``; so had, in 0.3.0, one of several classes.

Validation rows also chose the epoch of their fold, which makes their errors a little small; the
mean over the folds' models, which is what is predicted, has smaller errors than one of them. The
two work against each other, and ``test`` says what remains.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dgl_gmpool.data import MoleculeTable, Splits
from dgl_gmpool.data.molecule import count_atoms
from dgl_gmpool.data.similarity import nearest
from dgl_gmpool.training.calibration import Calibrator, choose_calibrators
from dgl_gmpool.training.class_calibration import ClassCalibrator
from dgl_gmpool.training.conformal import Intervals, choose_intervals, leave_out_parts
from dgl_gmpool.training.known_molecules import Domain, KnownMolecules, fingerprints_of
from dgl_gmpool.training.run_folder import RunFolder, read_json, run_of, write_json
from dgl_gmpool.training.table_task import TableTask
from dgl_gmpool.training.uncertainty_check import check_calibrators, check_intervals

#: Pairs of molecules that are compared at most: about a minute.
_MOST_PAIRS = 10**9


@dataclass(frozen=True)
class RunUncertainty:
    """The two files, read.

    Attributes
    ----------
    task_names : tuple of str
    tasks : tuple of Intervals, tuple of Calibrator, or None
        Per target; a calibrator for each fold; None where no validation row was measured, too few
        were for a curve, or final models predict.
    domain : Domain or None
    known : KnownMolecules or None
        None without that file: then there are no intervals whose width depends on similarity.
    """

    task_names: tuple[str, ...]
    tasks: tuple[Intervals | tuple[Calibrator, ...] | None, ...]
    domain: Domain | None
    known: KnownMolecules | None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunUncertainty | None:
        """Of a run folder, or of that of a ``fold_N/model.pt``; None without ``uncertainty.json``.

        Raises
        ------
        ValueError
            A file is damaged.
        """
        folder, fold = run_of(path)
        files = RunFolder(folder)
        if not files.uncertainty.exists():
            return None
        saved = read_json(files.uncertainty)
        try:
            # The curves are those of the folds' models.
            curves = fold is not None or not saved.get("final")
            tasks = tuple(_read(each, fold, curves=curves) for each in saved["tasks"])
            names = tuple(str(each["name"]) for each in saved["tasks"])
            limits = saved["domain"]
            domain = None if limits is None else Domain(**limits)
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"{files.uncertainty} is not readable ({type(error).__name__}: {error}); was it "
                "edited? Delete it to predict without intervals, or copy the run again"
            ) from error
        if files.known_molecules.exists():
            return cls(names, tasks, domain, KnownMolecules.read(files.known_molecules))
        alike = [None if isinstance(each, Intervals) and each.slope else each for each in tasks]
        return cls(names, tuple(alike), domain, None)


def _read(
    saved: dict[str, Any], fold: int | None, *, curves: bool
) -> Intervals | tuple[Calibrator, ...] | None:
    if "scores" in saved:
        return Intervals.from_dict(saved)
    if curves and "method" in saved and saved["brier"]["none"] is not None:
        own = saved["curves"] if fold is None else [saved["curves"][fold]]
        kind = ClassCalibrator if saved.get("kind") == "multiclass" else Calibrator
        return tuple(kind(saved["method"], curve) for curve in own)
    return None


def write_uncertainty(
    files: RunFolder,
    table: MoleculeTable,
    splits: Splits,
    task: TableTask,
    *,
    final: bool = False,
) -> dict[str, Any]:
    """Fit on the folds' validation rows, check on the test set, write both files.

    Parameters
    ----------
    files : RunFolder
        With the outputs of every fold.
    table : MoleculeTable
        The run's.
    splits : Splits
        Its splits.
    task : TableTask
        Turns outputs into predictions.
    final : bool
        Whether models trained on all rows predict in the end.

    Returns
    -------
    dict
        What ``uncertainty.json`` holds.
    """
    test = np.asarray(splits.test, np.int64)
    others = np.setdiff1d(np.arange(len(table)), test)
    valid, test_outputs = _validated(
        files, table, splits, task, KnownMolecules.of(table, others.tolist())
    )
    known = KnownMolecules.of(table, _trained_on(table, others.tolist()))
    some = _some(len(test), len(known.fingerprints))
    test = test[some]
    tested = _Predicted(
        test,
        task.link(test_outputs)[:, some],
        nearest(fingerprints_of([table.smiles[row] for row in test]), known.fingerprints)[0],
    )
    tasks = [_entry(table, task, column, valid, tested) for column in range(len(table.kinds))]
    summary = {
        "format": 1,
        "validation_rows": len(valid.rows),
        "final": final,
        "domain": _domain(table, valid.rows, valid.near),
        "tasks": tasks,
    }
    if final:
        known = KnownMolecules.of(table, _trained_on(table, range(len(table))))
    known.write(files.known_molecules)
    write_json(files.uncertainty, summary)
    return summary


def _trained_on(table: MoleculeTable, rows: Sequence[int]) -> Sequence[int]:
    """Without rows of weight 0, which are not trained on."""
    weights = table.weights
    return rows if weights is None else [row for row in rows if weights[row] > 0]


@dataclass(frozen=True)
class _Predicted:
    """Some rows, and what was predicted of them.

    Attributes
    ----------
    rows : numpy.ndarray
        ``(n,)``.
    outputs : numpy.ndarray
        ``(n, columns)``, or of every model ``(models, n, columns)``.
    near : numpy.ndarray
        Similarity to the nearest molecule that the model was trained on. ``(n,)``.
    fold : numpy.ndarray
        Whose model it was, where it was one. ``(n,)``.
    """

    rows: np.ndarray
    outputs: np.ndarray
    near: np.ndarray
    fold: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


def _validated(
    files: RunFolder,
    table: MoleculeTable,
    splits: Splits,
    task: TableTask,
    known: KnownMolecules,
) -> tuple[_Predicted, np.ndarray]:
    """The validation rows of all folds, each predicted by its own model, and every model's outputs
    of the test rows."""
    place, bits = known.place, known.fingerprints
    rows, outputs, near, folds, test_outputs = [], [], [], [], []
    for number, (train, _) in enumerate(splits.folds):
        with np.load(files.fold(number).outputs) as saved:
            valid, found = saved["valid_rows"], saved["valid_outputs"]
            test_outputs.append(saved["test_outputs"])
        learnt = [place[table.canonical[row]] for row in _trained_on(table, train)]
        among = bits[np.unique(learnt)]
        some = _some(len(valid), len(among) * len(splits.folds))
        valid = valid[some]
        rows.append(valid)
        outputs.append(task.link(found[some]))
        folds.append(np.full(len(valid), number))
        query = bits[[place[table.canonical[row]] for row in valid]]
        near.append(nearest(query, among)[0])
    found_rows = _Predicted(*map(np.concatenate, (rows, outputs, near, folds)))
    return found_rows, np.stack(test_outputs)


def _entry(
    table: MoleculeTable, task: TableTask, column: int, valid: _Predicted, test: _Predicted
) -> dict[str, Any]:
    """What ``uncertainty.json`` has of one target."""
    kind, targets = table.kinds[column], table.targets[:, column]
    entry: dict[str, Any] = {"name": table.task_names[column], "kind": kind, "test": None}
    several, outputs_of = kind == "multiclass", task.outputs_of(column)
    at = outputs_of if several else outputs_of.start
    use = np.isfinite(targets[valid.rows]) & np.isfinite(valid.outputs[:, outputs_of]).all(axis=1)
    check = np.isfinite(targets[test.rows])
    check &= np.isfinite(test.outputs[:, :, outputs_of]).all(axis=(0, 2))
    if not use.any():
        return entry
    y, z, fold = targets[valid.rows][use], valid.outputs[use, at], valid.fold[use]
    y_test, z_test = targets[test.rows][check], test.outputs[:, check, at]
    if kind == "regression":
        parts = leave_out_parts(fold)
        intervals, scores = choose_intervals(np.abs(y - z), valid.near[use], parts)
        widths = "similarity" if intervals.slope > 0 else "constant"
        entry |= {"widths": widths, "interval_score": scores, **intervals.to_dict()}
        if check.any():
            entry["test"] = check_intervals(intervals, y_test, z_test, test.near[check])
        return entry
    mine = [fold == number for number in range(len(test.outputs))]
    calibrators, scores = choose_calibrators(
        ClassCalibrator if several else Calibrator,
        [z[each] for each in mine],
        [y[each] for each in mine],
    )
    curves = [each.curve for each in calibrators]
    entry |= {"method": calibrators[0].method, "curves": curves, "brier": scores}
    if check.any():
        entry["test"] = check_calibrators(calibrators, y_test, z_test)
    return entry


def _domain(table: MoleculeTable, rows: np.ndarray, near: np.ndarray) -> dict[str, Any] | None:
    if not len(rows):
        return None
    sizes = [count_atoms(smiles) for smiles in dict.fromkeys(table.smiles[row] for row in rows)]
    largest = max((size.heavy_atoms for size in sizes if size is not None), default=0)
    limit = float(np.quantile(near, Domain.SHARE, method="lower"))
    return Domain(limit, largest).to_dict()


def _some(rows: int, others: int) -> np.ndarray:
    """Row numbers evenly apart, as many as can be compared with the others, but 200 at least."""
    most = max(200, _MOST_PAIRS // max(others, 1))
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))
