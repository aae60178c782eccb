"""``dgl-gmpool explain``: what a model sees in molecules, as tables, pictures and a page."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from dgl_gmpool._options import as_typed
from dgl_gmpool.cli.flags import output_folder
from dgl_gmpool.cli.molecule_rows import (
    FeatureSource,
    MoleculeRow,
    MoleculeRows,
    add_decimal_flag,
    add_feature_flag,
    add_model_flag,
    add_table_flags,
    one_process,
)
from dgl_gmpool.data.delimited_text import Row
from dgl_gmpool.explain.drawing import summary
from dgl_gmpool.explain.explanation import (
    Explanation,
    check_models,
    explain_molecule,
    model_note,
)
from dgl_gmpool.explain.masking import RefusedError
from dgl_gmpool.explain.report import PAGE, ExplainedRow, Report, check_folder
from dgl_gmpool.explain.target import ExplainedTarget
from dgl_gmpool.training import TrainedModel, choose_device, load_models
from dgl_gmpool.training.model_features import feature_columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of ``dgl-gmpool explain``."""
    add_model_flag(parser)
    molecules = parser.add_mutually_exclusive_group(required=True)
    molecules.add_argument("--smiles", nargs="+", metavar="SMILES", help="molecules to explain")
    molecules.add_argument(
        "--csv", metavar="FILE", help="table of them, as for predict (- for standard input)"
    )
    add_table_flags(parser)
    parser.add_argument(
        "--output",
        type=output_folder,
        required=True,
        metavar="FOLDER",
        help="index.html, atoms.csv, groups.csv, molecules.csv, fragments.csv, pairs.csv and a "
        "picture of each molecule",
    )
    parser.add_argument(
        "--target",
        metavar="NAME",
        help="which of the model's targets to explain; of several classes TARGET=CLASS, or TARGET "
        "for the most probable class of each molecule (default: the first target)",
    )
    solvents = parser.add_mutually_exclusive_group()
    solvents.add_argument(
        "--solvent", metavar="SMILES", help="of all molecules, for a model trained with solvents"
    )
    solvents.add_argument("--solvent-column", metavar="NAME", help="the same, a row's own")
    add_feature_flag(parser)
    add_decimal_flag(parser.add_argument)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an earlier report in the output folder"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")


def main(args: argparse.Namespace) -> int:
    """``dgl-gmpool explain``: explain every molecule and write the folder."""
    from tqdm import tqdm

    one_process("explain")
    models = load_models(args.model)
    first = models[0]
    if args.smiles is not None and args.solvent_column is not None:
        raise ValueError("--solvent-column names a column of --csv; with --smiles give --solvent")
    source = FeatureSource(first, args.feature, decimal_comma=args.decimal_comma)
    if args.smiles is not None and source.columns:
        raise ValueError(
            f"the model was trained with {', '.join(feature_columns(first))} beside the molecule; "
            "with --smiles give them: " + as_typed("--feature", f"{source.columns[0]}=VALUE")
        )
    check_models(
        models,
        solvents=args.solvent is not None or args.solvent_column is not None,
        features=[*source.constants, *source.columns],
    )
    target = ExplainedTarget.of(first, args.target).name
    choose_device(args.device)
    molecules = _molecules(args, source)
    check_folder(args.output, overwrite=args.overwrite)
    if len(first.task_names) > 1:
        others = len(first.task_names) - 1
        print(f"explaining {target}, with {others} other target(s) to name by --target")
    if about := model_note(first):
        print(f"note: {about}")
    report = Report(args.output)
    known: dict[tuple[object, ...], Explanation | str] = {}
    each: MoleculeRow
    for each in tqdm(molecules, desc="explain", unit="mol", disable=None, leave=False):
        solvent = args.solvent if each.solvent is None else each.solvent
        key = each.smiles, solvent, *each.features.values()
        if not each.wrong and key not in known:
            known[key] = _explained(models, each, solvent, target, args.device)
        found = each.wrong or known[key]
        if isinstance(found, str):
            report.add(ExplainedRow(each.row.number, each.smiles, None, found))
        else:
            report.add(ExplainedRow(each.row.number, each.smiles, found))
            if args.smiles is not None:
                print(f"{each.smiles}: {summary(found)}")
    report.finish(f"{target}, explained by {args.model.resolve().name}")
    refused = sum(1 for row in report.rows if row.reason)
    noted = sum(1 for row in report.rows if row.note)
    print(
        f"{args.output / PAGE}: {len(report.rows)} rows, {len(report.explained)} explained by "
        f"{len(models)} model(s)"
        + (f", {noted} with a note (see the column 'note' of molecules.csv)" if noted else "")
        + (f", {refused} refused (see the column 'reason' of molecules.csv)" if refused else "")
    )
    return 0


def _molecules(args: argparse.Namespace, source: FeatureSource) -> Iterable[MoleculeRow]:
    if args.smiles is not None:
        return [
            MoleculeRow(Row(number, [], []), smiles.strip(), None, "", source.constants)
            for number, smiles in enumerate(args.smiles, 1)
        ]
    return MoleculeRows(
        args.csv,
        args.smiles_column,
        args.solvent_column,
        delimiter=args.delimiter,
        features=source,
    )


def _explained(
    models: Sequence[TrainedModel], each: MoleculeRow, solvent: str | None, target: str, device: str
) -> Explanation | str:
    """The explanation, or why there is none."""
    try:
        return explain_molecule(
            models,
            each.smiles,
            solvent=solvent,
            features=each.features,
            target=target,
            device=device,
        )
    except RefusedError as error:
        return error.reason
