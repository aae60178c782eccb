"""Train on a table of your own, as ``dgl-gmpool train csv`` does."""

from __future__ import annotations

from dgl_gmpool.cli.entry import run_script
from dgl_gmpool.cli.train import recipe


def main(arguments: list[str]) -> int:
    return recipe("csv", "molecules_csv", arguments)


if __name__ == "__main__":
    raise SystemExit(run_script(main))
