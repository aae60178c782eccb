"""Pages of the site: each is in the contents, each command has one. ``tox -e docs`` builds it."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

import pytest

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


def own_flags() -> set[str]:
    """Flags of every command and data set."""
    found: set[str] = set()

    def collect(parser: argparse.ArgumentParser) -> None:
        for action in parser._actions:
            found.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                for each in action.choices.values():
                    collect(each)

    for command in COMMANDS.values():
        parser = argparse.ArgumentParser()
        importlib.import_module(command[0]).add_arguments(parser)
        collect(parser)
    assert {"--csv", "--tsv", "--coverage"} <= found
    return found


@pytest.mark.parametrize(("page", "column"), [("compared.md", 2), ("coming-from.md", 2)])
def test_flags_that_are_said_to_be_here_are_here(page, column):
    rows = [
        re.split(r"(?<!\\)\|", line)
        for line in (DOCS / page).read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    said = {flag for row in rows for flag in re.findall(r"--[a-z][a-z-]*", row[column])}
    assert said
    assert said - {"--help"} <= own_flags()


def test_modules_that_the_pages_import_from_are_in_the_list_of_names():
    listed = set(re.findall(r"\{public-names\} (\S+)", (DOCS / "api.md").read_text("utf-8")))
    pages = [*DOCS.glob("*.md"), *DOCS.glob("notebooks/*.ipynb"), DOCS.parent / "README.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    used = set(re.findall(r"from (dgl_gmpool[\w.]*) import", text))
    assert used - {"dgl_gmpool.cli.entry"} <= listed
