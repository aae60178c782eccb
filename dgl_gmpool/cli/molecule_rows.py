"""The molecules of a table, row by row, for commands that read one."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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


class MoleculeRows:
    """The rows of a table, in order, read from its file whenever they are asked for.

    Parameters
    ----------
    path : str
        ``-`` is standard input.
    smiles_column, solvent_column : str, optional
    delimiter : str, optional
        By default recognised.
    features : FeatureSource, optional
        What is to be read beside the molecule.

    Attributes
    ----------
    text : DelimitedText

    Raises
    ------
    ValueError
        A column is not there; the message names the closest.
    """

    def __init__(
        self,
        path: str,
        smiles_column: str,
        solvent_column: str | None = None,
        *,
        delimiter: str | None = None,
        features: FeatureSource | None = None,
    ) -> None:
        columns = [smiles_column] if solvent_column is None else [smiles_column, solvent_column]
        extra = () if features is None else features.columns
        self.text = DelimitedText(path, delimiter=delimiter, columns=[*columns, *extra])
        self._smiles = self.text.column(smiles_column)
        self._solvent = None if solvent_column is None else self.text.column(solvent_column)
        self._features = None if features is None else features.reader(self.text)

    def __len__(self) -> int:
        return len(self.text)

    def __iter__(self) -> Iterator[MoleculeRow]:
        for row in self.text:
            wrong = BLANK_ROW if row.blank else self.text.wrong_length(row)
            smiles = "" if wrong else row.cells[self._smiles].strip()
            if not wrong and not smiles:
                wrong = self.text.refused(row)
            solvent = None
            if self._solvent is not None:
                solvent = "" if wrong else row.cells[self._solvent].strip()
            own = {} if self._features is None else self._features(None if wrong else row.cells)
            yield MoleculeRow(row, smiles, solvent, wrong, own)


def delimiter(text: str) -> str:
    """``type`` of ``--delimiter``: one character, or a name for the tab."""
    found = "\t" if text.lower() in ("tab", "\\t") else text
    if len(found) != 1 or found in '"\r\n':
        raise argparse.ArgumentTypeError(f"{text!r}: expected one character such as ; or tab")
    return found


def add_delimiter_flag(add: Callable[..., Any]) -> None:
    """``--delimiter``, by ``parser.add_argument`` or what stands for it."""
    add(
        "--delimiter",
        type=delimiter,
        metavar="CHAR",
        help="between the columns, or 'tab' (default: recognised by the columns' names)",
    )


def add_model_flag(
    parser: argparse.ArgumentParser, *, of_folds: str = "its folds are averaged"
) -> None:
    """``--model``, of a command that uses all models of a run."""
    parser.add_argument(
        "--model",
        type=Path,
        required=True,
        metavar="RUN_FOLDER",
        help=f"folder of a finished run ({of_folds}), or one fold_N/model.pt",
    )


def add_table_flags(parser: argparse.ArgumentParser) -> None:
    """How a table of molecules is read."""
    add_delimiter_flag(parser.add_argument)
    parser.add_argument("--smiles-column", default="smiles", metavar="NAME", help="default: smiles")
