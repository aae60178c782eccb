"""``dgl-gmpool predict``: a table in, the same rows with predictions out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from dgl_gmpool._io import is_special, is_stdout
from dgl_gmpool.cli.molecule_rows import (
    FeatureSource,
    MoleculeRow,
    MoleculeRows,
    add_decimal_flag,
    add_feature_flag,
    add_model_flag,
    add_table_flags,
)
from dgl_gmpool.cli.older_runs import load_uncertainty
from dgl_gmpool.cli.output_table import OutputLines
from dgl_gmpool.cli.prediction_columns import PredictionColumns
from dgl_gmpool.cli.prediction_scores import measured_columns, score_lines
from dgl_gmpool.cli.streamed import Job, Totals, add_stream_flags, begin_stream, run_streamed
from dgl_gmpool.data.parsed_rows import ParsedRows
from dgl_gmpool.data.target_column import TargetColumn
from dgl_gmpool.training.distributed import current_world
from dgl_gmpool.training.model_features import RowFeatures, check_solvents
from dgl_gmpool.training.predict import RowPredictor
from dgl_gmpool.training.row_bounds import COVERAGE, check_coverage
from dgl_gmpool.training.table_task import TableTask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``dgl-gmpool predict``."""
    add_model_flag(parser)
    parser.add_argument(
        "--csv",
        required=True,
        metavar="FILE",
        help="table of molecules (.csv, .tsv, .smi, .sdf, also .gz; .parquet; a pipe, or - for "
        "standard input)",
    )
    add_table_flags(parser)
    parser.add_argument(
        "--solvent-column",
        default=None,
        metavar="NAME",
        help="SMILES of the solvent, for a model trained with solvents",
    )
    add_feature_flag(parser)
    add_decimal_flag(parser.add_argument, beside=", and those of the output are to be")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the same rows and columns, with predictions, intervals, the nearest training "
        "molecule and, where there is no prediction, the reason (- for standard output; a name "
        "that ends in .tsv or .tab has tabs between its columns, any other what the input has; one "
        "that ends in .gz is compressed)",
    )
    parser.add_argument(
        "--coverage",
        type=float,
        default=COVERAGE,
        metavar="SHARE",
        help="share of measured values that the intervals (columns 'lower' and 'upper') are to "
        f"hold (default: {COVERAGE})",
    )
    add_stream_flags(parser)


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool predict``: write the input's rows with predictions behind them."""
    check_coverage(args.coverage)
    models, say = begin_stream(args)
    predictor = RowPredictor(
        models,
        uncertainty=load_uncertainty(args.model, say),
        coverage=args.coverage,
        batch_size=args.batch_size,
        device=args.device,
    )
    check_solvents(models[0], given=args.solvent_column is not None)
    features = FeatureSource(models[0], args.feature, decimal_comma=args.decimal_comma)
    rows = MoleculeRows(
        args.csv,
        args.smiles_column,
        args.solvent_column,
        delimiter=args.delimiter,
        features=features,
    )
    measured = measured_columns(rows.text, predictor.task, decimal_comma=args.decimal_comma)
    commas = features.decimal_comma or any(each.decimal_comma for each in measured.values())
    columns = PredictionColumns(predictor, rows.text.header, decimal_comma=commas)
    lines = OutputLines(rows.text, args.output)
    head = lines.above + lines.line(rows.text.raw_header, columns.names)
    job = Job(
        "predict",
        head.encode(),
        models[0].featurizer,
        partial(_predicted, predictor, lines, columns),
        ("smiles_column", "solvent_column", "delimiter", "decimal_comma", "coverage", "feature"),
    )
    totals = run_streamed(job, rows, args)
    say(
        f"{args.output}: {totals.rows} rows, {totals.rows - totals.failed} predicted by "
        f"{len(models)} model(s)"
        + (
            f", {totals.failed} without a prediction (see the column 'reason')"
            if totals.failed
            else ""
        )
    )
    if commas:
        say("note: the new columns have decimal commas, as the table's numbers have")
    for text in (*predictor.bounds.lines(), *totals.lines("predicted")):
        say(text)
    if current_world().is_main:
        for text in _scores(lines, args, columns, measured, predictor.task):
            say(text)
    return 1 if args.strict and totals.failed else 0


def _predicted(
    predictor: RowPredictor,
    output: OutputLines,
    columns: PredictionColumns,
    rows: Sequence[MoleculeRow],
    parsed: ParsedRows,
) -> tuple[bytes, Totals]:
    solvents = [row.solvent or "" for row in rows]
    features = RowFeatures(
        predictor.models,
        len(rows),
        solvents=solvents if rows[0].solvent is not None else None,
        features={name: [row.features[name] for row in rows] for name in rows[0].features},
    )
    found = predictor.predict(parsed, [features.row(at) for at in range(len(rows))], features)
    reasons = [row.wrong or why for row, why in zip(rows, found.reasons)]
    lines = [
        output.line(row.row.raw, cells) for row, cells in zip(rows, columns.cells(found, reasons))
    ]
    return "".join(lines).encode(), Totals.of(rows, reasons, found.notes)


def _scores(
    lines: OutputLines,
    args: argparse.Namespace,
    columns: PredictionColumns,
    measured: Mapping[int, TargetColumn],
    task: TableTask,
) -> list[str]:
    if not measured:
        return []
    if is_stdout(args.output) or is_special(args.output):
        return ["note: the table has measured values; scores are told where --output is a file"]
    return score_lines(lines, columns, measured, task, args.model)
