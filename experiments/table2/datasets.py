"""The data sets of the comparison: the two of the paper that are public, and stand-ins for its
three private ones; long molecules and the twelve assays of Tox21 beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rdkit import Chem

from dgl_gmpool._options import unknown_name
from dgl_gmpool.data import (
    MoleculeDataset,
    MoleculeTable,
    featurize,
    load_bindingdb,
    load_chromophores,
    load_tox21,
)
from dgl_gmpool.data.descriptors import with_descriptors as calculated
from dgl_gmpool.data.features import joined_features
from dgl_gmpool.data.featurize import with_fragments

#: Rows of the paper's set of emission maxima in solvents. The public one has 16,692; a sample of
#: this size keeps the data sets comparable and the hours bounded.
SOLVENT_ROWS = 1070

#: Heavy atoms from which a molecule counts as long.
LONG = 50

#: UniProt accessions of the P2X purinoceptors with enough measured potencies: human P2X7, P2X1 and
#: P2X3, and rat P2X7.
P2X = ("Q99572", "P51575", "P56373", "Q64663")


@dataclass(frozen=True)
class ComparisonData:
    """One column of the table.

    Attributes
    ----------
    name, label : str
        Its key in the results, and how the table calls it.
    source : str
        Which file it is read from: ``"tox21"``, ``"bindingdb"`` or ``"chromophores"``.
    load : callable
        From the path of that file to a table.
    kind : str
        ``"classification"`` or ``"regression"``.
    split : str
        Kind of split, see :func:`dgl_gmpool.data.make_splits`.
    epochs : int
        Epochs of every network, the fixed budget.
    noise : float or None
        By how much two measurements of one molecule differ, in the unit of the target.
    """

    name: str
    label: str
    source: str
    load: Callable[[Path | None], MoleculeTable]
    kind: str = "regression"
    split: str = "random"
    epochs: int = 20
    noise: float | None = None

    def featurized(self, path: Path | None, *, cache: Path | None) -> MoleculeDataset:
        """Read and featurise it, with the BRICS fragment of each atom."""
        dataset = featurize(self.load(path), cache_dir=cache, progress=False)
        return with_fragments(dataset)


def with_descriptors(dataset: MoleculeDataset, *, cache: Path | None = None) -> MoleculeDataset:
    """The data set with RDKit's descriptors beside its other global features, where forests and
    chemprop see them too. Columns that are not defined for some molecule are left out.

    Examples
    --------
    >>> from dgl_gmpool.data import load_sodium_channel
    >>> data = featurize(load_sodium_channel().take(range(5)), progress=False)
    >>> with_descriptors(data).table.global_feats.shape[0]
    5
    """
    found = calculated(dataset, ["rdkit"], cache_dir=cache, processes=1, progress=False)
    values, _ = joined_features(found.table, ["rdkit"])
    assert values is not None
    defined = values[:, np.isfinite(values).all(0)]
    return replace(dataset, table=replace(dataset.table, global_feats=defined))


def sample_rows(table: MoleculeTable, rows: int, *, seed: int = 0) -> MoleculeTable:
    """A random sample of a table's rows, in their order; all of them where there are not more.

    Examples
    --------
    >>> from dgl_gmpool.data import load_sodium_channel
    >>> len(sample_rows(load_sodium_channel(), 100))
    100
    """
    if len(table) <= rows:
        return table
    chosen = np.sort(np.random.default_rng(seed).permutation(len(table))[:rows])
    counts = (*table.report.counts, (f"drawn at random (seed {seed})", len(chosen)))
    return table.take(chosen.tolist(), report=replace(table.report, counts=counts))


def long_rows(table: MoleculeTable, atoms: int = LONG) -> MoleculeTable:
    """The rows with at least so many heavy atoms.

    Examples
    --------
    >>> from dgl_gmpool.data import load_sodium_channel
    >>> len(long_rows(load_sodium_channel(), 40))
    3
    """
    sizes = {s: Chem.MolFromSmiles(s).GetNumHeavyAtoms() for s in set(table.canonical)}
    chosen = [row for row, smiles in enumerate(table.canonical) if sizes[smiles] >= atoms]
    counts = (*table.report.counts, (f"of at least {atoms} heavy atoms", len(chosen)))
    return table.take(chosen, report=replace(table.report, counts=counts))


def _chromophores(path: Path | None, *, target: str, long: bool = False) -> MoleculeTable:
    if path is None:
        raise ValueError("the chromophore sets need the publisher's table: --chromophores FILE")
    table = load_chromophores(path, target=target)
    if long:
        table = long_rows(table)
    return sample_rows(table, SOLVENT_ROWS) if target == "emission_solvent" else table


def _bindingdb(path: Path | None) -> MoleculeTable:
    if path is None:
        raise ValueError("pic50 needs BindingDB's tab-separated file: --tsv FILE")
    return load_bindingdb(path, accessions=P2X)


DATASETS: tuple[ComparisonData, ...] = (
    ComparisonData(
        "plqy", "PLQY", "chromophores", partial(_chromophores, target="plqy"), split="group"
    ),
    ComparisonData(
        "emission_solvent",
        "emission in solvents (nm)",
        "chromophores",
        partial(_chromophores, target="emission_solvent"),
        split="group",
    ),
    ComparisonData(
        "emission_film",
        "emission in films (nm)",
        "chromophores",
        partial(_chromophores, target="emission_film"),
        split="group",
    ),
    # Landrum and Riniker, J. Chem. Inf. Model. 2024: half of the pairs of measurements of one
    # IC50 differ by more.
    ComparisonData("pic50", "pIC50", "bindingdb", _bindingdb, noise=0.3),
    ComparisonData("tox21", "Tox21", "tox21", load_tox21, kind="classification", epochs=7),
    ComparisonData(
        "emission_long",
        f"emission in solvents, {LONG} atoms and more (nm)",
        "chromophores",
        partial(_chromophores, target="emission_solvent", long=True),
        split="group",
    ),
    ComparisonData(
        "tox21_assays",
        "Tox21, 12 assays",
        "tox21",
        partial(load_tox21, multitask=True),
        kind="classification",
        epochs=7,
    ),
)


def choose_datasets(names: Sequence[str]) -> list[ComparisonData]:
    """The data sets of these names, in the order of the table; unknown names raise."""
    known = {data.name: data for data in DATASETS}
    for name in names:
        if name not in known:
            raise unknown_name("data set", name, known)
    return [data for data in DATASETS if data.name in names]
