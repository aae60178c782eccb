"""Which line of a separated text is its header, and what separates its cells."""

from __future__ import annotations

import csv
from collections.abc import Sequence

DELIMITERS = (",", ";", "\t", "|")
#: Above the header may be this many rows of titles or comments.
MOST_ABOVE = 20


def find_header(
    lines: Sequence[str], delimiters: Sequence[str], columns: Sequence[str]
) -> tuple[str, int]:
    """``(delimiter, rows above the header)``, from the first lines of a text.

    The first row that holds all ``columns``; the rows above it must have fewer cells, or be
    comments. Where there is none, the first row, with the separator that gives the most of these
    columns, or the most cells.
    """
    for above, line in enumerate(lines if columns else ()):
        for delimiter in delimiters:
            cells = _cells(line, delimiter)
            if set(columns) <= set(cells) and all(
                title.startswith("#") or sum(map(bool, _cells(title, delimiter))) < len(cells)
                for title in lines[:above]
            ):
                return delimiter, above
    if columns and lines:

        def fit(delimiter: str) -> tuple[int, int]:
            cells = _cells(lines[0], delimiter)
            return len(set(columns) & set(cells)), len(cells)

        return max(delimiters, key=fit), 0
    return delimiters[0], 0


def _cells(line: str, delimiter: str) -> list[str]:
    line = line.rstrip("\r\n")
    if delimiter == "\t":
        return [unquoted(cell).strip() for cell in line.split("\t")]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def unquoted(cell: str) -> str:
    """R writes all texts of tab-separated tables in quotes, Excel those with commas."""
    if len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell
