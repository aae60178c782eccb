"""Before any test module imports dgl: next to today's torch, DGL 2.1.0 loads only after this."""

import dgl_gmpool  # noqa: F401
