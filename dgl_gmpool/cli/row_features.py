"""The features of a table's rows, for commands that use a model trained with some."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import islice

from dgl_gmpool.data.delimited_text import DelimitedText
from dgl_gmpool.data.feature_columns import FeatureColumns, read_features
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

    Attributes
    ----------
    constants : dict of str to str
        Of the flag.
    columns : tuple of str
        To be read from the table.

    Raises
    ------
    ValueError
        A text is not of that form, its value no number, or the model takes no such feature.
    """

    def __init__(self, trained: TrainedModel, texts: Sequence[str]) -> None:
        self.constants: dict[str, str] = {}
        for text in texts:
            name, equals, value = text.partition("=")
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
        """What gives a row's features, by name, from its cells (None: they do not fit the header).

        Whether commas are decimal marks is told from the first rows.
        """
        if not self.columns:
            # Its first rows need not be read.
            return lambda cells: dict(self.constants)
        for name in self.columns:
            try:
                text.column(name)
            except ValueError as error:
                raise ValueError(
                    f"{error} The model was trained with {name} beside the molecule: name the "
                    f"column so, or give all rows one value: --feature {name}=VALUE"
                ) from error
        columns = FeatureColumns.of(text, self.columns, first_cells(text))
        blank = [""] * len(self.columns)

        def read(cells: Sequence[str] | None) -> dict[str, str]:
            values = blank if cells is None else columns.texts(cells)
            return {**dict(zip(self.columns, values)), **self.constants}

        return read
