"""Networks on molecular graphs, and the predictor made of them."""

import dgl_gmpool._dgl  # noqa: F401  (DGL, without its side effects)
from dgl_gmpool.models.backbones import Backbone, get_backbone
from dgl_gmpool.models.dmpnn import DMPNN
from dgl_gmpool.models.predictor import MoleculePredictor

__all__ = ["DMPNN", "Backbone", "MoleculePredictor", "get_backbone"]
