"""Graphs and features exactly as DGL-LifeSci makes them: the reference for any faster way."""

from __future__ import annotations

from typing import Any

import dgl
from rdkit import Chem, rdBase

from dgl_gmpool._environment import import_dgllife
from dgl_gmpool.data.flat_graphs import FlatGraphs
from dgl_gmpool.data.stereo import ATOM_LABELS

#: Name -> (dgllife's atom featurizer, dgllife's bond featurizer). Weave's and PAGTN's bond
#: features describe all pairs of atoms, not bonds, so they do not fit these graphs.
FEATURIZERS = {
    "canonical": ("CanonicalAtomFeaturizer", "CanonicalBondFeaturizer"),
    "attentivefp": ("AttentiveFPAtomFeaturizer", "AttentiveFPBondFeaturizer"),
}

#: What new models are trained with: dgllife's canonical features and stereochemistry.
STEREO = "stereo"
FEATURIZER_NAMES = (STEREO, *FEATURIZERS)

#: An atom's first features: one for each of so many elements. All other elements look alike.
ELEMENT_FEATURES = {STEREO: 43, "canonical": 43, "attentivefp": 15}


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
