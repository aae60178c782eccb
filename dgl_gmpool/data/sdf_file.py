"""Files of structures (SDF) as text: a SMILES, the title and the properties of each record."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Iterable, Iterator

from rdkit import Chem, rdBase

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


def _line(cells: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([re.sub(r"[\r\n]+", " ", c) for c in cells])
    return out.getvalue()
