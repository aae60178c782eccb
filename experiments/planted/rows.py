"""The rows of a benchmark, one training each, kept as they end so that a run can be continued."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dgl_gmpool._io import atomic_write_text, without_nan
from dgl_gmpool.training.provenance import source_commit

Job = dict[str, Any]
Row = dict[str, Any]


def name_of(job: Job) -> str:
    """What tells a job from all others, JSON text."""
    return json.dumps(job, sort_keys=True)


@dataclass
class Rows:
    """The rows of one folder, in ``rows.jsonl``: one JSON object a line, ``{"job": ..., "commit":
    ..., "seconds": ..., "result": ...}``.

    Raises
    ------
    ValueError
        A line of the file is no row.
    """

    path: Path
    rows: dict[str, Row] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.path.exists():
            return
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                self.rows[name_of(row["job"])] = row
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.path}, line {number}: {line[:60]!r} is no row of the planted benchmark "
                    f"({error!r}); remove the line and its training is done again"
                ) from error

    def run(self, jobs: Iterable[Job], train: Callable[[Job], Row]) -> None:
        """Train every job that has no row yet, and say so line by line."""
        left = [job for job in jobs if name_of(job) not in self.rows]
        commit = source_commit()
        for number, job in enumerate(left, 1):
            started = time.perf_counter()
            result = without_nan(train(job))
            seconds = round(time.perf_counter() - started, 1)
            row = {"job": job, "commit": commit, "seconds": seconds, "result": result}
            self.rows[name_of(job)] = row
            # The whole file, so that a run that is killed leaves no half of a line.
            text = "".join(json.dumps(each) + "\n" for each in self.rows.values())
            atomic_write_text(self.path, text)
            shown = ", ".join(str(value) for key, value in job.items() if key != "quick")
            print(f"[{number}/{len(left)}] {shown}: {seconds:.0f} s", flush=True)

    def of(self, jobs: Iterable[Job]) -> list[Row]:
        """The rows of these jobs, where there are some."""
        return [self.rows[name] for name in map(name_of, jobs) if name in self.rows]
