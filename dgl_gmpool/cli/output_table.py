"""A table that a command writes: what its name says of it, and its lines."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from dgl_gmpool._options import as_typed
from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.data.table_formats import PARQUET_FILES, SDF_FILES, SMILES_FILES
from dgl_gmpool.data.text_header import unquoted

#: A command that reads such a file takes it for something else than a table of text.
_OTHER_FILES = (*SMILES_FILES, *SDF_FILES, *PARQUET_FILES, ".xlsx", ".xls", ".json")
_ARRAYS = (".npy", ".npz")


def is_array_name(path: Path) -> bool:
    """Whether a name promises one array of NumPy."""
    return path.name.lower().endswith(".npy")


def check_table_name(path: Path, *, arrays: bool = False) -> None:
    """Raise a ValueError for a name that promises another kind of file than a table of text, or
    than one array where a command writes ``arrays``."""
    if arrays and is_array_name(path):
        return
    packed = path.suffix if path.suffix.lower() == ".gz" else ""
    plain = path.with_suffix("") if packed else path
    numpys = plain.name.lower().endswith(_ARRAYS)
    if numpys or plain.name.lower().endswith(_OTHER_FILES):
        better = as_typed(plain.with_suffix(f".csv{packed}"))
        if numpys and arrays:
            better += f", or {as_typed(plain.with_suffix('.npy'))} for an array"
        raise ValueError(
            f"--output {path}: the output is a table of text; give a name such as {better}"
        )


def output_separator(path: Path, otherwise: str) -> str:
    """What separates the columns of an output: by its name, else ``otherwise``.

    >>> output_separator(Path("out.tsv.gz"), ","), output_separator(Path("out.csv"), ";")
    ('\\t', ';')
    """
    name = path.name.lower().removesuffix(".gz")
    return "\t" if name.endswith((".tsv", ".tab")) else otherwise


class OutputLines:
    """Lines of an output that has the rows of a table: as they were with the same separator.

    Parameters
    ----------
    text : DelimitedText
        The input.
    path : Path
        The output.

    Attributes
    ----------
    text, path
        As given.
    separator : str
    """

    def __init__(self, text: DelimitedText, path: Path) -> None:
        self.text, self.path = text, path
        self.separator = output_separator(path, text.delimiter)

    @property
    def above(self) -> str:
        """What stands above the header."""
        if self.separator == self.text.delimiter:
            return self.text.above
        # Without a first line that tells another separator.
        lines = self.text.above.splitlines(keepends=True)
        titles = lines[len(lines) - self.text.rows_above :]
        return "".join(map(_tabbed, csv.reader(titles, delimiter=self.text.delimiter)))

    def line(self, raw: Sequence[str], more: Sequence[str]) -> str:
        """A row of the input with new cells behind the longest row."""
        cells = [*raw, *[""] * (self.text.width - len(raw)), *more]
        same = self.separator == self.text.delimiter
        return self.text.line(cells) if same else _tabbed(cells)


def _tabbed(cells: Sequence[str]) -> str:
    one_line = (re.sub(r"[\t\r\n]+", " ", cell) for cell in cells)
    # A cell in quotes would be read without them.
    kept = (c if unquoted(c) == c else '"' + c.replace('"', '""') + '"' for c in one_line)
    return "\t".join(kept) + "\n"
