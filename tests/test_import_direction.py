"""An import goes down the list of CONTRIBUTING.md, never up."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dgl_gmpool

PACKAGE = Path(dgl_gmpool.__file__).parent

#: Part of the package -> the parts it may import.
BELOW = {
    "nn": set(),
    "data": set(),
    "poolings": {"nn"},
    "registry": {"poolings"},
    "models": {"registry", "poolings", "nn"},
    "testing": {"nn"},
    "training": {"models", "registry", "poolings", "nn", "data"},
    "lifesci": {"models", "registry", "poolings", "nn", "data"},
    "explain": {"training", "models", "registry", "poolings", "nn", "data"},
    "report": {"explain", "training", "models", "registry", "poolings", "nn", "data"},
    "sklearn": {"training", "data"},
    "load": {"explain", "training", "models", "registry", "poolings", "nn", "data"},
}


def parts_imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dgl_gmpool."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            found |= {name[1] for name in names if name[0] == "dgl_gmpool" and len(name) > 1}
    return {name for name in found if not name.startswith("_")}


@pytest.mark.parametrize("part", sorted(BELOW))
def test_no_arrow_upward(part):
    place = PACKAGE / part
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    assert files
    for file in files:
        upward = parts_imported(file) - BELOW[part] - {part}
        assert not upward, f"{file.relative_to(PACKAGE)} imports {sorted(upward)}"


def test_every_part_has_its_place():
    parts = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith(("_", "."))}
    assert parts - {"py"} == {*BELOW, "cli"}
