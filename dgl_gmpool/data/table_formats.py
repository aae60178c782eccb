"""Tables in other formats as separated text: SMILES files, files of structures (SDF), Parquet."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rdkit import Chem, rdBase

from dgl_gmpool._io import csv_text

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


SDF_FILES = (".sdf", ".sd")
#: Says why a record has no SMILES.
REFUSED_COLUMN = "refused"

_PROPERTY = re.compile(r">.*?<(.*)>")


def sdf_as_csv(lines: Iterable[str]) -> Iterator[str]:
    """Header and rows of an SDF, as lines of a CSV: a row for each record.

    The columns are ``smiles`` (blank where RDKit refuses the structure; ``refused`` then says why),
    ``name`` (the record's title) and one for each property that any record has. A property of one
    of these names is called ``NAME (property)``.
    """
    names: dict[str, None] = {}
    refused = False
    with tempfile.TemporaryFile("w+", encoding="utf-8") as rows:
        for record in _records(lines):
            smiles, why, title, properties = _read(record)
            names.update(dict.fromkeys(properties))
            refused = refused or bool(why)
            rows.write(json.dumps([smiles, title, why, properties]) + "\n")
        own = ["smiles", "name", *([REFUSED_COLUMN] if refused else [])]
        yield _line([*own, *(f"{name} (property)" if name in own else name for name in names)])
        rows.seek(0)
        for row in rows:
            smiles, title, why, properties = json.loads(row)
            cells = [smiles, title, *([why] if refused else [])]
            yield _line([*cells, *(properties.get(name, "") for name in names)])


def _records(lines: Iterable[str]) -> Iterator[list[str]]:
    record: list[str] = []
    for line in lines:
        if line.startswith("$$$$"):
            yield record
            record = []
        else:
            record.append(line.rstrip("\r\n"))
    if any(line.strip() for line in record):  # the last mark is missing
        yield record


def _read(record: list[str]) -> tuple[str, str, str, dict[str, str]]:
    """SMILES, why there is none, title, properties."""
    end = next((at for at, line in enumerate(record) if line.startswith("M  END")), -1) + 1
    properties: dict[str, str] = {}
    name = None
    for line in record[end:]:
        found = _PROPERTY.match(line)
        if found:
            name = found.group(1)
            properties[name] = ""
        elif not line.strip():
            name = None
        elif name is not None:
            properties[name] = f"{properties[name]} {line.strip()}".strip()
    title = record[0].strip() if record and end else ""
    smiles, why = _smiles("\n".join(record[:end])) if end else ("", "the record has no structure")
    return smiles, why, title, properties


def _smiles(block: str) -> tuple[str, str]:
    with rdBase.BlockLogs():
        try:
            mol = Chem.MolFromMolBlock(block)
            if mol is None:
                raw = Chem.MolFromMolBlock(block, sanitize=False)
                if raw is None:
                    return "", "RDKit cannot read the structure"
                Chem.SanitizeMol(raw)
        except Exception as error:  # RDKit's exceptions share no narrower public base
            return "", " ".join(str(error).split())
    if mol is None or mol.GetNumAtoms() == 0:
        return "", "the structure has no atoms"
    return Chem.MolToSmiles(mol), ""


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
                yield _line(cells)
    except (ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as a Parquet table: {error}") from error


def _line(cells: Iterable[object]) -> str:
    return csv_text([[re.sub(r"[\r\n]+", " ", c) if isinstance(c, str) else c for c in cells]])
