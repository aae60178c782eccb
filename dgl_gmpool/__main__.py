"""``python -m dgl_gmpool``: the command ``dgl-gmpool``."""

from dgl_gmpool.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
