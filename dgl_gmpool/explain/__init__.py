"""Why a model predicts what it predicts: groups of a molecule, contributions, pictures, pages."""

from __future__ import annotations

from dgl_gmpool.explain.explanation import Explanation, explain_molecule
from dgl_gmpool.explain.masking import RefusedError

__all__ = ["Explanation", "RefusedError", "explain_molecule"]
