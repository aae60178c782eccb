"""Run the comparison, one training after the other, at any time to be stopped and continued."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dgl_gmpool.data import MoleculeDataset, Splits, make_splits
from dgl_gmpool.training.device import torch_threads
from dgl_gmpool.training.distributed import TrainingError
from dgl_gmpool.training.metrics import choose_metric
from dgl_gmpool.training.run_folder import RunFolder, read_json
from dgl_gmpool.training.scores import scores
from experiments.table2.datasets import ComparisonData, with_descriptors
from experiments.table2.plan import FOLDS, Plan, Training, phases
from experiments.table2.results_folder import ResultsFolder
from experiments.table2.rows import ENSEMBLE, WIDE_FEATS, Row
from experiments.table2.scores import FoldScore
from experiments.table2.search import Choice, choose, loss_of
from experiments.table2.training import ensemble_outputs, settings, train


class Comparison:
    """A plan, its folder and its data, loaded when first needed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.folder = ResultsFolder(plan.output)
        self.failures: list[str] = []
        self.commit = self.folder.setting["commit"] or ""
        self._data: dict[tuple[str, bool], MoleculeDataset] = {}
        self._choices: dict[str, dict[str, Any]] = {}

    def run(self) -> list[str]:
        """Search and train what is missing; one line for every training that failed now."""
        self.plan.output.mkdir(parents=True, exist_ok=True)
        with RunFolder(self.plan.output).locked(), torch_threads(1):
            self.folder.check_protocol(self._protocol(), {})
            if self.plan.retry:
                self.folder.forget_failures()
            if self.plan.search_only:
                for row in self.plan.rows:
                    self.choice(row)
                return self.failures
            for phase, trainings in phases(self.plan):
                started, done = time.monotonic(), 0
                for number, each in enumerate(trainings):
                    if each.key in self.folder.scores:
                        # A kill may have come between the last fold and the average.
                        self._add_ensemble(each)
                        continue
                    self.train(each)
                    done += 1
                    left = len(trainings) - number - 1
                    hours = (time.monotonic() - started) / done * left / 3600
                    print(f"{phase}: {number + 1}/{len(trainings)}, {hours:.1f} h left", flush=True)
        return self.failures

    def _protocol(self) -> dict[str, Any]:
        return {
            "budget": dict(self.plan.budget),
            "folds": FOLDS,
            "search_sets": [data.name for data in self.plan.search_sets],
            "search_seeds": list(self.plan.search_seeds),
        }

    # Search -------------------------------------------------------------------------------------

    def choice(self, row: Row) -> dict[str, Any]:
        """The row's configuration, searched where it is not known yet."""
        if row.name in self._choices:
            return self._choices[row.name]
        if self.plan.choices is not None:
            stored = read_json(self.plan.choices)["choices"]
            if row.name not in stored:
                raise ValueError(
                    f"{self.plan.choices} has no configuration of {row.name}, only of "
                    f"{', '.join(stored)}; leave --choices out to search it, or choose --rows"
                )
            found = stored[row.name]["configuration"]
        else:
            found = self._searched(row).configuration
        self._choices[row.name] = found
        return found

    def _searched(self, row: Row) -> Choice:
        while True:
            found = choose(row, lambda each: self._losses(row, each))
            if found.configuration is not None:
                self._write_choice(row, found)
                return found
            # All configurations on one split before the next one, each set in turn.
            for seed in self.plan.seeds_of_search(row):
                for data in self.plan.search_sets:
                    for configuration in found.missing:
                        text = self._search_settings(row, configuration, data)
                        if (data.name, seed, text) not in self.folder.search:
                            self._search(row, data, seed, text)

    def _losses(self, row: Row, configuration: Mapping[str, Any]) -> list[float | None]:
        found: list[float | None] = []
        for data in self.plan.search_sets:
            text = self._search_settings(row, configuration, data)
            for seed in self.plan.seeds_of_search(row):
                entry = self.folder.search.get((data.name, seed, text))
                found.append(None if entry is None else loss_of(entry))
        return found

    def _search_settings(
        self, row: Row, configuration: Mapping[str, Any], data: ComparisonData
    ) -> str:
        return settings(row, configuration, data, search=True, budget=self.plan.budget)

    def _search(self, row: Row, data: ComparisonData, seed: int, text: str) -> None:
        entry: dict[str, Any] = {"dataset": data.name, "seed": seed, "settings": text}
        entry |= {"metric": choose_metric(data.kind).name, "valid": None, "error": ""}
        dataset, splits = self._prepared(data, text, seed)
        started = time.perf_counter()
        try:
            entry["valid"] = train(text, dataset, splits, seed=seed, search=True).valid
        except Exception as error:  # whatever it is, the others go on, and it is reported
            entry["error"] = self._failed(f"search of {row.name}, {data.name}, seed {seed}", error)
        entry["seconds"] = round(time.perf_counter() - started, 2)
        self.folder.add_search([entry])
        print(f"search of {row.name}, {data.name}, seed {seed}: {entry['valid']}", flush=True)

    def _write_choice(self, row: Row, found: Choice) -> None:
        tried = [{"configuration": each, "loss": loss} for each, loss in found.scores]
        entry = {"configuration": found.configuration, "tried": tried}
        self.folder.save_choices({**self.folder.choices(), row.name: entry})

    # Training -----------------------------------------------------------------------------------

    def train(self, each: Training) -> None:
        """Train and keep one; a training of equal settings that is there already is taken."""
        plan, folder, data = self.plan, self.folder, each.data
        budget = {**plan.budget, **({"hidden_feats": WIDE_FEATS} if each.wide else {})}
        text = settings(each.row, self.choice(each.row), data, budget=budget)
        folder.check_settings(each.key, text)
        row = self._twin(each, text)
        if row is None:
            row = self._trained(each, text)
        folder.add([row])
        print(f"{data.name}, {each.name}, seed {each.seed}, fold {each.fold}: {row.test:.4g}")
        self._add_ensemble(each)

    def _twin(self, each: Training, text: str) -> FoldScore | None:
        for key, row in self.folder.scores.items():
            same = (row.dataset, row.seed, row.fold) == (each.data.name, each.seed, each.fold)
            if same and row.settings == text and not row.method.endswith(ENSEMBLE):
                found = self.folder.load_outputs(key)
                if found is not None:
                    self.folder.save_outputs(each.key, *found)
                    return replace(row, method=each.name)
        return None

    def _trained(self, each: Training, text: str) -> FoldScore:
        data = each.data
        dataset, splits = self._prepared(data, text, each.seed)
        row = FoldScore(
            *each.key,
            metric=choose_metric(data.kind).name,
            valid=None,
            test=float("nan"),
            test_rows=len(splits.test),
            settings=text,
            commit=self.commit,
        )
        try:
            found = train(text, dataset, splits, seed=each.seed, fold=each.fold)
        except Exception as error:  # whatever it is, the others go on, and it is reported
            self._failed(f"{each.name}, {data.name}, seed {each.seed}, fold {each.fold}", error)
            return row
        if found.outputs is not None:
            targets = dataset.table.targets[np.asarray(splits.test)]
            self.folder.save_outputs(each.key, found.outputs, targets)
        return replace(
            row,
            valid=found.valid,
            test=found.test,
            best_epoch=found.best_epoch,
            epochs=found.epochs,
            parameters=found.parameters,
            seconds=found.seconds,
        )

    def _add_ensemble(self, each: Training) -> None:
        """The average of the folds of a seed, once all of them are there."""
        name = each.name + ENSEMBLE
        key = (each.data.name, name, each.seed, 0)
        keys = [(*each.key[:3], fold) for fold in range(FOLDS)]
        parts = [self.folder.scores[k] for k in keys if k in self.folder.scores]
        if key in self.folder.scores or len(parts) < FOLDS:
            return
        known = [found for k in keys if (found := self.folder.load_outputs(k)) is not None]
        if len(known) < FOLDS:
            return
        kind, row, targets = each.data.kind, self.folder.scores[each.key], known[0][1]
        outputs = ensemble_outputs(kind, [found[0] for found in known], each.row.kind == "network")
        score = scores(kind, targets, outputs)[row.metric]
        sums = {
            part: sum(getattr(p, part) or 0 for p in parts) for part in ("parameters", "seconds")
        }
        self.folder.save_outputs(key, outputs, targets)
        self.folder.add(
            [replace(row, method=name, fold=0, valid=None, test=score, best_epoch=None, **sums)]
        )

    # Data ---------------------------------------------------------------------------------------

    def _prepared(
        self, data: ComparisonData, text: str, seed: int
    ) -> tuple[MoleculeDataset, Splits]:
        descriptors = json.loads(text)["descriptors"]
        if (data.name, False) not in self._data:
            path = self.plan.paths.get(data.source)
            plain = data.featurized(path, cache=self.plan.output / "cache")
            self.folder.check_protocol(self._protocol(), {data.name: plain.table.fingerprint()})
            self._data[data.name, False] = plain
            print(f"{data.name}: {len(plain)} rows ({plain.table.fingerprint()[:12]})", flush=True)
        if (data.name, descriptors) not in self._data:
            self._data[data.name, True] = with_descriptors(
                self._data[data.name, False], cache=self.plan.output / "cache"
            )
        dataset = self._data[data.name, descriptors]
        # Of the data set without descriptors: the splits of a seed are the same for all.
        table = self._data[data.name, False].table
        return dataset, make_splits(table, kind=data.split, seed=seed, folds=FOLDS)

    def _failed(self, what: str, error: Exception) -> str:
        said = str(error).split("\n", 1)[0]
        if not isinstance(error, TrainingError):
            said = f"{type(error).__name__}: {said}"
        self.failures.append(f"{what}: {said}")
        print(f"failed: {self.failures[-1]}", flush=True)
        return said
