"""Planted groups: does the method find them, and do they pay?

  python -m experiments.planted --output runs/planted                     everything, three seeds
  python -m experiments.planted --output runs/planted --part paying       one part
  python -m experiments.planted --output runs/planted --tox21 tox21.csv.gz

counting   graphs whose number of groups is known: K, pair AUC, names, before and after training
paying     targets that hang on what stands together in one group: R2 against a readout without
molecules  M against BRICS fragments and ring systems, trained on the molecules' own target: RDKit's
           sodium-channel set, and the tables that --tox21 and --chromophores name

Every training is a row of rows.jsonl, written as it ends: stop at any point, and run the same
command again to go on, or with more --seeds to add some. Writes rows.jsonl, table.md, table.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dgl_gmpool._io import atomic_write_json, atomic_write_text
from dgl_gmpool._options import check_choice, positive_int
from dgl_gmpool.cli.entry import run_script
from experiments.planted import counting, molecules, paying
from experiments.planted.report import SHOWN, build_report
from experiments.planted.rows import Rows


def main(arguments: list[str]) -> int:
    args = parse(arguments)
    seeds = positive_int("--seeds", args.seeds)
    files = {"tox21": args.tox21, "chromophores": args.chromophores}
    for method in args.method or ():
        check_choice("method", method, list(dict.fromkeys([*counting.METHODS, *paying.METHODS])))
    rows = Rows(args.output / "rows.jsonl")
    jobs = {
        "counting": counting.jobs(seeds, args.quick),
        "paying": paying.jobs(seeds, args.quick),
        "molecules": molecules.jobs(seeds, args.quick, files),
    }
    train = {
        "counting": counting.run,
        "paying": paying.run,
        "molecules": lambda job: molecules.run(job, files),
    }
    worker, workers = args.worker
    wanted = {
        part: [job for job in jobs[part] if not args.method or job.get("method") in args.method][
            worker::workers
        ]
        for part in jobs
        if part in args.part
    }
    for part, chosen in wanted.items():
        if not args.report:
            rows.run(chosen, train[part])
    # What earlier calls trained of other parts stays in the table.
    text, record = build_report([r for r in rows.rows.values() if r["job"]["quick"] == args.quick])
    atomic_write_text(args.output / "table.md", text)
    atomic_write_json(args.output / "table.json", record)
    print(f"Table: {args.output / 'table.md'}")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.planted",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--part", nargs="+", choices=list(SHOWN), default=list(SHOWN), help="(default: all)"
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="(default: 3)")
    parser.add_argument("--method", nargs="+", metavar="NAME", help="these rows only")
    parser.add_argument(
        "--worker",
        nargs=2,
        type=int,
        default=(0, 1),
        metavar=("I", "N"),
        help="every N-th training from the I-th on, so that several processes share them, each "
        "with a folder of its own; their rows.jsonl can be put one behind the other",
    )
    parser.add_argument(
        "--report", action="store_true", help="train nothing, write the table of what is there"
    )
    parser.add_argument("--tox21", type=Path, metavar="CSV", help="MoleculeNet's tox21.csv.gz")
    parser.add_argument(
        "--chromophores", type=Path, metavar="CSV", help='the "DB for chromophore" table'
    )
    parser.add_argument(
        "--quick", action="store_true", help="few small graphs, to see that everything runs"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(run_script(main, program="python -m experiments.planted", resume=""))
