"""What a model groups in a molecule, atom by atom of its SMILES."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rdkit import Chem

from dgl_gmpool import MoleculePredictor
from dgl_gmpool.data import atom_order
from experiments.figures.first_pooling import (
    evaluation,
    first_pooling,
    graphs_of,
    pooled_batches,
)
from experiments.figures.representatives import groups_of_atoms


@dataclass(frozen=True, eq=False)
class GroupedMolecule:
    """A molecule and the groups of a model's first pooling. Rows are atoms of the SMILES.

    Attributes
    ----------
    smiles : str
    symbols : tuple of str
        Element of each atom.
    matrix : numpy.ndarray
        Grouping matrix M, eq. 5. Shape ``(n, n)``, float64.
    groups : numpy.ndarray
        Group of each atom, 0 is the largest; see
        :func:`~experiments.figures.representatives.groups_of_atoms`. Shape ``(n,)``, int64.
    num_clusters : int
        As the model's pooling counts them.
    effective_rank : float
        exp(entropy of the normalised eigenvalues of M).
    negative_share : float
        Share of the eigenvalues, in absolute value, that no pooling matrix S can show.
    """

    smiles: str
    symbols: tuple[str, ...]
    matrix: np.ndarray
    groups: np.ndarray
    num_clusters: int
    effective_rank: float
    negative_share: float

    @property
    def num_atoms(self) -> int:
        return len(self.symbols)

    @property
    def sizes(self) -> list[int]:
        """Number of atoms in each group."""
        return np.bincount(self.groups).tolist()

    @property
    def order(self) -> np.ndarray:
        """Atoms sorted by group, then by position in the SMILES: groups become blocks of M."""
        return np.lexsort((np.arange(self.num_atoms), self.groups))

    @property
    def labels(self) -> list[str]:
        """Element and number of each atom, such as ``C0``; the drawing has the same numbers."""
        return [f"{symbol}{atom}" for atom, symbol in enumerate(self.symbols)]


def grouped_molecule(
    model: MoleculePredictor, smiles: str, *, featurizer: str = "canonical"
) -> GroupedMolecule:
    """The grouping of one molecule, with nodes put back in the order of the SMILES.

    Parameters
    ----------
    model : MoleculePredictor
        With ``gmpool`` or ``ngmpool``.
    smiles : str
    featurizer : str
        The one the model was trained with.

    Raises
    ------
    ValueError
        RDKit refuses the SMILES, or the model has no grouping matrix.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = MoleculePredictor(74, 12, readout="gmpool", hidden_feats=16)
    >>> aspirin = grouped_molecule(model, "CC(=O)Oc1ccccc1C(=O)O")
    >>> aspirin.labels[:4], aspirin.matrix.shape
    (['C0', 'C1', 'O2', 'O3'], (13, 13))
    """
    order = atom_order(smiles)
    pool = first_pooling(model)
    ((graph, states, options),) = pooled_batches(model, graphs_of([smiles], featurizer))
    with evaluation(model):
        of_nodes = pool.grouping_matrices(graph, states, **options)[0].double().cpu().numpy()
        found = pool.spectrum(graph, states, **options)
    matrix = np.empty_like(of_nodes)
    matrix[np.ix_(order, order)] = of_nodes
    num_clusters = int(found.num_clusters[0])
    return GroupedMolecule(
        smiles=smiles,
        symbols=tuple(atom.GetSymbol() for atom in Chem.MolFromSmiles(smiles).GetAtoms()),
        matrix=matrix,
        groups=groups_of_atoms(matrix, num_clusters),
        num_clusters=num_clusters,
        effective_rank=float(found.effective_rank[0]),
        negative_share=float(found.negative_share[0]),
    )
