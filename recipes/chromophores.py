"""Train on properties of chromophores, as ``dgl-gmpool train chromophores`` does."""

from __future__ import annotations

from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.cli.train import recipe


def main(arguments: list[str]) -> int:
    return recipe("chromophores", "chromophores", arguments)


if __name__ == "__main__":
    raise SystemExit(run_script(main))
