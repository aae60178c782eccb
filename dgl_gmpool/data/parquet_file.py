"""Parquet tables as text."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

PARQUET_FILES = (".parquet", ".pq")
#: Rows in memory at a time.
_ROWS = 10_000


def parquet_as_csv(path: Path) -> Iterator[str]:
    """Header and rows of a Parquet file, as lines of a CSV; missing values are blank.

    Raises
    ------
    ValueError
        pyarrow, which reads the format, is not installed, or refuses the file.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ValueError(
            f"{path} is a Parquet table, which pyarrow reads, and pyarrow is not installed: pip "
            "install pyarrow, or save the table as CSV"
        ) from error
    try:
        table = ParquetFile(path)
        yield _line(table.schema_arrow.names)
        for batch in table.iter_batches(batch_size=_ROWS):
            for cells in zip(*(column.to_pylist() for column in batch.columns)):
                yield _line(["" if cell is None else cell for cell in cells])
    except (ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as a Parquet table: {error}") from error


def _line(cells: list[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(
        [re.sub(r"[\r\n]+", " ", cell) if isinstance(cell, str) else cell for cell in cells]
    )
    return out.getvalue()
