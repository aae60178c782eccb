"""Molecules and their measured targets: loading, selecting, featurising, splitting."""

from __future__ import annotations

import dgl_gmpool._dgl  # noqa: F401  (DGL, without its side effects)
from dgl_gmpool.data.bindingdb import HUMAN_ATP_RECEPTORS, load_bindingdb
from dgl_gmpool.data.chromophores import load_chromophores
from dgl_gmpool.data.descriptors import with_descriptors
from dgl_gmpool.data.features import AuxiliaryTargets, Features
from dgl_gmpool.data.featurize import MoleculeDataset, atom_order, featurize
from dgl_gmpool.data.make_splits import make_splits
from dgl_gmpool.data.molecules_csv import load_csv
from dgl_gmpool.data.properties import molecule_properties, with_auxiliary
from dgl_gmpool.data.report import SelectionReport
from dgl_gmpool.data.sodium_channel import load_sodium_channel
from dgl_gmpool.data.splits import Splits
from dgl_gmpool.data.table import MoleculeTable
from dgl_gmpool.data.tox21 import load_tox21

__all__ = [
    "HUMAN_ATP_RECEPTORS",
    "AuxiliaryTargets",
    "Features",
    "MoleculeDataset",
    "MoleculeTable",
    "SelectionReport",
    "Splits",
    "atom_order",
    "featurize",
    "load_bindingdb",
    "load_chromophores",
    "load_csv",
    "load_sodium_channel",
    "load_tox21",
    "make_splits",
    "molecule_properties",
    "with_auxiliary",
    "with_descriptors",
]
