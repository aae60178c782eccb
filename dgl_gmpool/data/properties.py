"""Molecular properties that RDKit calculates, as auxiliary targets of any data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from dgl_gmpool._options import unknown_name
from dgl_gmpool.data.equal_rows import once_each
from dgl_gmpool.data.features import AuxiliaryTargets
from dgl_gmpool.data.featurize import MoleculeDataset
from dgl_gmpool.data.table import MoleculeTable

PROPERTIES = "properties"


def molecule_properties(table: MoleculeTable) -> AuxiliaryTargets:
    """What RDKit's ``rdMolDescriptors.Properties`` calculates, for every row of a table.

    Masses, counts of rings, hydrogen bond donors and acceptors and of rotatable bonds, polar
    surface, Crippen's log P and molar refractivity, Kier and Hall's chi and kappa indices: 43
    columns in RDKit 2026.9.1, under RDKit's names. Nothing is measured, so no row lacks them; an
    index that is not defined for a molecule is NaN.

    Examples
    --------
    >>> from dgl_gmpool.data import load_sodium_channel
    >>> found = molecule_properties(load_sodium_channel().take(range(20)))
    >>> found.kind, len(found), found.task_names[:2]
    ('regression', 20, ('exactmw', 'amw'))
    """
    calculate = rdMolDescriptors.Properties()
    names = tuple(calculate.GetPropertyNames())
    found = once_each(
        lambda smiles: list(calculate.ComputeProperties(Chem.MolFromSmiles(smiles))),
        table.canonical,
    )
    values = np.array(found, dtype=np.float32).reshape(len(table), len(names))
    values[~np.isfinite(values)] = np.nan
    return AuxiliaryTargets(PROPERTIES, "regression", names, values)


def with_auxiliary(dataset: MoleculeDataset, names: Iterable[str]) -> MoleculeDataset:
    """The data set with these auxiliary targets: ``properties`` are calculated if they are missing.

    Raises
    ------
    TypeError
        ``names`` is a single string.
    ValueError
        A name that neither the table has nor RDKit can calculate.
    """
    if isinstance(names, str):
        raise TypeError(f"names is {names!r}; give a list of names, such as [{names!r}]")
    table = dataset.table
    present = {each.name for each in table.auxiliary}
    for name in names:
        if name not in present | {PROPERTIES}:
            raise unknown_name(f"auxiliary target of {table.name}", name, present | {PROPERTIES})
        if name not in present:
            extra = molecule_properties(table)
            table = replace(table, auxiliary=(*table.auxiliary, extra))
            present.add(name)
    return dataset if table is dataset.table else replace(dataset, table=table)
