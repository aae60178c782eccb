"""The molecules of a table and what stands beside them, row by row, for commands that read one."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dgl_gmpool._options import as_typed
from dgl_gmpool.cli.flags import add_flag
from dgl_gmpool.data.delimited_text import BLANK_ROW, DelimitedText, Row
from dgl_gmpool.data.feature_columns import FeatureColumns, read_features
from dgl_gmpool.data.number import with_decimal_point
from dgl_gmpool.training.model_features import check_feature_names, feature_columns
from dgl_gmpool.training.model_file import TrainedModel

#: Rows that it is told from how numbers are written, such as with decimal commas.
_FIRST = 10_000


def first_cells(text: DelimitedText) -> list[Sequence[str]]:
    """The cells of a table's first rows, without those that do not fit the header."""
    return [row.cells for row in islice(text, _FIRST) if not text.wrong_length(row)]


def add_feature_flag(parser: argparse.ArgumentParser) -> None:
    """``--feature NAME=VALUE``."""
    parser.add_argument(
        "--feature",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="for a model trained with --feature-columns: the same value for all rows, such as "
        "pH=7.4 (default: the column of that name in the table)",
    )


class FeatureSource:
    """Where the features that a model wants come from: a flag, or a column of the table.

    Parameters
    ----------
    trained : TrainedModel
    texts : sequence of str
        ``NAME=VALUE``, of ``--feature``.
    decimal_comma : bool, optional
        Of all numbers in the table; by default told from its first rows.

    Attributes
    ----------
    constants : dict of str to str
        Of the flag.
    columns : tuple of str
        To be read from the table.
    decimal_comma : bool
        Whether its numbers have decimal commas, as far as that is known: :meth:`reader` finds out.

    Raises
    ------
    ValueError
        A text is not of that form, its value no number, or the model takes no such feature.
    """

    def __init__(
        self, trained: TrainedModel, texts: Sequence[str], *, decimal_comma: bool = False
    ) -> None:
        self.decimal_comma = decimal_comma
        self.constants: dict[str, str] = {}
        for text in texts:
            name, equals, value = text.rpartition("=")
            if decimal_comma and "," in value:  # without one it is as on the command line
                value = with_decimal_point(value)
            _, why = read_features([name], [value])
            if not equals or not name or why or not value.strip():
                raise ValueError(f"--feature {text!r}: expected NAME=VALUE, such as pH=7.4")
            if name in self.constants:
                raise ValueError(f"--feature {name} is given twice")
            self.constants[name] = value
        wanted = feature_columns(trained)
        self.columns = tuple(name for name in wanted if name not in self.constants)
        check_feature_names(trained, [*self.constants, *self.columns])

    def reader(self, text: DelimitedText) -> Callable[[Sequence[str] | None], dict[str, str]]:
        """What gives a row's features, by name, from its cells (None: they do not fit the
        header)."""
        if not self.columns:
            # Its first rows need not be read.
            return lambda cells: dict(self.constants)
        for name in self.columns:
            try:
                text.column(name)
            except ValueError as error:
                raise ValueError(
                    f"{error} The model was trained with {name} beside the molecule: name the "
                    "column so, or give all rows one value: "
                    + as_typed("--feature", f"{name}=VALUE")
                ) from error
        columns = FeatureColumns.of(
            text, self.columns, first_cells(text), decimal_comma=self.decimal_comma
        )
        self.decimal_comma |= any(columns.decimal_comma)
        blank = [""] * len(self.columns)

        def read(cells: Sequence[str] | None) -> dict[str, str]:
            values = blank if cells is None else columns.texts(cells)
            return {**dict(zip(self.columns, values)), **self.constants}

        return read


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


def add_decimal_flag(add: Callable[..., Any], *, beside: str = "") -> None:
    """``--decimal-comma``, by ``parser.add_argument`` or what stands for it."""
    add(
        "--decimal-comma",
        action="store_true",
        help=f"numbers are written with decimal commas{beside} (default: where a column leaves no "
        "doubt, as 6,82 does and 6,820 does not)",
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
    add_flag(
        parser.add_argument,
        "--smiles-column",
        default="smiles",
        metavar="NAME",
        help="column of the molecules",
    )
