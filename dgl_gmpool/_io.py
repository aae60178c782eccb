"""Atomic writes: a reader sees the old file or the whole new one, never a torn one."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import secrets
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from dgl_gmpool._options import as_typed

#: What the system says when there is no room: the disk, a quota, a limit on the size of files.
NO_SPACE = frozenset(
    {errno.ENOSPC, errno.EFBIG} | ({errno.EDQUOT} if hasattr(errno, "EDQUOT") else set())
)


def atomic_write(path: str | os.PathLike[str], write: Callable[[BinaryIO], Any]) -> None:
    """Call ``write(file)`` on a temporary neighbour of ``path``, then move it into place.

    A link is written through: the file that it leads to is replaced. What is no plain file (a
    device, a pipe, standard output as ``/dev/stdout``) is written to.

    Raises
    ------
    OSError
        With the path, and what to do about it where the system says too little.
    """
    with write_explained(Path(path)):
        if is_stdout(path):
            if sys.stdout is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            sys.stdout.flush()
            write(sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        if is_special(path):
            with open(path, "wb") as file:
                write(file)
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def check_output(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Find out before any work whether a file can be written, as far as that can be known.

    Raises
    ------
    ValueError
        It exists and ``overwrite`` is false, or it is a folder.
    OSError
        Its folder cannot be made or written to.
    """
    path = Path(path)
    if is_stdout(path) or is_special(path):
        return
    if path.is_dir():
        better = as_typed(path / "out.csv")
        raise ValueError(f"{path} is a folder; give the path of a file, such as {better}")
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists; add --overwrite or name another --output")
    target = Path(os.path.realpath(path))
    probe = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    with write_explained(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(probe, "xb"):
            pass
        probe.unlink()


def check_writable(folder: Path) -> None:
    """Find out before any work whether files can be made in a folder, or where it is to be.

    Raises
    ------
    ValueError
        They cannot.
    """
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f"{there} is a file; name another folder (--output)")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ValueError(
            f"nothing can be written in {there} ({why}); name another folder (--output)"
        ) from error


def lock(file: IO[Any], path: Path) -> None:
    """Hold an open file; the system lets go of it when the process ends, however it ends.

    Raises
    ------
    ValueError
        Another process holds it: it is writing ``path``.
    """
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(
            f"another process is writing {path}; wait for it, or name another output (--output)"
        ) from error
    except OSError:
        pass  # a file system without locks: go on as without this guard


def is_stdout(path: str | os.PathLike[str]) -> bool:
    """Whether a path means this process's standard output: ``-``, ``/dev/stdout`` and the like."""
    if str(path) == "-":
        return True
    try:
        return os.path.samestat(os.stat(path), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError, AttributeError):  # no such file; no stdout, or one without a file
        return False


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether a path is there and no plain file or folder: a device, a pipe."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextmanager
def write_explained(path: Path) -> Iterator[None]:
    """Say of an OSError what could not be written, and what to do about it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in NO_SPACE:
            said = f"no space left to write {path} ({why}); free some, or write elsewhere"
        elif isinstance(error, (FileExistsError, NotADirectoryError)):
            said = f"{path} cannot be written: {path.parent} is not a folder, nor can it be one; "
            said += "write elsewhere"
        else:
            said = f"{path} cannot be written ({why}); write to a place where you may"
        raise _WriteError(error.errno, said) from error


class _WriteError(OSError):
    """An OSError that is its message."""

    def __str__(self) -> str:
        return str(self.strerror)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write ``text`` as UTF-8."""
    atomic_write(path, lambda file: file.write(text.encode("utf-8")))


def csv_text(rows: Iterable[Sequence[Any]], *, delimiter: str = ",") -> str:
    """Rows as separated text, with quotes where a cell needs them.

    Examples
    --------
    >>> csv_text([["id", "note"], [1, "a, b"]])
    'id,note\\n1,"a, b"\\n'
    """
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue()


def atomic_write_csv(path: str | os.PathLike[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows, the header first, as UTF-8."""
    atomic_write_text(path, csv_text(rows))


def atomic_write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinities are refused, as JSON has none."""
    atomic_write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def without_nan(value: Any) -> Any:
    """A copy for JSON: NaN becomes None, tuples become lists.

    Examples
    --------
    >>> without_nan({"score": float("nan"), "range": (1, 2.5)})
    {'score': None, 'range': [1, 2.5]}
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and value != value:
        return None
    return value


def atomic_torch_save(path: str | os.PathLike[str], value: Any) -> None:
    """``torch.save`` into place; keep ``value`` to tensors and plain containers so that
    ``torch.load(weights_only=True)`` reads it back."""
    import torch

    # Through memory: torch turns an OSError of the file (a full disk) into a RuntimeError of its
    # own, which says nothing of it.
    buffer = io.BytesIO()
    torch.save(value, buffer)
    atomic_write(path, lambda file: file.write(buffer.getbuffer()))
