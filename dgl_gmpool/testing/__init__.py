"""What every readout and pooling must survive, each condition written once.

Molecules have single atoms, equal atoms, no bonds, salts and rare failures of a featurizer that
leave a graph without nodes. A pooling that breaks on one of them breaks the whole training run.
:data:`CONDITIONS` lists what has to hold; the tests run it over every name of
:func:`dgl_gmpool.list_readouts`, and ``benchmarks/reliability.py`` over other packages too. Run it
over a pooling of your own:

>>> from dgl_gmpool import GMPool
>>> [c.name for c in CONDITIONS if c.failure(GMPool) is not None]
[]
"""

from __future__ import annotations

from dgl_gmpool.testing.comparing import EQUAL, TOLERANCE, ConditionFailed
from dgl_gmpool.testing.conditions import BFLOAT16_TOLERANCE, CONDITIONS
from dgl_gmpool.testing.molecules import (
    BATCH,
    IN_FEATS,
    MOLECULES,
    batch_members,
    batch_of,
    empty_graph,
    molecule,
)
from dgl_gmpool.testing.subject import FACES, Condition, MakePool, Subject

__all__ = [
    "BATCH",
    "BFLOAT16_TOLERANCE",
    "CONDITIONS",
    "EQUAL",
    "FACES",
    "IN_FEATS",
    "MOLECULES",
    "TOLERANCE",
    "Condition",
    "ConditionFailed",
    "MakePool",
    "Subject",
    "batch_members",
    "batch_of",
    "empty_graph",
    "molecule",
]
