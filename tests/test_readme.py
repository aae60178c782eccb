"""What README.md shows is what the code does."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
from pathlib import Path

from dgl_gmpool import __version__

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(marker: str, language: str) -> str:
    """The first fenced block of that language after an HTML comment."""
    _, _, after = README.partition(f"<!-- {marker} -->")
    found = re.search(rf"```{language}\n(.*?)```", after, re.DOTALL)
    assert found, f"README.md has no {language} block after <!-- {marker} -->"
    return found.group(1)


def test_example_prints_what_is_shown() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block("example", "python"), "README.md", "exec", dont_inherit=True), {})
    assert printed.getvalue() == block("example", "text")


def test_version_table_is_the_tested_set() -> None:
    pins = re.findall(
        r"^(\S+?)==(\S+?)(?:; python_version (\S+) \"(\S+)\")?$",
        (ROOT / "constraints.txt").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert pins
    header, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in README.splitlines()
        if re.match(r"\| (Python|3\.\d+) \|", line)
    ]
    for row in rows:
        shown = dict(zip(header, row))
        python = tuple(int(part) for part in shown["Python"].split("."))
        for name, version, relation, bound in pins:
            if name not in shown:
                continue
            limit = tuple(int(part) for part in bound.split(".")) if bound else python
            applies = {">=": python >= limit, "<": python < limit, "==": python == limit}
            if applies[relation or "=="]:
                assert shown[name] == version, (python, name)


def test_ci_runs_the_readme_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "<!-- test command -->" in script
    assert "tox" in block("test command", "bash")


def test_description_on_an_index_page_has_no_dead_link(monkeypatch) -> None:
    described = {}
    monkeypatch.setattr("setuptools.setup", lambda **given: described.update(given))
    runpy.run_path(str(ROOT / "setup.py"))
    text = described["long_description"]
    assert text.startswith("# dgl-gmpool")
    assert "dgl-gmpool predict" in text
    assert "](https://www.dgl.ai)" in text
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert all(each.startswith("https://") for each in targets), targets
    assert "<!--" not in text


def test_first_screen_has_its_picture_commands_and_python() -> None:
    first = README.partition("\n## ")[0]
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", first)
    assert (ROOT / picture).stat().st_size < 100_000
    commands = re.findall(r"^dgl-gmpool (\w+)", first, re.MULTILINE)
    assert commands == ["train", "predict"]
    assert "load_predictor(" in first


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_the_version_to_cite_and_the_newest_of_the_changelog_are_this_one() -> None:
    cite = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {__version__}\n" in cite
    newest = re.search(r"^## (\d\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert newest
    assert newest[1] == __version__
