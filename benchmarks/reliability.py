"""Which poolings survive which conditions: ours, torch-geometric's, torch-geometric-pool's.

    python benchmarks/reliability.py

prints the matrix of dgl_gmpool.testing.CONDITIONS and stores it, with the reason of every
failure, in benchmarks/results/reliability.json and reliability.md. Peers are run where they are
installed (``pip install torch-geometric torch-geometric-pool``).
"""

from __future__ import annotations

import argparse
import functools
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from reliability_peers import torch_geometric_pool_poolings, torch_geometric_poolings
from torch import nn

from dgl_gmpool import get_readout, list_readouts
from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool.registry import readout_entry
from dgl_gmpool.testing import CONDITIONS
from dgl_gmpool.training.provenance import source_commit

RESULTS = Path(__file__).parent / "results"

#: What a pooling that lacks a package of its own says.
MISSING = ("ImportError", "is required for")

#: These ask for a clear error; a library that leaves checks to its users fails them by choice.
ABOUT_ERRORS = ("wrong feature width", "integer features", "NaN features")


def subjects() -> list[tuple[str, str, Callable[[int], nn.Module], str]]:
    """(package, name, factory, face) of everything to check."""
    out = []
    for name in list_readouts():
        make = functools.partial(_ours, name)
        out.append(("dgl_gmpool", name, make, "readout"))
        if readout_entry(name).coarsens:
            out.append(("dgl_gmpool", f"{name}, coarsen", make, "coarsen"))
    for package, poolings in (
        ("torch-geometric", torch_geometric_poolings()),
        ("torch-geometric-pool", torch_geometric_pool_poolings()),
    ):
        out += [(package, name, make, "readout") for name, make in poolings.items()]
    return out


def _ours(name: str, in_feats: int) -> nn.Module:
    return get_readout(name, in_feats=in_feats)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("torch", "dgl", "dgllife", "rdkit", "torch-geometric", "torch-geometric-pool"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def report(result: dict) -> str:
    """The matrix in Markdown: a row for each pooling, a column for each condition."""
    names = result["conditions"]
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    lines = [
        "# Reliability of poolings",
        "",
        f"`{result['command']}`, commit {result['commit']}, {versions}.",
        "",
        "A dot is a pass, a cross a failure; the reasons are in reliability.json. "
        "Conditions in *italics* ask for a clear error. Peers: see reliability_peers.py.",
        "",
    ]
    for number, name in enumerate(names, 1):
        mark = "*" if name in ABOUT_ERRORS else ""
        lines.append(f"{number}. {mark}{name}{mark}: {result['descriptions'][name]}")
    lines += [
        "",
        "| package | poolings (each face of ours) | passed | passed, without those about errors "
        "| pass all of those |",
    ]
    lines.append("|---|---|---|---|---|")
    for package, counts in result["totals"].items():
        lines.append(
            f"| {package} | {counts['poolings']} | {counts['passed']} of {counts['cells']} | "
            f"{counts['passed_without_errors']} of {counts['cells_without_errors']} | "
            f"{counts['clean_without_errors']} |"
        )
    lines += ["", "| pooling | " + " | ".join(str(i + 1) for i in range(len(names))) + " |"]
    lines.append("|---|" + "---|" * len(names))
    for row in result["rows"]:
        cells = ["✗" if name in row["failures"] else "·" for name in names]
        lines.append(f"| {row['name']} | " + " | ".join(cells) + " |")
    lines += [""] + [f"Not run: {name}. {why}" for name, why in result["not_run"].items()]
    return "\n".join(lines).rstrip("\n") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--output", type=Path, default=RESULTS / "reliability")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    rows, not_run = [], {}
    for package, name, make, face in subjects():
        # The plainest of batches: a package that is missing shows here.
        reason = next(c for c in CONDITIONS if c.name == "order of graphs").failure(make, face)
        if reason is not None and any(each in reason for each in MISSING):
            not_run[name] = reason
            print(f"{name:28} not run: {reason}", file=sys.stderr)
            continue
        failures = {}
        for condition in CONDITIONS:
            reason = condition.failure(make, face)
            if reason is not None:
                failures[condition.name] = reason
        rows.append({"package": package, "name": name, "face": face, "failures": failures})
        print(
            f"{name:28} {len(CONDITIONS) - len(failures):3} of {len(CONDITIONS)}", file=sys.stderr
        )
    totals: dict[str, dict[str, int]] = {}
    robust = [c.name for c in CONDITIONS if c.name not in ABOUT_ERRORS]
    for package in dict.fromkeys(row["package"] for row in rows):
        own = [row["failures"] for row in rows if row["package"] == package]
        failed = [sum(name in each for name in robust) for each in own]
        totals[package] = {
            "poolings": len(own),
            "cells": len(own) * len(CONDITIONS),
            "passed": sum(len(CONDITIONS) - len(each) for each in own),
            "cells_without_errors": len(own) * len(robust),
            "passed_without_errors": sum(len(robust) - count for count in failed),
            "clean_without_errors": sum(count == 0 for count in failed),
        }
    result = {
        "command": " ".join(["python", "benchmarks/reliability.py", *sys.argv[1:]]),
        "commit": source_commit(),
        "python": platform.python_version(),
        "versions": _versions(),
        "seconds": round(time.perf_counter() - started, 1),
        "conditions": [condition.name for condition in CONDITIONS],
        "descriptions": {condition.name: condition.description for condition in CONDITIONS},
        "totals": totals,
        "not_run": not_run,
        "rows": rows,
    }
    text = report(result)
    print(text)
    atomic_write_json(arguments.output.with_suffix(".json"), result)
    atomic_write_text(arguments.output.with_suffix(".md"), text)


if __name__ == "__main__":
    main()
