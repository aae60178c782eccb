"""Names that parts of the package which do not know each other agree on."""

from __future__ import annotations

#: Node data of a graph: the number of each node's fragment, for ``fragment_weight``.
FRAGMENT = "fragment"
