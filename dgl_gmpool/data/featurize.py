"""Molecules to graphs, with the atom and bond features of DGL-LifeSci."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from rdkit import Chem

from dgl_gmpool._options import check_choice
from dgl_gmpool.data.distinct_rows import smallest
from dgl_gmpool.data.featurizers import (
    FEATURIZER_NAMES,
    STEREO,
    conductance_start,
    of_known_element,
)
from dgl_gmpool.data.flat_graphs import FlatGraphs
from dgl_gmpool.data.fragments import brics_fragments
from dgl_gmpool.data.graph_cache import GraphCache, versions
from dgl_gmpool.data.graph_list import GraphList
from dgl_gmpool.data.hashes import text_hash
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.smiles_to_graphs import featurize_in_parts
from dgl_gmpool.data.smiles_to_graphs import featurize_molecules as featurize_molecules
from dgl_gmpool.data.smiles_to_graphs import featurize_smiles as featurize_smiles
from dgl_gmpool.data.smiles_to_graphs import worker_count as worker_count
from dgl_gmpool.data.table import MoleculeTable


@dataclass(frozen=True)
class MoleculeDataset:
    """A table whose rows are graphs.

    Attributes
    ----------
    table : MoleculeTable
        Only the rows that could be featurised; ``table.report`` names the others.
    graphs : GraphList
        One per row, made when it is asked for (another sequence of DGLGraphs is taken apart):
        int32 ids, both directions of every bond as consecutive edges, no
        self-loops. ``ndata["h"]`` ``(atoms, node_in_feats)`` and ``edata["e"]``
        ``(2 bonds, edge_in_feats)`` float32; the latter is there with 0 rows for a molecule
        without bonds. Node i is atom ``atom_order(smiles)[i]`` of the SMILES.
    node_in_feats, edge_in_feats : int
    featurizer : str
    unknown_atoms : dict of str to tuple of str
        SMILES -> symbols of its atoms that the featurizer does not tell apart; only SMILES that
        have such.
    """

    table: MoleculeTable
    graphs: GraphList
    node_in_feats: int
    edge_in_feats: int
    featurizer: str = "canonical"
    unknown_atoms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.graphs, GraphList):
            flat = FlatGraphs.from_dgl(self.graphs, self.node_in_feats, self.edge_in_feats)
            object.__setattr__(self, "graphs", GraphList(flat))

    @property
    def conductance_start(self) -> list[float]:
        """How well bonds conduct in the beginning, for ``MoleculePredictor``."""
        return conductance_start(self.edge_in_feats)

    def __len__(self) -> int:
        return len(self.graphs)

    def __repr__(self) -> str:
        return (
            f"MoleculeDataset({self.table.name!r}, graphs={len(self)}, "
            f"node_in_feats={self.node_in_feats}, edge_in_feats={self.edge_in_feats})"
        )


def featurize(
    table: MoleculeTable,
    *,
    featurizer: str = STEREO,
    cache_dir: str | os.PathLike[str] | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> MoleculeDataset:
    """Turn every molecule of a table into a featurised DGLGraph.

    The graphs are those of dgllife's recipes (``SMILESToBigraph`` with canonical atom order),
    without self-loops. Equal SMILES are featurised once.

    Parameters
    ----------
    table : MoleculeTable
    featurizer : str
        ``"stereo"``: dgllife's canonical features and the CIP labels R, S, r and s of atoms, 78
        atom and 12 bond features. ``"canonical"``: without the labels (74 and 12), so that mirror
        images look alike. ``"attentivefp"`` (39 and 10): dgllife's, with R and S alone.
        ``"pretrained-gin"`` (2 and 8): codes for ``backbone="gin"``
        (:mod:`~dgl_gmpool.data.pretrain_features`).
    cache_dir : path, optional
        Keep the graphs there, under a name that covers SMILES, featurizer and versions, and take
        them from there next time, without copying them into memory: processes of one machine share
        them. An interrupted call leaves finished parts of 10,000 molecules there, with which the
        next one goes on. A damaged or foreign file is reported through the logger
        ``dgl_gmpool.data`` and built again. None (default) keeps nothing.
    processes : int, optional
        None: one, or several where that was measured to be faster (large tables).
    progress : bool
        Show a progress bar on standard error, or a line per 10,000 molecules if that is no
        terminal.

    Returns
    -------
    MoleculeDataset
        Rows that could not be featurised are missing from its table and named in its report.

    Raises
    ------
    ValueError
        For an unknown featurizer, or if no row at all can be featurised.

    Examples
    --------
    >>> from dgl_gmpool.data import load_sodium_channel
    >>> data = featurize(load_sodium_channel().take(range(3)), progress=False)
    >>> data.graphs[0].ndata["h"].shape, data.graphs[0].edata["e"].shape
    (torch.Size([30, 78]), torch.Size([66, 12]))
    """
    check_choice("featurizer", featurizer, FEATURIZER_NAMES)
    if processes is not None and (
        isinstance(processes, bool) or not isinstance(processes, int) or processes < 1
    ):
        raise ValueError(f"processes must be an int of 1 or more, or None, got {processes!r}")
    unique = list(dict.fromkeys(table.smiles))
    cache = None
    found = None
    if cache_dir is not None:
        key = {"smiles": text_hash([unique]), "featurizer": featurizer, "versions": versions()}
        cache = GraphCache(cache_dir, f"{table.name}-{featurizer}", key)
        found = cache.load()
    if found is None:
        found = featurize_in_parts(
            unique, featurizer, processes=processes, progress=progress, cache=cache
        )
        if cache is not None:
            cache.save(*found)
            # Mapped from the file, it is in memory once for all processes of the machine.
            found = cache.load() or found
    flat, failed = found

    why = {unique[index]: reason for index, reason in failed}
    kept = [smiles for smiles in unique if smiles not in why] if why else unique
    position = dict(zip(kept, range(len(kept))))
    rows = [row for row, smiles in enumerate(table.smiles) if smiles in position]
    if not rows:
        raise ValueError(
            f"none of the {len(table)} rows of {table.name!r} can be featurised"
            + (f"; the first: {next(iter(why.items()))}" if why else "")
        )
    refused = [
        (table.ids[row], smiles, why[smiles])
        for row, smiles in enumerate(table.smiles)
        if smiles in why
    ]
    if refused:
        steps = [("could not be featurised", len(refused))]
        table = table.take(rows, report=table.report.then(steps, refused, "featurised molecules"))
    strange = _unknown_atoms(unique, why, flat, featurizer)
    rows_with = [smiles for smiles in table.smiles if smiles in strange]
    if rows_with:
        symbols = sorted({symbol for smiles in rows_with for symbol in strange[smiles]})
        table = table.with_notes(
            f"{len(rows_with)} rows have atoms of kinds that the features do not tell apart "
            f"({', '.join(symbols)}), such as {rows_with[0]!r}"
        )
    return MoleculeDataset(
        table=table,
        graphs=GraphList(flat, list(map(position.__getitem__, table.smiles))),
        node_in_feats=flat.node_rows.shape[1],
        edge_in_feats=flat.edge_rows.shape[1],
        featurizer=featurizer,
        unknown_atoms=strange,
    )


def _unknown_atoms(
    unique: Sequence[str], failed: Mapping[str, str], flat: FlatGraphs, featurizer: str
) -> dict[str, tuple[str, ...]]:
    """SMILES -> symbols of atoms that have no place of their own among the features."""
    featurised = [smiles for smiles in unique if smiles not in failed]
    found = unknown_symbols(lambda index: read_molecule(featurised[index])[0], flat, featurizer)
    return {featurised[index]: symbols for index, symbols in found.items()}


def unknown_symbols(
    molecule: Callable[[int], Chem.Mol | None], flat: FlatGraphs, featurizer: str
) -> dict[int, tuple[str, ...]]:
    """Number of a graph -> symbols of its atoms that have no place of their own among the features.

    ``molecule`` gives the molecule of a graph; it is asked for those with such atoms alone.
    """
    known = of_known_element(flat.node_rows, featurizer)
    nodes = np.flatnonzero(~known[flat.node_kinds])
    graphs = np.searchsorted(flat.node_starts, nodes, side="right") - 1
    found: dict[int, tuple[str, ...]] = {}
    for index in np.unique(graphs).tolist():
        mol = molecule(index)
        if mol is not None:
            order, first = list(Chem.CanonicalRankAtoms(mol)), flat.node_starts[index]
            atoms = [mol.GetAtomWithIdx(order[node - first]) for node in nodes[graphs == index]]
            found[index] = tuple(sorted({atom.GetSymbol() for atom in atoms}))
    return found


def with_fragments(dataset: MoleculeDataset) -> MoleculeDataset:
    """The graphs with ``ndata["fragment"]``, the BRICS fragment of each atom, int64 ``(atoms,)``.

    For a ``fragment_weight`` of GMPool or NGMPool. Graphs that have it are left as they are.
    """
    flat, which = dataset.graphs.flat, dataset.graphs.which
    if flat.fragments is not None:
        return dataset
    fragments = np.zeros(flat.node_counts.sum(), smallest(flat.node_counts).dtype)
    # Equal SMILES are one graph.
    for graph, smiles in dict(zip(which.tolist(), dataset.table.smiles)).items():
        mol, _ = read_molecule(smiles)
        if mol is not None:
            first = flat.node_starts[graph]
            nodes = slice(first, first + flat.node_counts[graph])
            fragments[nodes] = brics_fragments(mol)[list(Chem.CanonicalRankAtoms(mol))]
    return replace(dataset, graphs=GraphList(replace(flat, fragments=fragments), which))


def atom_order(smiles: str) -> list[int]:
    """For each node of a molecule's graph, the index of its atom in the SMILES.

    dgllife renumbers atoms before it builds the graph, so node i is *not* atom i. Use this before
    node weights are shown on a drawing.

    Raises
    ------
    ValueError
        If RDKit refuses the SMILES.

    Examples
    --------
    >>> atom_order("CCO")
    [0, 2, 1]
    """
    mol, why = read_molecule(smiles)
    if mol is None:
        raise ValueError(f"{smiles!r} is refused by RDKit: {why}")
    return list(Chem.CanonicalRankAtoms(mol))
