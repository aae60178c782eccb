"""A molecule with some of its atoms masked: the network sees plain carbon in their place."""

from __future__ import annotations

import dgl
import numpy as np
import torch
from rdkit import Chem, rdBase

from dgl_gmpool.data.featurize import atom_order
from dgl_gmpool.data.molecule import read_molecule
from dgl_gmpool.data.smiles_to_graphs import featurize_smiles

#: Bonds that a carbon can have.
VALENCE = 4


class RefusedError(ValueError):
    """A molecule that cannot be explained; ``reason`` says why, without its SMILES."""

    def __init__(self, smiles: str, reason: str) -> None:
        super().__init__(f"{smiles!r} cannot be explained: {reason}")
        self.reason = reason


class MaskedMolecule:
    """The graphs of one molecule with any of its atoms masked.

    A masked atom has the features of a saturated carbon with the same neighbours, and a bond with
    a masked end those of the single bond in its place. With all atoms masked, what is left is the
    *carbon skeleton*: the alkane of the same shape, a molecule like those a network was trained
    on (zeros in place of features are not). The graph, and so what is near what, stays.

    Parameters
    ----------
    smiles : str
    featurizer : str
        The one that the model was trained with.

    Attributes
    ----------
    mol : rdkit.Chem.Mol
        Atoms in the order of the SMILES.
    order : numpy.ndarray
        The atom of each node of the graph. ``(n,)`` int64.
    skeleton : str
        SMILES of the carbon skeleton.
    inert : numpy.ndarray
        Atoms that look alike masked or not, such as those of an alkyl chain. ``(n,)`` bool.

    Raises
    ------
    RefusedError
        The SMILES is blank or refused; the message says why.

    Examples
    --------
    >>> MaskedMolecule("OC(=O)c1ccccc1", "canonical").skeleton
    'CC(C)C1CCCCC1'
    """

    def __init__(self, smiles: str, featurizer: str) -> None:
        mol, why = read_molecule(smiles)
        if mol is None:
            raise RefusedError(smiles, why)
        self.mol = mol
        self.order = np.array(atom_order(smiles), np.int64)
        plain, dropped = carbon_skeleton(mol)
        self.skeleton = Chem.MolToSmiles(plain)
        # Where each atom of `plain` stands in its SMILES.
        written = list(plain.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
        flat, failed = featurize_smiles([smiles, self.skeleton], featurizer)
        if failed:
            raise RefusedError(smiles, failed[0][1])
        self.graph, other = flat.graphs([0, 1])
        atoms_of_other = np.array(written, np.int64)[atom_order(self.skeleton)]
        self._plain_nodes = torch.empty_like(self.graph.ndata["h"])
        node_of = np.argsort(self.order)
        self._plain_nodes[node_of[atoms_of_other]] = other.ndata["h"]
        self._ends = torch.stack(self.graph.edges()).numpy()
        rows = {
            (int(atoms_of_other[u]), int(atoms_of_other[v])): row
            for u, v, row in zip(*map(torch.Tensor.tolist, other.edges()), other.edata["e"])
        }
        self._plain_edges = torch.empty_like(self.graph.edata["e"])
        for edge, (u, v) in enumerate(self.order[self._ends].T.tolist()):
            # A bond that no carbon could have had looks like one that it has.
            self._plain_edges[edge] = rows[dropped.get((u, v), (u, v))]
        changed = (self.graph.ndata["h"] != self._plain_nodes).any(1).numpy()
        bonds = (self.graph.edata["e"] != self._plain_edges).any(1).numpy()
        changed[self._ends[:, bonds]] = True
        self.inert = ~changed[node_of]

    @property
    def num_atoms(self) -> int:
        return len(self.order)

    def graphs(self, present: np.ndarray) -> list[dgl.DGLGraph]:
        """One graph for each row of ``present`` ``(S, n)`` bool, True where an atom is not masked.

        Columns are atoms of the SMILES.
        """
        nodes = torch.from_numpy(np.ascontiguousarray(present[:, self.order]))
        source, destination = self._ends
        edges = nodes[:, source] & nodes[:, destination]
        found = []
        for node, edge in zip(nodes, edges):
            graph = self.graph.clone()
            graph.ndata["h"] = torch.where(node[:, None], graph.ndata["h"], self._plain_nodes)
            graph.edata["e"] = torch.where(edge[:, None], graph.edata["e"], self._plain_edges)
            found.append(graph)
        return found


def carbon_skeleton(
    mol: Chem.Mol,
) -> tuple[Chem.Mol, dict[tuple[int, int], tuple[int, int]]]:
    """The alkane of a molecule's shape, atom i in the place of atom i.

    An atom with more than four neighbours keeps its first bonds only; for both directions of every
    bond left out, the second value names one that the same atom keeps.
    """
    plain = Chem.RWMol()
    for _ in range(mol.GetNumAtoms()):
        plain.AddAtom(Chem.Atom(6))
    degree = [0] * mol.GetNumAtoms()
    first: dict[int, tuple[int, int]] = {}
    left_out: list[tuple[int, int]] = []
    for bond in mol.GetBonds():
        u, v = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        if degree[u] == VALENCE or degree[v] == VALENCE:
            left_out.append((u, v))
            continue
        plain.AddBond(u, v, Chem.BondType.SINGLE)
        degree[u], degree[v] = degree[u] + 1, degree[v] + 1
        first.setdefault(u, (u, v))
        first.setdefault(v, (u, v))
    instead = {}
    for u, v in left_out:
        full = u if degree[u] == VALENCE else v
        instead[u, v] = instead[v, u] = first[full]
    with rdBase.BlockLogs():
        Chem.SanitizeMol(plain)
    return plain.GetMol(), instead
