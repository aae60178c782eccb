"""The flags that ``-m experiments.table2`` and ``-m experiments.table2.ablation`` share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from experiments.table2.datasets import DATASETS
from experiments.table2.jobs import Budget


def comparison_parser(description: str | None, *, output: str) -> argparse.ArgumentParser:
    """Data sets, their files, the output folder and the machine.

    Examples
    --------
    >>> args = comparison_parser("A comparison.", output="runs/x").parse_args(["--hidden", "8"])
    >>> args.hidden, str(args.output), paths(args)["tox21"]
    (8, 'runs/x', None)
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [data.name for data in DATASETS]
    parser.add_argument(
        "--datasets", nargs="+", default=names, metavar="NAME", help=f"of {', '.join(names)}"
    )
    parser.add_argument(
        "--hidden",
        type=int,
        default=Budget().hidden_feats,
        metavar="N",
        help=f"width of every network (default: {Budget().hidden_feats}; 200 in the paper)",
    )
    files = parser.add_argument_group("files")
    files.add_argument("--tox21", type=Path, metavar="FILE", help="tox21.csv(.gz), else downloaded")
    files.add_argument("--tsv", type=Path, metavar="FILE", help="BindingDB's .tsv, .gz or .zip")
    files.add_argument("--chromophores", type=Path, metavar="FILE", help="the publisher's .csv")
    files.add_argument(
        "--output",
        type=Path,
        default=Path(output),
        metavar="FOLDER",
        help=f"(default: {output}); the same command goes on with what is there",
    )
    machine = parser.add_argument_group("machine")
    machine.add_argument(
        "--processes",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="folds trained at a time (default: one per core)",
    )
    machine.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def paths(args: argparse.Namespace) -> dict[str, Path | None]:
    """File of each source, as ``Plan`` wants them."""
    return {"tox21": args.tox21, "bindingdb": args.tsv, "chromophores": args.chromophores}
