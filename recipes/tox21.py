"""Train on Tox21, as ``dgl-gmpool train tox21`` does."""

from __future__ import annotations

from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.cli.train import recipe


def main(arguments: list[str]) -> int:
    return recipe("tox21", "tox21", arguments)


if __name__ == "__main__":
    raise SystemExit(run_script(main))
