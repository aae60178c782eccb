"""``{public-names} MODULE``: the docstring of every name in its ``__all__``, and of no other."""

from __future__ import annotations

import importlib
import inspect

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes


class PublicNames(SphinxDirective):
    """A name that several modules list is described at the first."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        described = self.env.temp_data.setdefault("public_names", set())
        lines: list[str] = ["```{eval-rst}"]
        for name in sorted(module.__all__, key=str.lower):
            value = getattr(module, name)
            if id(value) in described or name.startswith("__"):
                continue
            described.add(id(value))
            where = f"{module.__name__}.{name}"
            if inspect.isclass(value):
                # Made by scikit-learn, with links into its own pages.
                made = "   :exclude-members: set_fit_request, set_score_request"
                lines += [f".. autoclass:: {where}", "   :members:", made, ""]
            elif callable(value):
                lines += [f".. autofunction:: {where}", ""]
        lines.append("```")
        return nested_parse_to_nodes(
            self.state, StringList(lines, source=module.__name__), offset=self.content_offset
        )


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("public-names", PublicNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
