"""The paper's Table 2 and beyond, by the protocol in experiments/table2/PROTOCOL.md.

  python -m experiments.table2 --tox21 CSV --tsv TSV --chromophores CSV  all sets and rows
  python -m experiments.table2 --output FOLDER --report                  table of what is there
  python -m experiments.table2 --output FOLDER --merge FOLDER ...        several folders as one

Configurations are searched first, on validation scores of seeds of their own, then one seed after
the other is trained. Every score is written at once: stop at any point, and run the same command
again to go on. On several machines, run --search-only in one place, copy the folder, and let each
train other --seeds; --merge puts them together. One set again, to the bit, without the search:

  python -m experiments.table2 --datasets tox21 --tox21 CSV --choices choices.json --seeds 100
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dgl_gmpool._options import check_choice
from dgl_gmpool.cli.entry import run_script
from experiments.table2.datasets import DATASETS, choose_datasets
from experiments.table2.plan import PHASES, SEEDS, Plan
from experiments.table2.report import write_report
from experiments.table2.results_folder import ResultsFolder
from experiments.table2.rows import ROWS, choose_rows
from experiments.table2.runner import Comparison
from experiments.table2.search import SEARCH_SETS


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    failures: list[str] = []
    if args.merge:
        ResultsFolder(args.output).merge(args.merge)
    elif not args.report:
        plan = Plan(
            datasets=tuple(choose_datasets(args.datasets)),
            search_sets=tuple(choose_datasets(SEARCH_SETS)),
            rows=tuple(choose_rows(args.rows)),
            paths={
                "tox21": args.tox21,
                "bindingdb": args.tsv,
                "chromophores": args.chromophores,
            },
            output=args.output,
            seeds=seed_numbers(args.seeds),
            phases=tuple(args.phases),
            choices=args.choices,
            search_only=args.search_only,
            retry=args.retry,
        )
        failures = Comparison(plan).run()
    if args.merge and not ResultsFolder(args.output).scores:
        print("a search alone: no scores yet, so there is no table")
    elif not args.search_only:
        print(write_report(args.output))
    for line in failures:
        print(f"failed: {line}")
    return 1 if failures else 0


def seed_numbers(text: str) -> tuple[int, ...]:
    """``"100-102"`` or ``"100,107"`` as numbers.

    Examples
    --------
    >>> seed_numbers("100-102,110")
    (100, 101, 102, 110)
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers = range(0)
        if first.isdecimal() and (last.isdecimal() or not dash):
            numbers = range(int(first), int(last or first) + 1)
        if not numbers:
            raise ValueError(f"--seeds {text}: expected numbers such as 100-124 or 100,105")
        found.update(dict.fromkeys(numbers))
    return tuple(found)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sets = [data.name for data in DATASETS]
    parser.add_argument(
        "--datasets", nargs="+", default=sets, metavar="NAME", help=f"of {', '.join(sets)}"
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(row.name for row in ROWS)} (default: all; chemprop only where it is "
        "installed)",
    )
    parser.add_argument(
        "--seeds",
        default=f"{SEEDS[0]}-{SEEDS[-1]}",
        metavar="N-M",
        help="of splits and weights (default: %(default)s)",
    )
    parser.add_argument(
        "--phases", nargs="+", default=list(PHASES), metavar="NAME", help=f"of {', '.join(PHASES)}"
    )
    parser.add_argument("--search-only", action="store_true", help="choose configurations, stop")
    parser.add_argument(
        "--choices", type=Path, metavar="FILE", help="take configurations from a choices.json"
    )
    parser.add_argument("--retry", action="store_true", help="train again what failed")
    parser.add_argument("--report", action="store_true", help="train nothing, write the table")
    parser.add_argument("--merge", nargs="+", type=Path, metavar="FOLDER", help="train nothing")
    files = parser.add_argument_group("files")
    files.add_argument("--tox21", type=Path, metavar="FILE", help="tox21.csv(.gz), else downloaded")
    files.add_argument("--tsv", type=Path, metavar="FILE", help="BindingDB's .tsv, .gz or .zip")
    files.add_argument("--chromophores", type=Path, metavar="FILE", help="the publisher's .csv")
    files.add_argument(
        "--output",
        type=Path,
        default=Path("runs/table2"),
        metavar="FOLDER",
        help="(default: %(default)s); the same command goes on with what is there",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    args = parser.parse_args(arguments)
    for name in args.phases:
        check_choice("phase", name, PHASES)
    return args


if __name__ == "__main__":
    raise SystemExit(run_script(main, resume=""))
