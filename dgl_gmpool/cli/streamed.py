"""A table in, chunk by chunk through the models, and an output that holds every row."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import dgl_gmpool
from dgl_gmpool._io import check_output, is_stdout
from dgl_gmpool._options import whole_number
from dgl_gmpool.cli.molecule_rows import MoleculeRow, MoleculeRows
from dgl_gmpool.cli.output_table import check_table_name
from dgl_gmpool.cli.partial_output import PartialOutput
from dgl_gmpool.cli.row_progress import RowProgress
from dgl_gmpool.data.featurize import worker_count
from dgl_gmpool.data.hashes import file_hash
from dgl_gmpool.data.parsed_rows import ParsedRows, parse_rows
from dgl_gmpool.training.distributed import current_world
from dgl_gmpool.training.model_file import TrainedModel, load_models
from dgl_gmpool.training.run_folder import run_of

A = TypeVar("A")
B = TypeVar("B")

#: Rows in memory at a time, in each process.
CHUNK = 2000
#: Row numbers that are listed for a note, and different notes.
_LISTED, _NOTES = 10, 50


@dataclass
class Totals:
    """Counts of rows, to be added up over the parts.

    Attributes
    ----------
    rows, failed : int
        All, and those without a result.
    notes : dict of str to list
        Note -> how many rows have it, and the numbers of the first ones.
    """

    rows: int = 0
    failed: int = 0
    notes: dict[str, tuple[int, list[int]]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, rows: Sequence[MoleculeRow], reasons: Sequence[str], notes: Sequence[str]
    ) -> Totals:
        """Of the rows of one part."""
        found = cls(len(rows), sum(map(bool, reasons)))
        for row, note in zip(rows, notes):
            if note:
                count, numbers = found.notes.get(note, (0, []))
                found.notes[note] = (count + 1, [*numbers, row.row.number][:_LISTED])
        return found

    def add(self, other: Totals) -> None:
        self.rows += other.rows
        self.failed += other.failed
        for note, (count, numbers) in other.notes.items():
            if note not in self.notes and len(self.notes) >= _NOTES:
                note = "other notes (see the column 'note')"
            before, first = self.notes.get(note, (0, []))
            self.notes[note] = (before + count, [*first, *numbers][:_LISTED])

    def lines(self, done: str) -> list[str]:
        """A line for each note; ``done`` says what became of the rows."""
        found = []
        for note, (count, numbers) in self.notes.items():
            listed = ", ".join(map(str, numbers)) + (", ..." if count > len(numbers) else "")
            found.append(f"note: {count} of the rows {done} ({listed}): {note}")
        return found


@dataclass(frozen=True)
class Job:
    """What a command does with a table.

    Attributes
    ----------
    name : str
        Of the command.
    head : bytes
        What stands before the first row.
    featurizer : str
        Of the models; molecules are read for it, in other processes if they are many.
    finish : callable
        From a chunk's rows and their molecules to ``(bytes, totals)``.
    options : sequence of str
        Flags that decide the output, besides the table and the models, for ``--resume``.
    """

    name: str
    head: bytes
    featurizer: str
    finish: Callable[[Sequence[MoleculeRow], ParsedRows], tuple[bytes, Totals]]
    options: Sequence[str]


def begin_stream(
    args: argparse.Namespace, *, arrays: bool = False
) -> tuple[list[TrainedModel], Callable[[str], None]]:
    """The models, and what tells the user something, once nothing stands against the output, a
    table or, where a command writes ``arrays``, one of these.

    Raises
    ------
    ValueError
        The output is there or cannot be written, several processes cannot read the table, or there
        are no models.
    """
    check_table_name(args.output, arrays=arrays)
    current_world().on_main(partial(check_output, args.output, overwrite=args.overwrite))
    _check_several(args.csv)
    # Where the output itself goes to standard output, words go to standard error.
    say = partial(print, file=sys.stderr if is_stdout(args.output) else sys.stdout)
    return load_models(args.model), say


def run_streamed(job: Job, rows: MoleculeRows, args: argparse.Namespace) -> Totals:
    """Every row through the job, in order, into one output.

    Under ``torchrun`` each process takes a chunk in turn, and process 0 writes them. Every process
    of these may have ``--processes`` more that read molecules ahead.

    Parameters
    ----------
    job : Job
    rows : MoleculeRows
    args : argparse.Namespace
        With the flags of :func:`add_stream_flags`, ``model`` and ``output``.

    Raises
    ------
    ValueError
        As :class:`~dgl_gmpool.cli.partial_output.PartialOutput` has it.
    """
    world, totals, total = current_world(), Totals(), len(rows)
    processes = worker_count(total, job.featurizer, args.processes)
    with ExitStack() as stack:
        files: list[PartialOutput] = []

        def begin() -> dict[str, Any]:
            file = PartialOutput(args.output, _record(job, rows, args), resume=args.resume)
            files.append(stack.enter_context(file))
            if not file.state:
                file.add(job.head, {"rows": 0, "failed": 0, "notes": {}})
            return file.state

        state = world.on_main(begin)
        totals.add(Totals(state["rows"], state["failed"], state["notes"]))
        progress = RowProgress(job.name, total, totals.rows) if world.is_main else None
        chunks = _chunks(islice(rows, totals.rows, None))
        mine = (each for at, each in enumerate(chunks) if at % world.size == world.rank)
        pool = _pool(processes)
        if pool is not None:
            stack.callback(pool.shutdown, kill_workers=True)
        # To be sent to other processes.
        parse = partial(_parse, featurizer=job.featurizer)
        parsed = _in_order(parse, mine, pool, ahead=2 * processes)
        rounds = -(-(total - totals.rows) // (CHUNK * world.size))
        for _ in range(rounds):
            part = next(parsed, None)
            done = None if part is None else job.finish(*part)
            for each in world.gather(done):
                if each is None or not files:
                    continue
                data, counts = each
                totals.add(counts)
                files[0].add(data, vars(totals))
                if progress is not None:
                    progress.add(counts.rows)
        if progress is not None:
            progress.close()
        world.on_main(lambda: files[0].finish())
    return totals


def _chunks(rows: Iterator[MoleculeRow]) -> Iterator[list[MoleculeRow]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _pool(processes: int) -> Any:
    if processes == 1:
        return None
    # loky starts clean processes: forking one that has run OpenMP (torch, DGL) can hang.
    from joblib.externals.loky import ProcessPoolExecutor

    return ProcessPoolExecutor(max_workers=processes)


def _in_order(
    call: Callable[[A], B], items: Iterable[A], pool: Any, *, ahead: int
) -> Iterator[tuple[A, B]]:
    """``(item, call(item))`` in order; a pool is never more than ``ahead`` items ahead."""
    if pool is None:
        yield from ((item, call(item)) for item in items)
        return
    waiting: deque[tuple[A, Any]] = deque()
    for item in items:
        waiting.append((item, pool.submit(call, item)))
        if len(waiting) > ahead:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


def add_stream_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of every command that streams a table."""
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output file")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where this command was stopped: rows that are written are kept (with the same "
        "table, model and flags)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="end with exit code 1 if any row has no result; the output is written all the same",
    )
    parser.add_argument(
        "--processes",
        type=whole_number,
        metavar="N",
        help="processes that read and featurise molecules (default: chosen by their number)",
    )
    parser.add_argument(
        "--batch-size", type=whole_number, default=80, metavar="N", help="default: 80"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def _parse(rows: Sequence[MoleculeRow], *, featurizer: str) -> ParsedRows:
    return parse_rows([row.smiles for row in rows], featurizer)


def _check_several(path: str) -> None:
    """Refuse under ``torchrun`` what only one process can read.

    Raises
    ------
    ValueError
        The input is standard input or a pipe.
    """
    if current_world().size > 1 and not Path(path).is_file():
        raise ValueError(
            f"--csv {path}: several processes cannot read it; write the table to a file, or start "
            "the command without torchrun"
        )


def _record(job: Job, rows: MoleculeRows, args: argparse.Namespace) -> dict[str, Any]:
    """What decides an output: the command, the table's content, the models' and the options."""
    models = args.model.rglob("model.pt") if args.model.is_dir() else [args.model]
    # Sorted apart: a path of the run is absolute, and the order must not hang on how one is given.
    files = [*sorted(models), *run_of(args.model)[0].glob("uncertainty.json")]
    return {
        "command": job.name,
        "table": file_hash([rows.text.file]),
        "model": file_hash(files),
        "version": dgl_gmpool.__version__,
        **{f"--{key.replace('_', '-')}": getattr(args, key) for key in job.options},
    }
