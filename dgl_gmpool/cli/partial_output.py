"""An output that grows part by part, appears as a whole, and goes on after a kill."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from dgl_gmpool._io import atomic_write_json, is_special, is_stdout, lock, write_explained


class PartialOutput:
    """Parts go to a neighbour of the output, ``.NAME.partial``, which in the end takes its name.

    Beside it, ``.NAME.partial.json`` says how much of it is whole and what it was made from.
    Standard output, pipes and devices are written to as they are: they cannot go on.

    Parameters
    ----------
    path : Path
        The output; with a name that ends in ``.gz``, it is compressed.
    record : mapping
        What decides the output's content, plain values.
    resume : bool
        Go on with what an earlier command of the same record left, if there is something.

    Attributes
    ----------
    state : dict
        What was given to the last :meth:`add`, also of the earlier command; empty at the start.

    Raises
    ------
    ValueError
        What there is has another record or is damaged, cannot go on, or another process writes it.
    """

    def __init__(self, path: Path, record: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self.direct = is_stdout(path) or is_special(path)
        if self.direct and resume:
            raise ValueError(f"--resume: what went to {path} cannot go on; give --output a file")
        self._packed = path.name.endswith(".gz") and not self.direct
        target = Path(os.path.realpath(path))
        self._partial = target.with_name(f".{target.name}.partial")
        self._about = target.with_name(f".{target.name}.partial.json")
        self._target = target
        # A round trip through JSON makes tuples lists, as they are in the stored file.
        self._record = json.loads(json.dumps(record))
        self.state: dict[str, Any] = {}
        self._bytes = 0
        if resume and self._about.exists():
            self._take_up()

    def _take_up(self) -> None:
        again = "leave out --resume to start over"
        try:
            saved = json.loads(self._about.read_text(encoding="utf-8"))
            before, size, state = saved["record"], int(saved["bytes"]), saved["state"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"--resume: {self._about} is damaged; {again}") from error
        keys = dict.fromkeys([*self._record, *before])
        differ = [key for key in keys if self._record.get(key) != before.get(key)]
        if differ:
            raise ValueError(
                f"--resume: the unfinished {self.path} was made with another {', '.join(differ)}; "
                f"give the command that began it, or {again}"
            )
        if not self._partial.exists() or self._partial.stat().st_size < size:
            raise ValueError(f"--resume: {self._partial} is shorter than it was; {again}")
        self.state, self._bytes = state, size

    def __enter__(self) -> PartialOutput:
        if self.direct:
            if is_stdout(self.path):
                sys.stdout.flush()
                self._file: BinaryIO = sys.stdout.buffer
            else:
                self._file = open(self.path, "wb")
            return self
        with write_explained(self.path):
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._partial, "ab")
            try:
                lock(self._file, self.path)
                self._check_ours()
            except ValueError:
                self._file.close()
                raise
            self._file.truncate(self._bytes)
            if not self._bytes:
                self._about.unlink(missing_ok=True)
        return self

    def _check_ours(self) -> None:
        """Between opening and locking, another process may have finished: what is open is then its
        output, or a new file without what was to be gone on from."""
        opened = os.fstat(self._file.fileno())
        try:
            same = os.path.samestat(opened, os.stat(self._partial))
        except FileNotFoundError:
            same = False
        if not same or opened.st_size < self._bytes:
            raise ValueError(
                f"another process has just written {self.path}; look at it, or give --overwrite"
            )

    def add(self, data: bytes, state: Mapping[str, Any]) -> None:
        """The next part, and all that is needed to go on behind it, plain values."""
        self.state = dict(state)
        with write_explained(self.path):
            # Packed parts one behind the other are one packed file.
            self._file.write(gzip.compress(data, mtime=0) if self._packed and data else data)
            self._file.flush()
            if self.direct:
                return
            os.fsync(self._file.fileno())
            self._bytes = self._file.tell()
            saved = {"record": self._record, "bytes": self._bytes, "state": self.state}
            atomic_write_json(self._about, saved)

    def finish(self) -> None:
        """All parts are there: the output takes its name."""
        if self.direct:
            return
        with write_explained(self.path):
            os.replace(self._partial, self._target)
            self._about.unlink(missing_ok=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not (self.direct and is_stdout(self.path)):
            self._file.close()
