"""Which line of a separated text is its header, and what separates its cells."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

DELIMITERS = (",", ";", "\t", "|")
#: Above the header may be this many rows of titles or comments.
MOST_ABOVE = 20


class Header(NamedTuple):
    """Where a text's header is: its separator, and the rows and lines above it."""

    delimiter: str
    rows_above: int
    lines_above: int


def find_header(lines: Sequence[str], delimiters: Sequence[str], columns: Sequence[str]) -> Header:
    """The header, from the first lines of a text.

    The first row that holds all ``columns``; the rows above it must have fewer cells, or be
    comments. Where there is none, the first row, with the separator that gives the most of these
    columns, or the most cells.
    """
    columns = list(map(same_letters, columns))
    # A quote in a title may take in what follows: then line by line.
    for read in (_rows, _rows_of_a_line) if columns else ():
        rows = {delimiter: list(read(lines, delimiter)) for delimiter in delimiters}
        found = [
            Header(delimiter, above, line)
            for delimiter in delimiters
            for above, (line, cells) in enumerate(rows[delimiter])
            if set(columns) <= set(cells)
            and all(_is_title(each, len(cells)) for _, each in rows[delimiter][:above])
        ]
        if found:
            return min(found, key=lambda header: header.lines_above)
    if columns and lines:

        def fit(delimiter: str) -> tuple[int, int]:
            _, cells = next(_rows(lines, delimiter))
            return len(set(columns) & set(cells)), len(cells)

        return Header(max(delimiters, key=fit), 0, 0)
    return Header(delimiters[0], 0, 0)


def _is_title(cells: Sequence[str], width: int) -> bool:
    return "".join(cells[:1]).startswith("#") or sum(map(bool, cells)) < width


def _rows(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The line that each row starts in, and its cells; in quotes a cell takes several lines."""
    if delimiter == "\t":
        for number, line in enumerate(lines):
            cells = line.rstrip("\r\n").split("\t")
            yield number, [same_letters(unquoted(cell).strip()) for cell in cells]
        return
    reader, start = csv.reader(lines, delimiter=delimiter), 0
    for cells in reader:
        yield start, [same_letters(cell.strip()) for cell in cells]
        start = reader.line_num


def _rows_of_a_line(lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The same where no cell takes several lines."""
    for number, line in enumerate(lines):
        yield number, next(_rows([line], delimiter))[1]


def same_letters(name: str) -> str:
    """A name of a column with each letter written in the one way of Unicode's NFC."""
    return unicodedata.normalize("NFC", name)


def unquoted(cell: str) -> str:
    """R writes all texts of tab-separated tables in quotes, Excel those with commas."""
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell
