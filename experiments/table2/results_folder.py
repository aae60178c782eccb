"""The files of a comparison, and how those of several processes or machines become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from dgl_gmpool._io import atomic_write, atomic_write_json
from dgl_gmpool.training.run_folder import read_json
from experiments.setting import setting
from experiments.table2.scores import FoldScore, Key, read_scores, write_scores

SearchKey = tuple[str, int, str]


class ResultsFolder:
    """``protocol.json``, ``search.json``, ``choices.json``, ``scores.csv``, ``outputs/``.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    scores : dict
        Every score by (data set, row, seed, fold).
    search : dict
        Every validation score of the search by (data set, seed, settings).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        rows = read_scores(path / "scores.csv", missing_ok=True)
        self.scores: dict[Key, FoldScore] = {row.key: row for row in rows}
        self.search: dict[SearchKey, dict[str, Any]] = {}
        if (path / "search.json").exists():
            for entry in read_json(path / "search.json")["scores"]:
                self.search[entry["dataset"], entry["seed"], entry["settings"]] = entry

    @cached_property
    def setting(self) -> dict[str, Any]:
        """Versions, commit and machine when this process began: the source that it has loaded."""
        return setting()

    def add(self, rows: Iterable[FoldScore]) -> None:
        """Keep these scores, at once."""
        self.scores.update({row.key: row for row in rows})
        write_scores(self.path / "scores.csv", self.scores.values())

    def add_search(self, entries: Iterable[dict[str, Any]]) -> None:
        """Keep these scores of the search, at once."""
        for entry in entries:
            self.search[entry["dataset"], entry["seed"], entry["settings"]] = entry
        ordered = [self.search[key] for key in sorted(self.search)]
        atomic_write_json(self.path / "search.json", {"scores": ordered})

    def choices(self) -> dict[str, dict[str, Any]]:
        """What the search chose, by row: ``configuration``, and what was ``tried``."""
        file = self.path / "choices.json"
        return read_json(file)["choices"] if file.exists() else {}

    def save_choices(self, choices: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep them in place of those before."""
        atomic_write_json(self.path / "choices.json", {"choices": choices})

    def check_settings(self, key: Key, settings: str) -> None:
        """Refuse to mix two configurations of one row on one data set.

        Raises
        ------
        ValueError
            The row was trained there with other settings.
        """
        for row in self.scores.values():
            if (row.dataset, row.method) == key[:2] and row.settings != settings:
                raise ValueError(
                    f"{self.path} holds {key[1]} on {key[0]} with other settings, seed {row.seed} "
                    f"({row.settings}; now {settings}): the search or the rows have changed since. "
                    "Use another --output, or the --choices it was started with"
                )

    def forget_failures(self) -> None:
        """Leave out what failed, to try it again."""
        self.scores = {key: row for key, row in self.scores.items() if not row.failed}
        self.search = {key: entry for key, entry in self.search.items() if not entry["error"]}

    def outputs(self, key: Key) -> Path:
        """Where the predictions for the test rows of a training are."""
        dataset, row, seed, fold = key
        return self.path / "outputs" / f"{dataset}-{row}-seed{seed}-fold{fold}.npz"

    def save_outputs(self, key: Key, outputs: np.ndarray, targets: np.ndarray) -> None:
        """Keep predictions and targets, ``(test rows, tasks)`` each."""
        file = self.outputs(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, partial(np.savez_compressed, outputs=outputs, targets=targets))

    def load_outputs(self, key: Key) -> tuple[np.ndarray, np.ndarray] | None:
        """Predictions and targets, or None where they are not kept here."""
        if not self.outputs(key).exists():
            return None
        with np.load(self.outputs(key)) as file:
            return file["outputs"], file["targets"]

    def check_protocol(self, fixed: Mapping[str, Any], data: Mapping[str, str]) -> None:
        """Refuse to mix two protocols; data sets may join later. ``data`` are fingerprints.

        Raises
        ------
        ValueError
            Something was different when the folder was started.
        """
        file = self.path / "protocol.json"
        record: dict[str, Any] = {**fixed, "data": {}, "settings": []}
        if file.exists():
            record = read_json(file)
            changed = [
                f"{name} was {record.get(name)}, now {value}"
                for name, value in fixed.items()
                if record.get(name) != value
            ]
            changed += [
                f"the rows of {name} are others than before"
                for name, value in data.items()
                if record["data"].get(name, value) != value
            ]
            if changed:
                raise ValueError(
                    f"{self.path} holds results of another protocol: {'; '.join(changed)}. Use "
                    "what it was started with, or another --output"
                )
        record["data"] = {**record["data"], **data}
        # Every setting that had a part in the results, in the order they came.
        setting = self.setting
        if setting not in record["settings"]:
            if record["settings"] and record["settings"][-1]["commit"] != setting["commit"]:
                print(
                    f"note: {self.path} was started with commit {record['settings'][-1]['commit']};"
                    f" what is trained now is of {setting['commit']}"
                )
            record["settings"].append(setting)
        atomic_write_json(file, record)

    def merge(self, folders: Iterable[Path]) -> None:
        """Take in the results of other folders of the same protocol; nothing is trained.

        Raises
        ------
        ValueError
            A folder has no results, is of another protocol, or has another score for the same
            training.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for path in folders:
            if not (path / "protocol.json").exists():
                raise ValueError(
                    f"{path} holds no results (no protocol.json); give --output folders of runs"
                )
            theirs, other = read_json(path / "protocol.json"), ResultsFolder(path)
            self._merge_protocol(theirs, path)
            self._merge_choices(path)
            for key, row in other.scores.items():
                mine = self.scores.get(key)
                if mine is not None and not (mine.failed or row.failed):
                    self._check_equal(mine, row, path)
            new = {
                key: row
                for key, row in other.scores.items()
                if key not in self.scores or self.scores[key].failed
            }
            for key in new:
                found = other.load_outputs(key)
                if found is not None:
                    self.save_outputs(key, *found)
            self.add(new.values())
            self.add_search(e for key, e in other.search.items() if key not in self.search)
            print(f"{path}: {len(new)} of {len(other.scores)} scores are new")

    def _check_equal(self, mine: FoldScore, row: FoldScore, path: Path) -> None:
        # Another machine may round otherwise; another configuration is another training.
        if mine.settings != row.settings or abs(mine.test - row.test) > 0.02 * abs(mine.test):
            raise ValueError(
                f"{path} has another score than {self.path} for {row.method} on {row.dataset}, "
                f"seed {row.seed}, fold {row.fold} ({row.test:g} and {mine.test:g}, settings "
                f"{'equal' if mine.settings == row.settings else 'different'}): they are of "
                "different protocols, or searched apart; merge the search before training"
            )

    def _merge_choices(self, path: Path) -> None:
        mine, theirs = self.choices(), ResultsFolder(path).choices()
        for name, choice in theirs.items():
            known = mine.setdefault(name, choice)
            if known["configuration"] != choice["configuration"]:
                raise ValueError(
                    f"{path} chose another configuration of {name} than {self.path} "
                    f"({choice['configuration']} and {known['configuration']}): they were searched "
                    "apart. Search in one folder, and give its choices.json to the others with "
                    "--choices"
                )
        self.save_choices(mine)

    def _merge_protocol(self, theirs: dict[str, Any], path: Path) -> None:
        file = self.path / "protocol.json"
        record = read_json(file) if file.exists() else {**theirs, "settings": []}
        names = {*record, *theirs} - {"data", "settings"}
        data = {name for name in record["data"] if name in theirs["data"]}
        different = sorted(name for name in names if record.get(name) != theirs.get(name))
        different += [n for n in sorted(data) if record["data"][n] != theirs["data"][n]]
        if different:
            raise ValueError(
                f"{path} is of another protocol than {self.path}: {', '.join(different)} differ; "
                "merge folders that were run with the same options and files"
            )
        record["data"] = {**record["data"], **theirs["data"]}
        record["settings"] += [s for s in theirs["settings"] if s not in record["settings"]]
        atomic_write_json(file, record)
