"""What a stored result says of how it was made."""

from __future__ import annotations

import os
from typing import Any

from dgl_gmpool.training.provenance import library_versions, processor, source_commit


def setting() -> dict[str, Any]:
    """Versions, commit and machine of an experiment that runs in one thread; no paths, no names."""
    return {
        "versions": library_versions(),
        "commit": source_commit(),
        "machine": {"cpu": processor(), "cores": os.cpu_count(), "threads": 1},
    }
