"""Optical properties of organic chromophores (Joung et al. 2020): a public stand-in for the
paper's private quantum-yield and emission sets."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.delimited_text import BLANK_ROW, WRONG_LENGTH, DelimitedText
from dgl_gmpool.data.equal_rows import once_each
from dgl_gmpool.data.molecule import (
    canonical_smiles,
    count_atoms,
    ignored_extensions,
    is_missing,
    read_molecule,
    refusal,
    split_smiles,
)
from dgl_gmpool.data.number import has_decimal_commas, read_cell, with_decimal_point
from dgl_gmpool.data.replicates import merged_replicates
from dgl_gmpool.data.report import SelectionTally
from dgl_gmpool.data.size_rule import SizeRule
from dgl_gmpool.data.table import MoleculeTable

#: target -> (column, in films?, name of the task, units)
CHROMOPHORE_TARGETS = {
    "plqy": ("Quantum yield", True, "quantum yield in films", ""),
    "emission_film": ("Emission max (nm)", True, "emission maximum in films", "nm"),
    "emission_solvent": ("Emission max (nm)", False, "emission maximum in solvents", "nm"),
}
#: A "solvent" of this many heavy atoms or more is a solid host, not a liquid.
HOST_ATOMS = 20

#: What is known of a solvent, in the order of the columns of ``global_feats``.
SOLVENT_DESCRIPTORS: dict[str, Callable[[Chem.Mol], float]] = {
    "exact mass (g/mol)": rdMolDescriptors.CalcExactMolWt,
    "heavy atoms": lambda mol: mol.GetNumHeavyAtoms(),
    "Crippen logP": lambda mol: rdMolDescriptors.CalcCrippenDescriptors(mol)[0],
    "Crippen molar refractivity": lambda mol: rdMolDescriptors.CalcCrippenDescriptors(mol)[1],
    "topological polar surface area": rdMolDescriptors.CalcTPSA,
    "hydrogen-bond donors": rdMolDescriptors.CalcNumHBD,
    "hydrogen-bond acceptors": rdMolDescriptors.CalcNumHBA,
    "fraction of sp3 carbons": rdMolDescriptors.CalcFractionCSP3,
    "aromatic rings": rdMolDescriptors.CalcNumAromaticRings,
    "rotatable bonds": rdMolDescriptors.CalcNumRotatableBonds,
    "halogens": lambda mol: sum(a.GetSymbol() in ("F", "Cl", "Br", "I") for a in mol.GetAtoms()),
    "formal charges": lambda mol: sum(abs(a.GetFormalCharge()) for a in mol.GetAtoms()),
}


def load_chromophores(
    path: str | os.PathLike[str],
    *,
    target: str = "plqy",
    min_atoms: int | None = None,
    max_atoms: int | None = None,
    split_column: str | None = None,
    split: str = "",
) -> MoleculeTable:
    """Emission maximum or quantum yield of chromophores, in films or in solvents.

    A row is a film if its "solvent" is the chromophore itself (a neat solid) or has 20 heavy
    atoms or more (a solid host); otherwise it is a solution.

    Parameters
    ----------
    path : path
        The publisher's CSV ("DB for chromophore"), plain or gzipped, with the columns
        ``Chromophore``, ``Solvent``, ``Emission max (nm)`` and ``Quantum yield``.
    target : str
        ``"plqy"`` (quantum yield in films, 0 to 1), ``"emission_film"`` (nm) or
        ``"emission_solvent"`` (nm).
    min_atoms, max_atoms : int or None
        Limits on the chromophore's heavy atoms, both included; None (default) for no limit.
    split_column : str, optional
        What a split is made by, as for :func:`~dgl_gmpool.data.load_csv`.
    split : str
        The kind of split that it is for. Where rows become one, the earliest of their dates counts
        (``"time"``), groups that share a molecule become one (``"group"``), parts must agree.

    Returns
    -------
    MoleculeTable
        ``kind="regression"``. Films: one row per molecule, the median over its films,
        ``global_feats`` None. Solvents: one row per molecule and solvent (the median of repeats),
        ``global_feats`` holds the descriptors of the solvent named in
        :data:`SOLVENT_DESCRIPTORS`, unscaled, and all rows of a molecule share a group.

    Raises
    ------
    ValueError
        For an unknown target or column, a damaged file, or a file without one usable row.

    Notes
    -----
    Source: Joung et al., Sci. Data 7, 295 (2020), CC BY 4.0.
    """
    check_choice("target", target, CHROMOPHORE_TARGETS)
    rule = SizeRule(min_atoms, max_atoms, one_fragment=False)
    column, films, task, units = CHROMOPHORE_TARGETS[target]
    columns = ("Chromophore", "Solvent", column)
    text = DelimitedText(path, columns=[*columns, *([split_column] if split_column else [])])
    split_at = text.column(split_column) if split_column else None
    molecule_at, solvent_at, value_at = (text.column(name) for name in columns)
    comma = has_decimal_commas(
        (row.cells[value_at] for row in text if not text.wrong_length(row)),
        separator=text.delimiter,
    )
    id_at = text.header.index("Tag") if text.header.count("Tag") == 1 else None

    @cache
    def describe(smiles: str) -> tuple[str, str, int]:
        """Canonical SMILES, why there is none, heavy atoms."""
        atoms = count_atoms(smiles)
        return *canonical_smiles(smiles), atoms.heavy_atoms if atoms else 0

    other_phase = "measured in a solvent" if films else "measured in a film"
    blank = f"blank {column}"
    tally = SelectionTally(text.path.name)
    tally.expect(BLANK_ROW, WRONG_LENGTH, "solvent is not a molecule", other_phase, blank)
    kept: list[tuple[str, str, str, str, float]] = []
    parts: list[str] = []
    for row in text.fitting(tally):
        ident = f"row {row.number}" if id_at is None else row.cells[id_at].strip()
        smiles, solvent = row.cells[molecule_at].strip(), row.cells[solvent_at].strip()
        solvent_canonical, _, solvent_atoms = describe(solvent)
        if not solvent_canonical:
            # "gas" above all; without a solvent's structure a row is neither film nor solution.
            tally.leave_out("solvent is not a molecule")
            continue
        canonical, why, _ = describe(smiles)
        is_film = solvent_atoms >= HOST_ATOMS or solvent_canonical == canonical
        if is_film != films:
            tally.leave_out(other_phase)
            continue
        if is_missing(row.cells[value_at]):
            tally.leave_out(blank)
            continue
        value = row.cells[value_at]
        found = read_cell(with_decimal_point(value) if comma else value)
        if found.why:
            detail = f"{column!r} {found.why}"
            tally.refuse(ident, smiles, detail, reason="a value that is not a number")
            continue
        if not canonical:
            tally.refuse(ident, smiles, why, reason=refusal(why))
            continue
        atoms = count_atoms(smiles)
        outside = "" if atoms is None else rule.reason_against(atoms)
        if outside:
            tally.leave_out(outside)
            continue
        kept.append((ident, smiles, canonical, solvent_canonical, found.value))
        if split_at is not None:
            parts.append(row.cells[split_at])

    phase = "films" if films else "solutions"
    tally.notes += ignored_extensions(smiles for _, smiles, *_ in kept)
    report = tally.finish(
        f"{phase} with a value" + ("" if rule.takes_all else f", {rule}"), len(kept)
    )
    if not kept:
        raise ValueError(f"{text.path} has no usable row for target={target!r}:\n{report}")
    ids, written, canonicals, solvents, values = zip(*kept)
    table = MoleculeTable(
        name=f"chromophores_{target}",
        kind="regression",
        task_names=(task,),
        ids=ids,
        smiles=tuple(split_smiles(each)[0] for each in written),
        canonical=canonicals,
        groups=canonicals,
        targets=np.array(values, np.float64)[:, None],
        global_feats=None
        if films
        else np.array(once_each(solvent_descriptors, solvents), np.float32),
        report=report,
        units=units,
        split_values=tuple(parts),
    )
    return merged_replicates(table, "median", split=split, apart=() if films else solvents)


def solvent_descriptors(smiles: str) -> list[float]:
    """The :data:`SOLVENT_DESCRIPTORS` of one solvent, in their order.

    >>> values = dict(zip(SOLVENT_DESCRIPTORS, solvent_descriptors("CCO")))
    >>> values["heavy atoms"], values["hydrogen-bond donors"]
    (3.0, 1.0)
    """
    mol: Chem.Mol | None
    mol, why = read_molecule(smiles)
    if mol is None:
        raise ValueError(f"the solvent {smiles!r} is refused by RDKit: {why}")
    return [float(compute(mol)) for compute in SOLVENT_DESCRIPTORS.values()]
