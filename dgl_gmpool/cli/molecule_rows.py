"""The molecules of a table, row by row, for commands that read one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dgl_gmpool.cli.row_features import FeatureSource
from dgl_gmpool.data.delimited_text import BLANK_ROW, DelimitedText, Row


class MoleculeRow(NamedTuple):
    """A row, its SMILES, solvent (None without such a column) and features, and what is wrong."""

    row: Row
    smiles: str
    solvent: str | None
    wrong: str
    features: Mapping[str, str] = {}


def one_process(command: str) -> None:
    """Raise a ValueError under ``torchrun``: the processes would write one output all at once."""
    from dgl_gmpool.training import current_world

    if current_world().size > 1:
        raise ValueError(f"{command} runs in one process: start it without torchrun")


def molecule_rows(
    path: str,
    smiles_column: str,
    solvent_column: str | None = None,
    *,
    delimiter: str | None = None,
    features: FeatureSource | None = None,
) -> tuple[int, Iterator[MoleculeRow]]:
    """How many rows a table has, and all of them, in order.

    Raises
    ------
    ValueError
        A column is not there; the message names the closest.
    """
    columns = [smiles_column] if solvent_column is None else [smiles_column, solvent_column]
    extra = () if features is None else features.columns
    text = DelimitedText(path, delimiter=delimiter, columns=[*columns, *extra])
    smiles_at = text.column(smiles_column)
    solvent_at = None if solvent_column is None else text.column(solvent_column)

    fits = [None if row.blank or text.wrong_length(row) else row.cells for row in text]
    known = {} if features is None else features.of_cells(text, fits)

    def rows() -> Iterator[MoleculeRow]:
        for place, row in enumerate(text):
            wrong = BLANK_ROW if row.blank else text.wrong_length(row)
            smiles = "" if wrong else row.cells[smiles_at].strip()
            solvent = None
            if solvent_at is not None:
                solvent = "" if wrong else row.cells[solvent_at].strip()
            own = {name: values[place] for name, values in known.items()}
            yield MoleculeRow(row, smiles, solvent, wrong, own)

    return len(text), rows()
