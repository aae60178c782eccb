"""The files of one run, and when a run may be started or continued in a folder."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgl_gmpool._io import atomic_write_json, check_writable, lock, without_nan
from dgl_gmpool._options import as_typed
from dgl_gmpool.training.config import BEFORE

#: What to do about a run that is not finished.
CONTINUE = "continue it by the training's own command with --resume (train_run with resume=True)"
_LOCK = ".lock"
_NAMES = (
    *("config.json", "splits.json", "metrics.json", "uncertainty.json", "result.json"),
    *("history.csv", "test_predictions.csv", "valid_predictions.csv", "training_molecules.csv"),
    *("report.html", "model.pt", "checkpoint.pt", "outputs.npz"),
)
_TEMPORARY = tuple(f".{name}." for name in _NAMES)


@dataclass(frozen=True)
class FoldFiles:
    """Files of one fold. ``result`` is written last: with it, the fold is finished."""

    path: Path

    @property
    def model(self) -> Path:
        return self.path / "model.pt"

    @property
    def outputs(self) -> Path:
        return self.path / "outputs.npz"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def finished(self) -> bool:
        return self.result.exists() and self.outputs.exists() and self.model.exists()

    @property
    def finished_without_outputs(self) -> bool:
        """For a model of all rows, which has none to be scored on."""
        return self.result.exists() and self.model.exists()


class RunFolder:
    """Paths of a run's files and the rules for entering its folder.

    Parameters
    ----------
    path : path
        The folder; made when the run starts.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.splits = self.path / "splits.json"
        self.metrics = self.path / "metrics.json"
        self.history = self.path / "history.csv"
        self.predictions = self.path / "test_predictions.csv"
        self.valid_predictions = self.path / "valid_predictions.csv"
        self.report = self.path / "report.html"
        self.tensorboard = self.path / "tensorboard"
        self.uncertainty = self.path / "uncertainty.json"
        self.known_molecules = self.path / "training_molecules.csv"

    def fold(self, number: int) -> FoldFiles:
        """Files of fold ``number``, counted from 0."""
        return FoldFiles(self.path / f"fold_{number}")

    def final(self, number: int) -> FoldFiles:
        """Files of the model on all rows that goes with fold ``number``."""
        return FoldFiles(self.path / f"final_{number}")

    @property
    def finished(self) -> bool:
        """True once every fold is trained and the summary is written."""
        return self.metrics.exists() and bool(read_json(self.metrics).get("complete"))

    def check_finished(self) -> None:
        """Raise a ValueError, with what to do, unless there is a run and it is finished."""
        if not self.path.is_dir():
            raise ValueError(f"there is no folder {self.path}; give the folder of a run")
        if not self.config.exists():
            raise ValueError(
                f"{self.path} holds no config.json, so it is not a run; give the folder of a run, "
                "which the --output of a training holds"
            )
        if not self.finished:
            raise ValueError(f"{self.path} holds a run that is not finished; {CONTINUE}")

    def check_free(self, *, resume: bool) -> None:
        """Refuse a folder that holds something, unless a run is to be continued in it.

        Raises
        ------
        ValueError
            The folder is not empty and ``resume`` is false; or ``resume`` is true and the
            folder holds something other than a run.
        """
        check_free_folder(self.path, resume=resume)
        if resume and _contents(self.path) and not self.config.exists():
            raise ValueError(
                f"{self.path} holds files but no config.json, so it is not a run that could be "
                "continued; use another output folder"
            )

    def check_same(self, record: dict[str, Any]) -> None:
        """Compare the stored configuration with ``record`` (sections of plain values).

        Raises
        ------
        ValueError
            They differ; the message names the keys and both values.
        """
        stored = read_json(self.config)
        changes = []
        for section, values in record.items():
            before = BEFORE if section == "training" else {}
            old = _flat({**before, **stored.get(section, {})})
            # A round trip through JSON makes tuples lists, as they are in the stored file.
            new = _flat(json.loads(json.dumps(values)))
            for key in [*new, *(key for key in old if key not in new)]:
                # A file may be renamed: the fingerprint tells what is in it.
                if old.get(key) != new.get(key) and (section, key) != ("data", "name"):
                    changes.append(
                        f"{section}.{key} was {_short(old.get(key))}, now {_short(new.get(key))}"
                    )
        if changes:
            same = as_typed("--config", self.config)
            raise ValueError(
                f"{self.path} holds a run with other settings: {'; '.join(changes)}. Continue it "
                "with the table and the settings it was started with (dgl-gmpool train takes the "
                f"settings by {same}), or use another output folder"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; a second process that wants it gets an error.

        Raises
        ------
        ValueError
            Another process is writing here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / _LOCK, "w", encoding="utf-8") as file:
            lock(file, self.path)
            yield

    def remove_torn_files(self) -> None:
        """Delete the temporary neighbours that a killed process left behind."""
        for folder in (self.path, *self.path.glob("fold_*"), *self.path.glob("final_*")):
            for file in folder.iterdir():
                if _is_temporary(file):
                    file.unlink()


def run_of(path: str | os.PathLike[str]) -> tuple[Path, int | None]:
    """The run folder that models come from, and the number of the fold, of one's ``model.pt``
    (None for a final model's).

    A folder that holds a single run, such as the ``--output`` of a training with one readout,
    stands for it.

    Examples
    --------
    >>> folder, fold = run_of("RUN/fold_2/model.pt")
    >>> folder.name, fold
    ('RUN', 2)

    Raises
    ------
    FileNotFoundError
        The folder holds several runs.
    """
    path = Path(path).absolute()
    if not path.is_dir():
        found = re.fullmatch(r"(fold|final)_(\d+)", path.parent.name)
        if found is None:
            return path, None
        return path.parent.parent, int(found[2]) if found[1] == "fold" else None
    if (path / "config.json").exists() or any(path.glob("fold_*")):
        return path, None
    inside = sorted(file.parent for file in path.glob("*/config.json"))
    if len(inside) > 1:
        listed = ", ".join(map(as_typed, inside[:5])) + (", ..." if len(inside) > 5 else "")
        raise FileNotFoundError(f"{path} holds {len(inside)} runs; give one of them: {listed}")
    return (inside[0] if inside else path), None


def check_free_folder(path: Path, *, resume: bool) -> None:
    """Refuse a folder that holds something, unless ``resume``.

    Raises
    ------
    ValueError
        ``path`` is a file, a folder that is not empty, or a place where nothing can be written.
    """
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; the output must be a folder")
    if not resume and _contents(path):
        raise ValueError(
            f"the output folder {path} is not empty. Add --resume (resume=True) to continue the "
            "run in it, or name another folder (--output)"
        )
    # Asked now, and not when hours of training want to be written.
    check_writable(path)


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """A JSON file as a dict with at least these keys; ``"a.b"`` is ``b`` of the object ``a``.

    Raises
    ------
    ValueError
        The file is not JSON, or lacks a key.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not readable JSON ({error}); was it edited?") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {_short(found)}, not an object; was it edited?")
    for key in keys:
        held: Any = found
        for part in key.split("."):
            if not isinstance(held, dict) or part not in held:
                raise ValueError(f"{path} lacks {key!r}; was it edited? Copy the run again")
            held = held[part]
    return found


def write_json(path: Path, value: Any) -> None:
    """Write JSON, with NaN (an undefined score) as null."""
    atomic_write_json(path, without_nan(value))


def _is_temporary(file: Path) -> bool:
    # Made by atomic_write: ".<name>.<eight random characters>".
    return file.name.startswith(_TEMPORARY)


def _contents(path: Path) -> list[str]:
    if not path.is_dir():
        return []
    return [file.name for file in path.iterdir() if file.name != _LOCK and not _is_temporary(file)]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = value
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
