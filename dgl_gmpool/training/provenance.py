"""Where numbers came from: versions, the commit, the machine, and what the data were."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dgl_gmpool
from dgl_gmpool.data import MoleculeDataset, Splits
from dgl_gmpool.data.features import joined_features
from dgl_gmpool.training.config import BEFORE

_PACKAGES = ("dgl", "torch", "dgllife", "rdkit", "numpy", "scikit-learn")


def library_versions() -> dict[str, str]:
    """Versions of this package and of what its numbers rest on."""
    found = {"dgl_gmpool": dgl_gmpool.__version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def source_commit() -> str | None:
    """Commit of the package's source, with ``+changes`` if files differ; None outside a checkout.

    A copy installed below some other repository is not taken for a part of it.
    """
    file = Path(dgl_gmpool.__file__).resolve()

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(file.parent), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", file.name) is None:
        return None
    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--untracked-files=no", "--", str(file.parent))
    return None if commit is None else commit + ("+changes" if changes else "")


def environment(device: torch.device, *, processes: int = 1) -> dict[str, Any]:
    """What the machine adds: sums over another number of threads differ in their last digits."""
    return {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "processes": processes,
        "platform": platform.platform(),
        "command": sys.argv,
    }


def changed_since(stored: Mapping[str, Any], *, processes: int) -> list[str]:
    """What to know of a run that goes on: numbers are bit-equal only with the same libraries and
    processes. ``stored`` is its ``config.json``."""
    notes = []
    earlier = stored.get("environment", {}).get("processes", 1)
    if earlier != processes:
        notes.append(
            f"goes on with {processes} instead of {earlier} processes; splits and batches stay the "
            "same, but dropout and last digits will differ from those of an uninterrupted run"
        )
    before, now = stored.get("versions", {}), library_versions()
    changed = [
        f"{name} {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]
    ]
    for name, value in BEFORE.items():
        if name not in stored.get("training", {}):
            notes.append(f"goes on with {name}={value!r}, as in the version that it was begun with")
    if changed:
        notes.append(
            f"was started with other versions ({', '.join(changed)}); its last digits may differ "
            "from those of an uninterrupted run"
        )
    return notes


def config_record(
    decided: Mapping[str, Any],
    dataset: MoleculeDataset,
    device: torch.device,
    *,
    source: Mapping[str, Any] | None,
    processes: int = 1,
) -> dict[str, Any]:
    """The content of ``config.json``: what decides a run's numbers, as of ``run_record``, where its
    data came from, and facts about it."""
    about = {} if source is None else {"source": dict(source)}
    return {
        "format": 1,
        **decided,
        **about,
        "report": dataset.table.report.to_dict(),
        "versions": library_versions(),
        "commit": source_commit(),
        "environment": environment(device, processes=processes),
    }


def processor() -> str:
    """Name of the processor, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def data_record(
    dataset: MoleculeDataset, auxiliary: Iterable[str] = (), descriptors: Iterable[str] = ()
) -> dict[str, Any]:
    """Facts that identify a featurised data set, JSON-able; ``fingerprint`` covers every value,
    those of features, and of the named auxiliary targets and descriptors, included."""
    table = dataset.table
    digest = hashlib.sha256(table.fingerprint().encode())
    digest.update(np.ascontiguousarray(table.targets).tobytes())
    if table.global_feats is not None:
        digest.update(np.ascontiguousarray(table.global_feats).tobytes())
    for extra in (table.lower, table.upper, table.weights):
        if extra is not None:
            digest.update(np.ascontiguousarray(extra).tobytes())
    for name in sorted(auxiliary):
        digest.update(table.auxiliary_targets(name).fingerprint().encode())
    joined, blocks = joined_features(table, descriptors)
    for each in table.features:
        if each.source in {block.source for block in blocks}:
            digest.update(each.fingerprint().encode())
    # Only where there are such: records of 0.2.0 are still equal.
    more: dict[str, Any] = {"kinds": list(table.kinds)} if table.kind == "mixed" else {}
    if any(table.classes):
        more["classes"] = [list(held) for held in table.classes]
    return {
        "name": table.name,
        "kind": table.kind,
        **more,
        "task_names": list(table.task_names),
        "units": table.units,
        "rows": len(dataset),
        "featurizer": featurizer_name(dataset),
        "node_in_feats": dataset.node_in_feats,
        "edge_in_feats": dataset.edge_in_feats,
        "global_feats": 0 if joined is None else int(joined.shape[1]),
        "fingerprint": digest.hexdigest(),
    }


def featurizer_name(dataset: MoleculeDataset) -> str:
    """Name under which ``featurize`` makes the same features again."""
    return str(getattr(dataset, "featurizer", "canonical"))


def splits_record(splits: Splits) -> dict[str, Any]:
    """Facts that identify the splits, JSON-able; ``fingerprint`` covers every row number."""
    rows = [splits.test, *(part for fold in splits.folds for part in fold)]
    names = list(map(str, range(splits.rows)))  # each is needed once a fold
    text = ";".join(",".join(map(names.__getitem__, part)) for part in rows)
    return {
        "kind": splits.kind,
        "seed": splits.seed,
        "folds": len(splits.folds),
        "test_rows": len(splits.test),
        "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
    }
