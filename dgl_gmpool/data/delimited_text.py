"""Separated text, plain or gzipped: where its header is, and its rows, of which none vanishes."""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dgl_gmpool._options import closest
from dgl_gmpool.data.molecule import read_molecule

BLANK_ROW = "blank row"
WRONG_LENGTH = "a row of the wrong length"

DELIMITERS = (",", ";", "\t", "|")
#: SMILES first, then a name, between them a space or a tab, and as a rule no header.
SMILES_FILES = (".smi", ".smiles", ".ism", ".can")
#: Above the header may be this many rows of titles or comments.
_MOST_ABOVE = 20
_LINE_END = re.compile(r"\r\n|\n|\r")
#: The first line that tells Excel the separator.
_SEP_LINE = re.compile(r'"?sep=(.)"?(?:\r\n|\n|\r)', re.IGNORECASE)


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
        if error.object[:4] == b"PK\x03\x04":
            raise ValueError(
                f"{path} is not UTF-8 text but a spreadsheet or zip file; save the table as CSV "
                "(UTF-8)"
            ) from error
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} is not UTF-8 text (line {line}, byte {error.start}: {error.reason}); "
            f"save it as UTF-8 (a spreadsheet: as CSV)"
        ) from error
    except csv.Error as error:
        raise ValueError(f"{path} cannot be read as separated text: {error}") from error


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
    header: their columns are called "smiles" and "name". The file is read once, so a pipe can be
    given, or ``-`` for standard input. Blank rows are passed on (``row.blank``), so that the
    caller counts them. A byte-order mark is skipped.

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
        self.path = Path("standard input") if str(path) == "-" else existing_file(path)
        with damage_explained(self.path), _long_fields():
            text = _text(sys.stdin.buffer.read() if str(path) == "-" else self.path.read_bytes())
            name = self.path.name.lower().removesuffix(".gz")
            if name.endswith(SMILES_FILES):
                text = _with_header(text, columns)
            sep = _SEP_LINE.match(text)
            self.above = sep.group() if sep else ""
            text = text[len(self.above) :]
            first = "\t" if name.endswith((".tsv", ".tab", *SMILES_FILES)) else ","
            if delimiter is None and sep:
                delimiter = sep.group(1)
            self._chosen = delimiter is not None
            found = [delimiter] if delimiter else sorted(DELIMITERS, key=lambda d: d != first)
            self.delimiter, self.rows_above, start = _find_header(text, found, columns)
            self.above += text[:start]
            records = self._records(text[start:])
            first_row = next(records, Row(0, [], []))
            self.header = [cell.strip() for cell in first_row.cells]
            self.raw_header = first_row.raw
            if not any(self.header):
                raise ValueError(f"{self.path} has no header in its first row")
            self._rows = list(records)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def line(self, cells: Sequence[str]) -> str:
        """Cells as a line of this kind of text; the raw cells of a row come out as they were."""
        if self.delimiter == "\t":
            return "\t".join(re.sub(r"[\t\r\n]+", " ", cell) for cell in cells) + "\n"
        out = io.StringIO()
        csv.writer(out, delimiter=self.delimiter, lineterminator="\n").writerow(cells)
        return out.getvalue()

    def _records(self, text: str) -> Iterator[Row]:
        first = self.rows_above + 1
        if self.delimiter == "\t":
            lines = _LINE_END.split(text)
            for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, start=first):
                raw = line.split("\t")
                yield Row(number, [_unquoted(cell) for cell in raw] if '"' in line else raw, raw)
            return
        source = _Lines(text)
        width, spaced = 0, False
        for number, cells in enumerate(csv.reader(source, delimiter=self.delimiter), start=first):
            if source.ended:
                raise self._open_quote(number, "is not closed before the end of the file")
            if len(source.taken) > 1:
                self._check_lines(number, source.taken, cells, width or len(cells), spaced)
            if number == first:
                width, spaced = len(cells), _spaced(cells)
            yield Row(number, cells, cells)
            source.taken.clear()

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
        read = f" It was read as separated by {self.delimiter!r}." if self._chosen else ""
        raise ValueError(
            f"{said}.{hint}{read} Columns: {', '.join(column for column in self.header if column)}."
        )

    def wrong_length(self, row: Row) -> str:
        """Why a row does not fit the header, or ``""``: its cells could be in wrong columns."""
        if len(row.cells) == len(self.header):
            return ""
        return f"{len(row.cells)} cells where the header has {len(self.header)}"


class _Lines:
    """Lines for ``csv.reader`` that remembers which ones a record took, and whether it met the end
    within one: then a quote is open."""

    def __init__(self, text: str) -> None:
        self._lines = iter(io.StringIO(text, newline=""))
        self.taken: list[str] = []
        self.ended = False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        self.taken.append(line)
        return line


def _text(data: bytes) -> str:
    # By content, not by name: browsers unpack a .gz on the way and keep its name.
    return (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")


@contextmanager
def _long_fields() -> Iterator[None]:
    """Let csv read cells of any length; its limit is one for the whole process."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _find_header(
    text: str, delimiters: Sequence[str], columns: Sequence[str]
) -> tuple[str, int, int]:
    """``(delimiter, rows above the header, where it starts)``.

    The first row that holds all ``columns``; the rows above it must have fewer cells, or be
    comments. Where there is none, the first row, with the separator that gives the most of these
    columns, or the most cells.
    """
    lines = [line for line, _ in zip(io.StringIO(text, newline=""), range(_MOST_ABOVE + 1))]
    for above, line in enumerate(lines if columns else ()):
        for delimiter in delimiters:
            cells = _cells(line, delimiter)
            if set(columns) <= set(cells) and all(
                title.startswith("#") or sum(map(bool, _cells(title, delimiter))) < len(cells)
                for title in lines[:above]
            ):
                return delimiter, above, sum(map(len, lines[:above]))
    if columns and lines:

        def fit(delimiter: str) -> tuple[int, int]:
            cells = _cells(lines[0], delimiter)
            return len(set(columns) & set(cells)), len(cells)

        return max(delimiters, key=fit), 0, 0
    return delimiters[0], 0, 0


def _cells(line: str, delimiter: str) -> list[str]:
    line = line.rstrip("\r\n")
    if delimiter == "\t":
        return [_unquoted(cell).strip() for cell in line.split("\t")]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _unquoted(cell: str) -> str:
    """R writes all texts of tab-separated tables in quotes, Excel those with commas."""
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell


def _spaced(cells: Sequence[str]) -> bool:
    return any(cell.startswith(" ") for cell in cells[1:])


def _is_surely_smiles(cell: str) -> bool:
    """Too long and too odd for a name such as "CO" or "Cn"."""
    return len(cell) > 5 and read_molecule(cell)[0] is not None


def _with_header(text: str, columns: Sequence[str]) -> str:
    """A SMILES file as tab-separated text with a header; one that has a header keeps it."""
    lines = _LINE_END.split(text)
    tabs = "\t" in text
    if lines[-1] == "":
        del lines[-1]
    rows = [line.split("\t") if tabs else _smiles_and_name(line) for line in lines]
    names = [cell.strip().lower() for cell in rows[0]] if rows else []
    if names and not {"smiles", *(column.lower() for column in columns)} & set(names):
        width = max(map(len, rows))
        header = ["smiles", "name", *(f"column {i}" for i in range(3, width + 1))]
        rows = [header[: max(width, 2)], *rows]
    width = len(rows[0]) if rows else 0
    return "".join("\t".join([*row, *[""] * (width - len(row))]) + "\n" for row in rows)


def _smiles_and_name(line: str) -> list[str]:
    found = re.match(r"\s*(\S+(?:\s+\|[^|]*\|)?)\s*(.*)", line)
    return [found.group(1), found.group(2).strip()] if found else ["", ""]
