"""A file of text that can be read again and again: plain or gzipped, a pipe, or standard input."""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

#: What files begin with that are no text, and what to do about them.
_FORMATS = {
    b"PK\x03\x04": "a spreadsheet or zip file; save the table as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet (.xls); save the table as CSV (UTF-8)",
    **dict.fromkeys(
        (b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf"),
        "packed by another program than gzip; unpack it, or pack it with gzip",
    ),
    **dict.fromkeys(
        (b"\xff\xfe", b"\xfe\xff"),
        "UTF-16, as Excel's 'Unicode Text'; save it as UTF-8 (in Excel: as 'CSV UTF-8')",
    ),
}


def existing_file(path: str | os.PathLike[str]) -> Path:
    """``path`` as a Path, or an error that says what is wrong with it."""
    found = Path(path).expanduser()
    if found.is_dir():
        raise ValueError(f"{found} is a folder; give the path of a file in it")
    if not found.exists():
        raise FileNotFoundError(f"there is no file {found} (looked from {Path.cwd()})")
    return found


def unpacked(file: BinaryIO) -> BinaryIO:
    """The file itself, or what is in it where it is gzipped."""
    # By content, not by name: browsers unpack a .gz on the way and keep its name.
    gzipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if gzipped else file


class TextSource:
    """Lines of a text, with their ends. What can be read only once is kept in a temporary file.

    Parameters
    ----------
    path : path
        ``-`` is standard input.

    Attributes
    ----------
    path : Path
        For messages.

    Raises
    ------
    ValueError
        It is a folder.
    FileNotFoundError
        There is none.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path("standard input") if str(path) == "-" else existing_file(path)
        self.file = self.path
        if str(path) == "-" or not self.path.is_file():
            self._kept = _temporary()
            if str(path) == "-":
                shutil.copyfileobj(sys.stdin.buffer, self._kept)
            else:
                with open(self.path, "rb") as pipe:
                    shutil.copyfileobj(pipe, self._kept)
            self._kept.flush()
            self.file = Path(self._kept.name)

    def replace(self, lines: Iterable[str]) -> None:
        """Other lines from now on, kept in a temporary file."""
        kept = _temporary()
        kept.writelines(line.encode() for line in lines)
        kept.flush()
        self._kept, self.file = kept, Path(kept.name)

    @contextmanager
    def lines(self) -> Iterator[Iterator[str]]:
        """The lines, from the first one, without a byte-order mark.

        Raises
        ------
        ValueError
            The file is damaged or no UTF-8 text.
        """
        with damage_explained(self.path):
            try:
                with (
                    self._bytes() as data,
                    io.TextIOWrapper(data, encoding="utf-8-sig", newline="") as text,
                ):
                    yield text
            except UnicodeDecodeError as error:
                raise self._not_text(error) from error

    @contextmanager
    def _bytes(self) -> Iterator[BinaryIO]:
        with open(self.file, "rb") as file, unpacked(file) as data:
            yield data

    def _not_text(self, error: UnicodeDecodeError) -> ValueError:
        # The decoder saw a part of the file: where in it the text ends is looked for again.
        offset = 0
        with self._bytes() as data:
            for number, line in enumerate(data, start=1):
                if number == 1:
                    for beginning, what in _FORMATS.items():
                        if line.startswith(beginning):
                            return ValueError(f"{self.path} is not UTF-8 text but {what}")
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as found:
                    return _not_utf8(self.path, number, offset + found.start, found.reason)
                offset += len(line)
        return _not_utf8(self.path, 1, error.start, error.reason)


def _temporary() -> Any:
    """A file that is gone with this object."""
    return tempfile.NamedTemporaryFile(prefix="dgl-gmpool-")


@contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Turn the many errors of a damaged or wrongly encoded file into one ValueError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path} is not a complete gzip file ({error}); it was cut off or changed: "
            f"download or copy it again"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _not_utf8(path, line, error.start, error.reason) from error
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as separated text: {error}") from error


def _not_utf8(path: Path, line: int, byte: int, reason: str) -> ValueError:
    return ValueError(
        f"{path} is not UTF-8 text (line {line}, byte {byte}: {reason}); "
        "save it as UTF-8 (in a spreadsheet: as 'CSV UTF-8')"
    )
