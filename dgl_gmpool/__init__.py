"""Graph pooling that finds the number of groups by itself, for the Deep Graph Library."""

from __future__ import annotations

from dgl_gmpool._environment import import_dgl

import_dgl()

from dgl_gmpool._version import __version__  # noqa: E402

__all__ = ["__version__"]
