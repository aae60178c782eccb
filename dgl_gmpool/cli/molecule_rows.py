"""The molecules of a table, row by row, for commands that read one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dgl_gmpool.data.delimited_text import BLANK_ROW, DelimitedText, Row


class MoleculeRow(NamedTuple):
    """A row, its SMILES and solvent (None without such a column), and what is wrong with it."""

    row: Row
    smiles: str
    solvent: str | None
    wrong: str


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
) -> tuple[int, Iterator[MoleculeRow]]:
    """How many rows a table has, and all of them, in order.

    Raises
    ------
    ValueError
        A column is not there; the message names the closest.
    """
    columns = [smiles_column] if solvent_column is None else [smiles_column, solvent_column]
    text = DelimitedText(path, delimiter=delimiter, columns=columns)
    smiles_at = text.column(smiles_column)
    solvent_at = None if solvent_column is None else text.column(solvent_column)

    def rows() -> Iterator[MoleculeRow]:
        for row in text:
            wrong = BLANK_ROW if row.blank else text.wrong_length(row)
            smiles = "" if wrong else row.cells[smiles_at].strip()
            solvent = None
            if solvent_at is not None:
                solvent = "" if wrong else row.cells[solvent_at].strip()
            yield MoleculeRow(row, smiles, solvent, wrong)

    return len(text), rows()
