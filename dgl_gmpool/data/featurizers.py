"""Atom and bond features: as DGL-LifeSci makes them, and the same several times faster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import dgl
import numpy as np
from rdkit import Chem, rdBase

from dgl_gmpool._environment import import_dgllife
from dgl_gmpool.data.distinct_rows import DistinctRows, smallest
from dgl_gmpool.data.flat_graphs import FlatGraphs
from dgl_gmpool.data.pretrain_features import MASKED_ATOM, WIDTHS
from dgl_gmpool.data.stereo import ATOM_LABELS, chiral_atoms, stereo_labels

#: Name -> (dgllife's atom featurizer, dgllife's bond featurizer). Weave's and PAGTN's bond
#: features describe all pairs of atoms, not bonds, so they do not fit these graphs.
FEATURIZERS = {
    "canonical": ("CanonicalAtomFeaturizer", "CanonicalBondFeaturizer"),
    "attentivefp": ("AttentiveFPAtomFeaturizer", "AttentiveFPBondFeaturizer"),
}

#: What new models are trained with: dgllife's canonical features and stereochemistry.
STEREO = "stereo"
#: Codes of atoms and bonds, for ``backbone="gin"``.
CODES = "pretrained-gin"
FEATURIZER_NAMES = (STEREO, *FEATURIZERS, CODES)
#: Those that tell mirror images apart.
TELL_TWINS_APART = (STEREO, CODES)

#: An atom's first features: one for each of so many elements. All other elements look alike.
_ELEMENT_FEATURES = {STEREO: 43, "canonical": 43, "attentivefp": 15}


def of_known_element(rows: np.ndarray, featurizer: str) -> np.ndarray:
    """Which rows of features ``(kinds of atoms, node_in_feats)`` tell the element. ``(kinds,)``."""
    if featurizer == CODES:
        return np.asarray(rows[:, 0] != MASKED_ATOM)
    return np.asarray(np.any(rows[:, : _ELEMENT_FEATURES[featurizer]], axis=1))


#: Where a molecule holds together: what these bond features add to the conductance of a bond, which
#: is about 1 without (``dgl_gmpool.nn.locality.Conductance``). With these a diffusion agrees with
#: BRICS fragments over a wide range of times, and large ring systems stay whole.
IN_RING, MULTIPLE, AT_END = 300.0, 100.0, 100.0


def conductance_start(edge_in_feats: int) -> list[float]:
    """A chemist's start of the conductances: one number for each bond feature, and one for bonds of
    end atoms. All featurizers here begin with single, double, triple, aromatic, conjugated, in a
    ring.

    >>> conductance_start(10)
    [0.0, 100.0, 100.0, 0.0, 0.0, 300.0, 0.0, 0.0, 0.0, 0.0, 100.0]
    """
    return [0.0, MULTIPLE, MULTIPLE, 0.0, 0.0, IN_RING, *[0.0] * (edge_in_feats - 6), AT_END]


def dgllife_featurizers(featurizer: str) -> tuple[Any, Any]:
    """dgllife's atom and bond featurizer of a name."""
    utils = import_dgllife("utils")
    atoms, bonds = FEATURIZERS[featurizer]
    return getattr(utils, atoms)("h"), getattr(utils, bonds)("e")


def feature_widths(featurizer: str) -> tuple[int, int]:
    """``(node_in_feats, edge_in_feats)`` of a featurizer.

    >>> feature_widths("attentivefp")
    (39, 10)
    >>> feature_widths("stereo")
    (78, 12)
    """
    if featurizer == CODES:
        return WIDTHS
    if featurizer == STEREO:
        nodes, edges = feature_widths("canonical")
        return nodes + len(ATOM_LABELS), edges
    atoms, bonds = dgllife_featurizers(featurizer)
    # dgllife finds the sizes by featurising a molecule, and calls what RDKit reports as deprecated.
    with rdBase.BlockLogs():
        return atoms.feat_size(), bonds.feat_size()


class DgllifeEncoder:
    """Collects molecules, each through dgllife's ``mol_to_bigraph`` with canonical atom order."""

    def __init__(self, featurizer: str) -> None:
        self._atoms, self._bonds = dgllife_featurizers(featurizer)
        self._widths = feature_widths(featurizer)
        self._mol_to_bigraph = import_dgllife("utils").mol_to_bigraph
        self._graphs: list[dgl.DGLGraph] = []

    def add(self, mol: Chem.Mol) -> None:
        # dgllife's bond featurizers leave out the feature of a molecule without bonds.
        has_bonds = mol.GetNumBonds() > 0
        with rdBase.BlockLogs():
            graph = self._mol_to_bigraph(
                mol,
                node_featurizer=self._atoms,
                edge_featurizer=self._bonds if has_bonds else None,
                canonical_atom_order=True,
            )
        self._graphs.append(graph)

    def finish(self) -> FlatGraphs:
        return FlatGraphs.from_dgl(self._graphs, *self._widths)


_DOUBLE = Chem.BondType.DOUBLE
_NO_STEREO, _ANY_STEREO = Chem.BondStereo.STEREONONE, Chem.BondStereo.STEREOANY

#: What an atom's canonical features follow from. Explicit and implicit hydrogens together say what
#: GetTotalNumHs says, and cost less.
_OF_ATOM = (
    Chem.Atom.GetAtomicNum,
    Chem.Atom.GetDegree,
    Chem.Atom.GetNumExplicitHs,
    Chem.Atom.GetNumImplicitHs,
    Chem.Atom.GetHybridization,
    Chem.Atom.GetIsAromatic,
    Chem.Atom.GetFormalCharge,
    Chem.Atom.GetNumRadicalElectrons,
)


class CanonicalEncoder:
    """Collects molecules; the same graphs as ``DgllifeEncoder("canonical")``.

    Parameters
    ----------
    stereo : bool
        Add a column for each of :data:`~dgl_gmpool.data.stereo.ATOM_LABELS` to the atoms, and take
        E and Z of double bonds from the same labels.
    """

    def __init__(self, *, stereo: bool = False) -> None:
        atoms, bonds = dgllife_featurizers("canonical")
        self._stereo = stereo
        node_width, edge_width = feature_widths("stereo" if stereo else "canonical")
        self._atom_rows = _Rows(atoms.featurizer_funcs["h"], node_width)
        self._bond_rows = _Rows(bonds.featurizer_funcs["e"], edge_width)
        self._node_counts: list[int] = []
        self._edge_counts: list[int] = []
        self._atoms: list[int] = []
        self._bonds: list[int] = []
        self._ends: list[int] = []
        self._labels: list[tuple[int, int]] = []

    def add(self, mol: Chem.Mol) -> None:
        order = list(Chem.CanonicalRankAtoms(mol))
        node_of = [0] * len(order)
        for node, atom in enumerate(order):
            node_of[atom] = node
        # Property by property: a loop over atoms and bonds takes a third longer.
        atoms = list(map(mol.GetAtomWithIdx, order))
        self._atoms += self._atom_rows.numbers(zip(*(map(ask, atoms) for ask in _OF_ATOM)), atoms)
        bonds = list(map(mol.GetBondWithIdx, range(mol.GetNumBonds())))
        sorts = list(map(Chem.Bond.GetBondType, bonds))
        # Read where a SMILES can have it: to ask costs as much as all the rest.
        stereo = [
            bond.GetStereo() if sort == _DOUBLE else _NO_STEREO for bond, sort in zip(bonds, sorts)
        ]
        self._bonds += self._bond_rows.numbers(_bond_keys(bonds, sorts, stereo), bonds)
        for begin, end in zip(
            map(Chem.Bond.GetBeginAtomIdx, bonds), map(Chem.Bond.GetEndAtomIdx, bonds)
        ):
            self._ends += (node_of[begin], node_of[end])
        if self._stereo:
            centres = chiral_atoms(mol)
            stereo_bonds = [index for index, each in enumerate(stereo) if each > _ANY_STEREO]
            if centres or stereo_bonds:
                self._add_labels(mol, node_of, centres, stereo_bonds)
        self._node_counts.append(len(order))
        self._edge_counts.append(2 * len(bonds))

    def _add_labels(
        self, mol: Chem.Mol, node_of: list[int], centres: list[int], bonds: list[int]
    ) -> None:
        """Of the molecule added last."""
        atoms, turned = stereo_labels(mol, centres, bonds)
        first = len(self._atoms) - mol.GetNumAtoms()
        self._labels += [(first + node_of[atom], column) for atom, column in atoms]
        for index in turned:
            bond = [mol.GetBondWithIdx(index)]
            key = _bond_keys(bond, [bond[0].GetBondType()], [bond[0].GetStereo()])
            place = len(self._bonds) - mol.GetNumBonds() + index
            (self._bonds[place],) = self._bond_rows.numbers(key, bond)

    def finish(self) -> FlatGraphs:
        # Bond k is edges 2k (u to v) and 2k + 1 (v to u), with one feature row.
        ends = np.array(self._ends, np.int32).reshape(-1, 2)
        atoms = np.array(self._atoms, np.int64)
        if self._labels:
            labelled, columns = np.array(self._labels, np.int64).T
            rows = self._atom_rows.distinct.table()[atoms[labelled]]
            rows[np.arange(len(rows)), columns - len(ATOM_LABELS)] = 1  # the last ones
            atoms[labelled] = self._atom_rows.distinct.add(rows)
        return FlatGraphs(
            smallest(np.array(self._node_counts, np.int64)),
            smallest(np.array(self._edge_counts, np.int64)),
            smallest(ends.ravel()),
            smallest(ends[:, ::-1].ravel()),
            smallest(atoms),
            smallest(np.array(self._bonds, np.int64).repeat(2)),
            self._atom_rows.distinct.table(),
            self._bond_rows.distinct.table(),
        )


def _bond_keys(
    bonds: Sequence[Chem.Bond], sorts: Sequence[Any], stereo: Sequence[Any]
) -> Iterable[tuple[Any, ...]]:
    """What the canonical features of each bond follow from."""
    rings = map(Chem.Bond.IsInRing, bonds)
    return zip(sorts, map(Chem.Bond.GetIsConjugated, bonds), rings, stereo)


class _Rows:
    """Feature rows met so far, by the properties they depend on."""

    def __init__(self, compute: Any, width: int) -> None:
        self.distinct = DistinctRows(width)
        self._known: dict[tuple[Any, ...], int] = {}
        self._compute = compute

    def numbers(self, keys: Iterable[tuple[Any, ...]], items: Iterable[Any]) -> list[int]:
        """The row of each item, by what its features follow from."""
        known = self._known
        return [
            known[key] if key in known else self._learn(key, item) for key, item in zip(keys, items)
        ]

    def _learn(self, key: tuple[Any, ...], item: Any) -> int:
        with rdBase.BlockLogs():
            found = np.asarray(self._compute(item), np.float32)
        # What is not dgllife's comes behind, and starts as zeros.
        row = np.pad(found, (0, self.distinct.width - len(found)))
        self._known[key] = int(self.distinct.add(row[None])[0])
        return self._known[key]
