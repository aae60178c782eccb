"""The runs behind Figure 3a: GMPool with a forced number of clusters, and adaptive beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dgl_gmpool._options import positive_int
from dgl_gmpool.training.config import TrainingConfig
from dgl_gmpool.training.run import RunResult
from dgl_gmpool.training.run_folder import RunFolder, read_json

#: Forced numbers of clusters by default.
CLUSTERS = (1, 2, 4, 6, 8, 10, 15, 20)


@dataclass(frozen=True)
class ForcedRuns:
    """Finished runs that differ in ``num_clusters`` and seed only.

    Attributes
    ----------
    forced : dict of int to list of RunResult
        By number of clusters, ascending; one run per seed.
    adaptive : list of RunResult
        Without a forced number.
    """

    forced: dict[int, list[RunResult]]
    adaptive: list[RunResult]

    @property
    def runs(self) -> list[RunResult]:
        return [*self.adaptive, *(run for runs in self.forced.values() for run in runs)]


def plan_forced_runs(
    adaptive: Sequence[TrainingConfig], clusters: Sequence[int] = CLUSTERS
) -> list[TrainingConfig]:
    """The adaptive configurations first, then the same with each number of clusters forced.

    All of them read the mean and maximum over S' X, unless they name another ``aggregate``: the
    default one counts no clusters, and the mean alone learns nothing of M: rows of S add to 1.

    Parameters
    ----------
    adaptive : sequence of TrainingConfig
        One per seed.
    clusters : sequence of int
        Numbers to force.

    Raises
    ------
    ValueError
        A readout is not gmpool or forces a number already; a number is repeated or below 1.

    Examples
    --------
    >>> plans = plan_forced_runs([TrainingConfig(readout="gmpool")], [2, 4])
    >>> [dict(plan.readout_options) for plan in plans][:2]
    [{'aggregate': 'mean_and_max'}, {'aggregate': 'mean_and_max', 'num_clusters': 2}]
    """
    for config in adaptive:
        if config.readout != "gmpool":
            raise ValueError(
                f"readout {config.readout!r}: Figure 3a forces the num_clusters of gmpool; leave "
                "--readout out, or name gmpool"
            )
        if "num_clusters" in config.readout_options:
            raise ValueError(
                "leave num_clusters out of the readout's options: the figure varies it (--clusters)"
            )
    if len(set(clusters)) < len(clusters):
        raise ValueError(f"clusters {' '.join(map(str, clusters))}: a number is given twice")
    compared = [
        replace(config, readout_options={"aggregate": "mean_and_max", **config.readout_options})
        for config in adaptive
    ]
    forced = [
        replace(
            config,
            readout_options={
                **config.readout_options,
                "num_clusters": positive_int("clusters", k),
            },
        )
        for k in clusters
        for config in compared
    ]
    return [*compared, *forced]


def find_forced_runs(folder: str | os.PathLike[str]) -> ForcedRuns:
    """The finished gmpool runs below ``folder``, by number of clusters.

    Raises
    ------
    ValueError
        There is no finished gmpool run, or the runs differ in more than ``num_clusters`` and seed,
        so that the figure would compare two things at once.
    """
    runs = []
    for config in sorted(Path(folder).glob("*/config.json")):
        if RunFolder(config.parent).finished:
            run = RunResult.load(config.parent)
            if run.config.readout == "gmpool":
                runs.append(run)
    if not runs:
        raise ValueError(
            f"no finished run of gmpool in {folder}: expected the folder that holds the folders of "
            "runs; --train trains them there"
        )
    first = _setting(runs[0])
    for run in runs[1:]:
        setting = _setting(run)
        different = [key for key in {**first, **setting} if first.get(key) != setting.get(key)]
        if different:
            raise ValueError(
                f"{runs[0].folder} and {run.folder} differ in {', '.join(sorted(different))}, not "
                "only in num_clusters and seed; keep runs of one setting in one folder"
            )
    forced: dict[int, list[RunResult]] = {}
    adaptive = []
    for run in sorted(runs, key=lambda r: (_forced(r) or 0, r.config.seed)):
        count = _forced(run)
        if count is None:
            adaptive.append(run)
        else:
            forced.setdefault(count, []).append(run)
    return ForcedRuns(forced, adaptive)


def _forced(run: RunResult) -> int | None:
    return run.config.readout_options.get("num_clusters")


def _setting(run: RunResult) -> dict[str, object]:
    """Everything that must be the same: the configuration, and the rows that were learnt from."""
    values: dict[str, object] = {**run.config.to_dict()}
    del values["seed"]
    options = dict(run.config.readout_options)
    options.pop("num_clusters", None)
    values["readout_options"] = options
    values["data"] = read_json(RunFolder(run.folder).config)["data"]["fingerprint"]
    values["folds"] = run.metrics["folds_planned"]
    return values
