"""Pages of the site: each is in the contents, each command has one. ``tox -e docs`` builds it."""

from __future__ import annotations

import re
from pathlib import Path

from dgl_gmpool.cli import COMMANDS

DOCS = Path(__file__).parent.parent / "docs"


def listed(page: Path) -> set[Path]:
    """Pages in the contents lists of a page."""
    text = page.read_text(encoding="utf-8")
    found = set()
    for block in re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                found.add((page.parent / f"{line}.md").resolve())
    return found


def test_every_page_is_in_the_contents():
    pages = {path.resolve() for path in DOCS.rglob("*.md")}
    pages |= {path.with_suffix(".md").resolve() for path in DOCS.glob("notebooks/*.ipynb")}
    pages -= {path.resolve() for path in (DOCS / "results").rglob("*.md")}
    pages -= {path.resolve() for path in (DOCS / "_build").rglob("*.md")}
    index = DOCS / "index.md"
    contents = listed(index) | listed(DOCS / "commands" / "index.md") | {index.resolve()}
    assert contents == pages, "name new pages in a contents list (toctree) of docs/index.md"


def test_every_command_has_its_page():
    pages = {path.stem: path.read_text(encoding="utf-8") for path in DOCS.glob("commands/*.md")}
    assert set(pages) - {"index"} == set(COMMANDS), "a command's page: docs/commands/NAME.md"
    for name in COMMANDS:
        assert f"```{{command}} {name}\n```" in pages[name]
