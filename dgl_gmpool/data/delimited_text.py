"""Separated text, plain or gzipped: where its header is, and its rows, of which none vanishes."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dgl_gmpool._io import csv_text
from dgl_gmpool._options import closest
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.report import SelectionTally
from dgl_gmpool.data.table_formats import (
    PARQUET_FILES,
    REFUSED_COLUMN,
    SDF_FILES,
    SMILES_FILES,
    parquet_as_csv,
    sdf_as_csv,
    tab_separated,
)
from dgl_gmpool.data.text_header import DELIMITERS, MOST_ABOVE, find_header, same_letters, unquoted
from dgl_gmpool.data.text_source import TextSource, damage_explained

BLANK_ROW = "blank row"
WRONG_LENGTH = "a row of the wrong length"

_LINE_END = re.compile(r"\r\n|\n|\r")
#: The first line that tells Excel the separator.
_SEP_LINE = re.compile(r'"?sep=(.)"?(?:\r\n|\n|\r)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number as a spreadsheet shows it, and its cells.

    ``raw`` are the cells as they are written, for writing them again: in tab-separated text with
    their quotes.
    """

    number: int
    cells: list[str]
    raw: list[str]

    @property
    def blank(self) -> bool:
        return not any(cell.strip() for cell in self.cells)


class DelimitedText:
    """Header and rows of a table in text, plain or gzipped.

    Commas, semicolons, tabs and bars are recognised by the columns wanted, as are a first line
    ``sep=;`` (Excel), rows of titles above the header, and SMILES files (``.smi``), which have no
    header: their columns are called "smiles" and "name". Files of structures (``.sdf``) and Parquet
    tables are turned into such text first. The rows are read from the file whenever they are asked
    for, and never held; a pipe, or ``-`` for standard input, is kept in a temporary file. Blank
    rows are passed on (``row.blank``), so that the caller counts them. A byte-order mark is
    skipped.

    In tab-separated text a quote means nothing beyond its cell. Elsewhere a quoted cell may hold
    separators and line breaks, but not whole rows.

    Parameters
    ----------
    path : path
    delimiter : str, optional
        By default recognised.
    columns : sequence of str
        Names that the header must hold, to recognise it by.

    Attributes
    ----------
    header, raw_header : list of str
        The columns' names, and the cells as they are written.
    above : str
        What is written above the header, line ends included.
    rows_above : int
        How many rows that is, as a spreadsheet counts them: without ``sep=``.
    width : int
        Cells of the longest row, the header included.

    Raises
    ------
    ValueError
        The file is damaged, no text, without a header, or has a quote that swallows rows.
    FileNotFoundError
        There is none.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        delimiter: str | None = None,
        columns: Sequence[str] = (),
    ) -> None:
        self._source = TextSource(path)
        self.path = self._source.path
        name = self.path.name.lower().removesuffix(".gz")
        self._structures = name.endswith(SDF_FILES)
        if name.endswith(SMILES_FILES):
            with self._source.lines() as lines, self._source.lines() as again:
                self._source.replace(tab_separated(lines, again, columns))
        elif self._structures:
            with self._source.lines() as lines:
                self._source.replace(sdf_as_csv(lines))
            delimiter = ","
        elif name.endswith(PARQUET_FILES):
            self._source.replace(parquet_as_csv(self._source.file))
            delimiter = ","
        with self._source.lines() as lines:
            head = list(islice(lines, MOST_ABOVE + 2))
        sep = _SEP_LINE.fullmatch(head[0]) if head else None
        self._skipped = 1 if sep else 0
        first = "\t" if name.endswith((".tsv", ".tab", *SMILES_FILES)) else ","
        if delimiter is None and sep:
            delimiter = sep.group(1)
        turned = name.endswith((*SDF_FILES, *PARQUET_FILES))
        self._chosen = delimiter is not None and not turned
        found = [delimiter] if delimiter else sorted(DELIMITERS, key=lambda d: d != first)
        with damage_explained(self.path), _long_fields():
            self.delimiter, self.rows_above, lines_above = find_header(
                head[self._skipped : self._skipped + MOST_ABOVE + 1], found, columns
            )
        self._skipped += lines_above
        self.above = "".join(head[: self._skipped])
        self.header: list[str] = []
        self.raw_header: list[str] = []
        # All of it once, so that what cannot be read is known before any work is done.
        self._length, self.width = -1, 0
        for row in self._read():
            if self._length < 0:
                self.header = [cell.strip() for cell in row.cells]
                self.raw_header = row.raw
            self._length += 1
            self.width = max(self.width, len(row.raw))
        if not any(self.header):
            raise ValueError(f"{self.path} has no header in its first row")

    def __iter__(self) -> Iterator[Row]:
        return islice(self._read(), 1, None)

    def __len__(self) -> int:
        return self._length

    @property
    def file(self) -> Path:
        """Where the text is: of a pipe, a temporary file."""
        return self._source.file

    def _read(self) -> Iterator[Row]:
        """The header and all rows."""
        with self._source.lines() as lines:
            records = self._records(islice(lines, self._skipped, None))
            while True:
                with _long_fields():
                    row = next(records, None)
                if row is None:
                    return
                yield row

    def line(self, cells: Sequence[str]) -> str:
        """Cells as a line of this kind of text; the raw cells of a row come out as they were."""
        if self.delimiter == "\t":
            return "\t".join(re.sub(r"[\t\r\n]+", " ", cell) for cell in cells) + "\n"
        return csv_text([cells], delimiter=self.delimiter)

    def _records(self, lines: Iterator[str]) -> Iterator[Row]:
        first = self.rows_above + 1
        if self.delimiter == "\t":
            for number, line in enumerate(lines, start=first):
                raw = line.rstrip("\r\n").split("\t")
                yield Row(number, [unquoted(cell) for cell in raw] if '"' in line else raw, raw)
            return
        taken: list[str] = []
        ended = False

        def noted() -> Iterator[str]:
            """The lines, and which of them a record took; the end may be met within one."""
            nonlocal ended
            for line in lines:
                taken.append(line)
                yield line
            ended = True

        width, spaced = 0, False
        for number, cells in enumerate(csv.reader(noted(), delimiter=self.delimiter), start=first):
            if ended:
                raise self._open_quote(number, "is not closed before the end of the file")
            if len(taken) > 1:
                self._check_lines(number, taken, cells, width or len(cells), spaced)
            if number == first:
                width, spaced = len(cells), _spaced(cells)
            yield Row(number, cells, cells)
            taken.clear()

    def _check_lines(
        self, number: int, lines: list[str], cells: list[str], width: int, spaced: bool
    ) -> None:
        """Refuse a row of several lines if it seems to have swallowed other rows.

        In a text of several lines within column j, a swallowed row is a line with as many
        separators as the header has; or the first line holds the rest of the row from j on, and
        the last line a row's begin up to j. Running text has fewer separators, or blanks behind
        them.
        """
        said = f"takes in {len(lines) - 1} more lines"
        if len(cells) != width:
            raise self._open_quote(number, f"{said}, which makes {len(cells)} cells of {width}")
        for column, cell in enumerate(cells, start=1):
            parts = [line.split(self.delimiter) for line in _LINE_END.split(cell)]
            if len(parts) == 1 or (not spaced and any(map(_spaced, parts))):
                continue
            ends = len(parts[0]) > width - column and len(parts[-1]) >= column
            inside = next((part for part in parts[1:-1] if len(part) >= width), None)
            if inside is not None or ends:
                row = self.delimiter.join(inside or parts[-1])
                said += f", of which {row[:60]!r} looks like a row of its own"
                raise self._open_quote(number, said)
        try:
            list(csv.reader(lines, delimiter=self.delimiter, strict=True))
        except csv.Error:
            raise self._open_quote(number, f"{said} and ends within a cell") from None

    def _open_quote(self, number: int, what: str) -> ValueError:
        return ValueError(
            f'{self.path}, row {number}: a quote (") opens a cell and {what}. Take the quote out '
            f"of row {number}, or write it twice within a quoted cell; in tab-separated text "
            "(.tsv) quotes mean nothing"
        )

    def column(self, name: str) -> int:
        """The position of a column; unknown and repeated names raise a ValueError."""
        found = [i for i, column in enumerate(self.header) if column == name]
        if not found:
            wanted = same_letters(name)
            found = [i for i, column in enumerate(self.header) if same_letters(column) == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(
                f"{self.path} has {len(found)} columns named {name!r}; rename all but one"
            )
        said = f"{self.path} has no column {name!r}"
        data = next((cell for cell in self.header if _is_surely_smiles(cell)), None)
        if data is not None:
            raise ValueError(
                f"{said}: its first row looks like data ({data!r} is a SMILES), not like a "
                f"header. Put a row of column names above it, one of them {name!r}"
            )
        by_lower = {column.lower(): column for column in self.header if column}
        near = closest(name, by_lower)
        hint = f" Did you mean {by_lower[near]!r}?" if near else ""
        if name == "smiles" and not near:
            hint = " Name the column of the molecules with --smiles-column."
        read = f" It was read as separated by {self.delimiter!r}." if self._chosen else ""
        raise ValueError(
            f"{said}.{hint}{read} Columns: {', '.join(column for column in self.header if column)}."
        )

    def refused(self, row: Row) -> str:
        """Why a record of a file of structures has no SMILES, or ``""``."""
        if not self._structures or REFUSED_COLUMN not in self.header or self.wrong_length(row):
            return ""
        return row.cells[self.header.index(REFUSED_COLUMN)].strip()

    def fitting(self, tally: SelectionTally) -> Iterator[Row]:
        """The rows that fit the header; all are counted, and those that do not fit named."""
        for row in self:
            tally.rows += 1
            wrong = self.wrong_length(row)
            if row.blank:
                tally.leave_out(BLANK_ROW)
            elif wrong:
                tally.refuse(f"row {row.number}", "", wrong, reason=WRONG_LENGTH)
            else:
                yield row

    def wrong_length(self, row: Row) -> str:
        """Why a row does not fit the header, or ``""``: its cells could be in wrong columns."""
        if len(row.cells) == len(self.header):
            return ""
        return f"{len(row.cells)} cells where the header has {len(self.header)}"


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let csv read cells of any length; its limit is one for the whole process."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _spaced(cells: Sequence[str]) -> bool:
    return any(cell.startswith(" ") for cell in cells[1:])


def _is_surely_smiles(cell: str) -> bool:
    """Too long and too odd for a name such as "CO" or "Cn"."""
    return len(cell) > 5 and read_molecule(cell)[0] is not None
