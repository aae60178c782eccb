"""Comma- or tab-separated text, plain or gzipped, with errors that name the file and the row."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from dgl_gmpool._options import closest

BLANK_ROW = "blank row"
WRONG_LENGTH = "a row of the wrong length"


def existing_file(path: str | os.PathLike[str]) -> Path:
    """``path`` as a Path, or an error that says what is wrong with it."""
    found = Path(path).expanduser()
    if found.is_dir():
        raise ValueError(f"{found} is a folder; give the path of a file in it")
    if not found.exists():
        raise FileNotFoundError(f"there is no file {found} (looked from {Path.cwd()})")
    return found


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
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start}: {error.reason}); "
            f"save it as UTF-8 (a spreadsheet: as CSV)"
        ) from error
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as separated text: {error}") from error


@dataclass(frozen=True)
class Row:
    """One row: its number as a spreadsheet shows it (the header is row 1), and its cells."""

    number: int
    cells: list[str]

    @property
    def blank(self) -> bool:
        return not any(cell.strip() for cell in self.cells)


class DelimitedText:
    """Header and rows of a .csv, .csv.gz, .tsv or .tsv.gz file.

    Iterating reads the file anew each time, row by row. Blank rows are passed on
    (``row.blank``), so that the caller counts them. A byte-order mark is skipped.
    """

    def __init__(self, path: str | os.PathLike[str], *, delimiter: str | None = None) -> None:
        self.path = existing_file(path)
        name = self.path.name.lower()
        bare = name[: -len(".gz")] if name.endswith(".gz") else name
        # By content, not by name: browsers unpack a .gz on the way and keep its name.
        with open(self.path, "rb") as file:
            self.gzipped = file.read(2) == b"\x1f\x8b"
        self.delimiter = delimiter or ("\t" if bare.endswith((".tsv", ".tab")) else ",")
        with damage_explained(self.path), self._open() as file:
            self.header = [
                name.strip() for name in next(csv.reader(file, delimiter=self.delimiter), [])
            ]
        if not any(self.header):
            raise ValueError(f"{self.path} has no header in its first row")

    def _open(self) -> TextIO:
        if self.gzipped:
            return gzip.open(self.path, "rt", encoding="utf-8-sig", newline="")
        return open(self.path, encoding="utf-8-sig", newline="")

    def __iter__(self) -> Iterator[Row]:
        with damage_explained(self.path), self._open() as file:
            reader = csv.reader(file, delimiter=self.delimiter)
            next(reader)
            for number, cells in enumerate(reader, start=2):
                yield Row(number, cells)

    def column(self, name: str) -> int:
        """The position of a column; unknown and repeated names raise a ValueError."""
        found = [i for i, column in enumerate(self.header) if column == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(
                f"{self.path} has {len(found)} columns named {name!r}; rename all but one"
            )
        only = self.header[0]
        for other, word in ((";", "';'"), ("\t", "a tab"), (",", "a comma")):
            if len(self.header) == 1 and name in (part.strip(' "') for part in only.split(other)):
                raise ValueError(
                    f"{self.path} seems to be separated by {word}, it was read with "
                    f"{self.delimiter!r}; give delimiter={other!r}"
                )
        by_lower = {column.lower(): column for column in self.header if column}
        near = closest(name, by_lower)
        hint = f" Did you mean {by_lower[near]!r}?" if near else ""
        raise ValueError(
            f"{self.path} has no column {name!r}.{hint} "
            f"Columns: {', '.join(column for column in self.header if column)}."
        )

    def wrong_length(self, row: Row) -> str:
        """Why a row does not fit the header, or ``""``: its cells could be in wrong columns."""
        if len(row.cells) == len(self.header):
            return ""
        return f"{len(row.cells)} cells where the header has {len(self.header)}"
