"""Rows of SMILES, each read by RDKit once: distinct molecules and graphs, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from dgl_gmpool.data.featurize import featurize_molecules, unknown_symbols
from dgl_gmpool.data.flat_graphs import FlatGraphs
from dgl_gmpool.data.molecule import has_atom_maps, read_molecule, split_smiles
from dgl_gmpool.data.similarity import fingerprints
from dgl_gmpool.data.standardize import split_recipe, standardized

EXTENSION = "the extension behind the SMILES is ignored"
ATOM_MAPS = "the numbers of atoms in a mapped reaction are ignored"


@dataclass(frozen=True)
class ParsedRows:
    """What can be said of rows from their SMILES alone; can be sent between processes.

    Attributes
    ----------
    place : numpy.ndarray
        ``(rows,)`` int64: which of the distinct molecules, -1 where there is none. Rows of one
        molecule, however it is written, have one.
    reasons, notes : list of str
        Per row, why there is no molecule, and what to know of it.
    canonical : tuple of str
        SMILES of the distinct molecules.
    flat : FlatGraphs
        Their graphs.
    fingerprints : numpy.ndarray
        ``(molecules, 256)`` uint8.
    heavy_atoms : numpy.ndarray
        ``(molecules,)`` int64.
    """

    place: np.ndarray
    reasons: list[str]
    notes: list[str]
    canonical: tuple[str, ...]
    flat: FlatGraphs
    fingerprints: np.ndarray
    heavy_atoms: np.ndarray

    def __len__(self) -> int:
        return len(self.place)


def parse_rows(smiles: Sequence[str], featurizer: str) -> ParsedRows:
    """Read and featurise rows of SMILES; ``featurizer`` may be a recipe that standardises them.

    Examples
    --------
    >>> rows = parse_rows(["OCC", "C1CC", "CCO |r|", ""], "canonical")
    >>> rows.place.tolist(), rows.canonical, rows.reasons[3]
    ([0, -1, 0, -1], ('CCO',), 'blank SMILES')
    """
    featurizer, steps = split_recipe(featurizer)
    place = np.full(len(smiles), -1, np.int64)
    reasons, notes = [""] * len(smiles), [""] * len(smiles)
    known: dict[str, int] = {}
    mols: list[Chem.Mol] = []
    for row, text in enumerate(smiles):
        mol, reasons[row] = read_molecule(text)
        if mol is None:
            continue
        canonical = Chem.MolToSmiles(mol)
        if steps:
            mol = standardized(mol, steps)
            if (drawn := canonical) != (canonical := Chem.MolToSmiles(mol)):
                notes[row] = f"standardised from {drawn} to {canonical}"
        if canonical not in known:
            known[canonical] = len(mols)
            mols.append(mol)
        place[row] = known[canonical]
        written, extension, _ = split_smiles(text)
        ignored = [EXTENSION] if extension else []
        ignored += [ATOM_MAPS] if has_atom_maps(written) else []
        notes[row] = "; ".join(filter(None, [notes[row], *ignored]))
    flat = featurize_molecules(mols, featurizer)
    strange = unknown_symbols(mols.__getitem__, flat, featurizer)
    for row, at in enumerate(place.tolist()):
        if at in strange:
            said = "atoms of kinds that the features do not tell apart: " + ", ".join(strange[at])
            notes[row] = "; ".join(filter(None, [notes[row], said]))
    return ParsedRows(
        place,
        reasons,
        notes,
        tuple(known),
        flat,
        fingerprints(mols),
        np.array([mol.GetNumHeavyAtoms() for mol in mols], np.int64),
    )
