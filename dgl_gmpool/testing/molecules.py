"""The small molecules that the conditions are tried on, as graphs with features."""

from __future__ import annotations

from functools import cache

import dgl_gmpool._dgl  # noqa: F401  # isort: skip  (before DGL)
import dgl
import torch
from dgl import DGLGraph

from dgl_gmpool._environment import import_dgllife

#: Width of the node features that the conditions use.
IN_FEATS = 16

#: Small molecules; the first eight are batched in most conditions.
MOLECULES = {
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "benzene": "c1ccccc1",
    "neopentane": "CC(C)(C)C",
    "methanol": "CO",
    "biphenyl": "c1ccc(-c2ccccc2)cc1",
    "cubane": "C12C3C4C1C5C2C3C45",
    "caffeine": "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "ethanol": "CCO",
    "methane": "C",
    "ethane": "CC",
    "sodium acetate": "CC(=O)[O-].[Na+]",
    "argon and neon": "[Ar].[Ne]",
}

#: Names of the molecules in the usual batch.
BATCH = tuple(MOLECULES)[:8]


@cache
def _featurized(name: str) -> DGLGraph:
    from rdkit import rdBase

    utils = import_dgllife("utils")
    with rdBase.BlockLogs():  # dgllife's featurizer uses an outdated RDKit call
        graph = utils.smiles_to_bigraph(
            MOLECULES[name],
            node_featurizer=utils.CanonicalAtomFeaturizer(),
            edge_featurizer=utils.CanonicalBondFeaturizer(),
        )
    # Two rounds of neighbour sums tell atoms apart as a graph network would: equal features
    # exactly where the molecule is symmetric. A fixed random matrix makes them dense and narrow.
    feat = graph.ndata.pop("h").double()
    source, destination = (ids.long() for ids in graph.edges())
    for _ in range(2):
        feat = feat + 0.5 * torch.zeros_like(feat).index_add(0, destination, feat[source])
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(feat.shape[1], IN_FEATS, generator=generator, dtype=feat.dtype)
    graph.ndata["h"] = (feat @ mixing / feat.shape[1] ** 0.5).float()
    if "e" not in graph.edata:
        graph.edata["e"] = torch.zeros(0, utils.CanonicalBondFeaturizer().feat_size())
    return graph


def molecule(name: str) -> DGLGraph:
    """One of :data:`MOLECULES` as a graph: ``ndata["h"]`` ``(n, IN_FEATS)``, ``edata["e"]``."""
    return _featurized(name).clone()


def batch_members() -> list[DGLGraph]:
    """The graphs of the usual batch."""
    return [molecule(name) for name in BATCH]


def batch_of(*names: str) -> DGLGraph:
    """Some of :data:`MOLECULES` as one batch."""
    return dgl.batch([molecule(name) for name in names])


def empty_graph() -> DGLGraph:
    """A graph without nodes."""
    graph = dgl.graph(([], []), num_nodes=0, idtype=torch.int32)
    graph.ndata["h"] = torch.zeros(0, IN_FEATS)
    graph.edata["e"] = torch.zeros(0, _featurized("ethane").edata["e"].shape[1])
    return graph


def renumbered(graph: DGLGraph, seed: int) -> DGLGraph:
    """The same molecule with its atoms, and its bonds, in another order."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.randperm(graph.num_nodes(), generator=generator)
    order = torch.randperm(graph.num_edges(), generator=generator)
    source, destination = (place[ids.long()][order].int() for ids in graph.edges())
    out = dgl.graph((source, destination), num_nodes=graph.num_nodes(), idtype=torch.int32)
    for name, rows in graph.ndata.items():
        out.ndata[name] = torch.empty_like(rows).index_copy(0, place, rows)
    out.edata["e"] = graph.edata["e"][order]
    return out


def with_self_loops(graph: DGLGraph) -> DGLGraph:
    return dgl.add_self_loop(graph)


def without_edges(graph: DGLGraph) -> DGLGraph:
    return dgl.remove_edges(graph, torch.arange(graph.num_edges(), dtype=torch.int32))
