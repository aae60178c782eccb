"""SMILES files (``.smi``): a SMILES, then a name, and as a rule no header; as a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

#: SMILES first, then a name, between them a space or a tab.
SMILES_FILES = (".smi", ".smiles", ".ism", ".can")


def tab_separated(
    lines: Iterable[str], again: Iterable[str], columns: Sequence[str]
) -> Iterator[str]:
    """The lines of a SMILES file as lines of a tab-separated table with a header.

    One that has a header, known by "smiles" or a name among ``columns``, keeps it.

    Parameters
    ----------
    lines, again : iterable of str
        The file's lines, twice: how wide the table is, is known at its end.
    columns : sequence of str
    """
    first, tabs, widest = "", False, {True: 2, False: 2}
    for number, line in enumerate(lines):
        first = first if number else line
        tabs = tabs or "\t" in line
        for how, width in widest.items():
            widest[how] = max(width, len(_cells(line, how)))
    header = [cell.strip().lower() for cell in _cells(first, tabs)]
    width = widest[tabs]
    if {"smiles", *(column.lower() for column in columns)} & set(header):
        width = len(header)
    elif first:
        yield "\t".join(["smiles", "name", *(f"column {i}" for i in range(3, width + 1))]) + "\n"
    for line in again:
        cells = _cells(line, tabs)
        yield "\t".join([*cells, *[""] * (width - len(cells))]) + "\n"


def _cells(line: str, tabs: bool) -> list[str]:
    line = line.rstrip("\r\n")
    if tabs:
        return line.split("\t")
    found = re.match(r"\s*(\S+(?:\s+\|[^|]*\|)?)\s*(.*)", line)
    return [found.group(1), found.group(2).strip()] if found else ["", ""]
