"""``dgl-gmpool report``: the page of a finished run, or of all runs of a training, once more."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from dgl_gmpool._options import as_typed
from dgl_gmpool.cli.molecule_rows import one_process
from dgl_gmpool.cli.older_runs import load_uncertainty
from dgl_gmpool.report import write_index, write_report
from dgl_gmpool.training import choose_device
from dgl_gmpool.training.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``dgl-gmpool report``."""
    parser.add_argument(
        "--run",
        "--model",  # as the other commands call it
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder of a finished run, for its report.html; or the --output of a training, for "
        "the pages of all its finished runs and an index.html of them",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool report``."""
    one_process("report")
    choose_device(args.device)
    if not args.run.is_dir():
        raise ValueError(f"--run {args.run}: there is no such folder; give that of a run")
    if RunFolder(args.run).config.exists():
        if RunFolder(args.run).finished:
            load_uncertainty(args.run, print)
        _write(args.run, args.device)
        return 0
    runs = [folder for folder in sorted(args.run.iterdir()) if RunFolder(folder).config.exists()]
    if not runs:
        raise ValueError(
            f"--run {args.run} holds no run (no config.json, nor folders with one); give the "
            "folder of a run, or the --output of a training"
        )
    finished = [folder for folder in runs if RunFolder(folder).finished]
    for folder in finished:
        load_uncertainty(folder, print)
        _write(folder, args.device)
    for folder in runs:
        if folder not in finished:
            print(f"{folder}: not finished, so without a page; --resume of its training goes on")
    if (args.run / "table.json").exists():
        print(write_index(args.run))
    return 0


def _write(folder: Path, device: str) -> None:
    path, missing = write_report(folder, device=device)
    print(path)
    for each in missing:
        print(f"  without {each}")


def _or_note(write: Callable[[], None], folder: Path) -> None:
    try:
        write()
    except Exception as error:
        # The training is paid for, and its files are whole.
        print(
            f"note: no page for {folder} ({type(error).__name__}: {error}); try: dgl-gmpool report "
            f"{as_typed('--run', folder)} --debug"
        )


def page_after_training(folder: Path, *, device: str = "auto") -> None:
    """Write the page of a run that has just been trained, if it has none; never fail for it."""
    if not RunFolder(folder).report.exists():
        _or_note(lambda: _write(folder, device), folder)


def index_after_training(folder: Path) -> None:
    """Write the index of a training's folder; never fail for it."""
    _or_note(lambda: print(f"to look at: {write_index(folder)}"), folder)
