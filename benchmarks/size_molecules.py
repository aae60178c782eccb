"""Tables of any size: real molecules, two groups put on at random, atoms in random order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rdkit import Chem

from dgl_gmpool.data import load_sodium_channel

#: What is put on, atom by atom from the first: methyl, amino, hydroxy, fluoro, ..., propyl.
GROUPS = [[6], [7], [8], [9], [17], [6, 6], [6, 8], [6, 7], [8, 6], [6, 6, 6]]


def molecules(rows: int, *, writings: int, seed: int = 0) -> Iterator[tuple[str, float]]:
    """``(SMILES in a random order of atoms, number of heavy atoms with noise)``.

    Each molecule comes in ``writings`` different SMILES, one after the other. The parents are the
    1,017 sodium channel blockers that come with the package.
    """
    rng = np.random.default_rng(seed)
    parents = [Chem.MolFromSmiles(smiles) for smiles in load_sodium_channel().smiles]
    sites = [
        [
            atom.GetIdx()
            for atom in parent.GetAtoms()
            # With hydrogens that make room.
            if atom.GetAtomicNum() == 6 and atom.GetNumExplicitHs() == 0 < atom.GetTotalNumHs()
        ]
        for parent in parents
    ]
    seen: set[int] = set()
    while rows > 0:
        number = int(rng.integers(len(parents)))
        if len(sites[number]) < 2:
            continue
        mol = Chem.RWMol(parents[number])
        for place in rng.choice(sites[number], 2, replace=False).tolist():
            for element in GROUPS[int(rng.integers(len(GROUPS)))]:
                added = mol.AddAtom(Chem.Atom(element))
                mol.AddBond(place, added, Chem.BondType.SINGLE)
                place = added
        Chem.SanitizeMol(mol)
        # Two isomers in one canonical SMILES are one molecule.
        key = hash(Chem.MolToSmiles(mol))
        if key in seen:
            continue
        seen.add(key)
        written = dict.fromkeys(Chem.MolToRandomSmilesVect(mol, min(writings, rows), number))
        rows -= len(written)
        for smiles in written:
            yield smiles, mol.GetNumAtoms() + rng.normal()


def write_table(path: Path, rows: int, *, writings: int = 10) -> None:
    """``smiles,y``, one SMILES a line."""
    with open(path, "w", encoding="utf-8") as file:
        file.write("smiles,y\n")
        file.writelines(
            f"{smiles},{value:.3f}\n" for smiles, value in molecules(rows, writings=writings)
        )
