"""The data sets that ``dgl-gmpool train`` knows: the flags of each, and how it is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from dgl_gmpool.cli.molecule_rows import add_decimal_flag, add_delimiter_flag
from dgl_gmpool.data import (
    HUMAN_ATP_RECEPTORS,
    MoleculeTable,
    load_bindingdb,
    load_chromophores,
    load_csv,
    load_tox21,
)
from dgl_gmpool.data.bindingdb import MEASURES
from dgl_gmpool.data.chromophores import CHROMOPHORE_TARGETS
from dgl_gmpool.data.held_out_table import with_test_table
from dgl_gmpool.data.number import BOUNDS

#: ``ArgumentParser.add_argument``, or what stands for it.
AddFlag = Callable[..., Any]


class DataSet:
    """One data set as a command sees it. A new one is a subclass and a line in DATA_SETS.

    Attributes
    ----------
    summary : str
        One line, without a capital or a full stop.
    description : str
        What ``--help`` says; ``%(prog)s`` is the command.
    needs : mapping of str to str
        Flags without which there is nothing to load, and what to give.
    split, epochs : str, int
        Defaults of ``--split`` and ``--epochs``.
    auxiliary : tuple of str
        The auxiliary targets that come with the data set.
    """

    summary: ClassVar[str]
    description: ClassVar[str]
    needs: ClassVar[dict[str, str]] = {}
    split: ClassVar[str] = "random"
    epochs: ClassVar[int] = 30
    auxiliary: ClassVar[tuple[str, ...]] = ()

    def add_flags(self, add: AddFlag) -> None:
        """Add the data set's own flags."""
        raise NotImplementedError

    def load(self, args: argparse.Namespace) -> MoleculeTable:
        """The molecules, with a report of how they were selected."""
        raise NotImplementedError

    def downloads(self, args: argparse.Namespace) -> bool:
        """Whether loading leaves a file behind that other processes then find."""
        return False


class Csv(DataSet):
    """A table of the user's own."""

    summary = "a table of your own: SMILES, and columns to predict"
    description = """Train on a table of your own: one column of SMILES, one or more to predict.

  %(prog)s --csv my.csv --target logS
  %(prog)s --csv my.csv --target toxic irritant --readout mean gmpool

Targets of 0 and 1 only are a classification, other numbers a regression. With several targets a
blank cell is a missing measurement. Rows that cannot be used are listed with their reasons."""
    needs: ClassVar[dict[str, str]] = {
        "csv": "--csv FILE, the table of molecules",
        "target": "--target NAME, the column or columns to predict",
    }

    def add_flags(self, add: AddFlag) -> None:
        add(
            "--csv",
            metavar="FILE",
            help="the table: .csv, .tsv, .smi or .sdf, also .gz; .parquet (required)",
        )
        add("--target", nargs="+", metavar="NAME", help="columns to predict (required)")
        add("--smiles-column", default="smiles", metavar="NAME", help="column of the molecules")
        add(
            "--kind",
            nargs="+",
            metavar="KIND",
            help="what the targets are: classification (0 and 1), multiclass (names or whole "
            "numbers), regression; or of each, such as: --kind logS=regression "
            "colour=multiclass (default: classification if all values are 0 or 1, multiclass for a "
            "few words)",
        )
        add("--id-column", metavar="NAME", help="names of the rows (default: row number)")
        add(
            "--group-column",
            metavar="NAME",
            help="rows with the same value here (a series, a project) stay on one side of every "
            "split",
        )
        _add_parts(add)
        add(
            "--feature-columns",
            nargs="+",
            default=[],
            metavar="NAME",
            help="columns of numbers that the answer also hangs on, such as pH or temperature: "
            "they join the molecule's vector, and predict then needs them too (default: none)",
        )
        add("--units", default="", help="of the targets, for the table")
        add(
            "--weight-column",
            metavar="NAME",
            help="how much each row counts in training, 0 or more (default: all alike)",
        )
        add_delimiter_flag(add)
        add_decimal_flag(add)
        _add_bounds(add)

    def load(self, args: argparse.Namespace) -> MoleculeTable:
        read = partial(
            load_csv,
            smiles_column=args.smiles_column,
            target_columns=args.target,
            id_column=args.id_column,
            group_column=args.group_column,
            feature_columns=args.feature_columns,
            units=args.units,
            delimiter=args.delimiter,
            decimal_comma=args.decimal_comma,
            bounds=args.bounds,
            weight_column=args.weight_column,
        )
        table: MoleculeTable = read(
            args.csv, kind=_kinds(args.kind), split_column=args.split_column
        )
        if args.test_csv is None:
            return table
        return with_test_table(table, read(args.test_csv, test_of=table))


class Tox21(DataSet):
    """MoleculeNet's Tox21."""

    summary = "Tox21: is a molecule active in any of twelve toxicity assays?"
    description = """Train on Tox21: is a molecule active in any of twelve toxicity assays?

  %(prog)s                                GMPool on the paper's 2,514 molecules
  %(prog)s --readout mean ngmpool gmpool  a comparison on the same splits
  %(prog)s --multitask                    the twelve assays, one output each
  %(prog)s --auxiliary assays=10          one output, learnt beside the twelve

The file is downloaded by DGL-LifeSci's address on first use; --data takes a local copy.
Scores are ROC-AUC on a test set of 10 %%, one per fold; mean and spread are in the last table."""
    auxiliary = ("assays",)

    def add_flags(self, add: AddFlag) -> None:
        add("--data", metavar="FILE", help="tox21.csv or tox21.csv.gz (default: download)")
        add(
            "--multitask",
            action="store_true",
            help="predict the 12 assays side by side, with blanks left out of loss and score "
            "(default: one label, active in any)",
        )
        _add_parts(add)

    def load(self, args: argparse.Namespace) -> MoleculeTable:
        return _with_test(args, args.data, partial(load_tox21, multitask=args.multitask))

    def downloads(self, args: argparse.Namespace) -> bool:
        return args.data is None


class BindingDB(DataSet):
    """Potencies from BindingDB."""

    summary = "measured potencies (pIC50) of one or more targets from BindingDB"
    description = """Train on measured potencies (pIC50) of one or more targets from BindingDB.

  %(prog)s --tsv BindingDB_All.tsv                     human ATP receptors
  %(prog)s --tsv BindingDB_All.tsv --accession Q99572  human P2X7 only
  %(prog)s --tsv FILE --readout mean ngmpool gmpool    a comparison

FILE is BindingDB's tab-separated download (plain, .gz or .zip; the whole dump works). Targets
are chosen by UniProt accession, because orthologues share a name. Bounds ('>', '<') are left
out and counted (--bounds use learns from them), repeats go to their median. Scores are RMSE in
log units."""
    needs: ClassVar[dict[str, str]] = {"tsv": "--tsv FILE, BindingDB's tab-separated download"}
    epochs = 60

    def add_flags(self, add: AddFlag) -> None:
        add("--tsv", metavar="FILE", help="BindingDB's .tsv, .gz or .zip (required)")
        add(
            "--accession",
            nargs="+",
            default=list(HUMAN_ATP_RECEPTORS),
            metavar="ID",
            help="UniProt accessions of the targets (default: human P2X1-7, P2Y1 and P2Y2)",
        )
        add(
            "--measure",
            default="IC50",
            choices=MEASURES,
            help="which measured quantity",
        )
        _add_bounds(add)
        _add_parts(add)

    def load(self, args: argparse.Namespace) -> MoleculeTable:
        read = partial(
            load_bindingdb,
            accessions=args.accession,
            measure=args.measure,
            bounds=args.bounds,
            split=args.split,
        )
        return _with_test(args, args.tsv, read)


class Chromophores(DataSet):
    """Optical properties by Joung et al."""

    summary = "optical properties of organic chromophores (Joung et al. 2020)"
    description = """Train on optical properties of organic chromophores (Joung et al. 2020).

  %(prog)s --csv FILE                            quantum yield in films
  %(prog)s --csv FILE --target emission_film     emission maximum, films
  %(prog)s --csv FILE --target emission_solvent  emission in solvents

FILE is the publisher's "DB for chromophore" CSV (.csv or .csv.gz). A molecule in several solvents
stays on one side of every split, and the solvent goes into the model as descriptors."""
    needs: ClassVar[dict[str, str]] = {"csv": "--csv FILE, the publisher's table"}
    split = "group"
    epochs = 60

    def add_flags(self, add: AddFlag) -> None:
        add("--csv", metavar="FILE", help="the publisher's table (required)")
        add(
            "--target",
            default="plqy",
            choices=list(CHROMOPHORE_TARGETS),
            help="plqy: quantum yield in films; emission_film, emission_solvent: emission maximum "
            "in nm",
        )
        _add_parts(add)

    def load(self, args: argparse.Namespace) -> MoleculeTable:
        read = partial(load_chromophores, target=args.target, split=args.split)
        return _with_test(args, args.csv, read)


def _add_parts(add: AddFlag) -> None:
    add(
        "--split-column",
        metavar="NAME",
        help="what the split is made by: dates or numbers (--split time), groups (--split "
        "group), or the words train, valid and test",
    )
    add(
        "--test-csv",
        metavar="FILE",
        help="a table of its own for the test set, with the same columns; molecules of it are "
        "left out of training",
    )


def _with_test(
    args: argparse.Namespace, path: str | None, read: Callable[..., MoleculeTable]
) -> MoleculeTable:
    """``read`` of the data set's own file, with the rows of ``--test-csv`` behind it."""
    table = read(path, split_column=args.split_column)
    return table if args.test_csv is None else with_test_table(table, read(args.test_csv))


def _add_bounds(add: AddFlag) -> None:
    add(
        "--bounds",
        "--censored",
        type=lambda text: "drop" if text == "exclude" else text,  # its name in 0.2.0
        choices=BOUNDS,
        default="drop",
        help="cells such as >10000: drop leaves them out and counts them; use learns that the "
        "value lies beyond, by a one-sided loss; as_measured takes the number for the value, "
        "which biases the targets",
    )


def _kinds(given: str | Sequence[str] | None) -> str | dict[str, str] | None:
    """``--kind regression`` or ``--kind logS=regression colour=multiclass``, for ``load_csv``."""
    if given is None or isinstance(given, str):
        return given
    pairs = [text.rpartition("=") for text in given]
    if len(given) == 1 and not pairs[0][1]:
        return given[0]
    for text, (name, equals, _) in zip(given, pairs):
        if not equals or [pair[0] for pair in pairs].count(name) > 1:
            raise ValueError(
                f"--kind {' '.join(given)}: expected one kind for all targets, or TARGET=KIND "
                f"for each once; see {text!r}"
            )
    return {name: kind for name, _, kind in pairs}


#: By the word behind ``dgl-gmpool train``.
DATA_SETS: dict[str, DataSet] = {
    "csv": Csv(),
    "tox21": Tox21(),
    "bindingdb": BindingDB(),
    "chromophores": Chromophores(),
}
