"""``{poolings}``: a table of every pooling and readout, from the code."""

from __future__ import annotations

import inspect
from typing import Any

import dgl
import torch
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes

from dgl_gmpool import collect_losses, get_readout
from dgl_gmpool.registry import BUILT_IN, readout_entry

#: Width of the features that are tried.
WIDTH = 8
#: Options that say how many clusters there are, the first that a pooling has.
COUNTS = ("num_clusters", "max_clusters")


class Poolings(SphinxDirective):
    """``{poolings} coarsening``, ``{poolings} readouts`` or ``{poolings} options``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        what = self.arguments[0]
        if what == "options":
            heads, row, names = ["name", "options and their defaults"], _options, list(BUILT_IN)
        else:
            coarsening = what == "coarsening"
            names = [name for name in BUILT_IN if readout_entry(name).coarsens == coarsening]
            heads, row = ["name", "what it does", "width"], _readout
            if coarsening:
                row = _pooling
                heads[2:2] = ["number of groups", "losses of its own", "levels"]
        lines = [_line(heads), _line(["---"] * len(heads)), *(_line(row(name)) for name in names)]
        return nested_parse_to_nodes(
            self.state, StringList(lines, source="poolings"), offset=self.content_offset
        )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _readout(name: str) -> list[str]:
    return [f"`{name}`", _summary(name), _width(name)]


def _pooling(name: str) -> list[str]:
    entry = readout_entry(name)
    options = _defaults(entry.factory)
    count = next((each for each in COUNTS if each in options), None)
    fixed = None if count is None else options[count]
    if fixed is None:
        groups = "adaptive" + (f"; or `{count}`" if count else "")
    else:
        most = "adaptive, at most " if count == "max_clusters" else ""
        groups = f"{most}{fixed} (`{count}`)" + ("; or `ratio`" if "ratio" in options else "")
    return [
        *(f"`{name}`", _summary(name), groups, ", ".join(_losses(name)) or "none"),
        *("one" if entry.single_level else "any", _width(name)),
    ]


def _summary(name: str) -> str:
    return readout_entry(name).summary.replace("``", "`")


def _width(name: str) -> str:
    times = get_readout(name, in_feats=WIDTH).out_feats / WIDTH
    return "D" if times == 1 else f"{times:g} D"


def _losses(name: str) -> list[str]:
    """What a call in training adds to :func:`collect_losses`, tried on two graphs."""
    torch.manual_seed(0)
    pool = get_readout(name, in_feats=WIDTH)
    graph = dgl.batch([dgl.to_bidirected(dgl.rand_graph(size, 2 * size)) for size in (8, 24)])
    with collect_losses() as losses:
        pool(graph, torch.randn(graph.num_nodes(), WIDTH))
    return [key.partition(" ")[2].replace("_", " ") for key in losses]


def _defaults(factory: Any) -> dict[str, Any]:
    parameters = list(inspect.signature(factory).parameters.values())[1:]
    return {each.name: each.default for each in parameters}


def _options(name: str) -> list[str]:
    options = _defaults(readout_entry(name).factory)
    return [f"`{name}`", ", ".join(f"`{key}={value}`" for key, value in options.items()) or "none"]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("poolings", Poolings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
