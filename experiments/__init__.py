"""Studies of the method: outside of the installed package, run from the repository."""

import dgl_gmpool  # noqa: F401 - before dgl, which next to today's torch loads only then
